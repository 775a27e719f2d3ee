"""The attested channel: the honest path, and every attack of attestation.md section 3 that this path can meet."""

from __future__ import annotations

import msgspec
import pytest
from attest_world import NOW, VERIFIERS, AttestWorld, fixed_key

from cloister.attest.channel import EnclaveEnd, RelyingParty
from cloister.attest.encoding import b64, unb64
from cloister.attest.hello import BROKER_SESSION, Offer, new_hello, parse_hello
from cloister.attest.offer import make_offer, refusal, refused
from cloister.attest.opening import Opening, sign_opening
from cloister.attest.renewal import Renewal, renew_offer
from cloister.attest.sealing import MAX_SEALED, TO_ENCLAVE, Sealer, channel_keys
from cloister.attest.verification import appraise_offer
from cloister.errors import CloisterError, ContractError, MalformedError, TrustError
from cloister.wire import canonical, frames
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

SESSION = {"session": "s1", "purpose": "teaching", "mode": "confidential"}


def code_of(excinfo: pytest.ExceptionInfo[CloisterError]) -> str:
    return excinfo.value.code


# --- the honest path


def test_frames_travel_both_ways(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    for number in range(5):
        frame = end.open(channel.seal(Kind.SHELL, b"cell", bytes([number])))
        assert frame is not None
        assert frame.parts == (b"cell", bytes([number]))
        reply = channel.open(end.seal(Kind.IOPUB, b"out", bytes([number])))
        assert reply is not None
        assert reply.kind == Kind.IOPUB


def test_verdict_is_simulated_and_contraindicated(attest_world: AttestWorld) -> None:
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    appraisal = attest_world.judge(channel, offer)
    assert (appraisal.assurance, appraisal.status) == ("simulated", "contraindicated")
    assert (appraisal.vector.value("hardware"), appraisal.vector.value("runtime-opaque")) == (97, 96)


def test_sealed_bytes_show_nothing_of_the_frame(attest_world: AttestWorld) -> None:
    channel, _ = attest_world.connect()
    assert b"secret cell" not in channel.seal(Kind.SHELL, b"secret cell" * 20)


def test_rekeying_changes_the_key_and_not_the_conversation(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect(rekey_frames=3)
    for number in range(20):
        frame = end.open(channel.seal(Kind.SHELL, str(number).encode()))
        assert frame is not None
        assert frame.parts == (str(number).encode(),)


def test_rekeying_on_one_side_only_breaks_the_channel(attest_world: AttestWorld) -> None:
    keys = channel_keys(fixed_key(b"1"), fixed_key(b"2").public_key().public_bytes_raw(), b"b" * 48)
    sender = Sealer(keys[TO_ENCLAVE], b"b" * 48, TO_ENCLAVE, rekey_frames=2)
    receiver = Sealer(keys[TO_ENCLAVE], b"b" * 48, TO_ENCLAVE, rekey_frames=1 << 20)
    receiver.open(sender.seal(b"0"))
    receiver.open(sender.seal(b"1"))
    with pytest.raises(TrustError):
        receiver.open(sender.seal(b"2"))


def test_goodbye_is_authenticated_and_final(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    assert end.open(channel.close()) is None
    assert end.peer_closed
    with pytest.raises(TrustError):
        end.seal(Kind.IOPUB, b"late")
    with pytest.raises(TrustError):
        channel.seal(Kind.SHELL, b"late")


def test_a_cut_transport_is_not_a_goodbye(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    end.open(channel.seal(Kind.SHELL, b"x"))
    assert not end.peer_closed


# --- nothing leaves before the verdict


def test_nothing_is_sealed_before_the_verdict(attest_world: AttestWorld) -> None:
    channel = attest_world.relying_party()
    for attempt in (
        lambda: channel.seal(Kind.SHELL, b"cell"),
        lambda: channel.open_session(attest_world.analyst, **SESSION),
        channel.close,
    ):
        with pytest.raises(TrustError) as excinfo:
            attempt()
        assert code_of(excinfo) == "channel.unverified"


def test_nothing_is_sealed_after_a_refusal(attest_world: AttestWorld) -> None:
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    with pytest.raises(TrustError):
        attest_world.judge(channel, offer, accept_simulated=False)
    with pytest.raises(TrustError) as excinfo:
        channel.seal(Kind.SHELL, b"cell")
    assert code_of(excinfo) == "channel.unverified"
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)  # a second try with the same nonce and key
    assert code_of(excinfo) == "channel.state"


def test_no_cell_precedes_the_opening(attest_world: AttestWorld) -> None:
    channel = attest_world.relying_party()
    end, offer = attest_world.enclave(channel.hello)
    attest_world.judge(channel, offer)
    with pytest.raises(TrustError) as excinfo:
        channel.seal(Kind.SHELL, b"cell")
    assert code_of(excinfo) == "channel.unopened"
    with pytest.raises(TrustError) as excinfo:
        end.open(b"anything")
    assert code_of(excinfo) == "channel.first_frame"


# --- the evidence belongs to one exchange


def replay(world: AttestWorld) -> tuple[RelyingParty, bytes]:
    first = world.relying_party()
    _, offer = world.enclave(first.hello)
    return world.relying_party(), offer


def test_replayed_offer_is_refused(attest_world: AttestWorld) -> None:
    channel, offer = replay(attest_world)
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert code_of(excinfo) == "evidence.binding"


def test_same_key_and_other_nonce_is_refused(attest_world: AttestWorld) -> None:
    first = attest_world.relying_party(ephemeral=fixed_key(b"k"), nonce=b"1" * 32)
    _, offer = attest_world.enclave(first.hello)
    second = attest_world.relying_party(ephemeral=fixed_key(b"k"), nonce=b"2" * 32)
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(second, offer)
    assert code_of(excinfo) == "evidence.binding"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kex_pub": b64(b"\x09" + bytes(31))}, "evidence.binding"),
        ({"vault_id": "did:key:other"}, "evidence.binding"),
        ({"env_digest": "sha384:" + "f" * 96}, "evidence.binding"),
        ({"contract": "sha256:" + "d" * 64}, "offer.contract"),
        ({"version": "0"}, "channel.version"),
        ({"suite": "none"}, "channel.suite"),
        ({"prev_binding": b64(b"p" * 48)}, "offer.previous"),
        ({"kem_ct": b64(b"ct")}, "offer.malformed"),
        ({"kex_pub": b64(b"short")}, "offer.malformed"),
    ],
)
def test_changed_offer_is_refused(attest_world: AttestWorld, change: dict[str, str], code: str) -> None:
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    changed = msgspec.structs.replace(msgspec.json.decode(offer, type=Offer), **change)
    with pytest.raises(CloisterError) as excinfo:
        attest_world.judge(channel, canonical.encode(changed))
    assert code_of(excinfo) == code


def test_man_in_the_middle_with_his_own_key_is_refused(attest_world: AttestWorld) -> None:
    """The attacker relays the hello with his key, and the offer with his key: both bindings differ."""
    channel = attest_world.relying_party()
    mine = fixed_key(b"m")
    hello = msgspec.structs.replace(parse_hello(channel.hello), rp_eph_pub=b64(mine.public_key().public_bytes_raw()))
    _, offer = attest_world.enclave(canonical.encode(hello))
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert code_of(excinfo) == "evidence.binding"


def test_evidence_for_another_audience_is_refused(attest_world: AttestWorld) -> None:
    """Diversion: evidence given to one relying party is no use to another, even with the same nonce and key."""
    other = SigningKey.generate()
    theirs = RelyingParty(other.did, attest_world.contract, ephemeral=fixed_key(b"k"), nonce=b"n" * 32)
    _, offer = attest_world.enclave(theirs.hello)
    mine = attest_world.relying_party(ephemeral=fixed_key(b"k"), nonce=b"n" * 32)
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(mine, offer)
    assert code_of(excinfo) == "evidence.binding"


def test_evidence_of_another_contract_is_refused(attest_world: AttestWorld) -> None:
    channel = attest_world.relying_party()
    attest_world.contract = "sha256:" + "d" * 64  # the enclave attests another contract under our binding
    _, offer = attest_world.enclave(channel.hello)
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert code_of(excinfo) == "evidence.claims"


def test_reflected_role_is_refused(attest_world: AttestWorld) -> None:
    """A vault's offer to a broker is not an offer to an analyst, and the other way round."""
    analyst = attest_world.relying_party(ephemeral=fixed_key(b"k"), nonce=b"n" * 32)
    hello = new_hello(attest_world.analyst.did, attest_world.contract, BROKER_SESSION, nonce=b"n" * 32)
    offer, _ = make_offer(
        hello,
        attest_world.attest,
        kex_pub=b"h" * 32,
        vault_id="did:key:vault",
        env_digest=attest_world.env,
        role=BROKER_SESSION,
        contract=attest_world.contract,
    )
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(analyst, canonical.encode(offer))
    assert code_of(excinfo) == "evidence.binding"
    end = EnclaveEnd()
    with pytest.raises(TrustError) as excinfo:
        end.receive_hello(hello)
    assert code_of(excinfo) == "hello.role"


def test_vault_cannot_get_evidence_for_another_role_or_contract(attest_world: AttestWorld) -> None:
    for hello, code in (
        (attest_world.relying_party().hello, "hello.role"),
        (new_hello(attest_world.analyst.did, "sha256:" + "d" * 64, BROKER_SESSION), "hello.contract"),
    ):
        with pytest.raises(TrustError) as excinfo:
            make_offer(
                hello,
                attest_world.attest,
                kex_pub=b"h" * 32,
                vault_id="v",
                env_digest=attest_world.env,
                role=BROKER_SESSION,
                contract=attest_world.contract,
            )
        assert code_of(excinfo) == code


def test_broker_session_is_appraised_by_the_same_steps(attest_world: AttestWorld) -> None:
    hello = new_hello(attest_world.analyst.did, attest_world.contract, BROKER_SESSION)
    offer, value = make_offer(
        hello,
        attest_world.attest,
        kex_pub=b"h" * 32,
        vault_id="did:key:vault",
        env_digest=attest_world.env,
        role=BROKER_SESSION,
        contract=attest_world.contract,
    )
    appraisal = appraise_offer(
        hello, None, offer, policy=attest_world.policy(), now=NOW, accept_simulated=True, verifiers=VERIFIERS
    )
    assert appraisal.binding == value
    with pytest.raises(TrustError) as excinfo:
        appraise_offer(
            hello,
            fixed_key(b"k"),
            offer,
            policy=attest_world.policy(),
            now=NOW,
            accept_simulated=True,
            verifiers=VERIFIERS,
        )
    assert code_of(excinfo) == "hello.key"


# --- versions and suites


def test_stripped_suite_is_noticed(attest_world: AttestWorld) -> None:
    """A host removes a version we offered: the enclave answers the shorter hello, and the binding differs."""
    channel = attest_world.relying_party()
    two = msgspec.structs.replace(parse_hello(channel.hello), versions=("1", "0"))
    channel.hello = canonical.encode(two)
    stripped = msgspec.structs.replace(two, versions=("1",))
    _, offer = attest_world.enclave(canonical.encode(stripped))
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, offer)
    assert code_of(excinfo) == "evidence.binding"


