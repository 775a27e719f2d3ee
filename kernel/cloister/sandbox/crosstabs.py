"""``pivot_table`` and ``crosstab``: what pandas' options mean, as a pivot of released cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import measures, pivot, shares
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.group import grouped, keys_of
from cloister.sandbox.operators import RowWise
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

_WAYS = {True: "all", "all": "all", "index": "index", "columns": "columns"}


def pivot_table(
    rows: Rows, columns: Mapping[str, Term], spec: Mapping[str, Any], margins: bool, margins_name: str
) -> Ask[pd.DataFrame]:
    """Ask for a pivot table.

    Raises:
        PlanError: No values or keys were named, or an unknown column or aggregate.
    """
    named = dict(columns)
    if spec["values"] is None or spec["index"] is None:
        raise PlanError(
            "api.pivot_table",
            "name values= and index=: every number in the table is released and paid for",
            nearest=('visits.pivot_table(values="cost", index="sex", columns="region", aggfunc="mean")',),
        )
    rows, down = keys_of(rows, named, spec["index"])
    rows, across = keys_of(rows, named, [] if spec["columns"] is None else spec["columns"])
    values = [spec["values"]] if isinstance(spec["values"], str) else list(spec["values"])
    chosen = {name: measures.column_of(named, name) for name in values}
    grouped(rows, named, [*_keys(spec["index"]), *_keys(spec["columns"])], {})
    funcs = list(spec["aggfunc"]) if isinstance(spec["aggfunc"], list | tuple) else [spec["aggfunc"]]
    several = isinstance(spec["aggfunc"], list | tuple)
    # pandas leaves the name of the value out where a single one stands above columns.
    bare = isinstance(spec["values"], str) and bool(across)
    items = {}
    for func in funcs:
        name = measures.function_name(func)
        for value, term in chosen.items():
            items[(*([name] if several else []), *([] if bare else [value]))] = (name, term)
    return pivot.pivot(rows, (down, across), items, margins_name if margins else None)


def _crosstab(
    index: Any,
    columns: Any,
    values: Any = None,
    *,
    aggfunc: Any = None,
    normalize: Any = False,
    margins: bool = False,
    margins_name: str = "All",
) -> Ask[pd.DataFrame]:
    """Release rows (or an aggregate of ``values``) per pair of values of two columns, or lists of columns.

    Args:
        index: A column or several, the rows of the table.
        columns: A column or several.
        values: A column to aggregate with ``aggfunc``.
        aggfunc: ``"mean"``, ``"sum"``, ... of ``values``.
        normalize: ``True`` or ``"all"``, ``"index"``, ``"columns"``: shares of the released counts.
        margins: Add sums (or means) over rows and columns, computed from the released cells.
        margins_name: Their label.

    Raises:
        PlanError: Not columns of a handle, ``values`` without ``aggfunc``, or shares together with margins.
    """
    down, across = _columns_of(index), _columns_of(columns)
    first, *rest = [*down, *across, *([] if values is None else _columns_of(values))]
    rows = first._rows
    for other in rest:
        rows = same(rows, other._rows)
    keys = grouped(rows, {}, [*_titled(down, "row"), *_titled(across, "col")], {})._keys
    names = list(keys)
    split = {name: keys[name] for name in names[: len(down)]}, {name: keys[name] for name in names[len(down) :]}
    way = _WAYS.get(normalize)
    if (values is None) != (aggfunc is None) or (normalize is not False and (way is None or margins or aggfunc)):
        raise PlanError(
            "api.crosstab",
            "values and aggfunc go together, and shares are of counts without margins",
            nearest=(
                'cl.crosstab(visits.sex, visits.region, visits.cost, aggfunc="mean", margins=True)',
                'cl.crosstab(visits.sex, visits.region, normalize="index")',
            ),
        )
    func = "size" if aggfunc is None else measures.function_name(aggfunc)
    term = None if values is None else _columns_of(values)[0]._term
    ask = pivot.pivot(rows, split, {(): (func, term)}, margins_name if margins else None)
    if way is None:
        return ask
    return Ask(ask.rows, ask.measures, lambda answer: _normalised(ask.present(answer), way), ask.keys)


crosstab: Terminal[pd.DataFrame] = Terminal(_crosstab)


def _normalised(table: pd.DataFrame, way: str) -> Any:
    return shares.of_all(table) if way == "all" else shares.along(table, "index" if way == "index" else "columns")


def _columns_of(value: Any) -> list[RowWise]:
    found = list(value) if isinstance(value, list | tuple) else [value]
    for item in found:
        if not isinstance(item, RowWise):
            raise PlanError(
                "api.column",
                f"crosstab takes columns of a handle, not a {type(item).__name__}",
                nearest=("cl.crosstab(visits.sex, visits.region)",),
            )
    return found


def _titled(columns: list[RowWise], word: str) -> list[RowWise]:
    return [column.rename(column.name or f"{word}_{place}") for place, column in enumerate(columns)]


def _keys(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
