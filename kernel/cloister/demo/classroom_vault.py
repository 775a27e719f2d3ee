"""A vault for lessons: the real plan path on invented rows, in this process, with the defence on, reduced or off.

Decoding, authorisation, analysis, price, engine and shaping are those of a vault that holds data; what differs is the
last step, which is the lesson. Nothing in this module takes a table, a file or a capsule: the rows come from the seeded
generators named in ``TOPICS``, and from nowhere else. Every answer is marked: noise from a seed can be computed again
by anybody and taken off, so even with the defence on a lesson protects nobody.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import msgspec
import pandas as pd
import pyarrow as pa

from cloister.contract.card import Card
from cloister.contract.terms import Broker, Budget, Contract, Party, TableTerms
from cloister.contract.usage import Used
from cloister.demo import cards, generators
from cloister.errors import BudgetError, CloisterError, PlanError
from cloister.plan import algebra, codec
from cloister.plan.link import Cause, Context
from cloister.provider.contracts import default_limits
from cloister.receipt.receipt import ComponentNoise
from cloister.vault import describe
from cloister.vault.analyse import analyse
from cloister.vault.config import Terms
from cloister.vault.engine import Engine, Exact
from cloister.vault.question import Question, prepare
from cloister.vault.sampler import SEEDED_LABEL, Teaching

Defence = Literal["off", "threshold", "on"]

LABELS: dict[Defence, str] = {
    "off": "defence off: no privacy",
    "threshold": "threshold only: no privacy",
    "on": SEEDED_LABEL,
}
THRESHOLD = 10
DELTA = "0.000001"
MODE = "teaching"
SILENT = 2.0**-10
"""A scale at which the discrete Gaussian is always zero: how an exact value says that it has no noise."""

_NOBODY = "did:key:zTeaching"
_DIGEST = "sha256:" + "0" * 64
_SECRET = bytes(32)
_REMEMBERED = 50_000


class Topic(NamedTuple):
    """An invented table a lesson may use: how it is made, and its public card."""

    rows: Callable[[], pd.DataFrame]
    card: Card


TOPICS = {card.name: Topic(rows, card) for rows, card in ((generators.customers, cards.CUSTOMERS),
                                                         (generators.visits, cards.VISITS))}  # fmt: skip


class TeachingVault:
    """Answers as the link does: ``request(op, plan)``.

    Args:
        table: A name in ``TOPICS``.
        defence: ``off`` (exact), ``threshold`` (exact, nothing about small groups) or ``on`` (noise, from a seed).
        seed: Where the noise comes from.
        epsilon: The budget of the whole lesson.
    """

    def __init__(self, table: str, defence: Defence, seed: int, epsilon: str) -> None:
        if defence not in get_args(Defence):
            raise CloisterError(
                "classroom.defence", f"there is no defence {defence!r}", next_step="use 'off', 'threshold' or 'on'"
            )
        self.defence = defence
        self.label = LABELS[defence]
        self._seed = seed
        self._terms = _terms(topic(table).card, epsilon)
        self._context = Context("lesson", _NOBODY, cards.PURPOSE, _DIGEST, Cause("cell"))
        self._known: dict[str, dict[str, Any]] = {}
        self._spent = Fraction(0)
        self._used = Used()
        self._lock = threading.Lock()

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Serve one request; everything crosses as JSON, as on the link.

        Raises:
            CloisterError: The refusal a vault would give, or that of the threshold.
        """
        wire = None if plan is None else msgspec.json.decode(msgspec.json.encode(plan))
        with self._lock:
            found = self._answer(op, wire)
        marked = {**found, "mode": MODE, "assurance": self.label} if op in {"describe", "release"} else found
        return msgspec.json.decode(msgspec.json.encode(marked))  # type: ignore[no-any-return]

    def _answer(self, op: str, plan: Any) -> dict[str, Any]:
        match op:
            case "describe":
                return describe.describe(self._terms, self._context)
            case "budget":
                return self._budget()
            case "price":
                return describe.cost(prepare(plan, self._context, self._terms))
            case _:
                return self._release(prepare(plan, self._context, self._terms))

    def _budget(self) -> dict[str, Any]:
        found = describe.untouched(self._terms, self._context, "this lesson")
        for limit in found["limits"]:
            if limit["name"] == "privacy":
                limit["spent"] = limit["analyst_spent"] = str(self._spent)
            elif limit["name"] != "expiry":
                limit["spent"] = getattr(self._used, limit["name"])
        return found

    def _release(self, question: Question) -> dict[str, Any]:
        if known := self._known.get(question.release):
            return {**known, "recalled": True}
        _check_sums(question)
        if self.defence == "on":
            self._charge(question)
        raw, noise = self._defended(question)
        found = describe.rehearsal(question, raw, self._terms) | {"noise": msgspec.to_builtins(noise)}
        self._known[question.release] = found
        self._used = self._used.plus(question.price.usage)
        return found

    def _charge(self, question: Question) -> None:
        total, _ = self._terms.rho_limits(question.accounts[0], _NOBODY)
        if self._spent + question.price.rho > total:
            raise BudgetError(
                "budget.exhausted",
                f"this release costs more than the {float(total - self._spent):.4f} rho left of the lesson's budget",
                clause=f"budgets: {float(total):.4f} rho",
                next_step="ask for less precision, or open the lesson again: in a real contract nobody can",
            )
        self._spent += question.price.rho

    def _defended(self, question: Question) -> tuple[list[int], tuple[ComponentNoise, ...]]:
        """Return what leaves, and the noise it says it has."""
        exact = _exact(question)
        if self.defence == "on":
            stride, raw, start = sum(exact.widths), list(exact.values), 0
            # The seed and the question decide: the order in which a class asks does not.
            source = Teaching(int.from_bytes(hashlib.sha256(f"{self._seed}/{question.release}".encode()).digest()))
            for width, sigma in zip(exact.widths, question.price.sigmas, strict=True):
                for offset in range(start, start + width):
                    raw[offset::stride] = source.add(raw[offset::stride], sigma)
                start += width
            return raw, question.noise
        if self.defence == "threshold":
            _check_size(question)
        return list(exact.values), tuple(ComponentNoise(SILENT.hex(), part.rho) for part in question.noise)


