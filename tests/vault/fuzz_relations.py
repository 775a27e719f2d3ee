"""Random relations over several tables of two accounts, and neighbours per account."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
from vault_fuzzing import SECRET, Planner, make_card, make_rows, to_arrow, unit_of

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import Schema, step, table_schema
from cloister.vault import analyse as analysis_module
from cloister.vault import compile as compile_module
from cloister.vault import engine as engine_module
from cloister.vault import interpret as interpreter
from cloister.vault import interpret_scalars
from cloister.vault import load as load_module

VISITS, EXAMS, CLAIMS, CODES = "a.visits", "a.exams", "b.claims", "a.codes"
ACCOUNTS = {"people": (VISITS, EXAMS), "insured": (CLAIMS,)}
SHARED = b"one contract"


def make_cards(rng: random.Random) -> dict[str, Card]:
    """Three tables of one unit type, two of them in one account, and a reference table."""
    normaliser = rng.choice(["exact", "ascii-lower-strip"])
    replace, cards = msgspec.structs.replace, {}
    for account, names in ACCOUNTS.items():
        for name in names:
            made = make_card(rng)
            cards[name] = replace(made, name=name, normaliser=normaliser, population=account)
    columns = tuple(column for column in make_card(rng).columns if column.name in ("c", "x", "y", "e", "b"))
    cards[CODES] = replace(
        cards[VISITS], name=CODES, unit="none", key=(rng.choice(["c", "x", "e", "b"]),), population="", columns=columns
    )
    return cards


def make_tables(cards: dict[str, Card], rng: random.Random) -> dict[str, list[dict]]:
    """Rows of every table; units meet across tables, and some are in one only."""
    tables = {}
    for name, card in cards.items():
        if name == CODES:
            whole = msgspec.structs.replace(card, columns=(*card.columns, make_card(rng).column("id")))
            tables[name] = [{k: v for k, v in row.items() if k != "id"} for row in make_rows(whole, rng, 12)]
        else:
            tables[name] = make_rows(card, rng, rng.choice([0, 1, 6, 15, 30]))
    return tables


def without_a_unit(cards: dict[str, Card], tables: dict[str, list[dict]], account: str, rng: random.Random) -> dict:
    """The same tables without all rows of one unit in one account."""
    names = ACCOUNTS[account]
    units = sorted({unit for n in names for row in tables[n] if (unit := unit_of(cards[n], row["id"])) is not None})
    gone = rng.choice(units) if units else None
    kept = {n: [r for r in tables[n] if gone is None or unit_of(cards[n], r["id"]) != gone] for n in names}
    return {**tables, **kept}


@dataclass
class Loaded:
    """A store with all tables of one side of a pair."""

    store: load_module.Store
    cards: dict[str, Card]
    decoded: dict[str, list] = field(default_factory=dict)

    @classmethod
    def of(cls, cards: dict[str, Card], tables: dict[str, list[dict]], rng: random.Random) -> Loaded:
        store = load_module.Store(rng.randint(1, 4))
        for name, card in cards.items():
            store.add(name, card, to_arrow(card, tables[name], rng), SECRET, SHARED)
        return cls(store, cards)

    def exact(self, analysis) -> list[int]:
        query = compile_module.compile_plan(analysis, self.store.tables)
        found = self.store.cursor().execute(query.sql, query.parameters).fetchall()
        return list(engine_module.assemble(analysis.layout, query, found))

    def rows(self) -> dict[str, list]:
        if not self.decoded:
            for name, card in self.cards.items():
                self.decoded[name] = self._decode(name, card)
        return self.decoded

    def _decode(self, name: str, card: Card) -> list:
        grids = load_module.stored_grids(name, card)
        found = []
        for row in self.store.cursor().execute(f"SELECT * FROM {self.store.tables[name]}").fetchall():
            unit, hashed, flags, *values = row if card.unit != "none" else (0, 0, 0, *row)
            named = {
                card.columns[index].name: interpret_scalars.natural(value, grid)
                for (index, grid), value in zip(grids.items(), values, strict=True)
            }
            found.append(interpreter.Row(unit, (hashed,), named, {name: flags}))
        return found

    def close(self) -> None:
        self.store.close()


class RelationPlanner(Planner):
    """Random plans over several tables."""

    def __init__(self, cards: dict[str, Card], rng: random.Random) -> None:
        super().__init__(cards[VISITS], rng)
        self.cards = cards
        self.names = 0

    def _draw(self) -> a.Plan:
        rng = self.rng
        relation, self.schema = self.relation(rng.choice([1, 2, 2, 3, 3, 4]))
        names = [name for name, grid in self.schema.columns.items() if self._closed(grid)]
        keys = tuple(rng.sample(names, min(len(names), rng.choice([0, 0, 1, 1, 1, 2]))))
        measures = tuple(self._measure(f"m{index}") for index in range(rng.choice([1, 1, 2])))
        return a.VectorSum(relation, measures, "1/100", keys)

    @staticmethod
    def _closed(grid) -> bool:
        return grid.kind in ("category", "bool") or (grid.kind in ("number", "date") and grid.points < 70)

    def relation(self, depth: int) -> tuple[a.Relation, Schema]:
        """A random relation with its schema."""
        rng = self.rng
        if depth == 0:
            node = a.Table(rng.choice([VISITS, VISITS, EXAMS, CLAIMS]))
            return node, table_schema(node, self.cards)
        kind = rng.choice(["align", "align", "stack", "old", "old", "lookup", "per_unit", "window", "split"])
        source, schema = self.relation(depth - 1)
        if kind == "align":
            right, other = self.relation(rng.randint(0, depth - 1))
            taken = rng.sample(list(other.columns), min(len(other.columns), rng.randint(0, 4)))
            columns = tuple((name, self._fresh(name)) for name in taken)
            return self._typed(a.Align(source, right, rng.choice(["inner", "left"]), columns), schema, other)
        if kind == "stack":
            return self._stack(source, schema, depth)
        self.schema = schema
        if kind == "old":
            return self._step(source), self.schema
        return self._typed(getattr(self, f"_{kind}")(source, schema), schema)

    def _typed(self, node: a.Relation, *schemas: Schema) -> tuple[a.Relation, Schema]:
        return node, step(node, *schemas, cards=self.cards)

    def _fresh(self, name: str) -> str:
        self.names += 1
        return f"{name}{self.names}"

    def _usable(self, schema: Schema) -> list[str]:
        return [name for name, grid in schema.columns.items() if grid.kind != "opaque"]

    def _stack(self, source: a.Relation, schema: Schema, depth: int) -> tuple[a.Relation, Schema]:
        right, other = self.relation(self.rng.randint(0, depth - 1))
        same = [
            name
            for name in self._usable(schema)
            if name in other.columns and other.columns[name].kind == schema.columns[name].kind
        ]
        if not same:
            raise PlanError("test", "nothing in common")
        column = self._fresh("side") if self.rng.random() < 0.5 else None
        parts, found = [], []
        for node, one in ((source, schema), (right, other)):
            selected, typed = self._typed(a.Select(node, tuple(same)), one)
            parts.append(selected)
            found.append(typed)
        return self._typed(a.Stack(tuple(parts), column, ("one", "two") if column else ()), *found)

    def _lookup(self, source: a.Relation, schema: Schema) -> a.Relation:
        rng = self.rng
        if rng.random() < 0.4:
            (key,), columns = self.cards[CODES].key, [c.name for c in self.cards[CODES].columns]
            kind = step(a.Select(source, (key,)), schema).columns[key].kind if key in schema.columns else None
            if kind is None:
                raise PlanError("test", "no such key")
            taken = tuple(rng.sample(columns, rng.randint(1, 3)))
            new = tuple(self._fresh("l") for _ in taken)
            return a.Lookup(source, (key,), a.Reference(CODES, (key,), taken), new, rng.random() < 0.4)
        key = rng.choice(self._usable(schema))
        literals = {
            "number": [a.Number("1"), a.Number("0.5"), a.Number("-3"), a.Number("1/3")],
            "bool": [a.Boolean(True), a.Boolean(False)],
            "date": [a.Date("2024-01-04"), a.Date("2024-02-29")],
            "category": [a.Text("red"), a.Text("blue"), a.Text("never")],
        }.get(schema.columns[key].kind, [])
        rows = tuple(
            (value, rng.choice([a.Number("5"), a.Number("-1.5")]), rng.choice([a.Text("u"), a.Text("v")]))
            for value in rng.sample(literals, rng.randint(1, len(literals)) if literals else 0)
        )
        return a.Lookup(
            source, (key,), a.PublicRows(rows), (self._fresh("l"), self._fresh("t")), inner=rng.random() < 0.4
        )

    def _per_unit(self, source: a.Relation, schema: Schema) -> a.Relation:
        rng = self.rng
        closed = [name for name in self._usable(schema) if self._closed(schema.columns[name])]
        by = tuple(rng.sample(closed, min(len(closed), rng.choice([0, 0, 1, 1, 2]))))
        measures = []
        for _ in range(rng.randint(1, 3)):
            kind = rng.choice(["count", "count", "sum", "min", "max", "mean", "any", "all", "distinct"])
            of = self.bool(1) if kind in ("any", "all") else self.number(1)
            if kind == "distinct":
                of = self.category(1)
            measures.append(
                a.UnitMeasure(self._fresh("u"), kind, None if kind == "count" and rng.random() < 0.5 else of)
            )
        return a.PerUnit(source, tuple(measures), by)

    def _window(self, source: a.Relation, schema: Schema) -> a.Relation:
        rng, usable = self.rng, self._usable(schema)
        order = tuple((name, rng.choice(["asc", "desc"])) for name in rng.sample(usable, rng.randint(0, 2)))
        by = tuple(rng.sample(usable, rng.choice([0, 0, 1])))
        functions = tuple(
            rng.choice([
                lambda: a.RowNumber(self._fresh("w")),
                lambda: a.Lag(self._fresh("w"), rng.choice([self.number, self.category, self.date, self.bool])(1),
                              rng.choice([1, -1, 2])),
                lambda: a.RunningSum(self._fresh("w"), self.number(1)),
            ])()
            for _ in range(rng.randint(1, 2))
        )  # fmt: skip
        return a.Window(source, order, functions, by)

    def _split(self, source: a.Relation, _schema: Schema) -> a.Relation:
        parts = self.rng.randint(2, 4)
        take = tuple(self.rng.sample(range(parts), self.rng.randint(1, parts - 1)))
        return a.Split(source, parts, take, self.rng.choice(["", "salt"]))

    def plan(self) -> tuple[a.Plan, object]:
        while True:
            try:
                plan = self._draw()
                return plan, analysis_module.analyse(plan, self.cards)
            except (PlanError, ValueError):
                continue
