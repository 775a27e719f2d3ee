"""Wide models on a handle: how many columns an evaluation can have, and that more are refused before a fit is paid."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.learn import (
    AdditiveClassifier,
    CategoricalNB,
    GaussianNB,
    LinearRegression,
    LogisticRegression,
    cross_validate,
    evaluate,
    make_pipeline,
    search,
)
from cloister.learn.preprocessing import Binner
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.sandbox import literals, widen
from cloister.sandbox import session as sessions
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.features import columns
from cloister.sandbox.learn.sketches import sketch
from cloister.vault.mock import mock_table

FEATURES, BINS = 40, 32
NAMES = [f"measured_{number:02}" for number in range(FEATURES)]
GAPS = [f"gaps_{number:02}" for number in range(FEATURES)]
CARD = Card(
    name="lab.samples", title="Samples", description="Invented.", unit="patient", key=("patient",), normaliser="exact",
    population="clinic.patients", rows_per_unit=2, row_limit=100_000, grade="demonstration",
    columns=(
        Column("patient", "string", 2, "Patient", personal=True),
        Column("ill", "bool", 2, "Ill"),
        Column("kind", "string", 2, "Kind", domain=("a", "b", "c")),
        Column("level", "int", 2, "Level", low="0", high="500", step="1"),
        *(Column(name, "int", 2, "Measured", low="0", high="1000", step="1") for name in NAMES),
        *(Column(name, "int", 2, "Measured", low="0", high="1000", step="1", nullable=True) for name in GAPS),
    ),
    source="mock", retention="none", purposes=("teaching",),
)  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[cl.Frame, world.Vault]]:
    """A table of eighty measurements, with the noise off."""
    patch = pytest.MonkeyPatch()
    patch.setattr(world, "CARDS", {CARD.name: CARD})
    patch.setattr(world, "table", lambda card: mock_table(card, 400))
    session, vault = world.session(epsilon="1000")
    sessions.use(session)
    yield cl.Frame.of_table(session, CARD.name), vault
    sessions.use(None)
    patch.undo()


def rows() -> pd.DataFrame:
    return mock_table(CARD, 400).to_pandas()


def drawn(learner: Any, X: cl.Frame, y: Any) -> Model[Any]:
    """A model of the shape the learner's fit has, with numbers of a seed."""
    made, source = sketch(learner, X, y), random.Random(7)
    document = made.document
    weights = tuple(
        k.Weight(weight.name, literals.text_of(Fraction(source.randint(-200_000, 200_000), 10**5)), "1")
        for weight in document.weights
    )
    return type(made).from_document(msgspec.structs.replace(document, weights=weights))


def width(model: Model[Any]) -> int:
    return sum(1 for _ in columns(model.document.features))


@pytest.mark.parametrize("names", [NAMES, pytest.param(GAPS, marks=pytest.mark.slow)], ids=["complete", "gaps"])
def test_a_model_of_960_columns_is_evaluated(names: list[str], lab: tuple[cl.Frame, world.Vault]) -> None:
    from sklearn.metrics import roc_auc_score

    frame, _ = lab
    X = frame[names[:30]]
    model = drawn(AdditiveClassifier(bins=BINS, missing="drop"), X, frame.ill)
    assert width(model) == 960
    report = evaluate(model, X, frame.ill, by=frame.kind, share=0.1)
    here = rows().dropna(subset=names[:30])
    odds = model.decision_function(here)
    edges = np.array([float(edge) for edge in report.counts.edges.values])
    place = np.clip(np.searchsorted(edges, np.clip(odds, -6, 6), side="right") - 1, 0, report.counts.edges.bins - 1)
    assert report.counts.values.sum() == len(here)
    by_kind = report.counts.values.sum(axis=(1, 2))
    assert [by_kind[list(report.counts.groups).index(kind)] for kind in "abc"] == [
        (here.kind == kind).sum() for kind in "abc"
    ]
    assert float(report.roc_auc) == pytest.approx(roc_auc_score(here.ill, place), abs=1e-9)


def test_rows_without_a_score_are_left_out_by_their_features(lab: tuple[cl.Frame, world.Vault]) -> None:
    """Where the score were missing, its expression would be computed again for every mention: the plan was refused."""
    frame, vault = lab
    X = frame[GAPS[:2]]
    evaluate(drawn(AdditiveClassifier(bins=4, missing="drop"), X, frame.ill), X, frame.ill, share=0.1)
    plan = codec.decode(vault.releases()[-1])
    filters = [node for node in widen.same_columns(plan.source) if isinstance(node, a.Filter)]
    assert [widen.columns_of(node.where) for node in filters] == [set(GAPS[:2])]


