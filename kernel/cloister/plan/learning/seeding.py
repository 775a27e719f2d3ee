"""Centres to start from: public ones, drawn in the box of the bounds; and the best ones for cells already released.

All in integers, exact on every machine; what is random is a hash of the public seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from operator import mul

from cloister.plan.learning.encoding import SCALE, Encoding

TRIALS = 64
# Centres start within this part of the bounds: rows are rarely at the ends of a well chosen range.
INNER = Fraction(3, 4)
# How often the centres of cells are looked for, and how many rounds of Lloyd's algorithm each time.
STARTS, ROUNDS = 4, 8

Point = tuple[int, ...]


def initial(count: int, seed: int, coded: Encoding) -> tuple[Point, ...]:
    """Return public centres, each as far as possible from the ones before (of ``TRIALS`` candidates)."""
    found = [_candidate(seed, 0, coded)]
    squares = [_product(found[0], found[0])]

    def nearest(one: Sequence[int]) -> int:
        """Return the squared distance to the nearest centre: |x|^2 + min over centres y of |y|^2 - 2 x y."""
        between = (square - 2 * _product(one, other) for square, other in zip(squares, found, strict=True))
        return _product(one, one) + min(between)

    for number in range(1, count):
        # The first of equally far ones.
        drawn = (_candidate(seed, number * TRIALS + trial, coded) for trial in range(TRIALS))
        farthest = max(drawn, key=nearest)
        found.append(farthest)
        squares.append(_product(farthest, farthest))
    return tuple(found)


def initial_work(count: int) -> tuple[int, int]:
    """Return how many candidates ``initial`` draws, and how many products of two of them it takes."""
    others = count - 1
    return 1 + TRIALS * others, 1 + others + TRIALS * (others + others * (others + 1) // 2)


def split(centres: Sequence[Point], counts: Sequence[int], seed: int) -> tuple[Point, ...]:
    """Return the centres with those without rows (``counts`` of 0) moved into the largest cells.

    A moved centre lies beside the mean of a cell, an eighth of the way to the nearest other cell, along a random sign
    per column.
    """
    full = sorted((place for place, count in enumerate(counts) if count), key=lambda place: (-counts[place], place))
    if not full:
        return tuple(centres)
    found, number = list(centres), 0
    for place, count in enumerate(counts):
        if count:
            continue
        parent = centres[full[number % len(full)]]
        others = [_apart(parent, centres[other]) for other in full if centres[other] != parent]
        # The root mean square distance per column.
        reach = math.isqrt(min(others, default=SCALE * SCALE * len(parent)) // len(parent)) // 4
        signs = _drawn(b"split", seed, number, place)
        found[place] = tuple(
            min(max(value + (reach if signs >> column % 256 & 1 else -reach), -SCALE), SCALE)
            for column, value in enumerate(parent)
        )
        number += 1
    return tuple(found)


def gathered(points: Sequence[Point], counts: Sequence[int], clusters: int, seed: int) -> list[Point]:
    """Return centres of weighted points: the best of ``STARTS`` runs of Lloyd's algorithm. Fewer, of fewer points."""
    heavy = [(point, count) for point, count in zip(points, counts, strict=True) if count]
    points, counts = [point for point, _ in heavy], [count for _, count in heavy]
    if len(points) <= clusters:
        return points
    best: list[Point] = []
    least = -1
    for start in range(STARTS):
        centres = _spread(points, counts, clusters, seed, start)
        for _ in range(ROUNDS):
            centres, inertia = _moved(points, counts, centres)
        if least < 0 or inertia < least:
            best, least = centres, inertia
    return best


def gathered_work(cells: int, clusters: int) -> int:
    """Return how many distances of two points ``gathered`` takes at most."""
    return STARTS * cells * clusters * (ROUNDS + 1)


def _spread(points: Sequence[Point], counts: Sequence[int], clusters: int, seed: int, start: int) -> list[Point]:
    """Return points drawn in proportion to weight and squared distance from the ones before (k-means++)."""
    far = [SCALE * SCALE] * len(points)
    found: list[Point] = []
    for number in range(clusters):
        weights = list(map(mul, far, counts))
        total = sum(weights)
        if not total:
            break
        rest = _drawn(b"spread", seed, start, number) % total
        place = 0
        while rest >= weights[place]:
            rest -= weights[place]
            place += 1
        chosen = points[place]
        far = [
            _apart(point, chosen) if not number else min(old, _apart(point, chosen))
            for point, old in zip(points, far, strict=True)
        ]
        found.append(chosen)
    return found


def _moved(points: Sequence[Point], counts: Sequence[int], centres: Sequence[Point]) -> tuple[list[Point], int]:
    """Return the means of the points nearest to each centre, and the inertia before."""
    members: list[list[int]] = [[] for _ in centres]
    inertia = 0
    for place, point in enumerate(points):
        distances = [_apart(point, centre) for centre in centres]
        least = min(distances)
        members[distances.index(least)].append(place)
        inertia += counts[place] * least
    found = []
    for centre, own in zip(centres, members, strict=True):
        total = sum(counts[place] for place in own)
        found.append(
            tuple(sum(counts[place] * points[place][column] for place in own) // total for column in range(len(centre)))
            if total
            else centre
        )
    return found, inertia


def _candidate(seed: int, number: int, coded: Encoding) -> Point:
    """Return a centre drawn from a hash: numbers evenly within bounds, of every block of labels one label."""
    found = []
    for position, block in enumerate(coded.blocks):
        drawn = hashlib.sha256(b"cloister/kmeans/v1 %d %d %d" % (seed, number, position)).digest()
        value = int.from_bytes(drawn[:8], "big")
        if block.labels:
            found += [SCALE * (index == value % block.width) for index in range(block.width)]
        else:
            found.append(INNER.numerator * (value % (2 * SCALE + 1) - SCALE) // INNER.denominator)
    return tuple(found)


def _drawn(what: bytes, *numbers: int) -> int:
    text = b" ".join([b"cloister/kmeans/v2", what, *(b"%d" % number for number in numbers)])
    return int.from_bytes(hashlib.sha256(text).digest(), "big")


def _product(one: Sequence[int], other: Sequence[int]) -> int:
    found: int = sum(map(mul, one, other))
    return found


def _apart(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the squared distance of two points."""
    return sum((x - y) * (x - y) for x, y in zip(one, other, strict=True))
