"""Event log, checkpoints and the auditor's export: what verifies, and what every kind of falsification is told by."""

from __future__ import annotations

import base64
import json
import random
from fractions import Fraction

import msgspec
import pytest
from log_world import checked, edited, exported, failures, spend, taken
from provider_world import POPULATION, Vault, World

from cloister.contract.states import Decision
from cloister.contract.terms import Limits
from cloister.errors import MalformedError, RefusedError, TrustError
from cloister.provider import clock, event_log, revoked
from cloister.provider.accounts import Granted
from cloister.receipt import checkpoint, events, export, log
from cloister.receipt.checkpoint import Checkpoint, open_checkpoint
from cloister.receipt.events import Event, decode_event
from cloister.wire import canonical
from cloister.wire.identity import SigningKey


@pytest.fixture(scope="module")
def spent(tmp_path_factory):
    """A world with three charges of one vault and one of another analyst's budget, and some refusals."""
    world = World(tmp_path_factory.mktemp("audit"))
    vault = spend(world)
    assert vault.append("too much", "100").status == "budget.exhausted"
    yield world
    world.broker.close()


@pytest.fixture(scope="module")
def lines(spent):
    return exported(spent)


def test_an_export_is_sound_and_says_what_happened(lines, spent):
    report = checked(lines, broker=spent.broker_key.did)
    assert report.sound, report.to_text()
    assert report.entries == {POPULATION: 3}
    assert report.by_kind["charge"] == report.by_kind["settle"] == 3
    assert report.by_kind["session"] == 1
    assert report.by_kind["refusal"] == 1
    assert report.by_kind["opened"] == 1


def test_an_export_opens_nothing(lines, spent):
    """No key, no sealed receipt, no row: an auditor cannot see data or results, whatever he does with the file."""
    text = b"".join(lines)
    keys = [spent.sealed.data_key, spent.broker_key.private_bytes()]
    canaries = [
        b"sealed-0",
        b"sealed-2",
        *keys,
        *(base64.b64encode(key) for key in keys),
        *(k.hex().encode() for k in keys),
    ]
    assert all(canary not in text for canary in canaries)
    payload = json.loads(lines[0])["checkpoint"]["payload"]
    assert all(canary not in base64.b64decode(payload) for canary in canaries)


def _entry_at(lines: list[bytes]) -> int:
    return next(at for at, line in enumerate(lines) if b'"rho"' in line and b'"usage"' in line)


def _charge_event_at(lines: list[bytes]) -> int:
    return next(at for at, line in enumerate(lines) if b'"kind":"charge"' in line)


EARLY = "2020-01-01T00:00:00Z"
FALSE = {
    "a cheaper entry": (lambda x: _put(x, _entry_at(x), rho="1/100000"), {"log.root", "entry.event", "account.spent"}),
    "another analyst": (lambda x: _put(x, _entry_at(x), analyst="did:key:x"), {"log.root", "entry.event"}),
    "another time": (lambda x: _put(x, _charge_event_at(x), time=EARLY), {"log.root"}),
    "two entries in another order": (lambda x: _swap(x, _entry_at(x)), {"log.root", "entry.event"}),
    "an entry left out": (lambda x: _drop(x, _entry_at(x), POPULATION), {"log.root", "account.spent", "event.entry"}),
    "an event left out": (lambda x: _drop(x, _charge_event_at(x), ""), {"log.root", "event.position", "entry.event"}),
    "an event hidden as purged": (lambda x: _purge(x, _charge_event_at(x)), {"event.purged"}),
    "an account left out": (lambda x: x[: _entry_at(x) - 1], {"export.missing"}),
    "no contracts": (lambda x: [edited(x[0], contracts=[]), *x[1:]], {"entry.contract"}),
    "no admissions": (lambda x: [edited(x[0], admissions=[]), *x[1:]], {"entry.vault"}),
}


def _put(lines, at, **changes):
    return [*lines[:at], edited(lines[at], **changes), *lines[at + 1 :]]


def _swap(lines, at):
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def _drop(lines, at, name):
    kept = [*lines[:at], *lines[at + 1 :]]
    head = next(n for n, line in enumerate(kept) if line.startswith(b'{"log":"%b"' % name.encode()))
    return _put(kept, head, size=json.loads(kept[head])["size"] - 1)


def _purge(lines, at):
    return [*lines[:at], export.write_leaf(log.leaf_hash(lines[at].rstrip(b"\n")), None), *lines[at + 1 :]]


