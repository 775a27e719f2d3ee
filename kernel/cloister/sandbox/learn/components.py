"""Principal components of a noisy Gram matrix, and how far the noise may have moved them. Nothing here sees data.

With the Gram ``H = G + E`` of ``z = (1, x1, ..., xd)``, n = H_00 and m = H_0x / n, the covariance of two directions is
``C_jk = a_j' H a_k / n`` with ``a_j = (-m v_j, v_j)``. The means in ``a`` are those of the same noise, which to first
order changes nothing (they minimise the square), so ``dC_jk = (a_j' E a_k - C_jk E_00) / n``; E is symmetric with
independent entries of one standard deviation in the upper triangle. A variance moves by ``dC_kk``, a direction by
``sum_j v_j dC_jk / (l_k - l_j)``. Everything is total: eigenvalues below zero count as zero, and where two variances
are closer than their noise the errors of both directions are 1, the most they can be.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Components:
    """Directions by falling variance, in scaled units.

    Attributes:
        mean: Means of the columns.
        vectors: Unit vectors, one per row; the largest entry of each is positive.
        vector_errors: Standard errors of the privacy noise in them, at most 1.
        variances: Variances along them (divided by n - 1).
        variance_errors: Standard errors of the privacy noise in them.
        mixed: Places whose variance is closer to the next than the noise of the two.
        n: Noisy number of rows.
        reliable: Whether the rows and the largest variance stand out of the noise.
    """

    mean: np.ndarray
    vectors: np.ndarray
    vector_errors: np.ndarray
    variances: np.ndarray
    variance_errors: np.ndarray
    mixed: tuple[int, ...]
    n: float
    reliable: bool


def decompose(matrix: np.ndarray, stderr: float, weights: np.ndarray) -> Components:
    """Return the components of a noisy Gram.

    Args:
        matrix: Noisy ``sum z z'``, ``z = (1, x1, ..., xd)``.
        stderr: Standard deviation of the noise of every entry.
        weights: What each column is multiplied by before its variance is taken.
    """
    n = float(matrix[0, 0])
    rows = max(n, 3 * stderr, 1.0)
    mean = np.clip(matrix[0, 1:] / rows, -1, 1)
    turned = np.outer(weights, weights)
    cov = (matrix[1:, 1:] / rows - np.outer(mean, mean)) * turned
    values, vectors = np.linalg.eigh(cov)
    order = np.argsort(values)[::-1]
    values, vectors = np.maximum(values[order], 0.0), vectors[:, order].T
    vectors = vectors * np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)])[:, None]
    spread = _noise(vectors * weights, mean, cov=vectors @ cov @ vectors.T, stderr=stderr, rows=rows)
    own = np.diag(spread)
    # Bessel, as scikit-learn divides.
    factor = rows / max(rows - 1, 1.0)
    mixed = tuple(
        place
        for place in range(len(values) - 1)
        if values[place] - values[place + 1] < math.hypot(*own[place : place + 2])
    )
    return Components(
        mean=mean,
        vectors=vectors,
        vector_errors=_turning(values, vectors, spread),
        variances=values * factor,
        variance_errors=own * factor,
        mixed=mixed,
        n=n,
        reliable=n >= 3 * stderr and bool(values[0] >= 2 * own[0]),
    )


def _noise(directions: np.ndarray, mean: np.ndarray, *, cov: np.ndarray, stderr: float, rows: float) -> np.ndarray:
    """Return the standard error of every ``C_jk``."""
    whole = np.column_stack([-directions @ mean, directions])
    found = np.empty((len(whole), len(whole)))
    for j, left in enumerate(whole):
        for place, right in enumerate(whole):
            both = np.outer(left, right)
            upper = np.triu(both + both.T, 1) + np.diag(np.diag(both))
            upper[0, 0] -= cov[j, place]
            found[j, place] = stderr * math.sqrt(float((upper**2).sum())) / rows
    return found


def _turning(values: np.ndarray, vectors: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the standard errors of the directions."""
    gaps = np.abs(values[:, None] - values[None, :])
    np.fill_diagonal(gaps, np.inf)
    angles = np.minimum(spread / np.maximum(gaps, 1e-300), 1.0)
    np.fill_diagonal(angles, 0.0)
    found: np.ndarray = np.minimum(np.sqrt((angles**2) @ (vectors**2)), 1.0)
    return found
