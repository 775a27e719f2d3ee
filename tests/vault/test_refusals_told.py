"""What an enclave refuses by itself is in the log of every broker concerned: by code, bounded, and never from data."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from match_world import inquiry
from mutants import mutated
from refusal_world import ask, refusals
from vault_world import World, context, customers, customers_card, numbered, plan, visits_card

from cloister.contract.clauses import Access
from cloister.contract.states import Decision
from cloister.contract.terms import Limits
from cloister.errors import CloisterError, ContractError, TrustError, UnavailableError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Context
from cloister.provider import requests as broker_requests
from cloister.provider.sentinel import Sentinel
from cloister.receipt import alerts
from cloister.receipt.refusals import CODES, MOST_TOLD, QUESTION_CODES, Refused, Told
from cloister.vault import brokers, confidential
from cloister.vault import refusals as telling
from cloister.vault.refusals import AT_ONCE, COUNTS_S, EVERY_S
from cloister.wire import canonical
from cloister.wire.frames import Kind

GENOME = plan(a.Sum("g", a.Col("genome")))
GRAM = plan(a.Gram("g", (a.Col("age"), a.Col("cost"))), rho="1/10")
BANK = plan(table="bank.customers")
TINY = Limits(releases=1000, rows=1, compute=10**6, models=100)


def refused(state: Any, who: Context, document: dict[str, Any], op: str = "release") -> str:
    with pytest.raises(CloisterError) as caught:
        ask(state, who, document, op)
    return caught.value.code


QUESTIONS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("contract.purpose", numbered(1), {"purpose": "marketing"}, {}),
    ("contract.operation", GRAM, {}, {"operations": ("aggregate",)}),
    ("contract.algorithm", GRAM, {}, {"algorithms": ("CategoricalNB@1",)}),
    ("contract.tier", GENOME, {}, {}),
    ("contract.screened", numbered(1), {}, {"regime": "screened"}),
    ("exit.match", inquiry("p1", column="age", table="st_anna.visits"), {}, {}),
    ("limit.rows", numbered(1), {}, {"limits": TINY}),
    ("plan.table", plan(table="nobody.has"), {}, {}),
]


# A price is told whatever is left of a limit.
BOTH = [(*row, op) for row in QUESTIONS for op in ("release", "price") if (row[0], op) != ("limit.rows", "price")]


@pytest.mark.parametrize(("code", "document", "who", "terms", "op"), BOTH, ids=[f"{row[0]}-{row[4]}" for row in BOTH])
def test_a_refused_question_is_in_the_log(  # noqa: PLR0917 (a row of the table)
    audited_world: World, code: str, document: dict[str, Any], who: dict[str, Any], terms: dict[str, Any], op: str
) -> None:
    """Code, asker, digest of the question; nothing else of it. Nobody was asked to charge."""
    state, transport = audited_world.state(audited_world.sign(audited_world.contract(**terms)))
    assert refused(state, context(audited_world, **who), document, op) == code
    assert {"/v1/append", "/v1/tip"}.isdisjoint(transport.posts), "the notebook is answered before any broker is told"
    (event,) = refusals(audited_world, state, transport)
    assert (event.kind, event.op, event.status, event.actor) == ("refusal", op, code, audited_world.analyst.did)
    digest = "" if codec.is_exit(document) else codec.digest(codec.decode(document))
    assert event.subject == digest
    assert event.reason == f"refused in the enclave by {state.keys.vault_id}"
    assert "/v1/append" not in transport.posts


def test_an_access_right_that_is_not_granted_is_in_the_log(tmp_path: Path) -> None:
    """For another purpose, another column, another person: each with its code."""
    both = ("teaching", "other")
    second = (msgspec.structs.replace(customers_card(), purposes=both), customers())
    world = World(tmp_path, card=visits_card(purposes=both), second=second, serve=False)
    granted = Access("ada", "st_anna.visits", ("age",), purposes=("other",))
    state, transport = world.state(world.sign(world.contract(access=(granted,), purposes=both)))
    allowed = plan(a.Sum("s", a.Col("age")))
    asked = {
        "contract.purpose": (allowed, {}),
        "contract.access": (plan(a.Sum("s", a.Col("cost"))), {"purpose": "other"}),
    }
    for code, (question, who) in asked.items():
        assert refused(state, context(world, **who), question) == code
    assert refused(state, context(world, analyst=world.other_analyst.did), allowed) == "contract.access"
    told = [(event.status, event.actor) for event in refusals(world, state, transport)]
    mine, other = world.analyst.did, world.other_analyst.did
    assert told == [("contract.purpose", mine), ("contract.access", mine), ("contract.access", other)]


def test_only_brokers_of_the_tables_asked_about_are_told(audited_world: World) -> None:
    state, transport = audited_world.state(audited_world.sign(audited_world.contract(limits=TINY)))
    assert refused(state, context(audited_world), BANK) == "limit.rows"
    assert refusals(audited_world, state, transport, "anna") == []
    assert [event.status for event in refusals(audited_world, state, transport, "bank")] == ["limit.rows"]
    assert refused(state, context(audited_world), plan(table="nobody.has")) == "plan.table"
    for broker in ("anna", "bank"):
        assert refusals(audited_world, state, transport, broker)[-1].status == "plan.table"


def test_somebody_the_contract_does_not_name_is_not_named_in_the_log(audited_world: World) -> None:
    state, transport = audited_world.state()
    assert refused(state, context(audited_world, analyst=audited_world.anna.did), numbered(1)) == "contract.analyst"
    (event,) = refusals(audited_world, state, transport)
    assert (event.status, event.actor) == ("contract.analyst", state.keys.vault_id)


def test_what_a_broker_refuses_is_its_own_entry_and_told_once(audited_world: World) -> None:
    """The last release of a limit is refused by the broker, in the transaction that would charge."""
    limits = Limits(releases=1, rows=10**9, compute=10**6, models=100)
    state, transport = audited_world.state(audited_world.sign(audited_world.contract(limits=limits)))
    ask(state, context(audited_world), numbered(1))
    assert refused(state, context(audited_world), numbered(2)) == "limit.releases"
    assert [event.op for event in refusals(audited_world, state, transport)] == ["append"]


@pytest.mark.parametrize("whose", ["ada", "bob"])
def test_a_refusal_is_told_whoever_is_charged_meanwhile(audited_world: World, whose: str) -> None:
    """Another session's question is charged in another thread, of the same analyst or another one."""
    state, transport = audited_world.state()
    other = audited_world.analyst if whose == "ada" else audited_world.other_analyst
    charged: list[Any] = []

    def charge() -> None:
        charged.append(ask(state, context(audited_world, analyst=other.did), numbered(1)))

    thread = threading.Thread(target=charge)
    with pytest.raises(ContractError), state.refusals.watching("release", context(audited_world), GENOME):
        thread.start()
        thread.join()
        raise ContractError("contract.tier", "refused while another question was charged")
    assert charged
    told = [(event.op, event.status, event.actor) for event in refusals(audited_world, state, transport)]
    assert told == [("release", "contract.tier", audited_world.analyst.did)]


