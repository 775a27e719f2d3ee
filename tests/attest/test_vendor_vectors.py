"""Real evidence of AMD, AWS, Arm, Azure, Google, TPMs and NVIDIA: off its time, changed, cut, spliced, bound."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tee_world import DATA, Vector, flips, vector

from cloister.attest import verifiers
from cloister.attest.encoding import b64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.tee import azure_vtpm, cca, cose, gcp_vtpm, nitro, nvidia, rim, snp, spdm, tpm
from cloister.attest.tee.codes import CODES
from cloister.wire import canonical

SNP = ("snp-trustee-milan-v2", "snp-trustee-milan-v3-vlek", "snp-trustee-genoa-v3", "snp-google-milan-v2-debug")
NITRO = ("nitro-evervault-2022", "nitro-evervault-2023-debug-userdata")
AZURE = ("azsnp-v1", "azsnp-v2", "aztdx-v1")
TIMED = (*SNP, *NITRO, *AZURE, "nvidia-hopper-1")
UNTIMED = ("cca-tfrmm", "tpm-trustee", "gce-vtpm")
# No byte of these may change, in any way; the others have parts that nobody signs and nobody reports.
WHOLE = (*SNP, *NITRO, "azsnp-v1", "azsnp-v2", "cca-tfrmm", "tpm-trustee", "nvidia-hopper-1")
SECOND = timedelta(seconds=1)


def survivors(one: Vector, *, step: int, mask: int, start: int = 0) -> dict[int, bytes]:
    """Return the changed evidence that is still accepted, by position."""
    return {
        at: changed
        for at, changed in flips(one.blob, step, start=start, mask=mask)
        if one.code(blob=changed) not in CODES
    }


@pytest.mark.parametrize("name", TIMED)
def test_the_verdict_holds_in_its_window_and_not_a_second_longer(name: str) -> None:
    one = vector(name)
    found = one.examine()
    assert found.not_before is not None
    assert found.not_after is not None
    begin, end = found.not_before, found.not_after
    assert one.code(now=begin) == found.verdict
    assert one.code(now=begin - SECOND) == "evidence.not_yet_valid"
    # NVIDIA's certificates never expire: there is no second after the last one of the calendar.
    if end.year < 9999:
        assert one.code(now=end) == found.verdict
        assert one.code(now=end + SECOND) == "evidence.expired"


@pytest.mark.parametrize("name", UNTIMED)
def test_what_has_no_certificates_has_no_time(name: str) -> None:
    one = vector(name)
    assert one.examine().not_before is None
    assert one.code(now=datetime(2100, 1, 1, tzinfo=UTC)) == one.examine().verdict


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("mask", [0x20, 0xFF])
def test_no_byte_can_be_changed(name: str, mask: int) -> None:
    one = vector(name)
    assert survivors(one, step=len(one.blob) // 40, start=mask % 7, mask=mask) == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_no_byte_at_all_can_be_changed(name: str, mask: int) -> None:
    assert survivors(vector(name), step=1, mask=mask) == {}


@pytest.mark.parametrize(("name", "step"), [("aztdx-v1", 211), ("gce-vtpm", 617)])
def test_what_may_change_changes_nothing_that_is_said(name: str, step: int) -> None:
    _unsigned_parts(vector(name), step)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["aztdx-v1", "gce-vtpm"])
def test_what_may_change_at_all_changes_nothing_that_is_said(name: str) -> None:
    _unsigned_parts(vector(name), 1)


def _unsigned_parts(one: Vector, step: int) -> None:
    said = one.examine()
    for mask in (0x20, 0xFF):
        for at, changed in survivors(one, step=step, mask=mask).items():
            found = one.examine(blob=changed)
            assert (found.launch, found.report_data, found.debug) == (said.launch, said.report_data, said.debug), at
            assert found.verdict == said.verdict


def test_in_azures_tdx_evidence_only_the_local_report_may_change() -> None:
    """Bytes 32 to 1215 of the paravisor's report: a TDREPORT, whose MAC only its own machine can check."""
    one = vector("aztdx-v1")
    text = json.loads(one.blob)["hcl_report"]
    begin = one.blob.index(text.encode())
    for at in survivors(one, step=101, mask=0x20):
        assert (at - begin) * 3 // 4 + 2 >= 32
        assert (at - begin) * 3 // 4 <= 1216


