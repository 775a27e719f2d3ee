"""A planted leak of each kind is found; random data holds none."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from canaries import Canaries, Finding, certain

CANARIES = Canaries.plant(random.Random(20261121))
NOISE = random.Random(1).randbytes(5000)


def buried(leak: bytes, shift: int = 0) -> bytes:
    return NOISE[: 2000 + shift] + leak + NOISE[2000:]


def names(blob: bytes) -> set[str]:
    return {finding.canary for finding in CANARIES.scan(blob, "test")}


def spelled(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.date) else repr(value) if isinstance(value, float) else str(value)


TEXTUAL: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "utf-16 with mark": lambda text: text.encode("utf-16"),
    "hex": lambda text: text.encode().hex().encode(),
    "HEX": lambda text: text.encode().hex().upper().encode(),
    "base64+0": lambda text: base64.b64encode(text.encode()),
    "base64+1": lambda text: base64.b64encode(b"x" + text.encode()),
    "base64+2": lambda text: base64.b64encode(b"xy" + text.encode()),
    "base64url": lambda text: base64.urlsafe_b64encode(b"\xff\xfe\xfd" + text.encode()),
    "base64 of utf-16": lambda text: base64.b64encode(b"?" + text.encode("utf-16-le")),
    "zlib": lambda text: zlib.compress(b"before " + text.encode()),
    "zlib, best": lambda text: zlib.compress(text.encode() * 3, 9),
    "zlib, none": lambda text: zlib.compress(text.encode(), 0),
    "gzip": lambda text: gzip.compress(b"a" * 9000 + text.encode()),
    "zstd": lambda text: bytes(pa.compress(b"a" * 900 + text.encode(), "zstd", asbytes=True)),
    "gzip in base64": lambda text: base64.b64encode(gzip.compress(text.encode())),
    "base64 in gzip in hex": lambda text: gzip.compress(base64.b64encode(text.encode())).hex().encode(),
}


@pytest.mark.parametrize("name", CANARIES.values)
@pytest.mark.parametrize("form", TEXTUAL)
def test_text_is_found(form: str, name: str) -> None:
    leak = TEXTUAL[form](spelled(CANARIES.values[name]))
    for shift in range(3):
        assert name in names(buried(leak, shift))


@pytest.mark.parametrize("name", CANARIES.values)
@pytest.mark.parametrize("wrap", ["plain", "hex", "base64", "zlib"])
def test_numbers_in_memory_are_found(name: str, wrap: str) -> None:
    value = CANARIES.values[name]
    formats: list[bytes]
    if isinstance(value, int):
        formats = [
            struct.pack("<i", value),
            struct.pack("<q", value),
            struct.pack(">q", value),
            struct.pack("<d", value),
        ]
    elif isinstance(value, float):
        formats = [struct.pack("<f", value), struct.pack("<d", value), struct.pack(">d", value)]
    elif isinstance(value, dt.date):
        days = (value - dt.date(1970, 1, 1)).days
        formats = [struct.pack("<i", days), struct.pack("<q", days * 86_400_000)]
    else:
        formats = [value.encode("utf-8") if isinstance(value, str) else value]
    wrappers: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes, "hex": lambda data: data.hex().encode(), "base64": base64.b64encode, "zlib": zlib.compress,
    }  # fmt: skip
    for data in formats:
        for shift in range(4):
            assert name in names(buried(wrappers[wrap](data), shift))


@pytest.mark.parametrize("name", CANARIES.values)
def test_json_within_json_within_json(name: str) -> None:
    inner = json.dumps({"deep": [1, spelled(CANARIES.values[name])]})
    outer = json.dumps({"content": {"data": json.dumps({"text/plain": inner})}})
    assert name in names(outer.encode())
    assert name in names(json.dumps({"blob": base64.b64encode(gzip.compress(outer.encode())).decode()}).encode())


def test_letters_escaped_one_by_one_are_found() -> None:
    text = str(CANARIES.values["text1"])
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in text)
    assert "text1" in names(f'{{"a": "{escaped}"}}'.encode())


def test_bytes_listed_as_numbers_are_found() -> None:
    assert "text2" in names(json.dumps({"buffers": list(str(CANARIES.values["text2"]).encode())}).encode())


def test_a_column_of_an_arrow_or_parquet_file_is_found(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pa.table({name: [value] * 2 for name, value in CANARIES.values.items()})
    for compression in ("none", "zstd", "gzip"):
        pq.write_table(table, tmp_path / "t.parquet", compression=compression)
        found = {finding.canary for finding in CANARIES.scan_files(tmp_path)}
        assert found == set(CANARIES.values)


def test_a_truncated_stream_still_tells() -> None:
    leak = gzip.compress(str(CANARIES.values["text3"]).encode() + NOISE)[:-40]
    assert "text3" in names(buried(leak))


def test_shorter_floats_are_found() -> None:
    value = CANARIES.values["float0"]
    assert "float0" in names(f"mean = {value:.10g}".encode())
    assert "float0" in names(f"{value:.5f}".encode())


def test_across_the_edge_of_a_block() -> None:
    text = str(CANARIES.values["text1"]).encode()
    for cut in range(1, len(text), 3):
        blob = bytes((1 << 22) - cut) + text + bytes(100)
        assert "text1" in names(blob)


def test_findings_say_what_and_where() -> None:
    text = str(CANARIES.values["text1"]).encode()
    assert CANARIES.scan(b"0123" + text, "stdout") == [Finding("text1", "text", "stdout", 4, True)]
    nested = CANARIES.scan(b"__" + gzip.compress(text), "wire/7")
    assert [finding.where for finding in nested] == ["wire/7 > inflate@2"]


def test_ordinary_output_is_silent() -> None:
    text = json.dumps([{"count": n, "mean": n / 7, "when": f"2024-05-{n % 28 + 1:02}"} for n in range(20000)]).encode()
    assert CANARIES.scan(text, "json") == []
    assert CANARIES.scan(base64.b64encode(zlib.compress(text)), "packed") == []
    assert CANARIES.scan(b"", "nothing") == CANARIES.scan(b"\0" * 100000, "zeros") == []


def test_fifty_megabytes_of_noise_hold_nothing_certain() -> None:
    blob = random.Random(2).randbytes(50 << 20)
    started = time.monotonic()
    found = CANARIES.scan(blob, "noise")
    elapsed_s = time.monotonic() - started
    assert certain(found) == []
    assert len(found) <= 3
    assert elapsed_s < 60  # 8 s on two shared cores
    assert CANARIES.scan(blob[: 40 << 20] + str(CANARIES.values["text0"]).encode() + blob[40 << 20 :], "noise")
