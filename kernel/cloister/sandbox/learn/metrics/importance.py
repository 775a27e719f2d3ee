"""Importance of features: how much worse a model is without one, trained anew (drop) or as it is (ablation)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import html, render, terms
from cloister.sandbox.answer import Fact
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import said
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, prices
from cloister.sandbox.learn.metrics.report import Report, _evaluate, figure_names
from cloister.sandbox.learn.tables import release_of, table
from cloister.sandbox.precision import Precision
from cloister.sandbox.release import Release
from cloister.sandbox.terms import Term

_DROP = 'metrics.drop_importance(model, visits[["age", "region"]], visits.smoker, share=0.4)'
_ABLATE = "metrics.ablation_importance(model, visits, visits.smoker, share=0.2)"
_ANEW = "if the model is trained anew without a feature; every training has noise of its own"
TRAINED = 1.15
"""How much wider than the noise of evaluations an interval is that also holds falls of models that are trained again.

Three quarters of a price go to the trainings, and their noise moves a figure far less than that of its evaluation: in
simulations by .02 (few numbers) to .32 times as much (80 labels, next to no epsilon); .4 is allowed for.
"""
_COVERS = "95 % intervals: noise of the evaluations (of this model, on these people)"
_COVERS_ALL = (
    f"95 % intervals: noise of the evaluations, {100 * (TRAINED - 1):.0f} % wider for that of the trainings (on these "
    "people)"
)
_OF_ANY_SCORE = ("roc_auc", "gini", "ks", "average_precision")
_OF_SOME_SCORES = ("accuracy", "log_loss", "brier")
"""Figures of a probability, or of a score that reaches the threshold; what an unknown model predicts may be neither."""
_HELD = "if a feature is held at the middle of its public range (or its first level); the model is not trained anew"


@dataclasses.dataclass(frozen=True, repr=False)
class Importance:
    """How much a figure falls without each feature.

    Attributes:
        metric: The figure.
        table: Fall, standard error and interval of every feature, the largest first.
        fact: Price and receipts of all releases.
        meaning: What "without" means.
        covers: What the intervals cover, and what not.
    """

    metric: str
    table: pd.DataFrame
    fact: Fact
    meaning: str
    covers: str

    @property
    def release(self) -> Release:
        """The facts of the releases, with the falls as values."""
        return release_of(self.table, self.fact, f"fall of {self.metric} {self.meaning}")

    def plot(self, **options: Any) -> Any:
        """Draw the falls as bars with their 95 % intervals; see ``covers``."""
        return self.release.plot.barh(**options)

    def __repr__(self) -> str:
        head = [f"fall of {self.metric}", self.covers]
        return "\n".join([*head, self.table.to_string(float_format="{:.3g}".format), *render.facts(self.release)])

    def _repr_html_(self) -> str:
        head = html.paragraph(html.strong(f"fall of {self.metric}"), html.mark(self.fact.mode, self.fact.assurance))
        body = self.table.to_html(float_format="{:.3g}".format)
        return html.block(head, html.note(self.covers), body, *map(html.note, render.facts(self.release)))


class DropImportance:
    """``metrics.drop_importance``: call it, or ask ``.cost()`` first."""

    def __call__(
        self,
        model: Any,
        X: Frame,  # noqa: N803 (scikit-learn's names)
        y: Column,
        *,
        features: Any = None,
        metric: str | None = None,
        test_size: float = 0.25,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> Importance:
        """Release how much a figure falls if the model is trained without a feature (drop-column importance).

        With K features asked about, K + 1 models are trained on one part of the people and evaluated on the other: one
        with all features, and one without each. Where another feature says the same, the model trained without this one
        uses that, and the fall is small: what falls is what only this feature tells. ``ablation_importance`` trains
        nothing anew and is much cheaper.

        Errors and intervals are those of the noise of the evaluations, and wider by a constant (``TRAINED``) for that
        of the trainings, so that they also hold the falls of models that are trained again at this price. They are of
        the people who are there: another ``random_state`` is another split of them.

        Args:
            model: A model or pipeline, fitted or not: copies of it are trained; its own price is not used.
            X: The handle with its features.
            y: The target.
            features: Which to leave out, one at a time; by default all columns of ``X``.
            metric: The figure; AUC of a condition, R2 of a number by default.
            test_size: Share of the units that evaluate.
            epsilon: Privacy price of everything together: three quarters for the trainings, the rest for the
                evaluations; or
            share: the same as a share of your total. One of them must be said.
            random_state: Another one is another split.

        Raises:
            PlanError: Nothing was said about the price, no such feature, a model that cannot be trained, or a figure
                that its evaluation may not have. Nothing was charged.
        """
        from cloister.sandbox.learn.model_selection import trials  # noqa: PLC0415 (it builds on evaluation)

        wish = {"test_size": test_size, "epsilon": epsilon, "share": share, "random_state": random_state}
        asked, name = _trained(model, X, y, features, metric, **wish)
        tried = trials.run(asked)
        return _fallen({one.name: one.report for one in tried}, name, trials.facts(tried), _ANEW, _COVERS_ALL)

    def cost(
        self,
        model: Any,
        X: Frame,  # noqa: N803
        y: Column,
        *,
        features: Any = None,
        metric: str | None = None,
        test_size: float = 0.25,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> Cost:
        """Return what all trainings and evaluations cost together; nothing is spent."""
        from cloister.sandbox.learn.model_selection import trials  # noqa: PLC0415 (it builds on evaluation)

        wish = {"test_size": test_size, "epsilon": epsilon, "share": share, "random_state": random_state}
        return trials.cost(_trained(model, X, y, features, metric, **wish)[0])

    def __repr__(self) -> str:
        return "<drop_importance: call it to train and evaluate, or .cost() for the price of all of it>"


class AblationImportance:
    """``metrics.ablation_importance``: call it, or ask ``.cost()`` first."""

    def __call__(
        self,
        model: Any,
        X: Frame,  # noqa: N803 (scikit-learn's names)
        y: Column,
        *,
        features: Any = None,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
    ) -> Importance:
        """Release how much a figure falls if a feature is held constant: one evaluation per feature, and one whole.

        The trained model stays; a feature is held at the middle of its public range, a condition at False, a category
        at its first level. That says what this model makes of the feature, not what could be known without it: of two
        features that say the same, a model may use either or both. ``drop_importance`` trains anew.

        Args:
            model: A fitted model.
            X: The handle with its features.
            y: The target.
            features: Which to hold; by default all columns of ``X``.
            metric: The figure; AUC of a condition, R2 of a number by default.
            epsilon: Privacy price of all evaluations together; or
            share: the same as a share of your total. One of them must be said.

        Raises:
            PlanError: Nothing was said about the price, or no such feature. Nothing was charged.
        """
        asks, name = self._asks(model, X, y, features, metric)
        parts = self._parts(asks, X, epsilon, share)
        with said(_together(asks, parts, X)):
            reports = {
                feature: ask.release(Precision(share=part))
                for (feature, ask), part in zip(asks.items(), parts, strict=True)
            }
        fact = prices.joined([report.fact for report in reports.values()])
        return _fallen(reports, name, fact, _HELD, _COVERS)

    def cost(
        self,
        model: Any,
        X: Frame,  # noqa: N803
        y: Column,
        *,
        features: Any = None,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
    ) -> Cost:
        """Return what all evaluations cost together; nothing is spent."""
        asks, _ = self._asks(model, X, y, features, metric)
        parts = self._parts(asks, X, epsilon, share)
        return _together(asks, parts, X)

    def _asks(self, model: Any, X: Any, y: Any, features: Any, metric: str | None) -> tuple[dict[str, Any], str]:  # noqa: N803
        asking.check_handles(X, y, _ABLATE, what="ablation_importance")
        from cloister.sandbox.learn.model_selection.trials import metric_of  # noqa: PLC0415 (it builds on evaluation)

        used = getattr(model, "feature_names_in_", None)
        known = list(X) if used is None else [name for name in X if name in set(used)]
        asks: dict[str, Any] = {"": _evaluate(model, X, y)}
        for name in _named(features, known):
            held = X.assign(**{X._need(name): Column(X._rows, constant(X._columns[name]), name)})
            asks[name] = _evaluate(model, held, y)
        name = metric_of(y, metric)
        _check_figure(name, model, X, y)
        return asks, name

    def _parts(self, asks: dict[str, Any], X: Frame, epsilon: Any, share: Any) -> list[float]:  # noqa: N803
        if epsilon is None and share is None:
            whole = prices.together(X._rows.session, [ask.cost(Precision()) for ask in asks.values()])
            raise prices.must_say(f"importance of {len(asks) - 1} features is {len(asks)} evaluations", whole, _ABLATE)
        return prices.divided(X._rows, epsilon, share, [Fraction(1, len(asks))] * len(asks))

    def __repr__(self) -> str:
        return "<ablation_importance: call it to release, or .cost() for the price of all evaluations>"


def _together(asks: Mapping[str, Any], shares: Sequence[float], X: Frame) -> Cost:  # noqa: N803
    costs = [ask.cost(Precision(share=part)) for ask, part in zip(asks.values(), shares, strict=True)]
    return prices.together(X._rows.session, costs)


def _trained(
    model: Any,
    X: Any,  # noqa: N803
    y: Any,
    features: Any,
    metric: str | None,
    *,
    test_size: float,
    epsilon: Any,
    share: Any,
    random_state: Any,
) -> tuple[list[Any], str]:
    """Return the priced trials of all models to train, that with every feature first, and the figure compared."""
    from cloister.sandbox.learn.model_selection import splits, trials  # noqa: PLC0415 (they build on evaluation)

    asking.check_handles(X, y, _DROP, what="drop_importance")
    name = trials.metric_of(y, metric)
    trials.check_models([model])
    known = list(X)
    gone = _named(features, known)
    for feature in gone:
        X._need(feature)
    if len(known) < 2:
        raise PlanError(
            "api.metrics.importance",
            "a model of one feature has nothing to learn from without it",
            nearest=(_ABLATE,),
        )
    train, test, y_train, y_test = splits.train_test_split(X, y, test_size=test_size, random_state=random_state)
    found = []
    for feature in ("", *gone):
        kept = [other for other in known if other != feature]
        found.append(trials.Trial(feature, model, (train[kept], y_train), (test[kept], y_test)))
        _check_trained(name, model, test[kept], y_test)
    what = f"drop importance of {len(gone)} features is {len(found)} trainings and {len(found)} evaluations"
    return trials.priced(found, epsilon, share, what, _DROP), name


def _check_trained(figure: str, model: Any, X: Frame, y: Column) -> None:  # noqa: N803
    """Check that a model will have a figure once it is trained. One of unknown shape may predict any score."""
    from cloister.sandbox.learn.preprocessing.pipeline import Pipeline  # noqa: PLC0415 (it builds on evaluation)
    from cloister.sandbox.learn.sketches import sketch  # noqa: PLC0415

    if isinstance(model, Pipeline):
        model, X = model.model, model.previewed(X)  # noqa: N806
    made = sketch(model, X, y)
    if made is not None:
        _check_figure(figure, made, X, y)
    elif figure in _OF_SOME_SCORES and y._term.grid.kind != "category":
        raise _no_figure(figure, _OF_ANY_SCORE)


def _check_figure(figure: str, model: Any, X: Frame, y: Column) -> None:  # noqa: N803
    if figure not in (there := figure_names(model, X, y)):
        raise _no_figure(figure, there)


def _no_figure(figure: str, there: Sequence[str]) -> PlanError:
    return PlanError(
        "api.metrics.figure",
        f"an evaluation of this model has no {figure!r}, or not for certain",
        next_step=f"it has {', '.join(there)}",
    )


def _named(features: Any, known: list[str]) -> list[str]:
    if features is None:
        return known
    return list(dict.fromkeys([features] if isinstance(features, str) else features))


def constant(term: Term) -> Term:
    """Return a public value of the kind of a column, within its range and of its type.

    Raises:
        PlanError: ``api.metrics.importance``: it is no feature.
    """
    grid = term.grid
    if grid.kind == "bool":
        value = terms.literal(False, None)
    elif grid.kind == "number":
        value = terms.literal((grid.lo + grid.hi) // 2 * grid.step, grid)
    elif grid.kind == "category":
        value = terms.literal(grid.domain[0], grid)
    else:
        raise PlanError("api.metrics.importance", "a date or text is no feature", nearest=(_ABLATE,))
    # A choice between the value and the column that never falls on the column: range and domain stay those of it.
    held = terms.case(terms.literal(False, None), term, value)
    return dataclasses.replace(held, labels=term.labels)


def _fallen(reports: Mapping[str, Report], metric: str, fact: Fact, meaning: str, covers: str) -> Importance:
    from cloister.sandbox.learn.model_selection.trials import LESS, figure_of  # noqa: PLC0415

    whole, wider = figure_of(reports[""], metric).release, TRAINED if covers == _COVERS_ALL else 1.0
    lines = {}
    for name, report in reports.items():
        held = figure_of(report, metric).release
        if name:
            lines[name] = fall(whole, held, wider) if metric not in LESS else fall(held, whole, wider)
    found = table(lines, "feature").sort_values("value", ascending=False)
    return Importance(metric, found, fact, meaning, covers)


def fall(first: Any, second: Any, wider: float = 1.0) -> dict[str, Any]:
    """Return by how much the first of two released figures is above the second, with the interval of their noises.

    The noises are independent, and of each figure it is known how far it reaches to either side: the reaches are added
    as squares (Zou and Donner, Construction of confidence limits about effect measures, 2008).

    Args:
        first: A figure with its error and interval.
        second: Another one.
        wider: How many times as wide the interval is.
    """
    value = first.value - second.value
    return {
        "value": value,
        "stderr": wider * float(np.hypot(first.stderr, second.stderr)),
        "low": value - wider * float(np.hypot(first.value - first.low, second.high - second.value)),
        "high": value + wider * float(np.hypot(first.high - first.value, second.value - second.low)),
        "unreliable": first.unreliable or second.unreliable,
    }


drop_importance = DropImportance()
ablation_importance = AblationImportance()
