"""Steps before a model, in scikit-learn's words: what they do is decided by the data card, or by a charged release.

    Clip({"age": (18, 90)}), Scaler(), Binner(8), OneHot(), MissingIndicator(), Fill(0), WoE(share=0.02)

``fit`` of all but ``Binner(strategy="quantile")`` and ``WoE`` is free: public bounds and domains decide. A fitted step
is data (``operations``); ``transform`` takes handles and DataFrames alike. No step changes which rows there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.sandbox import literals, quantiles
from cloister.sandbox.ask import Ask
from cloister.sandbox.cost import Cost
from cloister.sandbox.doubts import checked
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import expected
from cloister.sandbox.learn.preprocessing import operations as ops
from cloister.sandbox.precision import Precision
from cloister.sandbox.terms import Term


class Step:
    """A step: parameters, and once fitted the operations it does."""

    _params: ClassVar[tuple[str, ...]] = ("columns",)
    _kinds: ClassVar[tuple[str, ...]] = ("number",)
    columns: Any = None
    _operations: tuple[ops.Any_, ...] | None = None

    @property
    def charged(self) -> bool:
        """Whether fitting it releases something."""
        return False

    @property
    def operations(self) -> tuple[ops.Any_, ...]:
        """What the fitted step does, as data.

        Raises:
            PlanError: ``api.learn.unfitted``.
        """
        if self._operations is None:
            raise PlanError(
                "api.learn.unfitted",
                f"this {type(self).__name__} is not fitted yet",
                nearest=("Scaler().fit(visits[['age']]).transform(visits)",),
            )
        return self._operations

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803, ARG002 (scikit-learn's names)
        """Decide what the step does, from the data card.

        Raises:
            PlanError: Not a handle, or columns the step cannot use. Nothing was charged.
        """
        self._operations = self.preview(X)
        return self

    def preview(self, X: Frame) -> tuple[ops.Any_, ...]:  # noqa: N803
        """Return what the step would do as far as it is public: of a charged one, the form without the numbers."""
        check_handle(X)
        return tuple(found for name in self._chosen(X) for found in self._made(X, name, X._columns[name]))

    def cost(self, X: Frame, y: Any = None) -> Cost | None:  # noqa: N803, ARG002
        """Return what fitting costs; None: nothing."""
        self.preview(X)
        return None

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the columns as the fitted step makes them: of a handle a handle, of a DataFrame a DataFrame."""
        return apply(self.operations, X)

    def fit_transform(self, X: Frame, y: Any = None) -> Frame:  # noqa: N803
        """Fit, and transform the same handle."""
        found: Frame = self.fit(X, y).transform(X)
        return found

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 (the signature of scikit-learn)
        """Return the parameters of the constructor."""
        return {name: getattr(self, name) for name in self._params}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; what was fitted stays until the next ``fit``."""
        for name, value in params.items():
            if name not in self._params:
                raise PlanError(
                    "api.learn.parameter", f"no parameter {name!r}", next_step=f"parameters: {', '.join(self._params)}"
                )
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """Return an unfitted step of the same parameters."""
        return type(self)(**self.get_params())

    def _chosen(self, frame: Frame) -> list[str]:
        wanted = self.columns
        if isinstance(wanted, Mapping):
            wanted = list(wanted)
        if wanted is None:
            return [name for name, term in frame._columns.items() if self._fits(term)]
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in names:
            if not self._fits(frame._columns[frame._need(name)]):
                raise PlanError(
                    "api.step.kind",
                    f"{type(self).__name__} does nothing with {name}: it takes {' or '.join(self._kinds)} columns",
                    nearest=(f"{type(self).__name__}(columns={self._known(frame)!r})",),
                )
        return names

    def _known(self, frame: Frame) -> list[str]:
        return [name for name, term in frame._columns.items() if self._fits(term)][:3]

    def _fits(self, term: Term) -> bool:
        return term.grid.kind in self._kinds

    def _made(self, frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        raise NotImplementedError

    def __repr__(self) -> str:
        plain = type(self)()
        shown = [f"{n}={getattr(self, n)!r}" for n in self._params if getattr(self, n) != getattr(plain, n)]
        return f"{type(self).__name__}({', '.join(shown)})"


class Scaler(Step):
    """Numbers scaled to ``range`` by their public bounds (not by what occurs).

    Args:
        range: Where the lowest and the highest possible value go.
        columns: By default every number.
    """

    _params = ("range", "columns")

    def __init__(self, range: tuple[Any, Any] = (-1, 1), *, columns: Any = None) -> None:  # noqa: A002 (scikit-learn)
        self.range = range
        self.columns = columns

    def _fits(self, term: Term) -> bool:
        return term.grid.kind == "number" and term.grid.lo < term.grid.hi

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        low, high = (literals.fraction(end) for end in self.range)
        if low >= high:
            raise PlanError("api.learn.parameter", "range= ascends", nearest=("Scaler(range=(0, 1))",))
        first, last = term.grid.lo * term.grid.step, term.grid.hi * term.grid.step
        factor = (high - low) / (last - first)
        return [ops.Affine(name, literals.text_of(first - low / factor), literals.text_of(factor))]


class Clip(Step):
    """Numbers limited to public bounds: the rest of a model, and its noise, is scaled by these.

    Args:
        limits: ``(low, high)`` for all columns, or a dict of them by column; None keeps a bound of the card.
        columns: By default every number, or those of the dict.
    """

    _params = ("limits", "columns")

    def __init__(self, limits: Any = (None, None), *, columns: Any = None) -> None:
        self.limits = limits
        self.columns = columns

    def _chosen(self, frame: Frame) -> list[str]:
        if self.columns is None and isinstance(self.limits, Mapping):
            return Clip(columns=list(self.limits))._chosen(frame)
        return super()._chosen(frame)

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        pair = self.limits.get(name, (None, None)) if isinstance(self.limits, Mapping) else self.limits
        grid = term.grid
        low, high = (
            literals.grid_text(grid, point) if end is None else literals.number_text(end)
            for end, point in zip(pair, (grid.lo, grid.hi), strict=True)
        )
        if Fraction(low) >= Fraction(high):
            raise PlanError("api.learn.parameter", f"the limits of {name} ascend", nearest=('Clip({"age": (18, 90)})',))
        return [ops.Limit(name, low, high)]


class Binner(Step):
    """Numbers cut into bins.

    Args:
        bins: How many, or ascending edges (the ends of the public range are added), or a dict of either by column.
        strategy: ``"uniform"``: equal parts of the public range, free; ``"quantile"``: at quantiles that are released
            (one release for all columns).
        columns: By default every number, or those of the dict.
        epsilon: Privacy price of the quantiles; or
        share: the price as a share of your total.

    Attributes:
        edges_: Edges by column.
    """

    _params = ("bins", "strategy", "columns", "epsilon", "share")

    def __init__(
        self,
        bins: Any = 10,
        *,
        strategy: str = "uniform",
        columns: Any = None,
        epsilon: float | None = None,
        share: float | None = None,
    ) -> None:
        self.bins = bins
        self.strategy = strategy
        self.columns = columns
        self.epsilon = epsilon
        self.share = share

    @property
    def charged(self) -> bool:
        """Whether quantiles are released."""
        return self.strategy == "quantile"

    @property
    def edges_(self) -> dict[str, list[float]]:
        """Edges by column."""
        return {op.column: [float(Fraction(e)) for e in op.edges] for op in self.operations if isinstance(op, ops.Bins)}

    def fit(self, X: Frame, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Decide the edges: from the data card, or by one release of quantiles.

        Raises:
            PlanError: Columns or edges that cannot be. Nothing was charged.
        """
        made = self.preview(X)
        if self.charged:
            found = self._ask(X).release(Precision(self.epsilon, self.share))
            made = tuple(
                self._apart(term, self._at(term, op.column, list(found[op.column].dropna())))
                for op, term in ((op, X._columns[op.column]) for op in made)
            )
        self._operations = made
        return self

    def cost(self, X: Frame, y: Any = None) -> Cost | None:  # noqa: N803, ARG002
        """Return what the quantiles cost; None: nothing is released."""
        self.preview(X)
        return self._ask(X).cost(Precision(self.epsilon, self.share)) if self.charged else None

    def _chosen(self, frame: Frame) -> list[str]:
        if self.columns is None and isinstance(self.bins, Mapping):
            return Binner(columns=list(self.bins))._chosen(frame)
        return super()._chosen(frame)

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        bins = self.bins.get(name, 10) if isinstance(self.bins, Mapping) else self.bins
        if self.strategy not in {"uniform", "quantile"}:
            raise PlanError("api.learn.parameter", "strategy= is 'uniform' or 'quantile'", nearest=("Binner(8)",))
        if not isinstance(bins, int | np.integer):
            if self.charged or not isinstance(bins, Iterable) or isinstance(bins, str):
                raise self._wrong()
            return [self._at(term, name, list(bins))]
        grid, count = term.grid, int(bins)
        if isinstance(bins, bool) or not 2 <= count <= ops.MOST_LEVELS:
            raise self._wrong()
        points = (grid.lo + math.ceil(Fraction(place * grid.points, count)) for place in range(1, count))
        return [self._at(term, name, [point * grid.step for point in points])]

    def _at(self, term: Term, name: str, inner: list[Any]) -> ops.Bins:
        grid = term.grid
        low, high = grid.lo * grid.step, grid.hi * grid.step
        found = sorted({literals.fraction(edge) for edge in inner})
        edges = [low, *(edge for edge in found if low < edge <= high), high + grid.step]
        if len(edges) - 1 > ops.MOST_LEVELS:
            raise self._wrong()
        return ops.Bins(name, tuple(map(literals.text_of, edges)))

    def _apart(self, term: Term, found: ops.Bins) -> ops.Bins:
        """Return at least two bins: no model takes one, and that quantiles are equal is known after they were paid."""
        grid = term.grid
        if len(found.edges) > 2 or grid.points < 2:
            return found
        return self._at(term, found.column, [(grid.lo + math.ceil(Fraction(grid.points, 2))) * grid.step])

    def _ask(self, frame: Frame) -> Ask[pd.DataFrame]:
        names = self._chosen(frame)
        if not isinstance(self.bins, int | np.integer):
            raise self._wrong()
        levels = [Fraction(place, int(self.bins)) for place in range(1, int(self.bins))]
        wanted = {name: frame._columns[name] for name in names}
        asked: Ask[pd.DataFrame] = quantiles.quantile(frame._rows, wanted, levels, "lower", alone=False)
        return checked(asked, "the bins of a Binner", expected.ranks(int(self.bins)))

    def _wrong(self) -> PlanError:
        return PlanError(
            "api.step.bins",
            f"2 to {ops.MOST_LEVELS} bins, or ascending edges; quantile bins are counted, the same for all columns",
            nearest=("Binner(8)", "Binner([18, 40, 65])", 'Binner(5, strategy="quantile", share=0.01)'),
        )


