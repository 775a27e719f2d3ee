"""Small linear systems in plain floats: the same result on every machine, for every input."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import mul

Rows = list[list[float]]
LOAD = 0.1
# The same for errors: what the load keeps a step from, later steps do.
ERROR_LOAD, HALVINGS = 0.02, 5
STEP, GROWTH = 0.1, 1.5
# Errors need the inverse, which takes cubic time.
MAX_ERRORS = 160

# Beyond anything a sensible system has; products of such numbers are still finite.
_MOST = 1e100
# A pivot of a definite matrix, scaled to ones on the diagonal: above what is lost in rounding.
_PIVOT = 1e-9


def symmetric(triangle: Sequence[int], size: int, unit: float) -> Rows:
    """Return a matrix from its upper triangle, row by row, in multiples of ``unit``."""
    rows = [[0.0] * size for _ in range(size)]
    numbers = iter(triangle)
    for i in range(size):
        for j in range(i, size):
            rows[i][j] = rows[j][i] = next(numbers) * unit
    return rows


def factor(matrix: Rows, least: float) -> Rows | None:
    """Return the lower Cholesky factor; None if a squared pivot is below ``least``: not positive definite enough."""
    lower: Rows = []
    for i, entries in enumerate(matrix):
        row: list[float] = []
        for j in range(i):
            row.append((entries[j] - math.fsum(map(mul, row, lower[j]))) / lower[j][j])
        pivot = entries[i] - math.fsum(map(mul, row, row))
        if not pivot >= least:
            return None
        lower.append([*row, math.sqrt(pivot)])
    return lower


def solve(lower: Rows, upper: Rows, right: Sequence[float]) -> list[float]:
    """Return ``x`` with ``L L' x = right``; ``upper`` are the columns of ``L``, each from its diagonal down."""
    size = len(lower)
    found: list[float] = []
    for row, value in zip(lower, right, strict=True):
        # The row is one longer than what is found: its last entry is the diagonal.
        found.append(_limited((value - math.fsum(map(mul, row, found))) / row[-1]))
    tail: deque[float] = deque()
    for i in range(size - 1, -1, -1):
        column = upper[i]
        tail.appendleft(_limited((found[i] - math.fsum(map(mul, column[1:], tail))) / column[0]))
    return list(tail)


def columns(lower: Rows) -> Rows:
    """Return the columns of a lower triangle, each from its diagonal down."""
    found: Rows = [[] for _ in lower]
    for row in lower:
        for column, value in zip(found, row, strict=False):
            column.append(value)
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


class Solver:
    """Solves systems with a symmetric matrix that should be positive definite, and is made so.

    Scaled to ones on the diagonal, as much is added to the diagonal as makes it positive (0, ``STEP``, and so on, each
    time ``GROWTH`` times as much), and then ``LOAD``: so no eigenvalue of the scaled matrix is below ``LOAD``. Pivots
    above a limit would not say so: with all pivots above .1 an eigenvalue can be a thousandth.
    """

    def __init__(self, matrix: Rows) -> None:
        size = len(matrix)
        self._roots = [math.sqrt(max(matrix[i][i], 1e-300)) for i in range(size)]
        scaled = [
            [min(max(value / (root * other), -1.0), 1.0) for value, other in zip(line, self._roots, strict=True)]
            for line, root in zip(matrix, self._roots, strict=True)
        ]
        # Entries are at most 1 in size, so this ends before the load is the size of the matrix.
        load = 0.0
        while factor(_loaded(scaled, load), _PIVOT) is None:
            load = max(GROWTH * load, STEP)
        self._scaled, self._load = scaled, load
        self._lower, self._upper = self._factors(load + LOAD)

    def _factors(self, load: float) -> tuple[Rows, Rows]:
        lower = factor(_loaded(self._scaled, load), _PIVOT)
        if lower is None:
            raise ValueError("a matrix with more on its diagonal than a definite one is definite")
        return lower, columns(lower)

    def solve(self, right: Sequence[float]) -> list[float]:
        """Return ``x`` with ``A x = right``."""
        found = solve(self._lower, self._upper, [value / root for value, root in zip(right, self._roots, strict=True)])
        return [value / root for value, root in zip(found, self._roots, strict=True)]

    def length(self, step: Sequence[float]) -> float:
        """Return ``x' A x``, of the matrix as it was made: above zero unless ``x`` is zero."""
        scaled = [value * root for value, root in zip(step, self._roots, strict=True)]
        parts = (math.fsum(map(mul, column, scaled[index:])) for index, column in enumerate(self._upper))
        return math.fsum(part * part for part in parts)

    def errors(self, noise: float, sums: Sequence[Sequence[float]]) -> tuple[float, ...]:
        """Return the standard errors of ``sums`` of ``x`` if entries of ``right`` have ``noise``; none if it is large.

        With ``ERROR_LOAD`` beyond what makes the matrix definite: ``x`` is what many steps with it come to, and where
        columns are strongly related they go farther than one of them does.
        """
        size = len(self._roots)
        if size > MAX_ERRORS:
            return ()
        low, high = 0.0, self._load
        for _ in range(HALVINGS if high else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if factor(_loaded(self._scaled, middle), _PIVOT) is None else (low, middle)
        lower, upper = self._factors(high + ERROR_LOAD)
        found = []
        for factors in sums:
            column = solve(lower, upper, [value / root for value, root in zip(factors, self._roots, strict=True)])
            moved = (value / other for value, other in zip(column, self._roots, strict=True))
            found.append(noise * math.sqrt(math.fsum(value * value for value in moved)))
        return tuple(found)


def _loaded(scaled: Rows, load: float) -> Rows:
    """Make the diagonal of a scaled matrix ones and ``load``, and return the matrix."""
    for index, row in enumerate(scaled):
        row[index] = 1.0 + load
    return scaled