@pytest.mark.parametrize("change", [{"versions": ("2",)}, {"suites": ("rot13",)}])
def test_nothing_in_common_is_refused_by_the_enclave(attest_world: AttestWorld, change: dict[str, object]) -> None:
    hello = msgspec.structs.replace(parse_hello(attest_world.relying_party().hello), **change)
    with pytest.raises(TrustError) as excinfo:
        attest_world.enclave(canonical.encode(hello))
    assert code_of(excinfo) == "channel.version"


# --- who asks


def opened(world: AttestWorld) -> tuple[RelyingParty, EnclaveEnd]:
    channel = world.relying_party()
    end, offer = world.enclave(channel.hello)
    world.judge(channel, offer)
    return channel, end


def forged(world: AttestWorld, channel: RelyingParty, opening: bytes) -> bytes:
    """Seal another opening as the first frame, as a changed proxy would."""
    channel.open_session(world.analyst, **SESSION)
    sealer = Sealer(_key_of(channel), channel.binding, TO_ENCLAVE)
    return sealer.seal(frames.encode(Kind.OPEN, opening))


def _key_of(channel: RelyingParty) -> bytes:
    key = channel._out._key
    assert key is not None
    return key


def test_wrong_analyst_key_is_refused(attest_world: AttestWorld) -> None:
    channel, end = opened(attest_world)
    thief = SigningKey.generate()
    stolen = msgspec.json.decode(sign_opening(thief, channel.binding, "s1", "teaching", "confidential"), type=Opening)
    claimed = msgspec.structs.replace(stolen, analyst=attest_world.analyst.did)
    with pytest.raises(TrustError) as excinfo:
        end.admit(forged(attest_world, channel, canonical.encode(claimed)), [attest_world.analyst.did])
    assert code_of(excinfo) == "analyst.signature"


