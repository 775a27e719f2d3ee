"""TPM quotes alone, in Azure's and in Google's documents: every link from hardware to nonce, broken once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import amd_world as amd
import pytest
import tpm_world as world
import vendor_pki as pki

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import azure_vtpm, carriers, gcp_vtpm, protobuf, tcg_log, tpm, tpm_structures
from cloister.attest.tee.examined import Examined

BINDING = world.NONCE + bytes(16)
OTHER = [b"x" * 32, *world.PCRS[1:]]


def code(make: Callable[[], object]) -> str:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value.code


class TestTpm:
    def test_a_quote_alone_is_unanchored_whatever_it_says(self) -> None:
        found = world.examine_tpm(world.trustee())
        assert (found.verdict, found.report_data) == ("unanchored", world.NONCE.hex())
        assert found.launch == {f"pcr{number}": pcr.hex() for number, pcr in enumerate(world.PCRS)}
        evidence = Evidence(tpm.TEE, tpm.FORMAT, b64(world.trustee()))
        assert code(lambda: tpm.verify(evidence, BINDING, {}, pki.NOW)) == "evidence.unanchored"

    def test_registers_that_the_quote_leaves_out_are_not_said(self) -> None:
        quoted = world.message(bitmap=b"\x03\0\0")
        assert set(world.examine_tpm(world.trustee(quoted)).launch) == {"pcr0", "pcr1"}
        assert set(world.examine_tpm(world.trustee(quoted, pcrs=[*world.PCRS[:2], *OTHER[:1] * 22])).launch) == {
            "pcr0", "pcr1",
        }  # fmt: skip

    def test_a_quote_over_no_register_says_nothing(self) -> None:
        assert code(lambda: world.examine_tpm(world.trustee(world.message(bitmap=bytes(3))))) == "evidence.claims"
        assert code(lambda: world.examine_azure(world.azure(quoted=world.message(bitmap=bytes(3))))) == (
            "evidence.claims"
        )

    @pytest.mark.parametrize(
        ("expected", "blob"),
        [
            ("evidence.claims", lambda: world.trustee(pcrs=OTHER)),
            ("evidence.signature", lambda: world.trustee(key="somebody")),
            ("evidence.format", lambda: world.trustee(world.message(magic=0xFF544346))),
            ("evidence.format", lambda: world.trustee(world.message(kind=0x8017))),
            ("evidence.malformed", lambda: world.trustee(world.message(tail=b"\0"))),
            ("evidence.malformed", lambda: world.trustee(world.message(bank=0x0012))),
            ("evidence.claims", lambda: world.trustee(world.message(bank=0x0004))),
            ("evidence.malformed", lambda: world.trustee(world.message(banks=4))),
            ("evidence.malformed", lambda: world.trustee(world.message(nonce=bytes(67)))),
            ("evidence.malformed", lambda: world.trustee(pcrs=world.PCRS[:23])),
            ("evidence.malformed", lambda: world.trustee(extra="")),
            ("evidence.malformed", lambda: world.trustee(message="!")),
            ("evidence.malformed", lambda: world.trustee(pcrs=[b"\0" * 31, *world.PCRS[1:]])),
            ("evidence.malformed", lambda: b"[]"),
            ("evidence.malformed", lambda: b'{"ak_public":' * 2000),
            ("evidence.oversize", lambda: bytes(tpm.MAX_EVIDENCE + 1)),
        ],
    )
    def test_one_lie_is_enough(self, expected: str, blob: Callable[[], bytes]) -> None:
        assert code(lambda: world.examine_tpm(blob())) == expected

    @pytest.mark.parametrize(("scheme", "digest"), [(0x0016, 0x000B), (0x0018, 0x000B), (0x0014, 0x0004), (0, 0)])
    def test_other_signature_schemes_are_refused(self, scheme: int, digest: int) -> None:
        """RSASSA with SHA-1 among them: a quote's hash is ours to choose."""
        data = world.tpmt_signature(bytes(256), scheme, digest)
        assert code(lambda: tpm_structures.signature(data)) == "evidence.algorithm"

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.key", {"attributes": 0x00040072}),  # not restricted: would sign a forged quote
            ("evidence.key", {"attributes": 0x00010072}),  # does not sign
            ("evidence.key", {"attributes": 0x00070072}),  # decrypts too
            ("evidence.key", {"attributes": 0x00050070}),  # may leave its TPM
            ("evidence.key", {"attributes": 0x00050052}),  # was made elsewhere
            ("evidence.algorithm", {"kind": 0x0023}),
            ("evidence.algorithm", {"scheme": 0x0016}),
        ],
        ids=str,
    )
    def test_an_attestation_key_is_restricted_and_of_its_tpm(self, expected: str, changes: dict[str, int]) -> None:
        assert code(lambda: tpm_structures.attestation_key(world.tpmt_public(**changes))) == expected

    def test_nothing_follows_a_structure_and_lengths_agree(self) -> None:
        assert code(lambda: tpm_structures.signature(world.tpmt_signature(bytes(256)) + b"\0")) == "evidence.malformed"
        assert code(lambda: tpm_structures.attestation_key(world.tpmt_public() + b"\0")) == "evidence.malformed"
        assert code(lambda: tpm_structures.attestation_key(world.tpmt_public(bits=3072))) == "evidence.malformed"
        modulus = pki.rsa2048("ak").public_key().public_numbers().n
        assert code(lambda: tpm_structures.rsa_key(modulus, 2)) == "evidence.malformed"


