"""Nitro documents and CCA tokens of platforms of our own, and the CBOR and COSE rules that both rest on."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import cose_world as world
import pytest
import vendor_pki as pki
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence, RejectedError
from cloister.attest.tee import cbor, cca, cose, nitro

MINUTE = timedelta(minutes=1)


def code(make: Callable[[], object]) -> str:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value.code


class TestCbor:
    @pytest.mark.parametrize(
        ("hexed", "expected"),
        [
            ("5f41004101ff", "evidence.malformed"),  # indefinite bytes
            ("9f01ff", "evidence.malformed"),  # indefinite array
            ("bf6161 01ff", "evidence.malformed"),  # indefinite map
            ("1817", "evidence.malformed"),  # 23 in two bytes
            ("1900ff", "evidence.malformed"),  # 255 in three bytes
            ("1a0000ffff", "evidence.malformed"),
            ("1b00000000ffffffff", "evidence.malformed"),
            ("a201010102", "evidence.malformed"),  # a key twice
            ("a26161016161 02", "evidence.malformed"),
            ("a1f501", "evidence.malformed"),  # a key that is true
            ("a1400100", "evidence.malformed"),  # a key of bytes
            ("f97e00", "evidence.malformed"),  # a float
            ("f7", "evidence.malformed"),  # undefined
            ("f818", "evidence.malformed"),
            ("1c", "evidence.malformed"),  # reserved
            ("0101", "evidence.malformed"),  # two items
            ("62c328", "evidence.malformed"),  # not UTF-8
            ("5a7fffffff00", "evidence.truncated"),  # bytes that are not there
            ("9a7fffffff00", "evidence.truncated"),  # items that are not there
            ("ba7fffffff00", "evidence.truncated"),
            ("", "evidence.truncated"),
            ("8181818181818181818100", "evidence.malformed"),  # too deep
        ],
    )
    def test_what_is_not_in_the_subset_is_refused(self, hexed: str, expected: str) -> None:
        assert code(lambda: cbor.decode(bytes.fromhex(hexed))) == expected

    def test_it_reads_what_cbor2_writes_and_says_the_same(self) -> None:
        chosen = random.Random(20261128)
        for _ in range(300):
            value = _value(chosen, 4)
            assert cbor.decode(cbor2.dumps(value)) == value

    def test_what_it_reads_cbor2_reads_the_same(self) -> None:
        chosen, read = random.Random(7), 0
        for _ in range(3000):
            data = bytearray(cbor2.dumps(_value(chosen, 3)))
            data[chosen.randrange(len(data))] = chosen.randrange(256)
            try:
                found = cbor.decode(bytes(data))
            except RejectedError:
                continue
            if b"\xc0" <= bytes(data[:1]) <= b"\xdb" or "Tag(" in repr(found):
                continue  # tags have a meaning there, and none here
            assert found == cbor2.loads(bytes(data))
            read += 1
        assert read > 500

    def test_too_many_items_are_refused(self) -> None:
        assert code(lambda: cbor.decode(cbor2.dumps([0] * cbor.MAX_ITEMS))) == "evidence.malformed"


def _value(chosen: random.Random, depth: int) -> Any:
    kind = chosen.randrange(9 if depth else 6)
    match kind:
        case 0:
            return chosen.choice([None, True, False])
        case 1:
            return chosen.randrange(1 << chosen.randrange(1, 64))
        case 2:
            return -chosen.randrange(1, 1 << chosen.randrange(1, 63))
        case 3:
            return chosen.randbytes(chosen.randrange(40))
        case 4 | 5:
            return "".join(chosen.choices("abcé≤", k=chosen.randrange(30)))
        case 6 | 7:
            return [_value(chosen, depth - 1) for _ in range(chosen.randrange(5))]
        case _:
            return {chosen.choice([chosen.randrange(99), f"k{chosen.randrange(9)}"]): _value(chosen, depth - 1)
                    for _ in range(chosen.randrange(5))}  # fmt: skip


class TestCose:
    @pytest.mark.parametrize(
        "protected",
        [{1: -7}, {1: -36}, {1: -35, 4: b"kid"}, {}, {1: 5}, {1: -37}, {2: [1], 1: -35}],
        ids=str,
    )
    def test_the_protected_header_is_the_algorithm_of_the_key_alone(self, protected: dict[int, Any]) -> None:
        assert code(lambda: world.examine_nitro(world.document(protected=protected))) == "evidence.algorithm"

    @pytest.mark.parametrize("unprotected", [{1: -7}, {4: b"kid"}, {33: b"x5chain"}, {1: -35}], ids=str)
    def test_an_unprotected_header_is_refused(self, unprotected: dict[int, Any]) -> None:
        assert code(lambda: world.examine_nitro(world.document(unprotected=unprotected))) == "evidence.algorithm"

    def test_a_key_on_another_curve_is_refused(self) -> None:
        signed = cose.read(world.document())
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        assert code(lambda: cose.verify(signed, key)) == "evidence.algorithm"
        key521 = ec.generate_private_key(ec.SECP521R1()).public_key()
        assert code(lambda: cose.verify(signed, key521)) == "evidence.algorithm"

    def test_a_signature_of_another_length_is_refused(self) -> None:
        signed = cose.read(world.document())
        for changed in (signed.signature[:-1], signed.signature + b"\0", b""):
            key = pki.p384("enclave").public_key()
            assert code(lambda s=changed: cose.verify(signed._replace(signature=s), key)) == "evidence.signature"  # noqa: B023

    @pytest.mark.parametrize(
        "item",
        [7, [], [b"", {}, b""], [b"", {}, b"", b"", b""], [b"", [], b"", b""], [1, {}, b"", b""], [b"", {}, None, b""],
         [b"", {}, b"", "signature"], {}],
        ids=str,
    )  # fmt: skip
    def test_other_structures_are_refused(self, item: object) -> None:
        """Among them a detached payload: what was signed must be inside."""
        assert code(lambda: cose.read(cbor2.dumps(item))) == "evidence.malformed"

    def test_the_tag_is_read_and_another_one_refused(self) -> None:
        assert world.examine_nitro(world.document(tag=True)).verdict == "verified"
        parts = cbor2.loads(world.document())
        assert code(lambda: world.examine_nitro(cbor2.dumps(cbor2.CBORTag(98, parts)))) == "evidence.malformed"
        assert code(lambda: cose.read(world.document(tag=True), tagged=False)) == "evidence.malformed"


class TestNitro:
    def test_a_document_of_our_own_verifies(self) -> None:
        found = world.examine_nitro(world.document())
        assert (found.verdict, found.debug, found.report_data) == ("verified", False, world.BINDING.hex())
        assert found.launch["pcr0"] == "01" * 48
        # Not before it was made, give or take the skew of clocks; not after its certificate.
        assert (found.not_before, found.not_after) == world.LEAF
        later = world.examine_nitro(world.document(world.payload(at=pki.NOW + 4 * MINUTE)), now=pki.NOW)
        assert later.not_before == world.LEAF[0]
        later = world.examine_nitro(world.document(world.payload(at=pki.NOW + 9 * MINUTE)), now=pki.NOW + 9 * MINUTE)
        assert later.not_before == pki.NOW + 4 * MINUTE

    def test_registers_of_zeros_are_debug(self) -> None:
        zeros = {index: bytes(48) for index in range(3)}
        assert world.examine_nitro(world.document(world.payload(pcrs=zeros))).debug

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.malformed", {"pcrs": {1: bytes(48)}}),
            ("evidence.malformed", {"pcrs": {0: bytes(32)}}),
            ("evidence.malformed", {"pcrs": {0: bytes(48), 32: bytes(48)}}),
            ("evidence.malformed", {"pcrs": {0: bytes(48), "1": bytes(48)}}),
            ("evidence.malformed", {"pcrs": [bytes(48)]}),
            ("evidence.algorithm", {"digest": "SHA256"}),
            ("evidence.malformed", {"module_id": ""}),
            ("evidence.malformed", {"module_id": "a\nb"}),
            ("evidence.malformed", {"timestamp": 0}),
            ("evidence.malformed", {"timestamp": 1 << 62}),
            ("evidence.malformed", {"timestamp": True}),
            ("evidence.malformed", {"nonce": bytes(513)}),
            ("evidence.malformed", {"user_data": "text"}),
            ("evidence.malformed", {"public_key": bytes(1025)}),
            ("evidence.malformed", {"certificate": b""}),
            ("evidence.malformed", {"certificate": bytes(1025)}),
            ("evidence.malformed", {"cabundle": []}),
            ("evidence.malformed", {"cabundle": [b"\x30\x00"] * 9}),
            ("evidence.malformed", {"extra": 1}),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_fields_against_the_format_are_refused(self, expected: str, changes: dict[str, Any]) -> None:
        assert code(lambda: world.examine_nitro(world.document(world.payload(**changes)))) == expected

    def test_every_required_field_is_required(self) -> None:
        for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"):
            fields = world.payload()
            del fields[name]
            assert code(lambda f=fields: world.examine_nitro(world.document(f))) == "evidence.malformed"

    def test_another_signature_or_payload_is_refused(self) -> None:
        assert code(lambda: world.examine_nitro(world.document(key="somebody"))) == "evidence.signature"
        one, other = cbor2.loads(world.document()), cbor2.loads(world.document(world.payload(nonce=b"other")))
        spliced = cbor2.dumps([one[0], {}, other[2], one[3]])
        assert code(lambda: world.examine_nitro(spliced)) == "evidence.signature"

    def test_a_document_of_another_curve_is_refused_though_its_signature_is_right(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = pki.issue("enclave", key, world.aws_zone(), validity=world.LEAF)
        header, body = cbor2.dumps({1: -7}), cbor2.dumps(world.payload(leaf=leaf))
        r, s = decode_dss_signature(key.sign(cbor2.dumps(["Signature1", header, b"", body]), ec.ECDSA(SHA256())))
        blob = cbor2.dumps([header, {}, body, r.to_bytes(32, "big") + s.to_bytes(32, "big")])
        assert code(lambda: world.examine_nitro(blob)) == "evidence.algorithm"

    def test_the_chain_must_be_whole_and_in_order(self) -> None:
        root, zone = world.aws_root().der, world.aws_zone().der
        for bundle in ([zone], [root, zone]):
            assert world.examine_nitro(world.document(world.payload(bundle=bundle))).verdict == "verified"
        for bundle in ([zone, root], [root], [root, zone, zone]):
            assert (
                code(lambda b=bundle: world.examine_nitro(world.document(world.payload(bundle=b)))) == "evidence.chain"
            )

    def test_a_root_of_the_same_name_is_not_the_root(self) -> None:
        false_root = pki.issue("aws.nitro-enclaves", pki.p384("false"), authority=True)
        leaf = pki.issue("enclave", pki.p384("enclave"), false_root, validity=world.LEAF)
        for bundle in ([false_root.der], [world.aws_root().der]):
            fields = world.payload(leaf=leaf, bundle=bundle)
            assert code(lambda f=fields: world.examine_nitro(world.document(f))) == "evidence.chain"

    def test_an_enclave_issues_no_certificates(self) -> None:
        """The path length of the zone's certificate is 0, and a leaf is no authority."""
        leaf = pki.issue("enclave", pki.p384("enclave"), world.aws_zone(), validity=world.LEAF)
        below = pki.issue("below", pki.p384("below"), leaf, validity=world.LEAF)
        fields = world.payload(leaf=below, bundle=[world.aws_root().der, world.aws_zone().der, leaf.der])
        assert code(lambda: world.examine_nitro(world.document(fields, key="below"))) == "evidence.chain"
        authority = pki.issue("sub", pki.p384("sub"), world.aws_zone(), authority=True)
        below = pki.issue("below", pki.p384("below"), authority, validity=world.LEAF)
        fields = world.payload(leaf=below, bundle=[world.aws_root().der, world.aws_zone().der, authority.der])
        assert code(lambda: world.examine_nitro(world.document(fields, key="below"))) == "evidence.chain"

    def test_times(self) -> None:
        begin, end = world.LEAF
        blob = world.document()
        assert code(lambda: world.examine_nitro(blob, now=end + MINUTE)) == "evidence.expired"
        assert code(lambda: world.examine_nitro(blob, now=begin - MINUTE)) == "evidence.not_yet_valid"
        assert world.examine_nitro(blob, now=end).verdict == "verified"
        future = world.document(world.payload(at=pki.NOW + 6 * MINUTE))
        assert code(lambda: world.examine_nitro(future)) == "evidence.not_yet_valid"
        stale = world.document(world.payload(at=begin - 10 * MINUTE))
        assert code(lambda: world.examine_nitro(stale)) == "evidence.claims"

    def test_size(self) -> None:
        assert code(lambda: world.examine_nitro(bytes(nitro.MAX_DOCUMENT + 1))) == "evidence.oversize"


