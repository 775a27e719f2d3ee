"""Which figures a score has: how each is computed from counts, what it can be, and what binning may hide of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from cloister.sandbox.learn.metrics import figures, noise
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import Edges


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number made of counts.

    Attributes:
        name: As shown.
        statistic: From counts (..., bins, 2).
        limits: What it can be.
        binning: From counts (bins, 2), how far the figure of the unbinned score may lie from it.
        largest: The statistic gives several numbers, and the figure is the largest.
        words: What binning means for it.
    """

    name: str
    statistic: noise.Statistic
    limits: tuple[float, float]
    binning: Callable[[np.ndarray], float]
    largest: bool = False
    words: str = ""

    def value(self, counts: np.ndarray) -> np.ndarray:
        """Return the figure itself."""
        found = self.statistic(counts)
        return found.max(axis=-1) if self.largest else found

    def held(self, counts: np.ndarray) -> np.ndarray:
        """Return the figure itself, within what it can be."""
        return np.asarray(np.clip(self.value(counts), *self.limits))

    def parts(self, found: Counts, *, population: bool = True) -> dict[str, np.ndarray]:
        """Return value, error and intervals in every group; nothing is known of a group that is noise.

        Args:
            found: The released counts.
            population: Also the interval for the population that the units were drawn from.
        """
        doubtful = found.doubtful
        spread = noise.largest if self.largest else noise.spread
        lines = []
        for counts, doubt in zip(found.values, doubtful, strict=True):
            if doubt:
                lines.append((np.nan, (self.limits[1] - self.limits[0]) / 2, *self.limits, *self.limits))
                continue
            around = spread(self.statistic, counts, noise.drawn(counts, found.sigma), self.limits)
            low, high = np.nan, np.nan
            if population:
                again = noise.sampled(counts, found.sigma, found.per_unit)
                wide = spread(self.statistic, counts, again, self.limits)
                # The one of the noise alone has draws of its own.
                low, high = min(float(wide.low), float(around.low)), max(float(wide.high), float(around.high))
            value = float(np.clip(self.value(counts), *self.limits))
            lines.append((value, float(around.stderr), float(around.low), float(around.high), low, high))
        columns = np.array(lines, dtype=float).reshape(len(lines), 6).T
        names = ("value", "stderr", "low", "high", "population_low", "population_high")
        return {**dict(zip(names, columns, strict=True)), "unreliable": doubtful}

    def hidden(self, found: Counts) -> float:
        """Return how far the figure of the unbinned score may lie from this one, over all groups."""
        return float(self.binning(found.whole.values[0]))


def roc_auc() -> Figure:
    """Return the area under the ROC curve."""
    return Figure("roc_auc", figures.auc, (0.0, 1.0), lambda c: float(figures.auc_ties(c)), words=_TIES)


def gini() -> Figure:
    """Return the Gini coefficient (accuracy ratio), ``2 AUC - 1``."""
    return Figure(
        "gini", lambda c: 2 * figures.auc(c) - 1, (-1.0, 1.0), lambda c: 2 * float(figures.auc_ties(c)), words=_TIES
    )


def ks() -> Figure:
    """Return the largest distance between the distribution functions of the two classes."""

    def inside(counts: np.ndarray) -> float:
        # Within a bin all negatives may come first, or all positives: then the functions part that much more.
        shares = np.maximum(counts, 0.0) / np.maximum(np.maximum(counts, 0.0).sum(axis=0), figures.LEAST)
        apart = np.cumsum(shares[:, 0] - shares[:, 1])
        start = apart - shares[:, 0] + shares[:, 1]
        best = np.maximum(start + shares[:, 0], shares[:, 1] - start)
        return float(max(best.max() - np.abs(apart).max(), 0.0))

    words = "distances are taken at the edges"
    return Figure("ks", figures.distances, (0.0, 1.0), inside, largest=True, words=words)


def average_precision() -> Figure:
    """Return the average precision."""

    def inside(counts: np.ndarray) -> float:
        held = np.maximum(counts, 0.0)
        _, positives = figures.totals(held)
        lines = held[::-1]
        sums = np.cumsum(lines, axis=0)
        # The best and the worst order of the rows of a bin: positives first, or last.
        best = (sums[:, 1]) / np.maximum(sums[:, 1] + sums[:, 0] - lines[:, 0], figures.LEAST)
        worst = (sums[:, 1] - lines[:, 1]) / np.maximum(sums.sum(axis=1) - lines[:, 1], figures.LEAST)
        middle = figures.precisions(held)
        far = np.maximum(np.minimum(best, 1) - middle, middle - worst)
        return float((lines[:, 1] / positives * np.maximum(far, 0)).sum())

    return Figure("average_precision", figures.average_precision, (0.0, 1.0), inside, words=_TIES)


def log_loss(edges: Edges) -> Figure:
    """Return the mean log loss of a probability."""
    worst = float(-np.log(figures.CLIP))
    return _loss("log_loss", edges, figures.log_losses, worst)


def brier(edges: Edges) -> Figure:
    """Return the mean squared error of a probability."""
    return _loss("brier", edges, figures.brier_losses, 1.0)


def accuracy(edges: Edges, threshold: float) -> Figure:
    """Return the share of rows on the right side of the edge nearest to a threshold."""
    below = edges.nearest(threshold)
    return Figure("accuracy", lambda c: figures.accuracy(c, below), (0.0, 1.0), _exact, words=_at(edges, below))


def threshold_text(edges: Edges, threshold: float) -> str:
    """Return at which edge a threshold is taken, in words."""
    return _at(edges, edges.nearest(threshold))


def _loss(name: str, edges: Edges, losses: Callable[[np.ndarray], np.ndarray], worst: float) -> Figure:
    middle = losses(edges.middles)
    far = np.maximum(np.abs(losses(edges.lows) - middle), np.abs(losses(edges.highs) - middle))
    return Figure(
        name,
        lambda c: figures.mean_loss(c, middle),
        (0.0, worst),
        lambda c: float(figures.mean_loss(np.maximum(c, 0.0), far)),
        words="the middle of its bin stands for each score",
    )


def _at(edges: Edges, below: int) -> str:
    if below == edges.bins:
        return f"above {edges.highs[-1]:.6g}, the largest score there is"
    return f"at a score of {edges.lows[below]:.6g}, the nearest edge"


_TIES = "scores in one bin count as equal"


def precision(edges: Edges, threshold: float) -> Figure:
    """Return the share of positives among the rows from a threshold on."""
    below = edges.nearest(threshold)
    return Figure("precision", lambda c: figures.precision(c, below), (0.0, 1.0), _exact, words=_at(edges, below))


def recall(edges: Edges, threshold: float) -> Figure:
    """Return the share of positives that lie from a threshold on."""
    below = edges.nearest(threshold)
    return Figure("recall", lambda c: figures.recall(c, below), (0.0, 1.0), _exact, words=_at(edges, below))


def _exact(_: np.ndarray) -> float:
    return 0.0
