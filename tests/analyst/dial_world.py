"""An analyst with a trust store and a scripted enclave on a real WebSocket; for tests of trust, dial and connect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection

from cloister.analyst.trust import TrustEntry, TrustStore, make_entry
from cloister.attest import simulator
from cloister.attest.channel import EnclaveEnd
from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.attest.policy import write_policy
from cloister.attest.simulator import Report, SignedReport
from cloister.contract import signing
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

ENV = "sha384:" + "e" * 96
FULL = {"level": "full"}


class DialWorld:
    """An analyst with a trust store, a signed contract, and an enclave that can be told to misbehave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = TrustStore(folder / "trust")
        self.analyst = self.store.analyst_key()
        self.provider = SigningKey.generate()
        self.install = SigningKey.generate()
        self.report: dict[str, Any] = {}
        self.first: list[bytes] = []  # what reached the enclave before the session was open
        self.cells: list[bytes] = []

    def terms(self, **changes: Any) -> Contract:
        contract = Contract(
            name="fair",
            title="A fair",
            parties=(Party("fair", self.provider.did, "provider"), Party("ada", self.analyst.did, "analyst")),
            brokers=(Broker("fair", self.provider.did, "http://127.0.0.1:9"),),
            tables=(TableTerms("fair.people", "fair", "fair", "sha256:" + "1" * 64, "sha256:" + "2" * 64),),
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
            not_before="2026-01-01T00:00:00Z",
            not_after="2099-01-01T00:00:00Z",
        )
        return msgspec.structs.replace(contract, **changes)

    def sign(self, terms: Contract) -> Envelope:
        return signing.sign_contract(terms, self.provider, self.analyst)

    def policy(self, **changes: Any) -> str:
        fields = {"tees": ("simulator",), "simulated": True, "env_digests": (ENV,), **changes}
        return write_policy("test", **fields)

    def entry(self, endpoint: str, **changes: Any) -> TrustEntry:
        fields = {"contract": self.sign(self.terms()), "policy": self.policy(), "accept_simulated": True, **changes}
        return make_entry(fields.pop("name", "fair"), endpoint=endpoint, **fields)

    def attest(self, contract: str) -> Callable[[bytes], Evidence]:
        def collect(report_data: bytes) -> Evidence:
            report = Report(report_data.hex(), ENV, contract, False, {}, {"isolation": FULL})
            report = msgspec.structs.replace(report, **self.report)
            signature = b64(self.install.sign(simulator.SIGNATURE_DOMAIN, canonical.encode(report)))
            return Evidence(
                "simulator", simulator.FORMAT, b64(canonical.encode(SignedReport(report, self.install.did, signature)))
            )

        return collect

    async def honest(self, socket: ServerConnection) -> None:
        """Behave like the agent, then answer each cell with its own bytes."""
        end, offer = await self.offer(socket)
        await socket.send(offer)
        await self.serve(socket, end)

    async def offer(self, socket: ServerConnection) -> tuple[EnclaveEnd, bytes]:
        end = EnclaveEnd()
        hello = end.receive_hello(await self.message(socket))
        env = self.report.get("env_digest", ENV)
        return end, end.offer(self.attest(hello.contract), vault_id="did:key:vault", env_digest=env)

    async def serve(self, socket: ServerConnection, end: EnclaveEnd, isolation: dict[str, Any] = FULL) -> None:
        end.admit(await self.message(socket), [self.analyst.did])
        await socket.send(end.seal(Kind.EVENT, canonical.encode({"type": "accepted", "isolation": isolation})))
        async for data in socket:
            frame = end.open(data)
            if frame is None:
                return
            self.cells.append(frame.parts[0])
            await socket.send(end.seal(Kind.IOPUB, *frame.parts))

    async def message(self, socket: ServerConnection) -> bytes:
        data = await socket.recv()
        self.first.append(data)
        return data