class TestCca:
    def test_a_token_of_our_own_verifies_with_both_spellings_of_the_realm_key(self) -> None:
        key = world.cose_key(pki.p384("rak"))
        for claims in (world.realm(), world.realm(c44237=key), world.realm(c265="tag:arm.com,2023:realm#1.0.0")):
            found = world.examine_cca(world.token(claims))
            assert (found.verdict, found.debug, found.report_data) == ("verified", False, world.BINDING.hex())

    @pytest.mark.parametrize("lifecycle", [0x0000, 0x1000, 0x2FFF, 0x3100, 0x4000, 0x5003, 0x6000])
    def test_a_platform_that_is_not_secured_is_debug(self, lifecycle: int) -> None:
        claims = world.platform(world.realm()[44237], c2395=lifecycle)
        assert world.examine_cca(world.token(platform_claims=claims)).debug

    def test_the_platform_vouches_for_one_realm_key(self) -> None:
        other = world.platform(world.point(pki.p384("other")))
        assert code(lambda: world.examine_cca(world.token(platform_claims=other))) == "evidence.key"
        # Hashed by another function than the realm names.
        claims = world.realm(c44240="sha-512")
        assert code(lambda: world.examine_cca(world.token(claims))) == "evidence.key"

    def test_each_token_has_its_own_signer(self) -> None:
        assert code(lambda: world.examine_cca(world.token(platform_key="rak"))) == "evidence.signature"
        assert code(lambda: world.examine_cca(world.token(realm_key="iak"))) == "evidence.signature"

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.malformed", {"c10": bytes(32)}),
            ("evidence.malformed", {"c44238": bytes(20)}),
            ("evidence.malformed", {"c44239": [bytes(32)] * 3}),
            ("evidence.malformed", {"c44239": [bytes(32)] * 3 + [b""]}),
            ("evidence.malformed", {"c44235": bytes(63)}),
            ("evidence.algorithm", {"c44240": "sha-1"}),
            ("evidence.algorithm", {"c44236": 7}),
            ("evidence.format", {"c265": "http://somebody.example/"}),
            ("evidence.malformed", {"c44237": b"\x04" + bytes(96)}),  # no point of the curve
            ("evidence.algorithm", {"c44237": cbor2.dumps({1: 2, -1: 1, -2: bytes(32), -3: bytes(32)})}),
        ],
        ids=str,
    )
    def test_realm_claims_against_the_format_are_refused(self, expected: str, changes: dict[str, Any]) -> None:
        claims = world.realm(**changes)
        assert code(lambda: world.examine_cca(world.token(claims))) == expected

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.malformed", {"c2395": -1}),
            ("evidence.malformed", {"c2395": True}),
            ("evidence.malformed", {"c2399": []}),
            ("evidence.malformed", {"c2399": [1]}),
            ("evidence.malformed", {"c2399": [{1: 5, 2: bytes(32), 5: bytes(32)}]}),
            ("evidence.malformed", {"c256": bytes(32)}),
            ("evidence.malformed", {"c2396": bytes(33)}),
            ("evidence.format", {"c265": None}),
            ("evidence.algorithm", {"c2402": "md5"}),
            ("evidence.malformed", {"c2401": b""}),
        ],
        ids=str,
    )
    def test_platform_claims_against_the_format_are_refused(self, expected: str, changes: dict[str, Any]) -> None:
        claims = world.platform(world.realm()[44237], **changes)
        assert code(lambda: world.examine_cca(world.token(platform_claims=claims))) == expected

    def test_claims_that_are_no_map_are_refused(self) -> None:
        for parse in (cca.parse_realm, cca.parse_platform):
            assert code(lambda p=parse: p(cbor2.dumps([1]))) == "evidence.malformed"

    def test_the_envelope(self) -> None:
        assert code(lambda: world.examine_cca(world.token(tag=398))) == "evidence.format"
        both = cbor2.loads(world.token()).value
        for changed in ({44234: both[44234]}, {**both, 1: b""}, {44234: both[44234], 44241: 1}):
            blob = cbor2.dumps(cbor2.CBORTag(399, changed))
            assert code(lambda b=blob: world.examine_cca(b)) == "evidence.malformed"

    def test_only_the_relying_party_names_the_platforms_key(self) -> None:
        """The key is trust itself: accepted from the evidence it would make every forgery genuine."""
        forged = Evidence(cca.TEE, cca.FORMAT, b64(world.token()), {cca.ENDORSEMENT: b64(world.iak())})
        given = {cca.ENDORSEMENT: world.iak()}
        assert code(lambda: cca.verify(forged, world.BINDING, given, pki.NOW)) == "evidence.unanchored"
        honest = Evidence(cca.TEE, cca.FORMAT, b64(world.token()))
        assert cca.verify(honest, world.BINDING, given, pki.NOW).report_data == world.BINDING.hex()
        assert code(lambda: cca.verify(honest, bytes(64), given, pki.NOW)) == "evidence.binding"
        assert code(lambda: cca.verify(honest, world.BINDING, {}, pki.NOW)) == "endorsements.missing"

    def test_a_key_that_cannot_be_one(self) -> None:
        rsa = pki.rsa2048("iak").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for key, expected in ((b"no key", "endorsements.malformed"), (rsa, "evidence.algorithm")):
            assert code(lambda k=key: world.examine_cca(world.token(), k)) == expected
        assert code(lambda: world.examine_cca(world.token(), bytes(2000))) == "endorsements.oversize"
