"""Grouped mean over 10 million rows: Cloister's engine and reply path against plain DuckDB and pandas.

All contenders answer ``mean(bmi) by region`` (100 regions) on the same rows in the same process, two threads, medians
of ``--repeat`` runs after one warm-up. ``reply_path_ms`` is everything between plan document and raw reply (decode,
analyse, price, execute, noise, shape); a reply then leaves at the planned deadline, which is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.shape import shape
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.noise import add_noise
from cloister.vault.price import price

REGIONS = tuple(f"region-{index:02d}" for index in range(100))
TABLE = "bench.visits"


def card(rows: int) -> Card:
    columns = (
        Column("patient", "int", 3, "unit key"),
        Column("region", "string", 2, "region", domain=REGIONS),
        Column("bmi", "decimal", 3, "body-mass index", nullable=True, low="10", high="70", step="0.1"),
        Column("age", "int", 2, "age", low="0", high="110", step="1"),
    )
    return Card(
        TABLE, "Visits", "Benchmark table", "patient", ("patient",), "exact", "bench", 6, rows, "demonstration",
        columns, "generated", "none", ("benchmark",),
    )  # fmt: skip


def table(rows: int) -> pa.Table:
    rng = np.random.default_rng(20261121)
    regions = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 100, rows).astype(np.int32)), list(REGIONS))
    bmi = np.round(rng.normal(26, 5, rows), 1)
    return pa.table(
        {
            "patient": rng.integers(0, max(1, rows // 3), rows),
            "region": regions.cast(pa.string()),
            "bmi": pa.array(bmi, mask=rng.random(rows) < 0.02),
            "age": rng.integers(0, 100, rows),
        }
    )


def timed(run: Callable[[], Any], repeat: int) -> float:
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times), 1)


def measure(rows: int, repeat: int) -> dict[str, Any]:
    data, public = table(rows), card(rows)
    cards = {TABLE: public}
    engine = Engine()
    start = time.perf_counter()
    engine.load(TABLE, public, data, b"benchmark")
    result: dict[str, Any] = {"load_s": round(time.perf_counter() - start, 2)}
    plan = a.VectorSum(a.Table(TABLE), (a.Mean("bmi", a.Col("bmi")),), "1/100", ("region",))
    adults = a.VectorSum(
        a.Filter(a.Table(TABLE), a.Compare("ge", a.Col("age"), a.Number("18"))), plan.measures, "1/100", ("region",)
    )
    document = codec.encode(plan)

    def run() -> Any:
        return engine.run(analysis)

    def reply() -> Any:
        asked = codec.decode(document)
        analysis = analyse(asked, cards)
        cost = price(analysis, Fraction(asked.rho))
        raw = add_noise(engine.run(analysis), cost.sigmas)
        return shape(asked, cards, raw, cost.sigmas), cost

    analysis, filtered = analyse(plan, cards), analyse(adults, cards)
    result["engine_ms"] = timed(run, repeat)
    result["engine_filtered_ms"] = timed(lambda: engine.run(filtered), repeat)
    result["reply_path_ms"] = timed(reply, repeat)
    result["planned_deadline_ms"] = reply()[1].deadline_ms
    result.update(_duckdb(data, repeat))
    frame = data.to_pandas()

    def pandas_mean() -> Any:
        # A new group-by each time: pandas keeps the grouping of one it has seen.
        return frame.groupby("region", observed=True).bmi.mean()

    result["pandas_ms"] = timed(pandas_mean, repeat)
    frame["region"] = frame["region"].astype(pd.CategoricalDtype(REGIONS))
    result["pandas_categorical_ms"] = timed(pandas_mean, repeat)
    result["engine_over_duckdb"] = round(result["engine_ms"] / result["duckdb_ms"], 2)
    result["engine_over_duckdb_enum"] = round(result["engine_ms"] / result["duckdb_enum_ms"], 2)
    result["engine_over_duckdb_filtered"] = round(result["engine_filtered_ms"] / result["duckdb_filtered_ms"], 2)
    return result


def _duckdb(data: pa.Table, repeat: int) -> dict[str, float]:
    """Plain DuckDB on the table as it comes, and with the key stored as an ENUM (its best form)."""
    plain = duckdb.connect(config={"threads": 2})
    plain.register("data", data)
    plain.execute("CREATE TABLE visits AS SELECT * FROM data")
    labels = ", ".join(f"'{region}'" for region in REGIONS)
    plain.execute(f"CREATE TABLE coded AS SELECT * REPLACE (region::ENUM({labels}) AS region) FROM data")
    mean = "SELECT region, avg(bmi) FROM {} {} GROUP BY region"
    return {
        "duckdb_ms": timed(lambda: plain.execute(mean.format("visits", "")).fetchall(), repeat),
        "duckdb_enum_ms": timed(lambda: plain.execute(mean.format("coded", "")).fetchall(), repeat),
        "duckdb_filtered_ms": timed(lambda: plain.execute(mean.format("visits", "WHERE age >= 18")).fetchall(), repeat),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=int(os.environ.get("CLOISTER_BENCH_ROWS", "10000000")))
    parser.add_argument("--repeat", type=int, default=7)
    asked = parser.parse_args()
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
    versions = {"duckdb": duckdb.__version__, "pandas": pd.__version__}
    print(json.dumps({"benchmark": "grouped_mean", "rows": asked.rows, "repeat": asked.repeat, **machine, **versions,
                      **measure(asked.rows, asked.repeat)}))  # fmt: skip


if __name__ == "__main__":
    main()
