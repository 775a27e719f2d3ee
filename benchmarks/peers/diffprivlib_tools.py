"""diffprivlib's tools: counts and histograms by the geometric or Laplace mechanism, quantiles by the exponential one.

Its means are left out: they take the number of rows for public.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

import numpy as np
from diffprivlib import tools
from task import EDGES, HIGH, LOW, QUANTILES, Line, answer, rename

with open(sys.argv[1]) as source:  # noqa: PTH123
    ROWS = list(csv.DictReader(source))
DATA = {rename(name): np.array([row[name] for row in ROWS]) for name in ROWS[0]}


def ask(line: Line, epsilon: float, repetitions: int) -> Iterator[list[float]] | None:
    return None if line.kind == "mean" else (once(line, epsilon) for _ in range(repetitions))


def once(line: Line, epsilon: float) -> list[float]:
    if line.kind == "count":
        # Cells share no row, so each may use the whole epsilon.
        masks = [np.logical_and.reduce([DATA[k] == v for k, v in zip(line.keys, c, strict=True)]) for c in line.cells()]
        return [max(0, tools.count_nonzero(mask, epsilon=epsilon)) for mask in masks]
    values = DATA[line.column].astype(float)
    if line.kind == "histogram":
        return list(tools.histogram(values, epsilon=epsilon, bins=np.array(EDGES, float), range=(LOW, HIGH))[0])
    return list(np.sort(tools.quantile(values, list(QUANTILES), epsilon=epsilon, bounds=(LOW, HIGH))))


if __name__ == "__main__":
    answer("pure epsilon; counts and histograms geometric, quantiles exponential mechanism", ask)
