"""Chronic kidney disease at five hospitals: the same columns, other patients (S0-D03).

200,000 patients, of whom about 0.22 % are diagnosed with chronic kidney disease in the two years after the visit.

Planted effect: five causes raise the risk alike, and each hospital is a centre for one of them. ``effect`` is how far a
hospital sees only its own kind of patients: with 1 the other four causes do not vary there, so its data cannot show
what they do; with 0 all hospitals see the same mixture, and one hospital's data show all that the five together do.
Age and kidney function matter everywhere. Those diagnosed were seen ``LEAD_MONTHS`` months earlier on average.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import pandas as pd

from cloister.contract.card import Card, Column
from cloister.demo.cards import category, number
from cloister.demo.cases import draws
from cloister.demo.generators import SEXES
from cloister.demo.scene import Scene

SEED = 20_261_129
RATE = 0.0022
LEAD_MONTHS = 24
CAUSES = ("albuminuria", "hba1c", "blood_pressure", "uric_acid", "painkillers")
COMMON = ("age", "egfr")
FEATURES = (*COMMON, *CAUSES)
PURPOSE = "kidney research"
_CAUSE_WEIGHT = 4.5
_COMMON_WEIGHT = 0.5

# Hospital, the cause it is a centre for, patients, declared size class.
HOSPITALS = {
    "north_clinic": ("albuminuria", 60_000, 65_536),
    "diabetes_centre": ("hba1c", 50_000, 65_536),
    "heart_house": ("blood_pressure", 40_000, 65_536),
    "city_hospital": ("uric_acid", 30_000, 32_768),
    "pain_clinic": ("painkillers", 20_000, 32_768),
}


def _card(hospital: str, limit: int) -> Card:
    return Card(
        name=f"{hospital}.patients",
        title=f"Patients of {hospital.replace('_', ' ')}",
        description="Adults at their last visit, and whether kidney disease was diagnosed in the two years after it. "
        "Invented.",
        unit="patient",
        key=("patient",),
        normaliser="exact",
        population=f"{hospital}.patients",
        rows_per_unit=1,
        row_limit=limit,
        grade="demonstration",
        columns=(
            Column("patient", "int", 2, "National health number", low="1", high="9999999", step="1", personal=True),
            category("sex", SEXES, "Sex as registered"),
            number("age", "18", "100", "1", "Age", measure="years"),
            number("egfr", "15", "120", "1", "Estimated filtration rate of the kidneys", measure="ml/min"),
            number("albuminuria", "0", "300", "1", "Albumin to creatinine ratio in urine", measure="mg/g"),
            number("hba1c", "4.0", "14.0", "0.1", "Long-term blood sugar", measure="%"),
            number("blood_pressure", "80", "200", "1", "Systolic blood pressure", measure="mmHg"),
            number("uric_acid", "2.0", "12.0", "0.1", "Uric acid", measure="mg/dl"),
            number("painkillers", "0", "30", "1", "Days with painkillers, of the last thirty", measure="days"),
            Column("ckd", "bool", 3, "Kidney disease diagnosed within two years", personal=True),
            number("lead_months", "0", "48", "1", "Months from the visit to the diagnosis", nullable=True, tier=3),
        ),
        source="Seeded generator cloister.demo.cases.ckd.patients",
        retention="deleted with the case",
        purposes=(PURPOSE,),
    )


CARDS = tuple(_card(hospital, limit) for hospital, (_, _, limit) in HOSPITALS.items())


@lru_cache(maxsize=2)
def everybody(effect: float = 1.0, seed: int = SEED) -> dict[str, pd.DataFrame]:
    """Return the tables of all hospitals, by hospital."""
    rng = np.random.default_rng(seed)
    sizes = [patients for _, patients, _ in HOSPITALS.values()]
    home = np.repeat(np.arange(len(HOSPITALS)), sizes)
    people = len(home)
    shares = {name: rng.random(people) for name in FEATURES}
    for place, name in enumerate(CAUSES):
        # A centre sees the whole range of its own cause; elsewhere people are near the middle of it.
        spread = np.where(home == place, 1.0, 1.0 - effect)
        shares[name] = 0.5 + spread * (shares[name] - 0.5)
    score = sum(_CAUSE_WEIGHT * (2 * shares[name] - 1) for name in CAUSES)
    score += _COMMON_WEIGHT * (2 * shares["age"] - 1) - _COMMON_WEIGHT * (2 * shares["egfr"] - 1)
    ill = draws.outcomes(rng, np.asarray(score), RATE)
    months = np.rint(np.clip(rng.normal(LEAD_MONTHS, 6, people), 1, 48))
    whole = pd.DataFrame({"patient": rng.permutation(np.arange(1_000_000, 9_000_000))[:people]})
    whole["sex"] = np.array(SEXES)[rng.integers(0, 2, people)]
    for name in FEATURES:
        whole[name] = draws.values(CARDS[0], name, shares[name])
    whole["ckd"] = ill
    whole["lead_months"] = np.where(ill, months, np.nan)
    return {name: whole[home == place].reset_index(drop=True) for place, name in enumerate(HOSPITALS)}


def patients(hospital: str, effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the table of one hospital."""
    return everybody(effect, seed)[hospital]


SCENE = Scene(
    name="ckd",
    title="Kidney disease at five hospitals",
    cards=CARDS,
    tables={f"{hospital}.patients": partial(patients, hospital) for hospital in HOSPITALS},
)
