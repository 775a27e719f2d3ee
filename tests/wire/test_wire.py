"""Canonical JSON, frames, identities and envelopes: what everything else signs and parses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError, SignatureError
from cloister.wire import canonical, envelope, frames, identity

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())
KEY = identity.SigningKey.from_bytes(bytes(range(32)))
OTHER = identity.SigningKey.from_bytes(bytes(range(1, 33)))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@pytest.mark.parametrize("vector", VECTORS["canonical"], ids=lambda v: v["name"])
def test_canonical_vectors(vector):
    assert canonical.encode(vector["value"]).decode() == vector["bytes"]
    assert canonical.digest(vector["value"]) == vector["digest"]


@given(json_values)
def test_canonical_bytes_are_json_and_stable(value):
    data = canonical.encode(value)
    assert json.loads(data) == value
    assert canonical.encode(json.loads(data)) == data


def test_member_order_is_utf16_as_rfc_8785_says():
    # U+1F600 sorts before U+FB33 by UTF-16 code unit, after it by code point.
    assert canonical.encode({"\ufb33": 1, "\U0001f600": 2}).decode().index("\U0001f600") == 2


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53 + 1, {1: 2}, b"x", {"a": {"b": 0.1}}, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(MalformedError):
        canonical.encode(value)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["name"])
def test_frame_vectors(vector):
    parts = [bytes.fromhex(part) for part in vector["parts"]]
    data = bytes.fromhex(vector["bytes"])
    assert frames.encode(vector["kind"], *parts) == data
    assert frames.decode(data) == (vector["kind"], tuple(parts))


@given(st.lists(st.tuples(st.integers(0, 255), st.lists(st.binary(max_size=50), max_size=5)), max_size=5), st.data())
def test_frames_survive_any_cut_of_the_stream(messages, data):
    stream = b"".join(frames.encode(kind, *parts) for kind, parts in messages)
    decoder = frames.Decoder()
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert found == [(kind, tuple(parts)) for kind, parts in messages]
    assert decoder.pending == 0


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_pending_and_never_crashes(data):
    try:
        for frame in frames.Decoder(limit=4096).feed(data):
            assert isinstance(frame.kind, int)
    except MalformedError:
        pass


def test_oversized_frame_is_refused_before_it_arrives():
    with pytest.raises(MalformedError, match=r"frame\.size"):
        list(frames.Decoder(limit=1000).feed((1001).to_bytes(4, "big") + bytes(3)))


def test_bytes_after_the_last_part_are_refused():
    good = bytearray(frames.encode(1, b"ab"))
    good[3] += 1
    with pytest.raises(MalformedError, match=r"frame\.shape"):
        list(frames.Decoder().feed(bytes(good) + b"x"))


@pytest.mark.parametrize("vector", VECTORS["identities"], ids=lambda v: v["did"])
def test_identity_vectors(vector):
    key = identity.SigningKey.from_bytes(bytes.fromhex(vector["seed"]))
    assert key.did == vector["did"]
    assert key.sign(vector["domain"], vector["message"].encode()).hex() == vector["signature"]
    identity.verify(key.did, vector["domain"], vector["message"].encode(), bytes.fromhex(vector["signature"]))


def test_a_signature_is_worthless_in_another_domain_or_by_another_key():
    signature = KEY.sign("a", b"m")
    for did, domain, message in ((KEY.did, "b", b"m"), (OTHER.did, "a", b"m"), (KEY.did, "a", b"n")):
        with pytest.raises(SignatureError):
            identity.verify(did, domain, message, signature)


@pytest.mark.parametrize(
    "did", ["", "did:key:z", "did:web:x", KEY.did + "1", KEY.did[:-1], "did:key:z0OIl", "did:key:z1" + KEY.did[9:]]
)
def test_only_the_canonical_spelling_names_a_key(did):
    with pytest.raises(MalformedError):
        identity.public_from_did(did)


def test_envelope_names_who_must_have_signed():
    both = envelope.add_signature(envelope.seal("t", b"body", KEY), OTHER)
    assert envelope.open_envelope(both, "t", KEY.did, OTHER.did) == b"body"
    with pytest.raises(SignatureError, match=r"signature\.missing"):
        envelope.open_envelope(envelope.seal("t", b"body", KEY), "t", KEY.did, OTHER.did)
    with pytest.raises(SignatureError, match=r"signature\.type"):
        envelope.open_envelope(both, "u", KEY.did)
    with pytest.raises(SignatureError, match=r"signature\.nobody"):
        envelope.open_envelope(both, "t")


def test_envelope_with_another_body_or_type_does_not_open():
    sealed = envelope.seal("t", b"body", KEY)
    forged = envelope.Envelope("t", envelope.seal("t", b"evil", OTHER).payload, sealed.signatures)
    with pytest.raises(SignatureError):
        envelope.open_envelope(forged, "t", KEY.did)
    retyped = envelope.Envelope("u", sealed.payload, sealed.signatures)
    with pytest.raises(SignatureError):
        envelope.open_envelope(retyped, "u", KEY.did)


def test_two_signatures_of_one_signer_are_refused():
    sealed = envelope.seal("t", b"body", KEY)
    doubled = envelope.Envelope("t", sealed.payload, sealed.signatures * 2)
    with pytest.raises(SignatureError):
        envelope.open_envelope(doubled, "t", KEY.did)
