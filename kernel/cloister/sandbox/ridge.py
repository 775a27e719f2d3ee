"""Ridge regression from a noisy Gram matrix, and how far the noise may have moved every coefficient.

The Gram is ``H = G + E``: the exact sums plus noise, independent in the upper triangle with one known standard
deviation s. With ``A = H_xx + penalty`` the coefficients solve ``A b = H_xy``. Against the coefficients b0 of the same
ridge without noise, ``A (b - b0) = E_xy - E_xx b0`` holds exactly, and the right side has the covariance

    s^2 ((1 + |b0|^2) I + b0 b0' - diag(b0^2))        (E is symmetric: entries below the diagonal repeat)

so ``cov(b)`` is that between two inverses of A, with b in place of b0. Nothing here sees data, and everything is
total: where noise exceeds the data, eigenvalues of A are lifted to the noise level and the result is marked.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

RELIABLE = 2.0
"""Smallest eigenvalue of the penalised Gram, in noise levels, from which coefficients are called reliable."""


@dataclasses.dataclass(frozen=True)
class Solution:
    """Coefficients in scaled units (constant first), with what is known about their errors.

    Attributes:
        beta: The coefficients.
        noise: Covariance of the privacy noise in them.
        sampling: Covariance if the rows were drawn independently from a population (equal residual variance).
        alpha: The penalty used.
        margin: Smallest eigenvalue of the penalised Gram over the noise level.
        r2: Share of the target's variance explained on the same rows, within [0, 1].
        r2_stderr: Standard error of the privacy noise in it (first order, at most 1).
        residual: Standard deviation of the residuals.
    """

    beta: np.ndarray
    noise: np.ndarray
    sampling: np.ndarray
    alpha: float
    margin: float
    r2: float
    r2_stderr: float
    residual: float

    @property
    def reliable(self) -> bool:
        """Whether the data stand out of the noise."""
        return self.margin >= RELIABLE


def noise_level(stderr: float, size: int) -> float:
    """Return half the largest eigenvalue a symmetric ``size`` x ``size`` matrix of this noise tends to have."""
    return stderr * math.sqrt(size)


def penalty(stderr: float, size: int) -> float:
    """Return the penalty used when none is asked: the noise level, which is public before the release.

    Chosen by measurement (docs/analyst-api.md): over the demonstration tables and epsilon .3 to 8, one noise level is
    within .04 of the best multiple's R2 wherever that is above .2.
    """
    return noise_level(stderr, size)


def solve(matrix: np.ndarray, stderr: float, alpha: float | None = None) -> Solution:
    """Return the ridge regression of the last column of ``z`` on the others.

    Args:
        matrix: Noisy ``sum z z'``, ``z = (1, x1, ..., xd, y)`` scaled to [-1, 1].
        stderr: Standard deviation of the noise of every entry.
        alpha: Penalty on all coefficients but the constant.
    """
    size = len(matrix) - 1
    level = max(noise_level(stderr, size), 1e-9)
    used = penalty(stderr, size) if alpha is None else alpha
    ridge = np.diag([0.0] + [used] * (size - 1))
    values, vectors = np.linalg.eigh(matrix[:size, :size] + ridge)
    inverse = (vectors / np.maximum(values, level)) @ vectors.T
    beta = inverse @ matrix[:size, size]
    spread = stderr**2 * ((1 + beta @ beta) * np.eye(size) + np.outer(beta, beta) - np.diag(beta**2))
    noise = inverse @ spread @ inverse
    # The coefficients fitted this very noise: by as much the residuals look too small.
    optimism = 2 * float(np.trace(inverse @ spread))
    left = np.append(-beta, 1.0)
    r2, r2_stderr = explained(matrix, left, stderr, optimism)
    rows = max(float(matrix[0, 0]), level)
    variance = max(float(left @ matrix @ left) + optimism, level) / max(rows - size, 1.0)
    return Solution(
        beta,
        noise,
        variance * inverse,
        used,
        float(values[0]) / level,
        r2,
        r2_stderr,
        math.sqrt(variance),
    )


def explained(matrix: np.ndarray, left: np.ndarray, stderr: float, optimism: float = 0.0) -> tuple[float, float]:
    """Return the share of the variance of the last column that a prediction explains, and its noise error.

    Args:
        matrix: Noisy ``sum z z'``, the constant first and the target last.
        left: The residual as a combination of z, in the target's scaled units.
        stderr: Standard deviation of the noise of every entry.
        optimism: What to add to the sum of squared residuals.
    """
    level = max(noise_level(stderr, len(matrix)), 1e-9)
    rows = max(float(matrix[0, 0]), level)
    mean = min(max(float(matrix[0, -1]) / rows, -1.0), 1.0)
    total = max(float(matrix[-1, -1]) - mean * mean * rows, level)
    rest = max(float(left @ matrix @ left) + optimism, 0.0)
    # Derivatives with respect to the upper triangle; entries off the diagonal count twice in the quadratic form.
    slope = np.triu(np.outer(left, left) * (2 - np.eye(len(left)))) / total
    share = rest / total**2
    slope[-1, -1] -= share
    slope[0, -1] += 2 * mean * share
    slope[0, 0] -= mean * mean * share
    error = stderr * math.sqrt(float((slope**2).sum()))
    return min(max(1 - rest / total, 0.0), 1.0), min(error, 1.0)
