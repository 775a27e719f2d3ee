"""A second discrete Gaussian sampler, in plain Python: the oracle the engine's noise is tested against.

Exact rational arithmetic, after Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
algorithms 1 to 3. ``Teaching`` draws with a seed: repeatable, and therefore **no privacy at all**; it exists for the
simulator on demonstration data, and whatever uses it must say *seeded: no privacy*.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

SEEDED_LABEL = "seeded: no privacy"


class Sampler:
    """Draws exact discrete Laplace and Gaussian noise from the operating system's randomness."""

    label = ""

    def __init__(self, source: random.Random | None = None) -> None:
        self._source = source or random.SystemRandom()

    def gaussian(self, sigma: float) -> int:
        """Return one draw with Pr[z] proportional to exp(-z^2 / (2 sigma^2)) (algorithm 3)."""
        square = Fraction(sigma) ** 2
        scale = math.isqrt(math.floor(square)) + 1
        while True:
            candidate = self.laplace(scale)
            if self._bernoulli_exp((abs(candidate) - square / scale) ** 2 / (2 * square)):
                return candidate

    def laplace(self, scale: int) -> int:
        """Return one draw with Pr[z] proportional to exp(-|z| / scale) (algorithm 2, integer scale)."""
        while True:
            offset = self._source.randrange(scale)
            if not self._bernoulli_exp(Fraction(offset, scale)):
                continue
            whole = 0
            while self._bernoulli_exp(Fraction(1)):
                whole += 1
            magnitude = offset + scale * whole
            negative = self._source.randrange(2) == 1
            if not (negative and magnitude == 0):
                return -magnitude if negative else magnitude

    def add(self, values: Sequence[int], sigma: float) -> list[int]:
        """Return ``values`` with independent noise on each."""
        return [value + self.gaussian(sigma) for value in values]

    def _bernoulli_exp(self, gamma: Fraction) -> bool:
        """Return True with probability exp(-gamma) (algorithm 1)."""
        while gamma > 1:
            if not self._bernoulli_exp(Fraction(1)):
                return False
            gamma -= 1
        k = 1
        while self._source.randrange(gamma.denominator * k) < gamma.numerator:
            k += 1
        return k % 2 == 1


class Teaching(Sampler):
    """The same noise from a seed. Gives no privacy; ``label`` must be shown with every value."""

    label = SEEDED_LABEL

    def __init__(self, seed: int) -> None:
        super().__init__(random.Random(seed))  # noqa: S311 (repeatable on purpose, and labelled)
