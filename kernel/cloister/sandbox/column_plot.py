"""Plots asked of a column: each is a release with a price, drawn with its error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from cloister.sandbox import measures, plot, quantiles
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.bins import bins_of

if TYPE_CHECKING:
    from cloister.sandbox.operators import RowWise

BOX = (0.05, 0.25, 0.5, 0.75, 0.95)
_COUNTS = {"normalize": False, "sort": False, "ascending": False, "dropna": True}


class ColumnPlot:
    """``visits.bmi.plot``: ``hist``, ``box`` and ``bar`` release what they draw; ``.cost()`` tells the price."""

    def __init__(self, column: RowWise) -> None:
        self._column = column

    @terminal
    def hist(self, bins: Any = 10, *, ax: Any = None, title: str | None = None, **options: Any) -> Ask[Any]:
        """Release counts per bin and draw them: ``bins`` are edges, or equal parts of the public range."""
        return draw_hist(self._column, bins, ax=ax, title=title, **options)

    @terminal
    def box(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Ask[Any]:
        """Release five quantiles (5, 25, 50, 75 and 95 %) and draw a box."""
        column = self._column
        ask = quantiles.quantile(column._rows, {column.name or "value": column._term}, list(BOX), "lower", alone=True)
        return drawn(ask, "box", {"ax": ax, "title": title, **options})

    @terminal
    def bar(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Ask[Any]:
        """Release the rows per value of the domain and draw them."""
        column = self._column
        ask = measures.value_counts(column._rows, {column.name or "value": column._term}, _COUNTS)
        return drawn(ask, "bar", {"ax": ax, "title": title, **options})

    def scatter(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refused: a point is a person."""
        raise plot.scattered()

    line = pie = kde = density = area = hexbin = scatter

    __call__ = hist

    def __repr__(self) -> str:
        return "<plots of a column: .hist(bins=20), .box(), .bar(); each is a release>"


def draw_hist(column: Any, bins: Any, **options: Any) -> Ask[Any]:
    """Ask for counts per bin, to be drawn."""
    term = bins_of(column._term, bins, closed=True)
    ask = measures.value_counts(column._rows, {column.name or "value": term}, _COUNTS)
    return drawn(ask, "hist", options)


def drawn(ask: Ask[Any], kind: str, options: dict[str, Any]) -> Ask[Any]:
    """Return a question whose answer is drawn; the axes carry the released table as ``released``."""

    def present(answer: Any) -> Any:
        table = ask.present(answer)
        target = getattr(table.release.plot, kind)(**options)
        target.released = table
        return target

    return Ask(ask.rows, ask.measures, present, ask.keys)
