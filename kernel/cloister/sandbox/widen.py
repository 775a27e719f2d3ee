"""Rewriting relations: what a plan does not need is left out, and columns added to the same rows come together.

Some relations only *widen* rows: ``Window``, ``Derive``, a ``Lookup`` that keeps every row, and aligning rows with what
was computed per unit from these very rows. The rows stay, so expressions over the narrower rows still hold, and two
columns that widened the same rows in different ways can be combined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cloister.plan import algebra as a
from cloister.wire import canonical

_replace = msgspec.structs.replace
_NOWHERE = a.Table("")
Widening = a.Window | a.Derive | a.Lookup | a.Align
Narrowing = a.Filter | a.Cap | a.Split | a.Lookup


def columns_of(node: Any) -> set[str]:
    """Return the names of all columns an expression or measure reads."""
    if isinstance(node, a.Col):
        return {node.name}
    if isinstance(node, tuple):
        return set().union(*map(columns_of, node))
    if isinstance(node, msgspec.Struct):
        return set().union(*(columns_of(getattr(node, field)) for field in node.__struct_fields__))
    return set()


def name_of(prefix: str, *parts: Any) -> str:
    """Return a name for a new column that says what it holds: the same content has the same name."""
    return f"{prefix}_{canonical.digest([msgspec.to_builtins(part) for part in parts])[-8:]}"


def widens(node: a.Relation) -> bool:
    """Return whether the node keeps the rows of its source and adds columns to them."""
    if isinstance(node, a.Align):
        right = node.right
        return isinstance(right, a.PerUnit) and not right.by and core(right.source) == core(node.left)
    return isinstance(node, a.Window | a.Derive) or (isinstance(node, a.Lookup) and not node.inner)


def core(relation: a.Relation) -> a.Relation:
    """Return the relation without the columns added last."""
    while widens(relation):
        relation = below(relation)
    return relation


def below(node: a.Relation) -> a.Relation:
    """Return the source whose columns ``node`` keeps."""
    if isinstance(node, a.Align):
        return node.left
    if isinstance(node, a.Stack | a.Table):
        raise TypeError("it has no single source")
    return node.source


def same_columns(relation: a.Relation) -> Iterator[a.Relation]:
    """Return the relations from this one down to the one that made the columns: expressions mean the same in all."""
    yield relation
    while widens(relation) or isinstance(relation, a.Filter | a.Cap | a.Split | a.Lookup):
        relation = below(relation)
        yield relation


def joined(rows: a.Relation, other: a.Relation) -> a.Relation | None:
    """Return ``rows`` with the columns that ``other`` added to the same rows, or to rows they are a part of.

    None if ``rows`` are not a part of the rows of ``other``.
    """
    wanted = core(other)
    if core(rows) == wanted:
        have = [_placed(node, _NOWHERE) for node in _added(rows)]
        for node in _added(other):
            if _placed(node, _NOWHERE) not in have:
                rows = _placed(node, rows)
        return rows
    if widens(rows) or isinstance(rows, a.Filter | a.Cap | a.Split | a.Lookup):
        lower = joined(below(rows), other)
        return None if lower is None else _placed(rows, lower)
    return None


def pruned(relation: a.Relation, needed: Iterable[str]) -> a.Relation:
    """Return the relation with the same rows and only what ``needed`` columns rest on, in a canonical order."""
    return _sorted(_pruned(relation, frozenset(needed)))


def _placed(node: a.Relation, source: a.Relation) -> a.Relation:
    """Return the node on another source."""
    if isinstance(node, a.Align):
        # Rows aligned with what was computed from them: both sides are the same rows.
        return _replace(node, left=source) if source is not _NOWHERE else _replace(node, left=core(node.left))
    return _replace(node, source=source)


def _added(relation: a.Relation) -> list[a.Relation]:
    found: list[a.Relation] = []
    while widens(relation):
        found.append(relation)
        relation = below(relation)
    return found[::-1]


def _pruned(node: a.Relation, needed: frozenset[str]) -> a.Relation:
    match node:
        case a.Table():
            return node
        case a.Filter():
            return _replace(node, source=_pruned(node.source, needed | columns_of(node.where)))
        case a.Derive():
            kept = tuple((name, term) for name, term in node.columns if name in needed)
            left = needed - {name for name, _ in kept} | columns_of(tuple(term for _, term in kept))
            source = _pruned(node.source, left)
            return _replace(node, source=source, columns=kept) if kept else source
        case a.Select():
            return _pruned(node.source, needed)
        case a.Cap():
            return _replace(node, source=_pruned(node.source, needed | set(node.by)))
        case a.Split():
            return _replace(node, source=_pruned(node.source, needed))
        case a.Align():
            return _align(node, needed)
        case a.Lookup():
            return _lookup(node, needed)
        case a.PerUnit():
            return _per_unit(node, needed)
        case a.Window():
            functions = tuple(item for item in node.functions if item.name in needed)
            if not functions:
                return _pruned(node.source, needed)
            along = {name for name, _ in node.order} | set(node.by)
            left = needed - {item.name for item in functions} | columns_of(functions) | along
            return _replace(node, source=_pruned(node.source, left), functions=functions)
        case a.Stack():
            return _stack(node, needed)


def _align(node: a.Align, needed: frozenset[str]) -> a.Relation:
    columns = tuple(sorted(pair for pair in node.columns if pair[1] in needed))
    left = _pruned(node.left, needed - {new for _, new in columns})
    if widens(node) and not columns:
        return left
    right = _pruned(node.right, frozenset(name for name, _ in columns))
    return _replace(node, left=left, right=right, columns=columns)


def _lookup(node: a.Lookup, needed: frozenset[str]) -> a.Relation:
    places = [place for place, name in enumerate(node.columns) if name in needed] or ([0] if node.inner else [])
    columns = tuple(node.columns[place] for place in places)
    source = _pruned(node.source, needed - set(columns) | (set(node.keys) if columns else set()))
    if not columns:
        return source
    if isinstance(node.rows, a.Reference):
        rows: a.PublicRows | a.Reference = _replace(
            node.rows, columns=tuple(node.rows.columns[place] for place in places)
        )
    else:
        size = len(node.keys)
        taken = ((*row[:size], *(row[size + place] for place in places)) for row in node.rows.rows)
        rows = a.PublicRows(tuple(taken))
    return _replace(node, source=source, columns=columns, rows=rows)


def _per_unit(node: a.PerUnit, needed: frozenset[str]) -> a.PerUnit:
    kept = sorted((item for item in node.measures if item.name in needed), key=lambda item: item.name)
    measures = tuple(kept) or (a.UnitMeasure("rows", "count"),)
    return _replace(
        node, source=_pruned(node.source, frozenset(columns_of(measures)) | set(node.by)), measures=measures
    )


def _stack(node: a.Stack, needed: frozenset[str]) -> a.Stack:
    first = next(part for part in node.sources if isinstance(part, a.Select))
    kept = tuple(name for name in first.columns if name in needed) or first.columns[:1]
    parts = tuple(
        a.Select(_pruned(part.source, frozenset(kept)), kept) for part in node.sources if isinstance(part, a.Select)
    )
    named = node.column is not None and node.column in needed
    return a.Stack(parts, node.column if named else None, node.labels if named else ())


def _sorted(relation: a.Relation) -> a.Relation:
    """Return the relation with columns added to the same rows in an order that does not tell how they came about."""
    match relation:
        case a.Table():
            return relation
        case a.Stack():
            return _replace(relation, sources=tuple(map(_sorted, relation.sources)))
        case a.Align() if not widens(relation):
            return _replace(relation, left=_sorted(relation.left), right=_sorted(relation.right))
        case _ if not widens(relation):
            return _replace(relation, source=_sorted(below(relation)))
    rows, waiting = _sorted(core(relation)), _added(relation)
    while waiting:
        made = {name for node in waiting for name in _makes(node)}
        ready = [node for node in waiting if not (_reads(node) & made)]
        waiting = [node for node in waiting if node not in ready]
        for node in _together(ready):
            rows = _placed(node, rows)
    return rows


def _together(nodes: list[a.Relation]) -> list[a.Relation]:
    """Return nodes that do not read each other's columns sorted; windows along the same order become one."""
    windows: dict[Any, list[a.Window]] = {}
    others: list[a.Relation] = []
    for node in nodes:
        if isinstance(node, a.Window):
            windows.setdefault((node.order, node.by), []).append(node)
        else:
            others.append(node)
    for group in windows.values():
        functions = {item.name: item for node in group for item in node.functions}
        others.append(_replace(group[0], functions=tuple(functions[name] for name in sorted(functions))))
    return sorted(others, key=lambda node: sorted(_makes(node)))


def _makes(node: a.Relation) -> set[str]:
    match node:
        case a.Window():
            return {item.name for item in node.functions}
        case a.Derive():
            return {name for name, _ in node.columns}
        case a.Lookup():
            return set(node.columns)
        case a.Align():
            return {new for _, new in node.columns}
        case _:
            return set()


def _reads(node: a.Relation) -> set[str]:
    match node:
        case a.Window():
            return columns_of(node.functions) | {name for name, _ in node.order} | set(node.by)
        case a.Derive():
            return columns_of(tuple(term for _, term in node.columns))
        case a.Lookup():
            return set(node.keys)
        case _:
            return set()
