"""Step 13: which printed numbers a receipt accounts for.

A number is *bound* if a released value, error or interval end rounds to it at the precision it is printed with.
Everything else is *unaccounted*: it may be derived from released values (replay can tell), or made up. Numbers
too short to tell (whole numbers of one or two digits) are not counted. A model can have thousands of numbers, to which
almost anything rounds: they account for what its own cell prints, and for nothing elsewhere.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from cloister.plan.shape import LIMITED, Shaped
from cloister.reviewer.notebook import Printed

MAX_TEXT = 200_000
_SHORTEST = 3
_DIGITS = 300
_WHOLE = r"\d{1,3}(?:,\d{3})+(?!\d)|\d[\d_]*"
_NUMBER = re.compile(rf"(?<![\w.])[-+]?(?:{_WHOLE})(?:\.\d+)?(?:[eE][-+]?\d{{1,3}})?(?![\w]|\.\d)")


class Counted(NamedTuple):
    """Numbers of one output: how many are bound, and the unaccounted ones as printed."""

    bound: int
    unaccounted: tuple[str, ...]


class Released:
    """All released values, errors and interval ends of a notebook, sorted; ``also`` adds other numbers."""

    def __init__(self, releases: Iterable[Shaped], also: Iterable[float] = ()) -> None:
        found: set[float] = set(also)
        for release in releases:
            for measure in release.measures:
                for values in (measure.values, measure.stderr, measure.low, measure.high):
                    found.update(value for value in values if math.isfinite(value))
                    if measure.kind in LIMITED:
                        found.update(100 * value for value in values)  # shown in per cent
                found.update(value for matrix in measure.matrices for row in matrix for value in row)
        self._values = sorted(found)

    def beside(self, also: Iterable[float]) -> Released:
        """Return these numbers and others: those of a model account for what the cell prints that released it."""
        found = Released(())
        found._values = sorted({*self._values, *also})
        return found

    def count(self, output: Printed) -> Counted:
        """Return how the numbers of an output are accounted for.

        A front end shows the HTML where there is one: its numbers count where the plain text does not have them.
        """
        plain = numbers_in(output.plain)
        every = plain + [number for number in numbers_in(output.markup) if number not in plain]
        unaccounted = tuple(number for number in every if not self.accounts_for(number))
        return Counted(len(every) - len(unaccounted), unaccounted)

    def accounts_for(self, printed: str) -> bool:
        """Whether some released value rounds to ``printed`` at its precision."""
        low, high = rounding(printed)
        at = bisect.bisect_left(self._values, low)
        return at < len(self._values) and self._values[at] <= high


def rounding(printed: str) -> tuple[float, float]:
    """Return the ends of what rounds to a printed number at its precision; nothing does to one beyond all doubles."""
    value = value_of(printed)
    mantissa, _, exponent = printed.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    if not math.isfinite(value) or abs(decimals) > _DIGITS:
        return math.inf, -math.inf
    # Half a unit of the last printed digit, and a little for the binary representation of it.
    reach = 0.5 * 10.0**-decimals * (1 + 1e-9) + abs(value) * 1e-15
    return value - reach, value + reach


def value_of(printed: str) -> float:
    """Return the value of a printed number, thousands separators or not."""
    return float(printed.replace(",", ""))


def numbers_in(text: str, most: int = MAX_TEXT) -> list[str]:
    """Return the numbers in the first ``most`` characters of a text, in order, without those too short to tell."""
    found = [match.group() for match in _NUMBER.finditer(text[:most])]
    return [number for number in found if len(number.lstrip("+-")) >= _SHORTEST]
