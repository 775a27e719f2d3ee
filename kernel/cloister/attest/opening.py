"""The analyst's first frame: who asks, for which session, purpose and mode, signed over the binding."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

import msgspec

from cloister.attest.encoding import b64, unb64
from cloister.errors import ContractError, MalformedError, SignatureError, TrustError
from cloister.wire import canonical, identity

DOMAIN = "cloister/analyst/v1"
MAX_OPENING = 8192
# Session ids become names of folders and words of log lines.
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")

Mode = Literal["confidential", "mock"]


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the ``OPEN`` frame; ``analyst`` is a did:key, ``signature`` base64."""

    analyst: str
    session: str
    purpose: str
    mode: Mode
    signature: str


def message(binding: bytes, session: str, purpose: str, mode: str) -> bytes:
    """Return what the analyst signs: ``binding || session || 0x00 || purpose || 0x00 || mode``."""
    return b"\x00".join((binding + session.encode(), purpose.encode(), mode.encode()))


def sign_opening(key: identity.SigningKey, binding: bytes, session: str, purpose: str, mode: Mode) -> bytes:
    """Return the canonical bytes of the analyst's opening.

    Raises:
        MalformedError: A NUL in session or purpose, which would let one signature mean two things.
    """
    _no_nul(session, purpose)
    signature = b64(key.sign(DOMAIN, message(binding, session, purpose, mode)))
    return canonical.encode(Opening(key.did, session, purpose, mode, signature))


def check_opening(data: bytes, binding: bytes, *, audience: str, admitted: Collection[str]) -> Opening:
    """Return the opening in ``data`` if an admitted analyst signed it for this very channel.

    Raises:
        MalformedError: Not an opening.
        ContractError: ``analyst.unknown``: the contract does not name this analyst.
        TrustError: ``analyst.audience``: not the party that said hello.
        SignatureError: ``analyst.signature``: not signed by the analyst for this binding, session, purpose and mode.
    """
    # 1. Strict decoding.
    if len(data) > MAX_OPENING:
        raise MalformedError("open.malformed", "the opening is too long")
    try:
        opening = msgspec.json.decode(data, type=Opening)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("open.malformed", "not an opening") from error
    _no_nul(opening.session, opening.purpose)
    if not _SESSION.fullmatch(opening.session):
        raise MalformedError("open.malformed", "a session id has 1 to 128 letters, digits, - and _")
    # 2. Who opens is who said hello.
    if opening.analyst != audience:
        raise TrustError("analyst.audience", "the hello named another party than the one that opens the session")
    # 3. The contract names this analyst.
    if opening.analyst not in admitted:
        raise ContractError(
            "analyst.unknown",
            f"the contract does not name {opening.analyst} as an analyst",
            next_step="ask the providers to add your did to the contract",
        )
    # 4. The signature is by that analyst over this binding, session, purpose and mode.
    try:
        signature = unb64(opening.signature, size=64, code="open.malformed")
        signed = message(binding, opening.session, opening.purpose, opening.mode)
        identity.verify(opening.analyst, DOMAIN, signed, signature)
    except SignatureError as error:
        raise SignatureError(
            "analyst.signature", f"the session is not signed by {opening.analyst} for this channel"
        ) from error
    return opening


def _no_nul(*texts: str) -> None:
    if any("\x00" in text for text in texts):
        raise MalformedError("open.malformed", "NUL is not allowed in session and purpose")
