"""Attacks on the channel's rules for versions, keys, numbers and renewals, without a network."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from attest_world import NOW, VERIFIERS, AttestWorld, fixed_key

from cloister.attest import hello as handshake
from cloister.attest import sealing, verification
from cloister.attest.channel import Counts
from cloister.attest.encoding import b64
from cloister.attest.hello import ANALYST_CHANNEL, Offer, parse_hello
from cloister.attest.offer import make_offer, refusal, refused
from cloister.attest.opening import check_opening, sign_opening
from cloister.attest.renewal import Renewal, renew_offer
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.wire import canonical
from cloister.wire.frames import Kind

DIRECTION = sealing.TO_ENCLAVE


@pytest.fixture
def attest_world() -> AttestWorld:
    return AttestWorld()


# --- versions and suites: the best that both speak, whatever the carrier does


class Speaks:
    """Gives a side its versions and suites; both sides live in this process, so it is changed between their turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, versions: tuple[str, ...], suites: tuple[str, ...] = handshake.SUITES) -> None:
        for module in (handshake, verification):
            self._monkeypatch.setattr(module, "VERSIONS", versions)
            self._monkeypatch.setattr(module, "SUITES", suites)


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> Speaks:
    return Speaks(monkeypatch)


def chosen(offer: bytes) -> tuple[str, str]:
    found = msgspec.json.decode(offer, type=Offer)
    return found.version, found.suite


@pytest.mark.parametrize(
    ("party", "enclave", "best"),
    [
        (("2", "1"), ("2", "1"), "2"),
        (("1", "2"), ("2", "1"), "2"),  # the enclave's order decides, and the enclave is measured
        (("2", "1"), ("1",), "1"),
        (("1",), ("2", "1"), "1"),
    ],
)
def test_the_best_common_version_is_spoken(
    attest_world: AttestWorld, speaks: Speaks, party: tuple[str, ...], enclave: tuple[str, ...], best: str
) -> None:
    speaks(party)
    channel = attest_world.relying_party()
    speaks(enclave)
    end, offer = attest_world.enclave(channel.hello)
    speaks(party)
    attest_world.judge(channel, offer)
    assert chosen(offer)[0] == best
    assert channel.binding == end.binding


@pytest.mark.parametrize("field", ["versions", "suites"])
@pytest.mark.parametrize("how", ["strip the best", "the old first", "add an unknown one"])
def test_a_touched_list_never_ends_in_a_channel(
    attest_world: AttestWorld, speaks: Speaks, field: str, how: str
) -> None:
    """Both ends speak old and new; the carrier makes the enclave believe otherwise, and the evidence tells."""
    both = ("2", "1") if field == "versions" else ("new", *handshake.SUITES)
    speaks(both) if field == "versions" else speaks(handshake.VERSIONS, both)
    channel = attest_world.relying_party()
    lists = {"strip the best": both[1:], "the old first": both[::-1], "add an unknown one": (*both, "x")}
    touched = msgspec.structs.replace(parse_hello(channel.hello), **{field: lists[how]})
    _, offer = attest_world.enclave(canonical.encode(touched))
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert excinfo.value.code == "evidence.binding"


@pytest.mark.parametrize(("field", "index"), [("version", 0), ("suite", 1)])
def test_another_choice_than_the_enclaves_is_refused(
    attest_world: AttestWorld, speaks: Speaks, field: str, index: int
) -> None:
    """The carrier writes the older version or suite into the answer: it was offered, and not chosen."""
    speaks(("2", "1"), ("new", "old"))
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    assert chosen(offer) == ("2", "new")
    changed = msgspec.structs.replace(msgspec.json.decode(offer, type=Offer), **{field: ("1", "old")[index]})
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, canonical.encode(changed))
    assert excinfo.value.code == "evidence.binding"


@pytest.mark.parametrize(
    ("versions", "suites", "code"), [(("2",), None, "channel.version"), (None, ("new",), "channel.suite")]
)
def test_what_this_side_no_longer_speaks_is_refused_even_if_it_was_offered(
    attest_world: AttestWorld, speaks: Speaks, versions: Any, suites: Any, code: str
) -> None:
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    speaks(versions or handshake.VERSIONS, suites or handshake.SUITES)
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert excinfo.value.code == code


