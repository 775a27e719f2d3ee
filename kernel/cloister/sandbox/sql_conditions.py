"""SQL's conditions as conditions of the plan algebra.

SQL has three truth values and the algebra two. So a condition is read twice: where it is true (``holds``, what
``WHERE`` and ``CASE WHEN`` ask) and where it is false (``fails``, what ``NOT`` asks); neither is where it is unknown.
"""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from sqlglot import exp

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.sandbox.column import Column
from cloister.sandbox.sql_text import Source

Value = Any
"""A column, or a constant: ``int``, ``Decimal``, ``Fraction``, ``str``, ``bool``, ``date`` or ``None``."""

_COMPARE: dict[type[exp.Expr], tuple[str, str]] = {
    exp.EQ: ("eq", "ne"), exp.NEQ: ("ne", "eq"), exp.LT: ("lt", "ge"),
    exp.LTE: ("le", "gt"), exp.GT: ("gt", "le"), exp.GTE: ("ge", "lt"),
}  # fmt: skip
_PYTHON: dict[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
KINDS: tuple[type[exp.Expr], ...] = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.Is,
    exp.In,
    exp.Between,
    exp.Like,
    exp.ILike,
    *_COMPARE,
)


class Conditions:
    """Reads conditions; what stands in them is read by the class that adds ``value`` to it."""

    _source: Source

    def value(self, node: exp.Expr) -> Value:
        """Return what an expression stands for."""
        raise NotImplementedError

    def column(self, node: exp.Expr) -> Column:
        """Return an expression as a column."""
        raise NotImplementedError

    def lift(self, found: Value, node: exp.Expr) -> Column:
        """Return a value as a column."""
        raise NotImplementedError

    def holds(self, node: exp.Expr) -> Column:
        """Return where a condition is true."""
        return self._read(node, True)

    def fails(self, node: exp.Expr) -> Column:
        """Return where a condition is false."""
        return self._read(node, False)

    def _read(self, node: exp.Expr, wanted: bool) -> Column:
        if isinstance(node, exp.Paren):
            return self._read(node.this, wanted)
        if isinstance(node, exp.Not):
            return self._read(node.this, not wanted)
        if isinstance(node, exp.And | exp.Or):
            parts = [self._read(part, wanted) for part in node.flatten()]
            join = operator.and_ if isinstance(node, exp.And) is wanted else operator.or_
            found = parts[0]
            for part in parts[1:]:
                found = self._joined(found, part, join)
            return found
        if type(node) in _COMPARE:
            return self._comparison(node, wanted)
        if isinstance(node, exp.Between):
            return self._between(node, wanted)
        if isinstance(node, exp.In):
            return self._in(node, wanted)
        if isinstance(node, exp.Like | exp.ILike):
            return self._like(node, wanted)
        if isinstance(node, exp.Is):
            return self._is(node, wanted)
        return self._plain(node, wanted)

    @staticmethod
    def _joined(left: Column, right: Column, join: Callable[[Any, Any], Any]) -> Column:
        # ``WHERE 1 = 1 AND ...`` is how programs write SQL; a constant leaves no trace in the plan.
        for constant, other in ((left, right), (right, left)):
            said = getattr(constant._term.scalar, "value", None)
            if isinstance(said, bool):
                return other if said is (join is operator.and_) else constant
        found: Column = join(left, right)
        return found

    def _plain(self, node: exp.Expr, wanted: bool) -> Column:
        value = self.value(node)
        if value is None:
            return self.lift(False, node)
        if isinstance(value, bool):
            return self.lift(value is wanted, node)
        if not isinstance(value, Column) or value._term.grid.kind != "bool":
            raise self._source.refuse(node, "a condition is needed here", "WHERE age >= 18", code="sql.types")
        return value if wanted else self._known_in(~value, value)

    @staticmethod
    def _known_in(found: Column, *values: Value) -> Column:
        for value in values:
            if isinstance(value, Column) and value._term.grid.nullable:
                found = found & value.notna()
        return found

    def _comparison(self, node: exp.Expr, wanted: bool) -> Column:
        kind = _COMPARE[type(node)][0 if wanted else 1]
        left, right = self.value(node.this), self.value(node.expression)
        if left is None or right is None:
            raise self._source.refuse(node, "nothing equals NULL", "bmi IS NULL", code="sql.null")
        if not isinstance(left, Column) and not isinstance(right, Column):
            if _kind(left) is not _kind(right):
                raise self._source.refuse(node, "these are of different kinds", code="sql.types")
            return self.lift(_PYTHON[kind](left, right), node)
        if not isinstance(left, Column):
            flipped = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
            kind, left, right = flipped.get(kind, kind), right, left
        found = self._try(node, lambda: getattr(left, kind)(right))
        return self._known_in(found, left, right) if kind == "ne" else found

    def _between(self, node: exp.Between, wanted: bool) -> Column:
        self._source.only(node, "this", "low", "high")
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
        return self._read(exp.And(this=low, expression=high), wanted)

    def _in(self, node: exp.In, wanted: bool) -> Column:
        self._source.only(node, "this", "expressions")
        values = [self.value(item) for item in node.expressions]
        if any(value is None or isinstance(value, Column) for value in values):
            raise self._source.refuse(node, "IN takes a list of constants", "region IN ('north', 'south')")
        subject = self.column(node.this)
        found = self._try(node, lambda: subject.isin(values))
        return found if wanted else self._known_in(~found, subject)

    def _like(self, node: exp.Like | exp.ILike, wanted: bool) -> Column:
        self._source.only(node, "this", "expression", "negate")
        wanted = wanted is not bool(node.args.get("negate"))
        subject, pattern = self.column(node.this), self.value(node.expression)
        if subject._term.grid.kind != "category" or not isinstance(pattern, str):
            raise self._source.refuse(
                node, "LIKE compares a category with a constant pattern", "region LIKE 'n%'", "region IN ('north')"
            )
        wild = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)
        test = re.compile(wild, re.DOTALL | (re.IGNORECASE if isinstance(node, exp.ILike) else 0))
        # The domain is public, so the pattern is answered here; what was not in the domain matches nothing.
        labels = [label for label in subject.domain if label != OTHER and test.fullmatch(label)]
        found = subject.isin(labels)
        return found if wanted else self._known_in(~found, subject)

    def _is(self, node: exp.Is, wanted: bool) -> Column:
        self._source.only(node, "this", "expression")
        if isinstance(node.expression, exp.Null):
            subject = self.column(node.this)
            self._try(node, subject.isna)
            return subject.isna() if wanted else subject.notna()
        if isinstance(node.expression, exp.Boolean):
            said = self._read(node.this, bool(node.expression.this))
            return said if wanted else ~said
        raise self._source.refuse(node, "IS compares with NULL, TRUE or FALSE", "bmi IS NOT NULL")

    def _try(self, node: exp.Expr, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except PlanError as error:
            if error.code.startswith("sql."):
                raise
            raise self._source.refuse(node, error.reason, *error.nearest, code=error.code) from error


def _kind(constant: Value) -> type:
    return next((kind for kind in (bool, str, datetime.date) if isinstance(constant, kind)), Fraction)
