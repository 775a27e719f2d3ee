"""Endorsement bundles: checked when they are kept, never going back, and used before what evidence brings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import amd_world as amd
import msgspec
import pytest
import test_oidc as oidc
import vendor_pki as pki
from attest_world import AttestWorld
from intel_world import NOW, IntelWorld
from tee_world import DATA, vector
from test_hardware_appraisal import Platform, policy
from typer.testing import CliRunner

from cloister import cli
from cloister.attest import endorsements, verifiers
from cloister.attest.encoding import b64
from cloister.attest.endorsements import Endorsements, Entry, add, read_entry
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import cca, gcp_oidc
from cloister.errors import CloisterError, MalformedError, TrustError, UnavailableError

JULY = datetime(2025, 7, 4, tzinfo=UTC)
DAY = timedelta(days=1)
replace = msgspec.structs.replace


def collateral(now: datetime = NOW, **changes: Any) -> Entry:
    world = IntelWorld(**changes)
    return read_entry("collateral", world.collateral(), now, trusted={"intel": world.roots})


def refusal(step: Any) -> str:
    with pytest.raises(CloisterError) as excinfo:
        step()
    return excinfo.value.code


# What is kept -----------------------------------------------------------------------------------------


def test_real_collateral_and_certificates_are_kept_under_whose_they_are() -> None:
    intel = read_entry("collateral", (DATA / "tdx/phala_tdx_v4.collateral.json").read_bytes(), JULY)
    assert intel.subject.startswith("tdx:")
    assert intel.until == "2025-07-19T10:00:35Z"
    assert intel.marks["tcb_info.tcbEvaluationDataNumber"] > 0
    assert intel.marks["root_ca_crl.number"] > 0
    vcek = read_entry("vek", (DATA / "snp/trustee_milan_v2.vcek.der").read_bytes(), JULY)
    assert vcek.subject.startswith("vcek:")
    bundle = add(add(Endorsements(), intel), vcek)
    assert endorsements.parse(msgspec.json.encode(bundle)) == bundle


@pytest.mark.parametrize(
    ("changes", "now", "code"),
    [
        ({"info_signer": "attestation"}, NOW, "endorsements.signature"),
        ({"identity_signer": "attestation"}, NOW, "endorsements.signature"),
        ({"crl_signer": "attestation"}, NOW, "endorsements.signature"),
        ({"root_crl_signer": "attestation"}, NOW, "endorsements.signature"),
        ({"revoked_authorities": (2,)}, NOW, "endorsements.revoked"),
        ({"revoked_authorities": (4,)}, NOW, "endorsements.revoked"),
        ({}, NOW + 21 * DAY, "crl.expired"),
        ({}, NOW - 11 * DAY, "crl.not_yet_valid"),
        ({"info": {"nextUpdate": "2026-02-28T00:00:00Z"}}, NOW, "endorsements.expired"),
        ({"bundle": {"pck_crl": "00"}}, NOW, "endorsements.malformed"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_not_kept(changes: dict[str, Any], now: datetime, code: str) -> None:
    assert refusal(lambda: collateral(now, **changes)) == code


def test_collateral_under_another_root_is_not_kept() -> None:
    assert refusal(lambda: read_entry("collateral", IntelWorld().collateral(), NOW)) == "endorsements.chain"
    assert refusal(lambda: read_entry("vek", amd.vek(), pki.NOW)).startswith("evidence.")


@pytest.mark.parametrize(
    "older",
    [
        {"info": {"tcbEvaluationDataNumber": 16}},
        {"identity": {"tcbEvaluationDataNumber": 17}},
        {"info": {"issueDate": "2026-02-18T00:00:00Z"}},
        {"identity": {"issueDate": "2026-02-18T00:00:00Z"}},
        {"crl_times": (NOW - 11 * DAY, NOW + 20 * DAY)},
    ],
    ids=["tcb-number", "qe-number", "tcb-issued", "qe-issued", "lists"],
)
def test_a_bundle_never_goes_back(older: dict[str, Any]) -> None:
    held = add(Endorsements(), collateral())
    before = collateral(**older)
    assert refusal(lambda: add(held, before)) == "endorsements.older"
    assert refusal(lambda: add(held, before, replace=True)) == "endorsements.older"
    # The other way round it is an update.
    assert add(add(Endorsements(), before), collateral()).entries[0].marks == held.entries[0].marks


def test_the_number_of_a_list_never_falls() -> None:
    held = add(Endorsements(), collateral())
    (one,) = held.entries
    for name in one.marks:
        older = replace(one, data="AAAA", marks={**one.marks, name: one.marks[name] - 1})
        assert refusal(lambda older=older: add(held, older)) == "endorsements.older"
        unsaid = replace(one, data="AAAA", marks={key: mark for key, mark in one.marks.items() if key != name})
        assert refusal(lambda unsaid=unsaid: add(held, unsaid)) == "endorsements.older"


def test_other_subjects_are_kept_side_by_side() -> None:
    tdx, sgx = collateral(), collateral(version=3)
    assert {entry.subject.partition(":")[0] for entry in add(add(Endorsements(), tdx), sgx).entries} == {"tdx", "sgx"}


def test_a_key_set_replaces_another_only_where_a_person_says_so() -> None:
    first, second = (read_entry("jwks", data, NOW) for data in (b"one", b"two"))
    held = add(Endorsements(), first)
    assert add(held, first) == held
    assert refusal(lambda: add(held, second)) == "endorsements.held"
    assert add(held, second, replace=True).entries == (second,)
    assert refusal(lambda: read_entry("jwks", b"", NOW)) == "endorsements.malformed"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"entries":[{"kind":"x","subject":"","data":""}]}', b'{"version":2}',
             b'{"entries":[{"kind":"iak","subject":"","data":"?"}]}',
             b'{"entries":[{"kind":"iak","subject":"","data":""},{"kind":"iak","subject":"","data":"AAAA"}]}'],
)  # fmt: skip
def test_a_file_that_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as excinfo:
        endorsements.parse(data)
    assert excinfo.value.code == "endorsements.bundle"


# What is used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tdx-phala-v4", "sgx-phala-v3", "snp-trustee-genoa-v3", "snp-trustee-milan-v2"])
def test_real_evidence_finds_what_is_kept_for_it(name: str) -> None:
    one = vector(name)
    kind = "vek" if one.case.tee == "snp" else "collateral"
    data = one.endorsements[one.known.endorsement]
    bundle = add(Endorsements(), read_entry(kind, data, one.now))
    evidence = Evidence(one.case.tee, one.case.format, b64(one.blob))
    assert bundle.for_evidence(evidence) == {one.known.endorsement: data}
    others = [vector(other) for other in ("tdx-google-v4-no-tcb-level", "snp-trustee-milan-v3-vlek")]
    for other in others:
        assert bundle.for_evidence(Evidence(other.case.tee, other.case.format, b64(other.blob))) == {}
    assert bundle.for_evidence(replace(evidence, blob="AAAA")) == {}
    assert bundle.beside(replace(evidence, endorsements={one.known.endorsement: "AAAA"})) == {}
    assert bundle.beside(evidence) == {one.known.endorsement: data}


def meet(world: AttestWorld, platform: Platform, sent: bytes, bundle: Endorsements | None) -> Any:
    """Judge an offer whose evidence carries the collateral ``sent``, with what the relying party keeps itself."""

    def attest(report_data: bytes) -> Evidence:
        return replace(platform.attest(report_data), endorsements={"collateral": b64(sent)} if sent else {})

    world.attest = attest  # type: ignore[method-assign]
    channel = world.relying_party()
    _, offer = world.enclave(channel.hello)
    return channel.receive_offer(
        offer, policy=policy(reference={"launch": platform.launch}), now=NOW, accept_simulated=False,
        verifiers={"tdx": platform.verify}, endorsements=bundle,
    )  # fmt: skip


def test_what_the_relying_party_keeps_comes_before_what_the_evidence_brings(attest_world: AttestWorld) -> None:
    """A host that sends the last list on which its revoked platform was not yet is not believed."""
    platform = Platform()
    old = platform.world.collateral()
    platform.world.revoked_platforms = (3,)
    entry = read_entry("collateral", platform.world.collateral(), NOW, trusted={"intel": platform.world.roots})
    platform.world.revoked_platforms = ()
    assert meet(attest_world, platform, old, None).status == "affirming"
    with pytest.raises(RejectedError) as excinfo:
        meet(attest_world, platform, old, add(Endorsements(), entry))
    assert excinfo.value.code == "evidence.revoked"


def test_evidence_without_collateral_is_verified_with_the_relying_partys(attest_world: AttestWorld) -> None:
    platform = Platform()
    with pytest.raises(RejectedError) as excinfo:
        meet(attest_world, platform, b"", Endorsements())
    assert excinfo.value.code == "endorsements.missing"
    entry = read_entry("collateral", platform.world.collateral(), NOW, trusted={"intel": platform.world.roots})
    assert meet(attest_world, platform, b"", add(Endorsements(), entry)).status == "affirming"


def test_keys_that_nobody_signs_count_only_from_the_relying_party() -> None:
    bundle = add(Endorsements(), read_entry("jwks", oidc.jwks(), pki.NOW))
    evidence = Evidence(gcp_oidc.TEE, gcp_oidc.FORMAT, b64(oidc.token()))
    found = verifiers.verify(evidence, oidc.BINDING, pki.NOW, endorsements=bundle.for_evidence(evidence))
    assert found.tee == "gcp-oidc"
    with pytest.raises(RejectedError) as excinfo:
        verifiers.verify(evidence, oidc.BINDING, pki.NOW)
    assert excinfo.value.code == "endorsements.missing"
    own = replace(evidence, endorsements={"jwks": b64(oidc.jwks())})
    with pytest.raises(RejectedError) as brought:
        verifiers.verify(own, oidc.BINDING, pki.NOW, endorsements=bundle.for_evidence(own))
    assert brought.value.code == "evidence.unanchored"
    assert add(Endorsements(), read_entry("iak", b"pem", NOW)).for_evidence(Evidence(cca.TEE, cca.FORMAT, "")) == {
        "iak": b"pem"
    }


# The command ------------------------------------------------------------------------------------------


def endorse(*arguments: object) -> str:
    result = CliRunner().invoke(cli.whole(), ["endorse", *map(str, arguments)])
    if isinstance(result.exception, CloisterError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_keeps_a_bundle_and_refuses_to_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))
    path = tmp_path / "kept" / "bundle.json"
    given = DATA / "tdx/phala_tdx_v4.collateral.json"
    assert "tcbEvaluationDataNumber" in endorse(path, "--collateral", given, "--at", "2025-07-04T00:00:00")
    kept = path.read_bytes()
    assert "2025-07-19" in endorse(path)
    with pytest.raises(TrustError):
        endorse(path, "--collateral", given, "--at", "2026-07-04T00:00:00")
    with pytest.raises(TrustError) as foreign:
        endorse(path, "--fetch-vek", "https://example.org/vcek")
    assert foreign.value.code == "endorsements.url"
    with pytest.raises(UnavailableError):
        endorse(path, "--iak", tmp_path / "nothing")
    assert path.read_bytes() == kept
    # Without a name it is the analyst's own, where connecting looks.
    endorse("--iak", DATA / "cca/tfrmm_platform_iak.pub.pem")
    assert (tmp_path / "trust" / "endorsements.json").exists()


@pytest.mark.parametrize("keeper", ["analyst", "broker"])
def test_endorsements_that_are_there_and_cannot_be_read_are_not_taken_for_none(keeper, tmp_path):
    from cloister.analyst.trust import TrustStore
    from cloister.provider.home import BrokerHome

    owner = TrustStore(tmp_path) if keeper == "analyst" else BrokerHome(tmp_path)
    assert owner.endorsements() == Endorsements()
    owner.endorsements_file.mkdir()
    with pytest.raises(UnavailableError) as excinfo:
        owner.endorsements()
    assert (excinfo.value.code, bool(excinfo.value.next_step)) == ("endorsements.file", True)