@pytest.mark.parametrize("name", FALSE)
def test_a_falsified_export_is_told(lines, name):
    falsify, codes = FALSE[name]
    assert codes <= failures(falsify(list(lines))), checked(falsify(list(lines))).to_text()


def test_a_whole_new_history_under_the_same_key_is_told_by_an_earlier_checkpoint(make_world):
    """Roots and sums are all right, for the broker signs them; only who kept a checkpoint sees that history changed."""
    world = make_world()
    spend(world, 2)
    before = taken(world)
    spend(world, 0)
    assert checked(exported(world), earlier=[before.checkpoint]).sound
    world.broker.close()
    for path in world.home.directory.glob("accounts.*"):
        path.unlink()
    world.broker = world.start()
    spend(world, 4, rho="1/2000")
    again = exported(world)
    assert checked(again).sound
    assert "log.consistency" in failures(again, earlier=[before.checkpoint])


@pytest.mark.parametrize("at", range(20))
def test_random_bytes_changed_never_pass_unnoticed(lines, at):
    """A changed export is malformed, of a wrong signature, or not sound; it never raises anything else."""
    rng, body = random.Random(at), bytearray(b"".join(lines))
    place = rng.randrange(len(body))
    body[place] ^= 1 << rng.randrange(7)
    changed = bytes(body).splitlines(keepends=True)
    if changed == lines:
        return
    try:
        report = checked(changed)
    except (MalformedError, TrustError):
        return
    assert not report.sound or _same_meaning(changed, lines), (place, report.to_text())


def _same_meaning(changed, lines):
    """Only the header's framing may differ without being signed: its JSON says the same."""
    same_logs = changed[1:] == lines[1:]
    return same_logs and msgspec.json.decode(changed[0], type=export.Header) == msgspec.json.decode(
        lines[0], type=export.Header
    )


def test_an_export_cut_short_is_refused(lines):
    for count in (0, 2, len(lines) - 1):
        with pytest.raises(MalformedError):
            checked(lines[:count])
    assert failures(lines[:1]) == {"export.missing"}


def test_the_export_of_another_broker_is_refused(lines):
    with pytest.raises(TrustError) as stopped:
        checked(lines, broker=SigningKey.generate().did)
    assert stopped.value.code == "checkpoint.broker"


# Checkpoints -----------------------------------------------------------------------------------------


def test_a_checkpoint_extends_an_earlier_one(make_world):
    world = make_world()
    vault = spend(world, 2)
    first = taken(world)
    world.later(seconds=5)
    assert vault.append("c9").status == "ok"
    second = taken(world, first, charges=[(POPULATION, "c9"), (POPULATION, "c0")])
    earlier, later = open_checkpoint(first.checkpoint), open_checkpoint(second.checkpoint)
    checkpoint.check_extension(earlier, later, second.extends)
    for one in second.entries:
        checkpoint.check_included(one, later)
    assert [json.loads(one.entry)["charge_id"] for one in second.entries] == ["c9", "c0"]
    assert later.account(POPULATION).size == 3
    # Every single part of the proof is needed.
    for change in (
        {"proof": ()},
        {"proof": ("00" * 32,)},
        {"old_size": 1},
        {"population": "elsewhere"},
    ):
        for at in range(len(second.extends)):
            proofs = list(second.extends)
            proofs[at] = msgspec.structs.replace(proofs[at], **change)
            if proofs[at] == second.extends[at]:
                continue
            with pytest.raises(TrustError):
                checkpoint.check_extension(earlier, later, proofs)
    with pytest.raises(TrustError):
        checkpoint.check_included(msgspec.structs.replace(second.entries[0], entry="{}"), later)
    with pytest.raises(TrustError) as swapped:
        checkpoint.check_extension(later, earlier, second.extends)
    assert swapped.value.code in {"checkpoint.missing", "log.consistency"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"time": "2020-01-01T00:00:00Z"}, "checkpoint.time"),
        ({"accounts": ()}, "checkpoint.missing"),
        ({"broker": "did:key:other"}, "checkpoint.broker"),
    ],
)
def test_what_no_later_checkpoint_may_say(spent, change, code):
    first = taken(spent)
    second = taken(spent, first)
    later = msgspec.structs.replace(open_checkpoint(second.checkpoint), **change)
    with pytest.raises(TrustError) as stopped:
        checkpoint.check_extension(open_checkpoint(first.checkpoint), later, second.extends)
    assert stopped.value.code == code


