"""Parsers under arbitrary bytes: they answer or raise ``RejectedError`` with a code of the list, and nothing else."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator

import pytest
from intel_world import TCB, IntelWorld, raw_signature
from tee_world import DATA, vector

from cloister.attest.evidence import RejectedError
from cloister.attest.tee import (
    cbor,
    ccel,
    crl,
    dcap,
    intel_collateral,
    intel_pck,
    manifest,
    ratls,
    sgx,
    sgx_report,
    tdx,
    tdx_report,
    x509,
)
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import CODES
from cloister.errors import MalformedError

SEEDED = 20261128
# What a length, a count or a type most often is when it is wrong.
INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x30\x80",
    b"\x82\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"{",
    b'"',
)

Parser = Callable[[bytes], object]
_TDX, _SGX, _LOG, _RATLS = (
    vector(name) for name in ("tdx-phala-v4", "sgx-phala-v3", "tdx-google-cos113-ccel", "ratls-intel-sgxsdk")
)
_BUNDLE = json.loads(_TDX.endorsements[dcap.COLLATERAL])
_CERTIFICATE = x509.parse_pem(_BUNDLE["tcb_info_issuer_chain"].encode())[0]
_PCK = x509.parse(IntelWorld().pck)


def _signatures(data: bytes) -> object:
    return dcap.read_signatures(Cursor(data), dcap.Header(4, dcap.TDX_TEE))


def _pck(data: bytes) -> object:
    extensions = {intel_pck.SGX_EXTENSION: (False, data)}
    return intel_pck.platform_of(x509.msgspec.structs.replace(_PCK, extensions=extensions))


PARSERS: dict[str, tuple[Parser, bytes]] = {
    "certificate": (x509.parse, _CERTIFICATE.raw),
    "pem": (x509.parse_pem, _BUNDLE["tcb_info_issuer_chain"].encode()),
    "name": (x509.common_name, _CERTIFICATE.subject),
    "crl": (crl.parse, bytes.fromhex(_BUNDLE["root_ca_crl"])),
    "platform": (_pck, _PCK.extensions[intel_pck.SGX_EXTENSION][1]),
    "signatures": (_signatures, _TDX.blob[632:]),
    "sgx report": (sgx_report.parse, _SGX.blob[48:432]),
    "td report": (tdx_report.parse, _TDX.blob[48:632]),
    "event log": (ccel.parse, _LOG.endorsements["event_log"]),
    "cbor": (cbor.decode, cbor.decode(x509.parse_pem(_RATLS.blob)[0].extensions["2.23.133.5.4.9"][1]).value[1]),
    "sgx": (lambda data: sgx.examine(data, _SGX.endorsements, _SGX.roots, _SGX.now), _SGX.blob),
    "tdx": (lambda data: tdx.examine(data, _TDX.endorsements, _TDX.roots, _TDX.now), _TDX.blob),
    "collateral": (
        lambda data: tdx.examine(_TDX.blob, {dcap.COLLATERAL: data}, _TDX.roots, _TDX.now),
        _TDX.endorsements[dcap.COLLATERAL],
    ),
    "ratls": (lambda data: ratls.examine(data, {}, _RATLS.roots, _RATLS.now), _RATLS.blob),
}  # fmt: skip


def mutants(seed: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """Yield ``count`` mutants of ``seed``: bytes changed, put in, cut out, cut off, repeated, or random."""
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data) + 1)
            what = rng.randrange(7)
            if what == 0 and data:
                data[at % len(data)] = rng.randrange(256)
            elif what == 1:
                data[at:at] = rng.choice(INTERESTING)
            elif what == 2:
                data[at : at + 4] = rng.choice(INTERESTING)
            elif what == 3:
                del data[at : at + rng.randrange(1, 40)]
            elif what == 4:
                del data[at:]
            elif what == 5:
                data[at:at] = data[at : at + rng.randrange(1, 60)]
            else:
                data[at : at + 16] = rng.randbytes(rng.randrange(32))
        yield bytes(data)


def run(name: str, count: int, seed: int = SEEDED) -> dict[str, int]:
    """Parse mutants, and return how often each code was the answer; another exception is the test's failure."""
    parser, genuine = PARSERS[name]
    found: dict[str, int] = {}
    for data in mutants(genuine, count, random.Random(f"{seed} {name}")):
        try:
            parser(data)
            code = "accepted"
        except RejectedError as error:
            code = error.code
            assert code in CODES
        found[code] = found.get(code, 0) + 1
    return found


@pytest.mark.parametrize("name", PARSERS)
def test_no_foreign_exception(name: str) -> None:
    found = run(name, 150)
    # The seed parses, and a mutant of it mostly does not: else the fuzzer fuzzes nothing.
    PARSERS[name][0](PARSERS[name][1])
    assert found.get("accepted", 0) < 150


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARSERS)
def test_no_foreign_exception_in_a_million(name: str) -> None:
    count = 1_000_000 // len(PARSERS) + 1
    assert sum(run(name, count, seed=1).values()) == count


