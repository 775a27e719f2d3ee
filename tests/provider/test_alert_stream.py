"""Alerts as they become due: in the log once, in the stream, told to the operator and to whom they concern."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from log_world import exported
from provider_world import POPULATION, START, USAGE, Vault, World
from starlette.testclient import TestClient

from cloister.contract.usage import Usage
from cloister.errors import MalformedError, RefusedError, SignatureError, UnavailableError
from cloister.provider import alert_commands, alerting, backup, clock, event_log, operators, restored, roles, sentinel
from cloister.provider.home import BrokerHome
from cloister.provider.sentinel import Sentinel
from cloister.provider.server import create_app
from cloister.receipt import alerts, audit
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.events import Event, decode_event
from cloister.receipt.ledger import Entry, OwnAlert, TipRequest
from cloister.receipt.office import ASK_TYPE, Ask
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, open_envelope, seal
from cloister.wire.identity import SigningKey

RULES = """
name = "ours"
version = 1
[[rule]]
id = 5
text = "unusually often"
[[rule.measure]]
what = "charge.count"
bucket = "day"
most = 2
[[rule]]
id = 9
text = "vaults that take over"
[[rule.measure]]
what = "session.count"
bucket = "day"
most = 1
"""


@pytest.fixture
def strict(make_world):
    """A world whose operator alerts at the third charge of a day and at the second vault."""
    world = make_world()
    world.home.alert_rules_file.write_text(RULES)
    world.restart()
    return world


def charge(vault: Vault, *numbers: int) -> None:
    for number in numbers:
        assert vault.append(f"c{number}").status == "ok"


def in_log(world: World) -> list[Event]:
    with world.broker.accounts.database.transaction() as db:
        events = [decode_event(body) for _, body in event_log.read(db) if body is not None]
    return [event for event in events if event.kind == "alert"]


def counts(world: World) -> list[int]:
    return [event.count for event in in_log(world)]


# The log ---------------------------------------------------------------------------------------------


def test_an_alert_is_in_the_log_when_it_is_due_and_again_when_its_count_has_doubled(strict):
    told = []
    watch = Sentinel(strict.broker, told.append)
    vault = strict.vault()
    for number in range(7):
        charge(vault, number)
        watch.look()
        watch.look()
    assert counts(strict) == [3, 6]
    assert [one.count for one in told] == [3, 6]
    (first, _) = in_log(strict)
    assert (first.op, first.status, first.reason) == ("ours.5", "charge.count", "2026-06-01")
    assert (first.subject, first.contract) == (strict.analyst.did, strict.digest)
    assert audit.Audit().check(exported(strict)).sound


def test_an_alert_holds_neither_data_nor_what_was_asked(strict):
    charge(strict.vault(), 1, 2, 3)
    Sentinel(strict.broker).look()
    (event,) = in_log(strict)
    body = canonical.encode(event).decode()
    for secret in ("sha256:plan", "charge_id", POPULATION, "1/1000"):
        assert secret not in body
    assert set(json.loads(body)) == {
        "kind", "time", "actor", "contract", "op", "status", "subject", "reason", "count"
    }  # fmt: skip


def test_a_broker_that_was_killed_before_it_wrote_an_alert_writes_it_then_and_none_twice(strict):
    vault = strict.vault()
    charge(vault, 1, 2, 3)
    strict.restart()
    Sentinel(strict.broker).look()
    assert counts(strict) == [3]
    charge(vault, 4, 5)
    strict.restart()
    Sentinel(strict.broker).look()
    assert counts(strict) == [3]
    charge(vault, 6)
    Sentinel(strict.broker).look()
    assert counts(strict) == [3, 6]


def test_a_new_day_counts_anew_and_days_before_the_last_are_left(strict, monkeypatch):
    monkeypatch.setattr(sentinel, "AT_ONCE", 5)  # the log is read in parts: the first has three charges of that day
    vault = strict.vault()
    charge(vault, 1, 2, 3, 4)
    strict.later(days=5)
    charge(vault, 5, 6)
    watch = Sentinel(strict.broker)
    watch.look()
    assert counts(strict) == []  # of the days before, nothing is known whole
    charge(vault, 7)
    watch.look()
    assert [(event.reason, event.count) for event in in_log(strict)] == [("2026-06-06", 3)]


def test_two_processes_on_one_log_write_an_alert_once(strict):
    one, other = Sentinel(strict.broker), Sentinel(strict.broker)
    charge(strict.vault(), 1, 2, 3)
    while one._read():
        pass
    assert one._due
    other.look()
    one._write()
    one.look()
    assert counts(strict) == [3]


def test_a_log_that_cannot_be_written_has_the_alert_later(strict, monkeypatch):
    watch = Sentinel(strict.broker)
    charge(strict.vault(), 1, 2, 3)
    with monkeypatch.context() as broken:
        failure = UnavailableError("ledger.unavailable", "the disk is full", next_step="wait")

        def fail(*_events):
            raise failure

        broken.setattr(event_log, "record", fail)
        with pytest.raises(UnavailableError):
            watch.look()
    watch.look()
    assert counts(strict) == [3]


def test_a_restored_broker_writes_no_alert(strict):
    charge(strict.vault(), 1, 2, 3)
    strict.broker.close()
    restored.set_mark(strict.home, restored.Mark("a test", "2026-06-01T00:00:00Z"))
    strict.broker = strict.start()
    Sentinel(strict.broker).look()
    assert counts(strict) == []


def test_it_follows_whoever_writes_and_no_charge_waits(strict):
    watch = Sentinel(strict.broker)
    watch.start()
    try:
        charge(strict.vault(), 1, 2, 3)
        until = time.monotonic() + 20
        while watch.newest < 0 and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        watch.stop()
    assert counts(strict) == [3]


def test_rules_that_are_none_stop_the_broker_before_it_serves(world):
    world.home.alert_rules_file.write_text("name = 1")
    with pytest.raises(MalformedError, match=r"alerts\.malformed"):
        world.start()


def test_the_operators_rules_are_in_a_backup(strict, tmp_path):
    backup.backup(strict.home, tmp_path / "backup", now=clock.text(strict.now))
    backup.restore(tmp_path / "backup", tmp_path / "again", now=clock.text(strict.now))
    assert alerting.read_rules(BrokerHome(tmp_path / "again")).name == "ours"


# Counting --------------------------------------------------------------------------------------------


def charged(number: int, moment: str, analyst: str = "did:a", plan: str = "p") -> Charged:
    entry = Entry(f"c{number}", "p", "sha256:c", analyst, "1", "0", plan, Usage(1, 1, 0))
    return Charged(entry, number, moment, "did:vault")


@pytest.fixture
def mixed() -> list[Charged | Event]:
    """Three days of charges by two analysts, at all hours, and refusals."""
    made: list[Charged | Event] = []
    for number in range(400):
        moment = f"2026-06-0{1 + number // 150}T{number % 150 // 7:02}:00:00Z"
        made.append(charged(number, moment, f"did:{number % 2}", f"p{number % 31}"))
        if number % 9 == 0:
            made.append(Event("refusal", moment, actor="did:0", status="limit.rows"))
    return made


def feed(counting: alerts.Live | alerts.Watch, one: Charged | Event) -> list[alerts.Alert]:
    return (counting.charge(one) if isinstance(one, Charged) else counting.event(one)) or []


def test_what_is_due_as_it_comes_is_what_the_whole_log_shows(mixed):
    live, whole = alerts.Live(alerts.pboc40()), alerts.Watch(alerts.pboc40())
    due = [alert for one in mixed for alert in feed(live, one)]
    for one in mixed:
        feed(whole, one)
    named = {(one.rule, one.what, one.subject, one.bucket) for one in due}
    assert named == {(one.rule, one.what, one.subject, one.bucket) for one in whole.alerts()}
    assert {one.what for one in due} == {"charge.hours", "refusal.count"}
    assert len(due) <= len(named) * 6  # doublings, not one for each


def test_what_is_held_is_bounded():
    live = alerts.Live(alerts.read_pack(RULES.replace("most = 2", "most = 10")), most_counts=100)
    due = []
    for day in range(1, 29):
        for number in range(300):
            due += live.charge(charged(number, f"2026-06-{day:02}T00:00:00Z", f"did:{number}"))
    assert len(live._counts) <= 101
    assert {one.subject for one in due} == {""}, "those beyond are counted together"


# The stream ------------------------------------------------------------------------------------------


def opened(world: World, response) -> alerts.Raises:
    document = msgspec.json.decode(response.content, type=Envelope)
    return msgspec.json.decode(open_envelope(document, alerts.ALERTS_TYPE, world.broker.did), type=alerts.Raises)


def operator(world: World) -> dict[str, str]:
    operators.make_token(world.home)
    return {"authorization": f"Bearer {world.home.metrics_file.read_text()}"}


def signed(world: World, key: SigningKey, action: str = "alert.follow") -> dict[str, str]:
    ask = Ask(secrets.token_hex(8), world.broker.did, key.did, clock.text(world.now), action)
    body = canonical.encode(seal(ASK_TYPE, canonical.encode(ask), key))
    return {"authorization": f"Cloister {base64.urlsafe_b64encode(body).decode()}"}


@pytest.fixture
def alerted(strict):
    charge(strict.vault(), 1, 2, 3)
    watch = Sentinel(strict.broker)
    watch.look()
    return strict, watch, TestClient(create_app(strict.broker, watch=watch))


def test_an_operator_reads_the_stream_by_its_cursor(alerted):
    world, watch, client = alerted
    header = operator(world)
    first = opened(world, client.get("/v1/alerts", headers=header))
    (one,) = first.alerts
    assert (one.rule, one.text, one.count, one.most) == (5, "unusually often", 3, 2)
    assert first.next == one.position + 1
    again = opened(world, client.get("/v1/alerts", params={"after": first.next}, headers=header))
    assert (again.alerts, again.next) == ((), first.next)
    world.vault()
    watch.look()
    (other,) = opened(world, client.get("/v1/alerts", params={"after": first.next}, headers=header)).alerts
    assert (other.rule, other.subject) == (9, world.digest)


def test_an_auditor_reads_it_with_a_signed_request_and_each_request_counts_once(alerted):
    world, _, client = alerted
    auditor = SigningKey.generate()
    roles.grant(world.home, auditor.did, "auditor")
    header = signed(world, auditor)
    assert len(opened(world, client.get("/v1/alerts", headers=header)).alerts) == 1
    assert client.get("/v1/alerts", headers=header).json()["error"]["code"] == "request.twice"


def test_nobody_else_reads_it(alerted):
    world, _, client = alerted
    auditor = SigningKey.generate()
    roles.grant(world.home, auditor.did, "auditor")
    roles.grant(world.home, world.analyst.did, "analyst")
    operators.make_token(world.home)
    found = {
        name: client.get("/v1/alerts", headers=header).json()["error"]["code"]
        for name, header in {
            "nothing": {},
            "another token": {"authorization": "Bearer x"},
            "an analyst": signed(world, world.analyst),
            "a stranger": signed(world, SigningKey.generate()),
            "another action": signed(world, auditor, "broker.status"),
            "no base64": {"authorization": "Cloister ###"},
        }.items()
    }
    assert found == {
        "nothing": "metrics.token",
        "another token": "metrics.token",
        "an analyst": "role.denied",
        "a stranger": "role.denied",
        "another action": "role.denied",
        "no base64": "office.request",
    }


@pytest.mark.parametrize("query", [{"after": "-1"}, {"after": "x"}, {"wait": "1e9"}, {"after": "9" * 40}])
def test_senseless_positions_are_refused(alerted, query):
    world, _, client = alerted
    answer = client.get("/v1/alerts", params=query, headers=operator(world))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "alerts.query")


def test_who_waits_is_told_when_there_is_an_alert_and_not_before(alerted):
    world, watch, client = alerted
    header, found = operator(world), {}

    def ask() -> None:
        began = time.monotonic()
        query = {"after": watch.newest + 1, "wait": 20}
        found["page"] = opened(world, client.get("/v1/alerts", params=query, headers=header))
        found["took"] = time.monotonic() - began

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    assert not found
    world.vault()
    watch.look()
    thread.join(20)
    assert [one.rule for one in found["page"].alerts] == [9]
    assert 0.4 < found["took"] < 15


# Whom they concern -----------------------------------------------------------------------------------


def own(world: World, vault: Vault, analyst: str) -> tuple[OwnAlert, ...]:
    names = (secrets.token_hex(8), secrets.token_hex(8), vault.key.did, vault.epoch)
    request = TipRequest(*names, POPULATION, world.digest, analyst)
    return vault.ask("tip", request).own_alerts


def test_an_analyst_is_told_of_her_own_and_of_nobody_elses(alerted):
    world, watch, _ = alerted
    vault = world.vault()  # the second one: an alert about the contract, which is no analyst's
    watch.look()
    assert counts(world) == [3, 2]
    assert own(world, vault, world.analyst.did) == (OwnAlert(5, "unusually often", "charge.count", "2026-06-01", 3, 2),)
    assert own(world, vault, world.provider.did) == ()
    assert own(world, vault, world.digest) == ()


def test_she_is_told_of_the_latest_count_for_a_week(alerted):
    world, watch, _ = alerted
    vault = world.vault()
    charge(vault, 4, 5, 6)
    watch.look()
    assert [one.count for one in own(world, vault, world.analyst.did)] == [6]
    world.later(days=7)
    assert len(own(world, vault, world.analyst.did)) == 1
    world.later(days=1)
    assert own(world, vault, world.analyst.did) == ()


def test_an_alert_under_another_contract_is_not_told(alerted):
    world, _, _ = alerted
    with world.broker.accounts.database.transaction() as db:
        alert = alerts.Alert(5, "t", "charge.count", world.analyst.did, "2026-06-01", 99, 2)
        told = {"time": clock.text(START), "actor": world.broker.did, "contract": "sha256:another"}
        event_log.record(db, alerts.event_of(alert, "ours", **told))
    assert [one.count for one in own(world, world.vault(), world.analyst.did)] == [3]


# What the operator named -----------------------------------------------------------------------------

ONE = alerts.Raised(7, "t", "ours", 5, "text", "charge.count", "did:a", "sha256:c", "2026-06-01", 3, 2)


def test_a_file_gets_a_line_for_each_and_a_hook_each_on_its_input(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOISTER_SECRET", "x")
    got, lines = tmp_path / "hook.json", tmp_path / "alerts.jsonl"
    program = tmp_path / "hook.py"
    program.write_text(
        "import os, sys\n"
        "told = sys.stdin.buffer.read() + repr('CLOISTER_SECRET' in os.environ).encode()\n"
        "open(sys.argv[1], 'ab').write(told)\n"
    )
    tell = alerting.Teller(f"{sys.executable} {program} {got}", lines)
    tell(ONE)
    tell(ONE)
    assert lines.read_bytes() == 2 * (msgspec.json.encode(ONE) + b"\n")
    assert got.read_bytes() == 2 * (msgspec.json.encode(ONE) + b"\nFalse")
    assert lines.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("hook", ["/no/such/command", "false", "sleep 60"])
def test_a_hook_that_fails_holds_nobody_up(hook, tmp_path, monkeypatch):
    monkeypatch.setattr(alerting, "HOOK_S", 0.2)
    began = time.monotonic()
    alerting.Teller(hook, tmp_path / "no" / "such" / "folder")(ONE)
    assert time.monotonic() - began < 10


def test_words_that_do_not_end_are_no_hook():
    with pytest.raises(MalformedError, match=r"alerts\.hook"):
        alerting.Teller("echo 'x")


def token_of(world: World) -> Path:
    operators.make_token(world.home)
    return world.home.metrics_file


# The command -----------------------------------------------------------------------------------------


def test_a_served_broker_writes_tells_and_streams(served, tmp_path, capsys):
    """Real processes: the broker with a file of the operator's, the command at the machine and over HTTP."""
    lines = tmp_path / "alerts.jsonl"
    world = served("--alert-file", str(lines))
    key = tmp_path / "auditor.key"
    auditor = SigningKey.generate()
    key.write_bytes(base64.b64encode(auditor.private_bytes()))
    key.chmod(0o600)
    roles.grant(world.home, auditor.did, "auditor")
    url, did = world.broker.state["url"], world.broker_key.did
    command = [sys.executable, "-m", "cloister.cli", "alerts", url, "--broker", did, "--key", str(key)]
    following = subprocess.Popen([*command, "--follow", "--json"], stdout=subprocess.PIPE, env=os.environ)
    try:
        vault = world.vault()
        assert vault.append("beyond", usage=msgspec.structs.replace(USAGE, rows=10**7)).status == "limit.rows"
        one = json.loads(following.stdout.readline())
    finally:
        following.kill()
        following.communicate()
    assert (one["pack"], one["rule"], one["subject"]) == ("pboc40", 13, world.analyst.did)
    assert json.loads(lines.read_text().splitlines()[0]) == one
    alert_commands.show(str(world.home.directory))
    said = capsys.readouterr().out
    assert "pboc40 rule 13 (use of an interface beyond its contract): refusal.count 1 > 0" in said
    with pytest.raises(RefusedError, match=r"role\.denied"):
        alert_commands.show(url, broker=did, key=world.home.key_file)
    with pytest.raises(SignatureError):
        alert_commands.show(url, broker=world.provider.did, token=token_of(world))
    with pytest.raises(MalformedError, match=r"alerts\.who"):
        alert_commands.show(url, broker=did)
