"""Which rows a handle stands for: a table after filters and caps.

Derived columns are not part of it: every column of a handle is an expression over the table's own columns. So a plan
does not depend on how the analyst named or staged intermediate columns, and the same question is the same plan,
which is recalled at no charge.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import chain
from cloister.sandbox import terms

if TYPE_CHECKING:
    from cloister.sandbox.session import Session


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one table, and the session that can ask about them."""

    session: Session
    card: Card
    relation: a.Relation

    @property
    def label(self) -> str:
        """The short name of the table, for messages and representations."""
        return self.card.name.rpartition(".")[2]

    def where(self, condition: terms.Term) -> Rows:
        """Return the rows for which the condition is True."""
        return dataclasses.replace(self, relation=a.Filter(self.relation, condition.scalar))

    def capped(self, rows: int, by: dict[str, terms.Term], groups: int | None) -> Rows:
        """Return at most ``rows`` rows per unit and key, and at most ``groups`` keys per unit."""
        source, names = self.keyed(by)
        return dataclasses.replace(self, relation=a.Cap(source, rows, names, groups))

    def keyed(self, keys: dict[str, terms.Term]) -> tuple[a.Relation, tuple[str, ...]]:
        """Return a relation in which every key is a column, and the names of these columns."""
        taken = {column.name for column in self.card.columns}
        taken |= {name for node in chain(self.relation) if isinstance(node, a.Derive) for name, _ in node.columns}
        known = {
            scalar: name for node in chain(self.relation) if isinstance(node, a.Derive) for name, scalar in node.columns
        }
        names: list[str] = []
        derived: list[tuple[str, a.Scalar]] = []
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
            derived.append((name, term.scalar))
            names.append(name)
        return (a.Derive(self.relation, tuple(derived)) if derived else self.relation), tuple(names)

    def covers(self, other: Rows) -> bool:
        """Return whether ``other`` is these rows or a part of them, so that expressions here hold there."""
        return self.card.name == other.card.name and any(node == self.relation for node in chain(other.relation))


def same(left: Rows, right: Rows) -> Rows:
    """Return the rows two columns share.

    Raises:
        PlanError: The columns come from different rows.
    """
    if left.card.name == right.card.name and left.relation == right.relation:
        return left
    raise PlanError(
        "plan.rows",
        f"these columns are of different rows of {left.label} (or another table); rows are never aligned by position",
        next_step="take both columns from the same handle: d = visits[visits.age >= 18]; d.bmi * d.age",
    )
