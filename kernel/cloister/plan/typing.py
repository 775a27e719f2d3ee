"""Types of relations: which columns a relation has, on which grids, and what they rest on.

``infer`` walks a relation from its table outwards. Each column gets a *token*: a digest of the expression it holds
in terms of stored columns. Equal tokens mean equal values in every row, so a bound obtained for a column
(by ``Cap``) survives renaming and is lost by redefinition.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
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


class Schema(msgspec.Struct, frozen=True):
    """Columns of a relation with their grids and tokens; ``uses`` are the columns its rows were chosen by."""

    table: str
    card: Card
    columns: dict[str, Grid]
    tokens: dict[str, str]
    uses: Uses = frozenset()

    def grid(self, name: str) -> Grid:
        """Return the grid of column ``name``.

        Raises:
            PlanError: There is no such column; the nearest names are offered.
        """
        found = self.columns.get(name)
        if found is None:
            raise _unknown("column", name, self.columns, f"{self.table} has no column {name[:60]!r}")
        return found


def chain(relation: a.Relation) -> list[a.Relation]:
    """Return the relation's nodes from its table outwards."""
    nodes: list[a.Relation] = [relation]
    while not isinstance(relation, a.Table):
        relation = relation.source
        nodes.append(relation)
    return nodes[::-1]


def infer(relation: a.Relation, cards: Mapping[str, Card]) -> Schema:
    """Return the schema of ``relation``.

    Raises:
        PlanError: Unknown table or column, kinds that do not fit, or a range that cannot be kept exactly.
    """
    first, *rest = chain(relation)
    schema = table_schema(first, cards)
    for node in rest:
        schema = step(node, schema)
    return schema


def table_schema(node: a.Relation, cards: Mapping[str, Card]) -> Schema:
    """Return the schema of a stored table, as its card declares it."""
    if not isinstance(node, a.Table):
        raise PlanError("plan.source", "a relation starts from a table")
    card = cards.get(node.name)
    if card is None:
        raise _unknown("table", node.name, cards, f"the contract has no table {node.name[:60]!r}")
    columns = {column.name: of_column(node.name, column, is_key=column.name in card.key) for column in card.columns}
    return Schema(node.name, card, columns, {name: f"{node.name}\x00{name}" for name in columns})


def step(node: a.Relation, schema: Schema) -> Schema:
    """Return the schema after one relational step on a relation of type ``schema``."""
    replace = msgspec.structs.replace
    match node:
        case a.Filter():
            condition = scalar(node.where, schema)
            if condition.kind != "bool":
                raise PlanError("plan.types", "a filter needs a condition", next_step="compare the column with a value")
            return replace(schema, uses=schema.uses | condition.uses)
        case a.Derive():
            columns, tokens = dict(schema.columns), dict(schema.tokens)
            for name, expression in node.columns:
                columns[name] = scalar(expression, schema)
                tokens[name] = token(expression, schema)
            if len(columns) > MAX_COLUMNS:
                raise PlanError("plan.columns", "a relation has at most 1,000 columns", next_step="derive fewer")
            return replace(schema, columns=columns, tokens=tokens)
        case a.Select():
            kept = {name: schema.grid(name) for name in node.columns}
            return replace(schema, columns=kept, tokens={name: schema.tokens[name] for name in kept})
        case a.Cap():
            return _cap(node, schema)
        case _:
            raise PlanError("plan.source", "a table can only be the start of a relation")


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
    if grid.kind == "opaque":
        raise PlanError(
            "plan.key",
            f"{name!r} has no declared domain, so it cannot be a key",
            clause="which values occur would itself say who is in the data",
            next_step="group by a column with a declared domain",
            nearest=tuple(other for other, found in schema.columns.items() if found.kind in ("category", "bool"))[:3],
        )
    return grid


def _cap(node: a.Cap, schema: Schema) -> Schema:
    uses = schema.uses
    for name in node.by:
        grid = schema.grid(name)
        if grid.kind == "opaque":
            raise PlanError("plan.cap", f"{name!r} cannot be capped by: it has no declared bounds or domain")
        uses |= grid.uses
    limits = [node.rows] if node.groups is None else [node.rows, node.groups]
    if not all(1 <= limit <= MAX_CAP for limit in limits) or (node.groups is not None and not node.by):
        raise PlanError(
            "plan.cap",
            "a cap needs at least one row, and at least one group if it names groups",
            next_step="write cap(rows=k) or cap(rows=k, by=[...], groups=m) with positive numbers",
        )
    return msgspec.structs.replace(schema, uses=uses)


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