def test_sums_do_not_go_back(spent):
    first = taken(spent)
    second = taken(spent, first)
    stated = open_checkpoint(second.checkpoint)
    cheaper = msgspec.structs.replace(stated.accounts[0], spent="1/100000")
    with pytest.raises(TrustError) as stopped:
        checkpoint.check_extension(
            open_checkpoint(first.checkpoint), msgspec.structs.replace(stated, accounts=(cheaper,)), second.extends
        )
    assert stopped.value.code == "checkpoint.spent"


def test_nobody_else_signs_a_checkpoint(spent):
    stated = open_checkpoint(taken(spent).checkpoint)
    with pytest.raises(TrustError):
        open_checkpoint(checkpoint.sign_checkpoint(stated, SigningKey.generate()))


# Retention -------------------------------------------------------------------------------------------


def purge(world, retention: str, before: str) -> int:
    now = clock.text(world.now)
    with world.broker.accounts.database.transaction() as db:
        return event_log.purge(db, retention, before, now=now, actor="owner")


def test_early_purges_are_refused_and_late_ones_keep_the_log_whole(make_world):
    world = make_world()
    vault = spend(world, 2)
    assert vault.append("too much", "100").status == "budget.exhausted"
    world.broker.journal.flush()
    before, an_hour_later = taken(world), "2026-06-01T01:00:00Z"
    size = len(exported(world))
    for days in (0, 30, 153):  # 183 days in all
        world.later(days=days)
        for retention in ("log", "record"):
            with pytest.raises(RefusedError) as early:
                purge(world, retention, an_hour_later)
            assert early.value.code == "retention.early"
    world.later(hours=1)
    with pytest.raises(RefusedError):
        purge(world, "record", an_hour_later)
    with pytest.raises(RefusedError):
        purge(world, "everything", an_hour_later)
    assert purge(world, "log", an_hour_later) == 1
    report = checked(exported(world), earlier=[before.checkpoint])
    assert report.sound, report.to_text()
    assert (report.purged, report.by_kind["purge"]) == (1, 1)
    assert "refusal" not in report.by_kind
    assert len(exported(world)) > size


def test_every_kind_of_event_has_a_retention():
    for kind in events.KINDS:
        until = events.retain_until(Event(kind, "2026-06-01T00:00:00Z"))
        assert until == ("2026-12-01T00:00:00Z" if kind in {"refusal", "suppressed"} else "2029-06-01T00:00:00Z")


def test_a_flood_of_refusals_is_counted_not_written(make_world):
    world = make_world()
    for _ in range(17):
        world.broker.journal.add(Event("refusal", "2026-06-01T00:00:00Z", status="session.unknown"))
    world.broker.journal.add(Event("refusal", "2026-06-01T00:00:00Z", actor="did:key:a", status="limit.rows"))
    report = checked(exported(world))
    assert report.by_kind["refusal"] == 1
    assert report.by_kind["suppressed"] == 1


def told(world):
    """Return the events of the log that tell of refusals."""
    world.broker.journal.flush()
    with world.broker.accounts.database.transaction() as db:
        events = [decode_event(body) for _, body in event_log.read(db)]
    return [event for event in events if event.kind in {"refusal", "suppressed"}]


def test_strangers_leave_counts_and_no_word_of_theirs(make_world):
    """Neither what they write nor whom they name is kept: they would fill the disk, in anybody's name."""
    world = make_world()
    stranger, huge = Vault(world), "x" * 100_000
    for number in range(3):
        assert stranger.append(f"{huge}{number}", analyst=world.analyst.did).status == "session.unknown"
        assert stranger.append("c", contract=huge).status == "session.unknown"
        assert stranger.settle(huge, huge, population=huge).status == "session.unknown"
        assert stranger.tip(huge).status == "session.unknown"
        assert stranger.session(env="sha384:" + "00" * 48).status == "evidence.rejected"
    counts = {(event.op, event.status): event.count for event in told(world)}
    assert counts == {
        ("append", "session.unknown"): 6,
        ("settle", "session.unknown"): 3,
        ("tip", "session.unknown"): 3,
        ("session", "evidence.rejected"): 3,
    }
    assert sum(len(canonical.encode(event)) for event in told(world)) < 1000


