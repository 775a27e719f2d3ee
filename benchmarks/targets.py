"""The speed targets, and what a run of ``benchmarks.speed`` says about each."""

from __future__ import annotations

import operator
from typing import Any

import msgspec

_KEPT = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}


class Target(msgspec.Struct, frozen=True):
    """A figure of one part of the benchmark and the limit it is held to."""

    name: str
    part: str
    figure: str
    sign: str
    limit: float

    def judged(self, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the figure and the verdict."""
        value = found.get(self.part, {}).get(self.figure)
        verdict = "not measured" if value is None else "met" if _KEPT[self.sign](value, self.limit) else "NOT MET"
        return {"measured": value, "target": f"{self.sign} {self.limit}", "verdict": verdict}


TARGETS = (
    Target("filter + grouped mean: engine / DuckDB, text keys", "grouped", "engine_over_duckdb_text", "<=", 1.3),
    Target("filter + grouped mean: engine / DuckDB, ENUM keys", "grouped", "engine_over_duckdb_enum", "<=", 1.3),
    Target("filter + grouped mean: OpenDP-Polars / engine", "grouped", "opendp_over_engine", ">=", 5),
    Target("10 rows per unit capped to 5 at load, to answer, s", "bounded", "cold_s", "<", 4),
    Target("10 rows per unit capped to 5 by the plan, s", "bounded", "plan_cold_s", "<", 4),
    Target("alignment of two tables + aggregate, s", "aligned", "cold_s", "<", 10),
    Target("price, ms", "small", "price_best_ms", "<", 5),
    Target("noise for 100 groups, ms", "small", "noise_100_best_ms", "<", 2),
    Target("peak memory / DuckDB", "memory", "engine_over_duckdb", "<=", 2),
)


def judge(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each target with its figure and verdict; what failed or was left out is *not measured*."""
    peaks = [found.get(name, {}).get("peak_mb") for name in ("memory_engine", "memory_duckdb")]
    memory = {"engine_over_duckdb": round(peaks[0] / peaks[1], 2)} if all(peaks) else {}
    return {target.name: target.judged({**found, "memory": memory}) for target in TARGETS}
