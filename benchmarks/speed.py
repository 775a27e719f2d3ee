"""Speed of the engine beside plain DuckDB and OpenDP-Polars on 10 million rows, and memory, against targets.

Every figure comes from a child process of its own that reads its table from a Parquet file first. Contenders of one
comparison take turns in one process (OpenDP in its own environment, in the same turns). Of every figure the cold, the
median, the best and the worst run are told. A ratio is the median over the turns of the ratio within a turn: what else
runs on the machine slows both sides of it. ``_best`` is the ratio of the best runs, ``_cpu`` that of processor times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.accuracy import CONTENDERS, PEERS, interpreter
from benchmarks.grouped_mean import REGIONS, TABLE, card, table
from benchmarks.targets import judge
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.shape import shape
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine, Exact
from cloister.vault.noise import add_noise
from cloister.vault.price import price

SQL = "SELECT region, avg(bmi) FROM {} WHERE age >= 18 GROUP BY region"
ADULTS = a.Filter(a.Table(TABLE), a.Compare("ge", a.Col("age"), a.Number("18")))
MEAN = a.VectorSum(ADULTS, (a.Mean("bmi", a.Col("bmi")),), "1/100", ("region",))
SECOND = "bench.other"
SHORT_TURNS = 3


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def told(name: str, runs: list[float], cold: float | None = None) -> dict[str, float]:
    """Return what is told of the runs of one contender, in milliseconds."""
    figures = {"median": statistics.median(runs), "best": min(runs), "worst": max(runs)}
    figures |= {} if cold is None else {"cold": cold}
    return {f"{name}_{kind}_ms": round(1000 * value, 2) for kind, value in figures.items()}


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios within a turn."""
    return round(statistics.median(x / y for x, y in zip(above, below, strict=True)), 2)


def loaded(path: Path, rows_per_unit: int = 1) -> tuple[Engine, dict, float]:
    """Return an engine with the table, its cards and how long the load from memory took."""
    data = pq.read_table(path)
    public = msgspec.structs.replace(card(data.num_rows), rows_per_unit=rows_per_unit)
    engine = Engine()
    return engine, {TABLE: public}, seconds(lambda: engine.load(TABLE, public, data, b"benchmark"))


def plain(path: Path) -> duckdb.DuckDBPyConnection:
    """Return DuckDB with the table as text keys and with an ENUM, two threads."""
    connection = duckdb.connect(config={"threads": 2})
    labels = ", ".join(f"'{region}'" for region in REGIONS)
    enum = f"region::ENUM({labels}) AS region"
    connection.execute("CREATE TABLE visits AS SELECT * FROM read_parquet(?)", [str(path)])
    connection.execute(f"CREATE TABLE coded AS SELECT * REPLACE ({enum}) FROM visits")
    return connection


def grouped(path: Path, repeat: int) -> dict[str, Any]:
    """Filter and grouped mean: engine, the whole reply, DuckDB and OpenDP-Polars, in turns."""
    engine, cards, load_s = loaded(path)
    connection, opendp = plain(path), _opendp(path)
    document = codec.encode(MEAN)

    def reply() -> Any:
        plan = codec.decode(document)
        analysis = analyse(plan, cards)
        cost = price(analysis, Fraction(plan.rho))
        shape(plan, cards, add_noise(engine.run(analysis), cost.sigmas), cost.sigmas)
        return cost

    analysis = analyse(MEAN, cards)
    turns: dict[str, Callable[[], float]] = {
        "engine": lambda: seconds(lambda: engine.run(analysis)),
        "reply": lambda: seconds(reply),
        "duckdb_text": lambda: seconds(lambda: connection.execute(SQL.format("visits")).fetchall()),
        "duckdb_enum": lambda: seconds(lambda: connection.execute(SQL.format("coded")).fetchall()),
    }
    if opendp:
        turns["opendp"] = lambda: _asked(opendp)
    cold = {name: turn() for name, turn in turns.items()}
    warm: dict[str, list[float]] = {name: [] for name in turns}
    used: dict[str, list[float]] = {name: [] for name in turns}
    for turn_number in range(SHORT_TURNS * repeat):
        for name, turn in turns.items():
            # OpenDP takes as long as all others together: a turn in three is enough.
            if name != "opendp" or turn_number % SHORT_TURNS == 0:
                before = time.process_time()
                warm[name].append(turn())
                used[name].append(time.process_time() - before)
    if opendp:
        opendp.communicate()
    result: dict[str, Any] = {"load_s": round(load_s, 2), "planned_deadline_ms": reply().deadline_ms}
    for name, runs in warm.items():
        result |= told(name, runs, cold[name])
    for key in ("text", "enum"):
        name, plain_name = f"engine_over_duckdb_{key}", f"duckdb_{key}"
        result[name] = ratio(warm["engine"], warm[plain_name])
        result[f"{name}_best"] = round(min(warm["engine"]) / min(warm[plain_name]), 2)
        result[f"{name}_cpu"] = round(min(used["engine"]) / min(used[plain_name]), 2)
    if opendp:
        result["opendp_over_engine"] = ratio(warm["opendp"], warm["engine"][::SHORT_TURNS])
        result["opendp_over_reply"] = ratio(warm["opendp"], warm["reply"][::SHORT_TURNS])
    return result


