"""DCAP rules one by one: each lie in quote or collateral has its reason, with every other signature in order."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import intel_world as w
import pytest
from intel_world import IntelWorld

from cloister.attest import roots
from cloister.attest.evidence import RejectedError
from cloister.attest.tee import tdx
from cloister.attest.tee.codes import CODES

DAY = timedelta(days=1)


def refused(world: IntelWorld) -> str:
    with pytest.raises(RejectedError) as excinfo:
        world.examine()
    assert excinfo.value.code in CODES
    return excinfo.value.code


def level(status: str, **changes: Any) -> dict[str, Any]:
    return {**IntelWorld(version=3).tcb_info()["tcbLevels"][0], "tcbStatus": status, **changes}


def module_level(status: str, svn: int = 0) -> list[dict[str, Any]]:
    return [{"tcb": {"isvsvn": svn}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}]


# --- honest evidence


@pytest.mark.parametrize("version", [3, 4, 5])
def test_an_honest_quote_is_verified(version: int) -> None:
    found = IntelWorld(version=version).examine()
    assert (found.verdict, found.tcb_status, found.qe_status, found.debug) == (
        "verified",
        "UpToDate",
        "UpToDate",
        False,
    )
    assert found.report_data == (b"r" * 64).hex()
    assert found.signer == f"ppid:{w.PPID.hex()}"
    assert (found.not_before, found.not_after) == w.SHORT
    # The older of the two evaluation numbers is what the collateral as a whole is worth.
    assert found.details["tcb_eval_num"] == 17


def test_both_ends_of_every_window_are_included() -> None:
    for moment in w.SHORT:
        assert IntelWorld(now=moment).examine().verdict == "verified"


def test_without_collateral_the_verdict_says_so() -> None:
    assert IntelWorld().examine({}).verdict == "endorsements_missing"


def test_a_quoting_enclave_under_debug_vouches_for_nothing_even_without_collateral() -> None:
    with pytest.raises(RejectedError) as excinfo:
        IntelWorld(qe={"attributes": b"\x13" + bytes(15)}).examine({})
    assert excinfo.value.code == "qe.identity"


def test_padding_of_zeros_is_no_part_of_a_quote() -> None:
    assert IntelWorld(tail=bytes(3000)).examine().verdict == "verified"
    assert refused(IntelWorld(tail=bytes(3000) + b"x")) == "evidence.malformed"


# --- the quote


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attestation_signer": "someone"}, "evidence.signature"),
        ({"pck_signer": "someone"}, "evidence.signature"),
        ({"pck_signer": w.TCB}, "evidence.signature"),
        ({"vouched_key": "someone"}, "evidence.key"),
        ({"certification": 3}, "evidence.format"),
        ({"inner_tail": b"\0"}, "evidence.malformed"),
        ({"outer_tail": b"\0"}, "evidence.malformed"),
        ({"qe": {"report_data": bytes(64)}}, "evidence.key"),
        ({"qe": {"attributes": b"\x13" + bytes(15)}}, "qe.identity"),
        ({"qe": {"mr_signer": b"\x99" * 32}}, "qe.identity"),
        ({"qe": {"product": 3}}, "qe.identity"),
        ({"qe": {"misc": b"\x01\0\0\0"}}, "qe.identity"),
        ({"qe": {"attributes": b"\x11" + b"\x01" + bytes(14)}}, "qe.identity"),
        ({"qe": {"svn": 1}}, "qe.identity"),
        ({"fmspc": b"\x01" * 6}, "tcb.fmspc"),
        ({"svns": [4, *w.SVNS[1:]]}, "tcb.no_matching_level"),
        ({"svns": [*w.SVNS[:7], 2, *w.SVNS[8:]]}, "tcb.no_matching_level"),
        ({"pce_svn": w.PCE_SVN - 1}, "tcb.no_matching_level"),
        ({"td": {"svn": bytes.fromhex("03000400") + bytes(12)}}, "tcb.no_matching_level"),
        ({"td": {"svn": bytes.fromhex("02000500") + bytes(12)}}, "tcb.no_matching_level"),
        ({"td": {"seam_signer": b"\x01" + bytes(47)}}, "tdx.module"),
        ({"td": {"seam_attributes": b"\x01" + bytes(7)}}, "tdx.module"),
        ({"td": {"svn": bytes.fromhex("04020500") + bytes(12)}}, "tdx.module"),
        ({"td": {"svn": bytes.fromhex("01010500") + bytes(12)}}, "tdx.module"),
        ({"td": {"svn": bytes.fromhex("05010500") + bytes(12), "seam_signer": b"\x01" + bytes(47)}}, "tdx.module"),
    ],
)
def test_a_lie_in_the_quote(changes: dict[str, Any], code: str) -> None:
    assert refused(IntelWorld(**changes)) == code


def test_the_pce_id_is_compared_like_the_platform() -> None:
    assert refused(IntelWorld(info={"pceId": "0001"})) == "tcb.fmspc"


@pytest.mark.parametrize(
    ("attributes", "debug"), [("0100001000000000", True), ("8000000000000000", True), ("0000001000000000", False)]
)
def test_a_trust_domain_under_debug_is_reported(attributes: str, debug: bool) -> None:
    assert IntelWorld(td={"attributes": bytes.fromhex(attributes)}).examine().debug is debug


def test_a_debug_enclave_is_reported() -> None:
    assert IntelWorld(version=3, enclave={"attributes": b"\x07" + bytes(15)}).examine().debug


@pytest.mark.parametrize(
    ("attributes", "word"),
    [("0000003000000000", "moved"), ("0000000000000000", "SEPT_VE_DISABLE"), ("0000021000000000", "0x20000")],
)
def test_a_domain_that_its_host_may_move_or_disturb_has_a_warning(attributes: str, word: str) -> None:
    found = IntelWorld(td={"attributes": bytes.fromhex(attributes)}).examine()
    assert len(found.warnings) == 1
    assert word in found.warnings[0]
    assert IntelWorld().examine().warnings == ()


# --- certificates


def chain_of(world: IntelWorld, **changes: Any) -> tuple[bytes, ...]:
    """Return the world's chain with one certificate made in another way."""
    extension = w.sgx_extension(w.FMSPC, w.SVNS, w.PCE_SVN)
    which = changes.pop("which")
    made = {
        "pck": lambda: w.certify(**{"common": w.PCK, "issuer": w.PLATFORM, "ca": False, "serial": 3,
                                    "extension": extension, **changes}),
        "authority": lambda: w.certify(**{"common": w.PLATFORM, "issuer": w.ROOT, "ca": True, "serial": 2, **changes}),
        "root": lambda: w.certify(**{"common": w.ROOT, "issuer": w.ROOT, "ca": True, "serial": 1, **changes}),
    }[which]()  # fmt: skip
    whole = {"pck": world.pck, "authority": world.authority, "root": world.root, which: made}
    return tuple(whole.values())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"which": "pck", "signer": w.ROOT}, "evidence.chain"),
        ({"which": "pck", "signer": "someone"}, "evidence.chain"),
        ({"which": "pck", "issuer": w.ROOT}, "evidence.chain"),
        ({"which": "pck", "extension": None}, "evidence.malformed"),
        ({"which": "pck", "times": (w.NOW + w.timedelta(days=1), w.LONG[1])}, "evidence.not_yet_valid"),
        ({"which": "pck", "times": (w.LONG[0], w.NOW - w.timedelta(days=1))}, "evidence.expired"),
        ({"which": "pck", "critical": "1.2.3.4"}, "evidence.chain"),
        ({"which": "authority", "ca": False}, "evidence.chain"),
        ({"which": "authority", "signer": "someone"}, "evidence.chain"),
        ({"which": "authority", "times": (w.LONG[0], w.NOW - w.timedelta(days=1))}, "evidence.expired"),
        # A root that somebody made himself, with Intel's name and even the same key.
        ({"which": "root", "serial": 99}, "evidence.chain"),
    ],
)
def test_a_broken_chain(changes: dict[str, Any], code: str) -> None:
    world = IntelWorld()
    world.chain = chain_of(world, **changes)
    assert refused(world) == code


