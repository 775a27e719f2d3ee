"""A real agent process with a signed contract, and the analyst who may use it; for tests of agent and dial."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from cloister.analyst.trust import TrustEntry, TrustStore, make_entry
from cloister.attest.policy import policy_digest, write_policy
from cloister.contract import signing
from cloister.contract.card import Card, Column
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.wire.identity import SigningKey


def text_time(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_card() -> Card:
    return Card(
        name="fair.people",
        title="People",
        description="Nobody real.",
        unit="person",
        key=("id",),
        normaliser="exact",
        population="fair.people",
        rows_per_unit=1,
        row_limit=1000,
        grade="demonstration",
        columns=(
            Column(name="id", type="string", tier=2, description="key", personal=True),
            Column(name="age", type="int", tier=2, description="age", low="0", high="100", step="1"),
        ),
        source="made up",
        retention="none",
        purposes=("teaching",),
    )


class AgentWorld:
    """A folder with keys, contract, trust store and an agent that can be started, stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = TrustStore(self.home / "trust")
        self.analyst = self.store.analyst_key()
        self.provider = SigningKey.generate()
        self.broker = SigningKey.generate()
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.config: dict[str, object] = {"ready": "agent.ready", "resume_s": 2}
        self.env: dict[str, str] = {}
        self.write_contract()

    def terms(self, **changes: object) -> Contract:
        card = make_card()
        contract = Contract(
            name="fair",
            title="A fair",
            parties=(
                Party("fair", self.provider.did, "provider"),
                Party("ada", self.analyst.did, "analyst"),
            ),
            brokers=(Broker("fair", self.broker.did, "http://127.0.0.1:9"),),
            tables=(
                TableTerms(
                    "fair.people",
                    "fair",
                    "fair",
                    signing.payload_digest(signing.seal_card(card, self.provider)),
                    "sha256:" + "0" * 64,
                ),
            ),
            purposes=("teaching",),
            operations=("aggregate",),
            regime="dp",
            budgets=(Budget("fair.people", "fair", "8", "0.000001", "1/50"),),
            analyst_limits=(AnalystLimit("ada", "fair.people", "1"),),
            limits=Limits(1000),
            policies={},
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
            share_releases=False,
            not_before=text_time(-1),
            not_after=text_time(30),
        )
        return msgspec.structs.replace(contract, **changes)

    def write_contract(self, **changes: object) -> None:
        self.envelope = signing.sign_contract(self.terms(**changes), self.provider, self.analyst)
        (self.folder / "contract.json").write_bytes(msgspec.json.encode(self.envelope))
        card = signing.seal_card(make_card(), self.provider)
        (self.folder / "card.json").write_bytes(msgspec.json.encode(card))

    def start(self, **config: object) -> None:
        ready = self.folder / "agent.ready"
        ready.unlink(missing_ok=True)
        served = {"contract": "contract.json", "cards": ["card.json"], "capsules": {}}
        document = {"contracts": [served], **self.config, **config}
        (self.folder / "enclave.json").write_text(json.dumps(document))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloister.enclave", "--config", str(self.folder / "enclave.json")],
            env={**os.environ, "CLOISTER_HOME": str(self.home), **self.env},
            stderr=(self.folder / "agent.log").open("ab"),
        )
        deadline = time.monotonic() + 60
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log())
            time.sleep(0.02)
        self.ready = json.loads(ready.read_text())
        self.url = self.ready["url"]

    def log(self) -> str:
        return (self.folder / "agent.log").read_text(errors="replace")

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process = None

    def policy(self, **changes: object) -> str:
        fields = {"tees": ("simulator",), "simulated": True, "env_digests": (self.ready["env_digest"],), **changes}
        return write_policy("test", **fields)

    def entry(self, *, policy: str | None = None, **changes: object) -> TrustEntry:
        text = self.policy() if policy is None else policy
        fields = {"endpoint": self.url, "contract": self.envelope, "accept_simulated": True, **changes}
        entry = make_entry("fair", policy=text, **fields)
        assert entry.policy_digest == policy_digest(text)
        return entry
