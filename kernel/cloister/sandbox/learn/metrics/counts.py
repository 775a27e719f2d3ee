"""The one question behind every figure of a score: how many rows of each class have a score in each public bin.

``roc_auc``, ``ks``, ``log_loss`` and the others ask the same plan for the same score, target, bins and precision, so
the first of them is charged and the rest are recalled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import scalar
from cloister.sandbox import terms, widen
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.column import Column
from cloister.sandbox.cost import WITHOUT_N, Cost
from cloister.sandbox.doubts import Checked, Expected, Expects, Noise
from cloister.sandbox.group import keys_of
from cloister.sandbox.learn import expected
from cloister.sandbox.learn.metrics import noise
from cloister.sandbox.learn.metrics.edges import BINS, Edges, edges_of
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

T = TypeVar("T")
Figures = tuple[tuple[str, noise.Statistic], ...]
_DRAWS = 200
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
class CountsAsk(Checked[T]):
    """The question for counts; its price tells what the noise does to each figure."""

    figures: Figures = ()
    bins: int = 1

    def cost(self, precision: Precision) -> Cost:
        """Return the price, and the expected error of each figure at ``n`` rows, half of each class.

        Raises:
            PlanError: ``within=``: half-widths of these figures are not proportional to the noise.
        """
        if precision.within is not None:
            raise PlanError(
                "api.within",
                "how noise widens this figure depends on the data, so a half-width cannot be asked",
                nearest=("metrics.roc_auc.cost(y, score, epsilon=1, n=20_000)  # the expected standard error",),
            )
        found = self.rows.session.price(self, precision)
        rows = float(precision.n or WITHOUT_N)
        errors = _errors(self.figures, self.bins, rows, max(found.errors.values()))
        return self.doubted(dataclasses.replace(found, errors=errors, n=rows), precision)

    def release(self, precision: Precision) -> T:
        """Ask the vault; see ``Checked``."""
        if precision.within is not None:
            self.cost(precision)
        return super().release(precision)


def _errors(figures: Figures, bins: int, rows: float, error: float) -> dict[str, float]:
    """Return the standard errors of figures."""
    tables = noise.drawn(_model(bins, rows), max(error, 1e-3), draws=_DRAWS)
    return {name: float(np.max(figure(tables).std(axis=0))) for name, figure in figures}


def _model(bins: int, rows: float) -> np.ndarray:
    """Return the counts of a score that tells two classes of one size apart, somewhat."""
    sizes = np.linspace(1.0, 3.0, bins)
    return np.asarray(rows / 2 * np.stack([sizes[::-1], sizes], axis=-1) / sizes.sum())


def _expects(figure: tuple[str, noise.Statistic], bins: int, *, apart: bool) -> Expects:
    """Return what noise comes to: how far a figure of all rows is off, or ``apart`` that of every group.

    Root mean square, not the standard error: noise alone makes a maximum that hardly varies.
    """
    name, statistic = figure
    # The same draws at every noise: what is said to be needed is enough.
    drawn = np.random.default_rng(0).normal(size=(_DRAWS, bins, 2))

    def expects(held: Noise) -> Expected:
        groups, error = held.layout.cells / (2 * bins), max(held.stderr)
        rows, error = (held.rows / groups, error) if apart else (held.rows, error * groups**0.5)
        model = _model(bins, rows)
        off = float(np.sqrt(((statistic(model + error * drawn) - statistic(model)) ** 2).mean(axis=0)).max())
        helps = "fewer groups or bins" if groups > 1 else "fewer bins (bins=16)"
        return Expected(off, expected.FIGURE, expected.figure(name, off), helps)

    return expects


def ask(
    y: Any,
    score: Any,
    present: Callable[[Counts], T],
    *,
    figures: Figures,
    bins: Any = BINS,
    by: Any = None,
    pos_label: Any = None,
    what: str = "",
) -> CountsAsk[T]:
    """Return the question for the counts of a score; ``present`` makes of them what is wanted.

    ``what`` is asked for: by default the first of the ``figures``, in every group if there are some.

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

    expects = _expects(figures[0], edges.bins, apart=not what)
    return CountsAsk(
        rows,
        (a.Count("rows"),),
        shown,
        keys,
        figures=figures,
        bins=edges.bins,
        what=what or figures[0][0],
        expects=expects,
    )


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
