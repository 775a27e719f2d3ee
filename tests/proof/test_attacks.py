"""Attacks of the catalogue that had no test of their own elsewhere (``attack_catalogue.py`` names them all)."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from lineage_checks import CARDS, CLINIC, TYPES, VISITS
from vault_world import context, numbered, plan

from cloister.errors import BudgetError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.precision import rho_of_epsilon
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.noise import add_noise
from cloister.vault.price import price
from cloister.vault.question import prepare
from cloister.vault.release import release

X = a.Col("x")


def engine(rows: list[tuple[object, ...]]) -> Engine:
    found = Engine(1)
    table = pa.Table.from_pylist([dict(zip(TYPES.names, row, strict=True)) for row in rows], schema=TYPES)
    found.load(CLINIC, CARDS[CLINIC], table, b"attacks")
    return found


def crowd(size: int, seed: int = 1) -> list[tuple[object, ...]]:
    rng = random.Random(seed)
    return [(f"p{n}", rng.randint(-2, 7), rng.choice(["red", "blue"]), rng.random() < 0.5) for n in range(size)]


def test_a2_every_raw_value_is_an_integer(quiet_world):
    """No floating-point number carries an answer: means and sums leave as integers on public grids."""
    asked = plan(a.Mean("age", a.Col("age")), a.Sum("cost", a.Scale(a.Col("cost"), "1/3")), keys=("sex",))
    answer = release(quiet_world.state()[0], context(quiet_world), asked)
    assert all(str(int(text)) == text for text in answer.receipt.raw)


def test_a6_what_a_unit_contributes_does_not_depend_on_the_others():
    """Each person's cell shows the same with and without everybody else, in any order of rows."""
    rows = [(f"p{n % 6}", n % 9 - 1, ("red", "blue")[n % 2], n % 3 == 0) for n in range(24)]
    source = a.Window(a.Cap(VISITS, 2, ("c",), 1), (("x", "desc"),), (a.Lag("before", X), a.RowNumber("k")))
    asked = a.VectorSum(source, (a.Count("n"), a.Sum("s", a.Fill(a.Col("before"), a.Number("5")))), "1/10", ("c", "b"))
    analysis = analyse(asked, CARDS)
    alone = [engine([row for row in rows if row[0] == f"p{person}"]).run(analysis).values for person in range(6)]
    random.Random(3).shuffle(rows)
    assert tuple(map(sum, zip(*alone, strict=True))) == engine(rows).run(analysis).values


def test_a9_a_rare_key_shows_no_more_often_than_delta():
    """One person with a key of her own: over many releases it appears about never."""
    asked = a.ThresholdKeys(VISITS, ("c",), 1, "1/2", "1/1000")
    analysis = analyse(asked, CARDS)
    cost = price(analysis, Fraction(1, 2))
    assert cost.delta == Fraction(1, 1000)
    exact = engine([("ada", 1, "red", True)] * 3).run(analysis)
    shown = sum(count > cost.threshold for _ in range(4000) for count in add_noise(exact, cost.sigmas))
    assert shown <= 4 + 6 * 2, "six standard deviations above 4 in 4,000"
    crowded = engine([(f"p{n}", 1, "red", True) for n in range(200)]).run(analysis)
    assert all(count > cost.threshold for count in add_noise(crowded, cost.sigmas)), "common keys are released"


def test_a15_an_earlier_plan_leaves_nothing_behind():
    """The exact integers are the same whatever was asked before, by whatever kind of plan."""
    rows = crowd(60)
    asked = analyse(a.VectorSum(a.Cap(VISITS, 1, ("c",)), (a.Mean("m", X),), "1/10", ("c",)), CARDS)
    fresh = engine(rows).run(asked)
    used = engine(rows)
    for source in (a.Filter(VISITS, a.Boolean(False)), a.PerUnit(VISITS, (a.UnitMeasure("n", "count"),)), VISITS):
        used.run(analyse(a.VectorSum(source, (a.Count("n"),), "1/10"), CARDS))
    assert used.run(asked) == fresh


