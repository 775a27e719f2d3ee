"""Real evidence: every vector comes out as its manifest says at its time, and is refused off it or changed."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise

import pytest
from tee_world import BESIDE, DATA, Vector, flips, manifest, vector

from cloister.attest.evidence import RejectedError
from cloister.attest.tee import ccel, dcap, tcg_log
from cloister.attest.tee.codes import CODES, VERDICTS
from cloister.reviewer import vectors

IDS = [case.id for case in manifest().vectors]
VERIFIED = ("sgx-phala-v3", "tdx-phala-v4", "tdx-trustee-v4-debug")
GOOD = (*VERIFIED, "sgx-occlum-debug", "tdx-google-cos113-ccel", "ratls-intel-sgxsdk")
SECOND = timedelta(seconds=1)


def test_every_vector_of_the_repository_is_as_expected() -> None:
    lines = vectors.run(manifest(), DATA)
    assert [str(line) for line in lines if line.wrong] == []
    assert [line.id for line in lines] == IDS


@pytest.mark.skipif(not BESIDE.is_dir(), reason="the larger set of vectors is not beside the repository")
def test_every_vector_beside_the_repository_is_as_expected() -> None:
    lines = vectors.run(manifest(BESIDE), BESIDE)
    assert [str(line) for line in lines if line.wrong] == []
    assert len(lines) == 28


@pytest.mark.parametrize("name", GOOD)
def test_the_verdict_holds_in_its_window_and_not_a_second_longer(name: str) -> None:
    one = vector(name)
    found = one.examine()
    for moment in (found.not_before, found.not_after):
        assert one.code(now=moment) == found.verdict
    for moment in (found.not_before - SECOND, found.not_after + SECOND, one.now.replace(year=2100)):
        code = one.code(now=moment)
        assert code.endswith((".expired", ".not_yet_valid")), code


@pytest.mark.parametrize("name", GOOD)
def test_every_word_of_the_verdict_is_on_the_list(name: str) -> None:
    assert vector(name).examine().verdict in VERDICTS


@pytest.mark.parametrize("name", GOOD)
def test_cut_off_anywhere_it_is_refused(name: str) -> None:
    one = vector(name)
    # Zeros that follow a quote are no part of it; so much of it is evidence, and every byte is needed.
    end = len(one.blob.rstrip(b"\0\n"))
    for size in (*range(0, end, 211), *range(end - 3, end)):
        assert one.code(blob=one.blob[:size]) in CODES, size


@pytest.mark.parametrize("name", GOOD)
def test_no_byte_of_the_evidence_can_be_changed(name: str) -> None:
    one = vector(name)
    assert survivors(one, one.blob, step=17) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_no_byte_at_all_can_be_changed(name: str, mask: int) -> None:
    one = vector(name)
    assert survivors(one, one.blob, step=1, mask=mask) == []


def survivors(one: Vector, blob: bytes, *, step: int, mask: int = 0xFF) -> list[int]:
    """Return the positions at which a changed byte is still accepted."""
    return [position for position, changed in flips(blob, step, mask=mask) if one.code(blob=changed) not in CODES]


@pytest.mark.parametrize("name", VERIFIED)
def test_no_byte_of_the_collateral_can_be_changed(name: str) -> None:
    assert changed_collateral(vector(name), step=97, mask=0xFF) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", VERIFIED)
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_no_byte_of_the_collateral_at_all_can_be_changed(name: str, mask: int) -> None:
    assert changed_collateral(vector(name), step=1, mask=mask) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_only_the_case_of_hex_digits_may_change_in_collateral() -> None:
    one = vector("tdx-phala-v4")
    data = one.endorsements[dcap.COLLATERAL]
    for position in changed_collateral(one, step=1, mask=0x20):
        assert chr(data[position]) in "abcdefABCDEF"


def changed_collateral(one: Vector, *, step: int, mask: int) -> list[int]:
    data = one.endorsements[dcap.COLLATERAL]
    return [
        position
        for position, changed in flips(data, step, mask=mask)
        if one.code(endorsements={dcap.COLLATERAL: changed}) not in CODES
    ]


def test_too_large_is_refused_before_it_is_read() -> None:
    one = vector("tdx-phala-v4")
    assert one.code(blob=one.blob + bytes(dcap.MAX_QUOTE)) == "evidence.oversize"
    huge = b'{"tcb_info":"' + b"x" * (4 << 20) + b'"}'
    assert one.code(endorsements={dcap.COLLATERAL: huge}) == "endorsements.oversize"
    log = vector("tdx-google-cos113-ccel")
    assert log.code(endorsements={"event_log": bytes(tcg_log.MAX_LOG + 1)}) == "evidence.oversize"


# --- parts of two genuine pieces of evidence


def test_parts_of_two_quotes_make_none() -> None:
    first, second = vector("tdx-phala-v4"), vector("tdx-trustee-v4-debug")
    body = 48 + 584
    for cut in (48, body, body + 4 + 64, body + 4 + 128, body + 4 + 128 + 6 + 384, len(first.blob) - 3700):
        assert first.code(blob=first.blob[:cut] + second.blob[cut:]) in CODES, cut


def test_collateral_of_another_platform_time_or_tee() -> None:
    tdx, sgx, old = vector("tdx-phala-v4"), vector("sgx-phala-v3"), vector("tdx-trustee-v4-debug")
    assert sgx.code(endorsements=tdx.endorsements) == "endorsements.mismatch"
    assert tdx.code(endorsements=sgx.endorsements) == "endorsements.mismatch"
    assert tdx.code(endorsements=old.endorsements) == "crl.expired"
    assert tdx.code(endorsements=old.endorsements, now=old.now) == "evidence.not_yet_valid"


def test_bodies_of_two_bundles_do_not_mix() -> None:
    tdx, sgx = vector("tdx-phala-v4"), vector("sgx-phala-v3")
    mine, other = (json.loads(one.endorsements[dcap.COLLATERAL]) for one in (tdx, sgx))
    wanted = {
        ("tcb_info",): "endorsements.signature",
        ("tcb_info_signature",): "endorsements.signature",
        ("tcb_info", "tcb_info_signature"): "endorsements.mismatch",
        ("qe_identity", "qe_identity_signature"): "endorsements.mismatch",
        ("pck_crl",): "endorsements.chain",
        ("pck_crl", "pck_crl_issuer_chain"): "endorsements.mismatch",
    }
    for names, code in wanted.items():
        mixed = json.dumps({**mine, **{name: other[name] for name in names}}).encode()
        assert tdx.code(endorsements={dcap.COLLATERAL: mixed}) == code, names


def test_algorithms_types_and_vendors_are_fixed() -> None:
    one = vector("tdx-phala-v4")
    for offset, value, code in (
        (0, 3, "evidence.format"),
        (0, 6, "evidence.format"),
        (2, 3, "evidence.algorithm"),
        (4, 0, "evidence.format"),
        (12, 0, "evidence.format"),
    ):
        changed = bytearray(one.blob)
        changed[offset] = value
        assert one.code(blob=bytes(changed)) == code, offset


# --- event log


def test_the_event_log_must_be_whole_and_in_order() -> None:
    one = vector("tdx-google-cos113-ccel")
    log = one.endorsements["event_log"]
    events = ccel.parse(log)
    assert one.examine().details["events"] == len(events) == 43
    registers = ccel.replay(events)
    assert [value.hex() for value in registers] == [one.examine().launch[f"rtmr{n}"] for n in range(4)]
    extending = [event for event in events if event.register and event.kind != 3]
    dropped = ccel.replay(tuple(event for event in events if event is not extending[5]))
    twice = ccel.replay((*events, extending[-1]))
    first, second = next(pair for pair in pairwise(extending) if pair[0].register == pair[1].register)
    swapped = list(events)
    swapped[events.index(first)], swapped[events.index(second)] = second, first
    for other in (dropped, twice, ccel.replay(tuple(swapped))):
        assert other != registers


def test_a_changed_digest_is_another_log() -> None:
    one = vector("tdx-google-cos113-ccel")
    log = one.endorsements["event_log"]
    for event in ccel.parse(log)[::7]:
        position = log.index(event.digest)
        changed = log[:position] + bytes([log[position] ^ 1]) + log[position + 1 :]
        assert one.code(endorsements={"event_log": changed}) == "evidence.event_log"


def test_an_event_log_of_another_domain_or_with_a_tail_is_refused() -> None:
    one, other = vector("tdx-google-cos113-ccel"), vector("tdx-phala-v4")
    log = one.endorsements["event_log"]
    assert other.code(endorsements={**other.endorsements, "event_log": log}) == "evidence.event_log"
    assert one.code(endorsements={"event_log": log + b"\0"}) == "evidence.malformed"
    assert one.code(endorsements={"event_log": log[:5000]}) == "evidence.truncated"


def test_refusals_name_a_code_of_the_list() -> None:
    with pytest.raises(RejectedError) as excinfo:
        vector("tdx-phala-v5-no-tcb-level").examine()
    assert excinfo.value.code in CODES