def test_analyst_outside_the_contract_is_refused(attest_world: AttestWorld) -> None:
    channel, end = opened(attest_world)
    with pytest.raises(ContractError) as excinfo:
        end.admit(channel.open_session(attest_world.analyst, **SESSION), [SigningKey.generate().did])
    assert code_of(excinfo) == "analyst.unknown"


def test_opener_must_be_the_audience(attest_world: AttestWorld) -> None:
    other = SigningKey.generate()
    channel, end = opened(attest_world)
    with pytest.raises(TrustError):
        channel.open_session(other, **SESSION)
    opening = sign_opening(other, channel.binding, "s1", "teaching", "confidential")
    with pytest.raises(TrustError) as excinfo:
        end.admit(forged(attest_world, channel, opening), [other.did, attest_world.analyst.did])
    assert code_of(excinfo) == "analyst.audience"


@pytest.mark.parametrize("change", [{"session": "s2"}, {"purpose": "spying"}, {"mode": "mock"}])
def test_signature_covers_session_purpose_and_mode(attest_world: AttestWorld, change: dict[str, str]) -> None:
    channel, end = opened(attest_world)
    honest = sign_opening(attest_world.analyst, channel.binding, "s1", "teaching", "confidential")
    changed = msgspec.structs.replace(msgspec.json.decode(honest, type=Opening), **change)
    with pytest.raises(TrustError) as excinfo:
        end.admit(forged(attest_world, channel, canonical.encode(changed)), [attest_world.analyst.did])
    assert code_of(excinfo) == "analyst.signature"


