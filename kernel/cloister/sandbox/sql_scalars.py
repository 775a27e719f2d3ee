"""Row-wise SQL as columns of a handle: what SQL means, written with what the sandbox has."""

from __future__ import annotations

import datetime
import functools
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from sqlglot import exp

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, sql_functions, sql_text, terms
from cloister.sandbox.column import Column
from cloister.sandbox.rows import Rows
from cloister.sandbox.sql_conditions import KINDS, Conditions, Value
from cloister.sandbox.sql_text import Source

_ARITHMETIC: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add, exp.Sub: operator.sub, exp.Mul: operator.mul, exp.Div: operator.truediv,
}  # fmt: skip
_NUMBERS = {"FLOAT", "DOUBLE", "DECIMAL"}
_WHOLE = {"INT", "BIGINT", "SMALLINT", "TINYINT", "HUGEINT", "INT128"}


class Reader(Conditions):
    """Reads row-wise expressions over the columns of one relation.

    Args:
        source: The query, for refusals.
        rows: The rows the columns stand for.
        columns: Columns by name.
        names: What may stand before a column, and the columns that belong to it.
    """

    def __init__(
        self, source: Source, rows: Rows, columns: Mapping[str, Column], names: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._source = source
        self._rows = rows
        self._columns = columns
        self._names = names
        self._known: dict[type[exp.Expr], Callable[[Any], Value]] = {
            exp.Column: self._column,
            exp.Paren: lambda node: self.value(node.this),
            exp.Literal: self._literal,
            exp.Boolean: lambda node: bool(node.this),
            exp.Null: lambda _node: None,
            exp.Neg: self._negative,
            exp.Abs: self._absolute,
            exp.Pow: self._power,
            exp.Case: self.case,
            exp.If: self._if,
            exp.Coalesce: self._coalesce,
            exp.Nullif: self._nullif,
            exp.Cast: self._cast,
            exp.DateDiff: self._days_between,
        }

    # Values --------------------------------------------------------------------------------------------

    def value(self, node: exp.Expr) -> Value:
        """Return what an expression stands for.

        Raises:
            PlanError: It is not part of the language, or does not fit the algebra.
        """
        if not isinstance(node, exp.Expr):
            raise sql_text.refusal("sql.syntax", "a function lacks its argument", "AVG(age)")
        read = self._known.get(type(node))
        if read is not None:
            return read(node)
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, KINDS):
            return self._condition(node)
        function = sql_functions.FUNCTIONS.get(type(node))
        if function is not None:
            return Column(self._rows, self._try(node, functools.partial(function, self, node)), None)
        raise self.unknown(node)

    def only(self, node: exp.Expr, *known: str) -> None:
        """Refuse a clause of a function that is not known."""
        self._source.only(node, *known)

    def text(self, node: exp.Expr) -> str:
        """Return a constant text."""
        found = self.value(node)
        if not isinstance(found, str):
            raise self._source.refuse(node, "a constant text is needed here", "'north'", code="sql.types")
        return found

    def whole(self, node: exp.Expr, *, least: int = 0, most: int = 256) -> int:
        """Return a constant whole number."""
        found = self.value(node)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self._source.refuse(node, f"a whole number from {least} to {most} is needed here", code="sql.types")
        return found

    def is_key(self, node: exp.Expr) -> bool:
        """Return whether a column is the unit key of its table."""
        return isinstance(node, exp.Column) and self._rows.key == (self._column(node).name,)

    def not_negative(self, node: exp.Expr, term: terms.Term) -> None:
        """Refuse a number that can be below zero, where SQL means something else than the algebra."""
        if term.grid.kind != "number" or term.grid.lo < 0:
            raise self._source.refuse(
                node, "of numbers that can be negative this means different things", "FLOOR(age / 10)"
            )

    def column(self, node: exp.Expr) -> Column:
        """Return an expression as a column; a constant becomes one."""
        found = self.value(node)
        return self.lift(found, node)

    def lift(self, found: Value, node: exp.Expr) -> Column:
        """Return a value as a column."""
        if isinstance(found, Column):
            return found
        if found is None:
            raise self._source.refuse(node, "a bare NULL says nothing about rows", "COALESCE(bmi, 0)", code="sql.null")
        return Column(self._rows, terms.literal(found, None), None)

    def unknown(self, node: exp.Expr) -> PlanError:
        """Return the refusal of an expression that is not in the language."""
        if isinstance(node, exp.Window):
            return self._source.refuse(node, "windows see other rows", "SELECT sex, COUNT(*) FROM visits GROUP BY sex")
        if isinstance(node, exp.Subquery | exp.Select | exp.Exists):
            return self._source.refuse(
                node, "a subquery stands after FROM, not in an expression", "WITH a AS (SELECT ...) SELECT ... FROM a"
            )
        name = node.name if isinstance(node, exp.Anonymous) else node.key
        return self._source.refuse(
            node, f"{name.upper()} is not part of this SQL", "CASE WHEN age >= 18 THEN 1 ELSE 0 END", "cost * 2 + 1"
        )

    def _column(self, node: exp.Column) -> Column:
        self._source.only(node, "this", "table", "db", "catalog")
        owner = ".".join(part.name for part in (node.args.get(key) for key in ("catalog", "db", "table")) if part)
        if owner and owner.lower() not in self._names:
            raise self._source.refuse(node, f"there is no table {owner!r} in this query", code="sql.name")
        if isinstance(node.this, exp.Star):
            raise self._source.refuse(
                node, refuse.ROWS, "SELECT COUNT(*) FROM visits", "visits.mock(5)", code="sql.rows"
            )
        owners = [self._names[owner.lower()]] if owner else list(self._names.values())
        found = {own[name] for own in owners if (name := match(node.name, own)) is not None}
        if len(found) > 1:
            raise self._source.refuse(node, f"two tables have a column {node.name!r}; say which", code="sql.name")
        if not found:
            error = refuse.unknown_column(node.name, list(self._columns), self._rows.label)
            raise self._source.refuse(node, error.reason, *error.nearest, code="sql.column")
        return self._columns[found.pop()]

    def _literal(self, node: exp.Literal) -> Value:
        return str(node.this) if node.is_string else sql_text.number(node.this)

    def _negative(self, node: exp.Neg) -> Value:
        return -self._number(node.this)

    def _absolute(self, node: exp.Abs) -> Value:
        self._source.only(node, "this")
        return abs(self._number(node.this))

    def _power(self, node: exp.Pow) -> Value:
        base, power = self._number(node.this), self._number(node.expression)
        if not isinstance(base, Column) or not isinstance(power, int):
            raise self._source.refuse(node, "a power has a column below and a whole number above", "age ** 2")
        return base**power

    def _number(self, node: exp.Expr) -> Value:
        found = self.value(node)
        if isinstance(found, Column) or (found is not None and not isinstance(found, bool | str | datetime.date)):
            return found
        raise self._source.refuse(node, "a number is needed here", "age + 1", code="sql.types")

    def _arithmetic(self, node: exp.Expr) -> Value:
        self._source.only(node, "this", "expression", "typed", "safe")
        left, right = self.value(node.this), self.value(node.expression)
        function = _ARITHMETIC[type(node)]
        if left is None or right is None:
            raise self._source.refuse(node, "arithmetic with NULL is NULL for every row", code="sql.null")
        if isinstance(left, Column) or isinstance(right, Column):
            return self._try(node, lambda: function(self._dated(left, right), self._dated(right, left)))
        if isinstance(left, datetime.date) and isinstance(right, datetime.date) and function is operator.sub:
            return (left - right).days
        if any(isinstance(item, bool | str | datetime.date) for item in (left, right)):
            raise self._source.refuse(node, "arithmetic needs numbers", "age + 1", code="sql.types")
        if function is operator.truediv and right == 0:
            raise self._source.refuse(node, "division by zero", code="sql.zero")
        return function(Fraction(left), Fraction(right))

    @staticmethod
    def _dated(value: Value, other: Value) -> Value:
        # DATE '2024-01-01' - column: the date stands on the left of an operator of columns.
        if isinstance(value, datetime.date) and isinstance(other, Column):
            return Column(other._rows, terms.literal(value, None), None)
        return value

    def case(self, node: exp.Case, otherwise: Value = None) -> Value:
        """Return a choice; ``otherwise`` is what no branch and no ``ELSE`` gives."""
        self._source.only(node, "this", "ifs", "default")
        found = otherwise if node.args.get("default") is None else self.value(node.args["default"])
        for branch in reversed(node.args["ifs"]):
            subject = node.this
            when = exp.EQ(this=subject.copy(), expression=branch.this.copy()) if subject is not None else branch.this
            found = self._choose(branch, self.holds(when), self.value(branch.args["true"]), found)
        return found

    def _if(self, node: exp.If) -> Value:
        self._source.only(node, "this", "true", "false")
        if node.args.get("false") is None:
            raise self._source.refuse(node, "IF needs a value for the other rows", "IF(age >= 65, 1, 0)")
        return self._choose(node, self.holds(node.this), self.value(node.args["true"]), self.value(node.args["false"]))

    def _choose(self, node: exp.Expr, when: Column, then: Value, otherwise: Value) -> Column:
        if then is None and otherwise is None:
            raise self._source.refuse(
                node, "every branch is NULL", "CASE WHEN age >= 65 THEN cost END", code="sql.null"
            )
        if then is None:
            return self._only(node, self.lift(otherwise, node), ~when)
        if otherwise is None:
            return self._only(node, self.lift(then, node), when)
        pair = [item._term if isinstance(item, Column) else terms.literal(item, None) for item in (then, otherwise)]
        found: Column = self._try(node, lambda: Column(self._rows, terms.case(when._term, *pair), None))
        return found

    def _only(self, node: exp.Expr, found: Column, when: Column) -> Column:
        """A value where a condition is true, else NULL."""
        parts = found._term, when._term
        only = a.Only(parts[0].scalar, parts[1].scalar)
        return Column(self._rows, self._try(node, lambda: terms.node(only, *parts)), None)

    def filtered(self, node: exp.Expr, when: exp.Expr) -> Column:
        """Return a value where a condition is true, else NULL."""
        return self._only(node, self.column(node), self.holds(when))

    def _nullif(self, node: exp.Nullif) -> Value:
        found = self.column(node.this)
        equal = exp.EQ(this=node.this.copy(), expression=node.expression.copy())
        return self._only(node, found, ~self.holds(equal))

    def _coalesce(self, node: exp.Coalesce) -> Value:
        self._source.only(node, "this", "expressions")
        found = self.column(node.this)
        for item in node.expressions:
            value = self.value(item)
            if not found._term.grid.nullable:
                break
            if value is None:
                continue
            if isinstance(value, Column):
                found = self._choose(node, found.notna(), found, value)
            else:
                found = self._try(node, functools.partial(found.fillna, value))
        return found

    def _cast(self, node: exp.Cast) -> Value:
        kind = node.to.this.name if isinstance(node.to.this, exp.DType) else ""
        value = self.value(node.this)
        if kind == "DATE" and isinstance(value, str):
            try:
                return datetime.date.fromisoformat(value)
            except ValueError as error:
                raise self._source.refuse(node, f"{value[:40]!r} is not a date", "DATE '2024-01-31'") from error
        if isinstance(value, Column):
            grid = value._term.grid
            same = {"date": {"DATE"}, "number": _NUMBERS, "bool": {"BOOLEAN"}}.get(grid.kind, set())
            if kind in same or (grid.kind == "number" and kind in _WHOLE and grid.step.denominator == 1):
                return value
            if grid.kind == "bool" and kind in _WHOLE | _NUMBERS:
                return value * 1
        raise self._source.refuse(
            node, "this cast would change values or kinds", "CASE WHEN smoker THEN 1 ELSE 0 END", code="sql.cast"
        )

    def _days_between(self, node: exp.DateDiff) -> Value:
        unit = node.args.get("unit")
        if unit is None or unit.name.upper() not in {"DAY", "DAYS"}:
            raise self._source.refuse(node, "differences of dates are in days", "date - DATE '2024-01-01'")
        return self.value(exp.Sub(this=node.this.copy(), expression=node.expression.copy()))

    def _condition(self, node: exp.Expr) -> Column:
        """A condition as a value: NULL where it is unknown."""
        holds = self.holds(node)
        return self._only(node, holds, holds | self.fails(node)) if self._open(node) else holds

    def _open(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Is):
            return False
        return any(self._column(found)._term.grid.nullable for found in node.find_all(exp.Column))


def match(name: str, known: Mapping[str, Any]) -> str | None:
    """Return the name as it is known: exactly, or but for upper and lower case where that is clear."""
    if name in known:
        return name
    near = [one for one in known if one.lower() == name.lower()]
    return near[0] if len(near) == 1 else None