class TestAzure:
    def test_a_machine_of_our_own_verifies(self) -> None:
        found = world.examine_azure(world.azure())
        assert (found.verdict, found.tee, found.report_data) == ("verified", "azure-vtpm-snp", world.NONCE.hex())
        assert found.launch["pcr3"] == world.PCRS[3].hex()
        assert found.launch["measurement"] == bytes(range(48)).hex()
        assert found.signer.startswith("chip:")

    def test_debug_of_the_hardware_is_debug(self) -> None:
        data = world.runtime()
        hardware = amd.report(report_data=hashlib.sha256(data).digest() + bytes(32), policy=0x30000 | amd.DEBUG)
        assert world.examine_azure(world.azure(world.hcl(data, hardware=hardware))).debug

    def test_the_hardware_vouches_for_one_runtime(self) -> None:
        data, other = world.runtime(), world.runtime("somebody")
        hardware = amd.report(report_data=hashlib.sha256(data).digest() + bytes(32))
        forged = world.azure(world.hcl(other, hardware=hardware), key="somebody")
        assert code(lambda: world.examine_azure(forged)) == "evidence.key"
        padded = amd.report(report_data=hashlib.sha256(data).digest() + b"\1" + bytes(31))
        assert code(lambda: world.examine_azure(world.azure(world.hcl(data, hardware=padded)))) == "evidence.key"

    def test_the_quote_is_signed_by_the_key_in_the_runtime(self) -> None:
        assert code(lambda: world.examine_azure(world.azure(key="somebody"))) == "evidence.signature"
        assert code(lambda: world.examine_azure(world.azure(pcrs=OTHER))) == "evidence.claims"

    def _with(self, **changes: Any) -> bytes:
        return world.azure(world.hcl(world.runtime(**changes)))

    def test_the_runtime_names_exactly_one_signing_key(self) -> None:
        (key,) = json.loads(world.runtime())["keys"]
        for keys in ([], [key, key], [{**key, "key_ops": ["encrypt"]}], [{**key, "kty": "EC"}], [{**key, "kid": "x"}]):
            assert code(lambda k=keys: world.examine_azure(self._with(keys=k))) == "evidence.key"
        assert code(lambda: world.examine_azure(self._with(keys=[{**key, "n": "AQAB"}]))) == "evidence.algorithm"
        assert code(lambda: world.examine_azure(self._with(**{"user-data": "0" * 130}))) == "evidence.malformed"

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.format", {"magic": b"HCLB"}),
            ("evidence.format", {"kind": 4}),
            ("evidence.format", {"digest": 2}),
            ("evidence.format", {"request": 1}),
            ("evidence.malformed", {"size": 40}),
            ("evidence.malformed", {"reserved": bytes(15) + b"\1"}),
            ("evidence.malformed", {"tail": b"\1"}),
        ],
        ids=str,
    )
    def test_the_paravisors_report_against_its_format(self, expected: str, changes: dict[str, Any]) -> None:
        assert code(lambda: world.examine_azure(world.azure(world.hcl(**changes)))) == expected

    def test_the_documents_format(self) -> None:
        assert code(lambda: world.examine_azure(world.azure(version=3))) == "evidence.format"
        assert code(lambda: world.examine_azure(world.azure(td_quote=""))) == "evidence.malformed"
        assert code(lambda: world.examine_azure(world.azure(hcl_report="A"))) == "evidence.malformed"
        # A second spelling of the same bytes: unused bits of the last character.
        assert code(lambda: world.examine_azure(world.azure(hcl_report="AB=="))) == "evidence.malformed"
        assert code(lambda: world.examine_azure(bytes(azure_vtpm.MAX_EVIDENCE + 1))) == "evidence.oversize"
        for long in (bytes(17_000), bytes(40_000)):
            assert code(lambda t=long: world.examine_azure(world.azure(world.hcl(tail=t)))) == "evidence.oversize"

    def test_the_certificate_is_of_the_chip(self) -> None:
        assert code(lambda: world.examine_azure(world.azure(vcek=amd.vek(chip=bytes(64))))) == "tcb.chip"


