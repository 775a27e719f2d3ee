"""Tumult Analytics on a local Spark session, pure epsilon or rho-zCDP.

An answer takes it many seconds, nearly all of them independent of the data. So every repetition is a group of its own:
the table holds one copy of the rows per repetition, a person has one row in each of them
(``AddMaxRowsInMaxGroups``), and the budget is as many times that of one release. Its sensitivities add up over the
groups (L1 for Laplace, squared L2 for Gaussian noise), so that the noise of each copy is exactly that of one release.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from task import DOMAINS, HIGH, LOW, QUANTILES, WIDTH, Line, accounting, answer, rename
from tmlt.analytics import AddMaxRowsInMaxGroups, KeySet, PureDPBudget, QueryBuilder, RhoZCDPBudget, Session

REPETITIONS = int(sys.argv[3])
BUDGET: Any = RhoZCDPBudget if accounting() == "zcdp" else PureDPBudget
CELLS = range((HIGH - LOW) // WIDTH)


def session(folder: str) -> Any:
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.warehouse.dir", folder)
        .config("spark.driver.extraJavaOptions", f"-Dderby.system.home={folder}")
        .getOrCreate()
    )
    data = pd.read_csv(sys.argv[1]).rename(columns=rename)[[*DOMAINS, "age", "hours"]]
    for name in ("age", "hours"):
        data[f"{name}_bin"] = data[name] // WIDTH
    copies = spark.range(REPETITIONS).select(f.col("id").alias("copy"))
    rows = spark.createDataFrame(data).crossJoin(copies).coalesce(1).cache()
    change = AddMaxRowsInMaxGroups("copy", max_groups=REPETITIONS, max_rows_per_group=1)
    return Session.from_dataframe(BUDGET(float("inf")), "adult", rows, protected_change=change)


def ask(line: Line, amount: float, repetitions: int) -> list[list[float]]:
    keys = line.keys or ((f"{line.column}_bin",) if line.kind == "histogram" else ())
    known: dict[str, Any] = {key: list(DOMAINS[key]) if key in DOMAINS else list(CELLS) for key in keys}
    grouped = QueryBuilder("adult").groupby(KeySet.from_dict({"copy": list(range(repetitions)), **known}))
    if line.kind == "quantile":
        # It has no question for several quantiles: each gets an equal part.
        part = BUDGET(amount * repetitions / len(QUANTILES))
        asked = [grouped.quantile(line.column, q, LOW, HIGH, name="answer") for q in QUANTILES]
        found = [evaluated(query, part, ()) for query in asked]
        return [sorted(answers[copy][()] for answers in found) for copy in range(repetitions)]
    mean = line.kind == "mean"
    query = grouped.average(line.column, LOW, HIGH, name="answer") if mean else grouped.count(name="answer")
    answers = evaluated(query, BUDGET(amount * repetitions), keys)
    cells: list[Any] = line.cells() if line.keys else [(number,) for number in CELLS]
    low, high = (LOW, HIGH) if mean else (0, float("inf"))
    return [[min(max(answers[copy][cell], low), high) for cell in cells] for copy in range(repetitions)]


def evaluated(query: Any, budget: Any, keys: tuple[str, ...]) -> dict[int, dict[tuple[Any, ...], float]]:
    found: dict[int, dict[tuple[Any, ...], float]] = {}
    for row in SESSION.evaluate(query, budget).collect():
        found.setdefault(row["copy"], {})[tuple(row[key] for key in keys)] = row["answer"]
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        SESSION = session(place)
        answer(f"{accounting()}: geometric or Laplace, discrete Gaussian under zCDP; quantiles exponential", ask)
