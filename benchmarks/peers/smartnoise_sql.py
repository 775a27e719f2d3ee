"""SmartNoise SQL: one grouped query per question, no censoring, epsilon scaled so that its own price is ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
import snsql
from task import DELTA, HIGH, LOW, WIDTH, Line, answer, rename

DATA = pd.read_csv(sys.argv[1]).rename(columns=rename)[["sex", "education", "age", "hours"]]
for name in ("age", "hours"):
    DATA[f"{name}_bin"] = DATA[name] // WIDTH
NUMBER = {"type": "int", "lower": LOW, "upper": HIGH}
META = {
    "": {
        "adult": {
            "people": {
                "row_privacy": True, "max_ids": 1, "censor_dims": False, "clamp_counts": True, "rows": 100_000,
                "sex": {"type": "string"}, "education": {"type": "string"}, "age": NUMBER, "hours": NUMBER,
                "age_bin": {"type": "int"}, "hours_bin": {"type": "int"},
            }
        }
    }
}  # fmt: skip


def ask(line: Line, epsilon: float, repetitions: int) -> Iterator[list[float]] | None:
    if line.kind == "quantile":
        return None
    keys = line.keys or (f"{line.column}_bin",)
    what = "COUNT(*)" if line.kind != "mean" else f"AVG({line.column})"
    query = f"SELECT {', '.join(keys)}, {what} AS answer FROM adult.people GROUP BY {', '.join(keys)}"
    spent = reader(epsilon).get_privacy_cost(query)[0]
    private = reader(epsilon * min(1, epsilon / spent))
    cells: list[Any] = line.cells() if line.keys else [(number,) for number in range((HIGH - LOW) // WIDTH)]
    return (in_order(private.execute(query), cells, line.kind) for _ in range(repetitions))


def reader(epsilon: float) -> Any:
    return snsql.from_df(DATA, privacy=snsql.Privacy(epsilon=epsilon, delta=DELTA), metadata=META)


def in_order(rows: list[Any], cells: list[Any], kind: str) -> list[float]:
    found = {tuple(row[:-1]): row[-1] for row in rows[1:]}
    if kind == "mean":
        return [min(max(found.get(cell, HIGH / 2), LOW), HIGH) for cell in cells]
    return [max(0, found.get(cell, 0)) for cell in cells]


if __name__ == "__main__":
    answer("pure epsilon as its own odometer counts it (no censoring), geometric or Laplace", ask)