class OneHot(Step):
    """Categories become one condition per level of their public domain; ``(other)`` is none of them.

    Args:
        drop: ``"first"`` leaves the first level out: it is then the reference.
        columns: By default every category.
    """

    _params = ("drop", "columns")
    _kinds = ("category",)

    def __init__(self, *, drop: str | None = None, columns: Any = None) -> None:
        self.drop = drop
        self.columns = columns

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        if self.drop not in {None, "first"}:
            raise PlanError("api.learn.parameter", "drop= is 'first' or None", nearest=("OneHot(drop='first')",))
        levels = tuple(level for level in term.domain if level != OTHER)
        return [ops.Expand(name, levels[1:] if self.drop else levels)]


class Fill(Step):
    """A public value where a column is missing.

    Args:
        value: The value; by default the middle of the public range, False, or the first level.
        columns: By default every column that may be missing.
    """

    _params = ("value", "columns")
    _kinds = ("number", "bool", "category")
    _marked: ClassVar[bool] = False

    def __init__(self, value: Any = None, *, columns: Any = None) -> None:
        self.value = value
        self.columns = columns

    def _chosen(self, frame: Frame) -> list[str]:
        found = super()._chosen(frame)
        return found if self.columns is not None else [name for name in found if frame._columns[name].grid.nullable]

    def _made(self, _frame: Frame, name: str, term: Term) -> Sequence[ops.Any_]:
        grid, value = term.grid, self.value
        if grid.kind == "bool":
            text = "true" if value else "false"
        elif grid.kind == "category":
            text = term.domain[0] if value is None else str(value)
        else:
            text = literals.grid_text(grid, (grid.lo + grid.hi) // 2) if value is None else literals.number_text(value)
        marks: list[ops.Any_] = [ops.Mark(name)] if self._marked else []
        return [*marks, ops.Fill(name, text, grid.kind)]


class MissingIndicator(Fill):
    """As ``Fill``, and a condition ``<column> missing`` beside each column that says where it was."""

    _marked = True


def apply(operations: Iterable[ops.Any_], X: Any) -> Any:  # noqa: N803
    """Return a handle or DataFrame with operations applied in their order.

    Raises:
        PlanError: Neither of them, or a column is not there or of another kind.
    """
    if not isinstance(X, Frame | pd.DataFrame):
        raise PlanError(
            "api.learn.handles",
            f"a step takes a handle or a DataFrame, not a {type(X).__name__}",
            nearest=("Scaler().fit(visits[['age']]).transform(visits)",),
        )
    for operation in operations:
        X = operation.on_handle(X) if isinstance(X, Frame) else operation.on_table(X)  # noqa: N806
    return X


def check_handle(X: Any) -> None:  # noqa: N803
    """Refuse anything but a handle.

    Raises:
        PlanError: ``api.learn.handles``.
    """
    if not isinstance(X, Frame):
        raise PlanError(
            "api.learn.handles",
            "a step is fitted on a handle: public bounds and domains decide what it does",
            nearest=("Scaler().fit(visits[['age']])", "sklearn.preprocessing.StandardScaler().fit(rows)  # rows here"),
        )
