"""The one question behind every figure of a score: how many rows of each class have a score in each public bin.

``roc_auc``, ``ks``, ``log_loss`` and the others ask the same plan for the same score, target, bins and precision, so
the first of them is charged and the rest are recalled.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import scalar
from cloister.sandbox import terms, widen
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.column import Column
from cloister.sandbox.cost import WITHOUT_N, Cost
from cloister.sandbox.group import keys_of
from cloister.sandbox.learn.metrics import noise
from cloister.sandbox.learn.metrics.edges import BINS, Edges, edges_of
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

T = TypeVar("T")
USEFUL = 0.1
"""The largest expected standard error, of a figure between 0 and 1, that is asked for without a warning."""
_FORMS = (
    "metrics.roc_auc(visits.smoker, model.predict(visits))",
    'metrics.roc_auc(visits.region == "north", model.predict(visits))',
)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Released rows per bin and class, with the scale of their noise.

    Attributes:
        values: (groups, bins, 2), negatives first; one group if none were asked.
        sigma: Scale of the discrete Gaussian noise of every count of a single group.
        edges: Public edges of the bins.
        groups: The groups, if any were asked.
        fact: Price, receipt and mode.
        per_unit: The most rows of one unit.
    """

    values: np.ndarray
    sigma: float
    edges: Edges
    groups: Any
    fact: Fact
    per_unit: int = 1

    @property
    def whole(self) -> Counts:
        """The counts of all groups together, without a further price; their noise adds up."""
        if self.groups is None:
            return self
        return dataclasses.replace(
            self, values=self.values.sum(axis=0, keepdims=True), sigma=self.sigma * len(self.values) ** 0.5, groups=None
        )

    @property
    def doubtful(self) -> np.ndarray:
        """Whether, in each group, a class is under three standard errors of its noise: then nothing is known."""
        least = noise.total_error(self.sigma, self.edges.bins)
        return np.asarray((self.values.sum(axis=1) < 3 * least).any(axis=-1))

    def table(self) -> pd.DataFrame:
        """Return the counts of all groups together, one line per bin."""
        held = self.whole
        index = pd.IntervalIndex.from_arrays(held.edges.lows, held.edges.highs, closed="left", name="score")
        return pd.DataFrame(held.values[0], index, ["negative", "positive"])


@dataclasses.dataclass(frozen=True)
class CountsAsk(Ask[T]):
    """The question for counts; tells what the noise does to a figure, and warns before a useless answer is paid."""

    figures: tuple[tuple[str, noise.Statistic], ...] = ()
    bins: int = 1

    def release(self, precision: Precision) -> T:
        """Ask the vault; see ``Ask``.

        Raises:
            PlanError: ``within=``: half-widths of these figures are not proportional to the noise.
        """
        found = self._expected(precision, precision.n or float(self.rows.schema.limit))
        worst = max(found.errors, key=found.errors.__getitem__) if found.errors else ""
        if worst and found.errors[worst] > USEFUL:
            many = f"{found.n:,.0f} rows" if precision.n else f"the most rows declared ({found.n:,.0f})"
            warnings.warn(
                f"epsilon {found.epsilon:.2g} is too little for {worst}: the expected standard error is "
                f"{found.errors[worst]:.2g} even at {many}; fewer bins (bins=16), fewer groups or more epsilon help",
                UserWarning,
                stacklevel=3,
            )
        return self.present(self.rows.session.release(self, dataclasses.replace(precision, n=None)))

    def cost(self, precision: Precision) -> Cost:
        """Return the price, and the expected error of each figure at ``n`` rows, half of each class."""
        return self._expected(precision, float(precision.n or WITHOUT_N))

    def _expected(self, precision: Precision, rows: float) -> Cost:
        if precision.within is not None:
            raise PlanError(
                "api.within",
                "how noise widens this figure depends on the data, so a half-width cannot be asked",
                nearest=("metrics.roc_auc.cost(y, score, epsilon=1, n=20_000)  # the expected standard error",),
            )
        found = self.rows.session.price(self, precision)
        (error,) = set(found.errors.values())
        sizes = np.linspace(1.0, 3.0, self.bins)
        model = rows / 2 * np.stack([sizes[::-1], sizes], axis=-1) / sizes.sum()
        tables = noise.drawn(model, max(error, 1e-3), draws=200)
        errors = {name: float(np.max(figure(tables).std(axis=0))) for name, figure in self.figures}
        return dataclasses.replace(found, errors=errors, n=rows)


