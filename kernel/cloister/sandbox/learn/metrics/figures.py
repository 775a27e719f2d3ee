"""Figures of a score from counts per bin and class: arithmetic on arrays ``(..., bins, 2)``, negatives first.

Scores within a bin count as equal (ties), so what is computed equals scikit-learn's figure of the binned score; where
a score itself is needed (log loss, Brier, calibration) the middle of its bin stands for it. Everything is total:
noisy counts may be negative and classes empty.
"""

from __future__ import annotations

import numpy as np

LEAST = 1.0
CLIP = 1e-3


def totals(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many negatives and positives there are, at least one each."""
    sums = np.maximum(counts.sum(axis=-2), LEAST)
    return np.asarray(sums[..., 0]), np.asarray(sums[..., 1])


def auc(counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve: how often a positive has the higher score, ties counting half."""
    negatives, positives = totals(counts)
    under = np.cumsum(counts[..., 0], axis=-1) - counts[..., 0] / 2
    pairs = (counts[..., 1] * under).sum(axis=-1)
    return np.asarray(np.clip(pairs / (negatives * positives), 0.0, 1.0))


def auc_ties(counts: np.ndarray) -> np.ndarray:
    """Return half the share of pairs that a bin holds: the AUC of the unbinned score is within this of ``auc``."""
    negatives, positives = totals(counts)
    held = np.maximum(counts, 0.0)
    return np.asarray(np.minimum((held[..., 0] * held[..., 1]).sum(axis=-1) / (2 * negatives * positives), 0.5))


def above(counts: np.ndarray) -> np.ndarray:
    """Return the shares of negatives and of positives at or above each edge, highest edge first: (..., bins + 1, 2)."""
    negatives, positives = totals(counts)
    start = np.zeros((*counts.shape[:-2], 1, 2))
    sums = np.concatenate([start, np.cumsum(counts[..., ::-1, :], axis=-2)], axis=-2)
    shares = sums / np.stack([negatives, positives], axis=-1)[..., None, :]
    return np.asarray(shares)


def rising(values: np.ndarray) -> np.ndarray:
    """Return curves that only rise, within [0, 1]: the middle between the two closest rising envelopes."""
    held = np.clip(values, 0.0, 1.0)
    from_left = np.maximum.accumulate(held, axis=-1)
    from_right = np.minimum.accumulate(held[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray((from_left + from_right) / 2)


def distances(counts: np.ndarray) -> np.ndarray:
    """Return, at each edge, how far the two classes' distribution functions are apart; KS is the largest."""
    shares = above(counts)
    return np.asarray(np.abs(shares[..., 1] - shares[..., 0]))


def precisions(counts: np.ndarray) -> np.ndarray:
    """Return the share of positives at or above each edge but the highest, highest first: (..., bins)."""
    held = np.maximum(np.cumsum(counts[..., ::-1, :], axis=-2), 0.0)
    rows = np.maximum(held.sum(axis=-1), LEAST)
    return np.asarray(np.clip(held[..., 1] / rows, 0.0, 1.0))


def average_precision(counts: np.ndarray) -> np.ndarray:
    """Return the average precision, each bin's precision weighted by the positives in it (scikit-learn's sum)."""
    _, positives = totals(counts)
    steps = counts[..., ::-1, 1] / positives[..., None]
    return np.asarray(np.clip((steps * precisions(counts)).sum(axis=-1), 0.0, 1.0))


def matrix(counts: np.ndarray, below: int) -> np.ndarray:
    """Return ``[[tn, fp], [fn, tp]]`` (..., 4) where the first ``below`` bins are predicted negative."""
    low, high = counts[..., :below, :].sum(axis=-2), counts[..., below:, :].sum(axis=-2)
    return np.stack([low[..., 0], high[..., 0], low[..., 1], high[..., 1]], axis=-1)


def accuracy(counts: np.ndarray, below: int) -> np.ndarray:
    """Return the share of rows on the right side of a threshold."""
    cells = matrix(counts, below)
    return np.asarray(np.clip((cells[..., 0] + cells[..., 3]) / np.maximum(cells.sum(axis=-1), LEAST), 0.0, 1.0))


def precision(counts: np.ndarray, below: int) -> np.ndarray:
    """Return the share of positives among rows predicted positive."""
    cells = matrix(counts, below)
    return np.asarray(np.clip(cells[..., 3] / np.maximum(cells[..., 1] + cells[..., 3], LEAST), 0.0, 1.0))


def recall(counts: np.ndarray, below: int) -> np.ndarray:
    """Return the share of the positives that are predicted positive."""
    cells = matrix(counts, below)
    return np.asarray(np.clip(cells[..., 3] / np.maximum(cells[..., 2] + cells[..., 3], LEAST), 0.0, 1.0))


def mean_loss(counts: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the mean of a loss per bin and class."""
    rows = np.maximum(counts.sum(axis=(-1, -2)), LEAST)
    return np.asarray((counts * losses).sum(axis=(-1, -2)) / rows)


def log_losses(scores: np.ndarray) -> np.ndarray:
    """Return the log loss of a score for a negative and a positive, scores limited to [0.001, 0.999]."""
    held = np.clip(scores, CLIP, 1 - CLIP)
    return np.stack([-np.log1p(-held), -np.log(held)], axis=-1)


def brier_losses(scores: np.ndarray) -> np.ndarray:
    """Return the squared error of a score for a negative and a positive."""
    return np.stack([scores**2, (1 - scores) ** 2], axis=-1)


def observed(counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the share of positives in groups of bins (``groups``: each bin's group, from 0 up)."""
    joined = np.stack([counts[..., groups == group, :].sum(axis=-2) for group in range(groups.max() + 1)], axis=-2)
    return np.asarray(np.clip(joined[..., 1] / np.maximum(joined.sum(axis=-1), LEAST), 0.0, 1.0))


def divergence(counts: np.ndarray, least: float = 0.5) -> np.ndarray:
    """Return ``sum (a - b) ln(a / b)`` over the shares of two distributions, columns of counts (..., bins, 2).

    It is the population stability index of two times, and the information value of two classes. A count below ``least``
    is taken for it: half a row is the usual convention, one standard deviation of the noise keeps noise from ruling.
    """
    held = np.maximum(counts, least)
    shares = held / held.sum(axis=-2, keepdims=True)
    first, second = shares[..., 0], shares[..., 1]
    return np.asarray(((first - second) * np.log(first / second)).sum(axis=-1))
