"""Deliveries: one rounded score per unit, sealed to a receiver. The vault seals, the receiver opens. Pure.

The content is a number of rows (u32, big-endian), then that many rows in the order of their unit hashes (16 bytes of
hash, u16 code), then zeros up to ``capacity`` rows: its size is a function of the card. A code counts steps above
``low``; 65535 is null. It is encrypted with ChaCha20-Poly1305 under a content key that belongs to one charge, so
that a replay gives the same bytes; the header without ``key`` is the additional data. The content key is sealed to the
receiver with HPKE (X25519, HKDF-SHA256, ChaCha20-Poly1305; RFC 9180), whose info binds contract, plan, receiver and
charge. HPKE names no sender: where a file comes from is what its receipt says (``origin``).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from cloister.attest.encoding import b64, unb64
from cloister.contract.unit_keys import HASH_BYTES
from cloister.errors import CloisterError, ContractError, MalformedError, PlanError, TrustError
from cloister.plan.numbers import rational
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope

MAX_SCORES = 1001
MAX_UNITS = 500_000
NULL = 0xFFFF
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
# The content key encrypts one content only, whose bytes follow from the charge: a fixed nonce never repeats under it.
_NONCE = bytes(12)
_ROW = struct.Struct(f">{HASH_BYTES}sH")
_COUNT = struct.Struct(">I")
_MAX_CONTENT = 4 * (_COUNT.size + MAX_UNITS * _ROW.size + 64)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a delivery is, in clear: everything in it is public. ``low`` and ``step`` are exact fractions.

    ``to`` is the receiver's public key; ``unit``, ``kinds`` and ``normaliser`` say how unit keys are hashed. Where they
    were hashed before they were sealed, ``hashed`` is the id of that salt: whoever joins needs keys hashed under it.
    """

    mode: Literal["confidential", "mock"]
    contract: str
    plan: str
    receiver: str
    to: str
    charge_id: str
    unit: str
    kinds: tuple[str, ...]
    normaliser: str
    low: str
    step: str
    points: int
    capacity: int
    key: str = ""
    version: Literal[1] = 1
    # Written only where keys are hashed: the headers of all others keep their bytes.
    hashed: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def salt_id(self) -> str:
        """The id of the salt unit keys were hashed under at seal, or ``""``."""
        return self.hashed if isinstance(self.hashed, str) else ""


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file an analyst sends on: header, sealed content (base64), and the receipt with its admissions.

    A rehearsal has no receipt.
    """

    header: Header
    content: str
    receipt: Envelope | None = None
    admissions: tuple[Envelope, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One unit: its hash under the contract, and its score (None where the score is null)."""

    unit: bytes
    score: Fraction | None


def check_scores(rows_per_unit: int, points: int, units: int) -> None:
    """Check that scores can be delivered: one per unit, coarse, and of few enough units by declared size.

    Raises:
        PlanError: ``plan.units``, ``plan.score``, ``plan.size``.
    """
    if rows_per_unit != 1:
        raise PlanError(
            "plan.units",
            f"a unit can have {rows_per_unit:,} rows, and a delivery has one score per unit",
            next_step="summarise the rows of each unit first",
            nearest=('visits.groupby("patient_id").agg(...)', "visits.cap(1)"),
        )
    if points > MAX_SCORES:
        raise PlanError(
            "plan.score",
            f"the rounded score has {points:,} possible values, and a delivery at most {MAX_SCORES:,}",
            clause="a fine score would tell the columns it is made of",
            next_step="choose a larger step=, or clip the score to a narrower range",
        )
    if units > MAX_UNITS:
        raise PlanError(
            "plan.size",
            f"a delivery has at most {MAX_UNITS:,} units, by declared size",
            next_step="split the units into parts, each with a clause of its own",
        )


def content_size(capacity: int) -> int:
    """Return the bytes of the sealed content."""
    return _COUNT.size + capacity * _ROW.size + 16


def seal_key(content_key: bytes, header: Header) -> str:
    """Return the content key sealed to the receiver (base64); every call gives other bytes.

    Raises:
        MalformedError: ``delivery.receiver``: not a usable X25519 public key.
    """
    try:
        public = X25519PublicKey.from_public_bytes(unb64(header.to, size=32))
        return b64(_SUITE.encrypt(content_key, public, info=_info(header)))
    except (ValueError, CloisterError) as error:
        raise MalformedError("delivery.receiver", "the receiver's key is no usable X25519 public key") from error