def ask(
    y: Any,
    score: Any,
    present: Callable[[Counts], T],
    *,
    figures: tuple[tuple[str, noise.Statistic], ...],
    bins: Any = BINS,
    by: Any = None,
    pos_label: Any = None,
) -> CountsAsk[T]:
    """Return the question for the counts of a score; ``present`` makes of them what is wanted.

    Raises:
        PlanError: Not columns of the same rows, no binary target, no number for a score, or groups that are not closed.
    """
    rows, target = checked(y, score, pos_label)
    edges, term = edges_of(score._term, bins=bins), score._term
    if edges.width is not None or edges.log_odds:
        rows, term = _complete(rows, term)
        # A long expression becomes a column, computed once for all that mention it.
        name = widen.name_of("score", term.scalar)
        rows = rows.on(a.Derive(rows.relation, ((name, term.scalar),)))
        term = rows.term(name)
    groups: dict[str, Term] = {}
    if by is not None:
        rows, groups = keys_of(rows, {}, by)
    keys = {**groups, _free("score bin", groups): edges.bin_of(term), _free("target", groups): target}

    def shown(answer: Answer) -> T:
        return present(_counts(answer, edges, len(groups), rows.schema.rows))

    return CountsAsk(rows, (a.Count("rows"),), shown, keys, figures=figures, bins=edges.bins)


def _complete(rows: Rows, term: Term) -> tuple[Rows, Term]:
    """Return the rows that have a score, and the score without its gaps.

    Rows without one are counted nowhere. Left out by a condition on their features, the score itself is complete; left
    out where the score is missing, its expression would be computed once more for each of its mentions.
    """
    if not isinstance(term.scalar, a.Only):
        return rows, term
    inner = term.scalar.term
    rows = rows.on(a.Filter(rows.relation, term.scalar.when))
    return rows, Term(inner, scalar(inner, rows.schema))


def checked(y: Any, score: Any, pos_label: Any = None) -> tuple[Rows, Term]:
    """Return the rows a target and a score share, and the target as a condition.

    Raises:
        PlanError: They share none, or the target is no condition.
    """
    for column in (y, score):
        if not isinstance(column, Column):
            raise PlanError(
                "api.metrics",
                f"this figure is of two columns of a handle, not of a {type(column).__name__}",
                nearest=_FORMS,
                next_step="sklearn.metrics takes rows that are here already",
            )
    return same(y._rows, score._rows), positive(y, pos_label)


def positive(y: Column, pos_label: Any = None) -> Term:
    """Return whether a row is positive: the condition itself, or whether a closed column has the label.

    Raises:
        PlanError: ``api.metrics.target``.
    """
    term = y._term
    if pos_label is not None:
        known = term.domain if term.grid.kind == "category" else None
        if term.grid.kind not in {"category", "bool", "number"} or (known is not None and pos_label not in known):
            raise _no_target(y, f"has no value {pos_label!r}")
        if known is not None:
            # The plan knows the bins of a labelled cut by their edges.
            pos_label = term.grid.domain[known.index(pos_label)]
        found: Term = (Column(y._rows, dataclasses.replace(term, labels=()), y.name) == pos_label)._term
        return found
    if term.grid.kind == "bool":
        return term
    if term.grid.kind == "number" and term.grid.step == 1 and (term.grid.lo, term.grid.hi) == (0, 1):
        return terms.compare("eq", term, terms.literal(1, term.grid))
    raise _no_target(y, "is no condition")


def warn_of_noise(ask: Ask[Any], precision: Precision, cells: int, what: str) -> None:
    """Warn before counts are paid that noise would drown, were all rows that are declared spread evenly over them."""
    found = ask.cost(precision)
    (error,) = set(found.errors.values())
    most = ask.rows.schema.limit
    if 3 * error * cells > most:
        warnings.warn(
            f"epsilon {found.epsilon:.2g} is too little for {what}: the expected standard error of each of {cells} "
            f"counts is {error:,.0f} rows, of at most {most:,} in all; fewer columns or bins, or more epsilon help",
            UserWarning,
            stacklevel=4,
        )


def raw_counts(answer: Answer) -> tuple[np.ndarray, float]:
    """Return the counts called ``rows`` as they were released, in the order of the cells, and the scale of their noise.

    Shaped counts are cut off at zero, which would bias every sum of them; these may be below it.
    """
    part = next(item for item in answer.layout.measures if item.name == "rows").components[0]
    place = sum(item.width for item in answer.layout.components[:part])
    table = np.array([float(value) for value in answer.raw]).reshape(-1, answer.layout.width)
    return table[:, place], answer.sigmas[part]


def _counts(answer: Answer, edges: Edges, groups: int, per_unit: int) -> Counts:
    raw, sigma = raw_counts(answer)
    index = None if not groups else answer.margin(list(range(groups))).index()
    return Counts(raw.reshape(-1, edges.bins, 2), sigma, edges, index, answer.fact, per_unit)


def _free(name: str, taken: dict[str, Term]) -> str:
    while name in taken:
        name += "_"
    return name


def _no_target(y: Column, why: str) -> PlanError:
    values = list(y._term.domain)[:1]
    label = f"{y._rows.label}.{y.name or 'region'}"
    forms = (f"metrics.roc_auc({label} == {values[0]!r}, score)",) if values else _FORMS
    return PlanError("api.metrics.target", f"the target {y.name or ''} {why}".replace("  ", " "), nearest=forms)
