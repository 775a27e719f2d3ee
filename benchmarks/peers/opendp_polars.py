"""OpenDP's Polars interface: analysed once per question, then sampled for every repetition."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import opendp.prelude as dp
import polars as pl
from task import EDGES, HIGH, LOW, QUANTILES, Line, accounting, answer

dp.enable_features("contrib")


def frame() -> pl.LazyFrame:
    data = pl.read_csv(sys.argv[1]).rename({"hours-per-week": "hours"})
    return data.select("sex", "education", pl.col("age").cast(pl.Int64), pl.col("hours").cast(pl.Int64)).lazy()


def ask_with(loss: Any, data: pl.LazyFrame) -> Any:
    def ask(line: Line, epsilon: float, repetitions: int) -> Iterator[list[float]]:
        context = dp.Context.compositor(
            data=data, privacy_unit=dp.unit_of(contributions=1), privacy_loss=loss(epsilon), split_evenly_over=1,
            margins=[dp.polars.Margin(max_length=100_000)],
        )  # fmt: skip
        query, read = question(context.query(), line)
        measurement = query.resolve()
        for _ in range(repetitions):
            yield read(measurement(data).collect())

    return ask


def question(query: Any, line: Line) -> tuple[Any, Any]:
    column = pl.col(line.column).fill_null(LOW) if line.column else None
    if line.kind == "histogram":
        labels = [f"{edge}" for edge in EDGES[:-1]]
        binned = pl.col(line.column).cut(list(EDGES[1:-1]), labels=labels, left_closed=True).alias("bin")
        keys = pl.LazyFrame({"bin": labels}, schema={"bin": pl.String})
        asked = query.with_columns(binned.cast(pl.String)).group_by("bin").agg(dp.len()).with_keys(keys)
        return asked, lambda found: in_order(found, ["bin"], [(label,) for label in labels], "len")
    if line.kind == "quantile":
        grid = list(range(LOW, HIGH + 1))
        terms = [column.dp.quantile(q, grid).alias(f"q{i}") for i, q in enumerate(QUANTILES)]
        return query.select(*terms), lambda found: list(found.row(0))
    term = dp.len() if line.kind == "count" else column.dp.mean((LOW, HIGH)).alias("mean")
    cells = line.cells()
    keys = pl.LazyFrame({key: [cell[i] for cell in cells] for i, key in enumerate(line.keys)})
    asked = query.group_by(*line.keys).agg(term).with_keys(keys)
    name = "len" if line.kind == "count" else "mean"
    return asked, lambda found: in_order(found, list(line.keys), cells, name)


def in_order(found: pl.DataFrame, keys: list[str], cells: list[Any], name: str) -> list[float]:
    values = {tuple(row[key] for key in keys): row[name] for row in found.to_dicts()}
    return [limited(values[cell], name) for cell in cells]


def limited(value: float | None, name: str) -> float:
    """Post-process as Cloister does: counts are not negative, means stay within their bounds."""
    if value is None or math.isnan(value):
        return (LOW + HIGH) / 2
    return min(max(value, LOW), HIGH) if name == "mean" else max(value, 0)


def main() -> None:
    if accounting() == "zcdp":
        answer("zCDP, discrete Gaussian", ask_with(lambda rho: dp.loss_of(rho=rho), frame()))
    else:
        answer("pure epsilon, discrete Laplace", ask_with(lambda epsilon: dp.loss_of(epsilon=epsilon), frame()))


if __name__ == "__main__":
    main()
