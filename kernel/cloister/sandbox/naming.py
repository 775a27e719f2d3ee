"""Names and order of a plan's measures: from what they are, not from what the analyst calls them.

``x.mean()`` and ``x.agg(["mean"])`` are one question: one plan, one digest, one price. What the analyst calls a measure
stays on this side (``Ask.as_asked``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec

from cloister.plan import algebra as a

# Names of measures are at most 256 characters, with their number.
_LONGEST = 200
_ORDER = {kind: place for place, kind in enumerate(get_args(a.Measure))}


def in_order(measures: Iterable[a.Measure]) -> list[int]:
    """Return the positions of measures in the order of their kinds, and of their content within a kind."""
    found = [(_ORDER[type(item)], msgspec.json.encode(_named(item, ""))) for item in measures]
    return sorted(range(len(found)), key=found.__getitem__)


def named(measures: Sequence[a.Measure]) -> tuple[a.Measure, ...]:
    """Return measures under names that say what they are; the second of a name is numbered."""
    taken: dict[str, int] = {}
    found = []
    for item in measures:
        name = _name(item)
        taken[name] = taken.get(name, 0) + 1
        found.append(_named(item, name if taken[name] == 1 else f"{name} {taken[name]}"))
    return tuple(found)


def _named(measure: a.Measure, name: str) -> a.Measure:
    return msgspec.structs.replace(measure, name=name)


def _name(measure: a.Measure) -> str:
    match measure:
        case a.Count(of=None):
            return "rows"
        case a.Units() | a.Capped() | a.Gram():
            return type(measure).__name__.lower()
        case a.Ratio():
            return _joined(measure.of, measure.over, word="ratio")
        case a.Covariance():
            return _joined(*measure.of, word="corr" if measure.correlation else "cov")
        case a.Variance():
            return _joined(measure.of, word="std" if measure.root else "var")
        case _:
            return _joined(measure.of, word=type(measure).__name__.lower())


def _joined(*terms: a.Scalar | None, word: str) -> str:
    names = [term.name for term in terms if isinstance(term, a.Col)]
    return " ".join([*(name[: _LONGEST // len(names)] for name in names), word])
