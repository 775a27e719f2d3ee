"""Mock rows on this side: what the data card alone invents, with the handle's own relations and expressions applied.

This is for looking at and for rehearsing code that takes a DataFrame. It evaluates with pandas what the vault
evaluates exactly, so values may differ in the last binary digit; mock values never carry a receipt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cloister.contract import mock
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import dtypes, refuse, terms
from cloister.sandbox.rehearse_scalars import holds, series, value
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

_MAX_ROWS = 100_000
_ENOUGH = 20
_UNIT = "\x00unit"
_AGGREGATES = {"count": "count", "sum": "sum", "min": "min", "max": "max", "mean": "mean", "any": "any", "all": "all",
               "distinct": "nunique"}  # fmt: skip


def table(rows: Rows, columns: Mapping[str, Term], n: int, seed: int) -> pd.DataFrame:
    """Return at most ``n`` mock rows of a handle (fewer if its filters leave fewer).

    Raises:
        PlanError: ``n`` is not between 1 and 100,000.
    """
    if not isinstance(n, int | np.integer) or not 1 <= n <= _MAX_ROWS:
        raise PlanError("api.mock", f"a mock table has 1 to {_MAX_ROWS:,} rows")
    plain = isinstance(rows.relation, a.Table)
    size = int(n) if plain else min(_MAX_ROWS, _ENOUGH * int(n) + 200)
    source = _Mock(rows, size, seed).of(rows.relation).head(int(n))
    found = {name: _typed(series(term.scalar, source), term) for name, term in columns.items()}
    return pd.DataFrame(found, index=source.index).reset_index(drop=True)


def empty(columns: Mapping[str, Term]) -> pd.DataFrame:
    """Return a DataFrame with the columns' dtypes and no rows."""
    return pd.DataFrame({name: pd.Series([], dtype=dtypes.of(term)) for name, term in columns.items()})


def with_rows(rows: Rows, columns: Mapping[str, Term], name: str, words: dict[str, str]) -> PlanError:
    """Return the refusal of ``head()`` and its like, showing mock rows instead."""
    error = refuse.explain(name, refuse.COMMON[name], words)
    shown = table(rows, columns, 3, 0).to_string(max_cols=8)
    lines = "\n".join(f"    {line}" for line in shown.splitlines())
    error.reason += f". Invented rows of the same shape (mock, from the data card alone):\n{lines}"
    return error


class _Mock:
    """Relations over mock rows; a hidden column names the unit of every row."""

    def __init__(self, rows: Rows, size: int, seed: int) -> None:
        self._rows = rows
        self._size = size
        self._seed = seed

    def of(self, node: a.Relation) -> pd.DataFrame:
        """Return the mock rows of a relation."""
        match node:
            case a.Table():
                return self._stored(node.name)
            case a.Align():
                return self._aligned(node)
            case a.Stack():
                return self._stacked(node)
            case _:
                return self._on(node, self.of(node.source))

    def _on(self, node: Any, source: pd.DataFrame) -> pd.DataFrame:
        match node:
            case a.Filter():
                return source[holds(node.where, source)]
            case a.Derive():
                return source.assign(**{name: series(scalar, source) for name, scalar in node.columns})
            case a.Select():
                return source[[_UNIT, *node.columns]]
            case a.Cap():
                return _capped(node, source)
            case a.Split():
                parts = source[_UNIT].map(lambda unit: _part(f"{node.salt}|{unit}", node.parts))
                return source[parts.isin(node.take)]
            case a.Lookup():
                return self._looked_up(node, source)
            case a.PerUnit():
                return _per_unit(node, source)
            case _:
                return _along(node, source)

    def _stored(self, name: str) -> pd.DataFrame:
        card = self._rows.session.about.cards[name]
        data = mock.rows(card, self._size, self._seed)
        found = {
            column.name: _typed(pd.Series(data[column.name], dtype=object), terms.of_card(card, column))
            for column in card.columns
        }
        unit = pd.Series([" ".join(map(str, key)) for key in zip(*(data[name] for name in card.key), strict=True)])
        return pd.DataFrame({**found, _UNIT: unit if card.key else ""})

    def _aligned(self, node: a.Align) -> pd.DataFrame:
        left, right = self.of(node.left), self.of(node.right)
        taken = pd.DataFrame({_UNIT: right[_UNIT], **{new: right[name] for name, new in node.columns}})
        return left.merge(taken, how=node.how, on=_UNIT)

    def _looked_up(self, node: a.Lookup, source: pd.DataFrame) -> pd.DataFrame:
        if isinstance(node.rows, a.Reference):
            stored = self._stored(node.rows.table)[[*node.rows.keys, *node.rows.columns]]
            public = stored.drop_duplicates(list(node.rows.keys)).astype(object)
            public.columns = pd.Index([*node.keys, *node.columns])
        else:
            lines = [[value(item, source) for item in row] for row in node.rows.rows]
            public = pd.DataFrame(lines, columns=[*node.keys, *node.columns])
        keys = list(node.keys)
        wanted = source.astype(dict.fromkeys(keys, object))
        public = public.astype(dict.fromkeys(keys, object))
        found = wanted.merge(public, how="inner" if node.inner else "left", on=keys)
        return found.assign(**{name: found[name].astype(source[name].dtype) for name in keys})

    def _stacked(self, node: a.Stack) -> pd.DataFrame:
        parts = [self.of(part) for part in node.sources]
        if node.column is not None:
            parts = [part.assign(**{node.column: label}) for part, label in zip(parts, node.labels, strict=True)]
        together = pd.concat([part.astype(object) for part in parts], ignore_index=True)
        # Some of every part is seen in a few rows.
        order = np.concatenate([np.arange(len(part)) for part in parts])
        return together.iloc[np.argsort(order, kind="stable")].infer_objects().reset_index(drop=True)


