"""A vault in this process for the analyst API: the real typing, analysis, price and engine, with or without noise."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from cloister.contract.card import OTHER, Card, Column
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.plan import algebra
from cloister.plan.link import Cause, Context
from cloister.sandbox.session import Session
from cloister.vault import describe, noise
from cloister.vault.config import Terms
from cloister.vault.engine import Engine, Exact
from cloister.vault.fit import fit
from cloister.vault.mock import mock_table
from cloister.vault.noise import scores
from cloister.vault.question import Question, prepare

ANALYST = "did:key:zAnalyst"
DIGEST = "sha256:" + "0" * 64
SEED = 1

VISITS = Card(
    name="clinic.visits",
    title="Visits to a clinic",
    description="Invented.",
    unit="patient",
    key=("patient_id",),
    normaliser="exact",
    population="clinic.patients",
    rows_per_unit=4,
    row_limit=8_192,
    grade="demonstration",
    columns=(
        Column("patient_id", "string", 2, "Patient", personal=True),
        Column("date", "date", 2, "Day", low="2022-01-01", high="2024-12-31"),
        Column("age", "int", 2, "Age", low="0", high="110", step="1"),
        Column("sex", "string", 2, "Sex", domain=("F", "M", "X")),
        Column("region", "string", 2, "Region", domain=("north", "south", "east", "west")),
        Column("bmi", "decimal", 2, "Body mass index", low="10.0", high="60.0", step="0.1", nullable=True),
        Column("cost", "int", 3, "Cost", low="0", high="2000", step="1"),
        Column("smoker", "bool", 2, "Smokes"),
    ),
    source="mock",
    retention="none",
    purposes=("teaching",),
)
OTHERS = Card(
    name="bank.customers",
    title="Customers",
    description="Invented.",
    unit="customer",
    key=("customer_id",),
    normaliser="exact",
    population="bank.customers",
    rows_per_unit=1,
    row_limit=1_024,
    grade="demonstration",
    columns=(
        Column("customer_id", "int", 2, "Customer", low="1", high="9999", step="1"),
        Column("balance", "int", 2, "Balance", low="-500", high="1500", step="10"),
        Column("class", "string", 4, "A column whose name is a Python keyword", domain=("a", "b")),
    ),
    source="mock",
    retention="none",
    purposes=("teaching",),
)
CARDS = {card.name: card for card in (VISITS, OTHERS)}


def terms(mode: str, epsilon: str = "8") -> Terms:
    """Return the terms of a contract over both tables."""
    broker = Broker("broker", "did:key:zBroker", "http://localhost")
    tables = tuple(TableTerms(card.name, "clinic", "broker", DIGEST, DIGEST) for card in CARDS.values())
    contract = Contract(
        name="test",
        title="A contract for tests",
        parties=(Party("clinic", "did:key:zClinic", "provider"), Party("you", ANALYST, "analyst")),
        brokers=(broker,),
        tables=tables,
        purposes=("teaching",),
        operations=("aggregate", "model"),
        regime="dp",
        budgets=tuple(Budget(card.population, "broker", epsilon, "0.000001", "0.02") for card in CARDS.values()),
        analyst_limits=(AnalystLimit("you", "clinic.patients", "0.5"),),
        limits=Limits(1_000, 10**9, 10**6, 100),
        policies={},
        placement="colocated",
        tenancy="exclusive",
        accept_simulated=True,
        share_releases=False,
        not_before="2026-01-01T00:00:00Z",
        not_after="2027-01-01T00:00:00Z",
    )
    return Terms(
        contract=contract,
        digest=DIGEST,
        cards=CARDS,
        tables={table.name: table for table in tables},
        brokers={"broker": broker},
        provider_dids={"clinic": "did:key:zClinic"},
        capsules={},
        env_digest=DIGEST,
        mode=mode,  # type: ignore[arg-type]
        assurance="simulated",
    )


class Vault:
    """Answers as a vault does. ``noise=False`` gives the exact integers, so results must equal pandas."""

    def __init__(self, *, noise: bool, mode: str = "mock", epsilon: str = "8") -> None:
        self.terms = terms(mode, epsilon)
        self.noise = noise
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.context = Context("s", ANALYST, "teaching", DIGEST, Cause("cell"))
        self._engine: Engine | None = None
        self._known: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Serve one request; everything crosses as JSON, as on the link."""
        self.asked.append((op, plan))
        wire = None if plan is None else msgspec.json.decode(msgspec.json.encode(plan))
        result = getattr(self, f"_{op}")(wire)
        return msgspec.json.decode(msgspec.json.encode(result))  # type: ignore[no-any-return]

    def releases(self) -> list[dict[str, Any]]:
        """Return the plans that were released, in order."""
        return [plan for op, plan in self.asked if op == "release" and plan is not None]

    def _describe(self, _plan: Any) -> dict[str, Any]:
        return describe.describe(self.terms, self.context)

    def _budget(self, _plan: Any) -> dict[str, Any]:
        account = describe.describe(self.terms, self.context)["budgets"][0]
        mine, total = Fraction(account["rho_analyst"]), Fraction(account["rho_total"])
        privacy = {
            "name": "privacy",
            "population": account["population"],
            "broker": "broker",
            "spent": str(total / 4),
            "limit": str(total),
            "analyst_spent": str(mine / 4),
            "analyst_limit": str(mine),
        }
        frame = [
            privacy,
            {"name": "releases", "spent": 3, "limit": 1_000},
            {"name": "rows", "spent": 12_288, "limit": 10**9},
            {"name": "compute", "spent": 6, "limit": 10**6},
            {"name": "models", "spent": 0, "limit": 0},
            {"name": "expiry", "not_after": "2027-01-01T00:00:00Z"},
        ]
        return {"limits": frame, "time": "2026-11-21T09:00:00Z"}

    def _price(self, plan: Any) -> dict[str, Any]:
        return describe.cost(prepare(plan, self.context, self.terms))

    def _release(self, plan: Any) -> dict[str, Any]:
        with self._lock:
            question = prepare(plan, self.context, self.terms)
            known = self._known.get(question.release)
            if known is not None:
                return {**known, "recalled": True}
            if self._engine is None:
                self._engine = loaded(table, *CARDS.items())
            if isinstance(question.plan, algebra.Fit):
                question, raw = self._fitted(question, self._engine)
                self._known[question.release] = describe.rehearsal(question, raw, self.terms)
                return self._known[question.release]
            exact = self._engine.run(question.analysis)
            raw = repeatable(exact, question.price.sigmas, question.release) if self.noise else noiseless(exact)
            result = describe.rehearsal(question, raw, self.terms)
            if self.terms.mode == "confidential":
                result["receipt"] = {"payloadType": "test", "payload": "", "signatures": []}
            self._known[question.release] = result
            return result

    def _fitted(self, question: Question, engine: Engine) -> tuple[Question, list[int]]:
        """Return the transcript of a fit, with noise that is drawn anew, or with a scale at which there is none."""
        if not self.noise:
            parts = tuple(msgspec.structs.replace(part, sigma=0.01) for part in question.price.components)
            noise = tuple(msgspec.structs.replace(part, sigma=(0.01).hex()) for part in question.noise)
            price = msgspec.structs.replace(question.price, components=parts)
            question = msgspec.structs.replace(question, price=price, noise=noise)
        plan = question.plan
        assert isinstance(plan, algebra.Fit)
        return question, fit(engine, question.analysis, plan, question.price).raw


