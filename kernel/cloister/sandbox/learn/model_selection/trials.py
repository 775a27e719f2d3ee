"""Trainings with an evaluation each: what ``cross_validate`` and ``search`` are made of, and what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from cloister.errors import PlanError
from cloister.sandbox.answer import Fact
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import said
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import prices
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.classifier import Classifier
from cloister.sandbox.learn.metrics.edges import BINS
from cloister.sandbox.learn.metrics.report import Report, _evaluate, evaluation
from cloister.sandbox.learn.model import FittedModel
from cloister.sandbox.learn.preprocessing.pipeline import Pipeline, repriced
from cloister.sandbox.learn.sketches import sketch
from cloister.sandbox.precision import Precision

FIT_PART = Fraction(3, 4)
_OF_CONDITIONS = ("roc_auc", "gini", "ks", "average_precision", "accuracy", "log_loss", "brier")
_OF_NUMBERS = ("r2", "mean_absolute_error")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training and where it is evaluated; ``fit`` and ``test`` are shares of the analyst's total."""

    name: str
    model: Any
    train: tuple[Frame, Column]
    test: tuple[Frame, Column]
    fit: float = 0.0
    evaluation: float = 0.0


@dataclasses.dataclass(frozen=True)
class Tried:
    """A trained model with its evaluation."""

    name: str
    model: Any
    report: Report


def priced(trials: Sequence[Trial], epsilon: Any, share: Any, what: str, form: str) -> list[Trial]:
    """Return trials with a price each: three quarters of the whole for the trainings, the rest for the evaluations.

    Raises:
        PlanError: ``api.learn.price``: no price was said. A loop of releases spends nothing by itself.
    """
    if epsilon is None and share is None:
        own = [trial.model.cost(*trial.train) for trial in trials]
        costs = [*own, *(_stand_in(trial, Precision()) for trial in trials)]
        raise prices.must_say(what, prices.together(trials[0].train[0]._rows.session, costs), form)
    each = [FIT_PART / len(trials), (1 - FIT_PART) / len(trials)]
    parts = prices.divided(trials[0].train[0]._rows, epsilon, share, each)
    return [dataclasses.replace(trial, fit=parts[0], evaluation=parts[1]) for trial in trials]


def cost(trials: Sequence[Trial]) -> Cost:
    """Return what trials cost together, with the expected errors of a fold's or candidate's figures at 1,000 rows."""
    costs = []
    for trial in trials:
        costs.append(dataclasses.replace(repriced(trial.model, trial.fit).cost(*trial.train), errors={}))
        costs.append(_stand_in(trial, Precision(share=trial.evaluation)))
    return prices.together(trials[0].train[0]._rows.session, costs)


def run(trials: Sequence[Trial], bins: Any = BINS) -> list[Tried]:
    """Train and evaluate, after everything was typed and priced once.

    Raises:
        CloisterError: Any refusal. What was released before it was charged; asked again, it is recalled.
    """
    found = []
    with said(cost(trials)):
        for trial in trials:
            model = repriced(trial.model, trial.fit).fit(*trial.train)
            found.append(Tried(trial.name, model, report(model, *trial.test, share=trial.evaluation, bins=bins)))
    return found


def report(model: Any, X: Frame, y: Column, *, share: float, bins: Any = BINS) -> Report:  # noqa: N803
    """Release the evaluation of a model."""
    return _evaluate(model, X, y, bins=bins).release(Precision(share=share))


def figure_of(found: Report, metric: str) -> Any:
    """Return one figure of a report.

    Raises:
        PlanError: ``api.metrics.figure``: it has no such figure.
    """
    if metric not in found.figures:
        raise PlanError(
            "api.metrics.figure",
            f"an evaluation of {found.name} has no {metric!r}",
            next_step=f"it has {', '.join(found.figures)}",
        )
    return found.figures[metric]


def check_models(models: Iterable[Any]) -> None:
    """Refuse what is not evaluated against a target, before any of it is trained.

    Raises:
        PlanError: ``api.learn.model``.
    """
    for model in models:
        inner = getattr(model, "model", model)
        known = isinstance(inner, Classifier | FittedModel) or not isinstance(inner, Model)
        if not known or not all(callable(getattr(inner, name, None)) for name in ("fit", "cost", "predict")):
            what = "a pipeline without a model" if inner is None else f"a {type(inner).__name__}"
            raise PlanError(
                "api.learn.model",
                f"{what} predicts no target, so there is nothing to compare",
                nearest=("search([LinearRegression(alpha=a) for a in (1, 10)], X, y, share=0.3)",),
            )


def metric_of(y: Column, metric: str | None) -> str:
    """Return which figure is compared: of a condition AUC, of a closed column accuracy, of a number R2, unless named.

    Raises:
        PlanError: ``api.metrics.figure``.
    """
    grid = y._term.grid
    binary = grid.kind == "bool" or (grid.kind == "number" and grid.points == 2)
    known = _OF_CONDITIONS if binary else ("accuracy",) if grid.kind == "category" else _OF_NUMBERS
    if metric is not None and metric not in known:
        raise PlanError(
            "api.metrics.figure", f"{y.name} is not evaluated by {metric!r}", next_step=f"one of {', '.join(known)}"
        )
    return metric or known[0]


LESS = frozenset({"log_loss", "brier", "mean_absolute_error"})
"""Figures of which less is better."""


def facts(tried: Sequence[Tried]) -> Fact:
    """Return price and receipts of all releases: trainings and evaluations."""
    own = [found.model for found in tried]
    return prices.joined(
        [*(fact for model in own for fact in _facts_of(model)), *(found.report.fact for found in tried)]
    )


def _facts_of(model: Any) -> list[Fact]:
    steps = [step.fact for step in getattr(model, "charged", []) if hasattr(step, "fact")]
    inner = getattr(model, "model", model)
    return [*steps, inner.release.fact]


def _stand_in(trial: Trial, wish: Precision) -> Cost:
    """Return what an evaluation costs before there is a model: that of a model of the same shape.

    Raises:
        PlanError: ``plan.cost``, ``plan.size``: the model would be too wide to be evaluated. Nothing was charged.
    """
    X, y = trial.test  # noqa: N806
    inner, shown = trial.model, X
    if isinstance(inner, Pipeline):
        inner, shown = inner.model, inner.previewed(X)
    made = sketch(inner, shown, y)
    grid = y._term.grid
    several = grid.kind == "category" or (grid.kind == "number" and grid.points > 2)
    if made is not None:
        found = _evaluate(made, shown, y).cost(wish)
    elif several:
        found = _evaluate(_Itself(y), X, y).cost(wish)
    else:
        numbers = [name for name, term in X._columns.items() if term.grid.kind == "number" and term.grid.points >= BINS]
        score = Column(X._rows, X._columns[numbers[0]], "score") if numbers else y
        found = evaluation(y, score).cost(wish)
    return dataclasses.replace(found, errors={}) if several else found


class _Itself:
    """A model that predicts (half of) the target: what its evaluation costs does not depend on what it predicts."""

    def __init__(self, y: Column) -> None:
        self._y = y

    def predict(self, _X: Any) -> Any:  # noqa: N803
        return self._y / 2 if self._y._term.grid.kind == "number" else self._y
