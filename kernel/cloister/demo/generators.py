"""The demonstration tables: two seeded generators and two real, public data sets.

The generated tables are invented; their effects are written here and nowhere else, so a tour can be read against
the truth. The real ones come with the libraries: ``fair`` (Fair 1978, the *Redbook* survey, statsmodels) and
``diabetes`` (Efron et al. 2004, scikit-learn, unscaled). Every function is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

VISITS_PATIENTS = 20_000
CUSTOMERS = 100_000
SEED = 20_261_121

SEXES = ("female", "male")
REGIONS = ("north", "east", "south", "west", "centre")
SEGMENTS = ("basic", "plus", "premium")
OCCUPATIONS = ("student", "worker", "white-collar", "skilled", "managerial", "professional")

_REGION_COST = np.array([0.0, 45.0, -30.0, 20.0, 90.0])
_REGION_WEIGHTS = np.array([0.22, 0.18, 0.25, 0.20, 0.15])


def visits(patients: int = VISITS_PATIENTS, seed: int = SEED) -> pd.DataFrame:
    """Return hospital visits, 1..6 per patient; ``bmi`` is missing in about 2 % of the rows.

    Effects: BMI rises with age up to 60 and is 0.8 higher for men; cost differs by region, rises with age and
    a little with BMI. Region, sex and a patient's own level are the same in all visits of a patient.
    """
    rng = np.random.default_rng(seed)
    count = rng.choice(np.arange(1, 7), size=patients, p=[0.34, 0.24, 0.17, 0.12, 0.08, 0.05])
    who = np.repeat(np.arange(patients), count)
    sex = rng.integers(0, 2, patients)
    region = rng.choice(len(REGIONS), patients, p=_REGION_WEIGHTS)
    age = np.clip(np.rint(rng.normal(51, 20, patients)), 0, 100).astype(np.int64)
    level = rng.normal(0, 3.4, patients)

    rows = len(who)
    day = rng.integers(0, (np.datetime64("2024-12-31") - np.datetime64("2022-01-01")).astype(int) + 1, rows)
    bmi = 22.5 + 0.07 * np.minimum(age[who], 60) + 0.8 * sex[who] + level[who] + rng.normal(0, 0.5, rows)
    cost = 180 + 2.4 * age[who] + 3.0 * (bmi - 25) + _REGION_COST[region[who]] + rng.gamma(2.0, 60.0, rows)
    shown_bmi = np.where(rng.random(rows) < 0.02, np.nan, np.round(np.clip(bmi, 10, 60), 1))
    return pd.DataFrame(
        {
            "patient_id": [f"P{n:05d}" for n in who],
            "date": (np.datetime64("2022-01-01") + day.astype("timedelta64[D]")).astype("datetime64[s]"),
            "age": age[who],
            "sex": np.array(SEXES)[sex[who]],
            "region": np.array(REGIONS)[region[who]],
            "bmi": shown_bmi,
            "cost": np.rint(np.clip(cost, 0, 2000)).astype(np.int64),
        }
    )


def customers(rows: int = CUSTOMERS, seed: int = SEED + 1) -> pd.DataFrame:
    """Return bank customers, one row each.

    Effects: income rises with age to 50 and by segment; balance follows income; churn falls with the number of
    products and with tenure, and is higher in the basic segment.
    """
    rng = np.random.default_rng(seed)
    age = np.clip(np.rint(rng.normal(46, 16, rows)), 18, 95).astype(np.int64)
    segment = rng.choice(len(SEGMENTS), rows, p=[0.6, 0.3, 0.1])
    income = 18_000 + 500 * np.minimum(age, 50) + np.array([0, 14_000, 45_000])[segment] + rng.gamma(2, 6_000, rows)
    income = np.clip(np.rint(income / 100) * 100, 0, 200_000).astype(np.int64)
    balance = 0.25 * income + 120 * (age - 18) + rng.normal(0, 9_000, rows)
    products = 1 + rng.binomial(4, np.array([0.2, 0.4, 0.6])[segment])
    tenure = np.minimum(rng.integers(0, 31, rows), age - 18)
    score = 0.1 - 0.55 * products - 0.06 * tenure - 0.3 * segment + rng.logistic(0, 1, rows)
    return pd.DataFrame(
        {
            "customer_id": np.arange(1, rows + 1),
            "age": age,
            "income": income,
            "region": np.array(REGIONS)[rng.choice(len(REGIONS), rows, p=_REGION_WEIGHTS)],
            "segment": np.array(SEGMENTS)[segment],
            "balance": (np.rint(np.clip(balance, -20_000, 200_000) / 10) * 10).astype(np.int64),
            "products": products,
            "tenure": tenure,
            "digital": rng.random(rows) < 0.85 - 0.005 * (age - 18),
            "churned": score > 0,
        }
    )


def fair() -> pd.DataFrame:
    """Return the real *Redbook* survey: 6,366 respondents, one row each; occupation codes become words.

    ``respondent`` is the row's number: the survey itself carries no identifier.
    """
    from statsmodels.datasets import fair as source  # noqa: PLC0415 (an optional dependency, loaded when asked)

    data = source.load_pandas().data
    names = dict(enumerate(OCCUPATIONS, start=1))
    whole = ("rate_marriage", "religious", "educ")
    return pd.DataFrame(
        {
            "respondent": np.arange(1, len(data) + 1),
            "rate_marriage": data.rate_marriage.astype("int64"),
            "age": data.age,
            "yrs_married": data.yrs_married,
            "children": data.children,
            **{name: data[name].astype("int64") for name in whole[1:]},
            "occupation": data.occupation.astype("int64").map(names),
            "occupation_husb": data.occupation_husb.astype("int64").map(names),
            "affairs": data.affairs,
        }
    )


def diabetes() -> pd.DataFrame:
    """Return the real diabetes study: 442 patients, ten baseline values and disease progression after a year."""
    # Read from the files that scikit-learn brings: to import it takes longer than to build all other tables.
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    names = ["age", "sex", "bmi", "bp", *(f"s{number}" for number in range(1, 7))]
    data = pd.DataFrame(np.loadtxt(folder / "diabetes_data_raw.csv.gz"), columns=names)
    data["target"] = np.loadtxt(folder / "diabetes_target.csv.gz")
    whole = ("age", "sex", "s1", "s6", "target")
    frame = data.astype(dict.fromkeys(whole, "int64"))
    frame.insert(0, "subject", np.arange(1, len(frame) + 1))
    return frame


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "st_anna.visits": visits,
    "st_anna.diabetes": diabetes,
    "survey.fair": fair,
    "city_bank.customers": customers,
}
