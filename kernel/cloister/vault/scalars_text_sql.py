"""Texts in SQL: lookups for categories, functions that know code points only for free text.

No text of a plan is ever part of the query: all are bound parameters. Stored texts are valid Unicode of at most 256
code points, and so is every result.
"""

from __future__ import annotations

import math
import string

from cloister.plan import algebra as a
from cloister.plan.grid import MAX_TEXT, Grid
from cloister.plan.rules_text import micro
from cloister.plan.texts import NUMBER, SPACE, TextNode, results
from cloister.vault.sql_terms import Lowered, Parameters, as_text, looked_up, wide


def lowered(node: TextNode, parts: list[Lowered], grid: Grid, bind: Parameters) -> str:
    """Return a text scalar on the integers of ``grid`` (free text as VARCHAR)."""
    if all(part[1].kind == "category" for part in parts):
        return _closed(node, parts, grid, bind)
    text = as_text(parts[0], bind)
    match node:
        case a.Letters():
            return _letters(node, text, bind)
        case a.Length():
            return f"CAST(length({text}) AS BIGINT)"
        case a.Matches():
            return f"COALESCE({node.kind}({text}, {bind.text(node.text)}), FALSE)"
        case a.Slice():
            start, most = min(node.start, MAX_TEXT) + 1, min(node.stop - node.start, MAX_TEXT)
            return f"substring({text}, {bind.integer(start)}, {bind.integer(most)})"
        case a.Replace():
            found = f"replace({text}, {bind.text(node.old)}, {bind.text(node.new)})"
            return _cut(found, bind) if len(node.new) > len(node.old) else found
        case a.Concat():
            joined = " || ".join(as_text(part, bind) for part in parts)
            return _cut(f"({joined})", bind)
        case a.Recode():
            labels = ", ".join(map(bind.text, node.labels))
            code = f"COALESCE(list_position([{labels}], {text}), {bind.integer(len(node.labels) + 1)}) - 1"
            return f"(CASE WHEN {text} IS NOT NULL THEN CAST({code} AS BIGINT) END)"
        case a.Parse():
            return _parse(node, text, grid, bind)


def is_in(node: a.IsIn, term: Lowered, bind: Parameters) -> str:
    """Return whether a free text is one of the listed ones."""
    wanted = sorted({value.value for value in node.values if isinstance(value, a.Text)})
    if not wanted:
        return "FALSE"
    return f"COALESCE({term[0]} IN ({', '.join(map(bind.text, wanted))}), FALSE)"


def _closed(node: TextNode, parts: list[Lowered], grid: Grid, bind: Parameters) -> str:
    found = results(node, [part[1].domain for part in parts])
    code = wide(parts[0])
    for part in parts[1:]:
        code = f"({code} * {bind.integer(len(part[1].domain))} + {wide(part)})"
    if isinstance(node, a.Matches):
        matching = [bind.integer(index) for index, value in enumerate(found) if value]
        return f"COALESCE({code} IN ({', '.join(matching)}), FALSE)" if matching else "FALSE"
    codes = {label: index for index, label in enumerate(grid.domain)}
    return looked_up(code, [codes[value] if isinstance(value, str) else value for value in found], bind)


def _letters(node: a.Letters, text: str, bind: Parameters) -> str:
    if node.kind == "strip":
        return f"trim({text}, {bind.text(SPACE)})"
    alphabets = [bind.text(string.ascii_uppercase), bind.text(string.ascii_lowercase)]
    before, after = alphabets if node.kind == "lower" else alphabets[::-1]
    return f"translate({text}, {before}, {after})"


def _parse(node: a.Parse, text: str, grid: Grid, bind: Parameters) -> str:
    step, low, high = micro(node)
    number = f"CAST(TRY_CAST({text} AS DECIMAL(18,6)) AS DECIMAL(38,6)) * 1000000"
    limited = f"greatest(least(CAST({number} AS BIGINT), {bind.integer(high)}), {bind.integer(low)})"
    if step != 1:
        # Brought to numbers that are not negative, so that division rounds down.
        first = math.floor(low / step)
        start = bind.integer(-first * step.numerator)
        limited = f"(({limited} * {bind.integer(step.denominator)} + {start}) // {bind.integer(step.numerator)})"
        limited = f"({limited} + {bind.integer(first)})"
    limited = f"greatest(least({limited}, {bind.integer(grid.hi)}), {bind.integer(grid.lo)})"
    return f"(CASE WHEN regexp_full_match({text}, '{NUMBER}') THEN {limited} END)"


def _cut(text: str, bind: Parameters) -> str:
    return f"substring({text}, {bind.integer(1)}, {bind.integer(MAX_TEXT)})"