@pytest.mark.parametrize("name", SNP)
def test_no_byte_of_the_key_s_certificate_can_be_changed(name: str) -> None:
    one = vector(name)
    certificate = one.endorsements[snp.ENDORSEMENT]
    for _, changed in flips(certificate, 41):
        assert one.code(endorsements={snp.ENDORSEMENT: changed}) in CODES


@pytest.mark.parametrize("name", [*TIMED, *UNTIMED])
def test_cut_off_or_lengthened_it_is_refused(name: str) -> None:
    one = vector(name)
    end = len(one.blob.rstrip(b"\n"))
    for size in (*range(0, end, end // 23), *range(end - 3, end)):
        assert one.code(blob=one.blob[:size]) in CODES, size
    for tail in (b"\0", b"\xff", b"}", one.blob):
        assert one.code(blob=one.blob + tail) in CODES


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        (SNP[0], snp.REPORT_BYTES),
        (NITRO[0], nitro.MAX_DOCUMENT),
        ("cca-tfrmm", cca.MAX_TOKEN),
        ("azsnp-v1", azure_vtpm.MAX_EVIDENCE),
        ("aztdx-v1", azure_vtpm.MAX_EVIDENCE),
        ("tpm-trustee", tpm.MAX_EVIDENCE),
        ("gce-vtpm", gcp_vtpm.MAX_EVIDENCE),
        ("nvidia-hopper-1", nvidia.MAX_REPORT),
    ],
)
def test_too_large_is_refused_before_it_is_read(name: str, limit: int) -> None:
    one = vector(name)
    assert one.code(blob=one.blob.ljust(limit + 1, b" ")) == "evidence.oversize"


# --- parts of two genuine pieces of evidence


def test_body_of_one_report_and_signature_of_another() -> None:
    for first in SNP:
        for second in SNP:
            if first != second:
                spliced = vector(first).blob[: snp.SIGNED_BYTES] + vector(second).blob[snp.SIGNED_BYTES :]
                assert vector(first).code(blob=spliced) == "evidence.signature"


def test_the_key_s_certificate_of_another_report() -> None:
    for first in SNP:
        for second in SNP:
            if first != second:
                one, other = vector(first), vector(second)
                code = one.code(endorsements=other.endorsements, now=max(one.now, other.now))
                assert code in ("tcb.mismatch", "tcb.chip", "evidence.key", "evidence.chain")


def test_payload_of_one_document_and_signature_of_another() -> None:
    one, other = (cose.read(vector(name).blob) for name in NITRO)
    blob = vector(NITRO[1]).blob
    # Same lengths of everything around it: the other signature stands in the place of the own one.
    spliced = blob[: -len(one.signature)] + one.signature
    assert vector(NITRO[1]).code(blob=spliced) == "evidence.signature"
    assert len(one.signature) == len(other.signature)


def test_quote_of_one_machine_and_report_of_another() -> None:
    one, other = (json.loads(vector(name).blob) for name in AZURE[:2])
    spliced = json.dumps({**one, "tpm_quote": other["tpm_quote"]}).encode()
    assert vector("azsnp-v1").code(blob=spliced) == "evidence.signature"
    spliced = json.dumps({**one, "vcek": other["vcek"]}).encode()
    assert vector("azsnp-v1").code(blob=spliced) in ("tcb.chip", "azure", "verified", "tcb.mismatch")
    hcl = [base64.urlsafe_b64decode(each["hcl_report"]) for each in (one, other)]
    for cut in (32, 32 + 1184):
        mixed = base64.urlsafe_b64encode(hcl[0][:cut] + hcl[1][cut:]).decode()
        code = vector("azsnp-v1").code(blob=json.dumps({**one, "hcl_report": mixed}).encode())
        assert code in ("evidence.key", "evidence.signature", "tcb.chip", "tcb.mismatch"), cut


def test_evidence_of_one_tee_is_none_of_another() -> None:
    names = (SNP[0], NITRO[0], "cca-tfrmm", "azsnp-v1", "tpm-trustee", "gce-vtpm", "nvidia-hopper-1", "tdx-phala-v4")
    for first in names:
        for second in names:
            if first != second:
                assert vector(first).code(blob=vector(second).blob) in CODES


# --- what the real manifest of reference values says


