"""Canaries: unique values planted in data, searched for in everything that leaves.

A value is looked for as text (UTF-8, UTF-16 both ways, escaped as in JSON), as a number in memory (32 and 64 bits,
integer and float, both byte orders; dates as days and microseconds), and each of these again as hex and as base64
at its three offsets; in what zlib, gzip or zstd wrapped, in base64 and hex runs, and in JSON strings within JSON
strings, to a depth of five. What is encrypted is found only if it is not.

A 32-bit form turns up in random bytes by chance about once in 4 GB per canary: such a finding is not ``certain``.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import itertools
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

Value = int | float | str | bytes | dt.date
MAX_DEPTH = 5
MAX_INFLATED = 64 << 20
_EPOCH = dt.date(1970, 1, 1)
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_ZSTD = b"\x28\xb5\x2f\xfd"
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX_RUN = re.compile(rb"[0-9a-fA-F]{24,}")
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Finding:
    """One canary in one place: its name, the form it took, where, and whether chance is ruled out."""

    canary: str
    form: str
    where: str
    offset: int
    certain: bool


class Canaries:
    """Values to look for, under their names."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = dict(values)
        needles: dict[bytes, tuple[str, str, bool]] = {}
        for name, value in self.values.items():
            for form, data, certain in _forms(value):
                needles.setdefault(data, (name, form, certain))
        self._needles = needles
        self._longest = max(map(len, needles), default=0)
        self._by_anchor: dict[int, list[tuple[int, bytes]]] = {}
        for data in needles:
            position = _anchor(data)
            anchor = int.from_bytes(data[position : position + 4], "little")
            self._by_anchor.setdefault(anchor, []).append((position, data))
        self._anchors = np.array(sorted(self._by_anchor), dtype=np.uint32)
        self._first_two = np.zeros(1 << 16, dtype=bool)
        self._first_two[self._anchors & 0xFFFF] = True

    @classmethod
    def plant(cls, rng: random.Random, each: int = 4) -> Canaries:
        """Return ``each`` integers (31 bits), floats, strings (one of them not ASCII) and dates, none of them round."""
        values: dict[str, Value] = {}
        for index in range(each):
            values[f"int{index}"] = rng.randrange(1 << 29, 1 << 31) | 0x01010101
            values[f"float{index}"] = rng.uniform(1000, 9999)
            letters = "".join(rng.choice("bcdfghjkmnpqrstvwxz") for _ in range(14))
            values[f"text{index}"] = f"Kénar-{letters}" if index == 0 else f"canary-{letters}"
            values[f"date{index}"] = dt.date(rng.randrange(2300, 9000), rng.randrange(1, 13), rng.randrange(1, 29))
        return cls(values)

    def scan(self, blob: bytes, label: str) -> list[Finding]:
        """Return every canary found in ``blob``; ``label`` says in findings where it came from."""
        found: dict[tuple[str, str, str], Finding] = {}
        for finding in self._scan(bytes(blob), label, 0, set()):
            found.setdefault((finding.canary, finding.form, finding.where), finding)
        return list(found.values())

    def scan_memory(self, pid: int) -> list[Finding]:
        """Search the writable memory of a process, as it is; needs the right to read it.

        Raises:
            PermissionError: This process may not.
        """
        found: list[Finding] = []
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if match is None:
                    continue
                start, end = (int(bound, 16) for bound in match.groups())
                for position in range(start, end, _BLOCK):
                    try:
                        data = os.pread(memory.fileno(), min(_BLOCK + 512, end - position), position)
                    except OSError:
                        continue  # unmapped meanwhile
                    if data.count(0) < len(data):
                        found += self._search(data, f"memory of {pid}")
        return found

    def scan_files(self, folder: Path) -> list[Finding]:
        """Scan every regular file below ``folder``, and the file names."""
        found: list[Finding] = []
        for path in sorted(folder.rglob("*")):
            found += self.scan(str(path).encode(), f"name of {path}")
            if path.is_file() and not path.is_symlink():
                found += self.scan(path.read_bytes(), str(path))
        return found

    def _scan(self, blob: bytes, where: str, depth: int, seen: set[int]) -> Iterator[Finding]:
        key = hash(blob)
        if len(blob) < 4 or key in seen:
            return
        seen.add(key)
        yield from self._search(blob, where)
        if depth < MAX_DEPTH:
            for step, inner in _layers(blob):
                yield from self._scan(inner, f"{where} > {step}", depth + 1, seen)

    def _search(self, blob: bytes, where: str) -> Iterator[Finding]:
        longest = self._longest
        for start in range(0, len(blob), _BLOCK):
            first = max(0, start - longest)
            block = blob[first : start + _BLOCK + longest]
            for offset in self._candidates(block):
                for position, needle in self._by_anchor[int.from_bytes(block[offset : offset + 4], "little")]:
                    if offset >= position and block.startswith(needle, offset - position):
                        name, form, sure = self._needles[needle]
                        yield Finding(name, form, where, first + int(offset) - position, sure)

    def _candidates(self, block: bytes) -> np.ndarray:
        whole = np.frombuffer(block, dtype=np.uint8)
        pairs = whole[:-1].astype(np.uint16) | whole[1:].astype(np.uint16) << 8
        first = np.flatnonzero(self._first_two[pairs[:-2]])
        quads = pairs[first].astype(np.uint32) | pairs[first + 2].astype(np.uint32) << 16
        places = np.searchsorted(self._anchors, quads)
        return first[self._anchors[np.minimum(places, len(self._anchors) - 1)] == quads]


