"""Evidence of an enclave that the contract does not allow, in a notebook in which everything else is consistent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from signed_world import CARD, ENV, TIME, Story, World

from cloister.analyst.bundling import bundle_notebook
from cloister.analyst.receipts import ReceiptBook
from cloister.analyst.trust import TrustStore
from cloister.attest import simulator, verifiers
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.releases import References, SoftwareRelease, sign_release
from cloister.contract.clauses import Software
from cloister.errors import MalformedError
from cloister.receipt.bundle import read_bundle
from cloister.reviewer.report import SIMULATED, VERIFIED, Report
from cloister.reviewer.trust import MeasurementPin, ProviderPin, ReviewerTrust, parse_trust
from cloister.reviewer.verify import verify
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

NOW = datetime(2026, 6, 2, tzinfo=UTC)
SIGNER, STRANGER = SigningKey.generate(), SigningKey.generate()
NEWER = "sha384:" + "cd" * 48
LAUNCH = {"pcr0": "aa", "pcr1": "bb", "pcr2": "cc"}
COVERING = tuple(f"{name}={value}" for name, value in LAUNCH.items())
CLAUSE = Software((SIGNER.did,), "1.2", overlap_days=7)


def release(
    version: str,
    *,
    code: str = ENV,
    signer: SigningKey = SIGNER,
    since: str = "2026-01-01T00:00:00Z",
    launch: tuple[str, ...] = COVERING,
    policies: tuple[str, ...] = (),
) -> Envelope:
    stated = References("nitro", launch, covers_code=True)
    return sign_release(SoftwareRelease(version, signer.did, code, since, (stated,), policies), signer)


def trust(story: Story, *, code: tuple[str, ...] = (ENV,), **changes: Any) -> ReviewerTrust:
    """Return trust that pins the provider and the code: whatever is wrong then is wrong by the contract."""
    pinned = tuple(MeasurementPin(one, COVERING) for one in code)
    return ReviewerTrust(provider=(ProviderPin(story.world.provider.did),), measurement=pinned, **changes)


def check(story: Story, *, bundled: dict[str, Any] | None = None, **changes: Any) -> Report:
    return verify(story.notebook(**(bundled or {})), now=NOW, trust=trust(story, **changes), allow_simulated=True)


def failures(report: Report) -> list[str]:
    return [line.code for line in report.findings if line.level == "fail"]


def said(report: Report, code: str) -> list[str]:
    return [line.level for line in report.findings if line.code == code]


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let the simulator's evidence be read as that of Nitro hardware; the returned entries are what it says too."""
    says: dict[str, Any] = {}

    def verify_hard(evidence: Evidence, data: bytes, endorsements: Any, now: datetime) -> Claims:
        claims = simulator.verify(msgspec.structs.replace(evidence, tee="simulator"), data, endorsements, now)
        told = {"tee": "nitro", "assurance": "hardware", "warnings": (), "launch": LAUNCH, "signer": "chip:one", **says}
        return msgspec.structs.replace(claims, **told)

    monkeypatch.setattr(verifiers, "installed", lambda: {"nitro": verify_hard})
    return says


# Hosts, tenancy, placement ---------------------------------------------------------------------------


def test_an_enclave_on_a_machine_that_the_contract_does_not_list(hardware: dict[str, Any]) -> None:
    story = Story(assurance="nitro", terms={"hosts": ("chip:one", "chip:two")})
    report = check(story)
    assert (report.overall, failures(report), said(report, "agreed.hosts")) == (VERIFIED, [], ["ok"])
    hardware["signer"] = "chip:three"
    report = check(story)
    assert (failures(report), report.exit_code, report.anchors.tee) == (["appraisal.instance"], 2, "failed")
    assert any("chip:three is not an allowed host" in line.text for line in report.findings)


