"""Units of a table: the hash of each normalised key, and the *rank* of each row's unit among the units of the table.

A hash is 128 bits of SHA-256, in two halves. Ranks follow the hashes: comparing ranks is comparing hashes.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card
from cloister.vault.canonical import flat, key_bytes

Unsigned = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


class Ranks(msgspec.Struct, frozen=True):
    """The rank of each row's unit, and for each rank the position of a key that has it."""

    of_row: npt.NDArray[np.int32]
    keys: Positions


class Units(msgspec.Struct, frozen=True):
    """The units of the rows of a table.

    Attributes:
        upper: First half of the hash of each key.
        lower: Its second half.
        codes: For each row the position of its key; None if rows and keys are the same.
        present: Which rows have a key.
    """

    upper: Unsigned
    lower: Unsigned
    codes: npt.NDArray[np.int32] | None
    present: npt.NDArray[np.bool_]

    def ranks(self) -> Ranks:
        """Return the ranks of the units."""
        order = _ordered(self.upper, self.lower)
        upper, lower = self.upper[order], self.lower[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.cumsum(first, dtype=np.int32) - 1
        return Ranks(ranks if self.codes is None else ranks[self.codes], order[first])


def units_of(connection: duckdb.DuckDBPyConnection, card: Card, raw: pa.Table, salt: bytes) -> Units:
    """Return the units of the rows of ``raw``; keys are hashed once each where a unit may have several rows."""
    codes = None
    first = flat(raw[card.key[0]])
    if card.rows_per_unit == 1 or len(card.key) > 1 or pa.types.is_null(first.type):
        keys = key_bytes(card, raw)
    else:
        encoded = first.dictionary_encode(null_encoding="encode")
        keys = key_bytes(card, pa.table({card.key[0]: encoded.dictionary}))
        codes = encoded.indices.to_numpy(zero_copy_only=False)
    upper, lower = hashes(connection, keys, salt)
    present = np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))
    return Units(upper, lower, codes, present if codes is None else present[codes])


def hashes(connection: duckdb.DuckDBPyConnection, keys: pa.Array, salt: bytes) -> tuple[Unsigned, Unsigned]:
    """Return 128 bits of SHA-256(salt || key) for each key, in two halves."""
    connection.register("keys", pa.table({"key": keys}))
    hashed = connection.sql(
        "SELECT unhex(sha256($salt::BLOB || coalesce(key, ''::BLOB))[1:32]) AS hash FROM keys", params={"salt": salt}
    ).to_arrow_table()["hash"]
    connection.unregister("keys")
    halves = np.concatenate([np.zeros(0, ">u8"), *(_words(chunk) for chunk in hashed.chunks)])
    return halves[::2].astype(np.uint64), halves[1::2].astype(np.uint64)


def _words(hashed: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the 64-bit words (most significant byte first) of hashes of 16 bytes each."""
    data = pc.cast(hashed, pa.binary(16)).buffers()[1]
    return np.frombuffer(data, ">u8")[2 * hashed.offset :][: 2 * len(hashed)]


def _ordered(upper: Unsigned, lower: Unsigned) -> Positions:
    """Return the positions of hashes in their order."""
    order = np.argsort(upper)
    equal = tied(upper[order])
    some = order[equal]
    order[equal] = some[np.lexsort((lower[some], upper[some]))]
    return order


def tied(ordered: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which elements of an ordered list equal one beside them."""
    found = np.zeros(len(ordered), np.bool_)
    same = ordered[1:] == ordered[:-1]
    found[1:] = same
    found[:-1] |= same
    return found