def _anchor(data: bytes) -> int:
    """Return where the four most telling bytes of a needle are: files are full of zeros."""
    spans = range(max(1, len(data) - 3))
    return max(spans, key=lambda at: (len(set(data[at : at + 4])), -data.count(0, at, at + 4)))


def _forms(value: Value) -> Iterator[tuple[str, bytes, bool]]:
    """Yield (form, bytes, certain) for one value, encodings included."""
    plain = [*((form, text.encode(), True) for form, text in _texts(value)), *_numbers(value)]
    if isinstance(value, bytes):
        plain.append(("bytes", value, len(value) > 4))
    for form, text in _texts(value):
        plain += [
            (f"{form} utf-16-le", text.encode("utf-16-le"), True),
            (f"{form} utf-16-be", text.encode("utf-16-be"), True),
        ]
    for form, data, certain in plain:
        yield form, data, certain
        yield f"hex of {form}", data.hex().encode(), True
        yield f"hex of {form}", data.hex().upper().encode(), True
        for offset, coded in enumerate(_base64_cores(data)):
            if len(coded) >= 4:
                yield f"base64+{offset} of {form}", coded, len(coded) > 6
                yield f"base64+{offset} of {form}", coded.replace(b"+", b"-").replace(b"/", b"_"), len(coded) > 6


def _texts(value: Value) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield "text", value
        escaped = json.dumps(value)[1:-1]
        if escaped != value:
            yield "json text", escaped
    elif isinstance(value, dt.date):
        yield "date", value.isoformat()
        yield "date", value.strftime("%Y%m%d")
        yield "date", value.strftime("%d/%m/%Y")
        yield "date", f"datetime.date({value.year}, {value.month}, {value.day})"
    elif isinstance(value, float):
        # shown with fewer digits it is still the value: seven are enough to know it by, whatever follows
        yield "float text", _first_digits(f"{value:.20f}")
        yield "float text", _first_digits(f"{value:.20e}")
        yield "float text", value.hex()
    elif isinstance(value, int):
        yield "int text", str(value)
        yield "int text", f"{value:,}"
        yield "int text", f"{value:_}"


def _first_digits(text: str, digits: int = 7) -> str:
    end = 0
    while end < len(text) and sum(letter.isdigit() for letter in text[:end].lstrip("-0.")) < digits:
        end += 1
    return text[:end]