def seal_content(rows: Sequence[tuple[bytes, int]], header: Header, content_key: bytes) -> bytes:
    """Return the sealed content. ``rows`` are unit hashes, strictly ascending, with codes.

    Raises:
        MalformedError: ``delivery.rows``: more rows than the capacity, a unit twice, or a code out of range.
    """
    units = [unit for unit, _ in rows]
    fits = len(rows) <= header.capacity <= MAX_UNITS and all(a < b for a, b in itertools.pairwise(units))
    if not fits or not all(len(u) == HASH_BYTES and (0 <= c < header.points or c == NULL) for u, c in rows):
        raise MalformedError("delivery.rows", "the rows do not fit the delivery")
    body = _COUNT.pack(len(rows)) + b"".join(_ROW.pack(unit, code) for unit, code in rows)
    return ChaCha20Poly1305(content_key).encrypt(
        _NONCE, body.ljust(content_size(header.capacity) - 16, b"\0"), _bound(header)
    )


def file_digest(header: Header, content: bytes) -> str:
    """Return the digest by which a receipt names a delivery; it is the same however the content key was sealed."""
    return canonical.digest_bytes(documents.hash_fields("cloister/delivery-file/v1", _bound(header), content))


def to_file(fields: Mapping[str, Any]) -> bytes:
    """Return the bytes of a delivery as a file, from its fields in a vault's reply.

    Raises:
        MalformedError: ``delivery.file``.
    """
    try:
        return canonical.encode(msgspec.convert(dict(fields), Delivery))
    except msgspec.ValidationError as error:
        raise _altered("the vault's reply holds no delivery") from error


def read_delivery(data: bytes) -> Delivery:
    """Return the delivery in a file; nothing of it is believed yet.

    Raises:
        MalformedError: ``delivery.file``.
    """
    try:
        found = documents.decode(data, Delivery)
        low, step = rational(found.header.low), rational(found.header.step)
    except CloisterError as error:
        raise _altered("this is no delivery, or it was cut or altered") from error
    sizes = 0 < found.header.points <= MAX_SCORES and 0 < found.header.capacity <= MAX_UNITS
    if not sizes or step <= 0 or low.denominator > 10**18:
        raise _altered("the delivery states sizes that no delivery has")
    return found


def open_delivery(delivery: Delivery, private: bytes) -> tuple[Row, ...]:
    """Return the rows of a delivery.

    Args:
        delivery: The delivery.
        private: The receiver's 32-byte X25519 private key.

    Raises:
        TrustError: ``delivery.key``: sealed to another key. ``delivery.altered``: changed after it was sealed.
        MalformedError: ``delivery.file``.
    """
    header, key = delivery.header, X25519PrivateKey.from_private_bytes(private)
    if b64(key.public_key().public_bytes_raw()) != header.to:
        raise TrustError(
            "delivery.key",
            f"this delivery is sealed to another key ({header.receiver}: {header.to})",
            next_step="open it with the private key that belongs to the public key in the contract",
        )
    try:
        content_key = _SUITE.decrypt(unb64(header.key), key, info=_info(header))
        sealed = content_of(delivery)
        body = ChaCha20Poly1305(content_key).decrypt(_NONCE, sealed, _bound(header))
    except (InvalidTag, ValueError, CloisterError) as error:
        raise TrustError(
            "delivery.altered",
            "the delivery was altered after it was sealed, or belongs to another contract, plan or charge",
            next_step="ask the analyst for the file again; a repeated delivery is free and has the same bytes",
        ) from error
    return _rows(body, header)


def content_of(delivery: Delivery) -> bytes:
    """Return the sealed content of a delivery.

    Raises:
        MalformedError: It is not base64, or longer than any delivery.
    """
    return unb64(delivery.content, limit=_MAX_CONTENT)


def _rows(body: bytes, header: Header) -> tuple[Row, ...]:
    count = _COUNT.unpack_from(body)[0] if len(body) == content_size(header.capacity) - 16 else header.capacity + 1
    if count > header.capacity:
        raise _altered("the content of the delivery does not fit its header")
    low, step = rational(header.low), rational(header.step)
    found = []
    for place in range(count):
        unit, code = _ROW.unpack_from(body, _COUNT.size + place * _ROW.size)
        found.append(Row(unit, None if code == NULL else low + code * step))
    return tuple(found)


def check_contract(header: Header, contract: str) -> None:
    """Check that a delivery is of the contract with this digest.

    Raises:
        ContractError: ``delivery.contract``.
    """
    if header.contract != contract:
        raise ContractError(
            "delivery.contract",
            "the delivery belongs to another contract",
            clause=f"it names {header.contract}",
            next_step="give the contract it was made under, or refuse it",
        )


def _altered(reason: str) -> MalformedError:
    return MalformedError("delivery.file", reason, next_step="ask the analyst for the file again")


def _info(header: Header) -> bytes:
    return documents.hash_fields(
        "cloister/delivery/v1", header.contract, header.plan, header.receiver, header.charge_id
    )


def _bound(header: Header) -> bytes:
    return canonical.encode(msgspec.structs.replace(header, key=""))
