"""Introductions: a signature that is worth something on one connection, for one hello, of one party."""

from __future__ import annotations

import pytest

from cloister.attest.channel import RelyingParty
from cloister.attest.encoding import b64
from cloister.attest.introduction import (
    DOMAIN,
    MAX_INTRODUCTION,
    Introduction,
    introduce,
    is_introduced,
    new_challenge,
    parse_introduction,
)
from cloister.attest.opening import DOMAIN as OPENING
from cloister.wire.identity import SigningKey

ADA, BOB = (SigningKey.from_bytes(seed * 32) for seed in (b"a", b"b"))
CONTRACT = "sha256:" + "1" * 64
CHALLENGE = b64(bytes(range(32)))
HELLO = RelyingParty(ADA.did, CONTRACT).hello


def test_who_signs_hello_and_challenge_is_introduced() -> None:
    said = introduce(ADA, CHALLENGE, HELLO)
    assert len(said) <= MAX_INTRODUCTION
    assert is_introduced(parse_introduction(said), CHALLENGE, HELLO, ADA.did)


def test_an_introduction_counts_nowhere_else() -> None:
    said = parse_introduction(introduce(ADA, CHALLENGE, HELLO))
    assert new_challenge() != new_challenge()
    # Another connection (later, or at another enclave); another nonce, key or contract; another party.
    assert not is_introduced(said, new_challenge(), HELLO, ADA.did)
    assert not is_introduced(said, CHALLENGE, RelyingParty(ADA.did, CONTRACT).hello, ADA.did)
    assert not is_introduced(said, CHALLENGE, RelyingParty(ADA.did, "sha256:" + "2" * 64).hello, ADA.did)
    assert not is_introduced(said, CHALLENGE, HELLO, BOB.did)


def test_a_signature_made_for_something_else_introduces_nobody() -> None:
    message = bytes(range(32)) + HELLO
    for domain, fits in ((DOMAIN, True), (OPENING, False), ("cloister/introduction/v2", False)):
        said = Introduction(b64(ADA.sign(domain, message)))
        assert is_introduced(said, CHALLENGE, HELLO, ADA.did) is fits


@pytest.mark.parametrize("challenge", ["", "x", b64(b"short"), b64(b"x" * 33), CHALLENGE + "=", "é" * 44], ids=range(6))
def test_without_a_challenge_nobody_is_introduced(challenge: str) -> None:
    """An enclave of before, or an address where somebody writes nonsense: the hello goes alone."""
    assert introduce(ADA, challenge, HELLO) == b""
    said = parse_introduction(introduce(ADA, CHALLENGE, HELLO))
    assert not is_introduced(said, challenge, HELLO, ADA.did)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[" * 200, b'{"introduction":1}', b'{"introduction":"","more":1}', b" " * 1000, HELLO],
    ids=range(8),
)
def test_what_is_no_introduction_is_taken_for_a_hello(data: bytes) -> None:
    assert parse_introduction(data) is None


@pytest.mark.parametrize("text", ["", "x", "\\ud800", b64(b"x" * 63), b64(b"x" * 64), "é" * 88], ids=range(6))
def test_a_bad_introduction_is_nobodys(text: str) -> None:
    said = parse_introduction(b'{"introduction":"' + text.encode() + b'"}')
    assert not is_introduced(said, CHALLENGE, HELLO, ADA.did)


def test_its_bytes_are_fixed() -> None:
    """What other implementations have to produce (docs/protocol.md section 3); the key's seed is 32 times ``a``."""
    assert introduce(ADA, CHALLENGE, b"hello") == (
        b'{"introduction":"P3Z5QRwZRuqL9t8L2F7cxvBPfHMZFQCbbA6Dwg/6P7/MFteb3GvucobknuNc3y98aynxp9DO3Pz70SAar0+zCw=="}'
    )
