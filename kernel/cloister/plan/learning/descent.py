"""Accelerated descent on noisy gradients, in a metric that may be wrong: steps as long as the loss is seen to allow.

Nesterov's method with a constant momentum. A metric made of noisy sums can say of some directions that the loss is far
less curved than it is; steps along them would grow without end. Three rules keep the descent stable, all of them on
what is released already:

* In the metric no direction is shorter than ``LOAD`` allows (``solving.py``), and no step is longer than what moves
  scores by ``FAR`` log odds (root mean square): a step that is too long is shortened and keeps its direction.
* Two gradients tell how curved the loss is between where they were asked for. The steps are never longer than one over
  the largest curvature seen, in the metric, as far as it stands out of the noise; with such steps no descent overshoots
  (step 1 / L of a convex loss of curvature L).
* Where a gradient points back along the step before it, by more than its noise explains, the momentum starts again from
  nothing (O'Donoghue and Candes, Adaptive restart for accelerated gradient schemes, 2015).

So a metric that is wrong makes the descent slow, not unstable.

*Quiet* is between 0 and 1: how small the noise is that one full step brings to the scores. In noise, steps are short
and without momentum, and the model is the mean of all iterates but the first quarter: all gradients count. In quiet,
steps are full and fast, and the mean is of the last half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloister.plan.learning.solving import Rows, Solver
from cloister.plan.learning.weights import limited, squared

SLOW, FAST = 0.3, 1.0
MOMENTUM = 0.7
# The noise in the score of a row (in log odds, squared) at which a step is half quiet.
LOUD = 0.25
EARLY, LATE = 0.25, 0.5
# The longest step: how far it moves scores in log odds, root mean square.
FAR = 2.0
# Standard deviations of the noise of a gradient along a step that are no sign of anything.
SURE = 3.0
PROBES = 4


class Metric:
    """A metric, and how to divide by it.

    Args:
        rows: A symmetric matrix.
        first: The columns before are not fitted.
        curvature: How curved the loss of a row is in its score, as the metric has it.
    """

    def __init__(self, rows: Rows, first: int, curvature: float) -> None:
        self.solver = Solver([line[first:] for line in rows[first:]])
        self.width = len(rows) - first
        self._curvature = curvature

    def radius(self, count: float) -> float:
        """Return how long the longest step is, of ``count`` rows."""
        return FAR * math.sqrt(self._curvature * count)

    def quiet(self, sizes: Sequence[float], noise: float, count: float) -> float:
        """Return how quiet a full step is.

        Args:
            sizes: The sums of squares of the columns that are fitted.
            noise: That of an entry of a gradient.
            count: How many rows there are.
        """
        found = []
        for number in range(PROBES):
            # The mean over signs is the trace (Hutchinson 1990).
            moved = self.solver.solve(_signs(len(sizes), number))
            found.append(math.fsum(size * squared(value) for size, value in zip(sizes, moved, strict=True)))
        spread = noise * noise * math.fsum(found) / PROBES / count
        return 1.0 / (1.0 + spread / LOUD)


class Descent:
    """The descent of one output.

    Args:
        metric: The metric.
        penalty: The penalty, a symmetric matrix of all columns.
        start: The first weights, of all columns.
        noise: The noise of an entry of a gradient.
        quiet: How quiet a full step is.
        steps: How many steps there will be.
        radius: How long a step may be in the metric.
    """

    def __init__(  # noqa: PLR0917 (each is one of a kind)
        self,
        metric: Metric,
        penalty: Rows,
        start: Sequence[float],
        noise: float,
        quiet: float,
        steps: int,
        radius: float,
    ) -> None:
        self.metric = metric
        self._penalty, self._noise, self._steps = penalty, noise, steps
        self._first = len(start) - metric.width
        self._rate = SLOW + (FAST - SLOW) * quiet
        self._momentum = MOMENTUM * quiet
        self._skipped = int((EARLY + (LATE - EARLY) * quiet) * steps)
        self._before = list(start)
        self._asked: list[float] = []
        self._slope: list[float] = []
        self._radius = radius
        self._total = [0.0] * len(start)
        self._taken = 0

    def step(self, asked: Sequence[float], slope: Sequence[float]) -> list[float]:
        """Take a step, and return where to ask for the next gradient.

        Args:
            asked: Where the gradient was asked for.
            slope: The gradient there, of the columns that are fitted.
        """
        first = self._first
        pull = times(self._penalty, asked)[first:]
        slope = [value + more for value, more in zip(slope, pull, strict=True)]
        if self._asked:
            self._look_back(asked, slope)
        self._asked, self._slope = list(asked), slope
        moves = self.metric.solver.solve(slope)
        length = math.sqrt(max(math.fsum(map(float.__mul__, slope, moves)), 0.0))
        rate = min(self._rate, self._radius / length) if length > 0.0 else self._rate
        now = list(asked)
        for column, move in enumerate(moves, first):
            now[column] = limited(asked[column] - rate * move)
        self._taken += 1
        if self._taken > self._skipped:
            self._total = [value + more for value, more in zip(self._total, now, strict=True)]
        before, self._before = self._before, now
        return [limited(value + self._momentum * (value - old)) for value, old in zip(now, before, strict=True)]

    def _look_back(self, asked: Sequence[float], slope: Sequence[float]) -> None:
        """Keep steps as short as the curvature seen over the last one; drop the momentum where it went too far."""
        step = [value - old for value, old in zip(asked[self._first :], self._asked[self._first :], strict=True)]
        noise = SURE * self._noise * math.sqrt(math.fsum(map(squared, step)))
        along = math.fsum(map(float.__mul__, slope, step))
        # The noises of the two gradients are independent.
        rise = along - math.fsum(map(float.__mul__, self._slope, step)) - math.sqrt(2.0) * noise
        length = self.metric.solver.length(step)
        if rise * self._rate > length:
            self._rate = length / rise
        if along > noise:
            self._before = list(asked)

    def mean(self) -> list[float]:
        """Return the model: the mean of the later iterates."""
        return [value / (self._taken - self._skipped) for value in self._total]

    def errors(self, level: float, sums: Sequence[Sequence[float]]) -> tuple[float, ...]:
        """Return the standard errors of sums of the weights that are fitted, of a large system none.

        Args:
            level: The noise of an entry of all gradients taken together.
            sums: The factors of each sum.
        """
        return self.metric.solver.errors(level * math.sqrt(self._steps / (self._steps - self._skipped)), sums)


def times(matrix: Rows, vector: Sequence[float]) -> list[float]:
    """Return the product of a matrix and a vector."""
    return [math.fsum(map(float.__mul__, row, vector)) for row in matrix]


def _signs(count: int, number: int) -> list[float]:
    """Return the same signs on every machine, without a pattern that columns could have (a multiplicative hash)."""
    return [1.0 if (column * 2_654_435_761 + number * 40_503) >> 7 & 1 else -1.0 for column in range(count)]
