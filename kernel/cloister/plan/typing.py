"""Types of relations: which columns a relation has, on which grids, and how many rows of one unit it can hold.

``infer`` walks a relation from its tables outwards. Each column gets a *token*: a digest of the expression it holds
in terms of stored columns. Equal tokens mean equal values in every row, so a bound obtained for a column
(by ``Cap``) survives renaming and is lost by redefinition.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, Uses, of_column
from cloister.plan.rules import children, combine
from cloister.wire import canonical

MAX_COLUMNS = 1000
MAX_KEY_POINTS = 1000
MAX_CAP = 2**31
NO_UNIT = "none"


class UnitType(msgspec.Struct, frozen=True):
    """What is protected and how its keys are compared: relations of one unit type can be aligned and stacked.

    ``hashed`` is the id of the salt its keys were hashed under before they were sealed, if they were.
    """

    name: str
    key: tuple[str, ...]
    normaliser: str
    hashed: str = ""


class Bound(msgspec.Struct, frozen=True):
    """At most ``most`` per unit, for the columns with these tokens."""

    tokens: frozenset[str]
    most: int


class Schema(msgspec.Struct, frozen=True):
    """Columns of a relation with their grids and tokens, and how many rows a unit can have.

    Attributes:
        tables: The tables scanned, each as often as it is scanned.
        unit: What its rows belong to.
        columns: The grid of every column.
        tokens: What every column holds, as a digest.
        rows: The most rows of one unit.
        limit: The most rows in all, by declared size.
        caps: The most rows of one unit for one value of some columns.
        groups: The most values of some columns one unit can have.
        uses: The columns its rows were chosen by.
    """

    tables: tuple[str, ...]
    unit: UnitType
    columns: dict[str, Grid]
    tokens: dict[str, str]
    rows: int
    limit: int
    caps: tuple[Bound, ...] = ()
    groups: tuple[Bound, ...] = ()
    uses: Uses = frozenset()

    def grid(self, name: str) -> Grid:
        """Return the grid of column ``name``.

        Raises:
            PlanError: There is no such column; the nearest names are offered.
        """
        found = self.columns.get(name)
        if found is None:
            raise _unknown("column", name, self.columns, f"{self.tables[0]} has no column {name[:60]!r}")
        return found

    def rows_per_cell(self, keys: Iterable[str]) -> int:
        """Return the most rows of one unit in one cell of ``keys``: a cap counts if all its columns are keys."""
        tokens = {self.tokens[name] for name in keys}
        return min([self.rows, *(cap.most for cap in self.caps if cap.tokens <= tokens)])

    def cells_per_unit(self, keys: Iterable[str]) -> int:
        """Return the most cells of ``keys`` one unit can be in: a limit counts if it is of all the keys or more."""
        tokens = {self.tokens[name] for name in keys}
        return min([self.rows, *(bound.most for bound in self.groups if tokens <= bound.tokens)])


class Typed(msgspec.Struct, frozen=True):
    """A relation with its schema, and the same of its sources."""

    node: a.Relation
    schema: Schema
    sources: tuple[Typed, ...] = ()

    def every(self) -> list[Typed]:
        """Return all relations of the tree, sources first."""
        return [*(found for source in self.sources for found in source.every()), self]


def sources(node: a.Relation) -> tuple[a.Relation, ...]:
    """Return the relations that ``node`` is made from."""
    match node:
        case a.Table():
            return ()
        case a.Align():
            return (node.left, node.right)
        case a.Stack():
            return node.sources
        case _:
            return (node.source,)


def chain(relation: a.Relation) -> list[a.Relation]:
    """Return the relation's nodes from its first table outwards (of several sources, along the first)."""
    nodes: list[a.Relation] = [relation]
    while found := sources(nodes[-1]):
        nodes.append(found[0])
    return nodes[::-1]


def infer(relation: a.Relation, cards: Mapping[str, Card]) -> Schema:
    """Return the schema of ``relation``.

    Raises:
        PlanError: Unknown table or column, kinds that do not fit, or a range that cannot be kept exactly.
    """
    return typed(relation, cards).schema


def typed(relation: a.Relation, cards: Mapping[str, Card]) -> Typed:
    """Return ``relation`` and everything it is made from with their schemas.

    Raises:
        PlanError: As ``infer``.
    """
    parts = tuple(typed(source, cards) for source in sources(relation))
    return Typed(relation, step(relation, *(part.schema for part in parts), cards=cards), parts)


