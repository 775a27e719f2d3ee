"""Logistic regression: gradient descent in the metric of a noisy Gram.

The Hessian of the loss is at most ``G / 4`` (two classes) or ``G / 2`` (several, each class by itself), ``G`` the Gram
of the features (Boehning and Lindsay 1988; Boehning 1992): a step by its inverse never overshoots, whatever the data.
The ridge that keeps the noisy Gram invertible follows from its noise level alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.program import MAX_STEPS, Linear, Run, Step
from cloister.plan.learning.queries import MAX_WEIGHT, RESIDUAL, WEIGHT_SCALE, Gradient, GradientForm, Gram, GramForm
from cloister.plan.learning.solving import factor, solve, symmetric
from cloister.plan.numbers import rational


class LogisticProgram(msgspec.Struct, frozen=True):
    """A Gram, then ``steps`` gradients; the model is the mean of the second half of the iterates."""

    learner: a.Logistic
    coded: Encoding

    @property
    def outputs(self) -> int:
        """How many scores there are: one for two classes, else one per class."""
        return 1 if len(self.coded.classes) == 2 else len(self.coded.classes)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The Gram with its share, and gradients with equal parts of the rest."""
        first = rational(self.learner.gram)
        each = (1 - first) / self.learner.steps
        form = GradientForm(self.outputs, 0, self.coded.width)
        gradients = (Step(f"gradient {index + 1}", form, each) for index in range(self.learner.steps))
        return (Step("gram", GramForm(), first), *gradients)

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        size, outputs = self.coded.width, self.outputs
        form = GradientForm(outputs, 0, size)
        triangle = yield Gram()
        unit = 1.0 / (SCALE * SCALE)
        matrix = symmetric(triangle, size, unit)
        curvature = 0.25 if outputs == 1 else 0.5
        # The noise of a symmetric matrix moves its eigenvalues by about twice sigma times the root of its size.
        ridge = max(1.0, 2.0 * noise[0] * unit * math.sqrt(size))
        rows = max(matrix[0][0], 1.0)
        penalty = float(rational(self.learner.penalty)) * rows
        for i in range(size):
            matrix[i][i] += ridge
            matrix[i] = [curvature * value for value in matrix[i]]
            matrix[i][i] += penalty if i else 0.0
        lower = factor(matrix, ridge * curvature)
        weights = [[0.0] * size for _ in range(outputs)]
        total = [[0.0] * size for _ in range(outputs)]
        counted = 0
        for index in range(self.learner.steps):
            rounded = tuple(tuple(_whole(value) for value in row) for row in weights)
            answer = yield Gradient(form, rounded)
            for output in range(outputs):
                row, sums = weights[output], answer[output * size : (output + 1) * size]
                slope = [value / (RESIDUAL * SCALE) for value in sums]
                slope = [value + (penalty * row[i] if i else 0.0) for i, value in enumerate(slope)]
                move = solve(lower, slope)
                weights[output] = [_limited(value - move[i]) for i, value in enumerate(row)]
            if 2 * (index + 1) > self.learner.steps:
                counted += 1
                for output in range(outputs):
                    total[output] = [total[output][i] + value for i, value in enumerate(weights[output])]
        return Linear(tuple(tuple(_whole(value / counted) for value in row) for row in total), WEIGHT_SCALE)


def program(learner: a.Logistic, coded: Encoding) -> LogisticProgram:
    """Return the program of a logistic regression.

    Raises:
        PlanError: ``plan.learner``: a parameter is out of its range, or there is no target.
    """
    share = rational(learner.gram)
    if not coded.classes:
        raise PlanError("plan.learner", "a logistic regression needs a target", next_step="pass y to fit(X, y)")
    if not (1 <= learner.steps < MAX_STEPS and Fraction(1, 100) <= share <= Fraction(99, 100)):
        raise PlanError(
            "plan.learner",
            "the parameters of the logistic regression are out of their range",
            clause=f"1 to {MAX_STEPS - 1} steps, and from 1 % to 99 % of the price for the Gram",
            next_step="leave them at their defaults",
        )
    if rational(learner.penalty) < 0:
        raise PlanError("plan.learner", "a penalty is never negative", next_step='write penalty="0"')
    return LogisticProgram(learner, coded)


def _limited(value: float) -> float:
    most = MAX_WEIGHT / WEIGHT_SCALE
    return min(max(value, -most), most)


def _whole(value: float) -> int:
    """Return a weight in multiples of 1 / ``WEIGHT_SCALE``, rounded half up."""
    return math.floor(_limited(value) * WEIGHT_SCALE + 0.5)