def test_mistakes_and_faults_are_not_told(audited_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped plan concerns nobody; a fault, and a vault that stopped for faults, may depend on data."""
    state, transport = audited_world.state()
    wrong = plan(a.Sum("s", a.Col("nobody")))
    assert refused(state, context(audited_world), wrong).startswith("plan.")

    def broken(*_: object) -> None:
        raise TypeError("p0001")

    monkeypatch.setattr(state.engine, "run", broken)
    for number in range(3):
        assert refused(state, context(audited_world), numbered(number)) == "vault.fault"
    assert refused(state, context(audited_world), numbered(9)) == "vault.suspended"
    assert not any(box.singly or box.counts for box in state.refusals._boxes.values())
    assert refusals(audited_world, state, transport) == []


@pytest.mark.parametrize("error", ["unreachable", "no answer", "forged", "read-only"])
def test_a_broker_that_cannot_be_told_changes_nothing(audited_world: World, error: str) -> None:
    """The notebook sees the same refusal; what waits is told when the broker is back, with its age."""
    state, transport = audited_world.state()
    clock = [0.0]
    state.refusals._monotonic = lambda: clock[0]
    plain = audited_world.state()[0]
    with pytest.raises(ContractError) as there:
        ask(plain, context(audited_world), GENOME)
    lose = lambda path, body: None if path == "/v1/tip" else body  # noqa: E731
    transport.before = lose if error == "unreachable" else transport.before
    transport.after = {"no answer": lose, "forged": lambda path, body: b"{}" if path == "/v1/tip" else body}.get(
        error, transport.after
    )
    broker = transport._brokers[audited_world.anna_broker.did]
    with contextlib.ExitStack() as undo:
        if error == "read-only":
            undo.callback(setattr, broker, "restored", None)
            ask(state, context(audited_world), numbered(1))
            broker.restored = type("Restored", (), {"reason": "an older copy"})()
        with pytest.raises(ContractError) as away:
            ask(state, context(audited_world), GENOME)
        assert away.value.to_dict() == there.value.to_dict()
        state.refusals.flush()
    transport.before = transport.after = lambda path, body: body
    clock[0] = 75.4
    events = [event for event in refusals(audited_world, state, transport) if event.op == "release"]
    told = {event.reason.rpartition(", ")[2] for event in events}
    heard = error in {"forged", "no answer"}  # whatever became of its answer: it is not written twice
    assert told == ({f"refused in the enclave by {state.keys.vault_id}"} if heard else {"75 s before"})
    assert len(events) == 1
    refused(state, context(audited_world), GENOME)
    assert len([event for event in refusals(audited_world, state, transport) if event.op == "release"]) == 2


def test_a_flood_is_counted_not_told(audited_world: World) -> None:
    """Thirty singly, then one a minute; the others are counted by code, and the counts told once an hour."""
    state, transport = audited_world.state()
    clock = [0.0]
    state.refusals._monotonic = lambda: clock[0]
    for _ in range(200):
        refused(state, context(audited_world), GENOME, "price")
    events = refusals(audited_world, state, transport)
    assert [event.kind for event in events] == ["refusal"] * AT_ONCE
    clock[0] = EVERY_S * 2
    for _ in range(5):
        refused(state, context(audited_world), GENOME, "price")
    assert len(refusals(audited_world, state, transport)) == AT_ONCE + 2
    clock[0] = COUNTS_S
    last = refusals(audited_world, state, transport)[-1]
    assert (last.kind, last.count, last.op, last.status) == ("suppressed", 173, "price", "contract.tier")
    assert (last.actor, last.subject) == (audited_world.analyst.did, "")
    clock[0] = 2 * COUNTS_S
    assert len(refusals(audited_world, state, transport)) == AT_ONCE + 3, "nothing is told twice"


def test_one_asker_does_not_use_up_what_is_told_of_another(audited_world: World) -> None:
    state, transport = audited_world.state()
    for _ in range(AT_ONCE + 5):
        refused(state, context(audited_world), GENOME, "price")
    refused(state, context(audited_world, analyst=audited_world.other_analyst.did), GENOME, "price")
    assert refusals(audited_world, state, transport)[-1].actor == audited_world.other_analyst.did


def test_what_waits_is_bounded(audited_world: World) -> None:
    """Of a broker that is away at most one message waits; the rest is counted, and nothing is lost."""
    state, transport = audited_world.state()
    transport.before = lambda path, body: None
    clock = [0.0]
    state.refusals._monotonic = lambda: clock[0]
    for minute in range(100):
        clock[0] = minute * EVERY_S
        refused(state, context(audited_world), GENOME, "price")
        state.refusals.flush()
    box = state.refusals._boxes["anna-broker"]
    assert (len(box.sent), len(box.singly)) == (1, MOST_TOLD)
    transport.before = lambda path, body: body
    state.refusals.flush(counts=True)
    events = refusals(audited_world, state, transport)
    assert sum(event.count or 1 for event in events) == 100


def test_a_contract_that_ended_is_told_of_all_the_same(own_world: World) -> None:
    state, transport = own_world.state()
    refused(state, context(own_world), GENOME)
    ask(state, context(own_world), numbered(1))
    own_world.anna_home.contracts.decide(state.terms.digest, Decision("revoked", "2026-01-01T00:00:00Z"))
    told = [(event.op, event.status) for event in refusals(own_world, state, transport)]
    assert ("release", "contract.tier") in told


def test_a_fenced_vault_is_not_heard(audited_world: World) -> None:
    document = audited_world.sign(audited_world.contract())
    old, through = audited_world.state(document)
    ask(old, context(audited_world), numbered(1))
    new, _ = audited_world.state(document)
    ask(new, context(audited_world), numbered(1))
    refused(old, context(audited_world), GENOME)
    assert refusals(audited_world, old, through) == []
    assert through.posts[-1] == "/v1/tip", "it was said"


SAID = {
    "a code that is not in the set": Refused("release", "plan.type"),
    "a code of something else": Refused("open", "contract.tier"),
    "a stranger": Refused("release", "contract.tier", "did:key:zStranger"),
    "a table nobody has": Refused("capsule", "capsule.part", table="nobody.has"),
    "no table": Refused("capsule", "capsule.part"),
    "a table of a question": Refused("release", "contract.tier", table="st_anna.visits"),
    "a constant of the plan": Refused("release", "contract.tier", plan="age >= 17"),
    "more than a digest": Refused("release", "contract.tier", plan="sha256:" + "0" * 64 + " 17"),
    "before the world began": Refused("release", "contract.tier", age_s=10**12),
    "no refusal at all": Refused("release", "contract.tier", count=0),
}


@pytest.mark.parametrize("said", SAID.values(), ids=list(SAID))
def test_a_broker_keeps_nothing_but_what_a_refusal_may_say(audited_world: World, said: Refused) -> None:
    """Whatever an admitted vault sends: a closed set of codes, the contract's own names, digests."""
    state, transport = audited_world.state()
    broker = state.terms.broker_of(audited_world.card.name)
    sound = Refused("release", "contract.tier", audited_world.analyst.did)
    assert state.brokers.tell(broker, Told(1, (said, sound))).status == "ok"
    (event,) = refusals(audited_world, state, transport)
    assert (event.actor, event.reason) == (sound.analyst, f"refused in the enclave by {state.keys.vault_id}")


def test_a_message_of_refusals_is_short(audited_world: World) -> None:
    state, transport = audited_world.state()
    broker = state.terms.broker_of(audited_world.card.name)
    sound = Refused("release", "contract.tier", audited_world.analyst.did)
    with pytest.raises(CloisterError, match=r"document\.schema"):
        state.brokers.tell(broker, Told(1, (sound,) * (MOST_TOLD + 1)))
    assert refusals(audited_world, state, transport) == []


def test_a_session_of_ones_own_is_not_somebody_elses(audited_world: World) -> None:
    """Another thread of this vault opened the session anew between asking for it and using it."""
    state, _ = audited_world.state()
    account = state.terms.account_of("st_anna.visits")
    state.brokers.session(account.broker)
    session, renewed = state.brokers.session, []

    def meanwhile(broker: Any) -> Any:
        held = session(broker)
        if not renewed:
            renewed.append(state.brokers._sessions.pop(broker.name))
            session(broker)
        return held

    state.brokers.session = meanwhile  # type: ignore[method-assign]
    assert state.brokers.tip(account.broker, account.budget.population, audited_world.analyst.did).status == "ok"
    state.brokers.session = session  # type: ignore[method-assign]
    assert not ask(state, context(audited_world), numbered(1)).result["recalled"]


def test_the_agent_says_what_no_sandbox_may(audited_world: World) -> None:
    """An analyst was refused a session: told to every broker. Anything else that the agent says is nothing."""
    state, transport = audited_world.state()
    mine = audited_world.analyst.did
    state.refusals.opening(canonical.encode({"type": "refused", "analyst": mine, "code": "contract.purpose"}))
    for nonsense in (
        {"type": "refused", "analyst": mine, "code": "contract.tier"},
        {"type": "refused", "analyst": audited_world.anna.did, "code": "contract.purpose"},
        {"type": "refused", "analyst": mine, "code": "contract.purpose", "plan": "x"},
        {"type": "other"},
    ):
        state.refusals.opening(canonical.encode(nonsense))
    state.refusals.opening(b"\xff[")
    assert [len(box.singly) for box in state.refusals._boxes.values()] == [1, 1]
    for broker in ("anna", "bank"):
        told = [(event.op, event.status, event.actor) for event in refusals(audited_world, state, transport, broker)]
        assert told == [("open", "contract.purpose", mine)]


def test_a_vault_tells_by_itself(world: World) -> None:
    """Real processes: the refusal, then the event, without anybody asking again. The agent's event too."""
    with world.vault() as vault:
        with pytest.raises(ContractError):
            vault.ask("release", GENOME)
        event = {"type": "refused", "analyst": world.analyst.did, "code": "contract.purpose"}
        vault.send_raw(canonical.encode(event), kind=Kind.EVENT)
        found: set[tuple[str, str]] = set()
        until = time.monotonic() + 60
        digest = state_digest(vault.config)
        while len(found) < 2 and time.monotonic() < until:
            accounts = world.anna_home.open_accounts()
            try:
                with accounts.database.transaction() as db:
                    found = told_under(db, digest)
            finally:
                accounts.close()
            time.sleep(0.1)
        assert found == {("release", "contract.tier"), ("open", "contract.purpose")}
        assert vault.ask("release", numbered(1))["charge_id"]


def state_digest(config: dict[str, Any]) -> str:
    from cloister.contract import signing
    from cloister.wire.envelope import Envelope

    return signing.payload_digest(msgspec.convert(config["contract"], Envelope))


def told_under(db: Any, digest: str) -> set[tuple[str, str]]:
    from cloister.provider import event_log
    from cloister.receipt.events import decode_event

    events = [decode_event(body) for _, body in event_log.read(db) if body is not None]
    return {(event.op, event.status) for event in events if event.contract == digest and event.kind == "refusal"}


def test_alerts_of_article_40_count_them_by_analyst(audited_world: World) -> None:
    """Use of an interface beyond its contract (rule 13): what was told one by one, and what was counted."""
    state, transport = audited_world.state()
    for _ in range(AT_ONCE + 7):
        refused(state, context(audited_world), GENOME, "price")
    state.refusals.flush(counts=True)
    watch = alerts.Watch(alerts.pboc40())
    for event in refusals(audited_world, state, transport):
        watch.event(event)
    (alert,) = watch.alerts()
    assert (alert.rule, alert.subject, alert.count) == (13, audited_world.analyst.did, AT_ONCE + 7)


def test_the_analyst_is_told_of_her_own_alerts_with_the_budget(own_world: World) -> None:
    """What a broker's sentinel wrote about her; each broker speaks of what it saw, once for all its populations."""
    state, transport = own_world.state()
    for _ in range(2):
        refused(state, context(own_world), GENOME)
    state.refusals.flush()
    broker = transport._brokers[own_world.anna_home.identity().did]
    broker.journal.flush()
    assert "alerts" not in ask(state, context(own_world), {}, "budget").result
    Sentinel(broker).look()
    (alert,) = ask(state, context(own_world), {}, "budget").result["alerts"]
    assert (alert["broker"], alert["rule"], alert["what"]) == ("anna-broker", 13, "refusal.count")
    assert set(alert) == {"broker", "rule", "text", "what", "bucket", "count", "most"}, "nobody is named"
    another = msgspec.structs.replace(context(own_world), analyst=own_world.anna.did)
    assert "alerts" not in ask(state, another, {}, "budget").result


# The closed set --------------------------------------------------------------------------------------

NOT_TOLD = {
    "plan.missing": "no question was asked",
    "plan.cost": "what nobody could be given, under any contract",
    "limit.target": "counted by the broker, which refuses it",
}


def test_every_refusal_before_a_charge_is_in_the_set_or_has_a_reason() -> None:
    """The codes written in the modules that decide what the contract allows, found in their source."""
    from cloister.contract import access, algorithms
    from cloister.vault import authorise, deliver, limits, match, permits, question

    found: set[str] = set()
    for module in (authorise, permits, question, limits, deliver, match, access, algorithms):
        found |= written(module)
    assert found
    assert found <= QUESTION_CODES | set(NOT_TOLD), found - QUESTION_CODES - set(NOT_TOLD)
    assert not QUESTION_CODES & set(NOT_TOLD)


def written(module: ModuleType) -> set[str]:
    """Return the codes that a module makes errors with: first arguments that have the form of one."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    first = [call.args[0] for call in calls if call.args]
    texts = {one.value for one in first if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {text for text in texts if re.fullmatch(r"[a-z]+\.[a-z-]+", text)}


def test_nothing_that_may_depend_on_data_is_in_the_set() -> None:
    for names in CODES.values():
        assert not {name for name in names if name.startswith(("vault.", "broker.", "recall.", "budget."))}


# Every defence is needed -----------------------------------------------------------------------------

MUTANTS = [
    (brokers, "        self._asking.times = self.asked + 1\n", "", "once"),
    (brokers, "self._asking = threading.local()", "self._asking = __import__('types').SimpleNamespace()", "meanwhile"),
    (telling, "        if code in CODES[op]:\n", "        if True:\n", "mistakes"),
    (telling, 'frozenset({leaving.table}) if isinstance(leaving, algebra.Match) else named_tables(leaving), ""',
     "frozenset({leaving.table}), codec.exit_digest(leaving)", "exits"),
    (telling, "if name in known or not known]", "]", "concerned"),
    (telling, "return analyst if analyst in self._analysts else \"\"", "return analyst", "stranger"),
    (telling, "if alone and len(box.singly) < MOST_TOLD:", "if len(box.singly) < MOST_TOLD:", "flood"),
    (telling, "if alone and len(box.singly) < MOST_TOLD:", "if alone:", "bounded"),
    (telling, "if counts or now - box.counted_since >= COUNTS_S:", "if True:", "flood"),
    (telling, "self._allows(refused.analyst or refused.table, now)", 'self._allows("", now)', "another"),
    (telling, "        except UnavailableError:\n            return False\n", "", "unreachable"),
    (telling, '.status == "ledger.unavailable"', '.status == ""', "read-only"),
    (broker_requests, "        return told.number > latest\n", "        return True\n", "no answer"),
    (telling, "if told.code in CODES[\"open\"] and told.analyst in self._analysts:", "if True:", "agent"),
    (broker_requests, "if one.usable and known and", "if known and", "plan"),
    (broker_requests, "if one.usable and known and", "if one.usable and", "nobody"),
    (broker_requests, '(one.table in manifests) == (one.op == "capsule")', "True", "table"),
    (brokers, "(later := self.session(broker)).epoch > session.epoch", "False", "own"),
    (confidential, 'with self._state.refusals.watching("price", context, document):', "if True:", "priced"),
]  # fmt: skip


def _said(name: str) -> Any:
    return lambda world: test_a_broker_keeps_nothing_but_what_a_refusal_may_say(world, SAID[name])


def _row(code: str, op: str) -> Any:
    row = next(row for row in QUESTIONS if row[0] == code)
    return lambda world: test_a_refused_question_is_in_the_log(world, *row, op)


def _mistakes(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_mistakes_and_faults_are_not_told(world, patch)


CHECKS: dict[str, Any] = {
    "once": test_what_a_broker_refuses_is_its_own_entry_and_told_once,
    "mistakes": _mistakes,
    "meanwhile": lambda world: test_a_refusal_is_told_whoever_is_charged_meanwhile(world, "ada"),
    "exits": _row("exit.match", "release"),
    "concerned": test_only_brokers_of_the_tables_asked_about_are_told,
    "stranger": test_somebody_the_contract_does_not_name_is_not_named_in_the_log,
    "flood": test_a_flood_is_counted_not_told,
    "bounded": test_what_waits_is_bounded,
    "another": test_one_asker_does_not_use_up_what_is_told_of_another,
    "read-only": lambda world: test_a_broker_that_cannot_be_told_changes_nothing(world, "read-only"),
    "no answer": lambda world: test_a_broker_that_cannot_be_told_changes_nothing(world, "no answer"),
    "unreachable": lambda world: test_a_broker_that_cannot_be_told_changes_nothing(world, "unreachable"),
    "agent": test_the_agent_says_what_no_sandbox_may,
    "plan": _said("a constant of the plan"),
    "nobody": _said("a stranger"),
    "table": _said("a table of a question"),
    "own": test_a_session_of_ones_own_is_not_somebody_elses,
    "priced": _row("contract.tier", "price"),
}


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_each_defence_is_needed(audited_world: World, module: Any, old: str, new: str, check: str) -> None:
    with (
        mutated(module, old, new),
        pytest.raises((AssertionError, ValueError, KeyError, UnavailableError, TrustError, pytest.fail.Exception)),
    ):
        CHECKS[check](audited_world)
