"""Hashed keys: unit keys that leave the provider's hands only as hashes under a salt the providers share.

The salt is a file. One provider makes it and hands it to the others over a path they trust; it is in no card, contract
or capsule, where only its id stands. Whoever has the salt and a list of keys can hash the list, so it stays with the
providers and with whoever may ask matches.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import errno
import io
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cloister.attest.encoding import unb64
from cloister.contract.card import Card
from cloister.contract.unit_keys import HASH_BYTES, SALT_BYTES, hashed_key, is_hashed, salt_id
from cloister.errors import MalformedError, RefusedError, UnavailableError
from cloister.provider import files


class Salt(NamedTuple):
    """A shared secret salt and its public id."""

    secret: bytes
    id: str

    def __repr__(self) -> str:
        return f"<salt {self.id}>"


def create_salt(path: Path) -> Salt:
    """Return the salt stored at ``path``, drawn now if there is no such file.

    Raises:
        TrustError: ``file.permissions``.
        MalformedError: ``salt.file``.
    """
    try:
        files.private_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            files.create_private(path, base64.b64encode(secrets.token_bytes(SALT_BYTES)))
    except OSError as error:
        raise _unusable(path, error) from error
    return read_salt(path)


def read_salt(path: Path) -> Salt:
    """Return the salt stored at ``path``.

    Raises:
        UnavailableError: ``salt.missing``.
        TrustError: ``file.permissions``.
        MalformedError: ``salt.file``.
    """
    if not path.exists():
        raise UnavailableError(
            "salt.missing",
            f"there is no salt at {path}",
            next_step="`cloister unit-keys salt FILE` draws one; the other providers need the same file",
        )
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        text = files.read_private(path).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise _unusable(path, error) from error
    secret = unb64(text, size=SALT_BYTES, code="salt.file")
    return Salt(secret, salt_id(secret))


def _unusable(path: Path, error: OSError) -> MalformedError:
    return MalformedError(
        "salt.file",
        f"{path} cannot be read or written as a salt: {error.strerror}",
        next_step="name a file in a folder of your own",
    )


def check_salt(card: Card, salt: Salt | None) -> None:
    """Check that a table is sealed as its card says: with hashed keys under this salt, or without.

    Raises:
        RefusedError: ``seal.salt``.
    """
    if card.salt_id == (salt.id if salt else ""):
        return
    if salt is None:
        reason, step = "the card says that keys are hashed", "give the salt file with --hash-keys FILE"
    elif not card.salt_id:
        reason, step = "the card does not say that keys are hashed", f'write "hashed": "{salt.id}" into the card'
    else:
        reason = "the card names another salt than this file's"
        step = "take the file that the other providers sealed with, or correct the card"
    raise RefusedError("seal.salt", reason, clause="card.hashed", next_step=step)


def hash_keys(card: Card, table: pa.Table, salt: Salt) -> pa.Table:
    """Return the table with the hashes of its keys in their place: as text of one width, null where there is none.

    Raises:
        RefusedError: ``seal.hashed``: the keys are hashes already.
    """
    for part, name in enumerate(card.key):
        encoded = pa.concat_arrays([table.column(name).combine_chunks()]).dictionary_encode()
        texts = [data.rstrip(b"\0").decode(errors="replace") for data in encoded.dictionary.to_pylist()]
        hashed = [
            hashed_key(text, salt.secret, unit=card.unit, part=part, normaliser=card.normaliser).encode()
            for text in texts
        ]
        _check_plain(name, texts)
        column = pa.array(hashed, pa.binary(2 * HASH_BYTES)).take(encoded.indices)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def hash_list(card: Card, text: str, salt: Salt) -> Iterator[list[str]]:
    """Yield the rows of a CSV with the keys hashed, its header first; rows without a key keep none.

    Raises:
        MalformedError: ``salt.column``: the CSV has not every key column of the card once.
        RefusedError: ``seal.hashed``: the keys are hashes already.
    """
    rows = csv.reader(io.StringIO(text))
    header = next(rows, [])
    if missing := [name for name in card.key if name not in header]:
        raise MalformedError(
            "salt.column", f"the list has no column {missing[0]!r}", next_step="name its key columns as the card does"
        )
    if twice := [name for name in card.key if header.count(name) > 1]:
        raise MalformedError(
            "salt.column", f"the list has the column {twice[0]!r} twice", next_step="leave one of them out"
        )
    places = {header.index(name): part for part, name in enumerate(card.key)}
    found = list(rows)
    for place in places:
        _check_plain(header[place], [row[place] for row in found if place < len(row) and row[place].strip()])
    yield header
    for row in found:
        yield [
            hashed_key(value, salt.secret, unit=card.unit, part=places[place], normaliser=card.normaliser)
            if place in places and value.strip()
            else value
            for place, value in enumerate(row)
        ]


def _check_plain(name: str, texts: Sequence[str]) -> None:
    """A hash of a hash aligns with nothing, and nothing else would say so."""
    if texts and all(map(is_hashed, texts)):
        raise RefusedError(
            "seal.hashed",
            f"every key in {name!r} has the form of a hash already",
            next_step="hash the plain keys, or seal the hashes without --hash-keys",
        )
