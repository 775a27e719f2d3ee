"""Small linear systems in plain floats: the same result on every machine, for every input."""

from __future__ import annotations

import math
from collections.abc import Sequence

Rows = list[list[float]]

# Beyond anything a sensible system has; products of such numbers are still finite.
_MOST = 1e100


def symmetric(triangle: Sequence[int], size: int, unit: float) -> Rows:
    """Return a matrix from its upper triangle, row by row, in multiples of ``unit``."""
    rows = [[0.0] * size for _ in range(size)]
    numbers = iter(triangle)
    for i in range(size):
        for j in range(i, size):
            rows[i][j] = rows[j][i] = next(numbers) * unit
    return rows


def factor(matrix: Rows, least: float) -> Rows:
    """Return the lower Cholesky factor; a pivot below ``least`` is raised to it, so there always is one.

    An entry ``L_ij`` is kept within the root of ``A_ii``, where it is if the matrix is positive definite: of others no
    entry grows without bounds.
    """
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for i in range(size):
        row = lower[i]
        most = math.sqrt(matrix[i][i] if matrix[i][i] > least else least)
        for j in range(i):
            other, total = lower[j], matrix[i][j]
            for k in range(j):
                total -= row[k] * other[k]
            row[j] = min(max(total / other[j], -most), most)
        total = matrix[i][i]
        for k in range(i):
            total -= row[k] * row[k]
        row[i] = math.sqrt(total if total > least else least)
    return lower


def solve(lower: Rows, right: Sequence[float]) -> list[float]:
    """Return ``x`` with ``L L' x = right``."""
    size = len(lower)
    found = list(right)
    for i in range(size):
        total, row = found[i], lower[i]
        for k in range(i):
            total -= row[k] * found[k]
        found[i] = _limited(total / row[i])
    for i in range(size - 1, -1, -1):
        total = found[i]
        for k in range(i + 1, size):
            total -= lower[k][i] * found[k]
        found[i] = _limited(total / lower[i][i])
    return found


def _limited(value: float) -> float:
    return min(max(value, -_MOST), _MOST)


def banded(diagonal: Sequence[float], between: Sequence[float], right: Sequence[float]) -> list[float]:
    """Return ``x`` with ``A x = right``, ``A`` symmetric, tridiagonal and positive definite (Thomas algorithm).

    Args:
        diagonal: The diagonal of ``A``.
        between: The entries beside it, one fewer.
        right: The right hand side.
    """
    pivots, found = list(diagonal), list(right)
    for index, value in enumerate(between):
        part = value / pivots[index]
        pivots[index + 1] -= part * value
        found[index + 1] -= part * found[index]
    found[-1] /= pivots[-1]
    for index in range(len(between) - 1, -1, -1):
        found[index] = (found[index] - between[index] * found[index + 1]) / pivots[index]
    return found
