"""Texts: what the text scalars make of one text, and of every text of a closed domain.

On a category a text scalar is a recoding of its public domain, computed from plan and card alone. Texts are compared
code point by code point and cut to 256 of them; only ASCII letters and white space are known to ``Letters``.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from cloister.contract.card import OTHER
from cloister.plan import algebra as a
from cloister.plan.grid import MAX_TEXT
from cloister.plan.numbers import rational

TextNode = a.Letters | a.Length | a.Matches | a.Slice | a.Replace | a.Concat | a.Recode | a.Parse
Found = str | int | bool | None

SPACE = " \t\n\v\f\r"
NUMBER = "[+-]?[0-9]{1,12}([.][0-9]{1,6})?"
_NUMBER = re.compile(NUMBER)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def results(node: TextNode, domains: Sequence[tuple[str, ...]]) -> list[Found]:
    """Return what ``node`` makes of every combination of its terms' labels, the last term changing fastest."""
    return [apply(node, texts) for texts in product(*domains)]


def apply(node: TextNode, texts: Sequence[str]) -> Found:
    """Return the value of a text scalar on its terms' texts (of ``Parse``: the multiple of its step)."""
    text = texts[0][:MAX_TEXT] if texts else ""
    match node:
        case a.Letters():
            if node.kind == "strip":
                return text.strip(SPACE)
            return text.translate(_LOWER if node.kind == "lower" else _UPPER)
        case a.Length():
            return len(text)
        case a.Matches():
            tests = {"starts_with": text.startswith, "ends_with": text.endswith, "contains": text.__contains__}
            return tests[node.kind](node.text)
        case a.Slice():
            return text[node.start : node.stop]
        case a.Replace():
            return text.replace(node.old, node.new)[:MAX_TEXT]
        case a.Concat():
            return "".join(part[:MAX_TEXT] for part in texts)[:MAX_TEXT]
        case a.Recode():
            return text if text in node.labels else OTHER
        case a.Parse():
            return parsed(node, text)


def parsed(node: a.Parse, text: str) -> int | None:
    """Return a text read as a number, in multiples of the step and limited, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    step = rational(node.step)
    index = math.floor(Fraction(text) / step)
    return min(max(index, math.floor(rational(node.low) / step)), math.floor(rational(node.high) / step))
