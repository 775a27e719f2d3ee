"""Carbon rating of 286 public buildings, known to three parties (S2-D06).

The power company knows electricity, the gas company gas, the city's registry ten indicators of each building. The
rating A to E is by kilograms of CO2 per square metre and year, which needs both meters.

Planted effect: half of the buildings burn gas, and ``effect`` is how far gas differs from the ``USUAL_GAS`` that the
power company would have to assume. With effect 0 every building uses that much, and electricity alone gives the rating.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from cloister.contract.card import Card, Column
from cloister.demo.cards import category, number
from cloister.demo.cases import draws
from cloister.demo.scene import Scene

SEED = 20_261_132
BUILDINGS = 286
KINDS = ("office", "school", "hotel", "hospital", "mall")
HEATING = ("gas", "electric", "district")
RATINGS = ("A", "B", "C", "D", "E")
EDGES = (45, 65, 85, 105)
"""Kilograms of CO2 per square metre and year at which the next rating begins."""
USUAL_GAS = 60
PURPOSE = "carbon rating"
POWER_FACTOR, GAS_FACTOR = 0.5, 0.2
_KIND_POWER = np.array([95.0, 65.0, 130.0, 165.0, 145.0])


def _card(name: str, title: str, description: str, columns: tuple[Column, ...]) -> Card:
    return Card(
        name=name,
        title=title,
        description=description,
        unit="building",
        key=("building",),
        normaliser="exact",
        population="buildings",
        rows_per_unit=1,
        row_limit=512,
        grade="demonstration",
        columns=(Column("building", "int", 2, "Number in the city's registry"), *columns),
        source="Seeded generator cloister.demo.cases.carbon",
        retention="deleted with the case",
        purposes=(PURPOSE,),
    )


POWER = _card(
    "power.meters",
    "Electricity of public buildings",
    "Yearly electricity of 286 public buildings. Invented.",
    (number("power", "0", "320", "1", "Electricity", measure="kWh/m2", personal=False),),
)
GAS = _card(
    "gas.meters",
    "Gas of public buildings",
    "Yearly gas of 286 public buildings. Invented.",
    (number("gas", "0", "250", "1", "Gas", measure="kWh/m2", personal=False),),
)
REGISTRY = _card(
    "registry.buildings",
    "Registry of public buildings",
    "Ten indicators of 286 public buildings. Invented.",
    (
        category("kind", KINDS, "What it is used for", personal=False),
        category("heating", HEATING, "What it is heated with", personal=False),
        number("area", "500", "100000", "500", "Floor area", measure="m2", personal=False),
        number("floors", "1", "60", "1", "Floors", personal=False),
        number("year", "1900", "2030", "1", "Year of construction", personal=False),
        number("insulation", "1", "5", "1", "Class of insulation, 1 poor to 5 good", personal=False),
        number("glazing", "0.00", "1.00", "0.01", "Part of the facade that is glass", personal=False),
        number("people", "0", "5000", "10", "People on a usual day", personal=False),
        number("lifts", "0", "40", "1", "Lifts", personal=False),
        number("hours", "0", "24", "1", "Hours open a day", measure="hours", personal=False),
    ),
)


@lru_cache(maxsize=2)
def everything(effect: float = 1.0, seed: int = SEED) -> dict[str, pd.DataFrame]:
    """Return the three tables, by provider."""
    rng = np.random.default_rng(seed)
    building = rng.permutation(np.arange(1_000, 10_000))[:BUILDINGS]
    kind = rng.choice(len(KINDS), BUILDINGS, p=[0.42, 0.28, 0.14, 0.10, 0.06])
    heating = rng.choice(len(HEATING), BUILDINGS, p=[0.5, 0.3, 0.2])
    insulation = rng.integers(1, 6, BUILDINGS)
    power = _KIND_POWER[kind] * rng.lognormal(0, 0.25, BUILDINGS)
    burnt = np.where(
        heating == 0, rng.normal(150, 30, BUILDINGS) - 15 * (insulation - 3), rng.uniform(0, 12, BUILDINGS)
    )
    gas = USUAL_GAS + effect * (burnt - USUAL_GAS)
    area = rng.lognormal(9.2, 0.8, BUILDINGS)
    registry = pd.DataFrame(
        {
            "building": building,
            "kind": np.array(KINDS)[kind],
            "heating": np.array(HEATING)[heating],
            "area": draws.values(REGISTRY, "area", (area - 500) / 99_500),
            "floors": np.clip(np.rint(area / 2_500) + rng.integers(0, 6, BUILDINGS), 1, 60).astype(np.int64),
            "year": rng.integers(1950, 2024, BUILDINGS),
            "insulation": insulation,
            "glazing": np.round(rng.beta(2, 3, BUILDINGS), 2),
            "people": draws.values(REGISTRY, "people", area / 25 / 5_000),
            "lifts": np.clip(np.rint(area / 6_000), 0, 40).astype(np.int64),
            "hours": np.clip(rng.normal(np.array([11, 9, 24, 24, 13])[kind], 1), 0, 24).astype(np.int64),
        }
    )
    meters = {"power": draws.values(POWER, "power", power / 320), "gas": draws.values(GAS, "gas", gas / 250)}
    found = {name: pd.DataFrame({"building": building, name: values}) for name, values in meters.items()}
    # Each party keeps its own order.
    shuffled = {name: frame.iloc[rng.permutation(BUILDINGS)].reset_index(drop=True) for name, frame in found.items()}
    return {**shuffled, "registry": registry}


def truth(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return all that is known about each building, with both ratings: for the teacher, who invented the data."""
    tables = everything(effect, seed)
    whole = tables["registry"].merge(tables["power"]).merge(tables["gas"])
    whole["carbon"] = POWER_FACTOR * whole.power + GAS_FACTOR * whole.gas
    whole["rating"] = _rated(whole.carbon)
    whole["rating_by_power"] = _rated(POWER_FACTOR * whole.power + GAS_FACTOR * USUAL_GAS)
    return whole


def _rated(carbon: pd.Series) -> np.ndarray:
    return np.array(RATINGS)[np.searchsorted(EDGES, carbon.to_numpy(), side="right")]


def power(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the power company's table."""
    return everything(effect, seed)["power"]


def gas(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the gas company's table."""
    return everything(effect, seed)["gas"]


def registry(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the registry's table."""
    return everything(effect, seed)["registry"]


SCENE = Scene(
    name="carbon",
    title="Carbon rating of 286 buildings",
    cards=(POWER, GAS, REGISTRY),
    tables={POWER.name: power, GAS.name: gas, REGISTRY.name: registry},
)
