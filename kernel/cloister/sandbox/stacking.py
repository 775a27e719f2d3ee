"""``cl.concat`` and ``cl.split``: rows of several tables one after the other, and parts that share no unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.rules import union
from cloister.plan.typing import sources
from cloister.sandbox import terms
from cloister.sandbox.frame import Frame
from cloister.sandbox.terms import Term
from cloister.sandbox.unit import is_key

_FORMS = ('cl.concat([visits, visits], keys=["first", "second"])', 'cl.concat([visits[["age"]], visits[["age"]]])')


def concat(
    objs: Iterable[Frame],
    *,
    keys: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    join: str = "outer",
    ignore_index: bool = False,  # noqa: ARG001 (rows have no index)
) -> Frame:
    """Return the rows of several handles, one after the other.

    Args:
        objs: Handles of tables that protect the same unit.
        keys: A label for each; they become a category, called by ``names`` or ``source``.
        names: The name of that column.
        join: ``outer``: a column that some do not have is missing there; ``inner``: only columns all have.
        ignore_index: As in pandas; rows have no index.

    Raises:
        PlanError: Not handles, units that differ, or columns of different kinds under one name.
    """
    frames = list(objs)
    if len(frames) < 2 or not all(isinstance(frame, Frame) for frame in frames):
        raise PlanError("api.concat", "concat takes a list of two or more handles", nearest=_FORMS)
    if join not in {"outer", "inner"} or (keys is not None and len(list(keys)) != len(frames)):
        raise PlanError("api.concat", "join is 'outer' or 'inner', and each handle has one key", nearest=_FORMS)
    first = frames[0]
    shared = [name for name in first._columns if all(name in frame._columns for frame in frames)]
    wanted = list(dict.fromkeys(name for frame in frames for name in frame._columns)) if join == "outer" else shared
    # A unit key is no column of the stack unless all have it: there is no missing unit.
    wanted = [name for name in wanted if name in shared or not any(_is_key(frame, name) for frame in frames)]
    likes = {name: _like(frames, name) for name in wanted}
    sources = [_source(frame, likes) for frame in frames]
    label = (next(iter(names)) if names else "source") if keys is not None else None
    if label in likes:
        raise PlanError("api.concat", f"there already is a column {label!r}", next_step='say names=["another"]')
    node = a.Stack(tuple(sources), label, tuple(map(str, keys or ())))
    caption = "stacked on " + ", ".join(dict.fromkeys(frame._rows.label for frame in frames[1:]))
    rows = first._rows.on(node, caption)
    return Frame(rows, {name: rows.term(name) for name in ([*likes, label] if label else likes)})


def split(frame: Frame, *, parts: int = 2, take: int | Iterable[int] = 0, salt: str = "") -> Frame:
    """Return the rows of some of ``parts`` equal parts of the units; parts that differ share no unit.

    Args:
        frame: A handle.
        parts: Into how many parts units fall, by a hash.
        take: The part or parts taken, counted from 0.
        salt: Another salt is another split.

    Raises:
        PlanError: A part that does not exist.
    """
    if not isinstance(frame, Frame):
        raise PlanError("api.split", "split takes a handle", nearest=("cl.split(visits, parts=5, take=0)",))
    taken = tuple(sorted({int(take)} if isinstance(take, int | np.integer) else {int(part) for part in take}))
    return Frame(
        frame._rows.on(a.Split(frame._rows.relation, int(parts), taken, salt)), dict(frame._columns), frame._order
    )


def salt_of(relation: a.Relation, random_state: int | str) -> str:
    """Return the salt of a split of rows that may be a part already: a part of a part needs a hash of its own.

    By the same hash every unit of a part falls on one side again.
    """
    within, below = 0, [relation]
    while below:
        node = below.pop()
        within += isinstance(node, a.Split)
        below += sources(node)
    return f"{random_state}/{within}" if within else str(random_state)


def train_test_split(frame: Frame, *, test_size: float = 0.25, random_state: int | str = 0) -> tuple[Frame, Frame]:
    """Return two handles without a unit in common; about ``test_size`` of the units are in the second.

    Args:
        frame: A handle.
        test_size: Between 0 and 1, in per cent.
        random_state: Another one is another split.

    Raises:
        PlanError: Not a share between 0.01 and 0.99.
    """
    tested = round(test_size * 100)
    if not 1 <= tested <= 99:
        raise PlanError("api.split", "test_size is a share from 0.01 to 0.99", nearest=("cl.train_test_split(visits)",))
    salt = salt_of(frame._rows.relation, random_state)
    train = split(frame, parts=100, take=range(tested, 100), salt=salt)
    return train, split(frame, parts=100, take=range(tested), salt=salt)


def _is_key(frame: Frame, name: str) -> bool:
    return name in frame._columns and is_key(frame._rows, frame._columns, name)


def _like(frames: Sequence[Frame], name: str) -> Term:
    """Return a term of the column where it is there; all that have it must agree in kind.

    Cards may list columns in another order, and differ in bounds, steps and domains: the stack holds the values of all.
    """
    first, *others = [frame for frame in frames if name in frame._columns]
    like = first._columns[name]
    for other in others:
        if {like.grid.kind, (grid := other._columns[name].grid).kind} == {"opaque"}:
            continue
        try:
            union(f"concat of {name}", like.grid, grid)
        except PlanError as error:
            raise _mismatch(name, first, other) from error
    return like


_KINDS = {"bool": "a condition", "number": "a number", "category": "a category", "date": "a date", "text": "open text"}


def _mismatch(name: str, first: Frame, other: Frame) -> PlanError:
    kinds = [_KINDS.get(frame._columns[name].grid.kind, "a unit key") for frame in (first, other)]
    tables = [frame._rows.card.name for frame in (first, other)]
    differ = f"{kinds[0]} in {tables[0]} and {kinds[1]} in {tables[1]}"
    if kinds[0] == kinds[1]:
        differ = f"of steps that have no common grid in {tables[0]} and {tables[1]}"
    own = f"cl.table({tables[1]!r})"
    return PlanError(
        "plan.stack",
        f"the column {name!r} is {differ}",
        clause="card.columns",
        next_step="bring it into one kind (cl.cut, cl.recode, cl.parse), give it another name there, or leave it out",
        nearest=(
            f"{own}.rename(columns={{{name!r}: {name + '_2'!r}}})  # missing in the other",
            f"{own}.drop(columns={name!r})",
        ),
    )


def _source(frame: Frame, likes: dict[str, Term]) -> a.Select:
    """Return the handle's rows with the wanted columns under their names."""
    columns = tuple(
        (name, frame._columns[name].scalar if name in frame._columns else _missing(like))
        for name, like in likes.items()
    )
    renamed = tuple(pair for pair in columns if pair[1] != a.Col(pair[0]))
    source = a.Derive(frame._rows.relation, renamed) if renamed else frame._rows.relation
    return a.Select(source, tuple(likes))


def _missing(like: Term) -> a.Scalar:
    """Return a value of the kind of ``like`` that is always missing."""
    match like.grid.kind:
        case "category":
            value: Any = like.grid.domain[0]
        case "date":
            value = "2000-01-01"
        case "bool":
            value = False
        case _:
            value = 0
    return terms.only(terms.literal(value, like.grid), terms.literal(False, None)).scalar