def test_opening_of_another_channel_is_refused(attest_world: AttestWorld) -> None:
    first, _ = opened(attest_world)
    channel, end = opened(attest_world)
    replayed = sign_opening(attest_world.analyst, first.binding, "s1", "teaching", "confidential")
    with pytest.raises(TrustError) as excinfo:
        end.admit(forged(attest_world, channel, replayed), [attest_world.analyst.did])
    assert code_of(excinfo) == "analyst.signature"


def test_separators_cannot_be_smuggled(attest_world: AttestWorld) -> None:
    with pytest.raises(MalformedError):
        sign_opening(attest_world.analyst, b"b" * 48, "s\x00teaching", "x", "mock")


@pytest.mark.parametrize("kind", [Kind.SHELL, Kind.CONTROL, Kind.REQUEST, Kind.EVENT, Kind.PING])
def test_any_other_first_frame_is_refused(attest_world: AttestWorld, kind: int) -> None:
    channel, end = opened(attest_world)
    channel.open_session(attest_world.analyst, **SESSION)
    sealed = Sealer(_key_of(channel), channel.binding, TO_ENCLAVE).seal(frames.encode(kind, b"{}"))
    with pytest.raises(TrustError) as excinfo:
        end.admit(sealed, [attest_world.analyst.did])
    assert code_of(excinfo) == "channel.first_frame"
    with pytest.raises(TrustError):  # and nothing is accepted afterwards
        end.open(channel.seal(Kind.SHELL, b"cell"))