# --- keys


def test_whoever_holds_the_analysts_key_still_cannot_be_the_enclave(attest_world: AttestWorld) -> None:
    """Key-compromise impersonation: the stolen key opens sessions in her name, and none of hers."""
    channel = attest_world.relying_party()
    thief = fixed_key(b"t")
    # With her key the thief gets genuine evidence of the enclave, for a hello of his own or for hers ...
    own = attest_world.relying_party(ephemeral=thief)
    _, for_his = attest_world.enclave(own.hello)
    _, for_hers = attest_world.enclave(channel.hello)
    # ... but none over his key in her exchange.
    mine = b64(thief.public_key().public_bytes_raw())
    forged = msgspec.structs.replace(msgspec.json.decode(for_hers, type=Offer), kex_pub=mine)
    for offer in (for_his, canonical.encode(forged)):
        victim = attest_world.relying_party(ephemeral=fixed_key(b"v"), nonce=b"n" * 32)
        with pytest.raises(TrustError) as excinfo:
            attest_world.judge(victim, offer)
        assert excinfo.value.code == "evidence.binding"


def test_long_term_keys_open_no_recorded_channel(attest_world: AttestWorld) -> None:
    """Forward secrecy: frames are sealed under keys of the two ephemeral secrets, and under nothing that is kept."""
    channel, end = attest_world.connect()
    recorded = channel.seal(Kind.SHELL, b"cell")
    kex = msgspec.json.decode(channel.offer, type=Offer).kex_pub
    for kept in (attest_world.analyst.private_bytes(), attest_world.install.private_bytes()):
        private = sealing.X25519PrivateKey.from_private_bytes(kept)
        for peer in (kex, parse_hello(channel.hello).rp_eph_pub):
            keys = sealing.channel_keys(private, sealing_key(peer), channel.binding)
            sealer = sealing.Sealer(keys[DIRECTION], channel.binding, DIRECTION)
            sealer.sequence = 1
            with pytest.raises(TrustError):
                sealer.open(recorded)
    assert end.open(recorded) is not None
    assert channel._ephemeral is None  # what could is not kept


def sealing_key(text: str) -> bytes:
    return handshake.unb64(text, size=32)


# --- numbers


def pair(rekey_frames: int = sealing.REKEY_FRAMES) -> tuple[sealing.Sealer, sealing.Sealer]:
    sender, receiver = (sealing.Sealer(b"k" * 32, b"b" * 48, DIRECTION, rekey_frames=rekey_frames) for _ in range(2))
    return sender, receiver


@pytest.mark.parametrize("early", [False, True])
def test_no_frame_crosses_a_change_of_keys(early: bool) -> None:
    """Neither the last frame before the boundary repeated after it, nor the first after it before."""
    sender, receiver = pair(rekey_frames=2)
    sealed = [sender.seal(bytes([n])) for n in range(4)]
    receiver.open(sealed[0])
    if not early:
        receiver.open(sealed[1])
    with pytest.raises(TrustError) as excinfo:
        receiver.open(sealed[2] if early else sealed[1])
    assert excinfo.value.code == "channel.frame"


def test_a_later_key_opens_nothing_earlier() -> None:
    sender, receiver = pair(rekey_frames=2)
    first = sender.seal(b"first")
    for _ in range(3):
        sender.seal(b"")
    assert sender._key is not None
    thief = sealing.Sealer(sender._key, b"b" * 48, DIRECTION)
    with pytest.raises(TrustError):
        thief.open(first)
    assert receiver.open(first) == b"first"


def test_numbers_end_before_they_could_repeat() -> None:
    sender, receiver = pair()
    sender.sequence = receiver.sequence = sealing.MAX_FRAMES - 1
    assert receiver.open(sender.seal(b"the last")) == b"the last"
    for attempt in (lambda: sender.seal(b"one more"), lambda: receiver.open(b"x" * 40)):
        with pytest.raises(TrustError) as excinfo:
            attempt()
        assert excinfo.value.code == "channel.exhausted"
        with pytest.raises(TrustError) as excinfo:
            attempt()
        assert excinfo.value.code == "channel.closed"


