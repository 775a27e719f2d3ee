"""The text of a query: its limits, its one statement, its hint line, and refusals that point into it.

Parsing is sqlglot's, in DuckDB's dialect; nothing is ever executed as SQL. What is not known to be harmless is refused:
every node is read by name, and every clause of a node that its reader does not expect is an error, not ignored.
"""

from __future__ import annotations

import dataclasses
import decimal
import logging
import re
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from cloister.errors import PlanError

MAX_LENGTH = 20_000
MAX_TOKENS = 4_000
MAX_DEPTH = 60
MAX_NODES = 6_000
_HINT = re.compile(r"--\s*((?:(?:epsilon|share|within|n)\s*[:=]?\s*[\d.eE_+-]+[\s,;]*)+)", re.IGNORECASE)
_PAIR = re.compile(r"(epsilon|share|within|n)\s*[:=]?\s*([\d.eE_+-]+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Source:
    """One statement and the text it was read from."""

    text: str
    tree: exp.Expr

    def refuse(self, node: exp.Expr | None, reason: str, *nearest: str, code: str = "sql.unsupported") -> PlanError:
        """Return the refusal of a part of the query, with its place and the nearest form that works."""
        return refusal(code, f"{reason}{self._place(node)}", *nearest)

    def only(self, node: exp.Expr, *known: str) -> None:
        """Refuse a node with a clause its reader does not know.

        Raises:
            PlanError: ``sql.clause``.
        """
        for name, value in node.args.items():
            if name not in known and value not in (None, False, [], ()):
                word = name.rstrip("_").replace("_", " ").upper()
                raise self.refuse(node, f"{word} is not part of this SQL here", code="sql.clause")

    def _place(self, node: exp.Expr | None) -> str:
        start = None if node is None else self._start(node)
        if start is None:
            return ""
        before = self.text[:start]
        column = start - (before.rfind("\n") + 1)
        line = self.text.splitlines()[before.count("\n")]
        shown = line if len(line) <= 100 else line[max(0, column - 40) : column + 60]
        caret = column if shown == line else min(column, 40)
        return f"\n  line {before.count(chr(10)) + 1}, column {column + 1}:\n    {shown}\n    {' ' * caret}^"

    def _start(self, node: exp.Expr) -> int | None:
        found = [part.meta["start"] for part in node.walk() if "start" in part.meta]
        if isinstance(node, exp.Func) and not isinstance(node, exp.Case | exp.Cast):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_names()[0]
            calls = [hit.start() for hit in re.finditer(rf"(?i)\b{re.escape(name)}\s*\(", self.text)]
            before = [place for place in calls if not found or place <= min(found)]
            if before:
                return before[-1] if found else before[0]
        if found:
            return int(min(found))
        hit = self.text.lower().find(node.sql(dialect="duckdb").lower())
        return hit if hit >= 0 else None


def refusal(code: str, reason: str, *nearest: str) -> PlanError:
    """Return a refusal of SQL."""
    return PlanError(code, reason, nearest=nearest, next_step="docs/sql.md lists what works and why the rest does not")


def hint(text: str) -> dict[str, Any]:
    """Return the precision asked in a last line such as ``-- epsilon 0.1`` or ``-- within 0.5, n 20000``."""
    lines = text.strip().splitlines()
    found = _HINT.fullmatch(lines[-1].strip()) if lines else None
    if found is None:
        return {}
    return {name.lower(): number(value.rstrip(",;")) for name, value in _PAIR.findall(found[1])}


def number(text: str) -> Any:
    """Return the exact number a text spells: an ``int`` or a ``Decimal``.

    Raises:
        PlanError: ``sql.number``.
    """
    try:
        value = decimal.Decimal(text.replace("_", ""))
    except decimal.InvalidOperation as error:
        raise refusal("sql.number", f"{text[:40]!r} is not a number") from error
    if not value.is_finite() or abs(value.adjusted()) > 30:
        raise refusal("sql.number", f"{text[:40]!r} is out of range")
    return int(value) if value == value.to_integral_value() else value


def parse(text: Any) -> Source:
    """Return the one SELECT statement of a text.

    Raises:
        PlanError: Not a text, too large or too deep, more than one statement, not SQL, or not a query.
    """
    if not isinstance(text, str) or not text.strip():
        raise refusal("sql.text", "a query is a text", "SELECT sex, COUNT(*) FROM visits GROUP BY sex")
    if len(text) > MAX_LENGTH:
        raise refusal("sql.size", f"a query has at most {MAX_LENGTH:,} characters")
    log = logging.getLogger("sqlglot")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        _check_tokens(text)
        trees = [tree for tree in sqlglot.parse(text, dialect="duckdb") if tree is not None]
    except SqlglotError as error:
        raise _syntax(text, error) from error
    except (RecursionError, ValueError, IndexError, AttributeError, TypeError, KeyError) as error:
        # The parser meets arbitrary text here; whatever it trips over, the answer is the same.
        raise refusal("sql.syntax", "this is not SQL that can be read") from error
    finally:
        log.setLevel(level)
    if len(trees) != 1:
        raise refusal("sql.statements", "one query at a time", "SELECT COUNT(*) FROM visits")
    source = Source(text, trees[0])
    _check_size(source)
    if not isinstance(source.tree, exp.Select | exp.Union | exp.Subquery):
        raise source.refuse(
            source.tree,
            f"only SELECT asks something; {source.tree.key.upper()} is not part of this SQL",
            "SELECT sex, COUNT(*) FROM visits GROUP BY sex",
            code="sql.statement",
        )
    return source


def _check_tokens(text: str) -> None:
    tokens = sqlglot.tokenize(text, dialect="duckdb")
    if len(tokens) > MAX_TOKENS:
        raise refusal("sql.size", f"a query has at most {MAX_TOKENS:,} words and signs")
    depth = prefix = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, "{": 1, "case": 1, ")": -1, "]": -1, "}": -1, "end": -1}.get(token.text.lower(), 0)
        # Signs in front of an operand nest without a parenthesis.
        prefix = prefix + 1 if token.text.lower() in {"-", "+", "~", "not", "!"} else 0
        if max(depth, prefix) > MAX_DEPTH:
            raise refusal("sql.size", f"a query is nested at most {MAX_DEPTH} deep")


def _check_size(source: Source) -> None:
    stack: list[tuple[exp.Expr, int]] = [(source.tree, 1)]
    nodes = 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if depth > 2 * MAX_DEPTH or nodes > MAX_NODES:
            raise refusal("sql.size", "the query is too large or too deep", "WITH a AS (SELECT ...) SELECT ... FROM a")
        for child in node.iter_expressions():
            chained = isinstance(node, exp.And | exp.Or) and type(child) is type(node)
            stack.append((child, depth if chained else depth + 1))


def _syntax(text: str, error: SqlglotError) -> PlanError:
    details = getattr(error, "errors", None) or [{}]
    line, column = details[0].get("line"), details[0].get("col")
    what = str(details[0].get("description") or "this is not SQL that can be read").rstrip(".")
    if line is None or column is None:
        return refusal("sql.syntax", what)
    lines = text.splitlines()
    shown = lines[line - 1][:120] if line <= len(lines) else ""
    return refusal("sql.syntax", f"{what}\n  line {line}, column {column}:\n    {shown}")
