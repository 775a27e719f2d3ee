"""The verdict of a case: what one party alone reaches, what all reach together, and whether the intervals are apart.

    verdict.Verdict("AUC", single=verdict.Measured("bank alone", 0.65, 0.61, 0.69), joint=...)

Shown as text; the same figures are beside it in the output as data (``MIME``), so that a reader's program and the tests
need not read words. A replay computes it again from the receipts and compares both.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

MIME = "application/vnd.case-verdict.v1+json"
_Z95 = 1.959963984540054
_PLACES = 6


class Measured(NamedTuple):
    """A figure with the ends of its 95 % interval. More is better."""

    name: str
    value: float
    low: float
    high: float


class Verdict(NamedTuple):
    """What a case found. ``measure`` says what the two figures are.

    ``single`` is the best that one party reaches: of several, the one whose interval reaches highest (``best``).
    """

    measure: str
    single: Measured
    joint: Measured

    @property
    def gap(self) -> float:
        """How much more all reach together than one alone."""
        return self.joint.value - self.single.value

    @property
    def apart(self) -> bool:
        """Whether joint is better and the two 95 % intervals do not overlap."""
        return self.joint.low > self.single.high

    def __repr__(self) -> str:
        width = max(len(self.single.name), len(self.joint.name))
        lines = [f"{self.measure}, with 95 % intervals"]
        lines += [
            f"  {it.name:{width}}  {float(it.value):.3f}  [{it.low:.3f}, {it.high:.3f}]"
            for it in (self.single, self.joint)
        ]
        words = "do not overlap: joint is better" if self.apart else "overlap: no difference is shown"
        return "\n".join([*lines, f"joint minus single: {self.gap:.3f}; the intervals {words}"])

    def _repr_mimebundle_(self, **_asked: Any) -> dict[str, Any]:
        return {"text/plain": repr(self), MIME: self.data()}

    def data(self) -> dict[str, Any]:
        """Return the figures for programs, rounded so that every machine writes the same digits."""
        figures = {role: it._asdict() for role, it in (("single", self.single), ("joint", self.joint))}
        for figure in figures.values():
            figure |= {name: round(float(figure[name]), _PLACES) for name in ("value", "low", "high")}
        return {"measure": self.measure, **figures, "apart": bool(self.apart)}


def best(*single: Measured) -> Measured:
    """Return the one whose interval reaches highest: whoever is better than it is better than each."""
    return max(single, key=lambda it: it.high)


def rate(name: str, share: float, *, stderr: float, count: float) -> Measured:
    """Return a released rate with an interval for privacy noise and sampling together.

    The noise alone says how near the rate of *these* rows is. Whether two rates differ for a reason needs the luck of
    which rows there are as well: of ``count`` rows, the binomial variance ``share (1 - share) / count``.
    """
    error = _Z95 * math.hypot(float(stderr), math.sqrt(max(share * (1 - share), 0.0) / max(float(count), 1.0)))
    return Measured(name, float(share), max(float(share) - error, 0.0), min(float(share) + error, 1.0))
