"""What leaves the vault of exact integers: noise on all, and a threshold where the keys themselves are released.

A value of the keys that n units have is released with n + Z if n + Z > tau, where Pr[1 + Z > tau] <= d0: strictly
above, and the tail includes tau (``plan/gaussian.py``). One unit changes the counts of at most m values, 2 m where rows
are replaced: what both neighbours have costs rho = m / (2 sigma^2); each of the at most m values that only one of them
has, counted for this unit alone, is released with chance at most d0: delta = m d0. What fails appears nowhere.
"""

from __future__ import annotations

import msgspec

from cloister.plan.layout import MAX_FOUND
from cloister.vault.engine import Exact
from cloister.vault.noise import add_noise
from cloister.vault.price import Price

Labels = tuple[tuple[str, ...], ...]


class Drawn(msgspec.Struct, frozen=True):
    """Noisy integers in layout order, and the released values of keys if there are any."""

    raw: list[int]
    labels: Labels | None = None


def draw(exact: Exact | Drawn, price: Price) -> Drawn:
    """Return what may leave: what was drawn between the steps of a fit leaves as it is.

    Of more than ``MAX_FOUND`` values those with the largest noisy counts leave. Their order is that of their texts.

    Raises:
        FaultError: Noise and shapes do not fit; no value has been produced.
    """
    if isinstance(exact, Drawn):
        return exact
    noisy = add_noise(exact, price.sigmas)
    if exact.labels is None:
        return Drawn(noisy)
    passed = [(count, label) for count, label in zip(noisy, exact.labels, strict=True) if count > price.threshold]
    passed = sorted(passed, key=lambda found: (-found[0], found[1]))[:MAX_FOUND]
    kept = sorted((label, count) for count, label in passed)
    return Drawn([count for _, count in kept], tuple(label for label, _ in kept))
