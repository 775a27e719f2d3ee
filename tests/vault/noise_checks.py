"""Statistics of the noise: chi-square against the exact pmf."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from cloister.plan.gaussian import pmf


def chi_square_p(draws: Sequence[int], sigma: float, lowest: float = 30.0) -> float:
    """The p-value of Pearson's test that ``draws`` follow the discrete Gaussian."""
    counts, total = Counter(draws), len(draws)
    reach = 0
    while total * pmf(sigma, reach + 1) >= lowest:
        reach += 1
    bins = [(total * pmf(sigma, z), counts[z]) for z in range(-reach, reach + 1)]
    for sign in (-1, 1):
        tail = sum(pmf(sigma, z) for z in range(reach + 1, reach + 1 + math.ceil(9 * sigma)))
        bins.append((max(total * tail, 1e-9), sum(count for z, count in counts.items() if sign * z > reach)))
    if min(bins[-1][0], bins[-2][0]) < 5:
        bins = [*bins[1:-3], *_merge(bins[0], bins[-2]), *_merge(bins[-3], bins[-1])]
    statistic = sum((observed - wanted) ** 2 / wanted for wanted, observed in bins)
    freedom = len(bins) - 1
    # Wilson-Hilferty: the cube root of a chi-square is nearly normal.
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))


def _merge(a: tuple[float, int], b: tuple[float, int]) -> list[tuple[float, int]]:
    return [(a[0] + b[0], a[1] + b[1])]


def check_draws(draw: Callable[[int, float], Sequence[int]], size: int, sigmas: Sequence[float]) -> None:
    for sigma in sigmas:
        p = chi_square_p(draw(size, sigma), sigma)
        assert p > 1e-6, f"sigma {sigma}: chi-square p = {p}"
