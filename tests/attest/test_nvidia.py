"""NVIDIA GPUs of our own: measurements, device chain, and signed manifests of what they should measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nvidia_world as world
import pytest
import vendor_pki as pki

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import carriers, nvidia, rim, xmlc14n


def code(make: Callable[[], object]) -> str:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value.code


class TestReport:
    def test_without_manifests_nothing_says_what_is_good(self) -> None:
        found = world.examine(world.report())
        assert (found.verdict, found.report_data, found.signer) == (
            "references_missing",
            world.NONCE.hex(),
            "chip:41431d",
        )
        assert (found.details["driver"], found.details["vbios"]) == (world.DRIVER, world.VBIOS)
        assert found.launch["measurement0"] == world.VALUES[1].hex()

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.signature", {"key": "somebody"}),
            ("evidence.format", {"head": b"\x11\xe0\x00\xff"}),  # not signed
            ("evidence.format", {"head": b"\x11\xe0\x01\x01"}),  # not all of them
            ("evidence.format", {"head": b"\x12\xe0\x01\xff"}),
            ("evidence.format", {"reply": b"\x11\x7f\x00\x00"}),
            ("evidence.malformed", {"tail": b"\0"}),
            ("evidence.malformed", {"values": {}}),
            ("evidence.malformed", {"values": {1: bytes(32)}}),
            ("evidence.malformed", {"values": {0: bytes(48)}}),
            ("evidence.malformed", {"count": 7}),
            ("evidence.malformed", {"block_tail": b"\0"}),
            ("evidence.malformed", {"opaque_tail": b"\3\0\1\0x"}),  # the driver's version twice
            ("evidence.truncated", {"count": 9}),
            ("evidence.claims", {"fields": {"f20": bytes(48)}}),  # other firmware than the leaf's
            ("evidence.claims", {"fields": {"f20": b""}}),
            ("evidence.malformed", {"fields": {"f3": b"55\x1b0"}}),
            ("evidence.malformed", {"fields": {"f6": b"1"}}),
        ],
        ids=str,
    )
    def test_one_lie_is_enough(self, expected: str, changes: dict[str, Any]) -> None:
        assert code(lambda: world.examine(world.report(**changes))) == expected

    def test_hex_has_one_spelling(self) -> None:
        blob = world.report()
        assert world.examine(blob + b"\n").verdict == "references_missing"
        for changed in (blob.upper(), blob + b" ", b" " + blob, blob[:-1], blob + b"\n\n", b"\xff\xfe" + blob):
            assert code(lambda b=changed: world.examine(b)) == "evidence.malformed"
        assert code(lambda: world.examine(bytes(nvidia.MAX_REPORT + 1))) == "evidence.oversize"

    def test_the_chain_leads_to_the_root_of_devices(self) -> None:
        assert code(lambda: nvidia.examine(world.report(), {}, world.roots(), pki.NOW)) == "endorsements.missing"
        false_root = pki.issue(nvidia.ROOT_NAME, pki.p384("false"), authority=True)
        for root in (false_root, world.rim_root()):
            under = world.chain(*world.device(root))
            assert code(lambda u=under: world.examine(world.report(), u)) == "evidence.chain"
        leaf, above, root = world.device()
        assert code(lambda: world.examine(world.report(), world.chain(leaf, root))) == "evidence.chain"
        assert code(lambda: world.examine(world.report(), world.chain(above, leaf, root))) == "evidence.chain"

    def test_a_chain_that_is_too_long_to_be_one_is_not_read(self) -> None:
        long = world.chain() + b"\0" * nvidia.MAX_CHAIN
        assert code(lambda: world.examine(world.report(), long)) == "endorsements.oversize"

    def test_a_leaf_that_names_no_firmware_is_refused(self) -> None:
        _leaf, above, root = world.device()
        bare = pki.issue("GH100 FMC", pki.p384("fmc"), above)
        assert code(lambda: world.examine(world.report(), world.chain(bare, above, root))) == "evidence.claims"
        assert code(lambda: world.examine(world.report(fields={"f20": b""}), world.chain(bare, above, root))) == (
            "evidence.claims"
        )


class TestManifests:
    def test_both_manifests_and_every_measurement_equal_are_verified(self) -> None:
        found = world.examine(world.report(), **world.rims())
        assert (found.verdict, found.details["compared"]) == ("verified", 8)

    def test_one_manifest_is_not_enough(self) -> None:
        for name, value in world.rims().items():
            assert world.examine(world.report(), **{name: value}).verdict == "references_missing"

    def test_a_measurement_that_is_not_listed_is_refused(self) -> None:
        for index in (1, 8):
            wrong = world.report({**world.VALUES, index: b"\x77" * 48})
            assert code(lambda w=wrong: world.examine(w, **world.rims())) == "references.mismatch"
        missing = world.report({index: value for index, value in world.VALUES.items() if index != 8})
        assert code(lambda: world.examine(missing, **world.rims())) == "references.mismatch"

    def test_the_video_decoder_is_compared_unless_it_is_off(self) -> None:
        values = {**world.VALUES, 36: b"\x01" * 48}
        rims = world.rims(driver={nvidia._NVDEC0_INDEX: b"\x02" * 48})
        assert code(lambda: world.examine(world.report(values), **rims)) == "references.mismatch"
        off = world.report(values, fields={"f11": b"\x55"})
        assert world.examine(off, **rims).verdict == "verified"

    def test_manifests_are_of_this_driver_and_firmware(self) -> None:
        rims = world.rims()
        crossed = {nvidia.DRIVER_RIM: rims[nvidia.VBIOS_RIM], nvidia.VBIOS_RIM: rims[nvidia.DRIVER_RIM]}
        assert code(lambda: world.examine(world.report(), **crossed)) == "endorsements.mismatch"
        other = world.report(fields={"f3": b"550.90.08\0"})
        assert code(lambda: world.examine(other, **rims)) == "endorsements.mismatch"
        both = world.rims(vbios={0: world.VALUES[1]})
        assert code(lambda: world.examine(world.report(), **both)) == "endorsements.mismatch"

    def _read(self, *resources: str, **changes: Any) -> str:
        listed = list(resources) or [world.resource(0, bytes(48))]
        return code(lambda: rim.read(world.manifest("1", listed, **changes), world.roots(), pki.NOW))

    def test_signature_and_chain_of_a_manifest(self) -> None:
        assert self._read(key="somebody") == "endorsements.signature"
        assert self._read(edit=('index="0"', 'index="1"')) == "endorsements.signature"
        assert self._read(edit=("ecdsa-sha384", "ecdsa-sha256")) == "evidence.algorithm"
        assert self._read(issuer=world.device_root()) == "endorsements.chain"
        false_root = pki.issue(rim.ROOT_NAME, pki.p384("false"), authority=True)
        assert self._read(issuer=false_root) == "endorsements.chain"

    def test_only_a_signature_over_the_whole_counts(self) -> None:
        assert self._read(uri=' URI="#part"') == "endorsements.signature"
        assert self._read(uri="") == "endorsements.signature"
        assert self._read(transforms=()) == "evidence.algorithm"
        assert self._read(method="http://www.w3.org/2000/09/xmldsig#hmac-sha1") == "evidence.algorithm"

    def test_a_second_signature_anywhere_is_refused(self) -> None:
        empty = f'<ds:Signature xmlns:ds="{world.DSIG}"></ds:Signature>'
        assert self._read(inside=empty) == "endorsements.malformed"
        assert self._read(inside=f"<Wrapped>{empty}</Wrapped>") == "endorsements.malformed"

    @pytest.mark.parametrize(
        "resources",
        [
            [world.resource(0, bytes(48)), world.resource(0, bytes(48))],
            [world.resource(0)],
            [world.resource(0, bytes(32))],
            [world.resource(0, bytes(48)).replace('"Measurement"', '"Other"')],
            [world.resource(0, bytes(48)).replace('index="0"', 'index="-1"')],
            [world.resource(0, bytes(48)).replace('alternatives="1"', 'alternatives="2"')],
            [world.resource(0, bytes(48)).replace('active="True"', 'active="true"')],
        ],
        ids=range(7),
    )
    def test_lists_against_the_format(self, resources: list[str]) -> None:
        assert self._read(*resources) == "endorsements.malformed"

    def test_what_must_be_there_once_is_there_once(self) -> None:
        """Else it would depend on the reader which of two versions or lists was signed for."""
        assert self._read(inside='<Meta colloquialVersion="2"></Meta>') == "endorsements.malformed"
        assert self._read(inside="<Payload></Payload>") == "endorsements.malformed"
        for name in ("SignatureValue", "KeyInfo", "DigestValue"):
            assert self._read(edit=(f"ds:{name}>", "ds:Other>")) == "endorsements.malformed"

    def test_another_document_is_no_manifest_though_it_is_signed(self) -> None:
        blob = world.manifest("1", [world.resource(0, bytes(48))], name="Other")
        assert code(lambda: rim.read(blob, world.roots(), pki.NOW)) == "endorsements.malformed"

    def test_what_is_not_active_is_not_compared(self) -> None:
        listed = [world.resource(0, bytes(48)), world.resource(1, b"\1" * 48, active=False)]
        assert set(rim.read(world.manifest("1", listed), world.roots(), pki.NOW).good) == {0}

    def test_a_manifest_that_expired(self) -> None:
        blob = world.manifest("1", [world.resource(0, bytes(48))])
        assert code(lambda: rim.read(blob, world.roots(), pki.LONG[1].replace(year=2040))) == "endorsements.expired"
        assert code(lambda: rim.read(bytes(rim.MAX_RIM + 1), world.roots(), pki.NOW)) == "endorsements.oversize"


class TestXml:
    @pytest.mark.parametrize(
        "text",
        [
            '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
            "<a><!-- note --></a>",
            "<a><?pi?></a>",
            "<a>&undefined;</a>",
            "<a b='1' b='2'/>",
            "<p:a/>",
            "<a p:b='1'/>",
            "<a:b:c xmlns:a='x'/>",
            "<a xmlns:p=''/>",
            "<a xml:lang='en'/>",
            "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
            "<a xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>",
            "<a>" * 20 + "</a>" * 20,
            "<a>" + "<b/>" * 5000 + "</a>",
            "<a></b>",
            "",
            "text",
        ],
        ids=range(18),
    )
    def test_what_is_not_in_the_dialect_is_refused(self, text: str) -> None:
        assert code(lambda: xmlc14n.parse(text.encode())) == "endorsements.malformed"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<a/>", "<a></a>"),
            ('<?xml version="1.0"?>\n<a/>\n', "<a></a>"),
            ("<a c='2'   b='1'/>", '<a b="1" c="2"></a>'),
            ("<a\n>&lt;&amp;&gt;\"'</a >", "<a>&lt;&amp;&gt;\"'</a>"),
            ("<a><![CDATA[<&]]></a>", "<a>&lt;&amp;</a>"),
            ("<a>x\r\ny&#13;</a>", "<a>x\ny&#xD;</a>"),
            ("<a b='&#9;&#10;&#13;&quot;&lt;&gt;'/>", '<a b="&#x9;&#xA;&#xD;&quot;&lt;>"></a>'),
            # Attributes by namespace (none first), then by name; declarations by prefix, the default one first.
            (
                '<e xmlns:b="urn:1" xmlns:a="urn:2" xmlns="urn:0" b:z="1" a:y="2" x="3"/>',
                '<e xmlns="urn:0" xmlns:a="urn:2" xmlns:b="urn:1" x="3" b:z="1" a:y="2"></e>',
            ),
            # A declaration that changes nothing is not written again; one that is not used stays (inclusive form).
            (
                '<e xmlns="urn:0" xmlns:u="urn:9"><f xmlns="urn:0" xmlns:u="urn:9"><g xmlns=""/></f></e>',
                '<e xmlns="urn:0" xmlns:u="urn:9"><f><g xmlns=""></g></f></e>',
            ),
        ],
        ids=range(9),
    )
    def test_the_canonical_form_is_the_recommendations(self, text: str, expected: str) -> None:
        """After the examples of https://www.w3.org/TR/xml-c14n11/ section 3."""
        assert xmlc14n.canonical(xmlc14n.parse(text.encode())) == expected.encode()

    def test_a_part_carries_the_declarations_around_it(self) -> None:
        root = xmlc14n.parse(b'<a xmlns="urn:0" xmlns:p="urn:1"><p:b c="1"/></a>')
        assert xmlc14n.canonical(root.elements()[0]) == b'<p:b xmlns="urn:0" xmlns:p="urn:1" c="1"></p:b>'


def test_verify_compares_the_nonce_made_for_gpus() -> None:
    binding = bytes(range(48)) + bytes(16)
    blob = world.report(nonce=carriers.gpu_nonce(binding))
    evidence = Evidence(nvidia.TEE, nvidia.FORMAT, b64(blob), {nvidia.CHAIN: b64(world.chain())})
    # Our own roots are not packaged: the chain fails first.
    assert code(lambda: nvidia.verify(evidence, binding, {nvidia.CHAIN: world.chain()}, pki.NOW)) == "evidence.chain"
    examined = world.examine(blob, **world.rims())
    carried = carriers.conclude_carried(examined, binding, carriers.gpu_nonce(binding))
    assert carried.report_data == binding.hex()
    other = bytes(48) + bytes(16)
    assert code(lambda: carriers.conclude_carried(examined, other, carriers.gpu_nonce(other))) == "evidence.binding"
