"""A small world for the broker's tests: real keys, a sealed table, a signed contract, and a vault's side by hand."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pandas as pd
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest import binding as binding_value
from cloister.attest import hello as handshake
from cloister.attest.policy import policy_digest, write_policy
from cloister.attest.simulator import FORMAT, SIGNATURE_DOMAIN, TEE, Report, SignedReport
from cloister.contract import signing
from cloister.contract.card import Card, Column
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.contract.usage import Usage
from cloister.provider import clock
from cloister.provider.broker import Broker as BrokerService
from cloister.provider.home import BrokerHome
from cloister.provider.seal import Sealed, seal
from cloister.receipt.ledger import (
    REPLY_TYPE,
    REQUEST_TYPE,
    AppendRequest,
    Entry,
    LedgerReply,
    SessionRequest,
    SettleRequest,
    TipRequest,
)
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey

ENV = "sha384:" + "ab" * 48
POPULATION = "clinic.patients"
USAGE = Usage(rows=64, compute=2, models=0)
START = datetime(2026, 6, 1, tzinfo=UTC)

CARD = Card(
    name="clinic.visits",
    title="Visits",
    description="Invented visits",
    unit="patient",
    key=("patient",),
    normaliser="ascii-lower-strip",
    population=POPULATION,
    rows_per_unit=2,
    row_limit=64,
    grade="demonstration",
    columns=(
        Column("patient", "string", 2, "Who", personal=True),
        Column("day", "date", 2, "When", low="2022-01-01", high="2024-12-31"),
        Column("age", "int", 2, "Years", low="0", high="110", step="1"),
        Column("bmi", "decimal", 3, "Body mass index", low="10.0", high="60.0", step="0.1", nullable=True),
        Column("sex", "string", 2, "Sex", domain=("f", "m")),
        Column("smokes", "bool", 3, "Smoker", nullable=True),
    ),
    source="invented",
    retention="test",
    purposes=("research",),
)


def data(rows: int = 7) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient": [f"P{index % 5}" for index in range(rows)],
            "day": pd.to_datetime(["2023-05-06"] * rows),
            "age": [30 + index for index in range(rows)],
            "bmi": [20.5, None] * (rows // 2) + [31.0] * (rows % 2),
            "sex": ["f", "m", "x", "f", "m", "f", "m"][:rows] + ["f"] * (rows - 7),
            "smokes": [True, False, None, True, False, True, False][:rows] + [None] * (rows - 7),
        }
    )


class Vault:
    """A vault's side of the ledger protocol, signed by hand so that tests can also sign nonsense."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.key = SigningKey.generate()
        self.hpke = X25519PrivateKey.generate()
        self.epoch = 0
        self.binding = b""

    @property
    def hpke_public(self) -> str:
        return base64.b64encode(self.hpke.public_key().public_bytes_raw()).decode()

    def offer(self, hello: bytes, *, env: str = ENV, contract: str = "", debug: bool = False) -> handshake.Offer:
        asked = handshake.parse_hello(hello)
        version, suite = handshake.choose(asked)
        fields = {
            "version": version,
            "suite": suite,
            "vault_id": self.key.did,
            "contract": contract or self.world.digest,
            "env_digest": env,
        }
        self.binding = binding_value.binding(
            hello, role=asked.role, kex_pub=self.hpke.public_key().public_bytes_raw(), **fields
        )
        report = Report(
            report_data=binding_value.report_data(self.binding).hex(),
            env_digest=env,
            contract=fields["contract"],
            debug=debug,
            launch={},
            runtime={},
        )
        signature = base64.b64encode(self.world.simulator.sign(SIGNATURE_DOMAIN, canonical.encode(report))).decode()
        blob = canonical.encode(SignedReport(report, self.world.simulator.did, signature))
        return handshake.Offer(
            kex_pub=self.hpke_public,
            kem_ct="",
            prev_binding="",
            evidence=handshake.Evidence(tee=TEE, format=FORMAT, blob=base64.b64encode(blob).decode()),
            **fields,
        )

    def hello(self) -> bytes:
        question = canonical.encode({"contract": self.world.digest, "vault_id": self.key.did})
        return self.world.broker.hello(question)

    def session_request(self, offer: handshake.Offer, **changes: object) -> SessionRequest:
        request = SessionRequest(
            request=secrets.token_hex(8),
            nonce=secrets.token_hex(8),
            contract=self.world.digest,
            vault_id=self.key.did,
            vault_hpke=self.hpke_public,
            offer=msgspec.to_builtins(offer),
        )
        return msgspec.structs.replace(request, **changes)

    def session(self, **evidence: object) -> LedgerReply:
        reply = self.ask("session", self.session_request(self.offer(self.hello(), **evidence)))
        if reply.status == "ok":
            self.epoch = reply.epoch
        return reply

    def entry(self, charge: str, rho: str = "1/1000", **changes: object) -> Entry:
        entry = Entry(charge, POPULATION, self.world.digest, self.world.analyst.did, rho, "0", "sha256:plan", USAGE)
        return msgspec.structs.replace(entry, **changes)

    def append_request(self, entry: Entry) -> AppendRequest:
        return AppendRequest(secrets.token_hex(8), secrets.token_hex(8), self.key.did, self.epoch, entry)

    def append(self, charge: str, rho: str = "1/1000", **changes: object) -> LedgerReply:
        return self.ask("append", self.append_request(self.entry(charge, rho, **changes)))

    def settle(self, charge: str, sealed: str, population: str = POPULATION) -> LedgerReply:
        request = SettleRequest(
            secrets.token_hex(8), secrets.token_hex(8), self.key.did, self.epoch, population, charge, sealed
        )
        return self.ask("settle", request)

    def tip(self, population: str = POPULATION) -> LedgerReply:
        request = TipRequest(
            secrets.token_hex(8),
            secrets.token_hex(8),
            self.key.did,
            self.epoch,
            population,
            self.world.digest,
            self.world.analyst.did,
        )
        return self.ask("tip", request)

    def sign(self, request: msgspec.Struct) -> bytes:
        return canonical.encode(envelope.seal(REQUEST_TYPE, canonical.encode(request), self.key))

    def ask(self, op: str, request: msgspec.Struct) -> LedgerReply:
        return self.believe(getattr(self.world.broker, op)(self.sign(request)), request)

    def believe(self, body: bytes, request: msgspec.Struct) -> LedgerReply:
        document = msgspec.json.decode(body, type=envelope.Envelope)
        reply = msgspec.json.decode(
            envelope.open_envelope(document, REPLY_TYPE, self.world.broker_key.did), type=LedgerReply
        )
        assert (reply.request, reply.nonce, reply.vault_id) == (request.request, request.nonce, self.key.did)
        return reply


