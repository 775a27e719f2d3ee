"""Membership inference against learners: the best attack on what a fit releases proves no more than was charged.

Each learner is asked as an analyst asks it, on two neighbouring tables: a crowd, and the crowd with one unit more whose
rows move the sums as far as a unit can (values at the ends of their bounds, the rarer class, more rows than are kept).
The vault's own path computes the sums and draws the noise, thousands of times on either table. An attacker who knows
both tables and sees the whole transcript has no better test than the likelihood ratio (Neyman and Pearson); its errors,
by exact Clopper-Pearson bounds, prove a lower bound of epsilon at ``DELTA``. It must stay below what was charged, and
above it where the noise is planted too small.

A fit of several steps is run anew for every transcript, as its queries depend on its noise; CI runs few of them, with
noise of a quarter as the mutant, the nightly run many, with half. Every bound is wrong with probability 1e-6 at most.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sandbox_world as clinic
from mutants import mutated
from scipy.stats import beta

import cloister.sandbox as cl
from cloister.contract.algorithms import REGISTRY
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
from cloister.plan.precision import epsilon_of_rho
from cloister.vault import fit, noise
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.engine import Engine, Exact
from cloister.vault.price import Price, price

DELTA = Fraction(1, 10)
RHO = Fraction(1, 2)
WRONG = 1e-6
FEW, MANY = 250, 3_000
THRESHOLDS = np.linspace(-1.0, 2.0, 31)
CARD = clinic.VISITS

LEARNERS: dict[str, Callable[[cl.Frame], Any]] = {
    "LinearRegression": lambda d: LinearRegression()._ask(d[["age", "smoker"]], d.cost),
    "PCA": lambda d: PCA()._ask(d[["age", "cost"]]),
    "GaussianNB": lambda d: GaussianNB()._ask(d[["age"]], d.smoker),
    "CategoricalNB": lambda d: CategoricalNB()._ask(d[["sex"]], d.smoker),
    "LogisticRegression": lambda d: LogisticRegression(steps=2)._ask(d[["age", "cost"]], d.smoker),
    "AdditiveClassifier": lambda d: AdditiveClassifier(bins=3, rounds=1)._ask(d[["age", "sex"]], d.smoker),
    "KMeans": lambda d: KMeans(2, max_iter=2)._ask(d[["age", "cost"]]),
}
IN_STEPS = ("LogisticRegression", "AdditiveClassifier", "KMeans")
AT_ONCE = tuple(name for name in LEARNERS if name not in IN_STEPS)


def rows(*, canary: bool) -> pa.Table:
    """A crowd of 200 who do not smoke, of middling age and cost; the canary is at the ends of all bounds and beyond."""
    crowd = [(f"p{n}", 40 + n % 30, "F", "north", 600 + 7 * (n % 50), False) for n in range(200)]
    more = [("canary", 10**6, "X", "west", 10**6, True)] * (CARD.rows_per_unit + 2) if canary else []
    names = ("patient_id", "age", "sex", "region", "cost", "smoker")
    table = pd.DataFrame(crowd + more, columns=list(names)).assign(bmi=30.0, date=pd.Timestamp("2023-01-01").date())
    return pa.Table.from_pandas(table, clinic.table(CARD).schema, preserve_index=False)


class Asked(NamedTuple):
    """What a learner asks, as the vault has analysed and priced it."""

    plan: a.VectorSum | a.Fit
    analysis: Analysis
    cost: Price

    @property
    def charged(self) -> float:
        """The epsilon at ``DELTA`` of what is charged."""
        return float(epsilon_of_rho(self.cost.rho, DELTA))


@functools.cache
def asked(name: str) -> Asked:
    session, _ = clinic.session()
    plan = LEARNERS[name](cl.Frame.of_table(session, CARD.name)).plan(str(RHO))
    analysis = analyse(plan, clinic.CARDS)
    return Asked(plan, analysis, price(analysis, RHO))


@pytest.fixture(scope="module")
def tables() -> Iterator[tuple[Engine, Engine]]:
    """Engines with the canary and without."""
    engines = Engine(1), Engine(1)
    for engine, canary in zip(engines, (True, False), strict=True):
        engine.load(CARD.name, CARD, rows(canary=canary), b"canary")
    yield engines
    for engine in engines:
        engine.close()


def proven(with_canary: np.ndarray, without: np.ndarray) -> float:
    """The largest epsilon that the errors of a threshold on the log-likelihood ratio prove at ``DELTA``."""
    best, n = 0.0, len(without)
    for one, other in ((with_canary, without), (-without, -with_canary)):
        for threshold in THRESHOLDS:
            hits, false = int((one > threshold).sum()), int((other > threshold).sum())
            low = float(beta.ppf(WRONG, hits, n - hits + 1)) if hits else 0.0
            high = float(beta.ppf(1 - WRONG, false + 1, n - false)) if false < n else 1.0
            if low > DELTA:
                best = max(best, math.log((low - float(DELTA)) / high))
    return best


class Ratios(NamedTuple):
    """Log-likelihood ratios of releases of both tables, and the mean squared distance of their sums in noise scales."""

    with_canary: np.ndarray
    without: np.ndarray
    distance: float


def at_once(found: Asked, tables: tuple[Engine, Engine], many: int) -> Ratios:
    """Many releases of one vector: its sums are computed once."""
    exact = [engine.run(found.analysis) for engine in tables]
    widths = [sigma for width, sigma in zip(exact[0].widths, found.cost.sigmas, strict=True) for _ in range(width)]
    sums = [np.asarray(part.values, float) for part in exact]
    scales = np.resize(np.asarray(widths), len(sums[0])) ** 2
    towards, middle = (sums[0] - sums[1]) / scales, (sums[0] + sums[1]) / 2
    drawn = [
        np.asarray(noise.add_noise(Exact(part.values * many, part.widths), found.cost.sigmas), float) for part in exact
    ]
    ratios = [(part.reshape(many, -1) - middle) @ towards for part in drawn]
    return Ratios(*ratios, float((sums[0] - sums[1]) @ towards))


class Pool:
    """Noise of the one noise function, drawn for many releases together: making the mechanism takes longest."""

    def __init__(self) -> None:
        self._left: defaultdict[float, list[int]] = defaultdict(list)

    def add(self, exact: Exact, sigmas: tuple[float, ...]) -> list[int]:
        (sigma,), left = sigmas, self._left[sigmas[0]]
        if len(left) < len(exact.values):
            left += noise.add_noise(Exact((0,) * 4_096, (1,)), (sigma,))
        taken = [left.pop() for _ in exact.values]
        return [value + moved for value, moved in zip(exact.values, taken, strict=True)]


def in_steps(found: Asked, tables: tuple[Engine, Engine], many: int, monkeypatch: pytest.MonkeyPatch) -> Ratios:
    """Many fits: every transcript has queries of its own, and the attacker computes the sums of both tables."""
    assert isinstance(found.plan, a.Fit)
    coded = found.analysis.layout.fitted.coded
    held = [fit.read(engine, found.analysis, coded) for engine in tables]
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    exact_sums, pool, place = fit.sums, Pool(), 0

    def both(_rows: Any, query: Any, encoding: Any, check: Any) -> list[int]:
        sums = [exact_sums(part, query, encoding, check) for part in held]
        steps.append((np.asarray(sums[0], float), np.asarray(sums[1], float)))
        return sums[place]

    monkeypatch.setattr(fit, "read", lambda *_: held[place])
    monkeypatch.setattr(fit, "sums", both)
    monkeypatch.setattr(fit, "add_noise", pool.add)
    ratios: list[list[float]] = [[], []]
    distances = []
    for place in (0, 1):
        for _ in range(many):
            steps.clear()
            raw = iter(fit.fit(tables[place], found.analysis, found.plan, found.cost).raw)
            ratio = distance = 0.0
            for (one, other), sigma in zip(steps, found.cost.sigmas, strict=True):
                shown = np.fromiter(raw, float, len(one))
                ratio += float((shown - (one + other) / 2) @ (one - other)) / sigma**2
                distance += float(((one - other) ** 2).sum()) / sigma**2
            ratios[place].append(ratio)
            distances.append(distance)
    return Ratios(np.asarray(ratios[0]), np.asarray(ratios[1]), float(np.mean(distances)))


def attack(name: str, tables: tuple[Engine, Engine], many: int, monkeypatch: pytest.MonkeyPatch) -> Ratios:
    found = asked(name)
    return in_steps(found, tables, many, monkeypatch) if name in IN_STEPS else at_once(found, tables, many)


def check(name: str, ratios: Ratios, record_property: Any) -> None:
    found = asked(name)
    record_property("transcripts", 2 * len(ratios.without))
    assert proven(ratios.with_canary, ratios.without) <= found.charged
    # The canary is the worst there is, or nearly: the attack means something.
    assert 0.8 * 2 * float(found.cost.rho) <= ratios.distance <= 2 * float(found.cost.rho) * (1 + 1e-12)


@pytest.mark.parametrize("name", LEARNERS)
def test_no_attack_on_a_transcript_sees_more_than_was_charged(name, tables, monkeypatch, record_property):
    check(name, attack(name, tables, FEW if name in IN_STEPS else MANY, monkeypatch), record_property)


@pytest.mark.parametrize(
    "name",
    [name if name in {"PCA", "CategoricalNB"} else pytest.param(name, marks=pytest.mark.slow) for name in AT_ONCE],
)
def test_noise_of_half_is_found_out(name, tables, monkeypatch):
    with mutated(noise, "scale=sigma)", "scale=sigma / 2)"):
        ratios = attack(name, tables, MANY, monkeypatch)
    assert proven(ratios.with_canary, ratios.without) > asked(name).charged


@pytest.mark.parametrize("name", ["KMeans"])
def test_noise_of_a_quarter_is_found_out_with_few_fits(name, tables, monkeypatch):
    with mutated(noise, "scale=sigma)", "scale=sigma / 4)"):
        ratios = attack(name, tables, FEW, monkeypatch)
    assert proven(ratios.with_canary, ratios.without) > asked(name).charged


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_many_transcripts_prove_no_more(name, tables, monkeypatch, record_property):
    check(name, attack(name, tables, 5 * MANY, monkeypatch), record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_STEPS)
def test_noise_of_half_is_found_out_with_many_fits(name, tables, monkeypatch):
    with mutated(noise, "scale=sigma)", "scale=sigma / 2)"):
        ratios = attack(name, tables, MANY, monkeypatch)
    assert proven(ratios.with_canary, ratios.without) > asked(name).charged


def test_every_learner_is_among_them():
    assert set(LEARNERS) == {found.name for found in REGISTRY} - {"Scorecard"}  # a scorecard makes no release
