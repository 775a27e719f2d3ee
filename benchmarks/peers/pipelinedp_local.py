"""PipelineDP on its local backend, public partitions, naive budget accountant.

A person has one row, so its step that bounds contributions is left out: it changes nothing but the time.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any

import pipeline_dp as pdp
from task import DELTA, HIGH, LOW, QUANTILES, WIDTH, Line, accounting, answer, rename

with open(sys.argv[1]) as source:  # noqa: PTH123
    DATA = [{rename(name): value for name, value in row.items()} for row in csv.DictReader(source)]
ROWS = [(i, row["sex"], row["education"], int(row["age"]), int(row["hours"])) for i, row in enumerate(DATA)]
PLACE = {"sex": 1, "education": 2, "age": 3, "hours": 4}
GAUSSIAN = accounting() == "gaussian"
NOISE = pdp.NoiseKind.GAUSSIAN if GAUSSIAN else pdp.NoiseKind.LAPLACE
METRICS = {
    "count": [pdp.Metrics.COUNT],
    "histogram": [pdp.Metrics.COUNT],
    "mean": [pdp.Metrics.MEAN],
    "quantile": [pdp.Metrics.PERCENTILE(100 * q) for q in QUANTILES],
}


def ask(line: Line, epsilon: float, repetitions: int) -> Iterator[list[float]]:
    cells: list[Any] = line.cells()
    if line.kind == "histogram":
        cells = [(number,) for number in range((HIGH - LOW) // WIDTH)]
    for _ in range(repetitions):
        yield once(line, epsilon, cells)


def once(line: Line, epsilon: float, cells: list[Any]) -> list[float]:
    place = PLACE.get(line.column, 3)
    by = [PLACE[key] for key in line.keys]

    def partition(row: Any) -> Any:
        return (row[place] // WIDTH,) if line.kind == "histogram" else tuple(row[i] for i in by)

    accountant = pdp.NaiveBudgetAccountant(total_epsilon=epsilon, total_delta=DELTA if GAUSSIAN else 0)
    engine = pdp.DPEngine(accountant, pdp.LocalBackend())
    params = pdp.AggregateParams(
        metrics=METRICS[line.kind], noise_kind=NOISE, max_partitions_contributed=1,
        max_contributions_per_partition=1, min_value=LOW, max_value=HIGH,
        contribution_bounds_already_enforced=True,
    )  # fmt: skip
    extract = pdp.DataExtractors(partition_extractor=partition, value_extractor=lambda row: row[place])
    result = engine.aggregate(ROWS, params, extract, public_partitions=cells)
    accountant.compute_budgets()
    found = dict(result)
    if line.kind == "quantile":
        return sorted(getattr(found[()], f"percentile_{round(100 * q)}") for q in QUANTILES)
    if line.kind == "mean":
        return [min(max(found[cell].mean, LOW), HIGH) for cell in cells]
    return [max(0, found[cell].count) for cell in cells]


if __name__ == "__main__":
    answer(f"{accounting()}: {NOISE.name.title()}; quantiles by its tree", ask)