def test_a_session_is_opened_once(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    with pytest.raises(TrustError):
        channel.open_session(attest_world.analyst, **SESSION)
    opening = sign_opening(attest_world.analyst, channel.binding, "s1", "teaching", "confidential")
    with pytest.raises(MalformedError):
        end.open(channel.seal(Kind.OPEN, opening))


# --- frames arrive once, in order, whole


def test_flipped_bits_close_the_channel(attest_world: AttestWorld) -> None:
    sealed_length = len(attest_world.connect()[0].seal(Kind.SHELL, b"cell" * 20))
    for position in range(0, sealed_length, 7):
        channel, end = attest_world.connect()
        sealed = bytearray(channel.seal(Kind.SHELL, b"cell" * 20))
        sealed[position] ^= 1 << (position % 8)
        with pytest.raises(TrustError) as excinfo:
            end.open(bytes(sealed))
        assert code_of(excinfo) == "channel.frame"
        with pytest.raises(TrustError) as excinfo:
            end.open(channel.seal(Kind.SHELL, b"next"))
        assert code_of(excinfo) == "channel.closed"


def test_a_sealer_that_was_lied_to_is_closed(attest_world: AttestWorld) -> None:
    keys = channel_keys(fixed_key(b"1"), fixed_key(b"2").public_key().public_bytes_raw(), b"b" * 48)
    sender, receiver = (Sealer(keys[TO_ENCLAVE], b"b" * 48, TO_ENCLAVE) for _ in range(2))
    with pytest.raises(TrustError):
        receiver.open(bytes(64))
    with pytest.raises(TrustError) as excinfo:
        receiver.open(sender.seal(b"honest"))
    assert code_of(excinfo) == "channel.closed"


def test_a_renewal_continues_this_channel_for_this_party(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    assert end.hello is not None

    def answer(renewal: Renewal, previous: bytes) -> bytes:
        offer, _ = renew_offer(
            renewal.hello, end.hello, attest_world.attest, previous=previous, vault_id="v2", env_digest=attest_world.env
        )
        return canonical.encode(offer)

    given = {"policy": attest_world.policy(), "now": NOW, "accept_simulated": True, "verifiers": VERIFIERS}
    renewal = Renewal(attest_world.analyst.did, attest_world.contract, channel.binding)
    first = renewal.judge(answer(renewal, end.binding), **given)
    assert first.offer.vault_id == "v2"
    following = Renewal(attest_world.analyst.did, attest_world.contract, first.binding)
    for previous in (b"", end.binding):  # only the last attestation is continued
        with pytest.raises(TrustError) as excinfo:
            following.judge(answer(following, previous), **given)
        assert code_of(excinfo) == "offer.previous"
    following.judge(answer(following, first.binding), **given)
    with pytest.raises(TrustError) as excinfo:
        answer(Renewal(SigningKey.generate().did, attest_world.contract, channel.binding), end.binding)
    assert code_of(excinfo) == "hello.audience"


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 2), (1,), (0, 1, 1), (2, 1, 0)])
def test_reordered_repeated_and_dropped_frames_close_the_channel(
    attest_world: AttestWorld, order: tuple[int, ...]
) -> None:
    channel, end = attest_world.connect()
    sealed = [channel.seal(Kind.SHELL, bytes([n])) for n in range(3)]
    with pytest.raises(TrustError) as excinfo:
        for number in order:
            end.open(sealed[number])
    assert code_of(excinfo) == "channel.frame"


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + b"\0", lambda s: b"", lambda s: s[:8]])
def test_truncated_and_extended_frames_close_the_channel(attest_world: AttestWorld, change: object) -> None:
    channel, end = attest_world.connect()
    with pytest.raises(TrustError):
        end.open(change(channel.seal(Kind.SHELL, b"cell")))


