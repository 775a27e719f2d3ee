"""Logistic regression: gradient descent in the metric of a noisy Gram.

First a Gram of the features and the counts of the classes, then gradients. The metric is the Gram at the curvature of
the noisy share of the classes. What an entry says beyond independence is believed as far as all entries together stand
out of their noise (empirical Bayes): small wrong correlations do more harm than none. A prior, in proportion to the
noise, keeps weights of rare labels small and those of neighbouring bins alike; it vanishes as epsilon grows. Steps are
short (``RATE``) and the iterates averaged, so that all gradients count. The defaults are constants: no rows tune them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.classes import outputs_of, rates_of, start
from cloister.plan.learning.encoding import SCALE, Encoding, ordered
from cloister.plan.learning.program import MAX_STEPS, Linear, Run, Step
from cloister.plan.learning.queries import RESIDUAL, WEIGHT_SCALE, Gradient, GradientForm, Gram, GramForm
from cloister.plan.learning.solving import Rows, Solver, symmetric
from cloister.plan.learning.weights import centre, limited, wholes
from cloister.plan.numbers import rational

CLASSES = Fraction(2, 100)
RATE = 0.3
LEAST_RELATION = 0.0005
SHRINKAGE, SMOOTHING = 3.0, 2.0
MAX_MOVE = 2.0


class LogisticProgram(msgspec.Struct, frozen=True):
    """A Gram and the classes, then ``steps`` gradients; the model is the mean of all iterates but the first quarter."""

    learner: a.Logistic
    coded: Encoding

    @property
    def outputs(self) -> int:
        """How many scores there are: one for two classes, else one per class."""
        return outputs_of(self.coded)

    @property
    def clip(self) -> int:
        """The largest residual."""
        return RESIDUAL // 2 if self.outputs == 1 else RESIDUAL

    @property
    def steps(self) -> tuple[Step, ...]:
        """The Gram with its share, a small one for the classes, and gradients with equal parts of the rest."""
        first = rational(self.learner.gram)
        rest = 1 - first
        each = rest * (1 - CLASSES) / self.learner.steps
        gradients = (Step(f"gradient {index + 1}", self._form, each) for index in range(self.learner.steps))
        return (Step("gram", GramForm(), first), Step("classes", self._constant, rest * CLASSES), *gradients)

    @property
    def _constant(self) -> GradientForm:
        return GradientForm(self.outputs, 0, 1, self.clip)

    @property
    def _first(self) -> int:
        """The first column that is fitted: not the constant, where a block of labels makes it superfluous."""
        return int(any(block.labels for block in self.coded.blocks))

    @property
    def _form(self) -> GradientForm:
        return GradientForm(self.outputs, self._first, self.coded.width, self.clip)

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        size, unit = self.coded.width, RESIDUAL * SCALE
        triangle = yield Gram()
        gram = symmetric(triangle, size, 1.0 / (SCALE * SCALE))
        weights = [[0.0] * size for _ in range(self.outputs)]
        found = yield Gradient(self._constant, wholes(weights))
        rows = max(gram[0][0], 1.0)
        rates = rates_of([value / unit for value in found], rows, noise[1] / unit)
        for row, rate in zip(weights, rates, strict=True):
            row[0] = start(rate, self.outputs)
        # The noise of all gradients taken together.
        level = noise[-1] / unit / math.sqrt(self.learner.steps)
        curvature = max(min(rate, 1.0 - rate) for rate in rates) * self.clip / RESIDUAL
        penalty = self._penalty(gram, noise[0] / (SCALE * SCALE), curvature, level)
        related = self._related(gram, noise[0] / (SCALE * SCALE))
        metric = [
            [curvature * value + more for value, more in zip(*pair, strict=True)]
            for pair in zip(related, penalty, strict=True)
        ]
        first = self._first
        solver = Solver([line[first:] for line in metric[first:]])
        total, counted = [[0.0] * size for _ in range(self.outputs)], 0
        for index in range(self.learner.steps):
            found = yield Gradient(self._form, wholes(weights))
            wide = size - first
            for output, row in enumerate(weights):
                slope = [value / unit for value in found[output * wide : (output + 1) * wide]]
                pull = _times(penalty, row)[first:]
                move = solver.solve([value + more for value, more in zip(slope, pull, strict=True)])
                row[first:] = [_moved(value, step) for value, step in zip(row[first:], move, strict=True)]
            if 4 * (index + 1) > self.learner.steps:
                counted += 1
                for output, row in enumerate(weights):
                    total[output] = [value + more for value, more in zip(total[output], row, strict=True)]
        means = [[value / counted for value in row] for row in total]
        sizes = self._sizes(gram, noise[0] / (SCALE * SCALE))
        for row in means:
            centre(row, sizes, self.coded)
        errors = solver.errors(level * math.sqrt(4.0 / 3.0))
        return Linear(wholes(means), WEIGHT_SCALE, ((0.0,) * first + errors,) * self.outputs if errors else ())

    def _related(self, gram: Rows, noise: float) -> Rows:
        """Return the Gram as far as it stands out of its noise: between blocks, shrunk towards independence."""
        size, block = self.coded.width, self._blocks
        sizes = self._sizes(gram, noise)
        sums = [sizes[i] if i == 0 or self._one_hot[i] else gram[0][i] for i in range(size)]
        found = [[0.0] * size for _ in range(size)]
        excess, weight = [], []
        for i in range(1, size):
            for j in range(1, i):
                if block[i] != block[j]:
                    extra = gram[i][j] - sums[i] * sums[j] / sizes[0]
                    excess.append(extra * extra - noise * noise)
                    weight.append(sizes[i] * sizes[j])
        relation = max(LEAST_RELATION, math.fsum(excess) / math.fsum(weight) if weight else 0.0)
        for i in range(size):
            found[i][i] = sizes[i]
            for j in range(i):
                if block[i] == block[j]:
                    continue
                even = sums[i] * sums[j] / sizes[0]
                belief = relation / (relation + noise * noise / (sizes[i] * sizes[j]))
                value = even + belief * (gram[i][j] - even) if j else sums[i]
                most = math.sqrt(sizes[i] * sizes[j])
                found[i][j] = found[j][i] = min(max(value, -most), most)
        return found

    def _penalty(self, gram: Rows, noise: float, curvature: float, level: float) -> Rows:
        """Return the prior's metric: a weight by itself, and neighbouring bins together."""
        size = self.coded.width
        sizes = self._sizes(gram, noise)
        ridge = float(rational(self.learner.penalty)) * sizes[0]
        found = [[0.0] * size for _ in range(size)]
        for i in range(1, size):
            found[i][i] = 1.0 + ridge + SHRINKAGE * level * level / (curvature * sizes[i])
        for block in self.coded.blocks:
            for i in range(block.start, block.start + ordered(block) - 1):
                for j, k in ((i, i), (i + 1, i + 1)):
                    found[j][k] += SMOOTHING * level
                found[i][i + 1] -= SMOOTHING * level
                found[i + 1][i] -= SMOOTHING * level
        return found

    @property
    def _blocks(self) -> list[int]:
        """The block of every column; the constant is one by itself."""
        found = [0] * self.coded.width
        for number, block in enumerate(self.coded.blocks):
            for column in range(block.start, block.start + block.width):
                found[column] = number + 1
        return found

    @property
    def _one_hot(self) -> list[bool]:
        """Whether a column is one of a block of labels, whose sum is also its diagonal entry."""
        found = [False] * self.coded.width
        for block in self.coded.blocks:
            found[block.start : block.start + block.width] = [bool(block.labels)] * block.width
        return found

    def _sizes(self, gram: Rows, noise: float) -> list[float]:
        """Return the sums of squares of the columns, at least as large as their noise."""
        found = [(gram[i][i] + gram[0][i]) / 2 if hot else gram[i][i] for i, hot in enumerate(self._one_hot)]
        return [max(value, noise, 1.0) for value in found]


def _times(matrix: Rows, vector: Sequence[float]) -> list[float]:
    return [math.fsum(map(float.__mul__, row, vector)) for row in matrix]


def _moved(value: float, step: float) -> float:
    return limited(value - min(max(RATE * step, -MAX_MOVE), MAX_MOVE))


def program(learner: a.Logistic, coded: Encoding) -> LogisticProgram:
    """Return the program of a logistic regression.

    Raises:
        PlanError: ``plan.learner``: a parameter is out of its range, or there is no target.
    """
    share = rational(learner.gram)
    if not coded.classes:
        raise PlanError("plan.learner", "a logistic regression needs a target", next_step="pass y to fit(X, y)")
    if not (1 <= learner.steps <= MAX_STEPS - 2 and Fraction(1, 100) <= share <= Fraction(99, 100)):
        raise PlanError(
            "plan.learner",
            "the parameters of the logistic regression are out of their range",
            clause=f"1 to {MAX_STEPS - 2} steps, and from 1 % to 99 % of the price for the Gram",
            next_step="leave them at their defaults",
        )
    if rational(learner.penalty) < 0:
        raise PlanError("plan.learner", "a penalty is never negative", next_step='write penalty="0"')
    return LogisticProgram(learner, coded)
