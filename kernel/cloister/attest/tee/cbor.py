"""A strict reader of the CBOR that evidence uses (RFC 8949, a subset of its core deterministic encoding).

Known: integers of at most 64 bits, byte and text strings, arrays, maps with integer or text keys, tags, booleans, null.
Refused: indefinite lengths, lengths or numbers not in their shortest form, duplicate keys, floats, other simple values,
bytes after the item, more than ``MAX_DEPTH`` levels or ``MAX_ITEMS`` items. A general decoder (cbor2) gives meaning to
tags we never want (dates, regular expressions, shared references) and reads longer spellings of the same item; one
spelling per document leaves less to disagree about, and the subset is short enough to read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.codes import rejected

MAX_DEPTH = 8
MAX_ITEMS = 4096
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES = {20: False, 21: True, 22: None}


class Tag(NamedTuple):
    """A tagged item; no tag has a meaning here, the caller says which one it expects."""

    number: int
    value: Any


def decode(data: bytes) -> Any:
    """Return the one item that ``data`` is.

    Raises:
        RejectedError: ``evidence.malformed`` (not in the subset, or followed by something) or ``evidence.truncated``.
    """
    reader = _Reader(data)
    item = reader.item(0)
    if reader.offset != len(data):
        raise _malformed("bytes follow the CBOR item")
    return item


def encode_head(major: int, number: int) -> bytes:
    """Return the shortest head of ``major`` type (0..7) with argument ``number`` (0..2^64-1)."""
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | 24 + size.bit_length() - 1]) + number.to_bytes(size, "big")


def encode_bytes(data: bytes) -> bytes:
    """Return ``data`` as a CBOR byte string."""
    return encode_head(_BYTES, len(data)) + data


def encode_text(text: str) -> bytes:
    """Return ``text`` as a CBOR text string."""
    data = text.encode()
    return encode_head(_TEXT, len(data)) + data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0
        self.offset = 0

    def item(self, depth: int) -> Any:
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise _malformed("CBOR nested too deeply or of too many items")
        major, number = self._head()
        if major == _UNSIGNED:
            return number
        if major == _NEGATIVE:
            return -1 - number
        if major == _BYTES:
            return self._take(number)
        if major == _TEXT:
            return self._text(number)
        # A count beyond what is left ends at the first item that is not there: nothing is made of it before.
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in range(number)]
        if major == _MAP:
            return self._map(number, depth)
        if major == _TAG:
            return Tag(number, self.item(depth + 1))
        if number not in _SIMPLE_VALUES:
            raise _malformed("a CBOR float or simple value that evidence does not use")
        return _SIMPLE_VALUES[number]

    def _map(self, count: int, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        for _ in range(count):
            key = self.item(depth + 1)
            if not isinstance(key, int | str) or isinstance(key, bool):
                raise _malformed("a CBOR map key that is neither an integer nor text")
            if key in found:
                raise _malformed("a CBOR map names one key twice")
            found[key] = self.item(depth + 1)
        return found

    def _head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        major, short = first >> 5, first & 0x1F
        if short < 24:
            return major, short
        # 24..27: one, two, four or eight bytes follow. 28..30 are reserved, 31 is an indefinite length; under major
        # type 7 the longer forms are floats and rare simple values.
        if short > 27 or major == _SIMPLE:
            raise _malformed("a CBOR length that is indefinite or reserved, or a float")
        size = 1 << short - 24
        number = int.from_bytes(self._take(size), "big")
        if number < 24 or (size > 1 and number < 1 << 4 * size):
            raise _malformed("a CBOR number that is not in its shortest form")
        return major, number

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise _malformed("a CBOR text that is not UTF-8") from error

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.offset:
            raise rejected("evidence.truncated", "CBOR ends in the middle of an item")
        start, self.offset = self.offset, self.offset + size
        return self._data[start : self.offset]


def _malformed(reason: str) -> RejectedError:
    return rejected("evidence.malformed", reason)
