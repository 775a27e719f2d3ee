"""Signed documents: a DSSE envelope (Dead Simple Signing Envelope v1) with did:key signers.

``PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body``; the signature covers the PAE, the
payload travels base64-encoded and is decoded only after a signature was checked.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from cloister.errors import MalformedError, SignatureError
from cloister.wire import identity

_DOMAIN = "cloister/dsse/v1"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature: who (did:key) and the base64 Ed25519 signature of the PAE."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed document of any type; field names are those of DSSE."""

    payloadType: str  # noqa: N815 (the DSSE field name)
    payload: str
    signatures: tuple[Signature, ...]


def pae(payload_type: str, body: bytes) -> bytes:
    """Return the pre-authentication encoding that is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def seal(payload_type: str, body: bytes, *keys: identity.SigningKey) -> Envelope:
    """Sign ``body`` with every key."""
    message = pae(payload_type, body)
    signatures = tuple(Signature(key.did, _b64(key.sign(_DOMAIN, message))) for key in keys)
    return Envelope(payload_type, _b64(body), signatures)


def add_signature(envelope: Envelope, key: identity.SigningKey) -> Envelope:
    """Return the envelope with one more signature (a signer signs once)."""
    message = pae(envelope.payloadType, _unb64(envelope.payload))
    kept = tuple(s for s in envelope.signatures if s.keyid != key.did)
    return msgspec.structs.replace(envelope, signatures=(*kept, Signature(key.did, _b64(key.sign(_DOMAIN, message)))))


def open_envelope(envelope: Envelope, payload_type: str, *required: str) -> bytes:
    """Return the payload after checking that every ``required`` did signed it.

    Raises:
        SignatureError: Another type, a required signer missing, a wrong signature, or no signer named.
        MalformedError: Not base64.
    """
    if envelope.payloadType != payload_type:
        raise SignatureError("signature.type", f"expected a {payload_type}, got {envelope.payloadType}")
    if not required:
        raise SignatureError("signature.nobody", "no signer was required; refusing to trust the document")
    body = _unb64(envelope.payload)
    message = pae(payload_type, body)
    for did in required:
        found = [s for s in envelope.signatures if s.keyid == did]
        if len(found) != 1:
            raise SignatureError("signature.missing", f"{did} has not signed this {payload_type}")
        identity.verify(did, _DOMAIN, message, _unb64(found[0].sig))
    return body


def unverified_payload(envelope: Envelope) -> bytes:
    """Return the payload without any check: only to find out whose signature to require."""
    return _unb64(envelope.payload)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("signature.base64", "not base64") from error
