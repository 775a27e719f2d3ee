"""Encoded rows made by hand, and a learner run on them with the reference's sums."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.plan.learning import program_of as program
from cloister.plan.learning.encoding import SCALE, Block, Encoding
from cloister.plan.learning.program import Model, drive, planned
from cloister.plan.learning.queries import Query, check_query
from cloister.vault.fit_rows import FitRows, OneHot
from cloister.vault.fit_sums import sums

BINS, LABELS, NUMBER = "bins", "labels", "number"


def encoding(*features: tuple[str, int], classes: Sequence[str] = ("false", "true")) -> Encoding:
    """Return an encoding of features: ``("bins", 5)`` a cut number, ``("labels", 3)`` a category, ``("number", 1)``."""
    blocks: list[Block] = []
    start = 1
    for index, (kind, width) in enumerate(features):
        column = a.Col(f"x{index}")
        labels = tuple(f"l{label}" for label in range(width)) if kind != NUMBER else ()
        grid = Grid("category", 0, width - 1, domain=labels) if labels else Grid("number", -100, 100)
        term = a.Cut(column, tuple(str(edge) for edge in range(width + 1))) if kind == BINS else column
        blocks.append(Block(term, grid, start, width, labels))
        start += width
    return Encoding(tuple(blocks), a.Col("y") if classes else None, None, tuple(classes))


def rows(coded: Encoding, columns: Sequence[Sequence[float]], labels: Sequence[int] = ()) -> FitRows:
    """Return rows of an encoding: one sequence per feature, codes of labels or numbers from -1 to 1."""
    count = len(columns[0])
    numbers = [index for index, block in enumerate(coded.blocks) if not block.labels]
    matrix = np.array([[round(value * SCALE) for value in columns[index]] for index in numbers], np.int16)
    return FitRows(
        count,
        tuple(coded.blocks[index].start for index in numbers),
        matrix.reshape(len(numbers), count).T.copy(),
        tuple(
            OneHot(block.start, block.width, np.array(values, np.int16))
            for block, values in zip(coded.blocks, columns, strict=True)
            if block.labels
        ),
        np.array(labels or [0] * count, np.int16),
    )


def trained(
    learner: a.Learner,
    coded: Encoding,
    data: FitRows,
    rho: float = 1e12,
    answers: Callable[[int, float], int] | None = None,
) -> Model:
    """Return the model of a learner at a price: of the exact sums, or of what ``answers`` makes of value and noise."""
    found = program(learner, coded)
    steps = planned(found.steps, coded)
    noise = [math.sqrt(step.reach.squared / (2 * rho * float(step.share))) for step in steps]

    def answer(index: int, query: Query) -> Sequence[int]:
        check_query(query, coded)
        exact = sums(data, query, coded, lambda: None)
        return exact if answers is None else [answers(value, noise[index]) for value in exact]

    return drive(found, steps, noise, answer)


def noisy(seed: int) -> Callable[[int, float], int]:
    """Return what adds seeded noise to an integer."""
    source = random.Random(seed)
    return lambda value, sigma: value + round(source.gauss(0.0, sigma))
