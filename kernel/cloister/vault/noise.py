"""The one noise function: every number that leaves the vault has passed here.

OpenDP's discrete Gaussian on integers, and its noisy maximum (exact Gumbel noise on integer scores) for quantiles, with
randomness of the operating system; there is no seed. Exact sums are first limited to +-2^62: limiting never increases
the distance of two neighbours, and the analysis has refused plans that could reach it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_gaussian, make_noisy_max
from opendp.measures import zero_concentrated_divergence
from opendp.metrics import l2_distance, linf_distance
from opendp.mod import Measurement, enable_features

from cloister.errors import FaultError
from cloister.vault.engine import Exact
from cloister.vault.price import MAX_SIGMA

LIMIT = 2**62

enable_features("contrib")


def add_noise(exact: Exact, sigmas: Sequence[float]) -> list[int]:
    """Return the exact integers plus discrete Gaussian noise, one sigma per component, in layout order.

    Raises:
        FaultError: A sigma is not usable or the shapes disagree; no value has been produced.
    """
    if len(sigmas) != len(exact.widths) or len(exact.values) % max(1, sum(exact.widths)):
        raise FaultError("vault.noise", "the release could not be computed")
    stride, start = sum(exact.widths), 0
    columns: list[Sequence[int]] = []
    for position, (width, sigma) in enumerate(zip(exact.widths, sigmas, strict=True)):
        if position in exact.levels:
            cells = [exact.values[at : at + width] for at in range(start, len(exact.values), stride)]
            columns += zip(*(quantiles(cell, *exact.levels[position], sigma) for cell in cells), strict=True)
        else:
            # One call for all integers of a component: making the mechanism takes as long as ten draws.
            places = range(start, start + width)
            noisy = gaussian([value for at in places for value in exact.values[at::stride]], sigma)
            size = len(exact.values) // stride
            columns += [noisy[index * size : (index + 1) * size] for index in range(width)]
        start += width
    return [number for cell in zip(*columns, strict=True) for number in cell]


def gaussian(values: Sequence[int], sigma: float) -> list[int]:
    """Return ``values`` with independent discrete Gaussian noise of scale ``sigma`` on each."""
    _check(sigma)
    space = vector_domain(atom_domain(T="i64")), l2_distance(T="i64")
    mechanism = make_gaussian(*space, scale=sigma)
    noisy: list[int] = mechanism([min(max(value, -LIMIT), LIMIT) for value in values])
    return noisy


def quantiles(rows: Sequence[int], at: Sequence[int], parts: int, scale: float) -> list[int]:
    """Return the index of a candidate for each level ``at / parts``, by a noisy maximum of ``scores``.

    Args:
        rows: The number of rows at each candidate.
        at: Numerators of the levels.
        parts: Their denominator.
        scale: Of the Gumbel noise, in units of ``scores``.
    """
    _check(scale)
    choose = _noisy_maximum(scale)
    return [int(choose(scores(rows, place, parts))) for place in at]


@lru_cache(maxsize=64)
def _noisy_maximum(scale: float) -> Measurement:
    space = vector_domain(atom_domain(T="i64")), linf_distance(T="i64")
    return make_noisy_max(*space, zero_concentrated_divergence(), scale=scale)


def scores(rows: Sequence[int], place: int, parts: int) -> list[int]:
    """Return the score of each candidate as a quantile, a whole number, 0 for a true one.

    A value is a q-quantile of n rows if at most q n are below and at most (1 - q) n above it; the score is minus the
    number of rows too many on either side, in units of 1 / ``parts``. A row moves either number, and so the score, by
    at most max(q, 1 - q). (``-|q above - (1 - q) below|`` moves by as much, but prefers the gap beside a value that
    many rows share to the value itself.)
    """
    counts = np.asarray(rows, np.int64)
    below = np.cumsum(counts) - counts
    above = counts.sum() - below - counts
    most_below, most_above = place * counts.sum(), (parts - place) * counts.sum()
    found: list[int] = (-np.maximum(0, np.maximum(parts * below - most_below, parts * above - most_above))).tolist()
    return found


def _check(scale: float) -> None:
    if not (math.isfinite(scale) and 0 < scale <= MAX_SIGMA):
        raise FaultError("vault.noise", "the release could not be computed")