def _opendp(path: Path) -> subprocess.Popen[str] | None:
    peer = CONTENDERS["opendp-laplace"]
    environment, requirements = peer.environment, peer.requirements
    if not (os.environ.get("CLOISTER_BENCH_PEERS") or (PEERS / environment / ".installed").exists()):
        return None
    try:
        python = interpreter(environment, requirements)
    except subprocess.CalledProcessError:
        return None
    runner = Path(__file__).parent / "peers" / "opendp_speed.py"
    command = [str(python), "-W", "ignore", str(runner), str(path), ",".join(REGIONS)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "POLARS_MAX_THREADS": "2"}
    )


def _asked(opendp: subprocess.Popen[str]) -> float:
    opendp.stdin.write("go\n")
    opendp.stdin.flush()
    return float(opendp.stdout.readline()) / 1000


def bounded(path: Path, repeat: int) -> dict[str, Any]:
    """Ten rows per unit, five of them counted: by the card, from rows in memory to the first answer; and by the plan.

    The first hashes, converts, orders, caps, stores, aggregates and adds noise. The second caps a loaded table.
    """
    start = time.perf_counter()
    data = pq.read_table(path)
    read_s = time.perf_counter() - start
    public = msgspec.structs.replace(card(data.num_rows), rows_per_unit=5)
    engine, begun, cpu = Engine(), time.perf_counter(), time.process_time()
    engine.load(TABLE, public, data, b"benchmark")
    load_s, load_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    analysis = analyse(MEAN, {TABLE: public})
    add_noise(engine.run(analysis), price(analysis, Fraction("1/100")).sigmas)
    cold_s, cold_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    engine.close()
    engine, cards, _ = loaded(path, rows_per_unit=10)
    capped = msgspec.structs.replace(MEAN, source=a.Cap(ADULTS, 5, ()))
    analysis = analyse(capped, cards)
    plan_cold = seconds(lambda: engine.run(analysis))
    return {
        "read_parquet_s": round(read_s, 2),
        "load_and_cap_s": round(load_s, 2),
        "load_and_cap_cpu_s": round(load_cpu_s, 2),
        "cold_s": round(cold_s, 2),
        "cold_cpu_s": round(cold_cpu_s, 2),
        "plan_cold_s": round(plan_cold, 2),
        **told("plan", [seconds(lambda: engine.run(analysis)) for _ in range(repeat)]),
    }


def aligned(path: Path, repeat: int) -> dict[str, Any]:
    """Inner alignment of two tables of one row per unit, then a grouped mean over both."""
    engine, cards, _ = loaded(path)
    data = pq.read_table(path)
    other = msgspec.structs.replace(cards[TABLE], name=SECOND)
    engine.load(SECOND, other, data, b"benchmark")
    del data
    joined = a.Align(a.Table(TABLE), a.Table(SECOND), "inner", (("bmi", "bmi2"),))
    plan = a.VectorSum(joined, (a.Mean("bmi2", a.Col("bmi2")),), "1/100", ("region",))
    analysis = analyse(plan, {**cards, SECOND: other})
    cold = seconds(lambda: engine.run(analysis))
    return {"cold_s": round(cold, 2), **told("warm", [seconds(lambda: engine.run(analysis)) for _ in range(repeat)])}


