"""How far the noise may have moved a figure that was computed from released counts.

The noise of every count is known: independent, discrete Gaussian, one scale. It is drawn again many times, added to
the released counts, and the figure computed from each (a parametric bootstrap). With v the figure and q the quantiles
of the drawn ones, the percentile interval is ``[q_low, q_high]`` and the basic one ``[2v - q_high, 2v - q_low]``. They
agree where the figure is nearly linear in the counts; where it is curved one of them is too short on one side, so what
is shown is the smallest interval that holds both. Draws are seeded by the released counts: one release, one interval.

``sampled`` adds what sampling does to the counts, for intervals of the population that the units were drawn from. With
at most u rows a unit, a sum ``sum w n`` of counts has variance at most ``u sum w^2 E n`` (Cauchy-Schwarz within each
unit), which is that of ``u Poisson(E n / u)``: so these are drawn, with the released counts for the expected ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from cloister.plan.gaussian import deviation, pmf

DRAWS = 2_000
SAMPLED = 1_000
_SMALL = 20.0
_ENDS = (2.5, 97.5)
Statistic = Callable[[np.ndarray], np.ndarray]
"""From counts (..., bins, classes) to figures (...) or (..., points)."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Standard error and 95 % interval of the noise, each in the shape of the figure."""

    stderr: np.ndarray
    low: np.ndarray
    high: np.ndarray


def drawn(counts: np.ndarray, sigma: float, *, draws: int = DRAWS, stream: str = "") -> np.ndarray:
    """Return the released counts with fresh noise, ``draws`` times; another ``stream`` is independent of the first."""
    held = np.ascontiguousarray(counts, dtype=float)
    return _drawn(held.tobytes(), held.shape, sigma, draws, stream)


@lru_cache(maxsize=8)
def _drawn(data: bytes, shape: tuple[int, ...], sigma: float, draws: int, stream: str) -> np.ndarray:
    # All figures of one release are computed from the same draws.
    counts = np.frombuffer(data).reshape(shape)
    seed = hashlib.sha256(f"{counts.tolist()}/{sigma!r}/{stream}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:16], "big"))
    found = np.asarray(counts + _gaussian(rng, sigma, (draws, *shape)))
    found.setflags(write=False)
    return found


def sampled(counts: np.ndarray, sigma: float, per_unit: int) -> np.ndarray:
    """Return the released counts with fresh noise and the error of sampling units, ``SAMPLED`` times.

    Args:
        counts: The released counts.
        sigma: Scale of their noise.
        per_unit: The most rows of one unit.
    """
    held = np.ascontiguousarray(counts, dtype=float)
    return _sampled(held.tobytes(), held.shape, sigma, per_unit)


@lru_cache(maxsize=8)
def _sampled(data: bytes, shape: tuple[int, ...], sigma: float, per_unit: int) -> np.ndarray:
    counts = np.frombuffer(data).reshape(shape)
    seed = hashlib.sha256(f"{counts.tolist()}/{sigma!r}/sampling".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:16], "big"))
    units = np.maximum(counts, 0.0) / per_unit
    moved = per_unit * (rng.poisson(units, (SAMPLED, *shape)) - units)
    return np.asarray(drawn(counts, sigma, draws=SAMPLED, stream="population") + moved)


def _gaussian(rng: np.random.Generator, sigma: float, shape: tuple[int, ...]) -> np.ndarray:
    if sigma > _SMALL:
        # A rounded normal has the variance of the discrete Gaussian to one part in 1 / (12 sigma^2).
        return np.rint(rng.normal(0.0, sigma, shape))
    last = math.ceil(9 * sigma) + 1
    chances = np.array([pmf(sigma, z) for z in range(-last, last + 1)])
    return rng.choice(np.arange(-last, last + 1, dtype=float), size=shape, p=chances / chances.sum())


def spread(statistic: Statistic, counts: np.ndarray, tables: np.ndarray, limits: tuple[float, float]) -> Spread:
    """Return error and interval of a figure.

    Args:
        statistic: The figure as a function of counts.
        counts: The released counts.
        tables: The same with fresh noise (``drawn``).
        limits: What the figure can be at all.
    """
    value, found = statistic(counts), statistic(tables)
    low, high = np.percentile(found, _ENDS, axis=0)
    return Spread(
        found.std(axis=0),
        np.clip(np.minimum(low, 2 * value - high), *limits),
        np.clip(np.maximum(high, 2 * value - low), *limits),
    )


def largest(statistic: Statistic, counts: np.ndarray, tables: np.ndarray, limits: tuple[float, float]) -> Spread:
    """Return error and interval of the largest of several figures.

    A maximum moves by no more than the figure that moves most: the 95 % quantile of that is a safe half-width, also
    where noise alone makes a maximum.
    """
    value, found = statistic(counts), statistic(tables)
    moved = np.abs(found - value).max(axis=-1)
    reach = np.percentile(moved, 95, axis=0)
    peak = value.max(axis=-1)
    return Spread(found.max(axis=-1).std(axis=0), np.clip(peak - reach, *limits), np.clip(peak + reach, *limits))


def total_error(sigma: float, cells: int) -> float:
    """Return the standard error of the sum of so many counts."""
    return deviation(sigma) * math.sqrt(cells)
