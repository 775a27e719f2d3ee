"""``query("age >= 18 and sex == 'F'")``: pandas' small language, read with ``ast`` and turned into columns.

Nothing is evaluated as Python: the tree may hold names of columns, ``@name`` variables, constants, comparisons,
``and or not in``, arithmetic, and a few column methods. Everything else is refused.
"""

from __future__ import annotations

import ast
import io
import keyword
import numbers
import operator
import re
import sys
import tokenize
from collections.abc import Callable, Mapping
from typing import Any

from cloister.errors import PlanError

_LOCAL = "__local_"
_MAX_LENGTH = 10_000
_ASSIGNED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)$")
_METHODS = {"isna", "isnull", "notna", "notnull", "isin", "between", "abs", "clip", "fillna", "round", "replace"}
_PARTS = {
    "dt": {
        "year", "quarter", "month", "day", "weekday", "dayofweek", "day_of_week", "dayofyear", "day_of_year",
        "days_in_month", "is_month_start", "is_month_end", "is_quarter_start", "is_quarter_end", "is_year_start",
        "is_year_end", "is_leap_year", "days",
    },
    "str": {"lower", "upper", "strip", "len", "startswith", "endswith", "contains", "slice", "replace", "removeprefix"},
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def caller() -> Mapping[str, Any]:
    """Return the variables of the nearest frame outside this package: where ``@name`` is looked up."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("cloister.sandbox"):
        frame = frame.f_back
    return {**frame.f_globals, **frame.f_locals}


def evaluate(text: str, columns: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    """Return the column a query text stands for.

    Raises:
        PlanError: Not in the language, or a name that is neither a column nor a variable.
    """
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise _wrong("a query is a text of at most 10,000 characters")
    prepared, aliases = _prepare(text.strip())
    try:
        tree = ast.parse(prepared, mode="eval")
        return _Reader({**columns, **{alias: columns[name] for alias, name in aliases.items()}}, variables).visit(
            tree.body
        )
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise _wrong("it is not an expression") from error
    except KeyError as error:
        if isinstance(error, PlanError):
            raise
        raise _unknown(str(error.args[0]), columns) from error


def evaluate_all(text: str, frame: Any, variables: Mapping[str, Any]) -> Any:
    """Return the column of an expression, or a copy of ``frame`` with the columns its assignments make, line by line.

    Raises:
        PlanError: Not in the language.
    """
    if not isinstance(text, str):
        raise _wrong("an expression is a text")
    lines = [line for line in text.strip().splitlines() if line.strip()]
    assigned = [_ASSIGNED.match(line) for line in lines]
    if len(lines) == 1 and assigned[0] is None:
        return evaluate(text, dict(frame.items()), variables)
    if not lines or not all(assigned):
        raise _wrong("several lines each assign a column")
    found = frame.copy()
    for line in filter(None, assigned):
        found[line[1]] = evaluate(line[2], dict(found.items()), variables)
    return found


class _Reader(ast.NodeVisitor):
    """Turns a tree into columns, refusing every node it does not know."""

    def __init__(self, columns: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._columns = columns
        self._variables = variables

    def generic_visit(self, node: ast.AST) -> Any:
        raise _wrong(f"{type(node).__name__} is not part of it")

    def visit_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id.startswith(_LOCAL):
            name = node.id.removeprefix(_LOCAL)
            if name not in self._variables:
                raise _wrong(f"there is no Python variable {name!r}")
            return self._variables[name]
        if node.id not in self._columns:
            raise _unknown(node.id, self._columns)
        return self._columns[node.id]

    def visit_List(self, node: ast.List) -> Any:
        return [self.visit(item) for item in node.elts]

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return [self.visit(item) for item in node.elts]

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        found = self.visit(node.values[0])
        for item in node.values[1:]:
            other = self.visit(item)
            found = found & other if isinstance(node.op, ast.And) else found | other
        return found

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.USub):
            return -value
        return +value if isinstance(node.op, ast.UAdd) else ~value

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        function = _BINARY.get(type(node.op))
        if function is None:
            raise _wrong(f"{type(node.op).__name__} is not part of it")
        left, right = self.visit(node.left), self.visit(node.right)
        columns = hasattr(left, "mock") or hasattr(right, "mock")
        if not columns and (function is operator.pow or not (_is_number(left) and _is_number(right))):
            raise _wrong("of constants only + - * / of numbers are part of it")
        return function(left, right)

    def visit_Compare(self, node: ast.Compare) -> Any:
        values = [self.visit(item) for item in (node.left, *node.comparators)]
        found = None
        for left, kind, right in zip(values, node.ops, values[1:], strict=False):
            part = _comparison(left, kind, right)
            found = part if found is None else found & part
        return found

    def _accessor(self, node: ast.expr, kind: str) -> Any:
        """Return ``column.dt`` or ``column.str``."""
        owner = self.visit(node.value) if isinstance(node, ast.Attribute) and node.attr == kind else None
        if not hasattr(owner, "mock"):
            raise _wrong("only parts of dates (date.dt.year) and methods of columns are part of it")
        return getattr(owner, kind)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if node.attr not in _PARTS["dt"]:
            raise _wrong(f"{node.attr} is not part of it")
        return getattr(self._accessor(node.value, "dt"), node.attr)

    def visit_Call(self, node: ast.Call) -> Any:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        of_text = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Attribute)
        if not isinstance(node.func, ast.Attribute) or name not in (_PARTS["str"] if of_text else _METHODS):
            raise _wrong("only these methods of columns are: " + ", ".join(sorted(_METHODS)))
        owner = self._accessor(node.func.value, "str") if of_text else self.visit(node.func.value)
        if not of_text and not hasattr(owner, "mock"):
            raise _wrong("methods belong to columns")
        options = {item.arg: self.visit(item.value) for item in node.keywords if item.arg is not None}
        return getattr(owner, node.func.attr)(*map(self.visit, node.args), **options)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _comparison(left: Any, kind: ast.cmpop, right: Any) -> Any:
    is_set = isinstance(right, list | tuple | set | frozenset) or type(right).__name__ in {"Series", "Index", "ndarray"}
    if isinstance(kind, ast.In | ast.NotIn) or (is_set and isinstance(kind, ast.Eq | ast.NotEq)):
        if not hasattr(left, "mock") or not is_set:
            raise _wrong("`in` needs a column and a list of values")
        found = left.isin(right)
        return ~found if isinstance(kind, ast.NotIn | ast.NotEq) else found
    function = _COMPARE.get(type(kind))
    if function is None:
        raise _wrong("`is` is not part of it; write == or isna()")
    return function(left, right)


def _prepare(text: str) -> tuple[str, dict[str, str]]:
    """Replace ``@name``, backticked names, and ``& | ~`` (which bind as ``and or not`` in pandas' language)."""
    aliases: dict[str, str] = {}
    parts: list[str] = []
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        raise _wrong("a backtick is not closed")
    for position, piece in enumerate(pieces):
        if position % 2:
            if piece.isidentifier() and not keyword.iskeyword(piece):
                parts.append(piece)
            else:
                alias = f"__column_{len(aliases)}"
                aliases[alias] = piece
                parts.append(alias)
        else:
            parts.append(piece)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO("".join(parts)).readline))
    except (tokenize.TokenError, SyntaxError, IndentationError) as error:
        raise _wrong("it is not an expression") from error
    words = {"&": "and", "|": "or", "~": "not"}
    found: list[str] = []
    for token in tokens:
        if token.type in {tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT}:
            continue
        if token.type == tokenize.COMMENT:
            raise _wrong("it has no comments")
        found.append(words.get(token.string, token.string) if token.type == tokenize.OP else token.string)
    # `@name` arrives as two tokens.
    joined: list[str] = []
    for word in found:
        if joined and joined[-1] == "@":
            joined[-1] = _LOCAL + word
        else:
            joined.append(word)
    return " ".join(joined), aliases


def _unknown(name: str, columns: Mapping[str, Any]) -> PlanError:
    from cloister.sandbox import refuse  # noqa: PLC0415 (only on a mistake)

    error = refuse.unknown_column(
        name, [column for column in columns if not column.startswith("__column_")], "the table"
    )
    error.next_step += f"; a Python variable is written @{name}"
    return error


def no_condition() -> PlanError:
    """Return the refusal of a query that names no column."""
    return _wrong("it is not a condition on columns")


def _wrong(why: str) -> PlanError:
    return PlanError(
        "api.query",
        f"this query cannot be read: {why}",
        nearest=(
            "visits.query(\"age >= 18 and sex == 'F'\")",
            "visits.query(\"region in ['north', 'south'] and bmi.notna()\")",
        ),
    )
