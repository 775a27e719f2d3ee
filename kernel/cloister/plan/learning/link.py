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


def residuals(scores: Sequence[int], label: int) -> list[int]:
    """Return the residuals of one row before they are limited, from its rounded scores (multiples of 1 / LINK_STEPS).

    One score: probability less whether ``label`` is 1. More: probabilities, rounded down, less 1 at ``label``.
    """
    if len(scores) == 1:
        return [sigmoid()[min(max(scores[0], -LAST), LAST) + LAST] - RESIDUAL * label]
    best, powers = max(scores), exponential()
    found = [powers[min(best - score, LAST)] for score in scores]
    whole = sum(found)
    return [RESIDUAL * power // whole - RESIDUAL * (index == label) for index, power in enumerate(found)]


def _powers() -> list[Decimal]:
    """Return ``exp(-i / LINK_STEPS)`` for ``i`` from 0 to ``LAST``."""
    return [_DIGITS.exp(_DIGITS.divide(Decimal(-index), Decimal(LINK_STEPS))) for index in range(LAST + 1)]


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=decimal.ROUND_HALF_EVEN, context=_DIGITS))
