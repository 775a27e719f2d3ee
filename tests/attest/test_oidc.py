"""Confidential Space tokens: what is accepted under a given key set, and every confusion of keys and algorithms."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import vendor_pki as pki
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attest.appraise import appraise, decide
from cloister.attest.encoding import b64
from cloister.attest.evidence import Claims, Evidence, RejectedError, completed
from cloister.attest.policy import Policy
from cloister.attest.tee import gcp_oidc, jwt
from cloister.attest.tee.examined import Examined
from cloister.errors import TrustError

BINDING = bytes(range(48)) + bytes(16)
KID = "key-1"


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


NONCE = url(BINDING[:48])


def numbers(key: str = "issuer") -> dict[str, str]:
    public = pki.rsa2048(key).public_key().public_numbers()
    return {"n": url(public.n.to_bytes(256, "big")), "e": "AQAB"}


def jwks(*keys: dict[str, Any]) -> bytes:
    default = {"kid": KID, "kty": "RSA", "alg": "RS256", "use": "sig", **numbers()}
    return json.dumps({"keys": keys or (default,)}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(pki.NOW.timestamp())
    document = {
        "iss": gcp_oidc.ISSUER, "aud": "https://broker.example", "sub": "instance", "iat": now - 60, "nbf": now - 60,
        "exp": now + 3540, "hwmodel": "GCP_INTEL_TDX", "swname": "CONFIDENTIAL_SPACE", "swversion": ["240900"],
        "secboot": True, "dbgstat": "disabled-since-boot", "eat_nonce": NONCE,
        "submods": {"container": {"image_digest": "sha256:" + "ab" * 32}},
    } | changes  # fmt: skip
    return {name: value for name, value in document.items() if value is not None}


def token(
    document: dict[str, Any] | None = None,
    *,
    key: str = "issuer",
    digest: HashAlgorithm | None = None,
    **header: Any,
) -> bytes:
    head = {"alg": "RS256", "kid": KID, "typ": "JWT"} | header
    parts = f"{url(json.dumps(head).encode())}.{url(json.dumps(document or claims()).encode())}"
    signature = pki.rsa2048(key).sign(parts.encode(), padding.PKCS1v15(), digest or SHA256())
    return f"{parts}.{url(signature)}".encode()


def examine(blob: bytes, keys: bytes | None = None) -> Examined:
    return gcp_oidc.examine(blob, {gcp_oidc.ENDORSEMENT: jwks() if keys is None else keys}, (), pki.NOW)


def code(make: Callable[[], object]) -> str:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value.code


def test_a_token_of_our_own_verifies() -> None:
    found = examine(token())
    assert (found.verdict, found.debug, found.launch) == ("verified", False, {"image_digest": "ab" * 32})
    assert bytes.fromhex(found.report_data).decode() == NONCE
    assert found.details["hwmodel"] == "GCP_INTEL_TDX"


def test_anything_but_debugging_disabled_since_boot_is_debug() -> None:
    for status in ("enabled", "disabled", "", "Disabled-since-boot"):
        assert examine(token(claims(dbgstat=status))).debug


class TestAlgorithms:
    def test_none_is_no_algorithm(self) -> None:
        for name in ("none", "None", "NONE", ""):
            head, body, _ = token(alg=name).split(b".")
            for signature in (b"", b"AA"):
                changed = b".".join((head, body, signature))
                assert code(lambda t=changed: examine(t)) == "evidence.algorithm"

    def test_the_public_key_is_no_secret_of_hs256(self) -> None:
        public = pki.rsa2048("issuer").public_key()
        for secret in (
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            jwks(),
        ):
            head, body, _ = token(alg="HS256").split(b".")
            mac = hmac.digest(secret, head + b"." + body, hashlib.sha256)
            assert code(lambda m=mac, h=head, b=body: examine(h + b"." + b + b"." + url(m).encode())) == (
                "evidence.algorithm"
            )

    @pytest.mark.parametrize("name", ["RS384", "RS512", "PS256", "ES256", "rs256", "EdDSA"])
    def test_other_names_are_refused_though_the_signature_is_rs256(self, name: str) -> None:
        assert code(lambda: examine(token(alg=name))) == "evidence.algorithm"

    def test_another_hash_under_the_name_is_refused(self) -> None:
        assert code(lambda: examine(token(digest=SHA384()))) == "evidence.signature"

    @pytest.mark.parametrize("extra", [{"jwk": numbers("somebody")}, {"jku": "https://x.example"}, {"x5c": ["AA"]},
                                       {"crit": ["exp"]}, {"typ": "JWE"}, {"zip": "DEF"}], ids=" ".join)  # fmt: skip
    def test_a_header_that_brings_more_is_refused(self, extra: dict[str, Any]) -> None:
        assert code(lambda: examine(token(key="somebody", **extra))) == "evidence.algorithm"
        assert code(lambda: examine(token(**extra))) == "evidence.algorithm"


class TestKeys:
    def test_the_key_is_the_one_of_that_name_and_only_one_has_it(self) -> None:
        key = {"kid": KID, "kty": "RSA", "alg": "RS256", "use": "sig", **numbers()}
        other = {**key, "kid": "key-2", **numbers("somebody")}
        assert examine(token(), jwks(other, key)).verdict == "verified"
        assert code(lambda: examine(token(kid="key-2"), jwks(other, key))) == "evidence.signature"
        assert code(lambda: examine(token(kid="key-3"))) == "evidence.key"
        assert code(lambda: examine(token(), jwks(key, key))) == "evidence.key"

    @pytest.mark.parametrize("change", [{"kty": "EC"}, {"alg": "PS256"}, {"use": "enc"}, {"kty": "oct"}], ids=str)
    def test_a_key_for_something_else_is_refused(self, change: dict[str, str]) -> None:
        key = {"kid": KID, "kty": "RSA", **numbers(), **change}
        assert code(lambda: examine(token(), jwks(key))) == "evidence.algorithm"

    def test_key_sets_against_the_format(self) -> None:
        assert code(lambda: examine(token(), b"{}")) == "endorsements.malformed"
        assert code(lambda: examine(token(), bytes(jwt.MAX_KEYS + 1))) == "endorsements.oversize"
        short = {"kid": KID, "kty": "RSA", "n": "AQAB", "e": "AQAB"}
        assert code(lambda: examine(token(), jwks(short))) == "evidence.algorithm"
        padded = {"kid": KID, "kty": "RSA", "n": numbers()["n"] + "==", "e": "AQAB"}
        assert code(lambda: examine(token(), jwks(padded))) == "endorsements.malformed"

    def test_only_the_relying_party_gives_the_key_set(self) -> None:
        """A key set is trust itself: accepted from the evidence it would make every forgery genuine."""
        forged = Evidence(gcp_oidc.TEE, gcp_oidc.FORMAT, b64(token()), {gcp_oidc.ENDORSEMENT: b64(jwks())})
        assert code(lambda: gcp_oidc.verify(forged, BINDING, {gcp_oidc.ENDORSEMENT: jwks()}, pki.NOW)) == (
            "evidence.unanchored"
        )
        assert code(lambda: gcp_oidc.examine(token(), {}, (), pki.NOW)) == "endorsements.missing"


class TestClaims:
    def test_times(self) -> None:
        now = int(pki.NOW.timestamp())
        skew = int(gcp_oidc.CLOCK_SKEW.total_seconds())
        assert code(lambda: examine(token(claims(exp=now)))) == "evidence.expired"
        assert examine(token(claims(exp=now + 1))).not_after == pki.NOW
        for late in ({"iat": now + skew + 1}, {"nbf": now + skew + 1}):
            assert code(lambda c=late: examine(token(claims(**c)))) == "evidence.not_yet_valid"
        assert examine(token(claims(iat=now + skew))).not_before == pki.NOW
        assert code(lambda: examine(token(claims(exp=1 << 60)))) == "evidence.malformed"

    @pytest.mark.parametrize(
        ("expected", "changes"),
        [
            ("evidence.claims", {"iss": "https://accounts.google.com"}),
            ("evidence.claims", {"iss": gcp_oidc.ISSUER + "/"}),
            ("evidence.malformed", {"aud": ["a", "b"]}),
            ("evidence.malformed", {"exp": "9999999999"}),
            ("evidence.malformed", {"exp": None}),
            ("evidence.malformed", {"dbgstat": None}),
            ("evidence.malformed", {"eat_nonce": "short"}),
            ("evidence.malformed", {"eat_nonce": "x" * 89}),
            ("evidence.malformed", {"eat_nonce": [NONCE] * 7}),
            ("evidence.malformed", {"submods": {"container": {"image_digest": "sha512:00"}}}),
            ("evidence.malformed", {"submods": {"container": {"image_digest": 7}}}),
        ],
        ids=str,
    )
    def test_claims_against_the_rules(self, expected: str, changes: dict[str, Any]) -> None:
        assert code(lambda: examine(token(claims(**changes)))) == expected

    def test_spelling(self) -> None:
        whole = token()
        for changed in (whole + b".", whole.replace(b".", b"=.", 1), whole + b"\n", b"..", whole.replace(b".", b"", 1)):
            assert code(lambda t=changed: examine(t)) in ("evidence.malformed", "evidence.algorithm")
        assert code(lambda: examine(bytes(jwt.MAX_TOKEN + 1))) == "evidence.oversize"


class TestAppraisal:
    """A genuine token of another machine, other software or another audience is no Confidential Space."""

    def _status(self, *, accepted: str = "https://broker.example", **changes: Any) -> str:
        evidence = Evidence(gcp_oidc.TEE, gcp_oidc.FORMAT, b64(token(claims(**changes))))
        given = {gcp_oidc.ENDORSEMENT: jwks()}
        found = completed(gcp_oidc.verify(evidence, BINDING, given, pki.NOW), "sha384:00", "sha256:00")
        rules = msgspec.convert(
            {
                "name": "space",
                "accept": {"tees": ["gcp-oidc"]},
                "reference": {
                    "env_digest": ["sha384:00"],
                    "launch": ["image_digest=" + "ab" * 32],
                    "covers_code": True,
                },
                "hardware": {"audience": [accepted] if accepted else [], "warnings": [*examine(token()).warnings]},
            },
            type=Policy,
        )
        vector = appraise(found, rules, contract="sha256:00")
        try:
            decide(vector, found, rules, accept_simulated=False)
        except TrustError as error:
            return error.code
        return vector.status

    def test_a_confidential_space_for_this_audience_is_affirming(self) -> None:
        assert self._status() == "affirming"

    @pytest.mark.parametrize(
        "changes",
        [
            {"hwmodel": "GCP_SHIELDED_VM"},
            {"hwmodel": "GCP_AMD_SEV"},
            {"swname": "GCE"},
            {"secboot": False},
            {"secboot": None},
            {"aud": "https://somebody.example"},
            {"accepted": ""},
        ],
        ids=str,
    )
    def test_any_other_machine_software_or_audience_is_contraindicated(self, changes: dict[str, Any]) -> None:
        assert self._status(**changes) == "appraisal.token"

    def test_an_image_that_was_started_otherwise_than_it_says_warns(self) -> None:
        for name, value in (("cmd_override", ["sh"]), ("env_override", {"PYTHONPATH": "/tmp"})):
            container = {"image_digest": "sha256:" + "ab" * 32, name: value}
            assert self._status(submods={"container": container}) == "appraisal.warning"
            assert self._status(submods={"container": {**container, name: []}}) == "affirming"


class TestVerify:
    def _verify(self, blob: bytes, binding: bytes = BINDING) -> Claims:
        evidence = Evidence(gcp_oidc.TEE, gcp_oidc.FORMAT, b64(blob))
        return gcp_oidc.verify(evidence, binding, {gcp_oidc.ENDORSEMENT: jwks()}, pki.NOW + timedelta(seconds=1))

    def test_one_of_the_nonces_is_the_binding(self) -> None:
        for nonces in (NONCE, [NONCE], ["somebody else's", NONCE]):
            found = self._verify(token(claims(eat_nonce=nonces)))
            assert (found.report_data, found.assurance) == (BINDING.hex(), "hardware")

    def test_another_binding_or_none_is_refused(self) -> None:
        for nonces in (url(bytes(48)), [], ["x" * 64, "y" * 64], NONCE.lower()):
            assert code(lambda n=nonces: self._verify(token(claims(eat_nonce=n)))) == "evidence.binding"
        # Report data that no 48-byte binding pads to cannot be carried at all.
        assert code(lambda: self._verify(token(), b"\1" * 64)) == "evidence.binding"
        assert code(lambda: self._verify(token(claims(eat_nonce=[])), b"")) == "evidence.binding"
