"""Unit lineage: which accounts a relation rests on, and how its rows change when one unit's rows appear or vanish.

Neighbours, per account: all rows of one unit in the tables of that account appear or vanish; everything else, the
unit's rows in tables of other accounts included, stays. Every row of a relation belongs to one unit, and the rows of a
unit are a function of that unit's rows in the tables and of public inputs; so only this unit's rows of the relation
change. How, is said by an ``Influence`` per account, found by induction over the relation:

* ``add``: rows only appear (or only vanish), at most ``rows`` of them;
* ``replace``: up to ``rows`` rows vanish and up to ``rows`` others appear.

An account is *essential* if a unit without rows there has no rows in the relation; then the change is always ``add``,
whatever the operations in between. Without that, operations that only filter, compute row by row or pair rows
(``Filter`` ``Derive`` ``Select`` ``Lookup`` ``Split`` inner ``Align`` ``Stack``) are monotone and keep ``add``, and
those that choose or combine rows of the unit (``Cap`` ``PerUnit`` ``Window``, the right side of a left ``Align``) make
``replace``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from cloister.plan import algebra as a
from cloister.plan.typing import Typed

Mode = Literal["add", "replace"]


class Influence(msgspec.Struct, frozen=True):
    """How the rows of one unit change with its rows in one account: at most ``rows`` rows, in this mode."""

    rows: int
    mode: Mode = "add"
    essential: bool = True


Influences = dict[str, Influence]


def influences(relation: Typed, accounts: Mapping[str, str]) -> Influences:
    """Return the influence of every account that ``relation`` rests on.

    Args:
        relation: The relation with its schema.
        accounts: The account of every table with a unit, by table name.
    """
    node, parts = relation.node, [influences(source, accounts) for source in relation.sources]
    rows = relation.schema.rows
    match node:
        case a.Table():
            return {accounts[node.name]: Influence(rows)}
        case a.Align():
            return _align(relation, parts[0], parts[1])
        case a.Stack():
            return _stack(parts)
        case a.Cap() | a.PerUnit() | a.Window():
            return {name: _combined(found, rows) for name, found in parts[0].items()}
        case _:
            return {
                name: msgspec.structs.replace(found, rows=min(found.rows, rows)) for name, found in parts[0].items()
            }


def _combined(found: Influence, rows: int) -> Influence:
    """The rows that are left, or their values, depend on all rows of the unit."""
    return Influence(rows) if found.essential else Influence(rows, "replace", essential=False)


def _align(relation: Typed, left: Influences, right: Influences) -> Influences:
    """Pairs of rows: a row that vanishes takes at most all its pairs along."""
    schema = relation.schema
    most = {side: source.schema.rows for side, source in zip(("left", "right"), relation.sources, strict=True)}
    outer = isinstance(relation.node, a.Align) and relation.node.how == "left"
    found = {}
    for account in left | right:
        mine, other = left.get(account), right.get(account)
        essential = bool(mine and mine.essential) or bool(not outer and other and other.essential)
        changed = (mine.rows * max(most["right"], 1) if mine else 0) + (other.rows * most["left"] if other else 0)
        rows = min(schema.rows, changed)
        # Where a right row vanishes under a left join, the left row stays behind with nulls: another row.
        monotone = all(side is None or side.mode == "add" for side in (mine, other)) and not (outer and other)
        if essential:
            # Without the account's rows nothing is left, so all that was there vanishes.
            found[account] = Influence(schema.rows if not monotone else rows)
        else:
            found[account] = Influence(rows, "add" if monotone else "replace", essential=False)
    return found


def _stack(parts: list[Influences]) -> Influences:
    """Rows of several relations: each part changes by itself."""
    found = {}
    for account in {name for part in parts for name in part}:
        present = [part[account] for part in parts if account in part]
        mode: Mode = "replace" if any(part.mode == "replace" for part in present) else "add"
        essential = len(present) == len(parts) and all(part.essential for part in present)
        found[account] = Influence(sum(part.rows for part in present), "add" if essential else mode, essential)
    return found
