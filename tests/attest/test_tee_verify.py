"""From hardware evidence to claims for one exchange: the binding, the verdict, the format, the size."""

from __future__ import annotations

import msgspec
import pytest
from attest_world import CONTRACT
from tee_world import vector

from cloister.attest import verifiers
from cloister.attest.encoding import b64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.tee import dcap, sgx, tdx
from cloister.attest.tee.examined import Examined, conclude
from cloister.wire import canonical

VERIFIERS = {"sgx": sgx.verify, "tdx": tdx.verify}


def evidence_of(name: str) -> tuple[Evidence, bytes]:
    """Return a vector as an attester would send it, with its collateral, and the report data it was made for."""
    one = vector(name)
    endorsements = {key: b64(data) for key, data in one.endorsements.items()}
    evidence = Evidence(tee=one.case.tee, format=one.case.format, blob=b64(one.blob), endorsements=endorsements)
    return evidence, bytes.fromhex(one.case.claims["report_data"])


def verify(evidence: Evidence, binding: bytes, name: str) -> Claims:
    return verifiers.verify(evidence, binding, vector(name).now, verifiers=VERIFIERS)


def refused(evidence: Evidence, binding: bytes, name: str) -> str:
    with pytest.raises(RejectedError) as excinfo:
        verify(evidence, binding, name)
    return excinfo.value.code


@pytest.mark.parametrize("name", ["sgx-phala-v3", "tdx-phala-v4", "tdx-trustee-v4-debug"])
def test_evidence_for_this_exchange_makes_claims(name: str) -> None:
    evidence, binding = evidence_of(name)
    claims = verify(evidence, binding, name)
    expect = vector(name).case.expect
    assert (claims.tee, claims.assurance, claims.debug) == (evidence.tee, "hardware", expect.debug)
    assert claims.report_data == binding.hex()
    assert claims.platform["tcb_status"] == expect.tcb_status
    assert claims.platform["advisories"] == list(expect.advisories)
    assert claims.signer.startswith("ppid:")
    # Claims travel and are digested: everything in them is JSON.
    assert msgspec.json.decode(canonical.encode(claims), type=Claims) == claims


@pytest.mark.parametrize("name", ["sgx-phala-v3", "tdx-phala-v4"])
def test_evidence_for_another_exchange_is_refused(name: str) -> None:
    evidence, binding = evidence_of(name)
    for other in (bytes(64), binding[:-1] + bytes([binding[-1] ^ 1]), binding[:48], b"", binding + b"\0"):
        assert refused(evidence, other, name) == "evidence.binding"


def test_without_collateral_nothing_is_claimed() -> None:
    evidence, binding = evidence_of("tdx-phala-v4")
    bare = msgspec.structs.replace(evidence, endorsements={})
    assert refused(bare, binding, "tdx-phala-v4") == "endorsements.missing"


def test_the_format_is_the_quotes_own() -> None:
    evidence, binding = evidence_of("tdx-phala-v4")
    for changes in ({"format": "tdx_quote_v5"}, {"format": "sgx_quote_v3"}, {"tee": "sgx", "format": "sgx_quote_v3"}):
        other = msgspec.structs.replace(evidence, **changes)
        assert refused(other, binding, "tdx-phala-v4") == "evidence.format"


def test_a_tee_nobody_verifies_is_refused() -> None:
    evidence, binding = evidence_of("tdx-phala-v4")
    assert refused(msgspec.structs.replace(evidence, tee="sev"), binding, "tdx-phala-v4") == "evidence.tee"


def test_size_and_spelling_of_the_blob() -> None:
    evidence, binding = evidence_of("tdx-phala-v4")
    big = msgspec.structs.replace(evidence, blob=b64(bytes(dcap.MAX_QUOTE + 3)))
    assert refused(big, binding, "tdx-phala-v4") == "evidence.oversize"
    odd = msgspec.structs.replace(evidence, blob=evidence.blob + "=")
    assert refused(odd, binding, "tdx-phala-v4") == "evidence.malformed"


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("endorsements_missing", "endorsements.missing"),
        ("unanchored", "evidence.unanchored"),
        ("references_missing", "references.missing"),
        ("made up", "evidence.malformed"),
    ],
)
def test_only_verified_becomes_claims(verdict: str, code: str) -> None:
    examined = Examined("tdx", "f", verdict, debug=False, report_data="00" * 64, launch={}, signer="x")
    with pytest.raises(RejectedError) as excinfo:
        conclude(examined, bytes(64))
    assert excinfo.value.code == code
    assert conclude(msgspec.structs.replace(examined, verdict="verified"), bytes(64)).contract != CONTRACT
