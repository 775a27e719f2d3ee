"""``cl.sql("SELECT sex, AVG(bmi) FROM visits GROUP BY sex")``: the same algebra, asked in SQL.

A query becomes the plan its pandas form would be: same question, same digest, recalled at no charge. ``WHERE``,
``GROUP BY`` and what is inside aggregates travel; ``HAVING``, ``ORDER BY``, ``LIMIT`` and what is computed from
aggregates happen here, on released values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sqlglot import exp

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, release, sql_aggregates, sql_released, sql_text
from cloister.sandbox.answer import PARTS, Answer
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.session import Session, current
from cloister.sandbox.sql_aggregates import Aggregate
from cloister.sandbox.sql_relations import From
from cloister.sandbox.sql_scalars import match
from cloister.sandbox.sql_text import Source
from cloister.sandbox.terms import Term

_CLAUSES = ("expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "with_")


class _Query:
    """One SELECT on its way to a question."""

    def __init__(self, session: Session, source: Source) -> None:
        tree = source.tree
        while isinstance(tree, exp.Subquery):
            source.only(tree, "this")
            tree = tree.this
        if not isinstance(tree, exp.Select):
            raise source.refuse(tree, "UNION is not in this version of SQL here", "SELECT COUNT(*) FROM visits")
        self.source = source
        self.select = tree
        self.relation, _ = From(session, source).of(tree)
        if tree.args.get("distinct"):
            raise self._which()
        source.only(tree, *_CLAUSES)
        self.items = self._items()
        self.keys = self._keys()
        self.found: dict[a.Measure, tuple[str | None, Aggregate]] = {}
        self.names: dict[a.Measure, str] = {}

    def ask(self) -> Ask[pd.DataFrame]:
        """Return the question and how its answer is presented."""
        columns: dict[str, tuple[exp.Expr, sql_released.Computed]] = {}
        for label, node in self.items.items():
            if self._key(node) is None:
                columns[label] = node, self._computed(node, label)
        having = self.select.args.get("having")
        keep = None if having is None else self._computed(having.this)
        order = self._order()
        first, most = self._number("offset"), self._number("limit")
        if not self.found:
            raise self._no_aggregates()
        self.names |= dict(zip(self.found, sql_aggregates.names(list(self.found.values())), strict=True))
        made = tuple(one.measure(self.names[key]) for key, (_, one) in self.found.items())
        # What cannot be computed is refused before anything is asked, not when it is paid for.
        trial = self._trial()
        for node, compute in [*columns.values(), *order]:
            self._try(node, compute, trial, condition=False)
        if having is not None and keep is not None:
            self._try(having, keep, trial, condition=True)

        def present(answer: Answer) -> Any:
            table, parts = self._table(answer)
            outputs = {label: (compute(table), self._direct(node, table)) for label, (node, compute) in columns.items()}
            objects = _objects(outputs, parts, table.index)
            rows = np.arange(len(table)) if keep is None else np.flatnonzero(keep(table).to_numpy(dtype=bool))
            rows = _sorted(rows, [(compute(table), bool(part.args.get("desc"))) for part, compute in order])
            rows = rows[first or 0 :][: len(rows) if most is None else most]
            cut = {part: value.iloc[rows] for part, value in objects.items()}
            return release.bind(cut, answer.fact, _derived(outputs))

        return Ask(self.relation.rows, made, present, self.keys)

    # The select list -----------------------------------------------------------------------------------

    def _items(self) -> dict[str, exp.Expr]:
        found: dict[str, exp.Expr] = {}
        for part in self.select.expressions:
            if isinstance(part, exp.Star) or (isinstance(part, exp.Column) and isinstance(part.this, exp.Star)):
                raise self._rows_refused(part)
            node = part.unalias()
            label = part.alias or (node.name if isinstance(node, exp.Column) else node.sql(dialect="duckdb"))
            if label in found:
                raise self.source.refuse(part, f"two columns are called {label!r}", "AVG(bmi) AS m", code="sql.name")
            found[label] = node
        return found

    def _keys(self) -> dict[str, Term]:
        clause = self.select.args.get("group")
        if clause is None:
            return {}
        self.source.only(clause, "expressions")
        reader = self.relation.reader(self.source)
        keys: dict[str, Term] = {}
        for part in clause.expressions:
            node = self._pointed(part)
            if node.find(*sql_aggregates.KINDS):
                raise self.source.refuse(part, "groups are made before aggregates", "GROUP BY sex")
            column = reader.column(node)
            label = next((label for label, item in self.items.items() if item == node), column.name or node.sql())
            keys[label] = column._term
        return keys

    def _pointed(self, node: exp.Expr) -> exp.Expr:
        """Return what an ordinal or an alias stands for."""
        if isinstance(node, exp.Literal) and not node.is_string:
            place, items = sql_text.number(node.this), list(self.items.values())
            if not isinstance(place, int) or not 1 <= place <= len(items):
                raise self.source.refuse(node, f"there is no column {node.this} in the select list", code="sql.name")
            return items[place - 1]
        if isinstance(node, exp.Column) and not node.table and not self._is_column(node.name):
            return self.items.get(match(node.name, self.items) or "", node)
        return node

    def _is_column(self, name: str) -> bool:
        return match(name, self.relation.columns) is not None

    def _key(self, node: exp.Expr) -> str | None:
        """Return the key an expression is, if it is one."""
        if not self.keys or node.find(*sql_aggregates.KINDS) or not node.find(exp.Column):
            return None
        try:
            scalar = self.relation.reader(self.source).column(node)._term.scalar
        except PlanError:
            return None
        return next((label for label, term in self.keys.items() if term.scalar == scalar), None)

    def _computed(self, node: exp.Expr, alias: str | None = None) -> sql_released.Computed:
        named = alias if alias != node.sql(dialect="duckdb") else None

        def find(part: exp.Expr) -> sql_released.Computed | None:
            if sql_aggregates.is_aggregate(part):
                key = self._measure(part, named if part is node else None)
                return lambda table: table[self.names[key]]
            label = self._key(part)
            if label is not None:
                return lambda table: table[("key", label)]
            if isinstance(part, exp.Column):
                target = self._pointed(part)
                if target is part or target == part:
                    raise self._not_grouped(part)
                return self._computed(target)
            return None

        return sql_released.read(node, self.source, find)

    def _measure(self, node: exp.Expr, alias: str | None) -> a.Measure:
        one = sql_aggregates.read(node, self.relation.reader(self.source), self.source)
        key = one.measure("")
        self.found.setdefault(key, (alias, one))
        return key

    def _direct(self, node: exp.Expr, _table: pd.DataFrame) -> str | None:
        """Return the measure a column shows as it was released, or ``None`` if it is computed."""
        if not sql_aggregates.is_aggregate(node):
            return None
        return self.names[self._measure(node, None)]

    def _order(self) -> list[tuple[exp.Expr, sql_released.Computed]]:
        clause = self.select.args.get("order")
        found = []
        for part in () if clause is None else clause.expressions:
            self.source.only(part, "this", "desc", "nulls_first")
            node = self._pointed(part.this)
            found.append((part, self._computed(node)))
        return found

    def _number(self, name: str) -> int | None:
        clause = self.select.args.get(name)
        if clause is None:
            return None
        self.source.only(clause, "expression")
        node = clause.expression
        value = sql_text.number(node.this) if isinstance(node, exp.Literal) and not node.is_string else None
        if not isinstance(value, int):
            raise self.source.refuse(clause, f"{name.upper()} is a whole number", "LIMIT 10")
        return value

    def _trial(self) -> pd.DataFrame:
        """Return a released table of the right types, with invented values."""
        some: dict[str, Any] = {"category": "a", "bool": True, "date": pd.Timestamp("2024-01-31")}
        values: dict[Any, Any] = {name: [1.0, 2.0] for name in self.names.values()}
        values |= {("key", label): [some.get(term.grid.kind, 1)] * 2 for label, term in self.keys.items()}
        return pd.DataFrame({name: np.asarray(found) for name, found in values.items()}, index=[0, 1])

    def _try(self, node: exp.Expr, compute: sql_released.Computed, trial: pd.DataFrame, *, condition: bool) -> None:
        try:
            found = compute(trial)
            fits = found.dtype == bool or not condition
        except (TypeError, ValueError, AttributeError, ArithmeticError):
            fits = False
        if not fits:
            raise self.source.refuse(node, "these kinds of released values do not go together here", code="sql.types")

    # Presenting ----------------------------------------------------------------------------------------

    def _table(self, answer: Answer) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
        index = answer.index() if self.keys else pd.RangeIndex(1)
        parts = {name: answer._parts(name) for name in self.names.values()}
        columns: dict[Any, Any] = {name: found["value"] for name, found in parts.items()}
        for position, label in enumerate(self.keys):
            level = index.get_level_values(position)
            columns["key", label] = level.astype(object) if isinstance(level, pd.CategoricalIndex) else level
        return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()}, index), parts

    # Refusals ------------------------------------------------------------------------------------------

    def _rows_refused(self, node: exp.Expr) -> PlanError:
        label = self.relation.rows.label
        return self.source.refuse(
            node,
            refuse.ROWS,
            f"SELECT COUNT(*) FROM {label}",  # noqa: S608 (shown, never run)
            f'cl.table("{self.relation.rows.card.name}").mock(5)',
            code="sql.rows",
        )

    def _no_aggregates(self) -> PlanError:
        if self.keys:
            key = next(iter(self.keys))
            return self.source.refuse(
                self.select.args["group"],
                "which values occur is a fact about people; count them",
                f"SELECT {key}, COUNT(*) FROM {self.relation.rows.label} GROUP BY {key}",  # noqa: S608 (shown, never run)
                code="sql.distinct",
            )
        return self._rows_refused(next(iter(self.select.expressions), self.select))

    def _which(self) -> PlanError:
        rows = self.relation.rows
        names = [part.name for part in self.select.expressions if isinstance(part, exp.Column)]
        domains = [name for name in names if (column := rows.card.column(name)) is not None and column.domain]
        counted = (f"SELECT {name}, COUNT(*) FROM {rows.label} GROUP BY {name}" for name in domains)  # noqa: S608
        return self.source.refuse(
            self.select,
            "which values occur is a fact about people; count the rows of each, or the units",
            *counted,
            f"SELECT COUNT(DISTINCT {rows.key[0]}) FROM {rows.label}",  # noqa: S608 (shown, never run)
            code="sql.distinct",
        )

    def _not_grouped(self, node: exp.Column) -> PlanError:
        if not self._is_column(node.name):
            self.relation.reader(self.source).column(node)
        if not self.keys and not self.select.find(*sql_aggregates.KINDS):
            return self._rows_refused(node)
        return self.source.refuse(
            node,
            f"{node.name} is neither grouped nor aggregated: its values are rows",
            f"AVG({node.name})",
            f"GROUP BY {node.name}",
            code="sql.rows",
        )


def _objects(
    outputs: Mapping[str, tuple[Any, str | None]], parts: Mapping[str, Mapping[str, Any]], index: pd.Index
) -> dict[str, pd.DataFrame]:
    """Return values, errors and intervals of the columns shown; errors of computed ones are not known."""
    columns: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for label, (values, measure) in outputs.items():
        for part in PARTS:
            if measure is not None:
                columns[part][label] = parts[measure][part]
            elif part == "value":
                columns[part][label] = np.asarray(values)
            else:
                columns[part][label] = np.full(len(index), part == "unreliable" or np.nan)
    return {part: pd.DataFrame(found, index) for part, found in columns.items()}


def _derived(outputs: Mapping[str, tuple[Any, str | None]]) -> str:
    computed = [label for label, (_, measure) in outputs.items() if measure is None]
    return f"computed from released values, errors not known: {', '.join(computed)}" if computed else ""


def _sorted(rows: np.ndarray, order: list[tuple[Any, bool]]) -> np.ndarray:
    for values, down in reversed(order):
        chosen = pd.Series(values.to_numpy()[rows])
        places = chosen.sort_values(ascending=not down, kind="stable", na_position="last").index.to_numpy()
        rows = rows[places]
    return rows


def _sql(query: str) -> Ask[pd.DataFrame]:
    """Ask in SQL: ``cl.sql("SELECT sex, AVG(bmi) AS bmi FROM visits WHERE age >= 18 GROUP BY sex")``.

    The keys of ``GROUP BY`` become the index of the DataFrame that comes back; it has ``.release``. A last line
    ``-- epsilon 0.1`` (``share``, ``within``, ``n``) says how precise it shall be. ``cl.sql.cost(query)`` is the price.

    Raises:
        PlanError: Not part of this SQL; the place in the query and the nearest form are named.
    """
    return _Query(current(), sql_text.parse(query)).ask()


class Sql(Terminal[pd.DataFrame]):
    """A terminal whose precision may also stand in the last line of the query."""

    def __call__(self, query: str, **options: Any) -> pd.DataFrame:
        """Release the answer of a query."""
        return super().__call__(query, **_with_hint(query, options))

    def cost(self, query: str, **options: Any) -> Any:
        """Return what the query would cost; nothing is spent."""
        return super().cost(query, **_with_hint(query, options))


def _with_hint(query: Any, options: dict[str, Any]) -> dict[str, Any]:
    said = {name for name in ("epsilon", "share", "within") if options.get(name) is not None}
    found = sql_text.hint(query) if isinstance(query, str) else {}
    return {**({} if said else found), **options}


sql: Sql = Sql(_sql)
