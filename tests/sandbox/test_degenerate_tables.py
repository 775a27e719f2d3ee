"""Tables from which there is little to learn: every learner makes a model, and its card says what happened.

What data are like is no reason to refuse (that would tell), so no matching key, one class, a column that stands, two
people, nothing but gaps and a label nobody has are all fitted. What the card says of them is computed from the sums
that were charged for the model: there is one release, and nothing beside it.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.learn import (
    PCA,
    AdditiveClassifier,
    CategoricalNB,
    GaussianNB,
    KMeans,
    LinearRegression,
    LogisticRegression,
    Scorecard,
)
from cloister.sandbox import session as sessions
from cloister.sandbox.session import Session
from cloister.vault import noise
from cloister.vault.engine import Engine
from cloister.vault.question import Question

FEATURES = ["age", "region", "bmi"]
PRICE: dict[str, Any] = {"epsilon": 8, "missing": "indicator"}


def with_band(frame: cl.Frame) -> cl.Frame:
    return frame.assign(band=cl.cut(frame.bmi, [10, 25, 40, 61]))


LEARNERS: dict[str, Callable[[cl.Frame], Any]] = {
    "ridge": lambda f: LinearRegression(**PRICE).fit(f[FEATURES], f.cost),
    "logistic": lambda f: LogisticRegression(**PRICE).fit(f[FEATURES], f.smoker),
    "multinomial": lambda f: LogisticRegression(**PRICE).fit(f[FEATURES], f.sex),
    "gaussian": lambda f: GaussianNB(**PRICE).fit(f[["age", "bmi"]], f.smoker),
    "gaussian of several": lambda f: GaussianNB(**PRICE).fit(f[["age", "bmi"]], f.sex),
    "categorical": lambda f: CategoricalNB(**PRICE).fit(with_band(f)[["region", "band"]], f.smoker),
    "k-means": lambda f: KMeans(3, **PRICE).fit(f[FEATURES]),
    "components": lambda f: PCA(**PRICE).fit(f[FEATURES]),
    "additive": lambda f: AdditiveClassifier(bins=8, **PRICE).fit(f[FEATURES], f.smoker),
    "scorecard": lambda f: Scorecard().of(AdditiveClassifier(bins=8, **PRICE).fit(f[FEATURES], f.smoker)),
}
CLASSIFIERS = ("logistic", "multinomial", "gaussian", "gaussian of several", "categorical", "additive", "scorecard")


def whole() -> pd.DataFrame:
    return world.reference(world.VISITS).assign(age=lambda rows: rows.age.clip(upper=100))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "ordinary": whole,
    "no matching key": whole,
    "no rows": lambda: whole().iloc[:0],
    "two people": lambda: whole().pipe(lambda rows: rows[rows.patient_id.isin(rows.patient_id.unique()[:2])]),
    "one class": lambda: whole().assign(smoker=False, sex="F"),
    "the other class": lambda: whole().assign(smoker=True, sex="X"),
    "columns that stand": lambda: whole().assign(age=40, region="north", cost=0),
    "nothing but gaps": lambda: whole().assign(bmi=np.nan),
    "a label nobody has": lambda: whole().query("region != 'west'"),
}
DEGENERATE = [name for name in TABLES if name != "ordinary"]
NOBODY, STANDS, ONE = "no more rows than noise would show", "the same in every row", "there is nothing to tell apart"


def expected(learner: str, table: str) -> tuple[str, ...]:
    """Return what the card has to mention; of ``one class`` and gaps only where the learner can know."""
    match table:
        case "no matching key" | "no rows" | "two people":
            return (NOBODY,)
        case "one class" | "the other class":
            return (NOBODY, ONE) if learner in CLASSIFIERS else ()
        case "columns that stand":
            seen = "region=north" if learner in {"categorical", "k-means"} else "age"
            return (STANDS, seen, *(["there is nothing to predict"] if learner == "ridge" else []))
        case "nothing but gaps":
            return (STANDS, "band missing" if learner == "categorical" else "bmi")
        case _:
            if learner in {"gaussian", "gaussian of several"}:
                return ()  # they have no labels
            return (STANDS if learner in {"ridge", "components"} else NOBODY, "region=west")


class Vault(world.Vault):
    """A vault over one of the tables."""

    def __init__(self, table: str) -> None:
        super().__init__(noise=True, mode="confidential", epsilon="100")
        self._engine = engine(table)

    def _fitted(self, question: Question, engine: Engine) -> tuple[Question, list[int]]:
        """Draw noise that is the same in every run: a tail of it would be taken for data, as it should be."""
        source = random.Random(f"{world.SEED} {question.release}")

        def gaussian(values: Sequence[int], sigma: float) -> list[int]:
            return [value + round(source.gauss(0, sigma)) for value in values]

        with mock.patch.object(noise, "gaussian", gaussian):
            return super()._fitted(question, engine)


@functools.lru_cache(maxsize=2)
def engine(table: str) -> Engine:
    found = Engine(1)
    held = TABLES[table]().astype({"region": str, "sex": str})
    held["date"] = held.date.dt.date
    rows = pa.Table.from_pandas(held, world.table(world.VISITS).schema, preserve_index=False)
    found.load("clinic.visits", world.VISITS, rows, bytes(32))
    return found


def handle(table: str) -> tuple[cl.Frame, Vault]:
    vault = Vault(table)
    session = Session(vault)
    sessions.use(session)
    frame = cl.Frame.of_table(session, "clinic.visits")
    if table == "no matching key":
        # Nobody is over 100: the keys of the right side match none of the left.
        frame = frame.merge(frame[frame.age > 100][["date"]].rename(columns={"date": "day"}), on="patient_id")
    return frame, vault


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("table", DEGENERATE)
def test_a_degenerate_table_makes_a_model_whose_card_says_so(table: str, learner: str) -> None:
    frame, vault = handle(table)
    try:
        model = LEARNERS[learner](frame)
    finally:
        sessions.use(None)
    assert len(vault.releases()) == 1, "what the card says was charged with the model"
    _check_use(model)
    again = type(model).from_json(model.to_json())
    card = str(again.model_card())
    assert card == str(model.model_card())
    for text in expected(learner, table):
        assert text in card, model.notes_
    if table in {"no matching key", "no rows", "two people"} or ("class" in table and learner in CLASSIFIERS):
        assert not model.reliable_
        assert "NOT RELIABLE" in card


def _check_use(model: Any) -> None:
    """Every number is finite, every row has a prediction, and the model leaves in every form."""
    values = model.table()["value"].to_numpy(dtype=float)
    assert len(values)
    assert np.isfinite(values).all()
    here = whole().head(40).assign(band=lambda rows: pd.cut(rows.bmi, [10, 25, 40, 61], right=False))
    found = model.transform(here) if isinstance(model, PCA) else model.predict(here)
    assert len(found) == 40
    assert not pd.isna(np.asarray(found, dtype=object)).any()
    if hasattr(model, "predict_proba"):
        shares = model.predict_proba(here)
        assert np.isfinite(shares).all()
        assert shares.sum(axis=1) == pytest.approx(1.0)
    if hasattr(model, "to_sklearn"):
        assert model.to_sklearn() is not None
    assert model.to_onnx()


@pytest.mark.parametrize("learner", LEARNERS)
def test_of_an_ordinary_table_the_card_says_nothing_of_the_kind(learner: str) -> None:
    frame, _ = handle("ordinary")
    try:
        model = LEARNERS[learner](frame)
    finally:
        sessions.use(None)
    card = str(model.model_card())
    assert STANDS not in card
    assert ONE not in card
    known = "region=(other)", "of (other)", "band missing", "bmi missing"
    for note in model.notes_:
        assert NOBODY not in note or any(label in note for label in known), note
    assert learner == "ridge" or model.reliable_


def test_what_noise_hides_is_not_said() -> None:
    """At a price at which no column would be seen to vary, none is said to stand."""
    frame, _ = handle("ordinary")
    try:
        model = LogisticRegression(epsilon=0.4, missing="indicator").fit(frame[FEATURES], frame.smoker)
    finally:
        sessions.use(None)
    assert not any(STANDS in note or "region=" in note for note in model.notes_)
    assert math.isfinite(model.n_)
