"""An introduction: who says hello signs it, so that strangers cannot use up the evidence that analysts ask for.

Evidence costs hardware time, and whoever connects can ask for it before he has proved anything. So an enclave greets
every connection with a *challenge* (32 random bytes, a header of its answer to the WebSocket handshake), and an analyst
signs it with the hello that follows. The signature is worth one place in her own queue: it opens nothing and is no part
of any binding. An enclave without challenges gets a hello alone, and a hello alone is a stranger's.

It is bound to the connection (its challenge is used once and ends with it), to contract, role, nonce and key (the
hello), and to this use (the domain): what is recorded is worth nothing later, or at another enclave. Whoever carries it
learns what the hello says anyway, with a proof of it.
"""

from __future__ import annotations

import secrets

import msgspec

from cloister.attest.encoding import b64, unb64
from cloister.errors import CloisterError
from cloister.wire import canonical, identity
from cloister.wire.identity import SigningKey

HEADER = "Cloister-Challenge"
DOMAIN = "cloister/introduction/v1"
CHALLENGE_BYTES = 32
MAX_INTRODUCTION = 256


class Introduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The message in front of a hello: the signature of whom the hello names as its audience, base64."""

    introduction: str


def new_challenge() -> str:
    """Return what one connection is greeted with."""
    return b64(secrets.token_bytes(CHALLENGE_BYTES))


def introduce(key: SigningKey, challenge: str, hello: bytes) -> bytes:
    """Return the message that precedes ``hello``, or nothing where ``challenge`` is none.

    Whoever answers at the address wrote the challenge: a bad one only means that nobody is introduced.
    """
    try:
        message = _message(challenge, hello)
    except CloisterError:
        return b""
    return canonical.encode(Introduction(b64(key.sign(DOMAIN, message))))


def parse_introduction(data: bytes) -> Introduction | None:
    """Return the introduction in a first message, or None if it is something else (a hello)."""
    if len(data) > MAX_INTRODUCTION:
        return None
    try:
        return msgspec.json.decode(data, type=Introduction)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_introduced(said: Introduction | None, challenge: str, hello: bytes, audience: str) -> bool:
    """Whether ``audience``, whom ``hello`` names, signed it for the connection that was greeted with ``challenge``."""
    if said is None:
        return False
    try:
        signature = unb64(said.introduction, size=64, code="introduction.malformed")
        identity.verify(audience, DOMAIN, _message(challenge, hello), signature)
    except CloisterError:
        return False
    return True


def _message(challenge: str, hello: bytes) -> bytes:
    return unb64(challenge, size=CHALLENGE_BYTES, code="introduction.challenge") + hello