def test_only_a_pck_certificate_signs_for_a_platform() -> None:
    world = IntelWorld()
    # The key that signs collateral is Intel's as well; it says nothing about a platform.
    world.chain = (world.tcb_certificate, world.root)
    world.pck_signer = w.TCB
    assert refused(world) == "evidence.chain"


def test_only_intels_platform_authorities_certify_platforms() -> None:
    world = IntelWorld()
    authority = w.certify("Intel SGX Other CA", w.ROOT, ca=True, serial=6)
    extension = w.sgx_extension(w.FMSPC, w.SVNS, w.PCE_SVN)
    pck = w.certify(w.PCK, "Intel SGX Other CA", ca=False, serial=3, extension=extension)
    world.chain = (pck, authority, world.root)
    with pytest.raises(RejectedError) as excinfo:
        world.examine({})
    assert excinfo.value.code == "evidence.chain"


def test_another_certificate_of_the_authority_is_no_platform() -> None:
    world = IntelWorld()
    extension = w.sgx_extension(w.FMSPC, w.SVNS, w.PCE_SVN)
    other = w.certify("Intel SGX Other", w.PLATFORM, ca=False, serial=3, extension=extension)
    world.chain, world.pck_signer = (other, world.authority, world.root), "Intel SGX Other"
    with pytest.raises(RejectedError) as excinfo:
        world.examine({})
    assert excinfo.value.code == "evidence.chain"


