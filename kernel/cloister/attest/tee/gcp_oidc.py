"""Tokens of Google Confidential Space: OpenID Connect, RS256, verified with a key set that the relying party gives.

Claims: Google Cloud, "Confidential Space: attestation token claims". Google's attestation service, not the hardware,
signs: whoever accepts these tokens trusts that service. The key set (endorsement ``jwks``) is trust itself and never
comes from the evidence. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, jwt
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of

TEE = "gcp-oidc"
FORMAT = "gcp_confidential_space_jwt"
ENDORSEMENT = "jwks"
ISSUER = "https://confidentialcomputing.googleapis.com"
# Clocks may differ by this much where a token says when it was made; its end is its end.
CLOCK_SKEW = timedelta(minutes=1)
_NO_DEBUG = "disabled-since-boot"
_MAX_NONCES, _NONCE_BYTES = 6, range(8, 89)
_YEAR_9999 = 253402300799


class Token(msgspec.Struct, frozen=True):
    """The claims that are looked at; times in seconds since 1970."""

    iss: str
    aud: str
    sub: str
    exp: int
    iat: int
    hwmodel: str
    swname: str
    dbgstat: str
    nbf: int = 0
    secboot: bool = False
    swversion: list[str] = []
    eat_nonce: str | list[str] = []
    submods: dict[str, Any] = {}


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a token one of whose nonces is the 48-byte binding in base64url.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    carriers.refuse_own_keys(evidence, ENDORSEMENT)
    blob = blob_of(evidence, TEE, (FORMAT,), jwt.MAX_TOKEN)
    examined = examine(blob, endorsements, (), now)
    expected = base64.urlsafe_b64encode(carriers.value_of(binding)).rstrip(b"=").decode()
    if expected and expected in examined.details["eat_nonce"]:
        examined = msgspec.structs.replace(examined, report_data=expected.encode().hex())
    return carriers.conclude_carried(examined, binding, expected.encode())


def examine(blob: bytes, endorsements: Mapping[str, bytes], _roots: Roots, now: datetime) -> Examined:
    """Return what a token says; the endorsement ``jwks`` is the key set that the caller trusts.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. The signature, with a key of the given set and the one algorithm.
    if ENDORSEMENT not in endorsements:
        raise rejected("endorsements.missing", "the issuer's key set (JWKS)")
    token = _token(jwt.payload(blob, endorsements[ENDORSEMENT]))
    # 2. The issuer, and the time.
    if token.iss != ISSUER:
        raise rejected("evidence.claims", "a token of another issuer")
    begin, end = _time(max(token.iat, token.nbf)), _time(token.exp)
    if now < begin - CLOCK_SKEW:
        raise rejected("evidence.not_yet_valid", "the token is from the future")
    if now >= end:
        raise rejected("evidence.expired", "the token has expired")
    nonces = [token.eat_nonce] if isinstance(token.eat_nonce, str) else token.eat_nonce
    if len(nonces) > _MAX_NONCES or not all(len(nonce.encode()) in _NONCE_BYTES for nonce in nonces):
        raise rejected("evidence.malformed", "more nonces, or longer or shorter ones, than a token has")
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="verified",
        debug=token.dbgstat != _NO_DEBUG,
        report_data=nonces[0].encode().hex() if len(nonces) == 1 else "",
        launch=_launch(token),
        signer=f"issuer:{token.iss}",
        details={
            "aud": token.aud,
            "sub": token.sub,
            "hwmodel": token.hwmodel,
            "swname": token.swname,
            "swversion": list(token.swversion),
            "secboot": token.secboot,
            "dbgstat": token.dbgstat,
            "eat_nonce": list(nonces),
        },
        warnings=_warnings(token),
        not_before=begin - CLOCK_SKEW,
        not_after=end - timedelta(seconds=1),
    )


def _token(data: bytes) -> Token:
    try:
        return msgspec.json.decode(data, type=Token)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejected("evidence.malformed", "not the claims of a Confidential Space token") from error


def _time(seconds: int) -> datetime:
    if not 0 < seconds <= _YEAR_9999:
        raise rejected("evidence.malformed", "a time that is none")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _warnings(token: Token) -> tuple[str, ...]:
    """Return what a reader must know: the image digest covers neither command nor environment that replaced its own."""
    container = token.submods.get("container")
    given = container if isinstance(container, dict) else {}
    replaced = [name for name in ("cmd_override", "env_override") if given.get(name)]
    return (
        "signed by Google's attestation service, not by the hardware",
        *(f"whoever started the container replaced what its image says ({name})" for name in replaced),
    )


def _launch(token: Token) -> dict[str, str]:
    """Return the container's image digest, hex of SHA-256, if the token names one."""
    container = token.submods.get("container")
    digest = container.get("image_digest") if isinstance(container, dict) else None
    if digest is None:
        return {}
    name, _, value = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    if name != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise rejected("evidence.malformed", "an image digest that is not sha256 in hex")
    return {"image_digest": value}
