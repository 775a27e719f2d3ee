"""Every learner's vector sums on random neighbours: what it really asks moves no further than the analysis claims.

``tests/vault`` fuzzes the kinds of sums with random queries. Here the plans are those that the learners make for random
features, and the queries those that their programs ask, answer by answer, with noise: the same transcript is asked of
two neighbouring tables, and engine and reference agree on both.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import sandbox_world as clinic
from fit_checks import _apart, bench, rows_of
from vault_fuzzing import TABLE, Loaded, make_card, make_rows, neighbour, to_arrow, violations

import cloister.sandbox as cl
from cloister.contract.algorithms import REGISTRY
from cloister.contract.card import Card
from cloister.errors import CloisterError
from cloister.learn import (
    PCA,
    AdditiveClassifier,
    CategoricalNB,
    GaussianNB,
    KMeans,
    LinearRegression,
    LogisticRegression,
)
from cloister.plan import algebra as a
from cloister.plan.learning.program import drive
from cloister.plan.learning.queries import check_query
from cloister.vault import fit_sums, interpret_fit
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.interpret import interpret

TRIALS = int(os.environ.get("CLOISTER_LEARNER_TRIALS", "6"))
NUMBERS, CLOSED, FLAGS = ("x", "y", "z", "w"), ("c", "e"), ("b",)

Asked = Callable[[cl.Frame, random.Random], Any]


def features(frame: cl.Frame, rng: random.Random, *kinds: tuple[str, ...]) -> cl.Frame:
    names = sorted({name for kind in kinds for name in kind})
    return frame[rng.sample(names, rng.randint(1, min(3, len(names))))]


def target(frame: cl.Frame, rng: random.Random, X: cl.Frame) -> Any:
    """A condition or category that is no feature."""
    free = [name for name in (*CLOSED, *FLAGS) if name not in X]
    return frame[rng.choice(free)] if free and rng.random() < 0.7 else frame.x > rng.randint(-3, 3)


def supervised(make: Callable[[random.Random], Any], *kinds: tuple[str, ...]) -> Asked:
    def asked(frame: cl.Frame, rng: random.Random) -> Any:
        X = features(frame, rng, *kinds)
        return make(rng)._ask(X, target(frame, rng, X))

    return asked


def gaps(rng: random.Random) -> dict[str, str]:
    return {"missing": rng.choice(["drop", "indicator"])}


LEARNERS: dict[str, Asked] = {
    "LinearRegression": lambda d, rng: LinearRegression(**gaps(rng))._ask(
        features(d, rng, NUMBERS[1:], CLOSED), rng.choice([d.x, d.b, d.x > 0])
    ),
    "PCA": lambda d, rng: PCA(**gaps(rng))._ask(features(d, rng, NUMBERS, FLAGS)),
    "GaussianNB": supervised(lambda rng: GaussianNB(**gaps(rng)), NUMBERS),
    "CategoricalNB": supervised(lambda rng: CategoricalNB(**gaps(rng)), CLOSED, FLAGS),
    "LogisticRegression": supervised(
        lambda rng: LogisticRegression(steps=rng.randint(1, 3), **gaps(rng)), NUMBERS, CLOSED, FLAGS
    ),
    "AdditiveClassifier": lambda d, rng: AdditiveClassifier(bins=rng.randint(2, 6), rounds=2, **gaps(rng))._ask(
        features(d, rng, NUMBERS, CLOSED), rng.choice([d.b, d.x > 0])
    ),
    "KMeans": lambda d, rng: KMeans(rng.randint(1, 4), max_iter=3, **gaps(rng))._ask(
        features(d, rng, NUMBERS, CLOSED, FLAGS)
    ),
}


def handle(card: Card) -> cl.Frame:
    """A handle of the card's table: what learners ask of it is typed, and nothing is released."""
    session, _ = clinic.session()
    return cl.Frame.of_table(session, card.name)


@pytest.fixture
def only_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Card], cl.Frame]]:
    def of(card: Card) -> cl.Frame:
        monkeypatch.setattr(clinic, "CARDS", {card.name: card})
        return handle(card)

    yield of


def moved(plan: a.Plan, analysis: Analysis, pair: list[Loaded], card: Card, rng: random.Random) -> list[str]:
    """What is wrong with a plan on two neighbouring tables."""
    if isinstance(plan, a.VectorSum):
        first, second = (table.exact(analysis) for table in pair)
        found = violations(analysis, first, second)
        told = [] if interpret(plan, {TABLE: card}, {TABLE: pair[0].rows()}) == first else ["not the reference's"]
        return [*found, *told]
    assert isinstance(plan, a.Fit)
    known = analysis.layout.fitted
    coded = known.coded
    read = [rows_of(table, analysis, coded) for table in pair]
    slow = [interpret_fit.coded_rows(plan, {TABLE: card}, {TABLE: table.rows()}) for table in pair]
    told: list[str] = []
    spread = rng.choice([0, 10**3, 10**7, 10**10])

    def answer(index: int, query: Any) -> list[int]:
        check_query(query, coded)
        claim = known.steps[index].reach
        exact = [fit_sums.sums(part, query, coded, lambda: None) for part in read]
        if exact != [interpret_fit.total(query, part, coded, claim.width) for part in slow]:
            told.append(f"step {index}: engine and interpreter disagree")
        told.extend(f"step {index}: {text}" for text in _apart(analysis, query, claim, *exact))
        return [value + rng.randint(-spread, spread) for value in rng.choice(exact)]

    drive(known.program, known.steps, [1.0 + spread] * len(known.steps), answer)
    return told


@pytest.mark.parametrize("name", LEARNERS)
def test_what_a_learner_asks_moves_no_more_than_is_claimed(name, only_card, record_property):
    trials = 0
    for seed in range(TRIALS):
        rng = random.Random(f"{name} {seed}")
        card = msgspec.structs.replace(make_card(rng), name=TABLE, population="clinic.patients")
        frame = only_card(card)
        rows = make_rows(card, rng, rng.choice([1, 6, 15, 40]))
        pair = [
            bench().load(card, to_arrow(card, content, rng), rng.randint(1, 4))
            for content in (rows, neighbour(card, rows, rng))
        ]
        for _ in range(3):
            try:
                plan = LEARNERS[name](frame, rng).plan("1/100")
                analysis = analyse(plan, {TABLE: card})
            except CloisterError:
                continue  # a feature that is the target, a cut beside its number, ...
            trials += 1
            problems = moved(plan, analysis, pair, card, rng)
            assert not problems, (name, seed, problems[0], plan)
        for table in pair:
            table.drop()
    record_property("plans of learners", trials)
    assert trials >= TRIALS


def test_every_learner_is_among_them():
    assert set(LEARNERS) == {found.name for found in REGISTRY} - {"Scorecard"}  # a scorecard makes no release
