"""SEV-SNP against an AMD of our own: what passes on each product, and the one change that makes each check fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import amd_world as amd
import pytest
import vendor_pki as pki

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import snp, vek
from cloister.attest.tee.examined import Examined

HOUR = timedelta(hours=1)


def code(make: Callable[[], Examined]) -> str:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value.code


@pytest.mark.parametrize("kind", ["VCEK", "VLEK"])
@pytest.mark.parametrize("product", vek.PRODUCTS)
def test_every_product_and_both_kinds_of_key_verify(product: str, kind: str) -> None:
    found = amd.examine(amd.report(product, kind), amd.vek(product, kind))
    assert (found.verdict, found.debug) == ("verified", False)
    expected = {name: level for name, level in amd.TCB.items() if name != "fmc" or product == "Turin"}
    assert found.tcb == expected
    assert found.report_data == amd.REPORT_DATA.hex()
    chip = amd.CHIP[product].ljust(64, b"\0").hex()
    assert found.signer == (f"chip:{chip}" if kind == "VCEK" else f"operator:{amd.OPERATOR}")


def test_debug_migration_and_privilege_level_are_said() -> None:
    found = amd.examine(amd.report(policy=0x30000 | amd.DEBUG | amd.MIGRATION, vmpl=2), amd.vek())
    assert found.debug
    assert found.details["migration_agent"] is True
    assert found.details["vmpl"] == 2
    assert [warning.split(":")[0][:20] for warning in found.warnings][1:] == [
        "the report was asked",
        "the guest's policy a",
    ]


REFUSED = {
    "other security versions": ("tcb.mismatch", {}, {"tcb": {**amd.TCB, "ucode": 114}}),
    "newer security versions": ("tcb.mismatch", {}, {"tcb": {**amd.TCB, "snp": 9}}),
    "another chip": ("tcb.chip", {}, {"chip": bytes(64)}),
    "a masked chip": ("tcb.chip", {"chip": bytes(64)}, {}),
    "another processor": ("tcb.chip", {"cpuid": (0x19, 0x11, 1)}, {}),
    "a certificate that names another product": ("endorsements.mismatch", {}, {"says": "Genoa"}),
    "a certificate that names no product": ("endorsements.mismatch", {}, {"says": "-B0"}),
    "a hardware id of another length": ("evidence.malformed", {}, {"chip": bytes(63)}),
    "signed with a VLEK, certificate of a VCEK": ("evidence.key", {"key_info": 1 << 2}, {}),
    "signed with no key": ("evidence.key", {"key_info": 7 << 2}, {}),
    "signed with a key of a reserved number": ("evidence.key", {"key_info": 2 << 2}, {}),
    "another algorithm": ("evidence.algorithm", {"algorithm": 2}, {}),
    "a version that is not known": ("evidence.format", {"version": 4}, {}),
    "reserved bits of the policy": ("evidence.malformed", {"policy": 0x30000 | 1 << 40}, {}),
    "bytes behind the signature": ("evidence.malformed", {"tail": bytes(367) + b"\1"}, {}),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_one_lie_is_enough(case: str) -> None:
    expected, report, certificate = REFUSED[case]
    assert code(lambda: amd.examine(amd.report(**report), amd.vek(**certificate))) == expected


@pytest.mark.parametrize(
    ("end", "value"),
    [
        ("3.1", None),  # no boot loader's version
        ("4", None),  # no chip
        ("2", None),  # no product
        ("3.1", b"\2\1\3\0"),  # something behind the number
        ("3.1", b"\2\2\1\3"),  # a version of 259
        ("3.1", b"\2\1\xfd"),  # a version below 0
        ("3.1", b"\4\1\3"),  # a version that is no number
        ("2", b"\x16\x05Milan\0"),  # something behind the name
        ("2", b"\x16\x06Mil\xc3\xa4n"),  # a name that is not ASCII
        ("2", b"\x0c\x05Milan"),  # a name of another type
    ],
)
def test_extensions_against_the_format_are_refused(end: str, value: bytes | None) -> None:
    assert code(lambda: amd.examine(amd.report(), amd.vek(raw={end: value}))) == "evidence.malformed"


def test_a_report_of_another_key_is_refused() -> None:
    forged = amd.report(key=pki.p384("somebody"))
    assert code(lambda: amd.examine(forged, amd.vek())) == "evidence.signature"


def test_a_vlek_under_the_ask_and_a_vcek_under_the_asvk_are_refused() -> None:
    crossed = amd.vek(kind="VLEK", issuer=amd.intermediate("Milan", "VCEK"))
    assert code(lambda: amd.examine(amd.report(kind="VLEK"), crossed)) == "evidence.chain"
    crossed = amd.vek(issuer=amd.intermediate("Milan", "VLEK"))
    assert code(lambda: amd.examine(amd.report(), crossed)) == "evidence.chain"


def test_a_key_straight_under_the_root_is_refused() -> None:
    assert code(lambda: amd.examine(amd.report(), amd.vek(issuer=amd.ark("Milan")))) == "evidence.chain"


def test_chains_of_other_products_are_refused() -> None:
    assert code(lambda: amd.examine(amd.report(), amd.vek(), amd.roots("Genoa"))) == "evidence.chain"
    assert code(lambda: amd.examine(amd.report("Genoa"), amd.vek("Genoa"), amd.roots("Milan"))) == "evidence.chain"
    # A Genoa key under Milan's ASK: the names fit, the product in the certificate does not.
    crossed = amd.vek("Genoa", issuer=amd.intermediate("Milan", "VCEK"))
    assert code(lambda: amd.examine(amd.report("Genoa"), crossed)) == "endorsements.mismatch"


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    false_root = pki.issue("ARK-Milan", pki.rsa2048("false root"), authority=True)
    false_ask = pki.issue("SEV-Milan", pki.rsa2048("false ask"), false_root, authority=True)
    assert code(lambda: amd.examine(amd.report(), amd.vek(issuer=false_ask))) == "evidence.chain"
    # Nor does the genuine intermediate help when the root beside it is false.
    mixed = (amd.intermediate("Milan", "VCEK").own, false_root.own)
    assert code(lambda: amd.examine(amd.report(), amd.vek(), mixed)) == "evidence.chain"


def test_a_key_does_not_issue_keys() -> None:
    leaf = pki.issue("SEV-Milan", pki.rsa2048("leaf"), amd.ark("Milan"))
    trusted = (leaf.own, amd.ark("Milan").own)
    assert code(lambda: amd.examine(amd.report(), amd.vek(issuer=leaf), trusted)) == "evidence.chain"


def test_the_certificate_must_be_there_and_valid() -> None:
    assert code(lambda: snp.examine(amd.report(), {}, amd.roots(), pki.NOW)) == "endorsements.missing"
    begin, end = pki.LONG
    short = amd.vek(validity=(begin + HOUR, end - HOUR))
    found = amd.examine(amd.report(), short)
    assert (found.not_before, found.not_after) == (begin + HOUR, end - HOUR)
    for now, expected in ((begin, "evidence.not_yet_valid"), (end, "evidence.expired")):
        assert code(lambda now=now: amd.examine(amd.report(), short, now=now)) == expected
    for edge in (begin + HOUR, end - HOUR):
        assert amd.examine(amd.report(), short, now=edge).verdict == "verified"


def test_verify_wants_packaged_roots_and_the_announced_version() -> None:
    evidence = Evidence(snp.TEE, "snp_report_v3", b64(amd.report()), {snp.ENDORSEMENT: b64(amd.vek())})
    with pytest.raises(RejectedError) as caught:
        snp.verify(evidence, amd.REPORT_DATA, {snp.ENDORSEMENT: amd.vek()}, pki.NOW)
    assert caught.value.code == "evidence.chain"
