"""The one noise function: every number that leaves the vault has passed here.

OpenDP's discrete Gaussian on integers, with randomness of the operating system; there is no seed. Exact sums are
first limited to +-2^62: limiting never increases the distance of two neighbours, and the analysis has refused plans
that could reach it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_gaussian
from opendp.metrics import l2_distance
from opendp.mod import enable_features

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
    noisy = [0] * len(exact.values)
    for width, sigma in zip(exact.widths, sigmas, strict=True):
        for offset in range(start, start + width):
            noisy[offset::stride] = gaussian(exact.values[offset::stride], sigma)
        start += width
    return noisy


def gaussian(values: Sequence[int], sigma: float) -> list[int]:
    """Return ``values`` with independent discrete Gaussian noise of scale ``sigma`` on each."""
    if not (math.isfinite(sigma) and 0 < sigma <= MAX_SIGMA):
        raise FaultError("vault.noise", "the release could not be computed")
    space = vector_domain(atom_domain(T="i64")), l2_distance(T="i64")
    mechanism = make_gaussian(*space, scale=sigma)
    noisy: list[int] = mechanism([min(max(value, -LIMIT), LIMIT) for value in values])
    return noisy
