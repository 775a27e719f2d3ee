"""TPM 2.0 structures that quotes are made of: TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC, and the digest over PCRs.

Format: TCG, "TPM 2.0 Library, Part 2: Structures" (sections 10.12.8, 11.3.4, 12.2.4); integers are big-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from cloister.attest.tee import signatures
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected

PCRS = 24
# TPM_ALG_ID of hash functions: name and digest size. SHA-1 banks are read, for logs that have them, and never trusted
# as the hash of a signature.
BANKS: dict[int, tuple[str, int]] = {0x0004: ("sha1", 20), 0x000B: ("sha256", 32), 0x000C: ("sha384", 48)}
_RSA, _NULL, _RSASSA = 0x0001, 0x0010, 0x0014
_SIGNATURE_HASHES: dict[int, HashAlgorithm] = {0x000B: SHA256(), 0x000C: SHA384()}
_HASH_NAMES = {0x000B: "sha256", 0x000C: "sha384"}
_MAGIC, _QUOTE = 0xFF544347, 0x8018
_MAX_NAME, _MAX_NONCE, _MAX_SIGNATURE = 68, 66, 512
# Object attributes: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign must be set; decrypt must not.
_AK_SET, _AK_CLEAR = 0x0005_0032, 0x0002_0000


class Quote(NamedTuple):
    """A TPMS_ATTEST of type quote: nonce, clock counters, the PCRs selected by bank, and the digest over them."""

    extra_data: bytes
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selected: tuple[tuple[int, tuple[int, ...]], ...]
    pcr_digest: bytes


class Signature(NamedTuple):
    """An RSASSA TPMT_SIGNATURE: its hash (TPM_ALG_ID) and the signature."""

    hash: int
    signature: bytes


def quote(message: bytes) -> Quote:
    """Return the quote that ``message`` is.

    Raises:
        RejectedError: ``evidence.format`` (not made by a TPM as a quote), ``evidence.truncated`` or ``.malformed``.
    """
    cursor = Cursor(message, order="big")
    # A restricted key signs nothing that begins with this number unless the TPM itself made it.
    if cursor.u32() != _MAGIC or cursor.u16() != _QUOTE:
        raise rejected("evidence.format", "not a quote that a TPM made")
    _sized(cursor, _MAX_NAME)
    extra_data = _sized(cursor, _MAX_NONCE)
    cursor.u64()
    reset_count, restart_count, safe, firmware_version = cursor.u32(), cursor.u32(), cursor.u8(), cursor.u64()
    selected = tuple(_selection(cursor) for _ in range(_count(cursor.u32())))
    pcr_digest = _sized(cursor, 64)
    cursor.end("the quote")
    return Quote(extra_data, reset_count, restart_count, safe == 1, firmware_version, selected, pcr_digest)


def signature(data: bytes) -> Signature:
    """Return the signature of a TPMT_SIGNATURE.

    Raises:
        RejectedError: ``evidence.algorithm`` (not RSASSA with SHA-256 or SHA-384), ``.truncated`` or ``.malformed``.
    """
    cursor = Cursor(data, order="big")
    scheme, digest = cursor.u16(), cursor.u16()
    if scheme != _RSASSA or digest not in _SIGNATURE_HASHES:
        raise rejected("evidence.algorithm", "a TPM signature other than RSASSA with SHA-256 or SHA-384")
    value = _sized(cursor, _MAX_SIGNATURE)
    cursor.end("the signature")
    return Signature(digest, value)


def attestation_key(data: bytes) -> rsa.RSAPublicKey:
    """Return the key of a TPMT_PUBLIC, which must be a restricted RSA signing key that never leaves its TPM.

    Raises:
        RejectedError: ``evidence.key``, ``evidence.algorithm``, ``evidence.truncated`` or ``evidence.malformed``.
    """
    cursor = Cursor(data, order="big")
    if cursor.u16() != _RSA:
        raise rejected("evidence.algorithm", "an attestation key that is not RSA")
    cursor.u16()
    attributes = cursor.u32()
    if attributes & _AK_SET != _AK_SET or attributes & _AK_CLEAR:
        raise rejected("evidence.key", "the key is not a restricted signing key of its TPM")
    _sized(cursor, 64)
    if cursor.u16() != _NULL or cursor.u16() != _RSASSA:
        raise rejected("evidence.algorithm", "an attestation key that is not for RSASSA alone")
    cursor.u16()
    bits, exponent = cursor.u16(), cursor.u32() or 65537
    modulus = _sized(cursor, _MAX_SIGNATURE)
    cursor.end("the public key")
    if not modulus or 8 * len(modulus) != bits or not modulus[0] & 0x80:
        raise rejected("evidence.malformed", "a modulus of another length than it says")
    return rsa_key(int.from_bytes(modulus, "big"), exponent)


def rsa_key(modulus: int, exponent: int) -> rsa.RSAPublicKey:
    """Return an RSA key of 2048 to 4096 bits.

    Raises:
        RejectedError: ``evidence.algorithm`` or ``evidence.malformed``.
    """
    if not signatures.MIN_RSA_BITS <= modulus.bit_length() <= signatures.MAX_RSA_BITS:
        raise rejected("evidence.algorithm", f"an RSA key of {modulus.bit_length()} bits")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise rejected("evidence.malformed", "numbers that are no RSA key") from error


def check_quote(
    message: bytes, signed: Signature, key: rsa.RSAPublicKey, pcrs: Mapping[int, Mapping[int, bytes]]
) -> Quote:
    """Return the quote ``message`` after checking its signature and that it is over ``pcrs`` (bank -> number -> value).

    The digest over the selected PCRs is made with the hash of the signature, in the order of banks and numbers.

    Raises:
        RejectedError: ``evidence.signature``, ``evidence.claims`` (other PCRs than those quoted), or a format's code.
    """
    found = quote(message)
    signatures.rsa_pkcs1(key, signed.signature, message, _SIGNATURE_HASHES[signed.hash])
    digest = hashlib.new(_HASH_NAMES[signed.hash])
    if not any(numbers for _, numbers in found.selected):
        raise rejected("evidence.claims", "a quote over no PCR says nothing of what was started")
    if len({bank for bank, _ in found.selected}) != len(found.selected):
        raise rejected("evidence.malformed", "a quote that selects a bank twice")
    for bank, numbers in found.selected:
        given = pcrs.get(bank, {})
        for number in numbers:
            value = given.get(number, b"")
            if len(value) != BANKS[bank][1]:
                raise rejected("evidence.claims", f"PCR {number} is quoted, and its value is missing")
            digest.update(value)
    if digest.digest() != found.pcr_digest:
        raise rejected("evidence.claims", "the PCR values are not those quoted")
    return found


def quoted(found: Quote, pcrs: Mapping[int, Mapping[int, bytes]]) -> dict[str, str]:
    """Return the quoted PCRs by name (``pcr0`` for SHA-256, ``sha384/pcr0`` for others), and no others."""
    return {
        f"pcr{number}" if BANKS[bank][0] == "sha256" else f"{BANKS[bank][0]}/pcr{number}": pcrs[bank][number].hex()
        for bank, numbers in found.selected
        for number in numbers
    }


def _selection(cursor: Cursor) -> tuple[int, tuple[int, ...]]:
    bank, size = cursor.u16(), cursor.u8()
    if bank not in BANKS or not 1 <= size <= PCRS // 8:
        raise rejected("evidence.malformed", "a selection of PCRs that no TPM has")
    bits = int.from_bytes(cursor.take(size), "little")
    return bank, tuple(number for number in range(PCRS) if bits >> number & 1)


def _count(number: int) -> int:
    if number > len(BANKS):
        raise rejected("evidence.malformed", "more banks of PCRs than there are")
    return number


def _sized(cursor: Cursor, limit: int) -> bytes:
    size = cursor.u16()
    if size > limit:
        raise rejected("evidence.malformed", f"a field of {size} bytes where at most {limit} may stand")
    return cursor.take(size)
