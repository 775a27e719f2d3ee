"""Code digests: a formatter is not an edit, an edit is never a formatter."""

from __future__ import annotations

import pytest

from cloister.receipt import code

BEFORE = (
    "x = cl.table('v').query( \"age >= 18\" )\nm = x.groupby(['sex','region']).cost.agg(['count', 'mean'])  # note\n"
)
AFTER = """x = cl.table("v").query("age >= 18")

# a longer note
m = x.groupby(["sex", "region"]).cost.agg(
    [
        "count",
        "mean",
    ],
)
"""


def test_formatting_changes_only_the_exact_digest() -> None:
    assert code.exact(BEFORE) != code.exact(AFTER)
    assert code.normalised(BEFORE) == code.normalised(AFTER)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("x >= 18", "x >= 19"),
        ("f(x)", "f(x, y)"),
        ("t = (1,)", "t = (1)"),
        ("x[1,]", "x[1]"),
        ("return (x,)", "return (x)"),
        ("a\n(x,)", "a\n(x)"),
        ("case (x,): pass", "case (x): pass"),
        ("a = 'b c'", "a = 'b  c'"),
        ("f'{a}'", "f'{b}'"),
        ("f'{a}'", "'{a}'"),
        ("if x:\n    a\nb", "if x:\n    a\n    b"),
        ("a\nb", "a b"),
        ("%time x", "%time y"),
        ("!ls a", "!ls b"),
        ("b'a'", "'a'"),
    ],
)
def test_edits_change_both(left: str, right: str) -> None:
    assert code.exact(left) != code.exact(right)
    assert code.normalised(left) != code.normalised(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("f(x,)", "f(x)"),
        ("[1,2,]", "[1, 2]"),
        ("(1,2,)", "(1, 2)"),
        ("{'a':1,}", '{"a": 1}'),
        ("%time x\n\n", "%time x"),
        ("a = (1 +\n 2)", "a = (1 + 2)"),
        ("if x:\n  a", "if x:\n    a\n"),
    ],
)
def test_reformatting_keeps_the_normalised_digest(left: str, right: str) -> None:
    assert code.normalised(left) == code.normalised(right)


@pytest.mark.parametrize("text", ["", "def", "((", "'''", "\ud800", "x = 'é'", "\x00", "a ?", "\t x\n y"])
def test_any_text_has_digests(text: str) -> None:
    assert code.exact(text).startswith("sha256:")
    assert code.normalised(text).startswith("sha256:")


def test_the_transcript_tells_order_session_and_kind() -> None:
    start = code.transcript_start("s")
    ab = code.transcript_add(code.transcript_add(start, "execute_request", "a"), "execute_request", "b")
    ba = code.transcript_add(code.transcript_add(start, "execute_request", "b"), "execute_request", "a")
    assert len({start, ab, ba, code.transcript_start("t"), code.transcript_add(start, "complete_request", "a")}) == 5