def table_schema(node: a.Relation, cards: Mapping[str, Card]) -> Schema:
    """Return the schema of a stored table, as its card declares it."""
    if not isinstance(node, a.Table):
        raise PlanError("plan.source", "a relation starts from a table")
    card = card_of(node.name, cards)
    if card.unit == NO_UNIT or not card.key:
        raise PlanError(
            "plan.unit",
            f"{node.name} protects no unit, so nothing says how much one person can change a release",
            clause="card.unit, card.key",
            next_step="ask about a table with a unit; a reference table is only looked up",
        )
    columns = {column.name: of_column(node.name, column, is_key=column.name in card.key) for column in card.columns}
    kinds = tuple(found.type for name in card.key if (found := card.column(name)) is not None)
    return Schema(
        (node.name,),
        UnitType(card.unit, kinds, card.normaliser, card.salt_id),
        columns,
        {name: f"{node.name}\x00{name}" for name in columns},
        rows=max(1, card.rows_per_unit),
        limit=max(1, card.row_limit),
    )


def card_of(name: str, cards: Mapping[str, Card]) -> Card:
    """Return the card of a table.

    Raises:
        PlanError: ``plan.table``.
    """
    card = cards.get(name)
    if card is None:
        raise _unknown("table", name, cards, f"the contract has no table {name[:60]!r}")
    return card


def step(node: a.Relation, *parts: Schema, cards: Mapping[str, Card] | None = None) -> Schema:
    """Return the schema of ``node``, given those of its sources; ``cards`` are needed by tables and lookups."""
    from cloister.plan import relations  # noqa: PLC0415 (the rules of each relation build on this module)

    if isinstance(node, a.Table):
        return table_schema(node, cards or {})
    found = relations.rule(node, parts, cards or {})
    if len(found.columns) > MAX_COLUMNS:
        raise PlanError("plan.columns", "a relation has at most 1,000 columns", next_step="derive fewer")
    return found


def scalar(node: a.Scalar, schema: Schema) -> Grid:
    """Return the grid of an expression over the columns of ``schema``."""
    if isinstance(node, a.Col):
        return schema.grid(node.name)
    return combine(node, tuple(scalar(child, schema) for child in children(node)))


def token(node: a.Scalar, schema: Schema) -> str:
    """Return a digest of the expression in terms of stored columns (equal digest: equal value in every row)."""
    if isinstance(node, a.Col):
        schema.grid(node.name)
        return schema.tokens[node.name]
    return canonical.digest(_resolve(msgspec.to_builtins(node), schema.tokens))


def key(name: str, schema: Schema) -> Grid:
    """Return the grid of a grouping key: closed, with at most 1,000 public values.

    Raises:
        PlanError: The column's values cannot be listed without looking at data.
    """
    grid = schema.grid(name)
    if grid.kind in ("number", "date") and grid.points > MAX_KEY_POINTS:
        raise PlanError(
            "plan.key",
            f"{name!r} has too many possible values to be a key",
            clause="keys are closed: every public value is released, whether it occurs or not",
            next_step="cut it into bins first",
            nearest=(f"cut({name}, edges)", f"{name}.clip(low, high)"),
        )
    if grid.kind not in ("category", "bool", "number", "date"):
        raise PlanError(
            "plan.key",
            f"{name!r} has no declared domain, so it cannot be a key",
            clause="which values occur would itself say who is in the data",
            next_step="group by a column with a declared domain",
            nearest=tuple(other for other, found in schema.columns.items() if found.kind in ("category", "bool"))[:3],
        )
    return grid


def _resolve(value: Any, tokens: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if value.get("op") == "col":
            return {"op": "col", "token": tokens[value["name"]]}
        return {name: _resolve(item, tokens) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(item, tokens) for item in value]
    return value


def _unknown(what: str, name: str, known: Mapping[str, Any], reason: str) -> PlanError:
    nearest = difflib.get_close_matches(name[:60], list(known), n=3, cutoff=0.5)
    return PlanError(
        f"plan.{what}", reason, next_step=f"list the {what}s: {', '.join(list(known)[:12])}", nearest=tuple(nearest)
    )
