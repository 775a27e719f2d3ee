"""Small steps the generators share: values on a card's grid, and outcomes of a given rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from cloister.contract.card import Card, Column

Floats = npt.NDArray[np.float64]


def on_grid(column: Column, shares: Floats) -> npt.NDArray[np.float64 | np.int64]:
    """Return values of a number column at ``shares`` of its declared range (0 low, 1 high), rounded to its step."""
    low, high, step = (Fraction(text or "0") for text in (column.low, column.high, column.step))
    steps = np.rint(np.clip(shares, 0.0, 1.0) * float((high - low) / step)).astype(np.int64)
    if column.type == "int":
        return steps * int(step) + int(low)
    return np.round((steps + int(low / step)) * float(step), 6)


def values(card: Card, name: str, shares: Floats) -> npt.NDArray[np.float64 | np.int64]:
    """Return values of the card's column called ``name``: see ``on_grid``."""
    column = card.column(name)
    if column is None:
        raise KeyError(name)
    return on_grid(column, shares)


def standard(score: Floats) -> Floats:
    """Return a score with mean 0 and standard deviation 1; zeros stay zeros."""
    spread = float(score.std())
    return np.asarray((score - score.mean()) / (spread or 1.0))


def outcomes(rng: np.random.Generator, score: Floats, rate: float) -> npt.NDArray[np.bool_]:
    """Draw an outcome for each log-odds ``score``, shifted so that the share of outcomes is ``rate``.

    Systematic sampling: the number of outcomes is that share to within one, whatever the seed.
    """
    odds = np.exp(score)
    low, high = -40.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        raised = odds * np.exp(middle)
        if (raised / (1 + raised)).mean() < rate:
            low = middle
        else:
            high = middle
    raised = odds * np.exp(low)
    chance = raised / (1 + raised)
    reached = np.floor(np.cumsum(chance) + rng.random())
    return np.asarray(np.diff(reached, prepend=0.0) > 0)


def auc_spread(auc: float) -> float:
    """Return how far log-odds must spread (standard deviation) for this area under the ROC curve.

    For a rare outcome and normal log-odds with deviation s, AUC = Phi(s / sqrt 2): Pepe (2003), section 4.
    """
    from statistics import NormalDist  # noqa: PLC0415 (used once per table)

    return NormalDist().inv_cdf(auc) * float(np.sqrt(2))
