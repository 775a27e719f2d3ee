"""Logistic regression: accelerated descent in the metric of a noisy Gram.

First a Gram of the features and the counts of the classes, then gradients. The metric is the Gram at the curvature of
the noisy share of the classes; of a label it is the share among its own rows, as the first gradient tells it, as far as
it stands out of the noise. What an entry of the Gram says beyond independence is believed as far as all entries
together stand out of their noise (empirical Bayes): small wrong correlations do more harm than none. A prior, in
proportion to the noise, keeps weights of rare labels small and those of neighbouring bins alike; as epsilon grows, next
to nothing of it is left. How long steps are and which iterates the model is the mean of is up to the noise
(``descent.py``). The defaults are constants: no rows tune them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.classes import outputs_of, rates_of, start
from cloister.plan.learning.descent import Descent, Metric
from cloister.plan.learning.encoding import SCALE, Encoding, ordered
from cloister.plan.learning.program import MAX_STEPS, Linear, Run, Step
from cloister.plan.learning.queries import RESIDUAL, WEIGHT_SCALE, Gradient, GradientForm, Gram, GramForm
from cloister.plan.learning.solving import Rows, symmetric
from cloister.plan.learning.weights import centre, squared, wholes
from cloister.plan.numbers import rational

CLASSES = Fraction(2, 100)
LEAST_RELATION = 0.0005
# The prior of a weight in rows of information, however little noise there is; and how it grows with the noise.
PRIOR, SHRINKAGE, SMOOTHING = 0.25, 3.0, 2.0
# How far the share of a class among a label's rows is off its share among all, in standard deviations of one row: what
# is expected before rows are seen. And the least it is taken to be, as a part of that.
OFF, LEAST_OWN = 0.15, 0.1
# Beyond so much work (outputs times columns cubed) all outputs have one metric.
MOST_WORK = 2**31


class LogisticProgram(msgspec.Struct, frozen=True):
    """A Gram and the classes, then ``steps`` gradients; the model is the mean of the later iterates."""

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

    @property
    def metrics(self) -> int:
        """How many metrics are made: one per output, unless that takes too long."""
        width: int = self.coded.width
        return self.outputs if self.outputs * width * width * width <= MOST_WORK else 1

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        size, first, unit = self.coded.width, self._first, RESIDUAL * SCALE
        triangle = yield Gram()
        gram = symmetric(triangle, size, 1.0 / (SCALE * SCALE))
        weights = [[0.0] * size for _ in range(self.outputs)]
        found = yield Gradient(self._constant, wholes(weights))
        rows = max(gram[0][0], 1.0)
        rates = rates_of([value / unit for value in found], rows, noise[1] / unit)
        for row, rate in zip(weights, rates, strict=True):
            row[0] = start(rate, self.outputs)
        # The noise of one gradient, and of all of them taken together.
        one, doubt = noise[-1] / unit, noise[0] / (SCALE * SCALE)
        level = one / math.sqrt(self.learner.steps)
        sizes, related = self._sizes(gram, doubt), self._related(gram, doubt)
        penalty = self._penalty(sizes, max(map(self._curvature, rates)), level)
        descents: list[Descent] = []
        for _ in range(self.learner.steps):
            found = yield Gradient(self._form, wholes(weights))
            wide = size - first
            slopes = [[value / unit for value in found[at : at + wide]] for at in range(0, len(found), wide)]
            if not descents:
                roots = [self._roots(rate, sizes, slope, one) for rate, slope in zip(rates, slopes, strict=True)]
                metrics = self._metrics(rates, roots, related, penalty)
                chosen = range(self.outputs) if len(metrics) > 1 else [0] * self.outputs
                quiets = [metric.quiet(sizes[first:], one, sizes[0]) for metric in metrics]
                reaches = [metric.radius(sizes[0]) for metric in metrics]
                descents = [
                    Descent(metrics[at], penalty, row, one, quiets[at], self.learner.steps, reaches[at])
                    for row, at in zip(weights, chosen, strict=True)
                ]
            weights = [descent.step(*asked) for descent, *asked in zip(descents, weights, slopes, strict=True)]
        means = [descent.mean() for descent in descents]
        for row in means:
            centre(row, sizes, self.coded)
        shown = self._shown(sizes)
        errors = tuple(
            (0.0,) * first + descent.errors(level * self._steep(rate), shown)
            for descent, rate in zip(descents, rates, strict=True)
        )
        return Linear(wholes(means), WEIGHT_SCALE, errors if len(errors[0]) == size else ())

    def _curvature(self, rate: float) -> float:
        """Return how much a residual changes with the score of a row whose chance of the class is ``rate``.

        Of several classes a bound: all scores move together, and ``diag(p) - p p'``, a Laplacian, is at most
        ``diag(p)`` and at most twice its diagonal.
        """
        least = min(rate, 1.0 - rate)
        return least * self.clip / RESIDUAL if self.outputs == 1 else min(rate, 2.0 * rate * (1.0 - rate))

    def _shown(self, sizes: Sequence[float]) -> list[list[float]]:
        """Return the weights that are shown as sums of those that are fitted: of labels less the mean of their block.

        What moves all labels of two blocks in opposite ways changes no score, and is no error.
        """
        size, first = self.coded.width, self._first
        found = [[float(row == column) for column in range(size)] for row in range(size)]
        for block in self.coded.blocks:
            if block.labels:
                columns = range(block.start, block.start + block.width)
                total = math.fsum(sizes[at] for at in columns)
                for row in columns:
                    for at in columns:
                        found[row][at] -= sizes[at] / total
        return [line[first:] for line in found[first:]]

    def _steep(self, rate: float) -> float:
        """Return how many times too curved the metric takes the loss to be, of rows whose chance is all ``rate``.

        Of one output a residual counts only where it is less than the clip, one half: that of the likelier class. Of a
        rare class the rows differ, and those that count most are not of its share: never less than the metric says.
        """
        least, most = min(rate, 1.0 - rate), max(rate, 1.0 - rate)
        return max(1.0, self._curvature(rate) / (least * most * (most if self.outputs == 1 else 1.0)))

    def _roots(self, rate: float, sizes: Sequence[float], slope: Sequence[float], noise: float) -> list[float]:
        """Return the roots of the curvatures of an output's columns, from its first gradient.

        Half way (geometrically) between that at the overall share of the class and that at its share among the rows of
        a label, as far as it stands out of the noise: columns of labels add up to the constant in every block, and a
        metric that weighs them too unevenly does not know it.
        """
        found = [math.sqrt(self._curvature(rate))] * len(sizes)
        factor = self.clip / RESIDUAL / max(rate, 1.0 - rate) if self.outputs == 1 else 1.0
        for column, hot in enumerate(self._one_hot):
            if hot:
                rows = factor * sizes[column]
                worth = squared(OFF * rate * (1.0 - rate) * rows)
                own = rate - slope[column - self._first] / rows * worth / (worth + noise * noise)
                own = min(max(own, LEAST_OWN * rate), 1.0 - LEAST_OWN * (1.0 - rate))
                found[column] = math.sqrt(math.sqrt(self._curvature(own)) * found[column])
        return found

    def _metrics(
        self, rates: Sequence[float], roots: Sequence[Sequence[float]], related: Rows, penalty: Rows
    ) -> list[Metric]:
        """Return the metric of every output; or one for all, at the largest curvatures."""
        curved = [self._curvature(rate) for rate in rates]
        if self.metrics == 1:
            curved, roots = [max(curved)], [[max(values) for values in zip(*roots, strict=True)]]
        return [
            Metric(
                [
                    [root * other * value + more for other, value, more in zip(each, *lines, strict=True)]
                    for root, *lines in zip(each, related, penalty, strict=True)
                ],
                self._first,
                curvature,
            )
            for curvature, each in zip(curved, roots, strict=True)
        ]

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

    def _penalty(self, sizes: Sequence[float], curvature: float, level: float) -> Rows:
        """Return the prior's metric: a weight by itself, and neighbouring bins together."""
        size = self.coded.width
        ridge = float(rational(self.learner.penalty)) * sizes[0]
        found = [[0.0] * size for _ in range(size)]
        for i in range(1, size):
            found[i][i] = PRIOR + ridge + SHRINKAGE * level * level / (curvature * sizes[i])
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