class World:
    """Provider, analyst, broker, capsule and contract in one directory; the time is the tests' to set."""

    def __init__(self, directory: Path, *, grade: str = "demonstration", policy: str = "", **terms: object) -> None:
        self.directory = directory
        self.provider, self.analyst, self.simulator = (SigningKey.generate() for _ in range(3))
        self.policy = policy or write_policy(
            "test", tees=("simulator",), simulated=True, env_digests=(ENV,), instances=(self.simulator.did,)
        )
        self.home = BrokerHome.create(directory / "broker", self.policy)
        self.broker_key = self.home.identity()
        self.card = msgspec.structs.replace(CARD, grade=grade)
        self.sealed: Sealed = seal(self.card, data(), directory / "capsule", self.provider)
        self.home.add_capsule(self.sealed)
        self.contract = msgspec.structs.replace(self._contract(), **terms)
        self.document = signing.sign_contract(self.contract, self.provider, self.analyst)
        self.now = START
        self.digest = self.home.add_contract(self.document, now=clock.text(START))
        self.broker = self.start()

    def start(self, **options: object) -> BrokerService:
        return BrokerService(self.home, time=clock.Clock(lambda: self.now), **options)

    def restart(self, **options: object) -> None:
        self.broker.close()
        self.broker = self.start(**options)

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def vault(self) -> Vault:
        vault = Vault(self)
        reply = vault.session()
        assert reply.status == "ok", reply.reason
        return vault

    def vault_reply(self) -> LedgerReply:
        """Return what the broker answers a new vault that asks for a session."""
        return Vault(self).session()

    def _contract(self) -> Contract:
        return Contract(
            name="clinic-2026",
            title="A test contract",
            parties=(
                Party("clinic", self.provider.did, "provider"),
                Party("ana", self.analyst.did, "analyst"),
            ),
            brokers=(Broker("clinic-broker", self.broker_key.did, "http://127.0.0.1:1"),),
            tables=(
                TableTerms(
                    "clinic.visits", "clinic", "clinic-broker", self.sealed.card_digest, self.sealed.manifest_digest
                ),
            ),
            purposes=("research",),
            operations=("aggregate",),
            regime="dp",
            budgets=(Budget(POPULATION, "clinic-broker", "1", "0.000001", "0.02"),),
            analyst_limits=(AnalystLimit("ana", POPULATION, "1/2"),),
            limits=Limits(releases=100, rows=10**6, compute=10**4, models=10),
            policies={"clinic": policy_digest(self.policy)},
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
            share_releases=False,
            not_before="2026-01-01T00:00:00Z",
            not_after="2027-01-01T00:00:00Z",
        )
