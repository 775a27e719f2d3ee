"""Checks of a fit's vector sums: equal to the reference, no further apart on neighbours than claimed, priced so."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import lru_cache

import numpy as np
from vault_fuzzing import TABLE, Bench, Planner, make_card, make_rows, neighbour, to_arrow

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.plan.layout import step_component
from cloister.plan.learning import encoding as coding
from cloister.plan.learning import queries as q
from cloister.plan.learning.program import Planned
from cloister.plan.typing import infer, table_schema
from cloister.vault import analyse as analysis_module
from cloister.vault import fit_rows, fit_sums, interpret_fit
from cloister.vault.analyse import Analysis
from cloister.vault.norms import bound

PLANS = 4
QUERIES = 5


@lru_cache(maxsize=1)
def bench() -> Bench:
    return Bench()


class FitPlanner(Planner):
    """Random fits over a card, and random queries of their encodings."""

    def fit(self) -> tuple[a.Fit, Analysis]:
        while True:
            try:
                plan = self._fit()
                return plan, analysis_module.analyse(plan, self.cards)
            except PlanError:
                continue

    def _fit(self) -> a.Fit:
        rng = self.rng
        relation: a.Relation = a.Table(TABLE)
        self.schema = table_schema(relation, self.cards)
        for _ in range(rng.choice([0, 0, 1, 2])):
            relation = self._step(relation)
        kinds = [self.number, self.number, self.bool, self.category]
        features = tuple(rng.choice(kinds)(rng.choice([0, 0, 1])) for _ in range(rng.choice([1, 1, 2, 3])))
        target = rng.choice([self.bool, self.category])(rng.choice([0, 1]))
        return a.Fit(relation, features, target, a.Logistic(steps=2), "1/100")

    def query(self, coded: coding.Encoding) -> q.Query:
        rng, kind = self.rng, self.rng.choice(["gram", "gradient", "gradient", "gradient", "nearest"])
        if kind == "gram":
            return q.Gram()
        if kind == "nearest":
            clusters = rng.randint(1, 4)
            spread = rng.choice([1, 4, q.SCALE])
            rows = tuple(tuple(rng.randint(-spread, spread) for _ in range(coded.width - 1)) for _ in range(clusters))
            return q.Nearest(q.NearestForm(clusters), rows)
        outputs = 1 if len(coded.classes) == 2 else len(coded.classes)
        edges = sorted(rng.sample(range(coded.width + 1), 2)) if rng.random() < 0.4 else (0, coded.width)
        cap = rng.choice([0, 0, 1, q.SCALE, 5_000, 6_000, 10_000])
        clip = q.RESIDUAL if outputs > 1 else rng.choice([q.RESIDUAL, q.RESIDUAL, 1, 700, 3_000])
        spread = rng.choice([0, 2**10, 2**16, 2**20, q.MAX_WEIGHT])
        weights = tuple(tuple(rng.randint(-spread, spread) for _ in range(coded.width)) for _ in range(outputs))
        return q.Gradient(q.GradientForm(outputs, edges[0], edges[1], clip, cap), weights)


def rows_of(loaded, analysis: Analysis, coded: coding.Encoding) -> fit_rows.FitRows:
    sql, parameters = fit_rows.select(analysis, coded, {TABLE: loaded.store.tables[loaded.name]})
    arrays = loaded.cursor.execute(sql, parameters).fetchnumpy()
    assert not any(np.ma.is_masked(found) for found in arrays.values()), "a row with a null is among them"
    return fit_rows.encoded({name: np.ma.getdata(found) for name, found in arrays.items()}, coded)


def run_pair(seed: int, *, plans: int = PLANS, reference: bool = True) -> list[str]:
    """One pair of neighbours, several fits, several queries of each; returns what went wrong."""
    rng = random.Random(f"fit {seed}")
    card = make_card(rng)
    rows = make_rows(card, rng, rng.choice([0, 1, 5, 12, 30]))
    tables = [
        bench().load(card, to_arrow(card, content, rng), rng.randint(1, 4))
        for content in (rows, neighbour(card, rows, rng))
    ]
    planner, problems = FitPlanner(card, rng), []
    for number in range(plans):
        plan, analysis = planner.fit()
        coded = coding.encoding_of(plan, infer(plan.source, {TABLE: card}))
        read = [rows_of(table, analysis, coded) for table in tables]
        slow = [interpret_fit.coded_rows(plan, {TABLE: card}, {TABLE: table.rows()}) for table in tables]
        for _ in range(QUERIES):
            query = planner.query(coded)
            q.check_query(query, coded)
            claim = q.reach(query.form, coded)
            found = [fit_sums.sums(part, query, coded, lambda: None) for part in read]
            told = f"seed {seed}, plan {number}: {query.form}\n{plan}"
            if reference and found != [interpret_fit.total(query, part, coded, claim.width) for part in slow]:
                problems.append(f"engine and interpreter disagree, {told}")
            problems += [f"{text}, {told}" for text in _apart(analysis, query, claim, *found)]
    for table in tables:
        table.drop()
    return problems


def _apart(analysis: Analysis, query: q.Query, claim: q.Reach, first: list[int], second: list[int]) -> list[str]:
    """Where two exact results are further apart than any account's norms of the query's form."""
    part = step_component(Planned("step", query.form, Fraction(1), claim), (), ())
    change = [abs(x - y) for x, y in zip(first, second, strict=True)]
    found = []
    for account, known in analysis.claims.items():
        most = bound(part, known.influence.rows, known.influence.rows, known.influence.mode, cells=1)
        if sum(change) > most.l1 or max(change) > most.linf or sum(x * x for x in change) > most.l2_squared:
            found.append(f"{account} moves more than it claims")
    return found


def check_sums(first: int = 0, pairs: int = 12) -> None:
    for seed in range(first, first + pairs):
        problems = run_pair(seed)
        assert not problems, problems[0]


def wide_encoding(numbers: int, labels: tuple[int, ...], classes: int) -> coding.Encoding:
    """An encoding of some numbers from -1 to 1 and some categories, without data."""
    grid = Grid("number", -1, 1)
    blocks = [coding.Block(a.Col(f"n{index}"), grid, 1 + index, 1) for index in range(numbers)]
    start = 1 + numbers
    for index, size in enumerate(labels):
        names = tuple(map(str, range(size)))
        category = Grid("category", 0, size - 1, domain=names)
        blocks.append(coding.Block(a.Col(f"c{index}"), category, start, size, names))
        start += size
    target = Grid("category", 0, classes - 1, domain=tuple(map(str, range(classes))))
    return coding.Encoding(tuple(blocks), a.Col("y"), target, target.domain)


def check_reach() -> None:
    """No row reaches further than its form says, and the furthest rows reach exactly so far, or nearly."""
    rng = random.Random(5)
    for numbers, labels, classes in ((2, (), 2), (0, (3,), 2), (3, (2, 4), 2), (1, (3,), 3), (4, (2,), 5)):
        coded = wide_encoding(numbers, labels, classes)
        outputs = 1 if classes == 2 else classes
        forms = [q.GramForm(), q.NearestForm(3), q.GradientForm(outputs, 0, coded.width),
                 q.GradientForm(outputs, 1, coded.width), q.GradientForm(outputs, 0, 1),
                 *(q.GradientForm(outputs, 0, coded.width, cap=cap) for cap in (5_000, 1_000))]  # fmt: skip
        if outputs == 1:
            forms.append(q.GradientForm(1, 0, coded.width, clip=100))
        for form in forms:
            claim, furthest = q.reach(form, coded), 0
            for _ in range(60):
                row = [q.SCALE] + [q.SCALE * rng.choice([-1, 1]) for _ in range(numbers)]
                for size in labels:
                    chosen = rng.randrange(size)
                    row += [q.SCALE * (index == chosen) for index in range(size)]
                added = interpret_fit.added(_extreme(form, coded, rng), tuple(row), rng.randrange(classes))
                assert len(added) == claim.width
                assert max(map(abs, added)) <= claim.largest
                squared = sum(value * value for value in added)
                assert squared <= claim.squared, form
                furthest = max(furthest, squared)
            least = 0.9
            if isinstance(form, q.GramForm) and labels:
                least = 0.5  # a label gives its block a square and no product with itself
            assert furthest >= least * claim.squared, (form, furthest / claim.squared)


def _extreme(form: q.Form, coded: coding.Encoding, rng: random.Random) -> q.Query:
    if isinstance(form, q.GramForm):
        return q.Gram()
    if isinstance(form, q.NearestForm):
        return q.Nearest(form, tuple(tuple(rng.randint(-q.SCALE, q.SCALE) for _ in range(coded.width - 1))
                                     for _ in range(form.clusters)))  # fmt: skip
    most = q.MAX_WEIGHT
    return q.Gradient(form, tuple(tuple(rng.choice([-most, most]) for _ in range(coded.width))
                                  for _ in range(form.outputs)))  # fmt: skip
