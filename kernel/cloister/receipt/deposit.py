"""Deposits: a settled receipt as a broker keeps it, sealed under a key derived from the data keys.

Any vault that brokers admit to the same data can open it (``receipt_key``), and answer the same question with the same
numbers. So can whoever holds the data keys: the providers of the tables that were read, together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.attest.encoding import b64, unb64
from cloister.errors import TrustError
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope

_NONCE = 12
MAX_DEPOSIT = 64 * 2**20
WIDEST = len(str(-(2**63)))
_PAD = b"\0"


class Deposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a later vault needs to answer again: the receipt and the admissions it names.

    ``source`` is the text of the cell that asked, where the contract's tier rules want it kept (``packs.source_days``).
    """

    receipt: Envelope
    admissions: tuple[Envelope, ...]
    source: str | msgspec.UnsetType = msgspec.UNSET


def receipt_key(secrets: Iterable[bytes], contract: str, charge_id: str) -> bytes:
    """Return the 32-byte key under which the receipt of one charge is deposited.

    Args:
        secrets: Of every table the release reads (``capsule_keys.table_secret``), in the order of manifests and names.
        contract: Digest of the contract.
        charge_id: The charge the receipt settles.
    """
    material = documents.hash_fields(*secrets, algorithm="sha384")
    info = documents.hash_fields("cloister/receipt-seal/v1", contract, charge_id, algorithm="sha384")
    return HKDF(algorithm=hashes.SHA384(), length=32, salt=None, info=info).derive(material)


def seal_deposit(deposit: Deposit, key: bytes, charge_id: str, raw: Sequence[str] = (), room: int = 0) -> str:
    """Return the deposit under ChaCha20-Poly1305 with the charge as additional data, base64.

    ``raw`` are the numbers in the receipt: padding makes the size what it would be if each were of the widest 64 bits.
    ``room`` is how many bytes more the receipt could have had, were as many values of keys released as can be.

    A charge that is executed again after its deposit was lost on the way would otherwise tell, by the sizes of many
    lost deposits, what the noise of a single one hides.
    """
    nonce = os.urandom(_NONCE)
    size = 3 * len(deposit.receipt.payload) // 4 - deposit.receipt.payload.count("=")
    widest = size + room + sum(WIDEST - len(text) for text in raw)
    spare = 4 * -(-widest // 3) - len(deposit.receipt.payload)
    body = canonical.encode(deposit) + _PAD * spare
    return b64(nonce + ChaCha20Poly1305(key).encrypt(nonce, body, charge_id.encode()))


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
    return documents.decode(body.rstrip(_PAD), Deposit)
