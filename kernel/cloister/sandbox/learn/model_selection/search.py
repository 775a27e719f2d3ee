"""``cross_validate`` and ``search``: K trainings and K evaluations, at one price that is said before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import html, render
from cloister.sandbox.answer import Fact
from cloister.sandbox.column import Column
from cloister.sandbox.cost import Cost
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import asking, tables
from cloister.sandbox.learn.model_selection import trials
from cloister.sandbox.learn.model_selection.splits import KFold, train_test_split
from cloister.sandbox.learn.model_selection.trials import Tried
from cloister.sandbox.precision import NORMAL_95
from cloister.sandbox.release import Release

_FOLDS = "cross_validate(model, X, y, folds=5, share=0.3)"
_SEARCH = "search([LinearRegression(alpha=a) for a in (1, 10)], X, y, share=0.3)"


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """Trained models with their evaluations, one line each.

    Attributes:
        metric: The figure shown.
        table: Value, error and interval of it for every fold or candidate.
        reports: All figures of each.
        models: The trained models.
        summary: What it comes to.
        fact: Price and receipts of everything together.
    """

    metric: str
    table: pd.DataFrame
    reports: tuple[Any, ...]
    models: tuple[Any, ...]
    summary: str
    fact: Fact

    @property
    def release(self) -> Release:
        """The facts of all releases, with the figures as values."""
        return tables.release_of(self.table, self.fact, self.summary)

    def __repr__(self) -> str:
        body = self.table.to_string(float_format="{:.4g}".format)
        return "\n".join([self.metric, body, *render.facts(self.release)])

    def _repr_html_(self) -> str:
        head = html.paragraph(html.strong(self.metric), html.mark(self.fact.mode, self.fact.assurance))
        body = self.table.to_html(float_format="{:.4g}".format)
        return html.block(head, body, *map(html.note, render.facts(self.release)))


@dataclasses.dataclass(frozen=True, repr=False)
class CrossValidation(Comparison):
    """Figures of folds; ``mean`` is their mean with the noise of all of them."""

    mean: float = math.nan
    mean_stderr: float = math.nan
    between: float = math.nan
    """Standard deviation of the figures from fold to fold, the noise included."""

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the noise of the mean."""
        return self.mean - NORMAL_95 * self.mean_stderr, self.mean + NORMAL_95 * self.mean_stderr


@dataclasses.dataclass(frozen=True, repr=False)
class Search(Comparison):
    """Figures of candidates; ``best`` is the trained model whose released figure was best."""

    best: Any = None
    best_name: str = ""
    clear: bool = False
    """Whether it is ahead of the next by more than the noise of their difference (95 %)."""