# --- behind the signatures: bodies that are signed, and still wrong


def signed_bodies(count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    world = IntelWorld()
    bodies = {"tcb_info": world.tcb_info(), "qe_identity": world.qe_identity()}
    odd: tuple[object, ...] = (None, -1, 2**70, 1.5, "", "zz", "00", [], {}, [[]], True, "\x00", "ÿ", [None], "9" * 40)

    def spoil(value: object) -> object:
        if isinstance(value, dict) and value and rng.random() < 0.9:
            name = rng.choice(sorted(value))
            return {**value, name: spoil(value[name])}
        if isinstance(value, list) and value and rng.random() < 0.9:
            at = rng.randrange(len(value))
            return [*value[:at], spoil(value[at]), *value[at + 1 :]]
        return rng.choice(odd)

    for _ in range(count):
        which = rng.choice(sorted(bodies))
        yield which, json.dumps(spoil(bodies[which]))


def examine_signed(count: int, seed: int) -> int:
    world = IntelWorld()
    quote, bundle = world.quote(), json.loads(world.collateral())
    rejected = 0
    for which, text in signed_bodies(count, random.Random(seed)):
        changed = {**bundle, which: text, f"{which}_signature": raw_signature(TCB, text.encode()).hex()}
        try:
            tdx.examine(quote, {dcap.COLLATERAL: json.dumps(changed).encode()}, world.roots, world.now)
        except RejectedError as error:
            assert error.code in CODES
            rejected += 1
    return rejected


def test_signed_nonsense_is_refused_in_words() -> None:
    assert examine_signed(120, SEEDED) > 60


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_much_signed_nonsense_is_refused_in_words() -> None:
    assert examine_signed(50_000, 1) > 30_000


def test_a_manifest_of_any_bytes_is_refused_in_words() -> None:
    genuine = (DATA / "MANIFEST.json").read_bytes()[:4000]
    for data in mutants(genuine, 200, random.Random(SEEDED)):
        with pytest.raises(MalformedError):
            manifest.parse(data)


# --- DER and PEM have one spelling


@pytest.mark.parametrize(
    "data",
    [
        "",
        "30",
        "3080020100",
        "0000",
        "1f8101",
        "02810101",
        "0282000101",
        "028400000001" + "01",
        "0285000000000101",
        "0202",
        "02020001",
        "0202ff80",
        "0200",
    ],
)
def test_der_integers_that_are_none(data: str) -> None:
    with pytest.raises(RejectedError):
        x509.Der(bytes.fromhex(data)).integer()


@pytest.mark.parametrize(("data", "value"), [("020100", 0), ("02017f", 127), ("02020080", 128), ("0201ff", -1)])
def test_der_integers(data: str, value: int) -> None:
    assert x509.Der(bytes.fromhex(data)).integer() == value


@pytest.mark.parametrize("data", ["0600", "060180", "06028001", "06032a8001", "0602ff", "06022a80"])
def test_object_identifiers_that_are_none(data: str) -> None:
    with pytest.raises(RejectedError):
        x509.Der(bytes.fromhex(data)).oid()


@pytest.mark.parametrize(
    "text", ["170d3235313330313030303030305a", "170c32353130313030303030305a", "170d32353031303130303030302b5a",
             "180f32303235303130313030303030305a00", "180d3235303130313030303030305a", "0401ff"],
)  # fmt: skip
def test_times_that_are_none(text: str) -> None:
    reader = x509.Der(bytes.fromhex(text))
    with pytest.raises(RejectedError):
        reader.time()
        reader.end()


def test_pem_has_one_spelling() -> None:
    text = _BUNDLE["tcb_info_issuer_chain"]
    whole = x509.parse_pem(text.encode())
    assert x509.parse_pem(text.replace("\n", "\r\n").encode()) == whole
    assert x509.parse_pem(text.encode() + b"\0") == whole
    first, rest = text.split("\n", 2)[1:]
    for other in (
        "x" + text,
        text + "x",
        "\n" + text,
        text.replace("\n", " \n", 3),
        text.replace("\n", "\n\n", 1),
        text.replace("\n", "\r\n", 1),
        text.replace(first + "\n" + rest, first + rest),
        text.replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE"),
        text * 5,
        "",
        "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"x" * 30).decode() + "\n-----END CERTIFICATE-----\n",
    ):
        with pytest.raises(RejectedError):
            x509.parse_pem(other.encode())


def test_hex_has_no_spaces() -> None:
    assert intel_collateral.unhex("0aFF") == b"\x0a\xff"
    for text in ("0", "0 ", "0x", " 0", "0_", "٠٠", "zz"):
        with pytest.raises(RejectedError):
            intel_collateral.unhex(text)