class TestGce:
    def test_an_attestation_of_our_own_is_unanchored(self) -> None:
        found = world.examine_gce(world.gce())
        assert (found.verdict, found.report_data) == ("unanchored", world.NONCE.hex())
        evidence = Evidence(gcp_vtpm.TEE, gcp_vtpm.FORMAT, b64(world.gce()))
        assert code(lambda: gcp_vtpm.verify(evidence, BINDING, {}, pki.NOW)) == "evidence.unanchored"

    def test_quotes_agree_and_are_of_the_one_key(self) -> None:
        one = world.gce_quote()
        other = world.gce_quote(world.message(nonce=b"other"))
        assert code(lambda: world.examine_gce(world.gce(one, other))) == "evidence.claims"
        assert code(lambda: world.examine_gce(world.gce(one, one))) == "evidence.claims"
        assert code(lambda: world.examine_gce(world.gce(world.gce_quote(key="somebody")))) == "evidence.signature"
        assert code(lambda: world.examine_gce(world.field(1, world.tpmt_public()))) == "evidence.malformed"

    def test_registers_are_those_quoted(self) -> None:
        quoted = world.message()
        assert code(lambda: world.examine_gce(world.gce(world.gce_quote(quoted, pcrs=OTHER)))) == "evidence.claims"
        part = world.message(bitmap=b"\x03\0\0")
        assert code(lambda: world.examine_gce(world.gce(world.gce_quote(part)))) == "evidence.claims"

    def test_values_that_concatenate_to_those_quoted_are_not_those_quoted(self) -> None:
        """The digest is over the values one after another; where one ends is not in it."""
        shifted = [world.PCRS[0] + world.PCRS[1], b"", *world.PCRS[2:]]
        quote = world.gce_quote(world.message(), pcrs=shifted)
        assert code(lambda: world.examine_gce(world.gce(quote))) == "evidence.claims"

    def test_a_register_has_one_value(self) -> None:
        for entry in (
            world.field(1, 3) + world.field(2, world.PCRS[3]),
            world.field(1, 24) + world.field(2, b"x" * 32),
        ):
            quote = protobuf.fields(world.gce_quote())
            pcrs = world.field(3, protobuf.message(quote, 3) + world.field(2, entry))
            changed = world.field(1, protobuf.message(quote, 1)) + world.field(2, protobuf.message(quote, 2)) + pcrs
            assert code(lambda q=changed: world.examine_gce(world.gce(q))) == "evidence.malformed"

    def test_a_key_that_signs_anything_is_refused(self) -> None:
        public = world.tpmt_public(attributes=0x00040072)
        assert code(lambda: world.examine_gce(world.gce(public=public))) == "evidence.key"

    def test_the_certificate_is_of_the_key(self) -> None:
        own = pki.issue("ak", pki.rsa2048("ak")).der
        assert "ak_certificate_sha256" in world.examine_gce(world.gce(certificate=own)).details
        other = pki.issue("ak", pki.rsa2048("somebody")).der
        assert code(lambda: world.examine_gce(world.gce(certificate=other))) == "evidence.key"

    @pytest.mark.parametrize(
        "data",
        [
            b"\x0d\0\0\0\0",
            b"\x0b",
            b"\x00\x01",
            b"\x0a\x80\x00",
            b"\x08" + b"\xff" * 9 + b"\x02",
            b"\x08" + b"\x80" * 11,
        ],
        ids=["fixed32", "group", "field 0", "long zero", "65 bits", "endless"],
    )
    def test_wire_format_that_is_not_used_is_refused(self, data: bytes) -> None:
        assert code(lambda: protobuf.fields(data)) == "evidence.malformed"

    def test_too_many_fields_are_refused(self) -> None:
        assert code(lambda: protobuf.fields(b"\x08\x01" * (protobuf.MAX_FIELDS + 1))) == "evidence.malformed"


