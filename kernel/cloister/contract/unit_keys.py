"""Unit keys: how a key is normalised, and the hash that stands for a unit under one contract. Pure.

The hash is 128 bits of SHA-256 over a salt (contract, unit, kinds of the key columns, normaliser) and the normalised
key. It is comparable within a contract and nowhere else. It is no secret: who has a list of keys can compute it.

A provider may seal a table with *hashed keys*: each text of a key column is normalised and replaced by 128 bits of
HMAC-SHA256, in hexadecimal, under a salt that the providers of aligned tables share and nobody else has. A card names
the salt by its id, which tells nothing about it. What stands in the capsule is then a key like any other.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from collections.abc import Sequence

from cloister.errors import MalformedError, PlanError
from cloister.wire import canonical

HASH_BYTES = 16
SALT_BYTES = 32
_HASHED = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}")
_MOST_LETTERS = 256
_SPACE = " \t\n\r\x0b\x0c"
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def unit_salt(unit: str, kinds: Sequence[str], normaliser: str, shared: bytes) -> bytes:
    """Return the salt of unit hashes: units of one type whose keys are compared alike get comparable hashes."""
    described = canonical.encode({"unit": unit, "key": list(kinds), "normaliser": normaliser})
    return hashlib.sha256(b"cloister/unit/v2" + shared + described).digest()


def unit_hash(salt: bytes, key: bytes) -> bytes:
    """Return the hash of a normalised key under a salt."""
    return hashlib.sha256(salt + key).digest()[:HASH_BYTES]


def key_bytes(parts: Sequence[str], kinds: Sequence[str], normaliser: str) -> bytes:
    """Return the normalised key of a unit whose key columns are written as ``parts``.

    Raises:
        MalformedError: ``unit.key``: a part is missing or does not spell a value of its column's type.
    """
    if len(parts) != len(kinds):
        raise MalformedError("unit.key", f"a key has {len(kinds)} parts", next_step="give each key column its value")
    texts = [_part(part, kind, normaliser).encode() for part, kind in zip(parts, kinds, strict=True)]
    if len(texts) == 1:
        return texts[0]
    # A length before each part: ("a", "bc") and ("ab", "c") are different keys.
    return b":".join(piece for text in texts for piece in (str(len(text)).encode(), text))


def salt_id(salt: bytes) -> str:
    """Return the public id of a secret salt of hashed keys: ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(b'cloister/key-salt/v1' + salt).hexdigest()}"


def hashed_key(text: str, salt: bytes, *, unit: str, part: int, normaliser: str) -> str:
    """Return what stands in a capsule for one part of a unit key (the ``part``-th key column, from 0).

    The text is cut and normalised first, as the vault does with a key that is not hashed.
    """
    described = canonical.encode({"unit": unit, "part": part, "normaliser": normaliser})
    text = _part(text[:_MOST_LETTERS].rstrip("\0"), "string", normaliser)
    return hmac.digest(salt, b"cloister/key/v1" + described + text.encode(), "sha256")[:HASH_BYTES].hex()


def is_hashed(text: str) -> bool:
    """Whether a text has the form of a hashed key."""
    return _HASHED.fullmatch(text) is not None


def plain_keys(table: str) -> PlanError:
    """Return the refusal of a match with plain keys on a table whose keys are hashed."""
    return PlanError(
        "match.hashed",
        f"the keys of {table} were hashed when it was sealed: plain keys are found in no row",
        clause="card.hashed",
        next_step="hash your keys where the salt file is, and ask with the hashes: "
        "`cloister unit-keys hash card.json mine.csv --salt FILE --out hashed.csv`",
    )


def _part(text: str, kind: str, normaliser: str) -> str:
    try:
        if kind in ("int", "decimal"):
            text = str(int(text.strip()))
        elif kind in ("date", "timestamp"):
            text = datetime.date.fromisoformat(text.strip()[:10]).isoformat()
    except ValueError as error:
        raise MalformedError(
            "unit.key", f"{text[:60]!r} is no {kind}", next_step="write it as the card does"
        ) from error
    return text.strip(_SPACE).translate(_LOWER) if normaliser == "ascii-lower-strip" else text
