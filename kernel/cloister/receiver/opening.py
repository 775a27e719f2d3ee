"""Opening a delivery: whose it is, where it comes from, and whose scores are in it."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloister.contract import signing
from cloister.contract.unit_keys import is_hashed, key_bytes, unit_hash, unit_salt
from cloister.errors import ContractError, MalformedError, TrustError, UnavailableError
from cloister.plan.numbers import text_of
from cloister.receipt import chain, delivery
from cloister.receipt.delivery import Delivery, Header, Row
from cloister.receipt.receipt import Receipt
from cloister.wire.envelope import Envelope

UNCHECKED = "origin NOT checked: give --contract to see that an admitted vault delivered this"
COMPARE = "compare with what the providers gave you"
MOCK = "MOCK: invented scores of a rehearsal; nobody vouches for them"


class Opened(NamedTuple):
    """A delivery that opened: header, rows, and in words where it comes from."""

    header: Header
    rows: tuple[Row, ...]
    origin: str


def open_file(path: Path, private: bytes, contract: Envelope | None = None) -> Opened:
    """Return what a delivery holds.

    Args:
        path: The file.
        private: The receiver's private key.
        contract: The signed contract, to check the origin against.

    Raises:
        MalformedError: ``delivery.file``.
        TrustError: ``delivery.mock``, ``delivery.key``, ``delivery.altered``, ``delivery.origin``, or a broken link of
            the chain.
        ContractError: ``delivery.contract``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MalformedError("delivery.file", f"{path} cannot be read", next_step="check the path") from error
    found = delivery.read_delivery(data)
    if contract is not None:
        if found.header.mode != "confidential":
            # Anybody can write such a file: whoever asks where scores come from must not be given these.
            raise TrustError(
                "delivery.mock",
                "this file calls itself a rehearsal: its scores were invented, and nobody vouches for them",
                next_step="ask the analyst for the delivery of a confidential kernel; without --contract it opens",
            )
        delivery.check_contract(found.header, signing.contract_digest(contract))
    rows = delivery.open_delivery(found, private)
    if found.header.mode == "mock":
        return Opened(found.header, rows, MOCK)
    return Opened(found.header, rows, UNCHECKED if contract is None else _origin(found, contract))


def _origin(found: Delivery, document: Envelope) -> str:
    """Return where a delivery comes from, after walking from the contract to the receipt that names this file."""
    digest = signing.contract_digest(document)
    contract = signing.open_contract(document, now=signing.read_unverified(document).not_before)
    if found.receipt is None:
        raise _foreign("it carries no receipt")
    admissions = {chain.admission_digest(one): chain.open_admission(one, contract, digest) for one in found.admissions}
    receipt, vault = chain.open_receipt(found.receipt, admissions, contract, digest)
    chain.check_names(receipt, contract)
    if not _names(receipt, found):
        raise _foreign("its receipt is of another file")
    stated = receipt.exits
    approved = contract.outside.deliveries[stated.clause].plan if stated is not None else ""
    receiver = contract.outside.receiver(found.header.receiver)
    if approved != found.header.plan or receiver is None or receiver.key != found.header.to:
        raise _foreign("the contract approves another plan, or another key for this receiver")
    # The contract came as a file too, and says itself who signed it: only its reader knows whom he deals with.
    providers = ", ".join(f"{party.name!r} is {party.did}" for party in contract.parties if party.role == "provider")
    return (
        f"delivered at {receipt.time} under {contract.title!r} by {vault} ({receipt.assurance})\n"
        f"the contract is {digest}; {providers}: {COMPARE}"
    )


def _names(receipt: Receipt, found: Delivery) -> bool:
    stated = receipt.exits
    if stated is None or stated.name != "deliver" or receipt.charge_id != found.header.charge_id:
        return False
    content = delivery.content_of(found)
    return (stated.file, stated.key) == (delivery.file_digest(found.header, content), found.header.key)


def _foreign(why: str) -> TrustError:
    return TrustError(
        "delivery.origin",
        f"nothing shows that an admitted vault made this delivery: {why}",
        next_step="ask the analyst for the file as `deliver(...).save()` wrote it",
    )


def join(opened: Opened, keys: Path) -> tuple[str, str]:
    """Return the scores of the receiver's own units as CSV, and in words how many there are.

    Args:
        opened: The delivery.
        keys: CSV with a header line, whose first columns are the unit key as the provider's card writes it.

    Raises:
        MalformedError: ``receiver.keys``; ``receiver.hashed``: plain keys, and the delivery is by hashed ones.
    """
    header, scores = opened.header, {row.unit: row for row in opened.rows}
    salt = unit_salt(header.unit, header.kinds, header.normaliser, header.contract.encode())
    width, asked, found = len(header.kinds), 0, set()
    lines = _read(keys, width)
    names = next(lines)
    written: list[Sequence[str]] = [[*names, "score"]]
    for parts in lines:
        asked += 1
        if header.salt_id and not all(map(is_hashed, parts)):
            # They would match nothing, and an empty answer would look like the truth.
            raise _plain(keys, asked, header)
        unit = unit_hash(salt, key_bytes(parts, header.kinds, header.normaliser))
        if unit in scores:
            found.add(unit)
            written.append([*parts, _text(scores[unit])])
    words = f"{len(written) - 1:,} of your {asked:,} keys have a row; {len(scores) - len(found):,} units match none"
    return _csv(written), words


def _plain(keys: Path, row: int, header: Header) -> MalformedError:
    return MalformedError(
        "receiver.hashed",
        f"row {row} of {keys} is a plain key, and the keys of this delivery were hashed when their table was sealed",
        clause=f"their salt is {header.salt_id}",
        next_step="hash your keys where that salt file is (`cloister unit-keys hash CARD KEYS --salt FILE --out FILE`)",
    )


def listed(opened: Opened) -> str:
    """Return the scores by unit hash as CSV."""
    return _csv([["unit", "score"], *([row.unit.hex(), _text(row)] for row in opened.rows)])


def write(path: Path, text: str) -> None:
    """Write scores to a file of the receiver's own (mode 0600), in place of one that is there.

    Raises:
        UnavailableError: ``receiver.out``.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UnavailableError(
            "receiver.out", f"{path} cannot be written: {error.strerror or error}", next_step="choose another file"
        ) from error


def _read(path: Path, width: int) -> Iterator[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MalformedError("receiver.keys", f"{path} is no readable CSV", next_step="UTF-8, comma") from error
    if not rows or any(len(row) < width for row in rows):
        raise MalformedError(
            "receiver.keys",
            f"{path} needs a header line and {width} key column(s) first",
            next_step="write the unit keys as the provider's data card does",
        )
    return iter([row[:width] for row in rows])


def _text(row: Row) -> str:
    return "" if row.score is None else text_of(row.score)


def _csv(rows: list[Sequence[str]]) -> str:
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\n").writerows(rows)
    return target.getvalue()


def read_contract(path: Path) -> Envelope:
    """Return a signed contract from a file; nothing of it is believed yet.

    Raises:
        ContractError: ``contract.file``.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Envelope)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContractError("contract.file", f"{path} is no signed contract", next_step="check the path") from error
