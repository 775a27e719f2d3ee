"""Any number of providers, each with a capsule, a card, a broker and an account of its own, under one contract.

Brokers are called in this process, with their databases on disk; everything else is what runs elsewhere too.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from vault_world import ENV_DIGEST, POLICY, PURPOSE, DirectTransport

from cloister.attest.policy import policy_digest
from cloister.contract import signing
from cloister.contract.card import Card, Column
from cloister.contract.terms import Broker, Contract, Party
from cloister.enclave.simulator import SimulatorAttester
from cloister.plan.link import Cause, Context, Request
from cloister.provider import seal as sealing
from cloister.provider.broker import Broker as BrokerCore
from cloister.provider.contracts import Offer, Terms, draft
from cloister.provider.home import BrokerHome
from cloister.sandbox.session import Session
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.config import open_config
from cloister.vault.engine import Engine
from cloister.vault.keys import VaultKeys
from cloister.vault.state import VaultState
from cloister.wire import canonical
from cloister.wire.identity import SigningKey


def card(number: int, rows: int) -> Card:
    """Return the card of a provider's table: one row per person."""
    name = f"p{number:02d}.members"
    columns = (
        Column("person", "string", 2, "Person"),
        Column("score", "int", 2, "Score", low="0", high="100", step="1"),
        Column("group", "string", 2, "Group", domain=("a", "b")),
    )
    return Card(name, "Members", "Invented.", "person", ("person",), "exact", name, 1, rows, "demonstration", columns,
                "invented", "none", (PURPOSE,))  # fmt: skip


def members(number: int, rows: int) -> pa.Table:
    """Return a provider's rows: nine in ten of the persons."""
    rng = np.random.default_rng(number)
    persons = np.sort(rng.choice(rows, size=9 * rows // 10, replace=False))
    return pa.table(
        {
            "person": [f"N{person:09d}" for person in persons],
            "score": rng.integers(0, 101, len(persons)),
            "group": rng.choice(["a", "b"], len(persons)),
        }
    )


class Providers:
    """Some providers, their brokers and a contract over all."""

    def __init__(self, root: Path, number: int, rows: int) -> None:
        self.attester, self.analyst = SimulatorAttester(SigningKey.generate()), SigningKey.generate()
        keys = [SigningKey.generate() for _ in range(number)]
        self.cards = [card(place, rows) for place in range(number)]
        self.sealed = [
            sealing.seal(own, members(place, rows), root / own.name, key)
            for place, (own, key) in enumerate(zip(self.cards, keys, strict=True))
        ]
        self.homes = [BrokerHome.create(root / f"broker-{place}", POLICY) for place in range(number)]
        for home, one in zip(self.homes, self.sealed, strict=True):
            home.add_capsule(one)
        names = [f"p{place:02d}" for place in range(number)]
        dids = [home.identity().did for home in self.homes]
        terms = Terms("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", placement="colocated", tenancy="shared",
                      accept_simulated=True, rows=10**12, compute=10**9)  # fmt: skip
        contract: Contract = draft(
            "bench",
            "Providers",
            parties=[*(Party(name, key.did, "provider") for name, key in zip(names, keys, strict=True)),
                     Party("ada", self.analyst.did, "analyst")],
            brokers=[Broker(f"b-{name}", did, "http://127.0.0.1:1") for name, did in zip(names, dids, strict=True)],
            offers=[
                Offer(name, f"b-{name}", own, one.card_digest, one.manifest_digest)
                for name, own, one in zip(names, self.cards, self.sealed, strict=True)
            ],
            policies={f"b-{name}": policy_digest(POLICY) for name in names},
            terms=terms,
        )  # fmt: skip
        self.document = signing.sign_contract(contract, *keys, self.analyst)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for home in self.homes:
            home.contracts.add(self.document, now=now)

    def config(self) -> dict[str, Any]:
        """Return the ``OPEN`` message."""
        return {
            "contract": msgspec.to_builtins(self.document),
            "cards": [json.loads((one.directory / "card.json").read_text()) for one in self.sealed],
            "capsules": {one.manifest_digest: str(one.directory) for one in self.sealed},
            "env_digest": ENV_DIGEST,
            "mode": "confidential",
            "assurance": "simulated",
        }


class Direct(DirectTransport):
    """Any number of brokers in this process."""

    def __init__(self, world: Providers, config: dict[str, Any]) -> None:
        self._world, self._config = world, config  # type: ignore[assignment]
        self._brokers = {home.identity().did: BrokerCore(home) for home in world.homes}
        self.before = self.after = lambda _path, body: body
        self.posts = []


class Peer:
    """The sandbox's link to a vault in this process."""

    def __init__(self, world: Providers, state: VaultState) -> None:
        self._operations = ConfidentialVault(state).operations()
        self._context = Context("session", world.analyst.did, PURPOSE, "sha256:" + "1" * 64, Cause("cell", "m"))

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Serve one request; everything crosses as JSON."""
        sent = None if plan is None else msgspec.json.decode(msgspec.json.encode(plan))
        return msgspec.json.decode(
            msgspec.json.encode(self._operations[op](self._context, Request(1, op, sent)).result)
        )


def open_session(world: Providers) -> Session:
    """Return the session of a notebook with a new vault in this process."""
    config = world.config()
    transport, keys = Direct(world, config), VaultKeys()
    transport.keys = keys
    return Session(Peer(world, VaultState(open_config(canonical.encode(config)), keys, transport, Engine())))
