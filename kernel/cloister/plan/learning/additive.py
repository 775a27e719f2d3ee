"""Additive model: a weight per label of every feature, fitted feature by feature (an explainable boosting machine).

First two small steps: how many rows have each label, and how many have each class. Then, round by round, one feature at
a time releases the residuals summed per label, a query in which a row counts once instead of once per feature, so every
sum has less noise than in a gradient of all features at once.

The update of a feature is the step of a Kalman filter. Around the model its sums are ``h n_j`` times what weight ``j``
lacks, plus noise of known size: ``n_j`` is the noisy number of rows, ``h`` the curvature at the noisy share of the
classes. A prior makes weights of rare labels small and those of neighbouring bins alike, in proportion to the noise; it
vanishes as epsilon grows. So early steps are as short as the noise demands, and the last weights are a mean over as
many rounds as the noise needs, in which later rounds count more. The defaults are constants: no rows tune them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.classes import outputs_of, rates_of, start
from cloister.plan.learning.encoding import SCALE, Encoding, ordered
from cloister.plan.learning.link import exp
from cloister.plan.learning.program import MAX_STEPS, Linear, Run, Step
from cloister.plan.learning.queries import (
    RESIDUAL,
    WEIGHT_SCALE,
    Gradient,
    GradientForm,
    Nearest,
    NearestForm,
)
from cloister.plan.learning.solving import banded
from cloister.plan.learning.weights import centre, limited, squared, whole, wholes
from cloister.plan.numbers import rational

COUNTS, CLASSES = Fraction(3, 100), Fraction(2, 100)
# How much more the later rounds count: weights of rounds grow like t^FORGET.
FORGET = 0.3
# Rounds are averaged until the noise of a weight is this small (in log odds), and no longer: newer rounds are nearer.
FINE = 0.1
MAX_MOVE = 2.0
LEAST_CURVATURE = 0.1


class _Feature(msgspec.Struct, frozen=True):
    """The columns ``start`` to ``stop - 1``; the first ``ordered`` of them are neighbouring bins."""

    start: int
    stop: int
    ordered: int


class AdditiveProgram(msgspec.Struct, frozen=True, dict=True):
    """Counts, classes, then ``rounds`` visits of every feature. What every weight needs is made once."""

    learner: a.Additive
    coded: Encoding

    @cached_property
    def outputs(self) -> int:
        """How many scores there are: one for two classes, else one per class."""
        return outputs_of(self.coded)

    @cached_property
    def clip(self) -> int:
        """The largest residual: one half, at which both classes of a rare label count alike."""
        return RESIDUAL // 2 if self.outputs == 1 else RESIDUAL

    @cached_property
    def features(self) -> tuple[_Feature, ...]:
        """What a round visits: the features, and the constant unless a feature with labels makes it superfluous."""
        found = tuple(_Feature(block.start, block.start + block.width, ordered(block)) for block in self.coded.blocks)
        return found if any(block.labels for block in self.coded.blocks) else (_Feature(0, 1, 0), *found)

    @cached_property
    def rounds(self) -> int:
        """As many rounds as asked for and as a fit may have steps."""
        return max(1, min(self.learner.rounds, (MAX_STEPS - 2) // len(self.features)))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Small shares for counts and classes, and equal parts of the rest."""
        each = (1 - COUNTS - CLASSES) / (self.rounds * len(self.features))
        visits = (
            Step(f"round {number + 1}, feature {position + 1}", self._form(feature), each)
            for number in range(self.rounds)
            for position, feature in enumerate(self.features)
        )
        return (
            Step("counts", NearestForm(1), COUNTS),
            Step("classes", self._form(_Feature(0, 1, 0)), CLASSES),
            *visits,
        )

    def _form(self, feature: _Feature) -> GradientForm:
        return GradientForm(self.outputs, feature.start, feature.stop, self.clip)

    @cached_property
    def _smoothing(self) -> float:
        return float(rational(self.learner.smoothing))

    @cached_property
    def _shrinkage(self) -> float:
        return float(rational(self.learner.shrinkage))

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        size, unit = self.coded.width, RESIDUAL * SCALE
        found = yield Nearest(NearestForm(1), ((0,) * (size - 1),))
        least = max(noise[0] / SCALE, 1.0)
        counts = [max(value / SCALE, least) for value in found]
        weights = [[0.0] * size for _ in range(self.outputs)]
        found = yield Gradient(self._form(_Feature(0, 1, 0)), wholes(weights))
        rates = rates_of([value / unit for value in found], counts[0], noise[1] / unit)
        for row, rate in zip(weights, rates, strict=True):
            row[0] = start(rate, self.outputs)
        # As integers: of many features a step moves one.
        asked = [list(row) for row in wholes(weights)]
        position = 2
        for number in range(self.rounds):
            for feature in self.features:
                # The noise of a feature's sums over all rounds taken together.
                level = noise[position] / unit / math.sqrt(self.rounds)
                found = yield Gradient(self._form(feature), tuple(tuple(row) for row in asked))
                position += 1
                wide = feature.stop - feature.start
                for output, row in enumerate(weights):
                    sums = [value / unit for value in found[output * wide : (output + 1) * wide]]
                    held = self._curvature(feature, counts, rates[output], row)
                    moves = self._step(feature, sums, held, level, number)
                    for column, move in enumerate(moves, feature.start):
                        row[column] = limited(row[column] - min(max(move, -MAX_MOVE), MAX_MOVE))
                        asked[output][column] = whole(row[column])
        errors = tuple(self._errors(counts, rate, row, noise) for rate, row in zip(rates, weights, strict=True))
        for row in weights:
            centre(row, counts, self.coded)
        return Linear(wholes(weights), WEIGHT_SCALE, errors)

    def _curvature(
        self, feature: _Feature, counts: Sequence[float], rate: float, weights: Sequence[float], *, own: bool = False
    ) -> list[float]:
        """Return how much the sum of a label changes with its weight, as far as counts, share and weights tell.

        Half way (geometrically) between what it is at the overall share and at that of the label by itself (``own``).
        """
        overall, odds = min(rate, 1.0 - rate), rate / (1.0 - rate)
        found = []
        for column in range(feature.start, feature.stop):
            here = odds * exp(weights[column]) if feature.start else odds
            share = min(here, 1.0) / (1.0 + here)
            share = share if own else math.sqrt(overall * share)
            share = max(share, LEAST_CURVATURE * overall)
            each = share * self.clip / RESIDUAL if self.outputs == 1 else share * (1.0 - share)
            # A number's square is at most 1: counted as if it were, a step is never too long.
            found.append(each * (counts[0] if feature.stop - feature.start == 1 else counts[column]))
        return found

    def _step(
        self, feature: _Feature, sums: Sequence[float], held: Sequence[float], level: float, number: int
    ) -> list[float]:
        weight = float(self.rounds)
        before = [min(number + 1.0, self._averaged(value, level)) + FORGET for value in held]
        diagonal = [
            count * value + weight * self._prior(value, level) for count, value in zip(before, held, strict=True)
        ]
        between = [0.0] * (len(held) - 1)
        tie = weight * self._smoothing * level
        for index in range(feature.ordered - 1):
            diagonal[index] += tie
            diagonal[index + 1] += tie
            between[index] = -tie
        return [(1 + FORGET) * value for value in banded(diagonal, between, sums)]

    def _prior(self, held: float, level: float) -> float:
        """Return the penalty at which a weight is the better estimate: noise^2 over curvature, and one row's worth."""
        return 1.0 + self._shrinkage * level * level / held

    def _averaged(self, held: float, level: float) -> float:
        """Return over how many rounds a weight is averaged."""
        return 1.0 + self.rounds * squared(level / (FINE * held))

    def _errors(
        self, counts: Sequence[float], rate: float, weights: Sequence[float], noise: Sequence[float]
    ) -> tuple[float, ...]:
        """Return the standard errors of weights from the noise in their own sums, without that of other features."""
        found = [0.0] * len(weights)
        for position, feature in enumerate(self.features):
            level = noise[2 + position] / (RESIDUAL * SCALE) / math.sqrt(self.rounds)
            held = self._curvature(feature, counts, rate, weights, own=True)
            for index, value in enumerate(held):
                wide = math.sqrt(self.rounds / min(float(self.rounds), self._averaged(value, level)))
                found[feature.start + index] = level * wide / (value + self._prior(value, level))
        return tuple(found)


def program(learner: a.Additive, coded: Encoding) -> AdditiveProgram:
    """Return the program of an additive model.

    Raises:
        PlanError: ``plan.learner``: a parameter is out of its range, or there is no target.
    """
    if not coded.classes:
        raise PlanError("plan.learner", "an additive model needs a target", next_step="pass y to fit(X, y)")
    numbers = (rational(learner.smoothing), rational(learner.shrinkage))
    if not 1 <= learner.rounds < MAX_STEPS or any(not 0 <= number <= 1_000 for number in numbers):
        raise PlanError(
            "plan.learner",
            "the parameters of the additive model are out of their range",
            clause=f"1 to {MAX_STEPS - 1} rounds; smoothing and shrinkage from 0 to 1,000",
            next_step="leave them at their defaults",
        )
    return AdditiveProgram(learner, coded)
