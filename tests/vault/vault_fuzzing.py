"""Random cards, tables, neighbours and plans, shared by the fuzz, truth and mutant tests of the engine."""

from __future__ import annotations

import datetime
import math
import random
from dataclasses import dataclass, field

import pyarrow as pa
from fuzz_measures import changes, draw_measure
from fuzz_scalars import TEXTS, ScalarFuzz

from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import infer, step, table_schema
from cloister.vault import analyse as analysis_module
from cloister.vault import compile as compile_module
from cloister.vault import engine as engine_module
from cloister.vault import interpret as interpreter
from cloister.vault import interpret_scalars
from cloister.vault import load as load_module

TABLE = "fuzz.rows"
SECRET = b"fuzz"
EXTREMES = (2**63 - 1, -(2**63), 2**31 - 1, -(2**31), 0, 1, -1)
FLOATS = (math.nan, math.inf, -math.inf, 1e308, -1e308, -0.0, 5e-324, 0.125)


def make_card(rng: random.Random) -> Card:
    low = rng.choice(["-3", "0", "-10", "2", "-40"])
    columns = [
        Column("id", "string", 3, "unit key", personal=True),
        Column("x", "int", 2, "asymmetric", low=low, high=str(int(low) + rng.choice([5, 12, 60])), step="1"),
        Column(
            "y", "decimal", 3, "nullable", nullable=True, low="-7.5", high=rng.choice(["2.5", "0", "20"]), step="0.25"
        ),
        Column("z", "decimal", 1, "grid off zero", low="0.5", high="6.5", step="1", nullable=rng.random() < 0.5),
        Column("w", "int", 4, "wide", low="-1000000", high="250000", step="500", nullable=rng.random() < 0.5),
        Column("d", "date", 2, "day", low="2024-01-01", high="2024-03-31", nullable=True),
        Column("c", "string", 2, "category", domain=("red", "green", "blue"), nullable=rng.random() < 0.6),
        Column("e", "string", 1, "other category", domain=("blue", "black"), nullable=False),
        Column("b", "bool", 5, "flag", nullable=rng.random() < 0.5),
        Column("note", "string", 5, "free text", nullable=rng.random() < 0.7),
    ]
    rng.shuffle(columns)
    return Card(
        "rows", "Rows", "Fuzz", "person", ("id",), rng.choice(["exact", "ascii-lower-strip"]), "people",
        rng.randint(1, 4), 400_000, "demonstration", tuple(columns), "generated", "none", ("testing",),
    )  # fmt: skip


def unit_of(card: Card, key: str | None) -> str | None:
    if key is None or card.normaliser == "exact":
        return key
    return key.strip(" \t\n\v\f\r").lower()


