"""What stands after FROM: tables of the contract, and subqueries and CTEs that compute row by row or per unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlglot import exp

from cloister.errors import PlanError
from cloister.sandbox import refuse, sql_aggregates, sql_units, stacking
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.rows import Rows
from cloister.sandbox.session import Session
from cloister.sandbox.sql_scalars import Reader, match
from cloister.sandbox.sql_text import Source

_PLACES = ("expressions", "from_", "where", "with_", "joins")


@dataclasses.dataclass(frozen=True)
class Relation:
    """Rows, their columns, and which of them belong to each name a query gives its tables (in lower case)."""

    rows: Rows
    columns: Mapping[str, Column]
    names: Mapping[str, Mapping[str, str]]

    def called(self, *names: str) -> Relation:
        """Return the same rows under names of their own."""
        own = {name: name for name in self.columns}
        return dataclasses.replace(self, names={name.lower(): own for name in names})

    def frame(self) -> Frame:
        """Return the handle of these rows."""
        return Frame(self.rows, {name: column._term for name, column in self.columns.items()})

    def reader(self, source: Source) -> Reader:
        """Return a reader of expressions over these rows."""
        return Reader(source, self.rows, self.columns, self.names)

    def where(self, node: exp.Expr | None, source: Source) -> Relation:
        """Return the rows a WHERE clause keeps."""
        if node is None:
            return self
        if node.find(exp.AggFunc):
            raise source.refuse(node, "WHERE chooses rows; aggregates are compared in HAVING", "HAVING COUNT(*) > 100")
        condition = self.reader(source).holds(node.this)
        if getattr(condition._term.scalar, "value", None) is True:
            return self
        rows = self.rows.where(condition._term)
        columns = {name: Column(rows, column._term, column.name) for name, column in self.columns.items()}
        return Relation(rows, columns, self.names)


class From:
    """Finds relations by name: CTEs first, then the tables of the contract."""

    def __init__(self, session: Session, source: Source, staged: Mapping[str, Relation] | None = None) -> None:
        self._session = session
        self._source = source
        self._staged = dict(staged or {})

    def of(self, select: exp.Select) -> tuple[Relation, From]:
        """Return the filtered rows of a SELECT, and the scope in which its subqueries are read.

        Raises:
            PlanError: A relation that is not in the language or the contract.
        """
        scope = self._with(select)
        start = select.args.get("from_")
        if start is None:
            raise self._source.refuse(select, "a query has a FROM", "SELECT COUNT(*) FROM visits", code="sql.from")
        found = scope._relation(start.this)
        for join in select.args.get("joins") or ():
            found = scope._joined(found, join)
        return found.where(select.args.get("where"), self._source), scope

    def _with(self, select: exp.Select) -> From:
        clause = select.args.get("with_")
        if clause is None:
            return self
        self._source.only(clause, "expressions")
        scope = From(self._session, self._source, self._staged)
        for part in clause.expressions:
            self._source.only(part, "this", "alias")
            scope._staged[part.alias.lower()] = scope._staged_rows(part.this, part.alias)
        return scope

    def _relation(self, node: exp.Expr) -> Relation:
        if isinstance(node, exp.Subquery):
            self._source.only(node, "this", "alias")
            return self._staged_rows(node.this, node.alias)
        if not isinstance(node, exp.Table):
            raise self._source.refuse(node, "FROM names a table or a subquery", "SELECT COUNT(*) FROM visits")
        self._source.only(node, "this", "db", "catalog", "alias")
        if not isinstance(node.this, exp.Identifier):
            raise self._source.refuse(
                node, "functions and files cannot be read", "SELECT COUNT(*) FROM visits", code="sql.table"
            )
        return self._table(node)

    def _table(self, node: exp.Table) -> Relation:
        full = ".".join(part.name for part in node.parts)
        alias = node.args.get("alias")
        if alias is not None:
            self._source.only(alias, "this")
        staged = self._staged.get(full.lower())
        if staged is not None:
            return staged.called(node.alias or full)
        cards = self._session.about.cards
        shorts = {card.rpartition(".")[2]: card for card in cards}
        name = match(full, cards) or shorts.get(match(full, shorts) or "")
        if name is None or (full not in cards and len([one for one in cards if one.endswith(f".{full}")]) > 1):
            error = refuse.unknown_table(full, list(cards))
            raise self._source.refuse(node, error.reason, *(f"FROM {card}" for card in cards), code="sql.table")
        frame = Frame.of_table(self._session, name)
        known = (node.alias,) if node.alias else (name, name.rpartition(".")[2])
        return Relation(frame._rows, dict(frame.items()), {}).called(*known)

    def _joined(self, left: Relation, join: exp.Join) -> Relation:
        """Alignment on the unit key, or a reference table looked up: what ``merge`` does."""
        self._source.only(join, "this", "side", "kind", "using", "on")
        side, kind = str(join.args.get("side") or ""), str(join.args.get("kind") or "INNER")
        right = self._relation(join.this)
        pair = self._keys(left, right, join)
        if side not in {"", "LEFT"} or kind not in {"INNER", "OUTER"} or pair is None:
            raise self._source.refuse(
                join,
                "tables are joined on the unit key, inner or left",
                "SELECT ... FROM visits v JOIN claims c USING (patient_id)",
                "SELECT ... FROM visits v LEFT JOIN claims c ON v.patient_id = c.patient_id",
                code="sql.join",
            )
        one, other = left.frame(), right.frame()
        clash = "__right"
        while any(f"{name}{clash}" in left.columns for name in right.columns):
            clash += "_"
        try:
            frame = one.merge(
                other, how="left" if side else "inner", left_on=pair[0], right_on=pair[1], suffixes=("", clash)
            )
        except PlanError as error:
            raise self._source.refuse(join, error.reason, *error.nearest, code=error.code) from error
        moved = {name: f"{name}{clash}" if f"{name}{clash}" in frame else name for name in right.columns}
        names = {**left.names, **dict.fromkeys(right.names, moved)}
        return Relation(frame._rows, dict(frame.items()), names)

    def _keys(self, left: Relation, right: Relation, join: exp.Join) -> tuple[str, str] | None:
        using, on = join.args.get("using"), join.args.get("on")
        if using and len(using) == 1:
            names = match(using[0].name, left.columns), match(using[0].name, right.columns)
            return (names[0], names[1]) if names[0] and names[1] else None
        if not isinstance(on, exp.EQ) or not all(isinstance(part, exp.Column) for part in (on.this, on.expression)):
            return None
        for first, second in ((on.this, on.expression), (on.expression, on.this)):
            owners = left.names.get(first.table.lower()), right.names.get(second.table.lower())
            if owners[0] is not None and owners[1] is not None:
                found = match(first.name, owners[0]), match(second.name, owners[1])
                return (owners[0][found[0]], owners[1][found[1]]) if found[0] and found[1] else None
        return None

    def _staged_rows(self, node: exp.Expr, alias: str) -> Relation:
        """A subquery that computes row by row: a handle with named columns; or several after one another."""
        if isinstance(node, exp.Union):
            return self._stacked(node, alias)
        if not isinstance(node, exp.Select):
            raise self._source.refuse(node, "a subquery is a SELECT of rows", "WITH a AS (SELECT * FROM visits) ...")
        if node.args.get("group") or node.args.get("distinct"):
            return self._units(node, alias)
        aggregates = [part for part in node.expressions if part.find(*sql_aggregates.KINDS)]
        if aggregates:
            raise self._source.refuse(
                aggregates[0],
                "a subquery computes row by row, or groups by the unit key; what is released is put together in "
                "pandas, which is free",
                "WITH adults AS (SELECT * FROM visits WHERE age >= 18) SELECT sex, AVG(cost) FROM adults GROUP BY sex",
                code="sql.staged",
            )
        self._source.only(node, *_PLACES)
        found, _ = self.of(node)
        reader = found.reader(self._source)
        columns: dict[str, Column] = {}
        for part in node.expressions:
            if isinstance(part, exp.Star):
                self._source.only(part)
                columns |= found.columns
                continue
            inside = part.unalias()
            name = part.alias or (inside.name if isinstance(inside, exp.Column) else "")
            if not name:
                raise self._source.refuse(part, "a computed column needs a name", "age * 2 AS twice", code="sql.name")
            columns[name] = reader.column(inside).rename(name)
        return Relation(found.rows, columns, {}).called(alias)

    def _units(self, node: exp.Select, alias: str) -> Relation:
        """A subquery with one row per unit (and closed columns)."""
        self._source.only(node, *_PLACES, "group" if node.args.get("group") else "distinct")
        found, _ = self.of(node)
        if node.args.get("group"):
            frame = sql_units.grouped(node, found.frame(), found.reader(self._source), self._source)
        else:
            frame = sql_units.distinct(node, found.frame(), self._source)
        columns = {name: Column(frame._rows, term, name) for name, term in frame._columns.items()}
        return Relation(frame._rows, columns, {}).called(alias)

    def _stacked(self, node: exp.Union, alias: str) -> Relation:
        self._source.only(node, "this", "expression", "distinct")
        if node.args.get("distinct") is not False:
            raise self._source.refuse(
                node,
                "which rows are alike is a fact about people",
                "SELECT ... UNION ALL SELECT ...",
                code="sql.distinct",
            )
        first, second = (self._staged_rows(part.unnest(), alias) for part in (node.this, node.expression))
        if len(first.columns) != len(second.columns):
            raise self._source.refuse(node, "both sides of UNION ALL have the same columns", code="sql.types")
        # As in SQL the columns go by position, and the first SELECT names them.
        renamed = dict(zip(first.columns, second.columns.values(), strict=True))
        try:
            frame = stacking.concat([first.frame(), dataclasses.replace(second, columns=renamed).frame()])
        except PlanError as error:
            raise self._source.refuse(node, error.reason, *error.nearest, code=error.code) from error
        return Relation(frame._rows, dict(frame.items()), {}).called(alias)