def topic(table: str) -> Topic:
    """Return an invented table by name.

    Raises:
        CloisterError: ``classroom.table``: anything else. The demonstration tables about real people are not lent
            to a lesson without a defence, and there is no way to bring a table along.
    """
    found = TOPICS.get(table) if isinstance(table, str) else None
    if found is None or found.card.grade != "demonstration":
        raise CloisterError(
            "classroom.table",
            "a lesson works on invented tables only",
            clause="the defence can be switched off because nobody is in the data",
            next_step=f"use one of {', '.join(TOPICS)}",
        )
    return found


@lru_cache(maxsize=len(TOPICS))
def frame(table: str) -> pd.DataFrame:
    """Return the invented rows: what a teacher marks answers against, and what no analyst ever has."""
    return topic(table).rows()


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the engine with every topic loaded; lessons share it, since they only read."""
    made = Engine(1)
    for name, (_, card) in TOPICS.items():
        made.load(name, card, pa.Table.from_pandas(frame(name), preserve_index=False), _SECRET)
    return made


_memory: dict[str, Exact] = {}


def _exact(question: Question) -> Exact:
    """Return the exact integers; what was computed for one lesson is remembered for the next ones."""
    # Rho decides about the noise only, and a curve over many budgets asks the same of the rows again and again.
    key = codec.digest(msgspec.structs.replace(question.plan, rho="1"))
    if key not in _memory:
        if len(_memory) >= _REMEMBERED:
            _memory.clear()
        _memory[key] = engine().run(question.analysis)
    return _memory[key]


def _check_sums(question: Question) -> None:
    """Refuse what is chosen and not added up: a lesson without noise has nothing to choose with."""
    frame = question.analysis.layout
    if frame.found or any(part.role == "quantile" for part in frame.components):
        raise PlanError(
            "classroom.measure",
            "a lesson shows counts, sums and what is made of them; no quantiles, and no values of open keys",
            next_step="ask for means and counts, or for quantiles in a demo kernel",
        )


def _check_size(question: Question) -> None:
    """Refuse an answer about a few people, as many statistics portals do. It looks at the data to decide."""
    counted = msgspec.structs.replace(question.plan, measures=(algebra.Count("n"),))
    sizes = engine().run(analyse(counted, question.grant.cards)).values
    if any(0 < size < THRESHOLD for size in sizes):
        raise PlanError(
            "classroom.threshold",
            f"the answer would be about fewer than {THRESHOLD} rows",
            clause=f"threshold: nothing about groups smaller than {THRESHOLD}",
            next_step="ask about a larger group",
        )


def _terms(card: Card, epsilon: str) -> Terms:
    """Return the terms of a contract that nobody signed: it exists in this process only."""
    name = card.name.partition(".")[0]
    broker = Broker("lesson", _NOBODY, "")
    table = TableTerms(card.name, name, broker.name, _DIGEST, _DIGEST)
    contract = Contract(
        name="lesson",
        title="A lesson: nobody signed this, nobody is protected",
        parties=(Party(name, _NOBODY, "provider"), Party("student", _NOBODY, "analyst")),
        brokers=(broker,),
        tables=(table,),
        purposes=(cards.PURPOSE,),
        operations=("aggregate", "model"),
        regime="dp",
        budgets=(Budget(card.population, broker.name, epsilon, DELTA, "0.02"),),
        analyst_limits=(),
        limits=default_limits(10_000, [card], ("aggregate", "model")),
        policies={},
        placement="colocated",
        tenancy="exclusive",
        accept_simulated=True,
        share_releases=False,
        not_before="2026-01-01T00:00:00Z",
        not_after="2099-01-01T00:00:00Z",
    )
    return Terms(
        contract=contract,
        digest=_DIGEST,
        cards={card.name: card},
        tables={card.name: table},
        brokers={broker.name: broker},
        provider_dids={name: _NOBODY},
        capsules={},
        env_digest=_DIGEST,
        # Authorised as a confidential release in a simulated enclave: data of another grade are refused there too.
        mode="confidential",
        assurance="simulated",
    )
