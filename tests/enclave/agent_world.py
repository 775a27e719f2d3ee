"""A real agent process with a signed contract, and the analyst who may use it; for tests of agent and dial."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil

import cloister
from cloister.analyst.dial import EnclaveSession
from cloister.analyst.trust import TrustEntry, TrustStore, make_entry
from cloister.attest.policy import policy_digest, write_policy
from cloister.contract import signing
from cloister.contract.card import Card, Column
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.enclave.agent import Agent
from cloister.enclave.config import load_config
from cloister.enclave.measure import Measurement
from cloister.enclave.simulator import SimulatorAttester
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

DELIMITER = b"<IDS|MSG>"


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
        self.others: tuple[SigningKey, ...] = ()
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
                *(Party(f"analyst-{n}", key.did, "analyst") for n, key in enumerate(self.others)),
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
            limits=Limits(1000, 10**9, 10**6, 100),
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
        self.envelope = signing.sign_contract(self.terms(**changes), self.provider, self.analyst, *self.others)
        (self.folder / "contract.json").write_bytes(msgspec.json.encode(self.envelope))
        card = signing.seal_card(make_card(), self.provider)
        (self.folder / "card.json").write_bytes(msgspec.json.encode(card))

    def start(self, **config: object) -> None:
        ready = self.folder / "agent.ready"
        ready.unlink(missing_ok=True)
        self._configure(**config)
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

    @contextlib.contextmanager
    def here(self, **config: object) -> Iterator[Agent]:
        """Yield an agent in this process, which listens nowhere."""
        self._configure(**config)
        attester = SimulatorAttester.load(self.home)
        measured = Measurement("sha384:0", {}, {})
        agent = Agent(load_config(self.folder / "enclave.json"), self.folder, attester=attester, measurement=measured)
        try:
            yield agent
        finally:
            agent._folder.remove()

    def _configure(self, **config: object) -> None:
        served = {"contract": "contract.json", "cards": ["card.json"], "capsules": {}}
        document = {"contracts": [served], **self.config, **config}
        (self.folder / "enclave.json").write_text(json.dumps(document))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the agent."""
        host, _, port = self.url.removeprefix("ws://").rpartition(":")
        return host, int(port)

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

    def children(self, word: str) -> list[psutil.Process]:
        """Return the agent's child processes whose command line holds ``word``."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if word in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def copy_package(self) -> Path:
        """Copy the cloister package and have the agent run from the copy; return its folder."""
        copy = self.folder / "copied" / "cloister"
        shutil.copytree(Path(cloister.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        self.env["PYTHONPATH"] = str(copy.parent)
        return copy

    def policy(self, **changes: object) -> str:
        fields = {"tees": ("simulator",), "simulated": True, "env_digests": (self.ready["env_digest"],), **changes}
        return write_policy("test", **fields)

    def entry(self, *, policy: str | None = None, **changes: object) -> TrustEntry:
        text = self.policy() if policy is None else policy
        fields = {"endpoint": self.url, "contract": self.envelope, "accept_simulated": True, **changes}
        entry = make_entry("fair", policy=text, **fields)
        assert entry.policy_digest == policy_digest(text)
        return entry


class Notebook:
    """A client of one session: sends cells, collects what comes back. ``async with`` opens and closes it."""

    def __init__(self, world: AgentWorld, **options: Any) -> None:
        self._world = world
        self._options = {"mode": "mock", "store": world.store, **options}
        self._entry = self._options.pop("entry", None)
        self.events: list[dict[str, Any]] = []
        self.frames: list[tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]] = []

    async def __aenter__(self) -> Notebook:
        self.session = await EnclaveSession.open(self._entry or self._world.entry(), **self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def send(self, kind: str, content: dict[str, Any], channel: Kind = Kind.SHELL) -> str:
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": kind, "session": "t", "username": "", "version": "5.3", "date": ""}
        parts = (b"client", DELIMITER, json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode())
        await self.session.send(channel, *parts)
        return message_id

    async def next(self, timeout_s: float = 30) -> tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]] | None:
        """Take one frame: None for an event, else (kind, header, parent, content)."""
        frame = await asyncio.wait_for(self.session.receive(), timeout_s)
        if frame.kind == Kind.EVENT:
            self.events.append(json.loads(frame.parts[0]))
            return None
        if frame.kind == Kind.PING:
            return (Kind.PING, {}, {}, {})
        at = frame.parts.index(DELIMITER)
        header, parent, _, content = (json.loads(part) for part in frame.parts[at + 1 : at + 5])
        self.frames.append((frame.kind, header, parent, content))
        return self.frames[-1]

    async def wait_idle(self, message_id: str) -> None:
        while True:
            got = await self.next()
            done = got and got[1].get("msg_type") == "status" and got[2].get("msg_id") == message_id
            if got and done and got[3]["execution_state"] == "idle":
                return

    async def ask(self, kind: str, content: dict[str, Any]) -> str:
        message_id = await self.send(kind, content)
        await self.wait_idle(message_id)
        return message_id

    async def run(self, code: str) -> str:
        """Run a cell; return its printed output, or raise its error."""
        message_id = await self.ask("execute_request", cell(code))
        mine = [f for f in self.frames if f[2].get("msg_id") == message_id]
        errors = [f[3] for f in mine if f[1]["msg_type"] == "error"]
        if errors:
            raise RuntimeError(f"{errors[0]['ename']}: {errors[0]['evalue']}")
        return "".join(f[3]["text"] for f in mine if f[1]["msg_type"] == "stream")

    async def event(self, kind: str, timeout_s: float = 30, **fields: object) -> dict[str, Any]:
        """Wait for an event of a kind with these fields."""
        while True:
            for event in self.events:
                if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                    return event
            await self.next(timeout_s)


def cell(code: str) -> dict[str, Any]:
    """Return the content of an execute_request."""
    return {
        "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
        "stop_on_error": False,
    }  # fmt: skip


LINK = "from cloister.sandbox.link import Link\nL = globals().get('L') or Link.from_environment()\n"
