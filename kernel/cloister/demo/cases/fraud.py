"""Two lists of telephone numbers used for fraud, each hidden from the other party (S2-D01).

A telephone carrier and an authority each have a list of 100,000 numbers, out of two million invented ones.

Planted effect: a number is bad or not, and both parties hear of bad numbers. ``effect`` is how much more often the
authority lists a number that the carrier's later checks confirm; with 0 the authority's list is drawn by chance, so
being on both lists says nothing. A few of the authority's numbers are wanted at once (tier 4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from cloister.contract.card import Card, Column
from cloister.contract.exits import Exits, MatchTerms
from cloister.demo.cards import category, number
from cloister.demo.scene import Scene

SEED = 20_261_130
NUMBERS = 100_000
UNIVERSE = 2_000_000
FIRST = 555_000_000
KINDS = ("loan", "parcel", "investment", "impersonation", "prize")
CONFIRMED = 0.55
LISTED = 0.40
PURPOSE = "fraud prevention"

CARRIER = Card(
    name="carrier.numbers",
    title="Numbers reported to the carrier",
    description="Telephone numbers that customers reported for fraud in one year. Invented.",
    unit="number",
    key=("number",),
    normaliser="exact",
    population="carrier.numbers",
    rows_per_unit=1,
    row_limit=131_072,
    grade="demonstration",
    columns=(
        Column("number", "int", 2, "The telephone number", personal=True),
        category("kind", KINDS, "What the caller pretended"),
        number("reports", "1", "50", "1", "How many customers reported it"),
        Column("confirmed", "bool", 3, "Confirmed as fraud by the carrier's own check, later", personal=True),
    ),
    source="Seeded generator cloister.demo.cases.fraud.carrier",
    retention="deleted with the case",
    purposes=(PURPOSE,),
)

AUTHORITY = Card(
    name="authority.numbers",
    title="Numbers in the authority's files",
    description="Telephone numbers that occur in case files of one year. Invented.",
    unit="number",
    key=("number",),
    normaliser="exact",
    population="authority.numbers",
    rows_per_unit=1,
    row_limit=131_072,
    grade="demonstration",
    columns=(
        Column("number", "int", 2, "The telephone number", personal=True),
        category("case_kind", KINDS, "What the case is about", tier=3),
        number("cases", "1", "20", "1", "In how many cases it occurs", tier=3),
        Column("wanted", "bool", 4, "Wanted at once: in no statistic, for matches only", personal=True),
    ),
    source="Seeded generator cloister.demo.cases.fraud.authority",
    retention="deleted with the case",
    purposes=(PURPOSE,),
)


@lru_cache(maxsize=2)
def both(effect: float = 1.0, seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the two lists, as the parties hold them."""
    rng = np.random.default_rng(seed)
    every = FIRST + rng.permutation(UNIVERSE)
    reported, others = every[:NUMBERS], every[NUMBERS:]
    confirmed = rng.random(NUMBERS) < CONFIRMED
    kind = rng.integers(0, len(KINDS), NUMBERS)
    # By chance alone a list of 100,000 among two million holds one number in twenty.
    chance = np.where(confirmed, effect * LISTED + (1 - effect) * NUMBERS / UNIVERSE, NUMBERS / UNIVERSE)
    found = rng.random(NUMBERS) < chance
    also = NUMBERS - int(found.sum())
    # Where both know a number, they mostly agree what it was about.
    told = np.where(rng.random(NUMBERS) < 0.8, kind, rng.integers(0, len(KINDS), NUMBERS))[found]
    carrier = pd.DataFrame(
        {
            "number": reported,
            "kind": np.array(KINDS)[kind],
            "reports": np.clip(rng.geometric(0.25, NUMBERS), 1, 50),
            "confirmed": confirmed,
        }
    )
    authority = pd.DataFrame(
        {
            "number": np.concatenate([reported[found], others[:also]]),
            "case_kind": np.array(KINDS)[np.concatenate([told, rng.integers(0, len(KINDS), also)])],
            "cases": np.clip(rng.geometric(0.5, NUMBERS), 1, 20),
            "wanted": rng.random(NUMBERS) < 0.02,
        }
    )
    return carrier, authority.iloc[rng.permutation(NUMBERS)].reset_index(drop=True)


def carrier(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the carrier's list."""
    return both(effect, seed)[0]


def authority(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the authority's list."""
    return both(effect, seed)[1]


SCENE = Scene(
    name="fraud",
    title="Two-way check of fraud lists",
    cards=(CARRIER, AUTHORITY),
    tables={CARRIER.name: carrier, AUTHORITY.name: authority},
    exits=Exits(
        matches=(
            MatchTerms("authority.numbers", "number", per_contract=100_000, per_target=1),
            MatchTerms("carrier.numbers", "number", per_contract=100_000, per_target=1),
            MatchTerms("authority.numbers", "wanted", per_contract=1_000, per_target=1),
        )
    ),
    brokers="each",
)
