"""The auditor's export: every log of a broker as JSON lines, with the documents it takes to check them offline.

    {"checkpoint": ..., "contracts": [...], "admissions": [...], "kind": "cloister-audit", "version": 1}
    {"log": "", "size": n}                    the event log: n lines, each the canonical bytes of an event,
    ...                                       or "<hex>", the leaf hash of one whose body was purged after its retention
    {"log": "clinic.patients", "size": m}     an account: m lines, each the canonical bytes of an entry
    ...

It holds no key, no data, no sealed receipt and no result: whoever may read it still learns nothing that was released.
Pure: lines in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import msgspec

from cloister.errors import MalformedError
from cloister.receipt import log
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

KIND: Literal["cloister-audit"] = "cloister-audit"
MAX_LINE = 64 * 2**20
_T = TypeVar("_T", bound=msgspec.Struct)
_HASH_LINE = 66  # 64 hexadecimal digits in quotation marks


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: the signed checkpoint of all logs, the contracts, and the admissions of the vaults.

    ``succession`` are the statements by which the broker's key followed earlier ones (``receipt.succession``).
    """

    checkpoint: Envelope
    contracts: tuple[Envelope, ...]
    admissions: tuple[Envelope, ...]
    succession: tuple[Envelope, ...] = ()
    kind: Literal["cloister-audit"] = KIND
    version: Literal[1] = 1


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line before a log: its population (empty: the event log) and how many lines follow."""

    log: str
    size: int


class Leaf(msgspec.Struct, frozen=True):
    """One line of a log: the leaf's hash, and its bytes unless they were purged."""

    digest: bytes
    body: bytes | None


def write_header(header: Header) -> bytes:
    """Return the first line."""
    return canonical.encode(header) + b"\n"


def write_section(name: str, size: int) -> bytes:
    """Return the line before a log."""
    return canonical.encode(Section(name, size)) + b"\n"


def write_leaf(digest: bytes, body: bytes | None) -> bytes:
    """Return the line of an entry or event."""
    return (b'"%b"' % digest.hex().encode() if body is None else body) + b"\n"


def read_header(lines: Iterator[bytes]) -> Header:
    """Return the first line of an export.

    Raises:
        MalformedError: ``export.malformed``.
    """
    return _decode(next(lines, b""), Header)


def read_sections(lines: Iterator[bytes]) -> Iterator[tuple[Section, Iterator[Leaf]]]:
    """Yield the logs of an export, each with its leaves (to be read before the next log).

    Raises:
        MalformedError: ``export.malformed``: a line that is none, or a log cut short.
    """
    for line in lines:
        section = _decode(line, Section)
        rest = _leaves(section, lines)
        yield section, rest
        for _ in rest:  # what the reader left
            pass


def _leaves(section: Section, lines: Iterable[bytes]) -> Iterator[Leaf]:
    if section.size < 0:
        raise _malformed("a log of a negative size")
    left = section.size
    if not left:
        return
    for line in lines:
        text = line.rstrip(b"\n")
        if text[:1] == b'"':
            yield Leaf(_purged(text), None)
        else:
            yield Leaf(log.leaf_hash(text), text)
        left -= 1
        if not left:
            return
    raise _malformed(f"the log {section.log or 'of events'} is cut short: {left} lines are missing")


def _purged(text: bytes) -> bytes:
    try:
        if len(text) == _HASH_LINE and text[-1:] == b'"':
            return bytes.fromhex(text[1:-1].decode("ascii"))
    except ValueError:
        pass
    raise _malformed("a line that is neither an entry nor a hash")


def _decode(line: bytes, kind: type[_T]) -> _T:
    if len(line) > MAX_LINE:
        raise _malformed("a line is too long")
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"not a line of an export: {error}") from error


def _malformed(reason: str) -> MalformedError:
    return MalformedError("export.malformed", reason, next_step="ask the broker for the export again")