def test_a_platform_cannot_issue_platforms() -> None:
    world = IntelWorld()
    extension = w.sgx_extension(w.FMSPC, w.SVNS, w.PCE_SVN)
    forged = w.certify("forged", w.PCK, ca=False, serial=5, extension=extension)
    world.chain, world.pck_signer = (forged, world.pck, world.authority, world.root), "forged"
    assert refused(world) == "evidence.chain"


def test_certificates_in_another_order_or_twice_are_no_chain() -> None:
    world = IntelWorld()
    for chain in ((world.authority, world.pck, world.root), (world.pck, world.pck, world.authority, world.root),
                  (world.pck, world.root), (world.pck,)):  # fmt: skip
        world.chain = chain
        assert refused(world) == "evidence.chain"


def test_our_own_intel_is_not_the_packaged_one() -> None:
    world = IntelWorld()
    with pytest.raises(RejectedError) as excinfo:
        tdx.examine(world.quote(), {"collateral": world.collateral()}, roots.of("intel"), w.NOW)
    assert excinfo.value.code == "evidence.chain"


# --- collateral


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"revoked_platforms": (3,)}, "evidence.revoked"),
        ({"revoked_authorities": (2,)}, "evidence.revoked"),
        ({"revoked_authorities": (4,)}, "endorsements.revoked"),
        ({"crl_times": (w.NOW + DAY, w.NOW + 2 * DAY)}, "crl.not_yet_valid"),
        ({"crl_times": (w.NOW - 2 * DAY, w.NOW - DAY)}, "crl.expired"),
        ({"crl_signer": "someone"}, "endorsements.signature"),
        ({"root_crl_signer": "someone"}, "endorsements.signature"),
        ({"root_crl_signer": w.PLATFORM}, "endorsements.signature"),
        ({"info_signer": "someone"}, "endorsements.signature"),
        ({"identity_signer": "someone"}, "endorsements.signature"),
        ({"info_signer": w.PCK}, "endorsements.signature"),
        ({"info": {"issueDate": w.stamp(w.NOW + DAY)}}, "endorsements.not_yet_valid"),
        ({"info": {"nextUpdate": w.stamp(w.NOW - DAY)}}, "endorsements.expired"),
        ({"identity": {"issueDate": w.stamp(w.NOW + DAY)}}, "endorsements.not_yet_valid"),
        ({"identity": {"nextUpdate": w.stamp(w.NOW - DAY)}}, "endorsements.expired"),
        ({"tcb_times": (w.LONG[0], w.NOW - DAY)}, "endorsements.expired"),
        ({"tcb_times": (w.NOW + DAY, w.LONG[1])}, "endorsements.not_yet_valid"),
        ({"info": {"id": "SGX"}}, "endorsements.mismatch"),
        ({"identity": {"id": "QE"}}, "endorsements.mismatch"),
        ({"info": {"version": 2}}, "endorsements.malformed"),
        ({"info": {"tcbType": 1}}, "endorsements.malformed"),
        ({"info": {"tcbLevels": [level("Fine")]}}, "endorsements.malformed"),
        ({"info": {"tcbLevels": []}}, "tcb.no_matching_level"),
        ({"info": {"tcbLevels": [level("UpToDate")]}}, "endorsements.malformed"),
        ({"info": {"issueDate": "yesterday"}}, "endorsements.malformed"),
        ({"info": {"fmspc": "00"}}, "endorsements.malformed"),
        ({"info": {"tdxModule": None}}, "tdx.module"),
        ({"identity": {"mrsigner": "zz"}}, "endorsements.malformed"),
        ({"bundle": {"pck_crl": "00"}}, "endorsements.malformed"),
        ({"bundle": {"pck_crl": " " * 10}}, "endorsements.malformed"),
        ({"bundle": {"more": ""}}, "endorsements.malformed"),
        ({"bundle": {"qe_identity_issuer_chain": "none"}}, "endorsements.malformed"),
        ({"bundle": {"pck_crl_issuer_chain": "none"}}, "endorsements.malformed"),
    ],
)
def test_a_lie_in_the_collateral(changes: dict[str, Any], code: str) -> None:
    assert refused(IntelWorld(**changes)) == code


def test_the_platform_cannot_sign_its_own_collateral() -> None:
    world = IntelWorld(info_signer=w.PCK, identity_signer=w.PCK)
    world.tcb_chain = (world.pck, world.authority, world.root)
    assert refused(world) == "endorsements.chain"


def test_an_authority_of_platforms_signs_no_collateral() -> None:
    world = IntelWorld(info_signer=w.PLATFORM, identity_signer=w.PLATFORM)
    world.tcb_chain = (world.authority, world.root)
    assert refused(world) == "endorsements.chain"