def test_a_wider_one_is_refused_before_its_fit_is_paid(lab: tuple[cl.Frame, world.Vault]) -> None:
    frame, vault = lab
    X, y = frame[NAMES[:4]], frame.ill
    wide = AdditiveClassifier(bins=255)
    # The fit itself is possible: 1,020 columns.
    assert wide.cost(X, y, share=0.1).share == pytest.approx(0.1, rel=1e-3)
    before = len(vault.releases())
    calls: dict[str, Any] = {
        "folds": lambda: cross_validate(wide, X, y, folds=2, share=0.4),
        "search": lambda: search([LogisticRegression(), wide], X, y, share=0.4),
        "evaluate": lambda: evaluate(drawn(wide, X, y), X, y, share=0.1),
    }
    for name, call in calls.items():
        with pytest.raises(PlanError) as refused:
            call()
        assert refused.value.code in {"plan.cost", "plan.size"}, name
    assert len(vault.releases()) == before


LEARNERS: dict[str, Any] = {
    "linear": lambda d: (LinearRegression(missing="indicator"), d[["level", "kind", "gaps_00"]], d.measured_00),
    "of a condition": lambda d: (LinearRegression(), d[["level"]], d.ill),
    "Gaussian": lambda d: (GaussianNB(), d[["level", "measured_00", "kind"]], d.ill),
    "Gaussian of several": lambda d: (GaussianNB(missing="drop"), d[["level", "gaps_00"]], d.kind),
    "categorical": lambda d: (CategoricalNB(), d[["kind"]], d.ill),
    "logistic": lambda d: (LogisticRegression(steps=2, missing="indicator"), d[["level", "kind", "gaps_00"]], d.ill),
    "multinomial": lambda d: (LogisticRegression(steps=2), d[["level", "measured_00"]], d.kind),
    "additive": lambda d: (AdditiveClassifier(bins=4, rounds=1, missing="indicator"), d[["level", "gaps_00"]], d.ill),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_sketch_has_the_shape_of_the_fitted_model_and_its_evaluation_the_price(
    name: str, lab: tuple[cl.Frame, world.Vault]
) -> None:
    frame, _ = lab
    learner, X, y = LEARNERS[name](frame)
    made, fitted = sketch(learner, X, y), type(learner)(**{**learner.get_params(), "share": 0.05}).fit(X, y)
    assert type(made.document) is type(fitted.document)
    assert made.document.features == fitted.document.features
    one, other = (evaluate.cost(model, X, y, share=0.05) for model in (made, fitted))
    assert one.rho == pytest.approx(other.rho, rel=1e-9)
    assert one.usage.rows == other.usage.rows
    assert "made up" in repr(made), "nobody takes it for a model"


def test_a_pipeline_is_sketched_with_its_steps(lab: tuple[cl.Frame, world.Vault]) -> None:
    frame, vault = lab
    pipeline, X = make_pipeline(Binner(8), AdditiveClassifier()), frame[NAMES[:2]]
    before = len(vault.releases())
    shown = pipeline.previewed(X)
    assert width(sketch(pipeline.model, shown, frame.ill)) == 16
    price = cross_validate.cost(pipeline, X, frame.ill, folds=2, share=0.4)
    assert (price.usage.models, len(vault.releases())) == (2, before)


def test_a_column_that_is_a_cut_is_a_step_function_of_its_number(lab: tuple[cl.Frame, world.Vault]) -> None:
    frame, _ = lab
    gaps = frame.gaps_00.clip(50, 900)
    banded = frame.assign(level=cl.cut(frame.level, [0, 100, 250, 501]), gaps_00=cl.cut(gaps, [50, 300, 600, 901]))
    model = drawn(LogisticRegression(missing="indicator"), banded[["level", "gaps_00", "kind"]], banded.ill)
    odds = model.decision_function(banded)
    # Each inner edge is mentioned once; an equality would mention the number once for every edge of its cut.
    assert str(odds._term.scalar).count("Cut(") == 0
    rows = banded.assign(odds=odds).mock(200)
    assert rows.gaps_00.isna().sum() > 3
    assert rows["odds"].to_numpy(dtype=float) == pytest.approx(model.decision_function(rows), abs=1e-9)
    # Where the bins leave values out, these are missing too: each bin is a condition of its own.
    part = frame.assign(level=cl.cut(frame.level, [100, 250, 400]))
    model = drawn(LogisticRegression(missing="indicator"), part[["level", "kind"]], part.ill)
    rows = part.assign(odds=model.decision_function(part)).mock(200)
    assert rows["odds"].to_numpy(dtype=float) == pytest.approx(model.decision_function(rows), abs=1e-9)


@pytest.mark.slow
def test_a_pipeline_of_800_bins_is_priced(lab: tuple[cl.Frame, world.Vault]) -> None:
    frame, _ = lab
    pipeline = make_pipeline(Binner(32), AdditiveClassifier())
    price = cross_validate.cost(pipeline, frame[NAMES[:25]], frame.ill, folds=2, share=0.4)
    assert price.share == pytest.approx(0.4, rel=1e-3)