def test_nobody_is_refused_in_the_name_of_an_analyst_by_a_vault_without_a_session(make_world):
    """Also where the refusal is about the analyst or the contract: revoked, screened, without a budget, over."""
    world = make_world()
    vault, stranger = world.vault(), Vault(world)
    revoked.revoke(world.home, world.analyst.did, now=clock.text(world.now))
    assert stranger.append("c").status == "session.unknown"
    world.home.contracts.decide(world.digest, Decision("suspended", clock.text(world.now)))
    assert stranger.append("c").status == "session.unknown"
    assert vault.append("c", contract="sha256:" + "0" * 64).status == "session.unknown"
    assert {event.actor for event in told(world)} == {"", vault.key.did}


def test_texts_of_refusals_are_cut(make_world):
    world = make_world()
    assert world.vault().append("c" * 100_000, population="p" * 100_000).status == "budget.exhausted"
    (event,) = told(world)
    assert event.actor == world.analyst.did
    assert {len(event.charge_id), len(event.population)} == {event_log.MOST_TEXT}


def test_counts_of_strangers_do_not_make_the_disk_work(make_world):
    """They are written with the next event of somebody else; alone they wait for an hour."""
    world = make_world()
    world.broker.journal = journal = event_log.Journal(world.broker.accounts.database, wait_s=0.01)
    journal.add(Event("refusal", "2026-06-01T00:00:00Z", status="session.unknown"))
    assert journal._timer[1] == 3600
    journal.add(Event("refusal", "2026-06-01T00:00:00Z", actor="did:key:a"))
    assert journal._timer is None or journal._timer[1] == 0.01
    assert [event.kind for event in told(world)] == ["refusal", "suppressed"]


def test_no_account_stands_in_the_place_of_the_event_log(make_world):
    """Logs are told apart by their names, and the event log's is empty."""
    world = make_world()
    vault = spend(world, 1)
    stated = open_checkpoint(taken(world).checkpoint)
    unnamed = msgspec.structs.replace(stated.accounts[0], population="")
    document = checkpoint.sign_checkpoint(msgspec.structs.replace(stated, accounts=(unnamed,)), world.broker_key)
    with pytest.raises(MalformedError) as stopped:
        open_checkpoint(document)
    assert stopped.value.code == "checkpoint.malformed"
    granted = Granted(Fraction(1), Fraction(1), Limits(9, 10**6, 10**6, 9))
    with pytest.raises(MalformedError) as stopped:
        entry = vault.entry("c9", population="")
        world.broker.accounts.append(entry, granted, vault_id=vault.key.did, epoch=vault.epoch, time="")
    assert stopped.value.code == "ledger.population"


def test_a_purge_before_the_end_of_retention_is_told_by_the_audit(make_world):
    """A broker that removes what it must keep can write any event about it, but not that it was in time."""
    world = make_world()
    for number, (before, early) in enumerate([("2025-11-01T00:00:00Z", False), ("2026-05-01T00:00:00Z", True)]):
        world.home.record(Event("purge", clock.text(world.now), actor="owner", op="log", subject=before))
        assert ("retention.early" in failures(exported(world))) == early, number


def test_entries_older_than_the_event_log_are_said(make_world):
    """A database of an earlier version has entries and no events: it goes on, and the export says so."""
    world = make_world()
    spend(world, 2)
    world.broker.close()
    import sqlite3

    with sqlite3.connect(world.home.accounts_file) as database:
        database.execute("DELETE FROM events")
        database.execute("DELETE FROM event_tip")
    world.home.witness.path.unlink()
    world.broker = world.start()
    vault = world.vault()
    assert vault.append("new").status == "ok"
    report = checked(exported(world))
    assert report.sound, report.to_text()
    assert any(one.code == "event.before" for one in report.findings)
    assert report.entries == {POPULATION: 3}


def test_the_log_of_events_is_rfc_9162(spent):
    """Root and proofs of the event log from scratch, by the definition."""
    stated: Checkpoint = open_checkpoint(taken(spent).checkpoint)
    with spent.broker.accounts.database.transaction() as db:
        leaves = event_log.event_leaves(db)
        bodies = [body for _, body in event_log.read(db)]
    assert leaves == [log.leaf_hash(body) for body in bodies]
    assert log.root_text(log.root(leaves[: stated.events])) == stated.root
    growing = log.Growing(marks=range(len(leaves) + 1))
    for leaf in leaves:
        growing.append(leaf)
    assert growing.roots == {size: log.root(leaves[:size]) for size in range(len(leaves) + 1)}
    assert all(canonical.encode(json.loads(body)) == body for body in bodies)
