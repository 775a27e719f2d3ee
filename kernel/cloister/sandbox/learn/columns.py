"""The released sums of a question, cell by cell, as numbers with the standard deviation of their noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cloister.plan.components import Component
from cloister.plan.gaussian import deviation
from cloister.sandbox.answer import Answer


class Sums(NamedTuple):
    """One component over the cells: values and the noise of each, both in multiples of the component's step."""

    part: Component
    values: np.ndarray
    noise: float


def sums(answer: Answer, measure: str) -> tuple[Sums, ...]:
    """Return the components of a measure, in the order of its layout."""
    frame = answer.layout
    found = next(item for item in frame.measures if item.name == measure)
    raw = np.array([float(value) for value in answer.raw]).reshape(-1, frame.width)
    starts = np.cumsum([0, *(part.width for part in frame.components)])
    return tuple(
        Sums(frame.components[index], raw[:, starts[index]], deviation(answer.sigmas[index]))
        for index in found.components
    )
