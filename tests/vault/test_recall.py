"""A settled release has one answer: only a deposit that verifies in every respect is shown."""

from __future__ import annotations

import msgspec
import pytest
from vault_world import World, context, numbered

from cloister.attest.encoding import b64, unb64
from cloister.errors import CloisterError, TrustError
from cloister.receipt.deposit import Deposit, open_deposit, receipt_key, seal_deposit
from cloister.receipt.receipt import RECEIPT_TYPE
from cloister.vault.keys import load_secret
from cloister.vault.recall import Answer, Memory, recall_deposit
from cloister.vault.release import release
from cloister.wire import canonical
from cloister.wire.envelope import seal
from cloister.wire.identity import SigningKey

KEY, CHARGE = bytes(32), "sha256:" + "c" * 64


@pytest.fixture(scope="module")
def settled(quiet_world: World):
    """A released answer and the terms it was released under."""
    state, _ = quiet_world.state()
    return state, release(state, context(quiet_world), numbered(1))


def recalled(state, answer: Answer, deposit: Deposit, **changes: str) -> Answer:
    """Return what is recalled of a deposit."""
    receipt = answer.receipt
    names = {"release": receipt.release, "charge_id": receipt.charge_id, **changes}
    return recall_deposit(seal_deposit(deposit, KEY, receipt.charge_id), KEY, terms=state.terms, **names)


def test_a_deposit_comes_back_as_it_was(settled) -> None:
    state, answer = settled
    again = recalled(state, answer, Deposit(answer.envelope, answer.admissions))
    assert canonical.encode(again.receipt) == canonical.encode(answer.receipt)
    assert (again.envelope, again.recalled) == (answer.envelope, True)


def test_deposits_open_only_under_their_key_and_charge(settled) -> None:
    _, answer = settled
    sealed = seal_deposit(Deposit(answer.envelope, answer.admissions), KEY, CHARGE)
    assert open_deposit(sealed, KEY, CHARGE).receipt == answer.envelope
    assert answer.receipt.raw[0] not in unb64(sealed, limit=1 << 24).decode("latin-1")
    damaged = bytearray(unb64(sealed, limit=1 << 24))
    damaged[20] ^= 1
    for box, key, charge in (
        (sealed, bytes([1] * 32), CHARGE),
        (sealed, KEY, "sha256:" + "d" * 64),
        (b64(bytes(damaged)), KEY, CHARGE),
        (b64(b"short"), KEY, CHARGE),
        ("", KEY, CHARGE),
        ("not base64!", KEY, CHARGE),
    ):
        with pytest.raises(CloisterError):
            open_deposit(box, key, charge)


def test_two_seals_of_one_receipt_differ(settled) -> None:
    _, answer = settled
    deposit = Deposit(answer.envelope, answer.admissions)
    assert seal_deposit(deposit, KEY, CHARGE) != seal_deposit(deposit, KEY, CHARGE)


def test_a_receipt_nobody_vouches_for_is_not_shown(settled, quiet_world: World) -> None:
    state, answer = settled
    stranger = seal(RECEIPT_TYPE, canonical.encode(answer.receipt), SigningKey.generate())
    richer = msgspec.structs.replace(answer.receipt, raw=("0",))
    forged = msgspec.structs.replace(answer.envelope, payload=b64(canonical.encode(richer)))
    other_state, _ = quiet_world.state()
    other = release(other_state, context(quiet_world), numbered(1))
    misnamed = msgspec.structs.replace(answer.receipt, plan_digest="sha256:" + "0" * 64)
    misnamed_envelope = seal(RECEIPT_TYPE, canonical.encode(misnamed), state.keys.identity)
    cases = {
        "names that do not follow": Deposit(misnamed_envelope, answer.admissions),
        "signed by a stranger": Deposit(stranger, answer.admissions),
        "altered": Deposit(forged, answer.admissions),
        "no admission": Deposit(answer.envelope, ()),
        "another vault's admission": Deposit(answer.envelope, other.admissions),
        "another contract's receipt": Deposit(other.envelope, other.admissions),
        "an admission as receipt": Deposit(answer.admissions[0], answer.admissions),
    }
    for name, deposit in cases.items():
        with pytest.raises(TrustError) as rejected:
            recalled(state, answer, deposit)
        assert rejected.value.code == "recall.rejected", name
        assert rejected.value.next_step


def test_a_receipt_of_another_question_is_not_an_answer(settled, quiet_world: World) -> None:
    state, answer = settled
    other = release(state, context(quiet_world), numbered(2))
    with pytest.raises(TrustError) as rejected:
        recalled(state, answer, Deposit(other.envelope, other.admissions))
    assert rejected.value.code == "recall.rejected"


def test_what_is_settled_is_never_run_again(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract())
    first = release(quiet_world.state(document)[0], context(quiet_world), numbered(1))
    later, _ = quiet_world.state(document)
    steps: list[int] = []
    later.on_step = steps.append
    again = release(later, context(quiet_world), numbered(1))
    assert (again.recalled, again.envelope) == (True, first.envelope)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_first_deposit_is_the_answer_to_both(quiet_world: World) -> None:
    """A second run of the charge settles while the first one has drawn its noise: only one of the two is shown."""
    state, _ = quiet_world.state()
    inner: list[Answer] = []

    def overtake(step: int) -> None:
        if step == 10 and not inner:
            inner.append(Answer(None, None, (), True))  # type: ignore[arg-type]
            inner[0] = release(state, context(quiet_world), numbered(3))

    state.on_step = overtake
    outer = release(state, context(quiet_world), numbered(3))
    assert outer.recalled
    assert outer.envelope == inner[0].envelope
    assert release(state, context(quiet_world), numbered(3)).envelope == inner[0].envelope


def test_keys_are_derived_apart() -> None:
    keys = {
        receipt_key([b"a" * 32], "sha256:1", CHARGE),
        receipt_key([b"b" * 32], "sha256:1", CHARGE),
        receipt_key([b"a" * 32], "sha256:2", CHARGE),
        receipt_key([b"a" * 32], "sha256:1", CHARGE + "0"),
        receipt_key([b"a" * 32, b"b" * 32], "sha256:1", CHARGE),
        receipt_key([b"a" * 32 + b"b" * 32], "sha256:1", CHARGE),
        load_secret(b"a" * 32),
    }
    assert len(keys) == 7


def test_memory_forgets_the_oldest_and_marks_what_it_recalls(settled) -> None:
    _, answer = settled
    memory = Memory(capacity=2)
    for key in ("one", "two", "three"):
        memory.put(key, answer)
    assert memory.get("one") is None
    assert memory.get("three") == msgspec.structs.replace(answer, recalled=True)


def test_what_a_contract_shares_is_shared_after_a_restart_too(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract(share_releases=True))
    first, _ = quiet_world.state(document)
    paid = release(first, context(quiet_world), numbered(3))
    before = quiet_world.anna_broker.tip(quiet_world.card.population)
    second, _ = quiet_world.state(document)
    other = release(second, context(quiet_world, analyst=quiet_world.other_analyst.did), numbered(3))
    assert other.recalled
    assert other.receipt.raw == paid.receipt.raw
    assert quiet_world.anna_broker.tip(quiet_world.card.population) == before, "asked first, paid once"


def test_nothing_is_shared_without_the_clause_even_after_a_restart(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract())
    release(quiet_world.state(document)[0], context(quiet_world), numbered(3))
    second, _ = quiet_world.state(document)
    assert not release(second, context(quiet_world, analyst=quiet_world.other_analyst.did), numbered(3)).recalled
