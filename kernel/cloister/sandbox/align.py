"""``cl.align``: the tables of any number of providers, joined on the unit key and on nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cloister.errors import PlanError
from cloister.plan.typing import NO_UNIT
from cloister.sandbox.frame import Frame
from cloister.sandbox.unit import is_key

MOST_TABLES = 32
MOST_ROWS = 4_096
"""Rows per unit up to which tables are aligned as they are: beyond, rows of one unit mostly multiply each other."""

_FORMS = ('cl.align(bank, platform, insurer, how="inner")', 'cl.align(bank, visits.per_unit(visits=("date", "count")))')


def align(*tables: Any, how: str = "inner", suffixes: Sequence[str] | None = None) -> Frame:
    """Return the tables side by side, aligned on the unit key.

    Every row is one combination of the rows that a unit has in the tables: one row per unit, if each table has one.

    Args:
        tables: Two or more handles (or one list of them) that protect the same unit and compare its key alike.
        how: ``inner``: units that all tables have; ``left``: all rows of the first table, with missing values where
            another has none.
        suffixes: One text per table, put behind the names of columns that several tables have; by default ``_`` and
            the table's provider, or its name.

    Raises:
        PlanError: Not handles, units that differ, another ``how``, or so many rows per unit that they multiply.
    """
    frames = handles("align", tables)
    if how not in {"inner", "left"}:
        raise PlanError(
            "api.align",
            f"how={how!r} makes rows that belong to no unit of the first table",
            clause="one unit's rows never meet another's, and a row without a first table has no columns of it",
            next_step="inner keeps units that all have, left those of the first; a report counts the others",
            nearest=('cl.align(bank, platform, how="left")', "cl.match_report(bank, platform)"),
        )
    _check_rows(frames)
    found, *others = _renamed(frames, suffixes)
    for other in others:
        found = found.merge(other, how=how)
    return found


def short_names(frames: Sequence[Frame]) -> list[str]:
    """Return a name for each table that no other has: its provider, its own, both, or these numbered."""
    full = [frame._rows.card.name for frame in frames]
    parts = [name.partition(".") for name in full]
    for names in ([first for first, _, _ in parts], [last or first for first, _, last in parts], full):
        if len(set(names)) == len(names):
            return [name.replace(".", "_") for name in names]
    return [f"{name.replace('.', '_')}_{number}" for number, name in enumerate(full, 1)]


def handles(name: str, tables: Sequence[Any]) -> list[Frame]:
    """Return the table handles that ``cl.<name>`` was given, one by one or as a list.

    Raises:
        PlanError: Fewer than two or too many, something else, or a table whose rows belong to no unit.
    """
    given = tables[0] if len(tables) == 1 and isinstance(tables[0], list | tuple) else tables
    frames = list(given)
    if not 2 <= len(frames) <= MOST_TABLES or not all(isinstance(frame, Frame) for frame in frames):
        raise PlanError(
            f"api.{name}",
            f"{name} takes 2 to {MOST_TABLES} table handles",
            next_step="public rows (a DataFrame) are looked up with merge",
            nearest=tuple(form.replace("align", name) for form in _FORMS[:1]) if name != "align" else _FORMS,
        )
    for frame in frames:
        if frame._rows.card.unit == NO_UNIT:
            table = frame._rows.card.name
            raise PlanError(
                f"api.{name}",
                f"{table} is a reference table: its rows belong to nobody, so there is no unit to compare",
                nearest=(f"visits.merge(cl.table({table!r}))",),
            )
    return frames


def _check_rows(frames: Sequence[Frame]) -> None:
    each = [frame._rows.schema.rows for frame in frames]
    if math.prod(each) > MOST_ROWS:
        worst = frames[each.index(max(each))]
        label = worst._rows.label
        raise PlanError(
            "plan.align",
            f"a unit could have {math.prod(each):,} rows side by side: {label} alone has up to {max(each):,} per unit",
            clause="every row of a unit meets every other, and the noise is scaled to all of them",
            next_step="bring each table to one row per unit first",
            nearest=(f'{label}.per_unit(rows=({label}.columns[1], "count"))', f"{label}.cap(1)"),
        )


def _renamed(frames: Sequence[Frame], suffixes: Sequence[str] | None) -> list[Frame]:
    """Return the handles with the columns that several have told apart by their tables."""
    ends = [f"_{name}" for name in short_names(frames)] if suffixes is None else list(map(str, suffixes))
    if len(ends) != len(frames):
        raise PlanError("api.align", "suffixes= takes one text per table", nearest=_FORMS)
    often = Counter(name for frame in frames for name in _own(frame))
    found = [
        frame.rename(columns={name: name + end for name in _own(frame) if often[name] > 1})
        for frame, end in zip(frames, ends, strict=True)
    ]
    if twice := [name for name, times in Counter(name for frame in found for name in _own(frame)).items() if times > 1]:
        raise PlanError(
            "api.align",
            f"two columns would be called {twice[0]!r}",
            next_step="give suffixes= that tell the tables apart",
        )
    return found


def _own(frame: Frame) -> list[str]:
    """Return the columns of a handle but for the unit key, of which the alignment has one."""
    return [name for name in frame if not is_key(frame._rows, frame._columns, name)]