def _capped(node: a.Cap, source: pd.DataFrame) -> pd.DataFrame:
    keys = [_UNIT, *node.by]
    kept = source[source.groupby(keys, observed=True, dropna=False).cumcount() < node.rows]
    if node.groups is None:
        return kept
    pairs = kept[keys].drop_duplicates()
    pairs = pairs[pairs.groupby(_UNIT).cumcount() < node.groups]
    return kept.merge(pairs, on=keys)


def _per_unit(node: a.PerUnit, source: pd.DataFrame) -> pd.DataFrame:
    keys = [_UNIT, *node.by]
    shown = source.assign(
        **{item.name: series(item.of, source) if item.of is not None else 1 for item in node.measures}
    )
    groups = shown.groupby(keys, observed=True, sort=False)
    found = {item.name: groups[item.name].agg(_AGGREGATES[item.kind]) for item in node.measures}
    return pd.DataFrame(found).reset_index()


def _along(node: a.Window, source: pd.DataFrame) -> pd.DataFrame:
    source = source.reset_index(drop=True)
    ways = [way == "asc" for _, way in node.order]
    ordered = source.sort_values([name for name, _ in node.order], ascending=ways, kind="stable") if ways else source
    new: dict[str, pd.Series] = {}
    keys = [ordered[_UNIT], *(ordered[name] for name in node.by)]
    for item in node.functions:
        if isinstance(item, a.RowNumber):
            new[item.name] = ordered.groupby(keys, observed=True, dropna=False).cumcount() + 1
            continue
        groups = series(item.of, ordered).groupby(keys, observed=True, dropna=False)
        new[item.name] = groups.shift(item.rows) if isinstance(item, a.Lag) else groups.cumsum().ffill()
    return source.assign(**new)


def _part(text: str, parts: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % parts


def _typed(values: pd.Series, term: Term) -> pd.Series:
    if term.grid.kind == "category" and not isinstance(values.dtype, pd.CategoricalDtype):
        if term.labels:
            values = values.map(dict(zip(term.grid.domain, term.labels, strict=True)))
        return pd.Series(pd.Categorical(values, categories=list(term.domain)), index=values.index)
    if term.grid.kind == "date":
        return pd.to_datetime(values).astype("datetime64[s]")
    if term.grid.kind in ("opaque", "text"):
        return values if pd.api.types.is_numeric_dtype(values.dtype) else values.astype(str)
    if dtypes.of(term) == np.dtype("int64"):
        return values.astype(float).round().astype("int64")
    return values.astype(dtypes.of(term))
