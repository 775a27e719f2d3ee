"""Deposits: a settled receipt as a broker keeps it, sealed under a key derived from the data keys.

Any vault that brokers admit to the same data can open it (``keys.receipt_key``), and answer the same question with
the same numbers.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cloister.attest.encoding import b64, unb64
from cloister.errors import TrustError
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope

_NONCE = 12
MAX_DEPOSIT = 64 * 2**20


class Deposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a later vault needs to answer again: the receipt and the admissions it names."""

    receipt: Envelope
    admissions: tuple[Envelope, ...]


def seal_deposit(deposit: Deposit, key: bytes, charge_id: str) -> str:
    """Return the deposit under ChaCha20-Poly1305 with the charge as additional data, base64."""
    nonce = os.urandom(_NONCE)
    return b64(nonce + ChaCha20Poly1305(key).encrypt(nonce, canonical.encode(deposit), charge_id.encode()))


def open_deposit(sealed: str, key: bytes, charge_id: str) -> Deposit:
    """Return a deposit.

    Raises:
        TrustError: ``deposit.sealed``: another key, another charge, or altered.
        MalformedError: Not a deposit.
    """
    data = unb64(sealed, limit=MAX_DEPOSIT)
    try:
        body = ChaCha20Poly1305(key).decrypt(data[:_NONCE], data[_NONCE:], charge_id.encode())
    except (InvalidTag, ValueError) as error:
        raise TrustError("deposit.sealed", "the deposit does not open under the keys of this release") from error
    return documents.decode(body, Deposit)