class TestEventLog:
    EVENTS = (b"firmware", b"loader", b"kernel")

    def _examine(self, *events: bytes, log: bytes | None = None) -> Examined:
        pcrs = [world.replayed(*self.EVENTS), *world.PCRS[1:]]
        made = world.event_log(*events) if log is None else log
        return world.examine_gce(world.gce(world.gce_quote(pcrs=pcrs), log=made))

    def test_the_log_leads_to_the_register(self) -> None:
        found = self._examine(*(world.event(0, each) for each in self.EVENTS))
        assert found.details["event_log"] == {"events": 3, "pcrs": [0], "banks": ["sha256"]}

    def test_dropped_reordered_appended_and_edited_events_are_noticed(self) -> None:
        a, b, c = (world.event(0, each) for each in self.EVENTS)
        for events in (
            (a, b),
            (b, a, c),
            (a, b, c, c),
            (a, b, world.event(0, b"other")),
            (a, b, c, world.event(1, b"")),
        ):
            assert code(lambda e=events: self._examine(*e)) == "evidence.event_log"

    def test_what_is_not_measured_changes_nothing(self) -> None:
        a, b, c = (world.event(0, each) for each in self.EVENTS)
        assert self._examine(a, b, world.event(0, b"note", kind=3), c).details["event_log"]["events"] == 4

    def test_the_locality_of_the_start_is_where_register_0_begins(self) -> None:
        start = world.event(0, b"StartupLocality\0\3", kind=3)
        events = tcg_log.parse(world.event_log(start, world.event(0, b"x")))
        expected = hashlib.sha256(bytes(31) + b"\3" + hashlib.sha256(b"x").digest()).digest()
        assert tcg_log.replay(events, 0x000B) == {0: expected}

    def test_a_log_that_explains_nothing_is_refused(self) -> None:
        assert code(lambda: self._examine(world.event(0, b"note", kind=3))) == "evidence.event_log"

    def test_a_bank_that_nobody_here_can_extend_explains_nothing(self) -> None:
        body = b"Spec ID Event03\0" + bytes(8) + b"\1\0\0\0\x12\0\x20\0\0"
        log = b"\0\0\0\0\3\0\0\0" + bytes(20) + len(body).to_bytes(4, "little") + body
        log += b"\0\0\0\0\1\0\0\0\1\0\0\0\x12\0" + bytes(32) + bytes(4)
        assert len(tcg_log.parse(log)) == 1
        assert code(lambda: tcg_log.check(log, {0x0012: {}})) == "evidence.event_log"

    def test_logs_against_the_format_are_refused(self) -> None:
        whole = world.event_log(world.event(0, b"firmware"))
        for log, expected in (
            (whole[:-1], "evidence.truncated"),
            (whole[:40], "evidence.truncated"),
            (whole.replace(b"Event03", b"Event02"), "evidence.malformed"),
            (whole[:4] + b"\1" + whole[5:], "evidence.malformed"),
            (whole[:8] + b"\1" + whole[9:], "evidence.malformed"),
            (whole + bytes(40), "evidence.malformed"),
            (world.event_log(world.event(24, b"")), "evidence.malformed"),
        ):
            assert code(lambda g=log: tcg_log.parse(g)) == expected
        assert code(lambda: tcg_log.parse(bytes(tcg_log.MAX_LOG + 1))) == "evidence.oversize"
        many = world.event_log(world.event(0, b"") * (tcg_log.MAX_EVENTS + 1))
        assert code(lambda: tcg_log.parse(many)) == "evidence.oversize"

    def test_a_header_announces_each_bank_once_and_nothing_else(self) -> None:
        def log(banks: bytes, count: int, tail: bytes = b"") -> bytes:
            body = b"Spec ID Event03\0" + bytes(8) + count.to_bytes(4, "little") + banks + b"\0" + tail
            return b"\0\0\0\0\3\0\0\0" + bytes(20) + len(body).to_bytes(4, "little") + body

        sha256, short = b"\x0b\0\x20\0", b"\x0b\0\x14\0"
        assert tcg_log.parse(log(sha256, 1)) == ()
        for wrong in (log(sha256 * 2, 2), log(short, 1), log(sha256, 1, b"\0")):
            assert code(lambda g=wrong: tcg_log.parse(g)) == "evidence.malformed"


def test_only_the_binding_and_its_paddings_are_carried() -> None:
    assert carriers.value_of(BINDING) == world.NONCE
    assert carriers.value_of(bytes(47) + b"\1" * 17) == b""
    assert carriers.value_of(world.NONCE) == b""
    assert carriers.gpu_nonce(BINDING) == hashlib.sha256(b"gpu" + world.NONCE).digest()
    assert carriers.gpu_nonce(b"short") == b""
