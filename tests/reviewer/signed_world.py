"""Parties, contract, admission, evidence and receipts, made with the real signing code; only the data engine is absent.

``World`` plays every signer, so a test can also sign what a dishonest one would sign.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest import binding
from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.attest.hello import ANALYST_CHANNEL, new_hello
from cloister.attest.offer import make_offer
from cloister.attest.opening import sign_opening
from cloister.contract import signing
from cloister.contract.card import Card, Column
from cloister.contract.exits import Exits
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.contract.usage import Usage, Used
from cloister.enclave.simulator import SimulatorAttester
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Cause
from cloister.receipt import bundle as bundles
from cloister.receipt import chain, chip, code, naming
from cloister.receipt.facts import ReleaseFacts, facts
from cloister.receipt.receipt import (
    ADMISSION_TYPE,
    RECEIPT_TYPE,
    Admission,
    Charge,
    ComponentNoise,
    Receipt,
)  # fmt: skip
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal
from cloister.wire.identity import SigningKey

ENV = "sha384:" + "ab" * 48
TIME = "2026-06-01T12:00:00Z"
MANIFEST = "sha256:" + "11" * 32
CARD = Card(
    name="clinic.visits", title="Visits", description="Visits of a clinic", unit="patient", key=("patient_id",),
    normaliser="exact", population="clinic.patients", rows_per_unit=1, row_limit=1024, grade="demonstration",
    columns=(
        Column("patient_id", "string", 2, "number"),
        Column("sex", "string", 2, "sex", domain=("female", "male")),
        Column("bmi", "decimal", 2, "body mass index", low="10", high="60", step="0.1"),
    ),
    source="test", retention="none", purposes=("teaching",),
)  # fmt: skip
TABLE = a.Table("clinic.visits")
COUNT = ((a.Count("count"),), ())
MEAN_BY_SEX = ((a.Mean("bmi", a.Col("bmi")),), ("sex",))


class World:
    """One contract, one broker, one vault, one analyst's session."""

    def __init__(
        self,
        *,
        share_releases: bool = False,
        session: str = "session-1",
        assurance: str = "simulated",
        exits: Exits | msgspec.UnsetType = msgspec.UNSET,
        card: Card = CARD,
        terms: dict[str, Any] | None = None,
    ) -> None:
        self.provider, self.broker, self.analyst, self.vault = (SigningKey.generate() for _ in range(4))
        self.colleague = SigningKey.generate()
        self.simulator = SigningKey.generate()
        self.session, self.assurance = session, assurance
        self.runtime: dict[str, Any] = {}
        self.card = signing.seal_card(card, self.provider)
        self.terms = Contract(
            name="clinic", title="Clinic", operations=("aggregate", "model"), regime="dp", purposes=("teaching",),
            parties=(
                Party("clinic", self.provider.did, "provider"),
                Party("ann", self.analyst.did, "analyst"), Party("bob", self.colleague.did, "analyst"),
            ),
            brokers=(Broker("broker", self.broker.did, "http://127.0.0.1:1"),),
            tables=(TableTerms("clinic.visits", "clinic", "broker", signing.payload_digest(self.card), MANIFEST),),
            budgets=(Budget("clinic.patients", "broker", "8", "0.000001", "0.02"),),
            analyst_limits=(AnalystLimit("ann", "clinic.patients", "1"),), limits=Limits(100, 10**6, 10**4, 10),
            policies={}, placement="colocated", tenancy="shared", accept_simulated=True, share_releases=share_releases,
            not_before="2026-01-01T00:00:00Z", not_after="2027-01-01T00:00:00Z", exits=exits,
        )  # fmt: skip
        self.terms = msgspec.structs.replace(self.terms, **(terms or {}))
        self.contract = signing.sign_contract(self.terms, self.provider, self.analyst, self.colleague)
        self.digest = signing.contract_digest(self.contract)
        self.admission = self.admit()
        self.size, self.spent, self.used = 0, Fraction(0), Used()
        self.transcript = code.transcript_start(session)

    def admit(self, *, signer: SigningKey | None = None, **changes: Any) -> Envelope:
        statement = Admission(
            broker=self.broker.did, vault_id=self.vault.did, evidence="sha256:" + "22" * 32, env_digest=ENV,
            contract=self.digest, binding="33" * 48, epoch=1, status="contraindicated", assurance=self.assurance,
            time=TIME,
        )  # fmt: skip
        statement = msgspec.structs.replace(statement, **changes)
        return seal(ADMISSION_TYPE, canonical.encode(statement), signer or self.broker)

    def exchange(
        self,
        *,
        session: str = "",
        vault: SigningKey | None = None,
        env: str = ENV,
        attested_env: str = "",
        debug: bool = False,
        analyst: SigningKey | None = None,
        versions: tuple[str, ...] = (),
    ) -> bundles.Exchange:
        """Return hello, offer and opening as a proxy would have sent and seen them (or as a dishonest one would)."""
        key = analyst or self.analyst
        hello = new_hello(key.did, self.digest, ANALYST_CHANNEL, ephemeral=X25519PrivateKey.generate())
        said = hello if not versions else canonical.encode({**msgspec.json.decode(hello), "versions": versions})
        attester = SimulatorAttester(self.simulator, debug=debug)
        kex_pub = X25519PrivateKey.generate().public_key().public_bytes_raw()
        vault_id = (vault or self.vault).did
        offer, _ = make_offer(
            hello, lambda _: Evidence("", "", ""), kex_pub=kex_pub, vault_id=vault_id, env_digest=env,
            role=ANALYST_CHANNEL, contract=self.digest,
        )  # fmt: skip
        value = binding.binding(
            said, version=offer.version, suite=offer.suite, role=ANALYST_CHANNEL, kex_pub=kex_pub, vault_id=vault_id,
            contract=self.digest, env_digest=env,
        )  # fmt: skip
        evidence = attester.collect(
            binding.report_data(value), contract=self.digest, env_digest=attested_env or env, runtime=self.runtime
        )
        tee = "simulator" if self.assurance == "simulated" else self.assurance
        offer = msgspec.structs.replace(offer, evidence=msgspec.structs.replace(evidence, tee=tee))
        opening = sign_opening(key, value, session or self.session, "teaching", "confidential")
        return bundles.Exchange(b64(said), b64(canonical.encode(offer)), b64(opening))

    def ran(self, source: str) -> None:
        """Extend the transcript as the agent does when a cell is sent."""
        self.transcript = code.transcript_add(self.transcript, "execute_request", code.exact(source))

    def receipt(
        self, source: str, raw: tuple[int, ...], asked: Any = COUNT, *, sigma: float = 4.0, **changes: Any
    ) -> Receipt:
        measures, keys = asked
        parts = 2 if isinstance(measures[0], a.Mean) else 1
        noise = tuple(ComponentNoise(sigma.hex(), str(1 / (2 * Fraction(sigma) ** 2))) for _ in range(parts))
        rho = str(sum(Fraction(item.rho) for item in noise))
        return self.released(source, a.VectorSum(TABLE, measures, rho, keys), noise, raw, **changes)

    def released(
        self, source: str, plan: a.Plan, noise: tuple[ComponentNoise, ...], raw: tuple[int, ...], **changes: Any
    ) -> Receipt:
        """Return the receipt of a plan that asks for what its noise costs."""
        rho = plan.rho
        card = signing.payload_digest(self.card)
        digest = codec.digest(plan)
        release = naming.release_key(
            plan=digest, rho=Fraction(rho), manifests=(MANIFEST,), cards=(card,), env_digest=ENV, contract=self.digest,
            analyst="" if self.terms.share_releases else self.analyst.did,
        )  # fmt: skip
        made = Receipt(
            release=release, plan=codec.encode(plan), plan_digest=digest, rho=rho, mechanism="discrete-gaussian",
            noise=noise, raw=tuple(map(str, raw)), contract=self.digest, manifests=(MANIFEST,), cards=(card,),
            env_digest=ENV, admissions=(chain.admission_digest(self.admission),), charge_id=naming.charge_id(release),
            charges=(self.charge(rho),),
            time=TIME, analyst=self.analyst.did, purpose="teaching", session=self.session, transcript=self.transcript,
            cause=Cause("cell", "m1", code.exact(source), code.normalised(source)), assurance=self.assurance,
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def charge(self, rho: str) -> Charge:
        """Return the account after one more charge."""
        self.size, self.spent = self.size + 1, self.spent + Fraction(rho)
        self.used = self.used.plus(Usage(1024, 1, 0))
        spent = str(self.spent)
        root = f"sha256:{self.size:064x}"
        return Charge("clinic.patients", self.broker.did, rho, self.size, root, spent, spent, self.used)

    def renamed(self, receipt: Receipt, **changes: Any) -> Receipt:
        """Return a changed receipt whose digests and names follow again: what a vault that lies well would sign."""
        made = msgspec.structs.replace(receipt, **changes)
        digest = canonical.digest(made.plan)
        release = naming.release_key(
            plan=digest, rho=Fraction(made.plan["rho"]), manifests=made.manifests, cards=made.cards,
            contract=self.digest, env_digest=made.env_digest, analyst="" if self.terms.share_releases else made.analyst,
        )  # fmt: skip
        return msgspec.structs.replace(made, plan_digest=digest, release=release, charge_id=naming.charge_id(release))

    def sign(self, receipt: Receipt, key: SigningKey | None = None) -> Envelope:
        return seal(RECEIPT_TYPE, canonical.encode(receipt), key or self.vault)

    def facts(self, receipt: Receipt, *, session: str = "", recalled: bool = False) -> ReleaseFacts:
        cards = {"clinic.visits": CARD}
        return facts(receipt, self.terms, cards, session=session or self.session, recalled=recalled)

    def chip(self, *releases: ReleaseFacts) -> dict[str, Any]:
        data, metadata = chip.display(releases)
        return {"output_type": "display_data", "data": data, "metadata": metadata}


class Story:
    """A notebook of three cells with two releases, bundled: what an honest analyst hands over."""

    def __init__(self, **options: Any) -> None:
        self.world = world = World(**options)
        sources = ["import cloister as cl\nv = cl.table('clinic.visits')", "v.count()", "v.groupby('sex').bmi.mean()"]
        world.ran(sources[0])
        world.ran(sources[1])
        self.count = world.receipt(sources[1], (1003,))
        world.ran(sources[2])
        # Mean of bmi is centred at 35, step 0.05: 500 rows of 25.5 and 500 of 26.5; the third cell is "(other)".
        raw = (-190 * 500, 500, -170 * 500, 500, 0, 0)
        self.means = world.receipt(sources[2], raw, MEAN_BY_SEX)
        cells = [code_cell(sources[0])]
        cells.append(code_cell(sources[1], result("1003"), world.chip(world.facts(self.count))))
        table = "         bmi\nsex         \nfemale  25.5\nmale    26.5"
        cells.append(code_cell(sources[2], result(table), world.chip(world.facts(self.means))))
        self.plain = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}

    def notebook(self, **changes: Any) -> dict[str, Any]:
        """Return a fresh copy with its bundle; ``changes`` replace parts of the bundle."""
        world = self.world
        parts: dict[str, Any] = {
            "contract": world.contract, "cards": [world.card], "admissions": [world.admission],
            "evidence": [world.exchange()], "receipts": [world.sign(self.count), world.sign(self.means)],
        }  # fmt: skip
        return bundles.bundle(copy.deepcopy(self.plain), **{**parts, **changes})


def code_cell(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    cell = {"cell_type": "code", "id": f"c{abs(hash(source)):x}"[:16], "metadata": {}, "execution_count": 1}
    return {**cell, "source": source, "outputs": list(outputs)}


def result(text: str) -> dict[str, Any]:
    return {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": 1}
