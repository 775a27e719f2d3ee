"""The mock vault: the same plan path on tables made from the data cards alone.

Nothing is charged, nothing is signed, and no answer carries a receipt; the noise is real, so that what a rehearsal
shows looks like the confidential run. It holds no key and asks no broker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from cloister.contract import mock
from cloister.contract.card import Card
from cloister.plan import codec
from cloister.plan.link import Context, Request
from cloister.vault import describe, describe_exits
from cloister.vault.config import Terms
from cloister.vault.engine import Engine
from cloister.vault.exits import allow, name_exit, way_of
from cloister.vault.fit import execute
from cloister.vault.permits import Grant
from cloister.vault.question import plan_of, prepare
from cloister.vault.service import Answered, Operation
from cloister.vault.thresholds import draw

MOCK_ROWS = 5_000
_SEED = 1
_MOCK_SECRET = bytes(32)
_TYPES = {"bool": pa.bool_(), "int": pa.int64(), "decimal": pa.float64(), "date": pa.date32(), "string": pa.string()}


class MockVault:
    """Mock tables, made when they are first asked for."""

    def __init__(self, terms: Terms, engine: Engine) -> None:
        self._terms = terms
        self._engine = engine
        # Drawn, for a notebook shows the commitment: by a known secret, anyone could test guesses about the plan.
        self._exit_secret = os.urandom(32)
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def operations(self) -> Mapping[str, Operation]:
        """Return the four operations by name."""
        return {"describe": self._describe, "budget": self._budget, "price": self._price, "release": self._release}

    def _describe(self, context: Context, _request: Request) -> Answered:
        return Answered(describe.describe(self._terms, context))

    def _budget(self, context: Context, _request: Request) -> Answered:
        return Answered(describe.untouched(self._terms, context, _now()))

    def _price(self, context: Context, request: Request) -> Answered:
        document = plan_of(request)
        if codec.is_exit(document):
            plan = codec.decode_exit(document)
            return Answered(describe_exits.cost(plan, allow(plan, context, self._terms), self._terms))
        return Answered(describe.cost(prepare(document, context, self._terms)))

    def _release(self, context: Context, request: Request) -> Answered:
        document = plan_of(request)
        if codec.is_exit(document):
            return self._leave(context, document)
        question = prepare(document, context, self._terms)
        self._open(question.grant)
        drawn = draw(execute(self._engine, question.analysis, question.price), question.price)
        found = describe.rehearsal(question, drawn.raw, self._terms, drawn.labels)
        return Answered(found, rehearsals=(describe.rehearsed(question),))

    def _leave(self, context: Context, document: dict[str, Any]) -> Answered:
        plan = codec.decode_exit(document)
        allowed = allow(plan, context, self._terms)
        self._open(allowed.grant)
        asked = name_exit(plan, allowed, self._exit_secret, analyst=context.analyst, terms=self._terms)
        executed = way_of(plan).execute(self._engine, self._terms, asked)
        found = describe_exits.rehearsal(asked, executed.result(executed.statement), self._terms)
        return Answered(found, rehearsals=(describe_exits.rehearsed(asked, executed.statement),))

    def _open(self, grant: Grant) -> None:
        with self._lock:
            for name in grant.tables:
                if name not in self._loaded:
                    card = grant.cards[name]
                    self._engine.load(name, card, mock_table(card), _MOCK_SECRET, self._terms.digest.encode())
                    self._loaded.add(name)


def mock_table(card: Card, rows: int = MOCK_ROWS) -> pa.Table:
    """Return mock rows of a card in the types a capsule would hold."""
    values: dict[str, list[Any]] = mock.rows(card, min(rows, card.row_limit), _SEED)
    return pa.table({column.name: pa.array(values[column.name], _TYPES[column.type]) for column in card.columns})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
