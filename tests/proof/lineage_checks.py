"""Attacks on unit lineage: shapes of relations under which a careless analysis claims too little.

Two providers hold tables about the same persons. For every account one person's rows vanish from that account's tables
only, and the exact integers may move by no more than the analysis claims for that account.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pyarrow as pa

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.compile import compile_plan
from cloister.vault.engine import assemble
from cloister.vault.load import Store

CLINIC, BANK = "clinic.visits", "bank.claims"
PERSONS = ("ada", "ben", "cleo", "dora")


def card(name: str, rows_per_unit: int) -> Card:
    columns = (
        Column("id", "string", 2, ""),
        Column("x", "int", 2, "", low="-2", high="7", step="1", nullable=True),
        Column("c", "string", 2, "", domain=("red", "blue"), nullable=True),
        Column("b", "bool", 2, ""),
    )
    return Card(
        name, name, "", "person", ("id",), "exact", name.partition(".")[0], rows_per_unit, 200, "demonstration",
        columns, "generated", "none", ("testing",),
    )  # fmt: skip


CARDS = {CLINIC: card(CLINIC, 3), BANK: card(BANK, 2)}
VISITS, CLAIMS = a.Table(CLINIC), a.Table(BANK)
TAKEN = (("x", "rx"), ("c", "rc"), ("b", "rb"))
PAIRS = a.Align(VISITS, CLAIMS, "inner", TAKEN)
LEFT = a.Align(VISITS, CLAIMS, "left", TAKEN)
TWICE = a.Align(VISITS, VISITS, "inner", TAKEN)
BOTH = a.Stack((VISITS, CLAIMS), "which", ("visit", "claim"))
X, C = a.Col("x"), a.Col("c")
COUNTED = (a.UnitMeasure("n", "count"), a.UnitMeasure("s", "sum", X), a.UnitMeasure("m", "max", X))
ORDER = (("x", "desc"),)
ALONG = (a.Lag("before", X), a.RowNumber("k"), a.RunningSum("r", X))
SHORT = a.PublicRows(((a.Text("red"), a.Number("5")), (a.Text("blue"), a.Number("-1"))))

SHAPES: dict[str, a.Relation] = {
    "fan-out": PAIRS,
    "left align": LEFT,
    "left align, then only rows without a partner": a.Filter(LEFT, a.IsNull(a.Col("rx"))),
    "left align, then nulls are filled": a.Derive(LEFT, (("x", a.Fill(a.Col("rx"), a.Number("7"))),)),
    "left align on the other side": a.Align(CLAIMS, VISITS, "left", TAKEN),
    "left align of a part": a.Align(VISITS, a.Split(CLAIMS, 2, (0,)), "left", TAKEN),
    "align of two parts": a.Align(a.Split(VISITS, 2, (0,)), a.Split(CLAIMS, 2, (0,)), "inner", TAKEN),
    "one table twice": TWICE,
    "one table twice, left": a.Align(VISITS, a.Filter(VISITS, a.Col("b")), "left", TAKEN),
    "pairs of pairs": a.Align(PAIRS, CLAIMS, "inner", (("x", "qx"), ("c", "qc"), ("b", "qb"))),
    "stack of one table twice": a.Stack((VISITS, VISITS)),
    "stack across accounts": BOTH,
    "stack, then one row per unit": a.PerUnit(BOTH, COUNTED),
    "stack, then one row per unit and value": a.PerUnit(BOTH, COUNTED, ("c",)),
    "stack, then a cap": a.Cap(BOTH, 1),
    "stack, then a cap by value": a.Cap(BOTH, 1, ("c",)),
    "stack, then a cap of groups": a.Cap(BOTH, 1, ("c",), 1),
    "stack, then along the rows": a.Window(BOTH, ORDER, ALONG),
    "stack, then along the rows, then a cap": a.Cap(a.Window(BOTH, ORDER, ALONG), 2),
    "stack of pairs": a.Stack((VISITS, a.Select(a.Derive(LEFT, (("x", a.Col("rx")),)), ("id", "x", "c", "b")))),
    "align, then one row per unit": a.PerUnit(LEFT, (*COUNTED[:2], a.UnitMeasure("rs", "sum", a.Col("rx")))),
    "align with one row per unit": a.Align(
        VISITS, a.PerUnit(CLAIMS, COUNTED, ("c",)), "left", (("s", "rs"), ("n", "rn"))
    ),
    "along the rows, then the first": a.Filter(
        a.Window(LEFT, ORDER, ALONG), a.Compare("eq", a.Col("k"), a.Number("1"))
    ),
    "cap, then another value": a.Derive(a.Cap(VISITS, 1, ("c",)), (("c", a.Case(a.Col("b"), C, a.Text("red"))),)),
    "cap, then align": a.Align(a.Cap(VISITS, 1, ("c",)), CLAIMS, "inner", TAKEN),
    "align with a cap": a.Align(VISITS, a.Cap(CLAIMS, 1, ("c",)), "inner", TAKEN),
    "align, then a cap": a.Cap(LEFT, 2, ("rc",)),
    "cap of both sides": a.Align(a.Cap(VISITS, 2, ("c",), 1), a.Cap(CLAIMS, 1, ("c",)), "left", TAKEN),
    "lookup": a.Lookup(VISITS, ("c",), SHORT, ("v",)),
    "lookup in pairs": a.Lookup(LEFT, ("rc",), SHORT, ("v",), inner=True),
    "align after a stack": a.Align(BOTH, CLAIMS, "left", TAKEN),
    "align with a stack": a.Align(VISITS, BOTH, "left", TAKEN),
    "one row per unit of parts": a.PerUnit(a.Split(BOTH, 3, (0, 2), "s"), COUNTED),
}  # fmt: skip


def plans(source: a.Relation) -> Iterable[a.VectorSum]:
    """Plans that count and add up what there is, by every key there is."""
    from cloister.plan.typing import infer

    columns = infer(source, CARDS).columns
    numbers = [name for name, grid in columns.items() if grid.kind == "number"]
    keys = [name for name, grid in columns.items() if grid.kind in ("category", "bool")]
    measures = [a.Count("n"), *(a.Sum(f"s-{name}", a.Col(name)) for name in numbers)]
    measures += [a.Mean(f"m-{name}", a.Col(name)) for name in numbers[:2]]
    for by in itertools.chain([()], ((key,) for key in keys), itertools.islice(itertools.combinations(keys, 2), 3)):
        yield a.VectorSum(source, tuple(measures), "1/10", tuple(by))


def rows(rng: random.Random) -> list[dict[str, object]]:
    made = []
    for person in rng.sample(PERSONS, rng.randint(1, 4)):
        made += [
            {
                "id": person,
                "x": rng.choice([-2, -9, 7, 90, 7, None, 3]),
                "c": rng.choice(["red", "blue", "?", None]),
                "b": rng.random() < 0.5,
            }
            for _ in range(rng.choice([0, 1, 3, 5]))
        ]
    return made


TYPES = pa.schema([("id", pa.string()), ("x", pa.int64()), ("c", pa.string()), ("b", pa.bool_())])


class Tables:
    """Both tables, whole and, per account, without one person's rows in it."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        whole = {name: rows(rng) for name in CARDS}
        gone = rng.choice(PERSONS)
        self.stores = {"": self._store(whole)}
        for name, own in CARDS.items():
            rest = [row for row in whole[name] if row["id"] != gone]
            self.stores[own.population] = self._store({**whole, name: rng.sample(rest, len(rest))})

    @staticmethod
    def _store(content: dict[str, list[dict[str, object]]]) -> Store:
        store = Store(1)
        for name, found in content.items():
            store.add(name, CARDS[name], [pa.Table.from_pylist(found, schema=TYPES)], b"lineage")
        return store

    def exact(self, account: str, analysis: Analysis) -> tuple[int, ...]:
        store = self.stores[account]
        query = compile_plan(analysis, store.tables)
        return assemble(analysis.layout, query, store.cursor().execute(query.sql, query.parameters).fetchall())

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


