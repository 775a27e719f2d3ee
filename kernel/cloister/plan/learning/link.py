"""Link tables: the sigmoid and the exponential on integers, the same on every machine (decimals, no C library)."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from cloister.plan.learning.queries import LINK_END, LINK_STEPS, RESIDUAL

EXP_SCALE = 2**20
LAST = LINK_END * LINK_STEPS
_DIGITS = decimal.Context(prec=40, rounding=decimal.ROUND_HALF_EVEN)


@lru_cache(maxsize=1)
def sigmoid() -> tuple[int, ...]:
    """Return ``RESIDUAL / (1 + exp(-i / LINK_STEPS))``, rounded, for ``i`` from ``-LAST`` to ``LAST``."""
    above = [_rounded(RESIDUAL / (1 + power)) for power in _powers()]
    # Mirrored rather than computed: sigmoid(-x) = 1 - sigmoid(x) to the last integer.
    return (*(RESIDUAL - value for value in above[:0:-1]), *above)


@lru_cache(maxsize=1)
def exponential() -> tuple[int, ...]:
    """Return ``EXP_SCALE exp(-d / LINK_STEPS)``, rounded, for ``d`` from 0 to ``LAST``."""
    return tuple(_rounded(EXP_SCALE * power) for power in _powers())


@lru_cache(maxsize=8)
def weighed(clip: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the residual of a row of class 0, and of class 1, for every entry of ``sigmoid``.

    With ``p`` the probability of class 1 and ``m = max(p, 1 - p)``: ``p min(1, clip / m)`` and
    ``-(1 - p) min(1, clip / m)``, in multiples of 1 / ``RESIDUAL``, rounded half up. Both have the same factor, which
    depends on the score alone: so their mean is zero where ``p`` is right, and the score is a log odds. Residuals that
    were cut off would have the same reach, but not this.
    """
    zero, one = [], []
    for p in sigmoid():
        most = max(p, RESIDUAL - p)
        limit = min(clip, most)
        zero.append((2 * p * limit + most) // (2 * most))
        one.append(-((2 * (RESIDUAL - p) * limit + most) // (2 * most)))
    return tuple(zero), tuple(one)


def residuals(scores: Sequence[int], label: int, clip: int = RESIDUAL) -> list[int]:
    """Return the residuals of one row, from its rounded scores (multiples of 1 / LINK_STEPS).

    One score: by ``weighed``. More: probabilities, rounded down, less 1 at ``label``.
    """
    if len(scores) == 1:
        return [weighed(clip)[label][min(max(scores[0], -LAST), LAST) + LAST]]
    best, powers = max(scores), exponential()
    found = [powers[min(best - score, LAST)] for score in scores]
    whole = sum(found)
    return [RESIDUAL * power // whole - RESIDUAL * (index == label) for index, power in enumerate(found)]


def log(value: float) -> float:
    """Return the natural logarithm of a number above zero."""
    return float(_DIGITS.ln(Decimal(value)))


def exp(value: float) -> float:
    """Return the exponential of a number within a few hundred of zero."""
    return float(_DIGITS.exp(Decimal(value)))


def _powers() -> list[Decimal]:
    """Return ``exp(-i / LINK_STEPS)`` for ``i`` from 0 to ``LAST``."""
    return [_DIGITS.exp(_DIGITS.divide(Decimal(-index), Decimal(LINK_STEPS))) for index in range(LAST + 1)]


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=decimal.ROUND_HALF_EVEN, context=_DIGITS))