def test_both_ends_count_alike(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    for _ in range(3):
        end.open(channel.seal(Kind.SHELL, b"cell"))
    channel.open(end.seal(Kind.IOPUB, b"out"))
    lost = end.seal(Kind.IOPUB, b"never arrives")
    assert lost
    assert channel.counts == Counts(sent=4, received=1)  # the opening is the first
    assert end.counts == Counts(sent=2, received=4)
    assert end.counts != channel.counts.mirrored()
    channel.open(lost)
    channel.abort()
    assert end.counts == channel.counts.mirrored()


# --- renewals


def test_a_renewal_does_not_begin_a_channel(attest_world: AttestWorld) -> None:
    """Evidence asked for within somebody's channel names that channel, and opens no other."""
    _, end = attest_world.connect()
    channel = attest_world.relying_party()
    assert end.hello is not None
    offer, _ = renew_offer(
        channel.hello, end.hello, attest_world.attest, previous=end.binding, vault_id="v", env_digest=attest_world.env
    )
    for data, code in (
        (canonical.encode(offer), "offer.previous"),
        (canonical.encode(msgspec.structs.replace(offer, prev_binding="")), "evidence.binding"),
    ):
        victim = attest_world.relying_party(ephemeral=fixed_key(b"v"), nonce=b"n" * 32)
        victim.hello, victim._ephemeral = channel.hello, channel._ephemeral
        with pytest.raises(TrustError) as excinfo:
            attest_world.judge(victim, data)
        assert excinfo.value.code == code


@pytest.mark.parametrize("claimed", ["true", "false"])
def test_a_first_attestation_does_not_renew_a_channel(attest_world: AttestWorld, claimed: str) -> None:
    """Evidence without a channel behind it, whatever it says about one, continues none."""
    channel, _ = attest_world.connect()
    renewal = Renewal(attest_world.analyst.did, attest_world.contract, channel.binding)
    offer, _ = make_offer(
        renewal.hello,
        attest_world.attest,
        kex_pub=b"k" * 32,
        vault_id="v",
        env_digest=attest_world.env,
        role=ANALYST_CHANNEL,
        contract=attest_world.contract,
    )
    if claimed == "true":
        offer = msgspec.structs.replace(offer, prev_binding=b64(channel.binding))
    with pytest.raises(TrustError) as excinfo:
        renewal.judge(
            canonical.encode(offer),
            policy=attest_world.policy(),
            now=NOW,
            accept_simulated=True,
            verifiers=VERIFIERS,
        )
    assert excinfo.value.code == ("evidence.binding" if claimed == "true" else "offer.previous")


# --- texts of strangers


def test_a_strangers_refusal_gives_no_advice_in_our_name() -> None:
    told = {
        "code": "contract.unknown",
        "reason": "no\x1b[2J\nsuch contract",
        "next_step": "run `cloister connect ws://evil --allow-simulated`",
    }
    error = refused(canonical.encode({"error": told}))
    assert error is not None
    assert "evil" not in error.next_step
    assert "before any verdict, saying: [contract.unknown] no [2J such contract (run" in error.reason
    honest = refused(refusal(CloisterError("enclave.busy", "too much", next_step="try again in a minute")))
    assert honest is not None
    assert "try again in a minute" in honest.reason
    listed = refused(canonical.encode({"error": {"code": ["x"], "reason": "y" * 5000}}))
    assert listed is not None
    assert len(listed.reason) < 700


@pytest.mark.parametrize("session", ["", "a" * 129, "../up", "a b", "a\nINFO forged", "é"])
def test_session_ids_are_plain_names(attest_world: AttestWorld, session: str) -> None:
    did = attest_world.analyst.did
    data = sign_opening(attest_world.analyst, b"b" * 48, session, "teaching", "mock")
    with pytest.raises(MalformedError) as excinfo:
        check_opening(data, b"b" * 48, audience=did, admitted=[did])
    assert excinfo.value.code == "open.malformed"