class CrossValidate:
    """``cross_validate``: call it, or ask ``.cost()`` first."""

    def __call__(
        self,
        model: Any,
        X: Frame,  # noqa: N803 (scikit-learn's names)
        y: Column,
        *,
        folds: int = 5,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> CrossValidation:
        """Train on all folds but one and evaluate on that one, for each fold; people are in one fold only.

        Each training sees most people, so the trainings' prices add up. The evaluations are on folds without a person
        in common; an account that knew it would charge the dearest of them, this one books their sum.

        Args:
            model: A model or pipeline of ``cloister.learn``; its own price is not used.
            X: A handle of features.
            y: The target.
            folds: How many, 2 to 20.
            metric: The figure shown; all are in ``reports``.
            epsilon: Privacy price of everything together: three quarters for the trainings, the rest for the
                evaluations; or
            share: the same as a share of your total. One of them must be said.
            random_state: Another one is another split.

        Raises:
            PlanError: Nothing was said about the price, or the model cannot be trained. Nothing was charged.
        """
        wish = {"epsilon": epsilon, "share": share}
        asked, name = _folded(model, X, y, folds=folds, metric=metric, random_state=random_state, **wish)
        return _averaged(trials.run(asked), name)

    def cost(
        self,
        model: Any,
        X: Frame,  # noqa: N803
        y: Column,
        *,
        folds: int = 5,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> Cost:
        """Return what all trainings and evaluations cost together; nothing is spent."""
        wish = {"epsilon": epsilon, "share": share}
        asked, _ = _folded(model, X, y, folds=folds, metric=metric, random_state=random_state, **wish)
        return trials.cost(asked)

    def __repr__(self) -> str:
        return "<cross_validate: call it to train and evaluate, or .cost() for the price of all of it>"


class Searching:
    """``search``: call it, or ask ``.cost()`` first."""

    def __call__(
        self,
        candidates: Any,
        X: Frame,  # noqa: N803 (scikit-learn's names)
        y: Column,
        *,
        test_size: float = 0.25,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> Search:
        """Train every candidate on one part of the people, evaluate it on the other, and choose the best.

        K candidates cost K trainings and K evaluations; choosing among released figures is free. The best figure of
        several is too good on average: evaluate the chosen model on people that were in neither part.

        Args:
            candidates: Models or pipelines, or a dict of them by name.
            X: A handle of features.
            y: The target.
            test_size: Share of the units that evaluate.
            metric: The figure that decides.
            epsilon: Privacy price of everything together: three quarters for the trainings, the rest for the
                evaluations; or
            share: the same as a share of your total. One of them must be said.
            random_state: Another one is another split.

        Raises:
            PlanError: Nothing was said about the price, or a candidate cannot be trained. Nothing was charged.
        """
        wish = {"epsilon": epsilon, "share": share}
        asked, name = _candidates(
            candidates, X, y, test_size=test_size, metric=metric, random_state=random_state, **wish
        )
        return _chosen(trials.run(asked), name)

    def cost(
        self,
        candidates: Any,
        X: Frame,  # noqa: N803
        y: Column,
        *,
        test_size: float = 0.25,
        metric: str | None = None,
        epsilon: Any = None,
        share: Any = None,
        random_state: int | str = 0,
    ) -> Cost:
        """Return what all trainings and evaluations cost together; nothing is spent."""
        wish = {"epsilon": epsilon, "share": share}
        asked, _ = _candidates(candidates, X, y, test_size=test_size, metric=metric, random_state=random_state, **wish)
        return trials.cost(asked)

    def __repr__(self) -> str:
        return "<search: call it to train and evaluate all candidates, or .cost() for the price of all of it>"


def _folded(
    model: Any,
    X: Any,  # noqa: N803
    y: Any,
    *,
    folds: int,
    metric: str | None,
    random_state: Any,
    epsilon: Any,
    share: Any,
) -> tuple[list[trials.Trial], str]:
    """Return the priced trials of a cross-validation, and the figure they are compared by."""
    asking.check_handles(X, y, _FOLDS, what="cross_validate")
    name = trials.metric_of(y, metric)
    trials.check_models([model])
    parts = KFold(folds, random_state=random_state).split(X, y)
    found = [
        trials.Trial(f"fold {place + 1}", model, (train, y_train), (test, y_test))
        for place, (train, test, y_train, y_test) in enumerate(parts)
    ]
    what = f"cross-validation is {folds} trainings and {folds} evaluations"
    return trials.priced(found, epsilon, share, what, _FOLDS), name


def _candidates(
    candidates: Any,
    X: Any,  # noqa: N803
    y: Any,
    *,
    test_size: float,
    metric: str | None,
    random_state: Any,
    epsilon: Any,
    share: Any,
) -> tuple[list[trials.Trial], str]:
    """Return the priced trials of a search, and the figure that decides."""
    asking.check_handles(X, y, _SEARCH, what="search")
    known = _named(candidates)
    name = trials.metric_of(y, metric)
    trials.check_models(known.values())
    train, test, y_train, y_test = train_test_split(X, y, test_size=test_size, random_state=random_state)
    found = [trials.Trial(title, model, (train, y_train), (test, y_test)) for title, model in known.items()]
    what = f"a search over {len(found)} candidates is {len(found)} trainings and {len(found)} evaluations"
    return trials.priced(found, epsilon, share, what, _SEARCH), name


def _named(candidates: Any) -> dict[str, Any]:
    if isinstance(candidates, Mapping):
        found = {str(name): model for name, model in candidates.items()}
    else:
        listed = list(candidates) if isinstance(candidates, Iterable) else [candidates]
        found = {}
        for model in listed:
            name, number = repr(model).partition("\n")[0], 2
            free = name
            while free in found:
                free, number = f"{name} ({number})", number + 1
            found[free] = model
    if len(found) < 2 or not all(hasattr(model, "fit") and hasattr(model, "get_params") for model in found.values()):
        raise PlanError("api.learn.search", "a search is over two or more models", nearest=(_SEARCH,))
    return found


def _averaged(tried: list[Tried], metric: str) -> CrossValidation:
    found = [trials.figure_of(one.report, metric) for one in tried]
    table = tables.table({one.name: tables.line(figure) for one, figure in zip(tried, found, strict=True)}, "fold")
    mean = float(table["value"].mean(skipna=False))
    error = float(np.sqrt((table["stderr"] ** 2).sum()) / len(table))
    between = float(table["value"].std())
    text = (
        f"mean {metric} {render.number(mean, error)} ± {render.number(error, error)} (privacy noise), "
        f"{between:.2g} from fold to fold; {len(table)} trainings and {len(table)} evaluations"
    )
    models = tuple(one.model for one in tried)
    reports = tuple(one.report for one in tried)
    return CrossValidation(metric, table, reports, models, text, trials.facts(tried), mean, error, between)


def _chosen(tried: list[Tried], metric: str) -> Search:
    found = [trials.figure_of(one.report, metric) for one in tried]
    table = tables.table({one.name: tables.line(figure) for one, figure in zip(tried, found, strict=True)}, "candidate")
    sign = -1 if metric in trials.LESS else 1
    # What is not known is never chosen before what is.
    values = (sign * table["value"]).fillna(-np.inf).to_numpy()
    order = np.argsort(-values, kind="stable")
    first, second = order[0], order[1]
    error = float(np.hypot(table["stderr"].iloc[first], table["stderr"].iloc[second]))
    # Of two that are not known neither is ahead.
    clear = bool(np.isfinite(values[first]) and values[first] - values[second] > NORMAL_95 * error)
    name = str(table.index[first])
    ahead = "clearly ahead of the next" if clear else "not clearly ahead of the next: the noise may have chosen"
    text = f"best {metric}: {name}, {ahead}; {len(table)} trainings and {len(table)} evaluations, the choice is free"
    models, reports = tuple(one.model for one in tried), tuple(one.report for one in tried)
    return Search(metric, table, reports, models, text, trials.facts(tried), tried[first].model, name, clear)


cross_validate = CrossValidate()
search = Searching()
