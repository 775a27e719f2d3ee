"""Classes: how many scores a model has, and where they start: at the noisy shares of the classes."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.link import log

LEAST_RATE = 0.001


def outputs_of(coded: Encoding) -> int:
    """Return how many scores there are: one for two classes, else one per class."""
    return 1 if len(coded.classes) == 2 else len(coded.classes)


def rates_of(sums: Sequence[float], rows: float, noise: float) -> list[float]:
    """Return the share of class 1, or of every class, from the sums of residuals of a model without weights.

    Limited to what stands out of the noise, so that no class seems to be without rows.
    """
    even = 1.0 / max(len(sums), 2)
    least = max(LEAST_RATE, min(2.0 * noise / rows, even / 2))
    return [min(max(even - value / rows, least), 1.0 - least) for value in sums]


def start(rate: float, outputs: int) -> float:
    """Return the constant of a model without weights: log odds, or of several classes the log of the share."""
    return log(rate / (1.0 - rate)) if outputs == 1 else log(rate)
