"""Relations between tables as pandas spells them: ``merge``, ``sort_values`` within the unit, one row per unit.

Tables of people are aligned on the unit key, and on nothing else: a private join on any other column would let one
person's rows meet another's. Public rows (a small DataFrame, a dict, a reference table) are looked up on any closed
column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import NO_UNIT
from cloister.sandbox import literals, refuse, terms, widen
from cloister.sandbox.group import keys_of
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term
from cloister.sandbox.unit import Order, UnitGroupBy, is_key

if TYPE_CHECKING:
    from cloister.sandbox.frame import Frame

MOST_PUBLIC_ROWS = 1_000


class FrameRelations:
    """The relations of a table handle to others, and along its own rows."""

    _rows: Rows
    _columns: dict[str, Term]
    _order: Order

    def merge(
        self: Any,
        right: Any,
        how: str = "inner",
        on: Any = None,
        left_on: Any = None,
        right_on: Any = None,
        *,
        suffixes: Sequence[str | None] = ("_x", "_y"),
        validate: str | None = None,  # noqa: ARG002 (what is one to many is bounded by the cards)
    ) -> Frame:
        """Align with another table on the unit key, or look up public rows.

        Args:
            right: A handle of a table with the same unit, or a small DataFrame of public rows (at most 1,000, each key
                once), or the handle of a reference table.
            how: ``inner`` or ``left``.
            on: Of handles the unit key, which is also what None means; of public rows the columns to look up.
            left_on: The same, where the names differ.
            right_on: The same, where the names differ.
            suffixes: For columns both sides have.
            validate: Accepted, and without effect.

        Raises:
            PlanError: Another join: by a private column, ``right``, ``outer`` or ``cross``.
        """
        if how not in {"inner", "left"}:
            raise _no_join(self, f"how={how!r} makes rows that belong to nobody on the left")
        if on is not None and (left_on is not None or right_on is not None):
            raise PlanError("api.merge", "give either on= or left_on= and right_on=", nearest=_forms(self))
        lefts, rights = _names(on if on is not None else left_on), _names(on if on is not None else right_on)
        if isinstance(right, pd.Series) and right.name is not None:
            right = right.rename_axis(str(lefts[0] if lefts else right.index.name)).reset_index()
        if isinstance(right, pd.DataFrame):
            return _looked_up(self, right, how, (lefts, rights), suffixes)
        if not hasattr(right, "_rows") or not hasattr(right, "_columns"):
            raise PlanError("api.merge", f"a {type(right).__name__} cannot be merged", nearest=_forms(self))
        if right._rows.card.unit == NO_UNIT:
            return _referred(self, right, how, (lefts, rights), suffixes)
        return _aligned(self, right, how, (lefts, rights), suffixes)

    def sort_values(self: Any, by: Any, *, ascending: Any = True, **options: Any) -> Frame:
        """The same rows, with the order in which rows of one unit follow each other (for ``groupby(unit key)``)."""
        for name, value in options.items():
            if name not in {"kind", "ignore_index", "na_position", "axis"} or value in {"first", 1, "columns"}:
                raise PlanError(
                    "api.option", f"sort_values({name}={value!r}) has no meaning here", nearest=_sorts(self)
                )
        names = [self._need(name) for name in _names(by)]
        ways = list(ascending) if isinstance(ascending, list | tuple) else [ascending] * len(names)
        if not names or len(ways) != len(names):
            raise PlanError("api.sort_values", "one direction per column", nearest=_sorts(self))
        opaque = [name for name in names if self._columns[name].grid.kind == "opaque" and name not in self._rows.key]
        if opaque:
            raise PlanError("api.sort_values", f"{opaque[0]} has no order: it has no bounds", nearest=_sorts(self))
        order = tuple(
            (self._columns[name], "asc" if up else "desc")
            for name, up in zip(names, ways, strict=True)
            if not is_key(self._rows, self._columns, name)
        )
        from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames are made of this)

        return Frame(self._rows, dict(self._columns), order)  # type: ignore[arg-type]

    def within(self: Any, order: Any = None, *, by: Any = None) -> UnitGroupBy:
        """The rows of each unit, in an order: ``visits.within(order="date").bmi.shift(1)``."""
        frame = self if order is None else self.sort_values(order)
        return _units(frame, _names(by))

    def per_unit(self: Any, by: Any = None, **named: Any) -> Frame:
        """One row per unit (and closed key): ``visits.per_unit(visits=("cost", "count"), total=("cost", "sum"))``."""
        return _units(self, _names(by)).agg(**named)  # type: ignore[no-any-return]

    def join(self: Any, other: Any, on: Any = None, how: str = "left", lsuffix: str = "", rsuffix: str = "") -> Frame:
        """``merge`` on the unit key, by default keeping every row of the left side."""
        return self.merge(other, how=how, on=on, suffixes=(lsuffix, rsuffix))  # type: ignore[no-any-return]

    def drop_duplicates(self: Any, subset: Any = None, *, keep: str = "first", ignore_index: bool = False) -> Frame:  # noqa: ARG002
        """One row per unit (and closed columns): ``drop_duplicates("patient_id")``.

        Which one is decided by ``sort_values``, or by the row hash if rows are in no order.
        """
        names = _names(subset)
        others = [name for name in names if not is_key(self._rows, self._columns, name)]
        if len(names) - len(others) < len(self._rows.key) or keep not in {"first", "last"}:
            label, key = self._rows.label, self._rows.key[0]
            raise PlanError(
                "api.drop_duplicates",
                "which values occur is a fact about people; one row per unit can be kept",
                nearest=(f"{label}.drop_duplicates({key!r})", f"{label}.cap(1)"),
            )
        if not self._order:
            return self.cap(1, by=others or None)  # type: ignore[no-any-return]
        group = self.groupby(names)
        return group.head(1) if keep == "first" else group.tail(1)  # type: ignore[no-any-return]

    def reset_index(self: Any, *, drop: bool = False) -> Frame:  # noqa: ARG002 (rows have no labels to keep)
        """The same handle: rows have no labels, and keys of a group-by per unit are columns already."""
        return self.copy()  # type: ignore[no-any-return]


def _units(frame: Any, by: list[str]) -> UnitGroupBy:
    rows, keys = keys_of(frame._rows, frame._columns, by)
    return UnitGroupBy(rows, dict(frame._columns), keys, frame._order)


def looked_up(
    rows: Rows, keys: Sequence[Term], found: Sequence[tuple[Any, ...]], values: int
) -> tuple[Rows, list[Term]]:
    """Return the rows with ``values`` new columns looked up by ``keys`` in public rows, and these columns.

    Args:
        rows: Where to look up.
        keys: What to look up.
        found: Public rows: keys, then values; a missing value is not there.
        values: How many of each row are values.

    Raises:
        PlanError: Too many rows, a key twice, or values of different kinds in one column.
    """
    if not 1 <= len(found) <= MOST_PUBLIC_ROWS:
        raise PlanError("plan.lookup", f"1 to {MOST_PUBLIC_ROWS:,} public rows can be looked up, not {len(found):,}")
    size = len(keys)
    likes = [key.grid for key in keys]
    lines: list[tuple[tuple[a.Scalar, ...], list[Any]]] = []
    for row in found:
        key = tuple(terms.literal(value, like).scalar for value, like in zip(row[:size], likes, strict=True))
        lines.append((key, list(row[size:])))
    columns: list[Term] = []
    for place in range(values):
        # A key without a value is a key that is not found: both are missing.
        kept = tuple(
            (*key, terms.literal(row[place], None).scalar) for key, row in lines if not literals.is_missing(row[place])
        )
        if not kept:
            raise PlanError("plan.lookup", "a column of public rows without any value says nothing")
        named = {widen.name_of("key", key.scalar): key for key in keys}
        source, names = rows.keyed(named)
        name = widen.name_of("found", widen.core(rows.relation), *(key.scalar for key in keys), kept)
        if name not in rows.schema.columns:
            rows = rows.on(a.Lookup(source, names, a.PublicRows(kept), (name,)))
        columns.append(rows.term(name))
    return rows, columns


def _looked_up(frame: Any, right: pd.DataFrame, how: str, on: tuple[list[str], list[str]], suffixes: Any) -> Frame:
    lefts, rights = on
    if not lefts:
        lefts = rights = [name for name in right.columns if name in frame._columns]
    if not lefts or len(lefts) != len(rights):
        raise PlanError("api.merge", "public rows are looked up by columns both sides have", nearest=_forms(frame))
    for name in lefts:
        frame._need(name)
        if frame._columns[name].grid.kind == "opaque":
            raise PlanError(
                "api.merge",
                f"{name} has no declared domain or bounds, so it cannot be looked up",
                clause="looking up a unit key in a list would ask about named people",
                nearest=_forms(frame),
            )
    unknown = [name for name in rights if name not in right.columns]
    if unknown:
        raise refuse.unknown_column(unknown[0], [str(name) for name in right.columns], "the public table")
    if right.duplicated(rights).any():
        raise PlanError(
            "plan.lookup", "a key stands twice in the public rows", next_step="drop_duplicates() them first"
        )
    new = [name for name in right.columns if name not in rights]
    keys = [frame._columns[name] for name in lefts]
    records = list(right[[*rights, *new]].itertuples(index=False, name=None))
    rows: Rows = frame._rows
    if how == "inner":
        marked, (mark,) = looked_up(rows, keys, [(*row[: len(rights)], True) for row in records], 1)
        rows = marked.where(terms.fill(mark, False))
    rows, found = looked_up(rows, keys, records, len(new)) if new else (rows, [])
    return _with(frame, rows, dict(zip(map(str, new), found, strict=True)), suffixes)


def _referred(frame: Any, right: Any, how: str, on: tuple[list[str], list[str]], suffixes: Any) -> Frame:
    card, rows, (lefts, rights) = right._rows.card, frame._rows, on
    if not isinstance(right._rows.relation, a.Table):
        raise PlanError("api.merge", "a reference table is looked up as it is", nearest=(f"cl.table({card.name!r})",))
    lefts, rights = lefts or list(card.key), rights or list(card.key)
    if tuple(rights) != tuple(card.key) or len(lefts) != len(rights):
        raise PlanError("api.merge", f"{card.name} is looked up by {', '.join(card.key)}", clause="card.key")
    source, keys = rows.keyed({name: frame._columns[frame._need(name)] for name in lefts})
    taken = [column.name for column in card.columns if column.name in right._columns and column.name not in card.key]
    names = {
        name: widen.name_of("found", card.name, name, *(frame._columns[key].scalar for key in lefts)) for name in taken
    }
    node = a.Lookup(source, keys, a.Reference(card.name, card.key, tuple(taken)), tuple(names.values()), how == "inner")
    found = rows.on(node)
    return _with(frame, found, {name: found.term(new) for name, new in names.items()}, suffixes)


def _aligned(left: Any, right: Any, how: str, on: tuple[list[str], list[str]], suffixes: Any) -> Frame:
    lefts, rights = on
    if left._rows.session is not right._rows.session:
        raise PlanError("api.merge", "the two tables belong to different sessions")
    for frame, names in ((left, lefts), (right, rights)):
        wrong = [name for name in names if name not in frame._rows.key]
        if wrong or (names and len(names) < len(frame._rows.key)):
            raise _no_join(
                left, f"tables of people are aligned on the unit key only, not on {', '.join(wrong or names)}"
            )
    others = {
        name: term
        for name, term in right._columns.items()
        if not (is_key(right._rows, right._columns, name) and (name in left._columns or not lefts))
    }
    rows, other = left._rows, right._rows
    exposed = {name: _exposed(term) for name, term in others.items()}
    source, names = other.keyed({exposed[name]: term for name, term in others.items()})
    taken = set(rows.schema.columns)
    columns: dict[str, str] = {}
    for name in dict.fromkeys(names):
        new, number = name, 2
        while new in taken:
            new, number = f"{name}_{number}", number + 1
        taken.add(new)
        columns[name] = new
    caption = f"aligned with {other.label}"
    node = a.Align(rows.relation, source, how, tuple(columns.items()))  # type: ignore[arg-type]
    found = rows.on(node, f"{rows.caption}, {caption}" if rows.caption else caption)
    new_terms = {
        name: _labelled(found.term(columns[inner]), others[name]) for name, inner in zip(others, names, strict=True)
    }
    return _with(left, found, new_terms, suffixes)


def _with(frame: Any, rows: Rows, new: Mapping[str, Term], suffixes: Any) -> Frame:
    """Return the handle of ``rows`` with the left and the new columns, those of one name told apart by suffixes."""
    from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames are made of this)

    left, right = (str(suffix or "") for suffix in suffixes)
    both = set(frame._columns) & set(new)
    if both and not left and not right:
        raise PlanError("api.merge", f"both sides have {', '.join(sorted(both))}", nearest=_forms(frame))
    columns = {name + left if name in both else name: term for name, term in frame._columns.items()}
    for name, term in new.items():
        columns[name + right if name in both else name] = term
    return Frame(rows, columns)


def _labelled(term: Term, like: Term) -> Term:
    """Return the term with the analyst's own names for the bins of a cut."""
    import dataclasses  # noqa: PLC0415 (one use)

    return dataclasses.replace(term, labels=like.labels)


def _exposed(term: Term) -> str:
    return term.scalar.name if isinstance(term.scalar, a.Col) else widen.name_of("with", term.scalar)


def _names(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]


def _sorts(frame: Any) -> tuple[str, ...]:
    label, key = frame._rows.label, frame._rows.key[0]
    return (f'{label}.sort_values("date").groupby("{key}").cumcount()',)


def _forms(frame: Any) -> tuple[str, ...]:
    label, key = frame._rows.label, frame._rows.key[0]
    words = frame._words()
    public = f"pd.DataFrame({{{words['cat']!r}: [{words['val']!r}], 'x': [1]}})"
    return (
        f"{label}.merge({label}.per_unit(rows=({words['num']!r}, 'count')))",
        f"{label}.merge({label}.per_unit(rows=({words['num']!r}, 'count')), on={key!r}, how='left')",
        f"{label}.merge({public}, on={words['cat']!r}, how='left')  # public rows, on any closed column",
    )


def _no_join(frame: Any, why: str) -> PlanError:
    return PlanError(
        "api.merge",
        why,
        clause="one person's rows never meet another's: what each can change stays bounded (unit lineage)",
        next_step="align on the unit key; look up public rows by any column with declared values",
        nearest=_forms(frame),
    )