def make_rows(card: Card, rng: random.Random, size: int) -> list[dict]:
    """Rows of few units with many rows each: ties, duplicates, case variants, nulls, NaN, infinities, extremes."""
    names = [f"Unit{number}" for number in range(max(1, size // rng.randint(2, 8)))]
    rows: list[dict] = []
    for _ in range(size):
        if rows and rng.random() < 0.15:
            rows.append(dict(rng.choice(rows)))
            continue
        name = rng.choice(names)
        key = rng.choice([name, name, name.upper(), f" {name}\t", name.lower(), None if rng.random() < 0.1 else name])
        row = {item.name: _value(item, rng) for item in card.columns}
        rows.append({**row, "id": key})
    return rows


def _value(column: Column, rng: random.Random):
    if rng.random() < 0.12:
        return None
    if column.type == "bool":
        return rng.random() < 0.5
    if column.type == "string":
        return rng.choice(TEXTS)
    if column.type == "date":
        return datetime.date(2024, 1, 1) + datetime.timedelta(days=rng.choice([-400, -1, 0, 3, 30, 89, 90, 91, 9000]))
    low, high = float(column.low or 0), float(column.high or 0)
    if column.type == "int":
        return rng.choice([rng.choice(EXTREMES), int(low), int(high), int(rng.uniform(low - 2, high + 2))])
    return rng.choice([rng.choice(FLOATS), low, high, rng.uniform(low - 1, high + 1), round(rng.uniform(low, high), 2)])


def to_arrow(card: Card, rows: list[dict], rng: random.Random) -> list[pa.Table]:
    """The rows in random order and random parts, in the Arrow types a capsule may hold."""
    types = {"bool": pa.bool_(), "int": pa.int64(), "decimal": pa.float64(), "date": pa.date32(), "string": pa.string()}
    rows = rng.sample(rows, len(rows))
    cut = rng.randint(0, len(rows))
    return [
        pa.table({item.name: pa.array([row[item.name] for row in part], types[item.type]) for item in card.columns})
        for part in (rows[:cut], rows[cut:])
    ]


def neighbour(card: Card, rows: list[dict], rng: random.Random) -> list[dict]:
    """The same rows without all rows of one unit (removal and addition are the same pair, read both ways)."""
    units = sorted({unit for row in rows if (unit := unit_of(card, row["id"])) is not None})
    gone = rng.choice(units) if units else None
    return [row for row in rows if gone is None or unit_of(card, row["id"]) != gone]


class Bench:
    """Stores with 1 to 4 threads, kept open over many trials."""

    def __init__(self) -> None:
        self.stores = {threads: load_module.Store(threads) for threads in (1, 2, 3, 4)}
        self.count = 0

    def load(self, card: Card, parts: list[pa.Table], threads: int) -> Loaded:
        self.count += 1
        store, name = self.stores[threads], f"{TABLE}.{self.count}"
        store.add(name, card, parts, SECRET)
        return Loaded(store, store.cursor(), name, card)


@dataclass
class Loaded:
    """One loaded table; ``exact`` runs a plan on it, ``rows`` decodes it for the interpreter."""

    store: load_module.Store
    cursor: object
    name: str
    card: Card
    decoded: list = field(default_factory=list)

    def exact(self, analysis) -> list[int]:
        query = compile_module.compile_plan(analysis, {TABLE: self.store.tables[self.name]})
        found = self.cursor.execute(query.sql, query.parameters).fetchall()
        return list(engine_module.assemble(analysis.layout, query, found))

    def rows(self) -> list:
        if not self.decoded:
            grids = load_module.stored_grids(TABLE, self.card)
            for unit, row, flags, *values in self.cursor.execute(
                f"SELECT * FROM {self.store.tables[self.name]}"
            ).fetchall():
                named = {
                    self.card.columns[index].name: interpret_scalars.natural(value, grid)
                    for (index, grid), value in zip(grids.items(), values, strict=True)
                }
                self.decoded.append(interpreter.Row(unit, (row,), named, {TABLE: flags}))
        return self.decoded

    def drop(self) -> None:
        self.cursor.close()
        self.store.drop(self.name)


def violations(analysis, first: list[int], second: list[int], bounds=None) -> list[str]:
    """Where two exact results are further apart than the analysis claims (of any account, or these), in any norm."""
    width, start, found = sum(part.exact_width for part in analysis.layout.components), 0, []
    for part, bound in zip(analysis.layout.components, bounds or analysis.bounds, strict=True):
        blocks = [
            [numbers[at : at + part.exact_width] for at in range(start, len(numbers), width)]
            for numbers in (first, second)
        ]
        change = changes(part, *blocks)
        start += part.exact_width
        if sum(change) > bound.l1:
            found.append(f"L1 of {part.role}: {sum(change)} > {bound.l1}")
        if max(change) > bound.linf:
            found.append(f"Linf of {part.role}: {max(change)} > {bound.linf}")
        if sum(x * x for x in change) > bound.l2_squared:
            found.append(f"L2 of {part.role}: {sum(x * x for x in change)} > {bound.l2_squared}")
    return found


class Planner(ScalarFuzz):
    """Random well-typed plans over a card."""

    def __init__(self, card: Card, rng: random.Random) -> None:
        self.cards = {TABLE: card}
        self.rng = rng

    def plan(self) -> tuple[a.Plan, object]:
        """A random plan with its analysis (plans that are refused are drawn again)."""
        while True:
            try:
                plan = self._draw()
                return plan, analysis_module.analyse(plan, self.cards)
            except PlanError:
                continue

    def _draw(self) -> a.Plan:
        rng = self.rng
        relation: a.Relation = a.Table(TABLE)
        self.schema = table_schema(relation, self.cards)
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
            relation = self._step(relation)
        names = [name for name in self.schema.columns if self.schema.columns[name].kind in ("category", "bool")]
        names += [
            name for name, grid in self.schema.columns.items() if grid.kind in ("number", "date") and grid.points < 70
        ]
        keys = tuple(rng.sample(names, min(len(names), rng.choice([0, 1, 1, 1, 2]))))
        measures = tuple(self._measure(f"m{index}") for index in range(rng.choice([1, 1, 2, 3])))
        return a.VectorSum(relation, measures, "1/100", keys)

    def _step(self, source: a.Relation) -> a.Relation:
        rng = self.rng
        kind = rng.choice(["filter", "filter", "derive", "derive", "select", "cap", "cap", "redefine"])
        usable = [name for name, grid in self.schema.columns.items() if grid.kind != "opaque"]
        if kind == "filter":
            return self._grow(a.Filter(source, self.bool(2)))
        if kind == "derive":
            names = rng.sample(["n1", "n2", *usable[:2]], rng.randint(1, 2))
            return self._grow(a.Derive(source, tuple((name, self.any(2)) for name in names)))
        if kind == "select" and len(usable) > 3:
            return self._grow(a.Select(source, tuple(rng.sample(usable, rng.randint(3, len(usable))))))
        by = tuple(rng.sample(usable, min(len(usable), rng.choice([0, 1, 1, 2]))))
        groups = rng.randint(1, 2) if by and rng.random() < 0.5 else None
        capped = self._grow(a.Cap(source, rng.randint(1, 3), by, groups))
        if kind == "redefine" and by:
            return self._grow(a.Derive(capped, ((by[0], self.any(1)),)))
        return capped

    def _grow(self, node: a.Relation) -> a.Relation:
        self.schema = step(node, self.schema)
        return node

    def _measure(self, name: str) -> a.Measure:
        return draw_measure(self, name)

    def column(self, *kinds: str) -> a.Scalar | None:
        names = [name for name, grid in self.schema.columns.items() if grid.kind in kinds]
        return a.Col(self.rng.choice(names)) if names else None


def schema_of(plan: a.Plan, card: Card):
    return infer(plan.source, {TABLE: card})