def violations(tables: Tables, plan: a.VectorSum) -> list[str]:
    """Return where the integers of the plan move further than is claimed for an account."""
    analysis, found = analyse(plan, CARDS), []
    whole, width = tables.exact("", analysis), analysis.layout.width
    for account, claim in analysis.claims.items():
        other, start = tables.exact(account, analysis), 0
        for part, bound in zip(analysis.layout.components, claim.bounds, strict=True):
            places = [place for place in range(len(whole)) if start <= place % width < start + part.width]
            moved = [abs(whole[place] - other[place]) for place in places]
            start += part.width
            if sum(moved) > bound.l1 or max(moved) > bound.linf or sum(m * m for m in moved) > bound.l2_squared:
                found.append(f"{account}: {part.role} {part.measure} by {plan.keys} moved by {moved}: {claim}")
    return found


def check_shapes(seeds: Iterable[int], shapes: Iterable[str] = tuple(SHAPES), each: int = 2) -> int:
    """Check ``each`` plans of every shape on every pair of neighbours; return the number of plans compared."""
    asked = {shape: list(plans(SHAPES[shape])) for shape in shapes}
    compared = 0
    for seed in seeds:
        tables, rng = Tables(seed), random.Random(seed)
        for shape, made in asked.items():
            for plan in rng.sample(made, min(each, len(made))):
                compared += 1
                wrong = violations(tables, plan)
                assert not wrong, f"{shape}, seed {seed}: {wrong[0]}"
        tables.close()
    return compared
