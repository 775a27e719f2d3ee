"""The two plain messages that precede the keys, and the choice of version and suite.

Neither message is trusted. The relying party's hello enters the binding byte for byte, and so does what was chosen:
whoever removes a version or a suite on the way changes the binding, and the evidence no longer fits (downgrade).
"""

from __future__ import annotations

import secrets
from typing import Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Evidence
from cloister.errors import MalformedError, TrustError
from cloister.wire import canonical, identity

VERSIONS = ("1",)
SUITES = ("x25519-hkdf-sha384-chacha20poly1305",)
NONCE_BYTES = 32
MAX_HELLO = 4096
MAX_OFFER = 256 * 1024

_Message = TypeVar("_Message", "Hello", "Offer")

Role = Literal["analyst-channel", "broker-session"]
ANALYST_CHANNEL: Role = "analyst-channel"
BROKER_SESSION: Role = "broker-session"


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a relying party asks: versions and suites it speaks (best first), nonce, key, who it is, what for.

    ``rp_nonce`` and ``rp_eph_pub`` are base64 of 32 bytes; ``rp_eph_pub`` is empty for a broker session, where
    nothing is keyed to the channel. ``audience`` is the relying party's own did, ``contract`` a digest.
    """

    versions: tuple[str, ...]
    suites: tuple[str, ...]
    rp_nonce: str
    rp_eph_pub: str
    audience: str
    contract: str
    role: Role


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the enclave answers: its choice, its key for this connection, who the vault is, and evidence over it all."""

    version: str
    suite: str
    kex_pub: str
    kem_ct: str
    vault_id: str
    contract: str
    env_digest: str
    prev_binding: str
    evidence: Evidence


def new_hello(
    audience: str,
    contract: str,
    role: Role,
    *,
    ephemeral: X25519PrivateKey | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """Return the canonical bytes of a hello; the nonce is fresh unless given (tests and vectors)."""
    public = ephemeral.public_key().public_bytes_raw() if ephemeral else b""
    message = Hello(
        versions=VERSIONS,
        suites=SUITES,
        rp_nonce=b64(secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce),
        rp_eph_pub=b64(public),
        audience=audience,
        contract=contract,
        role=role,
    )
    return canonical.encode(message)


def parse_hello(data: bytes) -> Hello:
    """Decode a hello strictly.

    Raises:
        MalformedError: Too large, not the schema, a nonce or key of the wrong size, or an audience that is no did.
    """
    hello = _decode(data, Hello, MAX_HELLO, "hello.malformed")
    if max(len(hello.versions), len(hello.suites)) > 16:
        raise MalformedError("hello.malformed", "too many versions or suites")
    unb64(hello.rp_nonce, size=NONCE_BYTES, code="hello.malformed")
    unb64(hello.rp_eph_pub, size=32 if hello.role == ANALYST_CHANNEL else 0, code="hello.malformed")
    identity.public_from_did(hello.audience)
    return hello


def parse_offer(data: bytes) -> Offer:
    """Decode an offer strictly.

    Raises:
        MalformedError: Too large, not the schema, or a key of the wrong size.
    """
    return check_offer(_decode(data, Offer, MAX_OFFER, "offer.malformed"))


def check_offer(offer: Offer) -> Offer:
    """Return ``offer`` if its byte fields have the sizes its suite prescribes.

    Raises:
        MalformedError: A key or previous binding of the wrong size, or a KEM ciphertext where the suite has none.
    """
    unb64(offer.kex_pub, size=32, code="offer.malformed")
    unb64(offer.kem_ct, size=0, code="offer.malformed")
    if len(unb64(offer.prev_binding, code="offer.malformed")) not in (0, 48):
        raise MalformedError("offer.malformed", "a previous binding has 48 bytes")
    return offer


def choose(hello: Hello) -> tuple[str, str]:
    """Return the version and suite the enclave picks: the first of its own list that the hello offers.

    Raises:
        TrustError: Nothing in common.
    """
    version = next((v for v in VERSIONS if v in hello.versions), None)
    suite = next((s for s in SUITES if s in hello.suites), None)
    if version is None or suite is None:
        raise TrustError(
            "channel.version",
            "the two sides have no protocol version or cipher suite in common",
            next_step="update the older side",
        )
    return version, suite


def _decode(data: bytes, kind: type[_Message], limit: int, code: str) -> _Message:
    if len(data) > limit:
        raise MalformedError(code, f"a message of {len(data)} bytes exceeds {limit}")
    try:
        message = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(code, f"not a {kind.__name__}") from error
    # One spelling per message: duplicate keys and re-orderings never reach the transcript.
    if canonical.encode(message) != data:
        raise MalformedError(code, "not canonical JSON")
    return message
