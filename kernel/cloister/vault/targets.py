"""Targets of a match: from the asker's keys to the hashes units have in storage, and to the tags brokers count by.

A key is brought into the type of the card's key column and normalised by the code that normalised the rows
(``canonical.key_bytes``), so what is one unit in storage is one target here. What no row can have (blank, or not of the
column's type) is no refusal: it is a target like any other that is never found.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card
from cloister.plan.grid import MAX_TEXT
from cloister.vault.canonical import column, key_bytes
from cloister.vault.load import salt_of_units

_UNIT_BYTES = 16
_TAG_BYTES = 16
_WHOLE = re.compile(r"([+-]?)0*([0-9]{1,19})")
_LEAST, _MOST = -(2**63), 2**63 - 1
_NO_UNIT = b"cloister/match/no-unit/v1"


class Targets(msgspec.Struct, frozen=True):
    """The hash of every key asked, as storage hashes units, and whether a row can have that key at all."""

    units: tuple[bytes, ...]
    possible: tuple[bool, ...]

    def tags(self, secret: bytes) -> tuple[str, ...]:
        """Return the brokers' names of these targets, as often as each is asked, in an order that says nothing.

        They are 128 bits of HMAC-SHA256 over the unit's hash: one unit has one tag under one secret.
        """
        return tuple(sorted(hmac.digest(secret, unit, "sha256")[:_TAG_BYTES].hex() for unit in self.units))


def targets(card: Card, keys: Sequence[str], shared: bytes) -> Targets:
    """Return the targets that these keys of a card's one key column name.

    Args:
        card: The card of the table that is asked; it has one key column.
        keys: The keys as the asker writes them.
        shared: The salt of the contract's unit hashes (see ``Store.add``).
    """
    declared = column(card, card.key[0])
    normal = key_bytes(card, pa.table({declared.name: _READERS[declared.type](keys)}))
    salt = salt_of_units(card, shared)
    units, possible = [], []
    for key, text in zip(keys, normal.to_pylist(), strict=True):
        # A key that no row can have is counted under a hash that no row has, so it is told from no other.
        material = salt + text if text is not None else _NO_UNIT + salt + key.encode()
        units.append(hashlib.sha256(material).digest()[:_UNIT_BYTES])
        possible.append(text is not None)
    return Targets(tuple(units), tuple(possible))


def _texts(keys: Sequence[str]) -> pa.Array:
    # As a provider's data are sealed (provider/tables.py): cut, without padding, and blank is no key.
    cut = pc.utf8_rtrim(pc.utf8_slice_codeunits(pa.array(keys, pa.string()), 0, MAX_TEXT), characters="\0")
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(cut), ""), pa.scalar(None, pa.string()), cut)


def _integers(keys: Sequence[str]) -> pa.Array:
    return pa.array([_integer(key.strip()) for key in keys], pa.int64())


def _integer(text: str) -> int | None:
    whole = _WHOLE.fullmatch(text)
    if not whole:
        return None
    # Python refuses to read more than 4300 digits, zeros included.
    value = int(whole[1] + whole[2])
    return value if _LEAST <= value <= _MOST else None


# A key is text or a whole number (contract/card_lint.py).
_READERS: Mapping[str, Callable[[Sequence[str]], pa.Array]] = MappingProxyType({"string": _texts, "int": _integers})