def test_frames_are_not_reflected(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    with pytest.raises(TrustError):
        channel.open(channel.seal(Kind.SHELL, b"cell"))
    with pytest.raises(TrustError):
        end.open(end.seal(Kind.IOPUB, b"out"))


def test_frames_of_another_channel_are_refused(attest_world: AttestWorld) -> None:
    first, _ = attest_world.connect()
    _, second = attest_world.connect()
    with pytest.raises(TrustError):
        second.open(first.seal(Kind.SHELL, b"cell"))


def test_oversized_frames_are_refused_before_decryption(
    attest_world: AttestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, end = attest_world.connect()
    monkeypatch.setattr("cloister.attest.sealing.MAX_SEALED", 100)
    with pytest.raises(MalformedError) as excinfo:
        end.open(channel.seal(Kind.SHELL, bytes(200)))
    assert code_of(excinfo) == "channel.oversized"
    assert MAX_SEALED > frames.MAX_FRAME


def test_sealed_nonsense_closes_the_channel(attest_world: AttestWorld) -> None:
    channel, end = attest_world.connect()
    sealed = channel._out.seal(b"no frame")
    with pytest.raises(MalformedError):
        end.open(sealed)
    with pytest.raises(TrustError):
        end.open(channel.seal(Kind.SHELL, b"cell"))


def test_low_order_keys_are_refused(attest_world: AttestWorld) -> None:
    """A key that makes the shared secret zero would let anybody read; evidence over it changes nothing."""
    channel = attest_world.relying_party()
    offer, _ = make_offer(
        channel.hello,
        attest_world.attest,
        kex_pub=bytes(32),
        vault_id="v",
        env_digest=attest_world.env,
        role="analyst-channel",
        contract=attest_world.contract,
    )
    with pytest.raises(TrustError) as excinfo:
        attest_world.judge(channel, canonical.encode(offer))
    assert code_of(excinfo) == "channel.key"
    with pytest.raises(TrustError) as excinfo:
        channel.seal(Kind.SHELL, b"cell")
    assert code_of(excinfo) == "channel.unverified"


# --- plain messages


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"a":1}',
        b"{" * 5000,
        b" " * 5000,
        b"x" * (1 << 20),
    ],
)
def test_malformed_plain_messages(attest_world: AttestWorld, data: bytes) -> None:
    with pytest.raises(MalformedError):
        EnclaveEnd().receive_hello(data)
    with pytest.raises(MalformedError):
        attest_world.judge(attest_world.relying_party(), data)


def test_hello_has_one_spelling(attest_world: AttestWorld) -> None:
    hello = attest_world.relying_party().hello
    for other in (hello + b" ", hello.replace(b'"role"', b'"role" '), hello.replace(b"{", b'{"role":"x",', 1)):
        with pytest.raises(MalformedError):
            parse_hello(other)


def test_base64_has_one_spelling() -> None:
    assert unb64("QQ==") == b"A"
    for text in ("QR==", "QQ", "QQ==\n", "Q Q=", "Q-=="):
        with pytest.raises(MalformedError):
            unb64(text)


def test_plain_refusal_is_shown_and_not_trusted() -> None:
    message = refusal(ContractError("contract.unknown", "no such contract", next_step="check"))
    error = refused(message)
    assert error is not None
    assert error.code == "enclave.refused"
    assert "no such contract" in error.reason
    assert refused(b'{"version":"1"}') is None
    assert refused(b"\xff") is None
