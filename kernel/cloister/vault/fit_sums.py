"""Exact vector sums over encoded rows: what ``plan/learning/queries.py`` defines, in numpy.

Float64 arithmetic on integers is exact, in whatever order a BLAS adds, while every partial sum stays below 2^53. A
score is at most ``MAX_WEIGHT SCALE parts`` < 2^43, a chunk's sums at most ``CHUNK`` times what one row adds, < 2^41.
Sums of chunks are 64-bit integers; the analysis refused what could leave their range. ``vault/interpret_fit.py`` is the
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.link import LAST, exponential, weighed
from cloister.plan.learning.queries import RESIDUAL, SCORE_SHIFT, Gradient, GradientForm, Gram, Nearest, Query
from cloister.vault.fit_rows import FitRows

CHUNK = 2**16
_LEAST = 2**12
_CACHED = 2**18
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def sums(rows: FitRows, query: Query, coded: Encoding, check: Callable[[], None]) -> list[int]:
    """Return the exact integers of a query; ``check`` is called between chunks of rows and may raise.

    Raises:
        FaultError: As ``check``.
    """
    # What a chunk needs more than once stays in the processor's cache.
    columns = coded.width if isinstance(query, Gram) else len(rows.columns)
    size = min(CHUNK, max(_LEAST, _CACHED // max(columns, 1)))
    total: Integers | None = None
    for first in range(0, max(rows.count, 1), size):
        check()
        part = _part(rows, first, min(first + size, rows.count))
        found = _chunk(part, query, coded)
        total = found if total is None else total + found
    return [] if total is None else [int(value) for value in total]


def _part(rows: FitRows, first: int, stop: int) -> FitRows:
    hots = tuple(type(hot)(hot.start, hot.width, hot.codes[first:stop]) for hot in rows.hots)
    # Made doubles once: they are needed for the scores and for the sums.
    numbers = rows.numbers[first:stop].astype(np.float64)
    return FitRows(stop - first, rows.columns, numbers, hots, rows.labels[first:stop])


def _chunk(rows: FitRows, query: Query, coded: Encoding) -> Integers:
    match query:
        case Gram():
            return _gram(rows, coded)
        case Gradient():
            return _gradient(rows, query)
        case Nearest():
            return _nearest(rows, query, coded)


def _gram(rows: FitRows, coded: Encoding) -> Integers:
    dense = np.zeros((rows.count, coded.width), np.float64)
    dense[:, 0] = SCALE
    dense[:, list(rows.columns)] = rows.numbers
    each = np.arange(rows.count)
    for hot in rows.hots:
        dense[each, hot.start + hot.codes.astype(np.int64)] = SCALE
    product = dense.T @ dense
    found: Integers = product[np.triu_indices(coded.width)].astype(np.int64)
    return found


def _scores(rows: FitRows, weights: Sequence[Sequence[int]]) -> Floats:
    """Return ``w z`` for every row and every vector of weights."""
    table = np.array(weights, np.float64)
    found = rows.numbers @ table[:, list(rows.columns)].T + SCALE * table[:, 0]
    for hot in rows.hots:
        labels = np.ascontiguousarray(SCALE * table[:, hot.start : hot.start + hot.width].T)
        found += labels[hot.codes]
    return found


def _gradient(rows: FitRows, query: Gradient) -> Integers:
    form = query.form
    half = 1 << (SCORE_SHIFT - 1)
    rounded = (_scores(rows, query.weights).astype(np.int64) + half) >> SCORE_SHIFT
    residuals = _one(rounded, rows, form) if form.outputs == 1 else _several(rounded, rows)
    if form.cap:
        length = _lengths(rows)
        limited = np.abs(residuals) * form.cap // length[:, None]
        residuals = np.where(length[:, None] > form.cap, np.sign(residuals) * limited, residuals)
    return _columns(rows, residuals.astype(np.float64), form.first, form.stop)


@lru_cache(maxsize=8)
def _table(values: tuple[int, ...] | tuple[tuple[int, ...], ...]) -> Integers:
    return np.array(values, np.int64)


def _one(rounded: Integers, rows: FitRows, form: GradientForm) -> Integers:
    tables = _table(weighed(form.clip))
    found: Integers = tables[rows.labels.astype(np.int64)[:, None], np.clip(rounded, -LAST, LAST) + LAST]
    return found


def _several(rounded: Integers, rows: FitRows) -> Integers:
    table = _table(exponential())
    powers = table[np.minimum(rounded.max(axis=1, keepdims=True) - rounded, LAST)]
    found: Integers = RESIDUAL * powers // powers.sum(axis=1, keepdims=True)
    found[np.arange(rows.count), rows.labels] -= RESIDUAL
    return found


def _lengths(rows: FitRows) -> Integers:
    """Return the length of every row, rounded up.

    The root of a whole number below 2^52 is a whole double exactly if the number is a square, so ``ceil`` is right.
    """
    squared = (rows.numbers**2).sum(axis=1) + SCALE**2 * (1 + len(rows.hots))
    found: Integers = np.ceil(np.sqrt(squared)).astype(np.int64)
    return found


def _columns(rows: FitRows, factors: Floats, first: int, stop: int) -> Integers:
    """Return ``sum f z`` over the columns ``first`` to ``stop - 1`` for every column ``f`` of factors, one by one."""
    outputs = factors.shape[1]
    found = np.zeros((outputs, stop - first), np.int64)
    if first == 0:
        found[:, 0] = (SCALE * factors.sum(axis=0)).astype(np.int64)
    inside = [index for index, column in enumerate(rows.columns) if first <= column < stop]
    if inside:
        places = [rows.columns[index] - first for index in inside]
        chosen = rows.numbers if len(inside) == len(rows.columns) else rows.numbers[:, inside]
        found[:, places] = (factors.T @ chosen).astype(np.int64)
    for hot in rows.hots:
        low, high = max(hot.start, first), min(hot.start + hot.width, stop)
        if low < high:
            for output in range(outputs):
                by_label = np.bincount(hot.codes, weights=factors[:, output], minlength=hot.width)
                part = by_label[low - hot.start : high - hot.start]
                found[output, low - first : high - first] = (SCALE * part).astype(np.int64)
    return found.ravel()


def _nearest(rows: FitRows, query: Nearest, coded: Encoding) -> Integers:
    # |z - c|^2 = |z|^2 - 2 z c + |c|^2: the nearest centre is the first with the largest 2 z c - |c|^2.
    weights = [(0, *centre) for centre in query.centres]
    squared = np.array([sum(value * value for value in centre) for centre in query.centres], np.float64)
    nearest = np.argmax(2 * _scores(rows, weights) - squared, axis=1) if rows.count else np.zeros(0, np.int64)
    factors = np.zeros((rows.count, query.form.clusters), np.float64)
    factors[np.arange(rows.count), nearest] = 1
    return _columns(rows, factors, 0, coded.width)
