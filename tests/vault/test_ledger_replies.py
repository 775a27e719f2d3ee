"""The host between vault and broker can drop, repeat, alter and invent; it must never answer for the broker."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from vault_world import World, context, numbered

from cloister.contract.terms import Broker, Limits
from cloister.contract.usage import Used
from cloister.errors import BudgetError, CloisterError, ContractError, TrustError, UnavailableError
from cloister.receipt.ledger import REPLY_TYPE, LedgerReply
from cloister.vault.charge import charge
from cloister.vault.ledger import Ledger
from cloister.vault.question import prepare
from cloister.vault.release import release
from cloister.vault.session import open_session
from cloister.vault.statuses import check_status
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal, unverified_payload
from cloister.wire.identity import SigningKey

Tamper = Callable[[bytes], bytes]


def reply_of(body: bytes) -> LedgerReply:
    return msgspec.json.decode(unverified_payload(msgspec.json.decode(body, type=Envelope)), type=LedgerReply)


def reseal(reply: LedgerReply, key: SigningKey) -> bytes:
    return canonical.encode(seal(REPLY_TYPE, canonical.encode(reply), key))


@pytest.mark.parametrize("status", ["limit.deliver", "approval.withdrawn", "ledger.unavailable", "session.unknown"])
def test_a_refusal_speaks_for_its_own_broker_alone(status: str) -> None:
    """Of two accounts the first may be charged when the second broker refuses."""
    sums = dict.fromkeys(("spent", "limit", "contract_spent", "analyst_spent", "analyst_limit"), "0")
    texts = dict.fromkeys(("request", "nonce", "broker", "vault_id", "population", "root", "lease", "time"), "")
    reply = LedgerReply(
        "append", **texts, **sums, size=1, used=Used(), limits=Limits(1, 1, 1, 1), epoch=1, status=status
    )
    with pytest.raises(CloisterError) as caught:
        check_status(reply, Broker("bank-broker", "did:key:z", "https://bank.example"))
    assert "nothing was charged" not in caught.value.reason
    assert "bank-broker" in caught.value.reason
    assert "charged nothing" in caught.value.reason


def unsigned(body: bytes) -> bytes:
    return canonical.encode({**json.loads(body), "signatures": []})


def bare(body: bytes) -> bytes:
    return canonical.encode(reply_of(body))


def forged(body: bytes) -> bytes:
    return reseal(reply_of(body), SigningKey.generate())


def altered(body: bytes) -> bytes:
    envelope = json.loads(body)
    richer = msgspec.structs.replace(reply_of(body), time="2020-01-01T00:00:00Z", spent="0")
    from cloister.attest.encoding import b64

    return canonical.encode({**envelope, "payload": b64(canonical.encode(richer))})


def other_type(body: bytes) -> bytes:
    return canonical.encode({**json.loads(body), "payloadType": "application/vnd.cloister.receipt.v1+json"})


def noise(_body: bytes) -> bytes:
    return b"\x00not json"


@pytest.mark.parametrize("tamper", [unsigned, bare, forged, altered, other_type, noise])
@pytest.mark.parametrize("path", ["/v1/session", "/v1/append", "/v1/settle"])
def test_a_reply_the_broker_did_not_sign_stops_the_release(quiet_world: World, path: str, tamper: Tamper) -> None:
    state, transport = quiet_world.state()
    transport.after = lambda at, body: tamper(body) if at == path else body
    with pytest.raises(TrustError) as stopped:
        release(state, context(quiet_world), numbered(1))
    assert stopped.value.code == "broker.forged"
    assert not state.memory.get("anything") and not state.memory._answers
    transport.after = lambda at, body: body
    assert not release(state, context(quiet_world), numbered(1)).receipt.seeded


@pytest.mark.parametrize("path", ["/v1/append", "/v1/settle", "/v1/tip"])
def test_an_old_reply_is_not_an_answer(quiet_world: World, path: str) -> None:
    state, transport = quiet_world.state()
    kept: dict[str, bytes] = {}
    transport.after = kept.setdefault
    release(state, context(quiet_world), numbered(1))
    account = state.terms.account_of("st_anna.visits")
    state.brokers.tip(account.broker, account.budget.population, quiet_world.analyst.did)
    transport.after = lambda at, body: kept[at] if at == path else body
    with pytest.raises(TrustError) as stopped:
        release(state, context(quiet_world), numbered(2))
        state.brokers.tip(account.broker, account.budget.population, quiet_world.analyst.did)
    assert stopped.value.code == "broker.unexpected"


@pytest.mark.parametrize("field", ["request", "nonce", "vault_id", "population", "op", "broker"])
def test_a_genuine_reply_to_somebody_elses_question_is_not_an_answer(quiet_world: World, field: str) -> None:
    state, transport = quiet_world.state()
    key = quiet_world.anna_home.identity()

    def swap(at: str, body: bytes) -> bytes:
        if at != "/v1/append":
            return body
        other = {"op": "tip"}.get(field, "other")
        return reseal(msgspec.structs.replace(reply_of(body), **{field: other}), key)

    transport.after = swap
    with pytest.raises(TrustError) as stopped:
        release(state, context(quiet_world), numbered(3))
    assert stopped.value.code == "broker.unexpected"


@pytest.mark.parametrize(("path", "changes"), [("/v1/append", {}), ("/v1/settle", {"epoch": 10**6})])
def test_settled_is_the_answer_to_a_deposit_of_this_session_only(quiet_world: World, path: str, changes: Any) -> None:
    """Else a broker could grant a charge that this vault does not count, or one of another session."""
    state, transport = quiet_world.state()
    key = quiet_world.anna_home.identity()
    transport.after = lambda at, body: (
        reseal(msgspec.structs.replace(reply_of(body), status="settled", **changes), key) if at == path else body
    )
    with pytest.raises(TrustError) as stopped:
        release(state, context(quiet_world), numbered(5))
    assert stopped.value.code == "broker.unexpected"


def test_the_other_broker_of_the_contract_cannot_answer_for_this_one(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    key = quiet_world.bank_home.identity()
    transport.after = lambda at, body: reseal(reply_of(body), key) if at == "/v1/append" else body
    with pytest.raises(TrustError) as stopped:
        release(state, context(quiet_world), numbered(4))
    assert stopped.value.code == "broker.forged"


def test_an_account_that_went_back_stops_the_release(own_world: World, tmp_path: Path) -> None:
    state, _ = own_world.state()
    release(state, context(own_world), numbered(1))
    account = state.terms.account_of("st_anna.visits")
    ledger: Ledger = state.brokers._ledgers[account.broker.name]
    size, root, spent, delta = ledger._tips[account.budget.population]
    for seen in (
        (size + 5, root, spent, delta),
        (size, "sha256:" + "0" * 64, spent, delta),
        (size, root, spent * 2, delta),
        (size, root, spent, delta + 1),
    ):
        ledger._tips[account.budget.population] = seen
        with pytest.raises(TrustError) as stopped:
            state.brokers.tip(account.broker, account.budget.population, own_world.analyst.did)
        assert stopped.value.code == "broker.rollback"


def test_a_broker_restored_from_a_backup_is_found_out(own_world: World, tmp_path: Path) -> None:
    document = own_world.sign(own_world.contract())
    state, _ = own_world.state(document)
    release(state, context(own_world), numbered(1))
    database = own_world.anna_home.accounts_file
    backup = tmp_path / "backup.sqlite"
    import sqlite3

    with sqlite3.connect(database) as live, sqlite3.connect(backup) as copy:
        live.backup(copy)
    release(state, context(own_world), numbered(2))
    from vault_world import DirectTransport

    # All of the broker's directory goes back, so that the broker itself cannot notice.
    own_world.anna_home.witness.path.unlink()
    own_world.anna_home.accounts_file.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, database)
    restored = DirectTransport(own_world, own_world.config(document))
    restored.keys = state.keys
    state.brokers._ledgers["anna-broker"]._relay = restored
    with pytest.raises(TrustError) as stopped:
        release(state, context(own_world), numbered(2, rho="1/2000"))
        account = state.terms.account_of("st_anna.visits")
        state.brokers.tip(account.broker, account.budget.population, own_world.analyst.did)
    assert stopped.value.code == "broker.rollback"


@pytest.mark.parametrize("path", ["/v1/append", "/v1/settle"])
@pytest.mark.parametrize("way", ["before", "after"])
def test_a_lost_message_costs_nothing_twice(quiet_world: World, path: str, way: str) -> None:
    state, transport = quiet_world.state()
    population = quiet_world.card.population
    release(state, context(quiet_world), numbered(90))
    before = quiet_world.anna_broker.tip(population)
    setattr(transport, way, lambda at, body: None if at == path else body)
    with pytest.raises(UnavailableError) as lost:
        release(state, context(quiet_world), numbered(5))
    assert lost.value.code == "broker.unavailable"
    for _ in range(2):
        with contextlib.suppress(UnavailableError):
            release(state, context(quiet_world), numbered(5))
    setattr(transport, way, lambda at, body: body)
    first = release(state, context(quiet_world), numbered(5))
    again = release(state, context(quiet_world), numbered(5))
    after = quiet_world.anna_broker.tip(population)
    assert after.size == before.size + 1
    assert after.spent == before.spent + type(after.spent)(first.receipt.rho)
    assert first.receipt.raw == again.receipt.raw
    # What the broker had stored before its answer got lost is the answer; it is not replaced by a second noise.
    assert first.recalled == ((path, way) == ("/v1/settle", "after"))
    assert again.recalled


def test_a_charge_is_made_before_anything_runs(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    order: list[str] = []
    run = state.engine.run
    state.engine.run = lambda analysis: order.append("run") or run(analysis)  # type: ignore[method-assign]
    transport.before = lambda at, body: order.append(at) or body
    release(state, context(quiet_world), numbered(6))
    assert [item for item in order if item in ("run", "/v1/append", "/v1/settle")] == [
        "/v1/append",
        "run",
        "/v1/settle",
    ]


def test_refusals_of_the_broker_reach_the_analyst_with_clause_and_next_step(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract())
    state, transport = quiet_world.state(document)
    release(state, context(quiet_world), numbered(7))
    key = quiet_world.anna_home.identity()
    expected: dict[str, type[CloisterError]] = {
        "budget.exhausted": BudgetError, "limit.analyst": BudgetError, "limit.releases": BudgetError,
        "limit.rows": BudgetError, "limit.compute": BudgetError, "limit.models": BudgetError,
        "contract.unknown": ContractError, "contract.inactive": ContractError, "evidence.rejected": TrustError,
        "charge.conflict": TrustError, "ledger.unavailable": UnavailableError, "made.up": CloisterError,
    }  # fmt: skip
    for status, kind in expected.items():
        transport.after = lambda at, body, status=status: (
            reseal(msgspec.structs.replace(reply_of(body), status=status), key) if at == "/v1/append" else body
        )
        with pytest.raises(kind) as refused:
            release(state, context(quiet_world), numbered(8))
        assert refused.value.code == (status if status != "made.up" else "broker.status")
        assert refused.value.reason
        assert refused.value.next_step or status == "made.up"


def test_a_forgotten_session_is_opened_again_once(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    release(state, context(quiet_world), numbered(9))
    key = quiet_world.anna_home.identity()
    forget = ["/v1/append"]

    def forgetful(at: str, body: bytes) -> bytes:
        if at in forget:
            forget.remove(at)
            return reseal(msgspec.structs.replace(reply_of(body), status="session.unknown"), key)
        return body

    transport.after = forgetful
    transport.posts.clear()
    release(state, context(quiet_world), numbered(10))
    assert transport.posts == ["/v1/append", "/v1/hello", "/v1/session", "/v1/append", "/v1/settle"]


def test_a_session_whose_lease_has_ended_is_opened_again_on_fresh_evidence(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    first = release(state, context(quiet_world), numbered(11))
    ledger = state.brokers._ledgers["anna-broker"]
    ledger._heard_s -= 3599
    transport.posts.clear()
    release(state, context(quiet_world), numbered(12))
    assert "/v1/session" not in transport.posts
    ledger._heard_s -= 3601
    renewed = release(state, context(quiet_world), numbered(13))
    assert transport.posts.count("/v1/session") == 1
    assert renewed.receipt.admissions != first.receipt.admissions


def test_a_charge_at_two_brokers_resumes_where_it_stopped(quiet_world: World) -> None:
    """No plan of this version reads two providers at once; the charge already knows how."""
    state, transport = quiet_world.state()
    ours = prepare(numbered(70), context(quiet_world), state.terms)
    both = tuple(state.terms.account_of(name) for name in ("st_anna.visits", "bank.customers"))
    question = msgspec.structs.replace(ours, accounts=both)

    def booked() -> list[int]:
        accounts = (quiet_world.anna_broker, quiet_world.card), (quiet_world.bank_broker, quiet_world.bank_card)
        return [
            sum(entry["charge_id"] == question.charge_id for entry in broker.entries(card.population))
            for broker, card in accounts
        ]

    appends: list[bytes] = []

    def second_is_lost(at: str, body: bytes) -> bytes | None:
        if at == "/v1/append":
            appends.append(body)
        return None if at == "/v1/append" and len(appends) == 2 else body

    transport.before = second_is_lost
    with pytest.raises(UnavailableError):
        charge(state.brokers, question, quiet_world.analyst.did, state.terms)
    assert booked() == [1, 0]
    done = charge(state.brokers, question, quiet_world.analyst.did, state.terms)
    assert booked() == [1, 1]
    assert [item.broker for item in done.charges] == [account.broker.did for account in both]


def test_a_broker_that_hangs_holds_up_nobody_else(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    reached, go = threading.Event(), threading.Event()
    bank = state.terms.broker_of("bank.customers")
    attest = transport.attest

    def slow(hello: bytes) -> bytes:
        if bank.did.encode() in hello:
            reached.set()
            go.wait(20)
        return attest(hello)

    transport.attest = slow  # type: ignore[method-assign]
    hanging = threading.Thread(target=state.brokers.session, args=(bank,))
    hanging.start()
    assert reached.wait(10)
    assert not release(state, context(quiet_world), numbered(71)).recalled
    assert hanging.is_alive()
    go.set()
    hanging.join(10)


# Sessions --------------------------------------------------------------------------------------------


def test_evidence_of_unapproved_code_opens_nothing(quiet_world: World) -> None:
    state, _ = quiet_world.state(env_digest="sha384:" + "0" * 96)
    with pytest.raises(TrustError) as rejected:
        release(state, context(quiet_world), numbered(1))
    assert rejected.value.code == "evidence.rejected"
    assert rejected.value.next_step


def test_an_admission_must_be_of_this_vault_session_and_contract(quiet_world: World) -> None:
    key = quiet_world.anna_home.identity()
    from cloister.receipt.receipt import ADMISSION_TYPE, Admission

    changes = {
        "vault_id": SigningKey.generate().did, "contract": "sha256:" + "0" * 64, "binding": "00" * 48, "epoch": 1,
        "env_digest": "sha384:" + "1" * 96, "broker": SigningKey.generate().did, "assurance": "hardware",
    }  # fmt: skip
    for field, value in changes.items():
        state, transport = quiet_world.state()

        def swap(at: str, body: bytes, field: str = field, value: object = value) -> bytes:
            if at != "/v1/session":
                return body
            reply = reply_of(body)
            inner = msgspec.json.decode(unverified_payload(msgspec.convert(reply.admission, Envelope)), type=Admission)
            if field == "epoch":
                value = inner.epoch + 1
            other = seal(ADMISSION_TYPE, canonical.encode(msgspec.structs.replace(inner, **{field: value})), key)
            return reseal(msgspec.structs.replace(reply, admission=msgspec.to_builtins(other)), key)

        transport.after = swap
        with pytest.raises(TrustError) as rejected:
            release(state, context(quiet_world), numbered(1))
        assert rejected.value.code == "broker.session", field


def test_an_admission_needs_the_brokers_own_signature(quiet_world: World) -> None:
    key = quiet_world.anna_home.identity()
    for damage in (None, {"payloadType": "x", "payload": "", "signatures": []}):
        state, transport = quiet_world.state()
        transport.after = lambda at, body, damage=damage: (
            reseal(msgspec.structs.replace(reply_of(body), admission=damage), key) if at == "/v1/session" else body
        )
        with pytest.raises(TrustError) as rejected:
            release(state, context(quiet_world), numbered(1))
        assert rejected.value.code == "broker.session"


def test_data_keys_of_another_session_do_not_open(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract())
    key = quiet_world.anna_home.identity()
    state, transport = quiet_world.state(document)
    kept: list[dict[str, str]] = []

    def earlier(at: str, body: bytes) -> bytes:
        if at != "/v1/session":
            return body
        reply = reply_of(body)
        kept.append(reply.keys)
        return reseal(msgspec.structs.replace(reply, keys=kept[0]), key)

    transport.after = earlier
    account = state.terms.account_of("st_anna.visits")
    ledger = state.brokers._ledgers[account.broker.name]
    open_session(transport, ledger, state.terms, state.keys)
    with pytest.raises(TrustError) as rejected:
        open_session(transport, ledger, state.terms, state.keys)
    assert rejected.value.code == "keys.rejected"


def test_a_hello_of_somebody_else_is_not_answered(quiet_world: World) -> None:
    from cloister.attest import hello

    for audience, contract in (
        (SigningKey.generate().did, None),
        (None, "sha256:" + "0" * 64),
    ):
        state, transport = quiet_world.state()
        broker = state.terms.broker_of("st_anna.visits")
        message = hello.new_hello(audience or broker.did, contract or state.terms.digest, hello.BROKER_SESSION)
        transport.after = lambda at, body, message=message: message if at == "/v1/hello" else body
        with pytest.raises(TrustError) as rejected:
            release(state, context(quiet_world), numbered(1))
        assert rejected.value.code == "broker.session"


def test_evidence_about_other_keys_is_not_sent_on(quiet_world: World) -> None:
    """The attester speaks for this vault's keys and code, or the vault does not speak to the broker at all."""
    from cloister.vault.keys import VaultKeys

    state, transport = quiet_world.state()
    transport.keys = VaultKeys()
    with pytest.raises(TrustError) as rejected:
        release(state, context(quiet_world), numbered(1))
    assert rejected.value.code == "broker.session"
    assert transport.posts == ["/v1/hello"]


def test_a_replayed_hello_admits_nobody(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    kept: list[bytes] = []
    transport.after = lambda at, body: (kept.append(body) or kept[0]) if at == "/v1/hello" else body
    account = state.terms.account_of("st_anna.visits")
    ledger = state.brokers._ledgers[account.broker.name]
    open_session(transport, ledger, state.terms, state.keys)
    with pytest.raises(TrustError) as rejected:
        open_session(transport, ledger, state.terms, state.keys)
    assert rejected.value.code == "evidence.rejected"