def _numbers(value: Value) -> Iterator[tuple[str, bytes, bool]]:
    if isinstance(value, int):
        for order, name in (("<", "le"), (">", "be")):
            if -(1 << 31) <= value < 1 << 31:
                yield f"int32-{name}", struct.pack(order + "i", value), False
            yield f"int64-{name}", struct.pack(order + "q", value), True
            yield f"float64-{name}", struct.pack(order + "d", value), True
    elif isinstance(value, float):
        for order, name in (("<", "le"), (">", "be")):
            yield f"float64-{name}", struct.pack(order + "d", value), True
            yield f"float32-{name}", struct.pack(order + "f", value), False
    elif isinstance(value, dt.date):
        days = (value - _EPOCH).days
        yield "days int32-le", struct.pack("<i", days), False
        yield "days int64-le", struct.pack("<q", days), True
        for unit, scale in (("ms", 86_400_000), ("us", 86_400_000_000), ("ns", 86_400_000_000_000)):
            if days * scale < 1 << 63:
                yield f"{unit} int64-le", struct.pack("<q", days * scale), True
                yield f"{unit} text", str(days * scale).encode(), True


def _base64_cores(data: bytes) -> Iterator[bytes]:
    """Yield the part of the base64 text that does not depend on neighbours, for the three offsets."""
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + data)
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield coded[first:last]


def _layers(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what may be wrapped in ``blob``: decompressed, decoded, or strings of a JSON document."""
    yield from _inflated(blob)
    for match in _BASE64_RUN.finditer(blob):
        run = match.group().rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        for skip in range(min(4, len(run) - 12)):
            body = run[skip:]
            decoded = base64.b64decode(body[: len(body) & ~3] or b"")
            # at a wrong offset it is noise; only containers are worth opening, values are found by their cores
            if _holds_container(decoded):
                yield f"base64@{match.start() + skip}", decoded
    for match in _HEX_RUN.finditer(blob):
        for skip in range(2):
            body = match.group()[skip:]
            decoded = binascii.unhexlify(body[: len(body) & ~1])
            if _holds_container(decoded):
                yield f"hex@{match.start() + skip}", decoded
    yield from _json_strings(blob)


def _holds_container(data: bytes) -> bool:
    """Say whether ``data`` begins, up to a few stray bytes, like something that holds more."""
    head = data[:64]
    return data[:1] in {b"{", b"[", b'"'} or _ZLIB.search(head) is not None or _ZSTD in head


def _inflated(blob: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _ZLIB.finditer(blob):
        inflater = zlib.decompressobj(wbits=47)
        pieces: list[bytes] = []
        view = memoryview(blob)[match.start() :]
        try:
            for start in itertools.count(0, 4096):
                if start >= len(view) or inflater.eof or sum(map(len, pieces)) > MAX_INFLATED:
                    break
                pieces.append(inflater.decompress(view[start : start + 4096], MAX_INFLATED))
        except zlib.error:
            pass  # not compressed after all, or cut short: what came out is still looked at
        if any(pieces):
            yield f"inflate@{match.start()}", b"".join(pieces)
    start = blob.find(_ZSTD)
    while start >= 0:
        try:
            with pa.CompressedInputStream(pa.BufferReader(blob[start:]), "zstd") as stream:
                yield f"zstd@{start}", stream.read(MAX_INFLATED)
        except OSError:
            pass  # the four bytes were there by chance
        start = blob.find(_ZSTD, start + 4)


def _json_strings(blob: bytes) -> Iterator[tuple[str, bytes]]:
    if blob.lstrip()[:1] not in {b"{", b"[", b'"'} or (b"\\" not in blob and b'"' not in blob):
        return
    try:
        document = json.loads(blob)
    except (ValueError, RecursionError):
        return
    plain: list[str] = []
    for path, text in _strings(document, ""):
        if text[:1] in {"{", "[", '"'}:
            yield f"json{path}", text.encode("utf-8", "surrogatepass")
        plain.append(text)
    yield "json strings", "\n".join(plain).encode("utf-8", "surrogatepass")


def _strings(node: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, list):
        if len(node) > 4 and all(isinstance(item, int) and 0 <= item < 256 for item in node):
            yield f"{path}[bytes]", bytes(node).decode("latin-1")
        for index, item in enumerate(node):
            yield from _strings(item, f"{path}[{index}]")
    elif isinstance(node, dict):
        for name, item in node.items():
            yield f"{path} key", str(name)
            yield from _strings(item, f"{path}.{name}")


def certain(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are not a coincidence of four bytes."""
    return [finding for finding in findings if finding.certain]