@functools.lru_cache(maxsize=2)
def loaded(rows: Callable[[Card], pa.Table], *cards: tuple[str, Card]) -> Engine:
    """Return an engine with the tables of these cards; vaults share it, for no question changes what it holds."""
    engine = Engine(1)
    for name, card in cards:
        engine.load(name, card, rows(card), bytes(32))
    return engine


def repeatable(exact: Exact, sigmas: tuple[float, ...], name: str) -> list[int]:
    """Return noisy integers that are the same in every run: what a test says of noise must not fail by chance."""
    source = random.Random(f"{SEED} {name}")

    def gaussian(values: Sequence[int], sigma: float) -> list[int]:
        return [value + round(source.gauss(0, sigma)) for value in values]

    with mock.patch.object(noise, "gaussian", gaussian):
        return noise.add_noise(exact, sigmas)


def noiseless(exact: Exact) -> list[int]:
    """Return the exact integers of a release; of a quantile the best candidate."""
    found: list[int] = []
    at = 0
    while at < len(exact.values):
        for index, width in enumerate(exact.widths):
            cell = list(exact.values[at : at + width])
            at += width
            if index in exact.levels:
                places, parts = exact.levels[index]
                cell = [int(np.argmax(scores(cell, place, parts))) for place in places]
            found += cell
    return found


def session(*, noise: bool = False, mode: str = "mock", epsilon: str = "8") -> tuple[Session, Vault]:
    """Return a session and the vault behind it."""
    vault = Vault(noise=noise, mode=mode, epsilon=epsilon)
    return Session(vault), vault


@functools.cache
def table(card: Card) -> pa.Table:
    """Return the rows the vault holds."""
    return mock_table(card, 3_000)


def reference(card: Card) -> pd.DataFrame:
    """Return the same rows as an ordinary DataFrame, categories with their closed domain."""
    frame = table(card).to_pandas()
    for column in card.columns:
        if column.domain:
            frame[column.name] = pd.Categorical(frame[column.name], categories=[*column.domain, OTHER])
        if column.type == "date":
            frame[column.name] = pd.to_datetime(frame[column.name]).astype("datetime64[s]")
    return frame