def small(_: Path, repeat: int) -> dict[str, Any]:
    """Price (decode, analyse, price) and noise of 100 groups; no data is needed."""
    cards, document = {TABLE: card(10_000_000)}, codec.encode(MEAN)

    def priced() -> Any:
        plan = codec.decode(document)
        return price(analyse(plan, cards), Fraction(plan.rho))

    cold_price = seconds(priced)
    sigmas = priced().sigmas
    exact, means = Exact((100_000,) * 100, (1,)), Exact((100_000,) * 200, (1, 1))
    cold_noise = seconds(lambda: add_noise(exact, sigmas[:1]))
    runs = range(20 * repeat)
    return {
        **told("price", [seconds(priced) for _ in runs], cold_price),
        **told("noise_100", [seconds(lambda: add_noise(exact, sigmas[:1])) for _ in runs], cold_noise),
        "noise_100_cpu_ms": _cpu_ms(lambda: add_noise(exact, sigmas[:1]), len(runs)),
        **told("noise_100_means", [seconds(lambda: add_noise(means, sigmas)) for _ in runs]),
    }


def _cpu_ms(run: Callable[[], Any], runs: int) -> float:
    """Return the processor time of one run: what it takes on a machine that nobody else uses."""
    start = time.process_time()
    for _ in range(runs):
        run()
    return round(1000 * (time.process_time() - start) / runs, 2)


def memory_engine(path: Path, _: int) -> dict[str, Any]:
    """Peak resident memory of load and one answer."""
    engine, cards, _ = loaded(path)
    engine.run(analyse(MEAN, cards))
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def memory_duckdb(path: Path, _: int) -> dict[str, Any]:
    """The same with plain DuckDB, given the rows as Arrow as well."""
    data = pq.read_table(path)
    connection = duckdb.connect(config={"threads": 2})
    connection.register("data", data)
    connection.execute("CREATE TABLE visits AS SELECT * FROM data ORDER BY patient")
    connection.execute(SQL.format("visits")).fetchall()
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


PARTS = {
    "small": small, "grouped": grouped, "bounded": bounded, "aligned": aligned, "memory_engine": memory_engine,
    "memory_duckdb": memory_duckdb,
}  # fmt: skip


def write_tables(folder: Path, rows: int) -> dict[str, Path]:
    """Write the rows with one per unit and with ten per unit; return the files."""
    data = table(rows)
    rng = np.random.default_rng(20261128)
    files = {}
    for name, units in (("one", rng.permutation(rows)), ("ten", rng.permutation(rows) // 10)):
        files[name] = folder / f"{name}.parquet"
        pq.write_table(data.set_column(0, "patient", pa.array(units)), files[name])
    return files


def child(part: str, path: Path, repeat: int) -> dict[str, Any]:
    """Run one part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--part", part, "--table", str(path), "--repeat", str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run one part, or all of them; print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=int(os.environ.get("CLOISTER_BENCH_ROWS", "10000000")))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--table", type=Path)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.table, asked.repeat)))
        return
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        files = write_tables(Path(folder), asked.rows)
        found, took = {}, {}
        for part in PARTS:
            begun = time.perf_counter()
            found[part] = child(part, files["ten" if part == "bounded" else "one"], asked.repeat)
            took[part] = round(time.perf_counter() - begun, 1)
    judged = judge(found)
    for name, row in judged.items():
        print(f"{name:<55} {row['measured']!s:>8}  target {row['target']:<7} {row['verdict']}", file=sys.stderr)
    loads = {"load_average_before": round(load_before, 1), "load_average_after": round(os.getloadavg()[0], 1)}
    print(json.dumps({"rows": asked.rows, "repeat": asked.repeat, **loads, "took_s": took, "targets": judged, **found}))


if __name__ == "__main__":
    main()
