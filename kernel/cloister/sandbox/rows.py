"""Which rows a handle stands for: a relation of the algebra, and the session that can ask about it.

Columns that an expression can state are not part of it: every column of a handle is an expression over the columns of
its relation. Columns that only a relation can make (along the rows of a unit, by look-up, per unit) have names made
from their content, and what a question does not need is left out of its plan. So a plan does not depend on how the
analyst named or staged intermediate columns, and the same question is the same plan, which is recalled at no charge.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import Schema
from cloister.sandbox import terms, widen

if TYPE_CHECKING:
    from cloister.sandbox.session import Session


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one or several tables, and the session that can ask about them.

    ``card`` is the card of the table the rows start from; ``caption`` says how they were put together, if not by that.
    """

    session: Session
    card: Card
    relation: a.Relation
    caption: str = ""

    @property
    def label(self) -> str:
        """The short name of the table, for messages and representations."""
        return self.card.name.rpartition(".")[2]

    @property
    def schema(self) -> Schema:
        """The columns of the relation with their grids, and what bounds the rows of a unit."""
        return self.session.schema(self.relation)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables the rows come from, each once."""
        return tuple(dict.fromkeys(self.schema.tables))

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns of the unit."""
        return self.card.key

    def term(self, name: str) -> terms.Term:
        """Return a column of the relation as a term."""
        return terms.Term(a.Col(name), self.schema.grid(name))

    def where(self, condition: terms.Term) -> Rows:
        """Return the rows for which the condition is True."""
        return self.on(a.Filter(self.relation, condition.scalar))

    def capped(self, rows: int, by: dict[str, terms.Term], groups: int | None) -> Rows:
        """Return at most ``rows`` rows per unit and key, and at most ``groups`` keys per unit."""
        source, names = self.keyed(by)
        return self.on(a.Cap(source, rows, names, groups))

    def on(self, relation: a.Relation, caption: str | None = None) -> Rows:
        """Return the rows of another relation that starts from the same table.

        Raises:
            PlanError: The relation has no type.
        """
        found = dataclasses.replace(self, relation=relation, caption=self.caption if caption is None else caption)
        _ = found.schema
        return found

    def keyed(self, keys: dict[str, terms.Term]) -> tuple[a.Relation, tuple[str, ...]]:
        """Return a relation in which every key is a column, and the names of these columns."""
        taken = set(self.schema.columns)
        derived = [node for node in widen.same_columns(self.relation) if isinstance(node, a.Derive)]
        taken |= {name for node in derived for name, _ in node.columns}
        known = {scalar: name for node in derived for name, scalar in node.columns}
        names: list[str] = []
        added: list[tuple[str, a.Scalar]] = []
        for wanted, term in keys.items():
            ready = term.scalar.name if isinstance(term.scalar, a.Col) else known.get(term.scalar)
            if ready is not None and ready not in names:
                names.append(ready)
                continue
            name, number = wanted, 2
            while name in taken:
                name, number = f"{wanted}_{number}", number + 1
            taken.add(name)
            known[term.scalar] = name
            added.append((name, term.scalar))
            names.append(name)
        return (a.Derive(self.relation, tuple(added)) if added else self.relation), tuple(names)

    def asked(self, keys: dict[str, terms.Term], *parts: Any) -> tuple[a.Relation, tuple[str, ...]]:
        """Return the relation a plan needs for its keys and ``parts`` (measures or scalars), and the keys' names."""
        source, names = self.keyed(keys)
        return widen.pruned(source, {*names, *widen.columns_of(parts)}), names

    def covers(self, other: Rows) -> bool:
        """Return whether ``other`` is these rows or a part of them, so that expressions here hold there."""
        return widen.joined(other.relation, self.relation) == other.relation

    def joined(self, other: Rows) -> Rows | None:
        """Return these rows with the columns ``other`` added to them (or to rows they are a part of), if it did."""
        found = widen.joined(self.relation, other.relation)
        if found is None or found == self.relation:
            return None if found is None else self
        return dataclasses.replace(self, relation=found)


def same(left: Rows, right: Rows) -> Rows:
    """Return the rows two columns share, with the columns both need.

    Raises:
        PlanError: The columns come from different rows.
    """
    if widen.core(left.relation) == widen.core(right.relation) and (found := left.joined(right)) is not None:
        return found
    raise different(left)


def within(rows: Rows, other: Rows) -> Rows:
    """Return ``rows`` with the columns that expressions over ``other`` need: ``rows`` are a part of ``other``.

    Raises:
        PlanError: They are not.
    """
    found = rows.joined(other)
    if found is None:
        raise different(rows)
    return found


def different(rows: Rows) -> PlanError:
    """Return the refusal of columns that are not of these rows."""
    return PlanError(
        "plan.rows",
        f"these columns are of different rows of {rows.label} (or another table); rows are never aligned by position",
        next_step="take both columns from the same handle: d = visits[visits.age >= 18]; d.bmi * d.age",
    )
