"""k-means: Lloyd's algorithm on noisy sums, from public centres.

Every step asks for the number of rows nearest to each centre and the sum of their columns, and moves the centre to the
noisy mean, as far as the number stands out of its noise: a centre with few rows stays where it was. Centres drawn
without seeing rows are poor ones to start from, and Lloyd's algorithm ends in the next local optimum. So the first
quarter of the steps asks for more cells than there will be clusters, which costs nothing more, as a row is in one cell
only; cells without rows are moved into the largest ones. Of the noisy means and numbers of the cells the best centres
are looked for from several starts (``seeding.py``), and the rest of the steps begins there. The first cells depend on
seed and encoding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning import seeding
from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.program import MAX_STEPS, MAX_TRANSCRIPT, Centres, Run, Step
from cloister.plan.learning.queries import Nearest, NearestForm

MAX_CLUSTERS = 64
RELIABLE = 3.0
# Cells of the first steps, per cluster, and in all.
CELLS, MOST_CELLS = 4, 64


class KMeansProgram(msgspec.Struct, frozen=True):
    """``steps`` assignments; the sizes are those of the last one."""

    learner: a.KMeans
    coded: Encoding

    @property
    def wide(self) -> int:
        """How many steps ask for cells, of which the clusters are put together: a quarter."""
        return self.learner.steps // 4 if self.cells > self.learner.clusters else 0

    @property
    def cells(self) -> int:
        """How many centres the first steps have: several per cluster, as far as the transcript has room."""
        count, first = self.learner.clusters, self.learner.steps // 4
        room = MAX_TRANSCRIPT // self.coded.width - count * (self.learner.steps - first)
        return min(max(CELLS * count, 16), MOST_CELLS, room // max(first, 1))

    @property
    def work(self) -> tuple[int, int]:
        """How many candidates for centres are drawn, and how many products of two points are taken."""
        clusters = self.learner.clusters
        drawn, products = seeding.initial_work(clusters)
        if self.wide:
            more, others = seeding.initial_work(self.cells)
            # A distance takes twice as long as a product.
            apart = seeding.gathered_work(self.cells, clusters) + (self.wide - 1) * self.cells * self.cells
            drawn, products = drawn + more, products + others + 2 * apart
        return drawn, products

    @property
    def steps(self) -> tuple[Step, ...]:
        """Equal parts of the price."""
        each, count = Fraction(1, self.learner.steps), self.learner.steps
        return tuple(
            Step(
                f"assignment {index + 1}", NearestForm(self.cells if index < self.wide else self.learner.clusters), each
            )
            for index in range(count)
        )

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program."""
        learner, width = self.learner, self.coded.width
        centres = seeding.initial(
            max(self.cells, learner.clusters) if self.wide else learner.clusters, learner.seed, self.coded
        )
        sizes = [0.0] * len(centres)
        for index, level in enumerate(noise):
            found = yield Nearest(NearestForm(len(centres)), centres)
            moved, counts = [], []
            for place, centre in enumerate(centres):
                count, *sums = found[place * width : (place + 1) * width]
                counts.append(count if count >= max(RELIABLE * level, SCALE) else 0)
                moved.append(_mean(count, sums) if counts[-1] else centre)
            sizes = [found[place * width] / SCALE for place in range(len(centres))]
            centres = tuple(moved)
            if index + 1 < self.wide:
                centres = seeding.split(centres, counts, learner.seed)
            elif index + 1 == self.wide:
                best = seeding.gathered(centres, counts, learner.clusters, learner.seed)
                centres = (*best, *seeding.initial(learner.clusters, learner.seed, self.coded)[len(best) :])
        return Centres(centres, tuple(sizes))


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


def _mean(count: int, sums: Sequence[int]) -> tuple[int, ...]:
    """Return the mean of a cluster in columns."""
    # Sums are multiples of 1 / SCALE, and so is the number of rows: the quotient, in those multiples, rounded half up.
    return tuple(min(max((2 * SCALE * value + count) // (2 * count), -SCALE), SCALE) for value in sums)