def test_the_revocation_list_is_the_platforms_own_authoritys() -> None:
    world = IntelWorld(crl_signer=w.ROOT, bundle={"pck_crl": w.revoke(w.ROOT, (), w.SHORT).hex()})
    world.crl_chain = (world.root,)
    assert refused(world) == "endorsements.mismatch"


def test_a_list_of_the_right_key_under_another_name_is_refused() -> None:
    world = IntelWorld(bundle={"pck_crl": w.revoke(w.ROOT, (), w.SHORT, signer=w.PLATFORM).hex()})
    assert refused(world) == "endorsements.chain"


def test_a_body_changed_by_one_space_is_not_what_intel_signed() -> None:
    world = IntelWorld()
    bundle = json.loads(world.collateral())
    bundle["tcb_info"] = bundle["tcb_info"].replace(":3", ": 3", 1)
    with pytest.raises(RejectedError) as excinfo:
        world.examine({"collateral": json.dumps(bundle).encode()})
    assert excinfo.value.code == "endorsements.signature"


# --- TCB levels and how statuses merge


OUT = {"svn": 2}
TDX_OUT = {"svn": bytes.fromhex("03010500") + bytes(12)}


@pytest.mark.parametrize(
    ("status", "qe", "td", "merged"),
    [
        ("UpToDate", {}, {}, "UpToDate"),
        ("SWHardeningNeeded", {}, {}, "SWHardeningNeeded"),
        ("ConfigurationNeeded", {}, {}, "ConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", {}, {}, "ConfigurationAndSWHardeningNeeded"),
        ("OutOfDate", {}, {}, "OutOfDate"),
        ("OutOfDateConfigurationNeeded", {}, {}, "OutOfDateConfigurationNeeded"),
        ("UpToDate", OUT, {}, "OutOfDate"),
        ("SWHardeningNeeded", OUT, {}, "OutOfDate"),
        ("ConfigurationNeeded", OUT, {}, "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", OUT, {}, "OutOfDateConfigurationNeeded"),
        ("OutOfDate", OUT, {}, "OutOfDate"),
        ("OutOfDateConfigurationNeeded", OUT, {}, "OutOfDateConfigurationNeeded"),
        ("UpToDate", {}, TDX_OUT, "OutOfDate"),
        ("ConfigurationNeeded", {}, TDX_OUT, "OutOfDateConfigurationNeeded"),
        ("UpToDate", OUT, TDX_OUT, "OutOfDate"),
    ],
)
def test_statuses_merge_to_the_worst(status: str, qe: dict[str, Any], td: dict[str, Any], merged: str) -> None:
    world = IntelWorld(qe=qe, td=td)
    levels = world.tcb_info()["tcbLevels"]
    world.info = {"tcbLevels": [{**levels[0], "tcbStatus": status, "advisoryIDs": ["INTEL-SA-00009"]}]}
    found = world.examine()
    assert found.tcb_status == merged
    assert found.details["platform_status"] == status
    assert found.qe_status == ("OutOfDate" if qe else "UpToDate")
    assert found.module_status == ("OutOfDate" if td else None)
    wanted = ["INTEL-SA-00001"] * bool(qe) + ["INTEL-SA-00002"] * bool(td) + ["INTEL-SA-00009"]
    assert list(found.advisories) == wanted


@pytest.mark.parametrize("part", ["platform", "qe", "module"])
def test_a_revoked_level_is_refused(part: str) -> None:
    world = IntelWorld(td={"svn": bytes.fromhex("05010500") + bytes(12)})
    info = world.tcb_info()
    if part == "platform":
        info["tcbLevels"][0]["tcbStatus"] = "Revoked"
    elif part == "qe":
        world.identity = {"tcbLevels": module_level("Revoked")}
    else:
        info["tdxModuleIdentities"][0]["tcbLevels"] = module_level("Revoked")
    world.info = info
    assert refused(world) == "tcb.revoked"


def test_the_first_level_that_is_reached_counts() -> None:
    world = IntelWorld(version=3)
    higher = level("UpToDate")
    higher = {**higher, "tcb": {**higher["tcb"], "pcesvn": w.PCE_SVN + 1}}
    world.info = {"tcbLevels": [higher, level("OutOfDate"), level("UpToDate")]}
    assert world.examine().tcb_status == "OutOfDate"


def test_the_modules_own_components_count_only_without_a_major_version() -> None:
    # Version 1: components 0 and 1 are judged by the module's identity, so a lower number there is no platform fault.
    found = IntelWorld(td={"svn": bytes.fromhex("02010500") + bytes(12)}).examine()
    assert (found.tcb_status, found.module_status) == ("OutOfDate", "OutOfDate")
