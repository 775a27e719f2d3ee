"""k-means: Lloyd's algorithm on noisy sums, from public initial centres.

Every step asks for the number of rows nearest to each centre and the sum of their columns, and moves the centre to the
noisy mean, as far as the number stands out of its noise: a centre with few rows stays where it was. Initial centres are
those of a seed, drawn in the box of the card's bounds, each as far as possible from the ones before (of ``TRIALS``
candidates): they depend on seed and encoding alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from operator import mul

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.program import MAX_STEPS, Centres, Run, Step
from cloister.plan.learning.queries import Nearest, NearestForm

TRIALS = 64
MAX_CLUSTERS = 64
# Centres start within this part of the bounds: rows are rarely at the ends of a well chosen range.
INNER = Fraction(3, 4)
RELIABLE = 3.0


class KMeansProgram(msgspec.Struct, frozen=True):
    """``steps`` assignments; the sizes are those of the last one."""

    learner: a.KMeans
    coded: Encoding

    @property
    def steps(self) -> tuple[Step, ...]:
        """Equal parts of the price."""
        form, count = NearestForm(self.learner.clusters), self.learner.steps
        return tuple(Step(f"assignment {index + 1}", form, Fraction(1, count)) for index in range(count))

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        centres, width = initial(self.learner, self.coded), self.coded.width
        sizes = [0.0] * len(centres)
        for level in noise:
            found = yield Nearest(NearestForm(len(centres)), centres)
            moved = []
            for index, centre in enumerate(centres):
                count, *sums = found[index * width : (index + 1) * width]
                sizes[index] = count / SCALE
                moved.append(_mean(centre, count, sums, level))
            centres = tuple(moved)
        return Centres(centres, tuple(sizes))


def initial(learner: a.KMeans, coded: Encoding) -> tuple[tuple[int, ...], ...]:
    """Return the initial centres."""
    found = [_candidate(learner.seed, 0, coded)]
    squares = [_product(found[0], found[0])]

    def nearest(one: Sequence[int]) -> int:
        """Return the squared distance to the nearest centre: |x|^2 + min over centres y of |y|^2 - 2 x y."""
        between = (square - 2 * _product(one, other) for square, other in zip(squares, found, strict=True))
        return _product(one, one) + min(between)

    for number in range(1, learner.clusters):
        # The first of equally far ones.
        drawn = (_candidate(learner.seed, number * TRIALS + trial, coded) for trial in range(TRIALS))
        farthest = max(drawn, key=nearest)
        found.append(farthest)
        squares.append(_product(farthest, farthest))
    return tuple(found)


def initial_work(learner: a.KMeans) -> tuple[int, int]:
    """Return how many candidates ``initial`` draws, and how many products of two of them it takes."""
    others = learner.clusters - 1
    return 1 + TRIALS * others, 1 + others + TRIALS * (others + others * (others + 1) // 2)


def program(learner: a.KMeans, coded: Encoding) -> KMeansProgram:
    """Return the program of k-means.

    Raises:
        PlanError: ``plan.learner``: a parameter is out of its range, or there is a target.
    """
    if coded.classes:
        raise PlanError("plan.learner", "k-means has no target", next_step="call fit(X)")
    if not (1 <= learner.clusters <= MAX_CLUSTERS and 1 <= learner.steps <= MAX_STEPS and abs(learner.seed) < 2**63):
        raise PlanError(
            "plan.learner",
            "the parameters of k-means are out of their range",
            clause=f"1 to {MAX_CLUSTERS} clusters, 1 to {MAX_STEPS} steps, and a seed of 63 bits",
            next_step="ask for fewer clusters or steps",
        )
    return KMeansProgram(learner, coded)


def _mean(centre: Sequence[int], count: int, sums: Sequence[int], level: float) -> tuple[int, ...]:
    """Return the mean of a cluster in columns; the old centre where its rows do not stand out of the noise."""
    if count < RELIABLE * level or count < SCALE:
        return tuple(centre)
    # Sums are multiples of 1 / SCALE, and so is the number of rows: the quotient, in those multiples, rounded half up.
    return tuple(min(max((2 * SCALE * value + count) // (2 * count), -SCALE), SCALE) for value in sums)


def _candidate(seed: int, number: int, coded: Encoding) -> tuple[int, ...]:
    """Return a centre drawn from a hash: numbers evenly within bounds, of every block of labels one label."""
    found = []
    for position, block in enumerate(coded.blocks):
        drawn = hashlib.sha256(b"cloister/kmeans/v1 %d %d %d" % (seed, number, position)).digest()
        value = int.from_bytes(drawn[:8], "big")
        if block.labels:
            found += [SCALE * (index == value % block.width) for index in range(block.width)]
        else:
            found.append(INNER.numerator * (value % (2 * SCALE + 1) - SCALE) // INNER.denominator)
    return tuple(found)


def _product(one: Sequence[int], other: Sequence[int]) -> int:
    found: int = sum(map(mul, one, other))
    return found
