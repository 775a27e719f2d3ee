"""Ocean observation: 295 coast stations, 400 drifting platforms and 24 islands (S2-D05).

What is protected is one day's reading at one place (a *site-day*): low sensitivity, nobody is concerned. Stations and
islands report every day of 2020 to 2024, platforms of 2022 to 2024: about a million rows. ``days`` makes more of it
(18,260 days are ten million rows). Every day some platforms drift through the cells of coast stations.

Planted effect: tomorrow's waves at a station follow today's waves and ``effect`` times today's wind, which only a
platform in the same cell measures. With effect 0 wind does not matter.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from cloister.contract.card import Card, Column
from cloister.demo.cards import category, number
from cloister.demo.cases import draws
from cloister.demo.scene import Scene

SEED = 20_261_131
STATIONS, PLATFORMS, ISLANDS = 295, 400, 24
DAYS = 1_826
PLATFORM_DAYS = 0.6
NEAR = 130
SEAS = ("bohai", "yellow", "east", "south")
PURPOSE = "ocean forecasting"
_SEA_WARMTH = np.array([13.0, 15.0, 20.0, 26.0])
_SEA_SWING = np.array([11.0, 9.0, 6.0, 3.0])


def _card(name: str, title: str, description: str, limit: int, columns: tuple[Column, ...]) -> Card:
    return Card(
        name=name,
        title=title,
        description=description,
        unit="site-day",
        key=("cell", "day"),
        normaliser="exact",
        population="site_days",
        rows_per_unit=1,
        row_limit=limit,
        grade="demonstration",
        columns=(
            Column("cell", "int", 1, "Number of the cell of the sea chart", low="1", high="9999", step="1"),
            Column("day", "int", 1, "Day, counted from 1 January 2020", low="1", high="99999", step="1"),
            number("month", "1", "12", "1", "Month of the year", tier=1, personal=False),
            category("sea", SEAS, "Which sea", tier=1, personal=False),
            number("water", "-2.0", "36.0", "0.1", "Temperature of the water", tier=1, measure="C", personal=False),
            *columns,
        ),
        source="Seeded generator cloister.demo.cases.ocean",
        retention="deleted with the case",
        purposes=(PURPOSE,),
        order="day",
    )


STATIONS_CARD = _card(
    "stations.daily",
    "Coast stations",
    "Daily readings of 295 coast stations. Invented.",
    1_048_576,
    (
        number("salinity", "20.0", "40.0", "0.1", "Salinity", tier=1, measure="g/kg", personal=False),
        number("waves", "0.00", "12.00", "0.01", "Height of the waves", tier=1, measure="m", personal=False),
        number("waves_next", "0.00", "12.00", "0.01", "The same on the day after", tier=1, measure="m", personal=False),
    ),
)
PLATFORMS_CARD = _card(
    "platforms.daily",
    "Drifting platforms",
    "Daily readings of 400 platforms, wherever they drift. Invented.",
    524_288,
    (
        number("wind", "0.0", "40.0", "0.1", "Speed of the wind", tier=1, measure="m/s", personal=False),
        number("pressure", "960.0", "1050.0", "0.5", "Air pressure", tier=1, measure="hPa", personal=False),
    ),
)
ISLANDS_CARD = _card(
    "islands.daily",
    "Islands",
    "Daily readings of 24 islands. Invented.",
    65_536,
    (number("rain", "0", "300", "1", "Rain of the day", tier=1, measure="mm", personal=False),),
)


@lru_cache(maxsize=2)
def everything(effect: float = 1.0, seed: int = SEED, days: int = DAYS) -> dict[str, pd.DataFrame]:
    """Return the three tables, by provider."""
    rng = np.random.default_rng(seed)
    day = np.arange(1, days + 1)
    month = (1 + np.floor((day - 1) % 365.25 / 30.4375)).astype(np.int64)
    station_sea, platform_sea = _seas_of_stations(rng), rng.integers(0, len(SEAS), PLATFORMS)
    wind, waves = _weather(rng, days, effect)

    stations = _frame(rng, day, month, np.arange(1, STATIONS + 1), station_sea)
    stations["salinity"] = draws.values(
        STATIONS_CARD, "salinity", rng.normal(0.3 + 0.1 * np.repeat(station_sea, days), 0.07)
    )
    stations["waves"] = draws.values(STATIONS_CARD, "waves", waves[:-1].T.ravel() / 12)
    stations["waves_next"] = draws.values(STATIONS_CARD, "waves_next", waves[1:].T.ravel() / 12)

    later = day[days - round(days * PLATFORM_DAYS) :]
    platforms = _frame(rng, later, month[later - 1], np.arange(1_001, 1_001 + PLATFORMS), platform_sea)
    # Each day NEAR platforms, others every day, are in cells of stations, no two of them in one.
    near = rng.random((len(later), PLATFORMS)).argsort(axis=1)[:, :NEAR]
    cells = rng.random((len(later), STATIONS)).argsort(axis=1)[:, :NEAR]
    here, at = near.ravel() * len(later) + np.repeat(np.arange(len(later)), NEAR), cells.ravel()
    blown = rng.gamma(4.0, 2.0, len(platforms))
    blown[here] = wind[np.repeat(later - 1, NEAR), at]
    sea = np.repeat(platform_sea, len(later))
    sea[here] = station_sea[at]
    # Where both are, they measure the same water, and the platform's thermometer is a little less steady.
    water = _water(rng, sea, np.tile(month[later - 1], PLATFORMS))
    same = stations.water.to_numpy().reshape(STATIONS, days)[at, np.repeat(later - 1, NEAR)]
    water[here] = np.round(np.clip(same + rng.normal(0, 0.3, len(here)), -2, 36), 1)
    platforms.loc[here, "cell"] = at + 1
    platforms["sea"] = np.array(SEAS)[sea]
    platforms["water"] = water
    platforms["wind"] = draws.values(PLATFORMS_CARD, "wind", blown / 40)
    platforms["pressure"] = draws.values(
        PLATFORMS_CARD, "pressure", (1_030 - blown + rng.normal(0, 6, len(sea)) - 960) / 90
    )

    islands = _frame(rng, day, month, np.arange(3_001, 3_001 + ISLANDS), rng.integers(0, len(SEAS), ISLANDS))
    islands["rain"] = draws.values(ISLANDS_CARD, "rain", rng.gamma(0.3, 0.06, len(islands)))
    return {"stations": stations, "platforms": platforms, "islands": islands}


def chart(seed: int = SEED) -> pd.DataFrame:
    """Return where the stations lie on an invented sea chart: public, as on any chart.

    One row per station: ``cell``, ``sea``, and ``x`` (kilometres along the coast) and ``y`` (off it). The seas lie side
    by side from ``SEAS[0]`` to ``SEAS[-1]``. Platforms drift, so they have no place.
    """
    sea = _seas_of_stations(np.random.default_rng(seed))
    # A stream of its own: where things lie changes no reading.
    rng = np.random.default_rng([seed, 1])
    x = 1_000 * (sea + rng.random(STATIONS))
    y = 150 * np.sin(x / 350) + 60 * rng.random(STATIONS)
    places = {"x": np.round(x, 1), "y": np.round(y, 1)}
    return pd.DataFrame({"cell": np.arange(1, STATIONS + 1), "sea": np.array(SEAS)[sea], **places})


def _seas_of_stations(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, len(SEAS), STATIONS)


def _weather(rng: np.random.Generator, days: int, effect: float) -> tuple[draws.Floats, draws.Floats]:
    """Return wind by day and station, and waves of one day more."""
    wind = rng.gamma(4.0, 2.0, (days, STATIONS))
    waves = np.empty((days + 1, STATIONS))
    waves[0] = 1.5
    for today in range(days):
        blown = effect * 0.12 * (wind[today] - 8.0)
        waves[today + 1] = 0.9 + 0.5 * waves[today] + blown + rng.normal(0, 0.25, STATIONS)
    return wind, np.clip(waves, 0, 12)


def _frame(
    rng: np.random.Generator, day: np.ndarray, month: np.ndarray, cells: np.ndarray, seas: np.ndarray
) -> pd.DataFrame:
    """Return one row per cell and day, cells in turn, with the temperature of the water."""
    sea, when = np.repeat(seas, len(day)), np.tile(month, len(cells))
    return pd.DataFrame(
        {
            "cell": np.repeat(cells, len(day)),
            "day": np.tile(day, len(cells)),
            "month": when,
            "sea": np.array(SEAS)[sea],
            "water": _water(rng, sea, when),
        }
    )


def _water(rng: np.random.Generator, sea: np.ndarray, month: np.ndarray) -> np.ndarray:
    """Return temperatures of the water: coldest in February, by sea."""
    warm = _SEA_WARMTH[sea] - _SEA_SWING[sea] * np.cos(2 * np.pi * (month - 2) / 12)
    return np.asarray(np.round(np.clip(warm + rng.normal(0, 1.5, len(sea)), -2, 36), 1))


def stations(effect: float = 1.0, seed: int = SEED, days: int = DAYS) -> pd.DataFrame:
    """Return the readings of the coast stations."""
    return everything(effect, seed, days)["stations"]


def platforms(effect: float = 1.0, seed: int = SEED, days: int = DAYS) -> pd.DataFrame:
    """Return the readings of the platforms."""
    return everything(effect, seed, days)["platforms"]


def islands(effect: float = 1.0, seed: int = SEED, days: int = DAYS) -> pd.DataFrame:
    """Return the readings of the islands."""
    return everything(effect, seed, days)["islands"]


SCENE = Scene(
    name="ocean",
    title="Ocean stations, platforms and islands",
    cards=(STATIONS_CARD, PLATFORMS_CARD, ISLANDS_CARD),
    tables={STATIONS_CARD.name: stations, PLATFORMS_CARD.name: platforms, ISLANDS_CARD.name: islands},
)
