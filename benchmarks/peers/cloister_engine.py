"""Cloister through its own engine: load, analyse, price, run, noise and shape for every repetition."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.peers.task import DELTA, DOMAINS, EDGES, HIGH, LOW, QUANTILES, Line, rename
from cloister.contract.card import OTHER, Card, Column
from cloister.plan import algebra as a
from cloister.plan.precision import rho_of_epsilon
from cloister.plan.shape import shape
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.noise import add_noise
from cloister.vault.price import price

TABLE = "bench.adult"
SETTINGS = f"zCDP converted at delta = {DELTA}, discrete Gaussian; quantiles by noisy maximum"


def card() -> Card:
    number: dict[str, Any] = {"low": str(LOW), "high": str(HIGH), "step": "1"}
    columns = (
        Column("person", "int", 3, "row number"),
        *(Column(name, "string", 2, name, domain=(*labels, OTHER)) for name, labels in DOMAINS.items()),
        Column("age", "int", 2, "age", **number),
        Column("hours", "int", 2, "hours per week", **number),
    )
    return Card(
        TABLE, "Adult", "Census 1994", "person", ("person",), "exact", "bench", 1, 65_536, "demonstration", columns,
        "UCI", "none", ("benchmark",),
    )  # fmt: skip


class Adult:
    """The table, loaded once; ``ask`` answers a line as often as wanted."""

    def __init__(self, path: Path) -> None:
        self.cards = {TABLE: card()}
        self.engine = Engine()
        data = pd.read_csv(path).rename(columns=rename)
        data["person"] = range(len(data))
        names = [column.name for column in card().columns]
        self.engine.load(TABLE, card(), pa.Table.from_pandas(data[names], preserve_index=False), b"benchmark")

    def ask(self, line: Line, rho: Fraction, repetitions: int) -> Iterator[list[float]]:
        """Yield one list of cells per repetition, in the order of ``line.cells()``.

        Raises:
            PlanError: The engine has no such question.
        """
        asked = question(line, rho)
        wanted = {"bin": [f"[{low}, {high})" for low, high in pairwise(EDGES)]}
        cells = [(label,) for label in wanted["bin"]] if line.kind == "histogram" else line.cells()
        for _ in range(repetitions):
            analysis = analyse(asked, self.cards)
            cost = price(analysis, rho)
            shaped = shape(asked, self.cards, add_noise(self.engine.run(analysis), cost.sigmas), cost.sigmas)
            yield [value for cell in cells for value in _values(shaped, cell)]


def question(line: Line, rho: Fraction) -> a.VectorSum:
    """Return the plan of a line."""
    source: Any = a.Table(TABLE)
    keys, term = line.keys, a.Col(line.column)
    measure: Any = a.Count("answer")
    if line.kind == "mean":
        measure = a.Mean("answer", term)
    elif line.kind == "quantile":
        measure = a.Quantile("answer", term, tuple(str(Fraction(q)) for q in QUANTILES))
    elif line.kind == "histogram":
        source, keys = a.Derive(source, (("bin", a.Cut(term, tuple(map(str, EDGES)))),)), ("bin",)
    return a.VectorSum(source, (measure,), str(rho), keys)


def rho_at(epsilon: str) -> Fraction:
    """Return the rho that converts to ``epsilon`` at the task's delta."""
    return rho_of_epsilon(Fraction(epsilon), Fraction(str(DELTA)))


def _values(shaped: Any, cell: tuple[str, ...]) -> list[float]:
    at = shaped.cells().index(cell)
    return [measure.values[at] for measure in shaped.measures]
