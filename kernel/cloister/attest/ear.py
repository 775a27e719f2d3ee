"""EAR: an attestation result as a JWT (draft-ietf-rats-ear-04), signed with Ed25519.

The algorithm is pinned to EdDSA: a token that names another one, or none, is refused before any key is touched.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloister.attest.appraise import CLAIM_NAMES, tier, worst
from cloister.attest.encoding import b64
from cloister.attest.verification import Appraisal
from cloister.errors import MalformedError, SignatureError, TrustError
from cloister.wire import identity

PROFILE = "tag:github.com,2023:veraison/ear"
MAX_TOKEN = 64 * 1024
_HEADER = {"alg": "EdDSA", "typ": "JWT"}
_SKEW = timedelta(seconds=60)


def payload(appraisal: Appraisal, policy_digest: str, now: datetime, build: str) -> dict[str, Any]:
    """Return the EAR claims set of an appraisal made at ``now`` by Cloister version ``build``."""
    return {
        "eat_profile": PROFILE,
        "iat": int(now.timestamp()),
        "eat_nonce": b64(appraisal.binding),
        "ear.verifier-id": {"build": f"cloister {build}", "developer": "The Cloister authors"},
        "submods": {
            appraisal.claims.tee: {
                "ear.status": appraisal.status,
                "ear.trustworthiness-vector": appraisal.vector.values,
                "ear.appraisal-policy-id": policy_digest,
                "cloister.assurance": appraisal.assurance,
                "cloister.env-digest": appraisal.claims.env_digest,
                "cloister.contract": appraisal.claims.contract,
                "cloister.platform": appraisal.claims.platform,
                "cloister.warnings": list(appraisal.claims.warnings),
            }
        },
    }


def issue(claims: dict[str, Any], key: Ed25519PrivateKey) -> str:
    """Return the signed JWT of an EAR claims set."""
    signing_input = _part(_HEADER) + "." + _part(claims)
    return signing_input + "." + _b64url(key.sign(signing_input.encode("ascii")))


def verify(
    token: str, did: str, *, now: datetime, max_age: timedelta, binding: bytes, policy_digest: str
) -> dict[str, Any]:
    """Return the claims of an EAR signed by ``did`` for this binding and policy.

    Raises:
        MalformedError: Not a JWT of this profile.
        SignatureError: Another algorithm (``ear.algorithm``) or not signed by ``did``.
        TrustError: Too old or from the future, another binding or policy, no submodule, or a status its vector denies.
    """
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        raise MalformedError("ear.malformed", "not a signed JWT")
    header, body, signature = token.split(".")
    if _json(header) != _HEADER:
        raise SignatureError("ear.algorithm", "an EAR is signed with EdDSA and nothing else")
    try:
        public = Ed25519PublicKey.from_public_bytes(identity.public_from_did(did))
        public.verify(_unb64url(signature), f"{header}.{body}".encode("ascii"))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("ear.signature", f"the EAR is not signed by {did}") from error
    claims = _json(body)
    _check(claims, now, max_age, binding, policy_digest)
    return claims


def _check(claims: dict[str, Any], now: datetime, max_age: timedelta, binding: bytes, policy_digest: str) -> None:
    issued, submods = claims.get("iat"), claims.get("submods")
    if claims.get("eat_profile") != PROFILE or not isinstance(issued, int) or not isinstance(submods, dict):
        raise MalformedError("ear.malformed", "not an EAR of this profile")
    age = timedelta(seconds=now.timestamp() - issued)
    if age > max_age or age < -_SKEW:
        raise TrustError("ear.age", "the attestation result is too old, or from the future")
    if claims.get("eat_nonce") != b64(binding):
        raise TrustError("ear.binding", "the attestation result belongs to another exchange")
    if not submods:
        raise TrustError("ear.empty", "the attestation result appraises nothing")
    for submod in submods.values():
        vector = submod.get("ear.trustworthiness-vector") if isinstance(submod, dict) else None
        if not isinstance(vector, dict) or set(vector) != set(CLAIM_NAMES):
            raise MalformedError("ear.malformed", "a submodule lacks its trustworthiness vector")
        if not all(isinstance(value, int) for value in vector.values()):
            raise MalformedError("ear.malformed", "a claim value is no integer")
        if submod.get("ear.status") != worst(tier(value) for value in vector.values()):
            raise TrustError("ear.status", "the status is not the worst of its claims")
        if submod.get("ear.appraisal-policy-id") != policy_digest:
            raise TrustError("ear.policy", "the attestation result was made under another policy")


def _part(value: dict[str, Any]) -> str:
    return _b64url(msgspec.json.encode(value))


def _json(part: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_unb64url(part), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("ear.malformed", "a JWT part is not a JSON object") from error


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unb64url(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("ear.malformed", "not base64url") from error
    if _b64url(data) != text:
        raise MalformedError("ear.malformed", "not canonical base64url")
    return data