def test_every_exchange_is_judged_not_only_the_last_of_a_vault(
    hardware: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(assurance="nitro", terms={"hosts": ("chip:one",)})
    inner, hosts = verifiers.installed()["nitro"], iter(["chip:three", "chip:one"])

    def verify_next(*said: Any) -> Claims:
        return msgspec.structs.replace(inner(*said), signer=next(hosts))

    monkeypatch.setattr(verifiers, "installed", lambda: {"nitro": verify_next})
    evidence = [story.world.exchange(), story.world.exchange()]
    assert failures(check(story, bundled={"evidence": evidence})) == ["appraisal.instance"]


def test_a_shared_machine_where_the_contract_asks_for_an_exclusive_one(
    hardware: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(assurance="nitro", terms={"tenancy": "exclusive"})
    assert failures(check(story)) == ["appraisal.tenancy"], "Nitro reports no configuration it was started with"
    # The same enclave as TDX, whose MRCONFIGID names the contract it was started for, or another one.
    inner = verifiers.installed()["nitro"]
    monkeypatch.setattr(verifiers, "installed", lambda: {"tdx": inner})
    story = Story(assurance="tdx", terms={"tenancy": "exclusive"})
    own = story.world.digest.removeprefix("sha256:").ljust(96, "0")
    hardware.update(tee="tdx", launch={"mr_config_id": own})
    report = check(story)
    assert (failures(report), said(report, "agreed.tenancy")) == ([], ["ok"])
    hardware.update(launch={"mr_config_id": "11" * 32 + "00" * 16})
    assert failures(check(story)) == ["appraisal.tenancy"]


@pytest.mark.parametrize("clause", ["placement", "tenancy"])
def test_an_enclave_that_says_it_runs_otherwise(clause: str) -> None:
    agreed = {"placement": "split", "tenancy": "exclusive"}
    story = Story(terms=agreed)
    story.world.runtime = agreed
    report = check(story)
    assert (report.overall, failures(report)) == (SIMULATED, [])
    assert said(report, f"agreed.{clause}") == ["ok"]
    story.world.runtime = {**agreed, clause: "other"}
    assert failures(check(story)) == [f"appraisal.{clause}"]


def test_evidence_that_says_nothing_of_placement_is_a_note() -> None:
    assert said(check(Story()), "agreed.placement") == ["note"]


# Simulation ------------------------------------------------------------------------------------------


def test_a_simulated_enclave_under_a_contract_that_accepts_none() -> None:
    assert failures(check(Story(terms={"accept_simulated": False}))) == ["appraisal.simulated"]


def test_a_simulated_enclave_with_data_that_are_not_for_demonstration(
    hardware: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = msgspec.structs.replace(CARD, grade="production")
    assert failures(check(Story(assurance="nitro", card=real))) == []
    monkeypatch.setattr(verifiers, "installed", lambda: {"simulator": simulator.verify})
    assert failures(check(Story(card=real))) == ["session.grade"]


# Software --------------------------------------------------------------------------------------------


def software(*documents: Envelope, assurance: str = "simulated", **terms: Any) -> Report:
    story = Story(assurance=assurance, terms={"software": CLAUSE, **terms})
    return check(story, bundled={"software": documents})


def test_a_release_as_the_contract_asks_is_said() -> None:
    report = software(release("1.2"))
    assert (report.overall, failures(report), said(report, "agreed.software")) == (SIMULATED, [], ["ok"])
    assert report.reservations == ("simulated",)


REFUSED = [
    (release("1.1.9"), "release.minimum"),
    (release("1.2", signer=STRANGER), "release.signer"),
    (release("1.2", since="2026-06-01T12:00:01Z"), "release.early"),
    (release("1.2", policies=("sha256:" + "4" * 64,)), "release.policy"),
]


@pytest.mark.parametrize(("document", "code"), REFUSED, ids=[code for _, code in REFUSED])
def test_code_of_a_release_that_the_contract_does_not_allow(document: Envelope, code: str) -> None:
    assert failures(software(document)) == [code]


def test_a_release_for_the_policy_that_the_contract_pins_of_the_broker() -> None:
    digest = "sha256:" + "4" * 64
    assert failures(software(release("1.2", policies=(digest,)), policies={"clinic": digest})) == []


def test_an_edited_release_counts_for_nothing() -> None:
    good = release("1.1")
    forged = msgspec.structs.replace(good, payload=release("1.3", signer=SIGNER).payload)
    assert failures(software(forged)) == ["signature.invalid"]


@pytest.mark.parametrize("documents", [(), (release("1.3", code=NEWER),)], ids=["none", "of other code"])
def test_without_the_release_the_verdict_is_weaker_and_no_option_allows_it(documents: tuple[Envelope, ...]) -> None:
    report = software(*documents)
    assert "software release not included" in report.reservations
    assert (failures(report), report.exit_code) == ([], 1)


def test_the_reviewers_own_releases_stand_in_for_those_that_are_not_there() -> None:
    story = Story(terms={"software": CLAUSE})
    assert check(story, documents=(release("1.2"),)).exit_code == 0
    assert failures(check(story, documents=(release("1.1"),))) == ["release.minimum"]
    with pytest.raises(MalformedError, match="documents are not written here"):
        parse_trust('version = 1\n[[documents]]\npayload = ""\npayloadType = ""\nsignatures = []\n')


def test_code_that_calls_itself_the_release_and_is_measured_otherwise(hardware: dict[str, Any]) -> None:
    assert failures(software(release("1.2"), assurance="nitro")) == []
    other = release("1.2", launch=("pcr0=ff", *COVERING[1:]))
    assert set(failures(software(other, assurance="nitro"))) == {"release.measurement"}


@pytest.mark.parametrize(
    ("time", "codes"), [("2026-06-08T12:00:00Z", []), ("2026-06-08T12:00:01Z", ["release.rollback"])]
)
def test_an_older_release_admitted_after_the_overlap(time: str, codes: list[str]) -> None:
    """The vault of the receipts is admitted late, long after a newer one: a broker that forgot would be found out."""
    story = Story(terms={"software": CLAUSE})
    newer = story.world.admit(env_digest=NEWER, vault_id=STRANGER.did, time=TIME)
    older = story.world.admit(time=time)
    documents = (release("1.2"), release("1.3", code=NEWER))
    bundled = {"admissions": [story.world.admission, newer, older], "software": documents}
    assert failures(check(story, bundled=bundled)) == codes


def test_bundling_takes_the_releases_along_that_the_contract_is_about(tmp_path: Path) -> None:
    world = World(terms={"software": CLAUSE})
    book = ReceiptBook(
        world.contract, world.vault.did, world.session, tmp_path / "receipts", cards=[world.card],
        analyst=world.analyst.did, evidence=world.exchange(),
    )  # fmt: skip
    store = TrustStore(tmp_path / "trust")
    store.add_release(release("1.2"))
    store.add_release(release("1.3", code=NEWER))
    world.ran("v.count()")
    receipt = world.receipt("v.count()", (1003,))
    book.admit(msgspec.to_builtins(world.admission))
    book.accept(msgspec.to_builtins(world.sign(receipt)), "m1")
    cell = {"cell_type": "code", "source": "v.count()", "outputs": [world.chip(world.facts(receipt))], "metadata": {}}
    plain = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    bundled = bundle_notebook(plain, tmp_path / "receipts", store)
    assert read_bundle(bundled).releases == (release("1.2"),)
    without = bundle_notebook(plain, tmp_path / "receipts", TrustStore(tmp_path / "other"))
    assert "software" not in without["metadata"]["cloister"]["bundle"], "what is not there is not written"
