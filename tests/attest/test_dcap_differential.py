"""Our DCAP verifier against ``dcap-qvl`` (Phala's, in Rust): where one accepts and the other does not, we know why."""

from __future__ import annotations

import json
from typing import Any

import intel_world as w
import pytest
from intel_world import IntelWorld
from tee_world import flips, vector

from cloister.attest.evidence import RejectedError
from cloister.attest.tee import dcap
from cloister.attest.tee.examined import Examined

qvl = pytest.importorskip("dcap_qvl", reason="dcap-qvl is not installed (pip install dcap-qvl)")

WITH_COLLATERAL = (
    "sgx-phala-v3", "tdx-phala-v4", "tdx-phala-v5-no-tcb-level", "tdx-google-v4-no-tcb-level",
    "tdx-google-v4-wrong-fmspc", "tdx-phala-v4-collateral-expired", "tdx-phala-v4-collateral-future",
)  # fmt: skip


def theirs(quote: bytes, collateral: bytes, now: int, root: bytes | None = None) -> tuple[str, list[str]] | str:
    """Return their status and advisories, or the text of their refusal."""
    try:
        bundle = qvl.QuoteCollateralV3.from_json(collateral.decode())
        found = qvl.verify(quote, bundle, now) if root is None else qvl.verify_with_root_ca(quote, bundle, root, now)
    except (ValueError, UnicodeDecodeError) as error:
        return str(error)
    return found.status, sorted(found.advisory_ids)


def same(found: Examined, other: tuple[str, list[str]] | str) -> bool:
    if found.debug:
        # They refuse debugging in the verifier; here it is a fact that appraisal contraindicates.
        return isinstance(other, str) and "debug" in other.lower()
    return other == (found.tcb_status, list(found.advisories))


@pytest.mark.parametrize("name", [*WITH_COLLATERAL, "tdx-trustee-v4-debug"])
def test_real_vectors(name: str) -> None:
    one = vector(name)
    other = theirs(one.blob, one.endorsements[dcap.COLLATERAL], int(one.now.timestamp()))
    if one.case.expect.verdict == "verified":
        assert same(one.examine(), other)
    else:
        with pytest.raises(RejectedError):
            one.examine()
        assert isinstance(other, str)


@pytest.mark.parametrize("name", ["sgx-phala-v3", "tdx-phala-v4"])
def test_what_a_changed_byte_does_to_either(name: str) -> None:
    one = vector(name)
    collateral, now = one.endorsements[dcap.COLLATERAL], int(one.now.timestamp())
    end = len(one.blob.rstrip(b"\0"))
    root = one.blob.rindex(b"-----BEGIN")
    for position, changed in flips(one.blob, 37):
        if isinstance(theirs(changed, collateral, now), str):
            continue
        # They take the root from their own pin, and read no bytes after the quote, nor two of its length fields.
        assert position >= root or position >= end or position in range(632, 636), position
        with pytest.raises(RejectedError):
            one.examine(blob=changed)


def module(status: str) -> dict[str, Any]:
    world = IntelWorld(td={"svn": bytes.fromhex("05010500") + bytes(12)})
    info = world.tcb_info()
    info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcbStatus"] = status
    return {"info": info, "td": world.td}


def platform(status: str, **changes: Any) -> dict[str, Any]:
    level = IntelWorld().tcb_info()["tcbLevels"][0]
    return {"info": {"tcbLevels": [{**level, "tcbStatus": status, "advisoryIDs": ["INTEL-SA-00009"]}]}, **changes}


CHANGES: dict[str, dict[str, Any]] = {
    "honest": {},
    "version 5": {"version": 5},
    "sgx": {"version": 3},
    "platform revoked": {"revoked_platforms": (3,)},
    "authority revoked": {"revoked_authorities": (2,)},
    "other attestation key": {"vouched_key": "someone"},
    "other signer": {"attestation_signer": "someone"},
    "qe signed by another": {"pck_signer": "someone"},
    "list signed by another": {"crl_signer": "someone"},
    "info signed by another": {"info_signer": "someone"},
    "identity signed by another": {"identity_signer": "someone"},
    "other platform": {"fmspc": b"\x01" * 6},
    "below every level": {"pce_svn": w.PCE_SVN - 1},
    "tdx below every level": {"td": {"svn": bytes.fromhex("03000400") + bytes(12)}},
    "list too old": {"crl_times": (w.NOW - w.timedelta(days=2), w.NOW - w.timedelta(days=1))},
    "info too old": {"info": {"nextUpdate": w.stamp(w.NOW - w.timedelta(days=1))}},
    "identity too old": {"identity": {"nextUpdate": w.stamp(w.NOW - w.timedelta(days=1))}},
    "other qe": {"qe": {"mr_signer": bytes(32)}},
    "other product": {"qe": {"product": 9}},
    "old qe": {"qe": {"svn": 2}},
    "unknown qe": {"qe": {"svn": 1}},
    "old module": {"td": {"svn": bytes.fromhex("03010500") + bytes(12)}},
    "unknown module": {"td": {"svn": bytes.fromhex("03020500") + bytes(12)}},
    "module of another signer": {"td": {"seam_signer": b"\1" * 48}},
    "module revoked": module("Revoked"),
    "revoked": platform("Revoked"),
    "out of date": platform("OutOfDate"),
    "hardening": platform("SWHardeningNeeded"),
    "configuration": platform("ConfigurationNeeded"),
    "both": platform("ConfigurationAndSWHardeningNeeded"),
    "out of date and configuration": platform("OutOfDateConfigurationNeeded"),
    "hardening, old qe": platform("SWHardeningNeeded", qe={"svn": 2}),
    "configuration, old qe": platform("ConfigurationNeeded", qe={"svn": 2}),
    "both, old qe": platform("ConfigurationAndSWHardeningNeeded", qe={"svn": 2}),
    "debug": {"td": {"attributes": bytes.fromhex("0100001000000000")}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_platform_of_our_own(name: str) -> None:
    world = IntelWorld(**CHANGES[name])
    quote, collateral = world.quote(), world.collateral()
    other = theirs(quote, collateral, int(world.now.timestamp()), world.root)
    try:
        found = world.examine({dcap.COLLATERAL: collateral})
    except RejectedError as error:
        assert isinstance(other, str), (error.code, other)
    else:
        assert same(found, other), (found.tcb_status, found.advisories, other)


@pytest.mark.parametrize("bit", range(64))
def test_every_attribute_they_refuse_has_a_warning_here(bit: int) -> None:
    world = IntelWorld(td={"attributes": (1 << 28 | 1 << bit).to_bytes(8, "little")})
    quote, collateral = world.quote(), world.collateral()
    found = world.examine({dcap.COLLATERAL: collateral})
    if isinstance(theirs(quote, collateral, int(world.now.timestamp()), world.root), str):
        assert found.debug or found.warnings


def test_json_collateral_is_the_same_document() -> None:
    names = {name for name in dir(qvl.QuoteCollateralV3) if not name.startswith("_")} - {"from_json", "to_json"}
    assert names <= set(json.loads(IntelWorld().collateral()))