def test_a20_a_repeat_is_the_same_answer_or_is_charged(quiet_world):
    """Repeats give one draw of noise, however many; ``draw`` gives another one, and pays for it."""
    state, transport = quiet_world.state()
    first = release(state, context(quiet_world), numbered(61))
    again = [release(state, context(quiet_world), numbered(61)) for _ in range(50)]
    assert {answer.receipt.raw for answer in again} == {first.receipt.raw}
    charges = transport.posts.count("/v1/append")
    other = release(state, context(quiet_world), {**numbered(61), "draw": 1})
    assert other.receipt.charge_id != first.receipt.charge_id
    assert transport.posts.count("/v1/append") == charges + 1


def test_a21_a_difference_has_the_noise_of_both():
    """Everybody minus everybody but one: the two releases are charged, and their difference hides the one."""
    rows = [*crowd(100), ("target", 7, "red", True), ("target", 7, "red", True)]
    everybody = analyse(a.VectorSum(VISITS, (a.Count("n"),), "1/100"), CARDS)
    others = analyse(a.VectorSum(a.Filter(VISITS, a.Compare("lt", X, a.Number("7"))), (a.Count("n"),), "1/100"), CARDS)
    sigma = price(everybody, Fraction(1, 100)).sigmas[0]
    found = engine(rows)
    wholes, rests = found.run(everybody), found.run(others)
    draws = [add_noise(wholes, [sigma])[0] - add_noise(rests, [sigma])[0] for _ in range(3000)]
    assert np.std(draws) > 1.3 * sigma
    assert sigma > CARDS[CLINIC].rows_per_unit * 6, "the noise of one answer alone is many times what one person adds"


def test_a22_reconstruction_within_the_budget_is_hardly_better_than_guessing():
    """Least squares over random subset counts (Dinur and Nissim), with all of epsilon 1 spent on them."""
    rng = np.random.default_rng(5)
    people, queries = 200, 400
    secret = rng.integers(0, 2, people)
    rho = rho_of_epsilon(Fraction(1), Fraction(1, 10**6)) / queries
    one_row = {CLINIC: CARDS[CLINIC].__class__(**{
        **{name: getattr(CARDS[CLINIC], name) for name in CARDS[CLINIC].__struct_fields__}, "rows_per_unit": 1,
    })}  # fmt: skip
    sigma = price(analyse(a.VectorSum(VISITS, (a.Count("n"),), str(rho)), one_row), rho).sigmas[0]
    subsets = rng.integers(0, 2, (queries, people))

    def right(scale: float) -> float:
        answers = subsets @ secret + rng.normal(0, scale, queries)
        guess = np.linalg.lstsq(subsets - 0.5, answers - subsets.sum(1) / 2 + (subsets - 0.5).sum(1) / 2, rcond=None)[0]
        return float(((guess > 0.5) == secret).mean())

    assert right(0.5) > 0.95, "the attack works where the noise is small"
    assert right(sigma) < 0.72, "and is close to guessing where it is what epsilon 1 pays for"


def test_a25_two_tables_of_one_population_are_one_account(quiet_world):
    """A plan over several tables is charged to every account it rests on, and to each once."""
    state, _ = quiet_world.state()
    twice = a.VectorSum(a.Align(a.Table("st_anna.visits"), a.Table("st_anna.visits"), "inner", (("age", "other"),)),
                        (a.Count("n"),), "1/1000")  # fmt: skip
    question = prepare(codec.encode(twice), context(quiet_world), state.terms)
    assert [account.budget.population for account in question.accounts] == ["st_anna.patients"]
    two_tables = analyse(
        a.VectorSum(a.Stack((VISITS, a.Table("bank.claims"))), (a.Count("n"),), "1/10"), CARDS,
        {CLINIC: "one", "bank.claims": "one"},
    )  # fmt: skip
    (claim,) = two_tables.claims.values()
    assert claim.bounds[0].l1 == 5, "three visits and two claims of one person go together"


def test_a33_every_score_is_charged(quiet_world):
    """Comparing models on private data is a release a score; what is not affordable is not compared."""
    state, transport = quiet_world.state()
    before = transport.posts.count("/v1/append")
    for edge in range(4):
        score = a.Mean("score", a.Compare("ge", a.Col("age"), a.Number(str(20 * edge))))
        release(state, context(quiet_world), plan(score, rho="1/1000"))
    assert transport.posts.count("/v1/append") == before + 4
    with pytest.raises(BudgetError):
        release(state, context(quiet_world), plan(a.Mean("score", a.Col("age")), rho="100"))