def test_a_real_manifest_is_read_and_is_not_of_this_driver() -> None:
    """Its signature and chain hold; of 21 active measurements 15 differ from those of a GPU with another driver."""
    one = vector("nvidia-hopper-1")
    data = (DATA / "nvidia" / "driver_545_rim.swidtag").read_bytes()
    now = datetime(2024, 6, 1, tzinfo=UTC)
    found = rim.read(data, one.roots, now)
    assert (found.version, found.product, len(found.good)) == ("545.00", "GH100", 21)
    assert found.window.not_after == datetime(2025, 6, 26, 6, 10, 12, tzinfo=UTC)
    report = spdm.parse(bytes.fromhex(one.blob.decode()))
    assert len(nvidia.differing(report, found.good)) == 15
    given = {**one.endorsements, nvidia.DRIVER_RIM: data}
    assert one.code(endorsements=given, now=now) == "endorsements.mismatch"
    assert one.code(endorsements=given, now=datetime(2025, 7, 1, tzinfo=UTC)) == "endorsements.expired"


def test_no_byte_of_the_manifest_can_be_changed() -> None:
    one = vector("nvidia-hopper-1")
    data = (DATA / "nvidia" / "driver_545_rim.swidtag").read_bytes()
    end = data.index(b"<ds:KeyInfo>")
    for at, changed in flips(data[:end], 331):
        with pytest.raises(RejectedError):
            rim.read(changed + data[end:], one.roots, datetime(2024, 6, 1, tzinfo=UTC))
        assert at < end


# --- from evidence to claims

VERIFIERS = {
    "snp": snp.verify, "nitro": nitro.verify, "azure-vtpm-snp": azure_vtpm.verify_snp, "tpm": tpm.verify,
    "azure-vtpm-tdx": azure_vtpm.verify_tdx, "gcp-vtpm": gcp_vtpm.verify, "nvidia-gpu": nvidia.verify,
}  # fmt: skip


def claims_of(name: str, binding: bytes) -> Claims:
    one = vector(name)
    endorsements = {key: b64(data) for key, data in one.endorsements.items()}
    evidence = Evidence(one.case.tee, one.case.format, b64(one.blob), endorsements)
    return verifiers.verify(evidence, binding, one.now, verifiers=VERIFIERS)


def refused(name: str, binding: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        claims_of(name, binding)
    return caught.value.code


@pytest.mark.parametrize("name", SNP)
def test_a_report_for_this_exchange_makes_claims(name: str) -> None:
    binding = bytes.fromhex(vector(name).case.claims["report_data"])
    claims = claims_of(name, binding)
    assert (claims.tee, claims.assurance, claims.report_data) == ("snp", "hardware", binding.hex())
    assert claims.debug is vector(name).case.expect.debug
    assert claims.platform["tcb"] == vector(name).case.expect.tcb
    assert msgspec.json.decode(canonical.encode(claims), type=Claims) == claims
    for other in (bytes(64), binding[:63], b"", binding + b"\0"):
        assert refused(name, other) == "evidence.binding"


def test_a_nonce_of_48_bytes_carries_the_binding_and_its_padding() -> None:
    nonce = bytes.fromhex(vector("azsnp-v2").examine().report_data)
    assert len(nonce) == 48
    claims = claims_of("azsnp-v2", nonce + bytes(16))
    assert claims.report_data == (nonce + bytes(16)).hex()
    # Appraisal reads these by name, wherever the report came from.
    assert claims.platform["details"]["vmpl"] == 0
    assert claims.platform["details"]["migration_agent"] is False
    assert msgspec.json.decode(canonical.encode(claims), type=Claims) == claims
    for other in (nonce, nonce + b"\1" + bytes(15), bytes(64)):
        assert refused("azsnp-v2", other) == "evidence.binding"


def test_verdicts_short_of_verified_make_no_claims() -> None:
    for name, code in (
        ("aztdx-v1", "endorsements.missing"),
        ("tpm-trustee", "evidence.unanchored"),
        ("gce-vtpm", "evidence.unanchored"),
        ("nvidia-hopper-1", "references.missing"),
    ):
        assert refused(name, bytes(64)) == code


def test_the_format_announced_is_the_format_found() -> None:
    one = vector(SNP[0])
    evidence = Evidence("snp", "snp_report_v3", b64(one.blob))
    with pytest.raises(RejectedError) as caught:
        snp.verify(evidence, bytes.fromhex(one.case.claims["report_data"]), one.endorsements, one.now)
    assert caught.value.code == "evidence.format"
