"""A case's notebook on its real tables in this process: the vault's own typing, price, engine, exits and noise.

What is left out is what carries a notebook's cells and answers (attestation, proxy, processes, receipts) and the
brokers that count: nothing here runs out of budget. ``test_case_notebooks.py`` shows the rest, live.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import msgspec
import pyarrow as pa

from cloister.contract.terms import Broker, Party
from cloister.demo.parties import DELTA, OPERATIONS
from cloister.demo.scene import Scene, provider_of
from cloister.plan.link import Cause, Context, Request
from cloister.provider import contracts
from cloister.sandbox import session as sessions
from cloister.sandbox.session import Session
from cloister.vault.config import Terms
from cloister.vault.engine import Engine
from cloister.vault.mock import MockVault, mock_table
from cloister.wire.identity import SigningKey

_ANALYST = SigningKey.generate().did
_DIGEST = "sha256:" + "0" * 64
# Rows of an account's state and refusals by what a broker counted: there is no broker.
BROKERS = frozenset({"budget", "once", "limit"})


class _Loaded(MockVault):
    """The vault that keeps no account, with the case's tables where a mock kernel has invented rows."""

    def __init__(self, terms: Terms, scene: Scene) -> None:
        engine = Engine(2)
        super().__init__(terms, engine)
        for card in scene.cards:
            schema = mock_table(card, 1).schema
            table = pa.Table.from_pandas(scene.tables[card.name](), schema, preserve_index=False)
            engine.load(card.name, card, table, bytes(32), terms.digest.encode())
            self._loaded.add(card.name)


class _Peer:
    """Asks the vault; everything crosses as JSON, as on the link."""

    def __init__(self, vault: MockVault, purpose: str) -> None:
        self._vault = vault
        self._context = Context("s", _ANALYST, purpose, _DIGEST, Cause("cell"))

    def request(self, op: Any, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        wire = None if plan is None else msgspec.json.decode(msgspec.json.encode(plan))
        answered = self._vault.operations()[op](self._context, Request(1, op, wire))
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answered.result))
        return found


def _terms(scene: Scene) -> Terms:
    names = scene.providers if scene.brokers == "each" else (scene.name,)
    brokers = {
        f"{name}_broker": Broker(f"{name}_broker", SigningKey.generate().did, "http://localhost") for name in names
    }
    keeper = {
        card.name: f"{provider_of(card) if scene.brokers == 'each' else scene.name}_broker" for card in scene.cards
    }
    dids = {name: SigningKey.generate().did for name in scene.providers}
    contract = contracts.draft(
        scene.name,
        scene.title,
        parties=(*(Party(name, did, "provider") for name, did in dids.items()), Party("you", _ANALYST, "analyst")),
        brokers=brokers.values(),
        offers=[
            contracts.Offer(
                provider_of(card), keeper[card.name], card, *(f"sha256:{place:063x}{kind}" for kind in "cd")
            )
            for place, card in enumerate(scene.cards)
        ],
        policies=dict.fromkeys((*brokers, "you"), _DIGEST),
        terms=contracts.Terms(
            not_before="2026-01-01T00:00:00Z",
            not_after="2027-01-01T00:00:00Z",
            epsilon=scene.epsilon,
            delta=DELTA,
            default_share="0.02",
            releases=scene.releases,
            operations=OPERATIONS,
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
            exits=scene.exits,
        ),
    )
    cards = {card.name: card for card in scene.cards}
    held = {terms.name: terms for terms in contract.tables}
    return Terms(contract, _DIGEST, cards, held, brokers, dids, {}, _DIGEST, "mock", "simulated")


@contextlib.contextmanager
def _session(scene: Scene) -> Iterator[None]:
    terms = _terms(scene)
    sessions.use(Session(_Peer(_Loaded(terms, scene), terms.contract.purposes[0])))
    try:
        yield
    finally:
        sessions.use(None)
        plt.close("all")


def run(path: Path, scene: Scene, *, skip: frozenset[str] = BROKERS) -> dict[str, Any]:
    """Run a notebook's code on a case's tables; return what the last line of every cell shows, by cell id."""
    shown: dict[str, Any] = {}
    names: dict[str, Any] = {}
    plt.switch_backend("agg")
    with _session(scene):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code" and cell["id"] not in skip:
                source = as_planted("".join(cell["source"]), scene.effect)
                shown[cell["id"]] = _last(source, f"{path.name} {cell['id']}", names)
    return shown


def as_planted(source: str, effect: str) -> str:
    """Return a cell with the effect that its world was built with, as a reader is told to write it."""
    return source.replace("\neffect = 1  #", f"\neffect = {effect}  #")


def _last(source: str, place: str, names: dict[str, Any]) -> Any:
    body = ast.parse(source, place).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), place, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), place, "eval"), names)
