"""Backup, restored accounts and ``ledger recover``: a broker that went back signs nothing until what it lost is proven
or burnt; nothing is spent twice, and no charge is executed a second time."""

from __future__ import annotations

import shutil
import sqlite3
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from log_world import checked, exported, failures, spend, taken
from provider_world import POPULATION, Vault, World

from cloister.contract.exits import Exits, MatchTerms
from cloister.contract.states import Decision
from cloister.errors import CloisterError, MalformedError, RefusedError, TrustError, UnavailableError
from cloister.provider import (
    backup,
    catalogue,
    clock,
    decisions,
    event_log,
    recovery,
    restored,
    revoked,
    roles,
    rotation,
    schema,
    software,
)
from cloister.provider.approvals import Withdrawal
from cloister.provider.home import BrokerHome
from cloister.receipt.account import broker_of, granted_by
from cloister.receipt.checkpoint import open_checkpoint, sign_checkpoint
from cloister.receipt.events import Event
from cloister.wire.identity import SigningKey


def snapshot(world: World, target: Path) -> Path:
    """Copy the account file as it is now, as a careless operator would, from one moment."""
    with sqlite3.connect(world.home.accounts_file) as live, sqlite3.connect(target) as copy:
        live.backup(copy)
    return target


def put_back(world: World, old: Path) -> None:
    """Put an old account file in the place of the present one, and start the broker."""
    world.broker.close()
    for path in world.home.directory.glob("accounts.sqlite*"):
        path.unlink()
    shutil.copy(old, world.home.accounts_file)
    world.broker = world.start()


def recover(world: World, *, exports=(), checkpoints=(), burn: bool = False) -> recovery.Outcome:
    world.broker.close()
    now = clock.text(world.now)
    try:
        return recovery.recover(world.home, exports=exports, checkpoints=checkpoints, burn=burn, now=now)
    finally:
        world.broker = world.start()


def written(world: World, path: Path) -> Path:
    path.write_bytes(b"".join(exported(world)))
    return path


def spent(world: World) -> Fraction:
    return world.broker.accounts.read_tip(POPULATION).spent


def test_an_older_account_file_is_noticed_and_nothing_is_signed(world, tmp_path):
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    vault = world.vault()
    assert vault.append("later").status == "ok"
    put_back(world, old)
    assert world.broker.restored is not None
    for reply in (vault.append("later"), vault.append("new"), vault.settle("later", "x"), vault.tip(), vault.session()):
        assert reply.status == "ledger.unavailable"
        assert "older copy" in reply.reason
    for forbidden in (lambda: exported(world), lambda: taken(world)):
        with pytest.raises(RefusedError) as stopped:
            forbidden()
        assert stopped.value.code == "broker.restored"
    # Not even the refusals are written: the log would become another history than the one that was lost.
    with world.broker.accounts.database.transaction() as db:
        size = event_log.tip(db).size
    world.broker.journal.flush()
    with world.broker.accounts.database.transaction() as db:
        assert event_log.tip(db).size == size
    # It stays so, whatever is restarted: the mark is on disk.
    world.restart()
    assert world.broker.restored is not None


def exchange(world: World, old: Path) -> None:
    """Put an old state of the accounts in the place of the present one, under the running broker."""
    with sqlite3.connect(old) as copy, sqlite3.connect(world.home.accounts_file) as live:
        copy.backup(live)


@pytest.mark.parametrize("first", ["append", "settle", "tip", "session"])
def test_accounts_that_go_back_under_a_running_broker_are_noticed_by_the_next_request(world, tmp_path, first):
    spend(world, 1)
    vault = world.vault()
    old = snapshot(world, tmp_path / "old")
    assert vault.append("later").status == "ok"
    exchange(world, old)
    asked = {"append": ("new",), "settle": ("c0", "x"), "tip": (), "session": ()}[first]
    reply = getattr(vault, first)(*asked)
    assert reply.status == "ledger.unavailable"
    assert "older copy" in reply.reason
    assert (reply.size, reply.spent) == (0, "0")  # nothing of the old state is signed
    assert world.broker.restored is not None
    assert world.home.restored_file.exists()


def test_commands_notice_accounts_that_went_back_before_they_write(world, tmp_path):
    """No broker is started between the exchange and the command, so there is no mark."""
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("later").status == "ok"
    exchange(world, old)
    now = clock.text(world.now)
    for act in (
        lambda: taken(world),
        lambda: exported(world),
        lambda: backup.backup(world.home, tmp_path / "backup", now=now),
        lambda: world.home.record(Event("identity", now, actor="owner")),
    ):
        with pytest.raises(UnavailableError) as stopped:
            act()
        assert stopped.value.code == "ledger.older"
    with world.broker.accounts.database.transaction() as db:
        assert event_log.tip(db).size < world.home.witness.seen().size


def test_an_intact_broker_starts_without_a_mark(world):
    spend(world, 2)
    world.restart()
    assert world.broker.restored is None
    assert world.vault().append("c9").status == "ok"


def test_a_lagging_or_missing_witness_is_no_alarm_a_damaged_one_is(world):
    spend(world, 1)
    old = world.home.witness.path.read_bytes()
    assert world.vault().append("c9").status == "ok"
    for data, alarm in ((old, False), (None, False), (b"", False), (b"\1" * len(old), True), (old[:20], True)):
        world.broker.close()
        world.home.witness.path.unlink(missing_ok=True)
        if data is not None:
            world.home.witness.path.write_bytes(data)
        world.home.restored_file.unlink(missing_ok=True)
        world.broker = world.start()
        assert (world.broker.restored is not None) == alarm


def test_recovery_from_an_export_brings_everything_back_but_receipts(world, tmp_path):
    """The longest proven tip is taken; a charge without its receipt is never executed again."""
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    vault = world.vault()
    for charge in ("later", "last"):
        assert vault.append(charge, "1/500").status == "ok"
        assert vault.settle(charge, "sealed").status == "ok"
    proof = written(world, tmp_path / "export")
    held = spent(world)
    put_back(world, old)
    assert spent(world) < held
    done = recover(world, exports=[proof])
    assert (done.entries, done.burnt) == (2, ())
    assert world.broker.restored is None
    assert spent(world) == held
    # Vaults of the lost time are fenced, a new one is admitted.
    assert vault.append("other").status == "session.fenced"
    again = world.vault()
    first = again.append("c0")
    assert (first.status, first.sealed) == ("ok", "sealed-0")
    for charge in ("later", "last"):
        refused = again.append(charge, "1/500")
        assert refused.status == "charge.conflict"
        assert not refused.sealed
    assert again.append("new").status == "ok"
    report = checked(exported(world), earlier=[])
    assert report.sound, report.to_text()
    assert report.by_kind["recover"] == 1


@pytest.mark.parametrize("burn", [False, True])
def test_a_charge_that_was_open_in_the_old_copy_is_not_executed_again(world, tmp_path, burn):
    """It was settled, and read, in the time that was lost: a second release of it would have another noise."""
    vault = world.vault()
    assert vault.append("open").status == "ok"
    old = snapshot(world, tmp_path / "old")
    assert vault.settle("open", "first noise").status == "ok"
    proof = written(world, tmp_path / "export")
    put_back(world, old)
    recover(world, exports=[] if burn else [proof], burn=burn)
    world.home.contracts.decide(world.digest, Decision("active", clock.text(world.now)))
    world.home.data_keys.keep(world.sealed.manifest_digest)
    again = world.vault().append("open")
    assert again.status == "charge.conflict"
    assert not again.sealed


def test_the_recovered_logs_extend_what_was_seen_outside(world, tmp_path):
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("later").status == "ok"
    outside = taken(world)
    proof = written(world, tmp_path / "export")
    put_back(world, old)
    recover(world, exports=[proof], checkpoints=[outside.checkpoint])
    assert checked(exported(world), earlier=[outside.checkpoint]).sound


def test_a_gap_is_refused_or_burnt(world, tmp_path):
    """What cannot be proven may have been anything: every account is spent to its limit."""
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    proof = written(world, tmp_path / "early export")
    assert world.vault().append("lost").status == "ok"
    outside = taken(world)
    put_back(world, old)
    for options in ({}, {"exports": [proof]}, {"checkpoints": [outside.checkpoint]}):
        with pytest.raises(RefusedError) as stopped:
            recover(world, **options)
        assert stopped.value.code == "recover.gap"
        assert world.broker.restored is not None
    done = recover(world, exports=[proof], checkpoints=[outside.checkpoint], burn=True)
    assert done.burnt == (POPULATION,)
    assert world.broker.restored is None
    # It may have been revoked in the time that was lost.
    assert done.suspended == (world.digest,)
    assert Vault(world).session().status == "contract.inactive"
    world.home.contracts.decide(world.digest, Decision("active", clock.text(world.now)))
    # So may its key have been destroyed.
    assert done.withheld == (world.sealed.manifest_digest,)
    assert "withheld" in Vault(world).session().reason
    world.home.data_keys.keep(world.sealed.manifest_digest)
    vault = world.vault()
    reply = vault.append("one more", "1/1000000")
    assert reply.status == "budget.exhausted"
    assert Fraction(reply.spent) >= Fraction(reply.limit)
    # No vault that saw the lost state can be told that the account is shorter or cheaper.
    assert reply.size > open_checkpoint(outside.checkpoint).account(POPULATION).size
    assert checked(exported(world)).sound, checked(exported(world)).to_text()
    assert failures(exported(world), earlier=[outside.checkpoint])


class Decided:
    """A world in which everything was decided that an old copy of the directory does not know."""

    def __init__(self, world: World, tmp_path: Path) -> None:
        self.world, self.archive = world, tmp_path / "backup"
        self.revoked, self.former, self.newer = (SigningKey.generate().did for _ in range(3))
        self.approval = "sha256:" + "a" * 64
        now = clock.text(world.now)
        roles.grant(world.home, self.former, "auditor")
        backup.backup(world.home, self.archive, now=now)
        owner = {"time": now, "actor": "owner"}
        world.home.record(
            Event("identity", op="identity.revoke", subject=self.revoked, **owner),
            Event("role", op="role.remove", subject=self.former, status="auditor", **owner),
            Event("role", op="role.grant", subject=self.newer, status="node_admin", **owner),
            Event("approval", op="approval.withdraw", subject=self.approval, **owner),
            Event("key", op="wipe", subject=world.sealed.manifest_digest, **owner),
            Event("decision", op="contract.suspend", subject=world.digest, **owner),
            Event("decision", op="contract.decide", contract=world.digest, status="revoked", **owner),
            Event("decision", op="release.veto", subject="sha384:" + "c" * 96, status="1.2", reason="leaks", **owner),
        )
        self.proof = written(world, tmp_path / "export")

    def put_back(self, tmp_path: Path) -> None:
        self.world.broker.close()
        backup.restore(self.archive, tmp_path / "restored", now=clock.text(self.world.now))
        self.world.home = BrokerHome(tmp_path / "restored")
        self.world.broker = self.world.start()


def test_decisions_of_the_lost_time_are_done_again(world, tmp_path):
    was = Decided(world, tmp_path)
    was.put_back(tmp_path)
    home = world.home
    assert roles.read(home).of(was.former)
    assert recover(world, exports=[was.proof]).decisions == 8
    assert was.revoked in revoked.read(home).dids
    assert roles.read(home).dids == {was.newer: ("node_admin",)}
    assert home.approvals.withdrawn(was.approval) is not None
    assert home.data_keys.get(world.sealed.manifest_digest) is None
    assert home.contracts.get(world.digest).decision.state == "revoked"
    (veto,) = software.read(home).vetoed.items()
    assert (veto[0], veto[1].version, veto[1].reason) == ("sha384:" + "c" * 96, "1.2", "leaks")


def test_where_decisions_are_lost_for_good_everything_is_stopped(world, tmp_path):
    was = Decided(world, tmp_path)
    was.put_back(tmp_path)
    assert recover(world, burn=True).suspended == (world.digest,)
    assert roles.read(world.home).dids == {}
    assert world.home.contracts.get(world.digest).decision.state == "suspended"


def test_a_key_that_was_replaced_is_not_taken_up_again(world):
    event = Event("key", clock.text(world.now), actor="owner", op="rotate", subject=SigningKey.generate().did)
    with pytest.raises(TrustError) as stopped:
        decisions.again(world.home, [event])
    assert stopped.value.code == "recover.key"


def test_requests_that_waited_in_the_old_copy_wait_no_more(world, tmp_path):
    with world.broker.accounts.database.transaction() as db:
        named = {"actor": "did:key:a", "body": b"{}", "time": clock.text(world.now), "state": "pending"}
        db.execute(sa.insert(schema.requests), {"request": "r", **named})
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("later").status == "ok"
    proof = written(world, tmp_path / "export")
    put_back(world, old)
    recover(world, exports=[proof])
    with world.broker.accounts.database.transaction() as db:
        assert db.scalars(sa.select(schema.requests.c.state)).all() == ["done"]


def test_requests_and_catalogue_of_the_lost_time_stay_what_they_were(world, tmp_path):
    """A request is not acted on twice, and what was withdrawn from the catalogue is not shown again."""
    spend(world, 1)
    manifest, now = world.sealed.manifest_digest, clock.text(world.now)
    with world.broker.accounts.database.transaction() as db:
        entry = {"manifest": manifest, "state": "published", "card": b"{}", "visible": ""}
        db.execute(sa.insert(schema.catalogue), entry)
    old = snapshot(world, tmp_path / "old")
    with world.broker.accounts.database.transaction() as db:
        catalogue.move(db, manifest, "withdrawn")
        event_log.record(
            db,
            Event("request", now, actor="did:key:a", op="catalogue.withdraw", subject="r"),
            Event("catalogue", now, actor="did:key:a", op="catalogue.withdraw", subject=manifest),
            Event("catalogue", now, actor="did:key:a", op="catalogue.withdraw", subject="sha256:gone"),
        )
    proof = written(world, tmp_path / "export")
    put_back(world, old)
    recover(world, exports=[proof])
    with world.broker.accounts.database.transaction() as db:
        assert db.scalars(sa.select(schema.catalogue.c.state)).all() == ["withdrawn"]
        assert db.execute(sa.select(schema.requests.c.request, schema.requests.c.state)).all() == [("r", "done")]


def test_a_backup_holds_approvals_and_their_withdrawals(world, tmp_path):
    digests = ["sha256:" + letter * 64 for letter in "ab"]
    for digest in digests:
        world.home.approvals.withdraw(digest, Withdrawal("2026-06-01T00:00:00Z"), unseen=True)
    backup.backup(world.home, tmp_path / "backup", now=clock.text(world.now))
    backup.restore(tmp_path / "backup", tmp_path / "restored", now=clock.text(world.now))
    held = BrokerHome(tmp_path / "restored").approvals
    assert all(held.withdrawn(digest) is not None for digest in digests)


def test_a_proof_that_is_as_old_as_the_backup_proves_nothing_of_what_came_later(world, tmp_path):
    spend(world, 1)
    early = taken(world)
    made = backup.backup(world.home, tmp_path / "backup", now=clock.text(world.now))
    assert world.vault().append("after the backup").status == "ok"
    world.broker.close()
    backup.restore(tmp_path / "backup", tmp_path / "restored", now=clock.text(world.now))
    world.home = BrokerHome(tmp_path / "restored")
    world.broker = world.start()
    for stale in (early.checkpoint, made.checkpoint):
        with pytest.raises(RefusedError) as stopped:
            recover(world, checkpoints=[stale])
        assert stopped.value.code == "recover.gap"


def test_a_checkpoint_of_another_history_than_the_export_is_told_after_it_was_taken(world, tmp_path):
    """Both are longer than the copy, so neither can be told before; two histories were signed."""
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("later").status == "ok"
    stated = open_checkpoint(taken(world).checkpoint)
    proof = written(world, tmp_path / "export")
    put_back(world, old)
    other = msgspec.structs.replace(stated, root="sha256:" + "7" * 64)
    with pytest.raises(TrustError) as stopped:
        recover(world, exports=[proof], checkpoints=[sign_checkpoint(other, world.broker_key)], burn=True)
    assert stopped.value.code == "recover.fork"
    assert world.broker.restored is not None


def test_an_account_is_burnt_to_the_limit_of_contracts_that_name_a_former_key(world):
    rotation.rotate(world.home, world.broker.accounts, now=clock.text(world.now), stop_contracts=True)
    world.restart()
    world.broker.close()
    restored.set_mark(world.home, restored.Mark("test", clock.text(world.now)))
    done = recover(world, burn=True)
    assert done.burnt == (POPULATION,)
    granted = granted_by(world.contract, broker_of(world.contract, world.broker_key.did), POPULATION, "")
    assert spent(world) == granted.rho > 0


def test_a_restored_broker_keeps_its_key(world, tmp_path):
    """With another key it could not read what proves the lost time, and would be a brick."""
    spend(world, 1)
    old, did = snapshot(world, tmp_path / "old"), world.broker.did
    assert world.vault().append("later").status == "ok"
    exchange(world, old)  # no broker has noticed it yet
    now = clock.text(world.now)
    for code in ("ledger.older", "broker.restored"):
        with pytest.raises(CloisterError) as stopped:
            rotation.rotate(world.home, world.broker.accounts, now=now, stop_contracts=True)
        assert stopped.value.code == code
        assert world.home.identity().did == did
        assert rotation.read(world.home) == ()
        restored.check(world.home, world.broker.accounts, now=now)


def test_a_burnt_gap_revokes_contracts_with_exits(make_world, tmp_path):
    """How often a unit was asked about is lost with the entries, so nobody is asked about under that contract again."""
    exits = Exits(matches=(MatchTerms("clinic.visits", "smokes", 10, 1),))
    world = make_world(exits=exits)
    spend(world, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("lost").status == "ok"
    put_back(world, old)
    done = recover(world, burn=True)
    assert done.revoked == (world.digest,)
    assert world.home.contracts.get(world.digest).decision.state == "revoked"


def test_proofs_of_others_and_of_another_history_are_refused(make_world, tmp_path):
    world, other = make_world(), make_world()
    spend(world, 1)
    spend(other, 1)
    old = snapshot(world, tmp_path / "old")
    assert world.vault().append("later").status == "ok"
    foreign = written(other, tmp_path / "foreign")
    true = written(world, tmp_path / "true")
    outside = taken(world)
    put_back(world, old)
    changed = tmp_path / "changed"
    changed.write_bytes(true.read_bytes().replace(b'"1/1000"', b'"1/1001"'))
    for options in ({"exports": [foreign]}, {"exports": [changed]}, {"checkpoints": [taken(other).checkpoint]}):
        with pytest.raises(TrustError) as stopped:
            recover(world, **options, burn=True)
        assert stopped.value.code == "recover.proof"
    # The broker was made to go on from the old state: now it has signed two histories, and no command mends that.
    world.home.restored_file.unlink()
    world.home.witness.path.unlink()
    world.restart()
    vault = world.vault()
    for number in range(4):
        assert vault.append(f"fork-{number}").status == "ok"
    for options in ({"exports": [true]}, {"checkpoints": [outside.checkpoint]}):
        with pytest.raises(TrustError) as stopped:
            recover(world, **options, burn=True)
        assert stopped.value.code == "recover.fork"


def test_a_clone_is_two_histories(make_world, tmp_path):
    """A copied broker directory answers as well as the original; whoever keeps checkpoints of both sees the fork."""
    world = make_world()
    spend(world, 1)
    before = taken(world)
    world.broker.close()
    shutil.copytree(world.home.directory, tmp_path / "clone")
    world.broker = world.start()
    assert world.vault().append("of the original").status == "ok"
    original = taken(world, before)
    world.broker.close()
    world.home = BrokerHome(tmp_path / "clone")
    world.broker = world.start()
    assert world.vault().append("of the clone").status == "ok"
    assert checked(exported(world), earlier=[before.checkpoint]).sound
    assert "log.consistency" in failures(exported(world), earlier=[original.checkpoint])
    with pytest.raises(TrustError) as stopped:
        taken(world, original)
    assert stopped.value.code == "log.consistency"


# Backup ----------------------------------------------------------------------------------------------


def test_a_backup_restores_to_a_broker_that_only_reads(world, tmp_path):
    spend(world, 2)
    archive = tmp_path / "backup.tar.gz"
    made = backup.backup(world.home, archive, now=clock.text(world.now))
    assert archive.stat().st_mode & 0o077 == 0
    assert open_checkpoint(made.checkpoint, broker=world.broker_key.did).account(POPULATION).size == 2
    assert world.vault().append("after the backup").status == "ok"
    proof = written(world, tmp_path / "export")
    world.broker.close()
    shutil.rmtree(world.home.directory)
    backup.restore(archive, tmp_path / "restored", now=clock.text(world.now))
    world.home = BrokerHome(tmp_path / "restored")
    world.broker = world.start()
    assert world.broker.restored is not None
    assert spent(world) == Fraction(2, 1000)
    with pytest.raises(RefusedError):
        recover(world)  # nothing proves what came after
    assert recover(world, exports=[proof]).entries == 1
    vault = world.vault()
    assert vault.append("after the backup").status == "charge.conflict"
    assert vault.append("c1").sealed == "sealed-1"
    assert world.home.data_keys.get(world.sealed.manifest_digest) is not None


def test_changed_backups_are_refused(world, tmp_path):
    archive = tmp_path / "backup"
    backup.backup(world.home, archive, now=clock.text(world.now))
    whole = archive.read_bytes()
    with pytest.raises(RefusedError):
        backup.backup(world.home, archive, now=clock.text(world.now))
    with pytest.raises(RefusedError):
        backup.restore(archive, world.home.directory, now=clock.text(world.now))
    for data in (b"", whole[: len(whole) // 2], whole[:-1000] + bytes(1000)):
        archive.write_bytes(data)
        with pytest.raises(MalformedError) as stopped:
            backup.restore(archive, tmp_path / "restored", now=clock.text(world.now))
        assert stopped.value.code == "backup.malformed"
        assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("name", ["../outside", "contracts/../../outside", "/etc/outside", "notes.txt", "keys/.hidden"])
def test_a_backup_writes_only_where_a_broker_keeps_things(world, tmp_path, name):
    import io
    import tarfile

    from cloister.wire import canonical

    good, contents = tmp_path / "good", {name: b"x"}
    made = backup.backup(world.home, good, now=clock.text(world.now))
    forged = {"files": {name: backup._digest(b"x")}, "broker": made.broker, "time": made.time}
    contents["backup.json"] = canonical.encode({**forged, "checkpoint": made.checkpoint, "version": 1})
    with tarfile.open(tmp_path / "bad", "w:gz") as tar:
        for key, data in contents.items():
            entry = tarfile.TarInfo(key)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    with pytest.raises(MalformedError):
        backup.restore(tmp_path / "bad", tmp_path / "restored", now=clock.text(world.now))
    assert not (tmp_path / "outside").exists()


def test_a_mark_that_cannot_be_read_is_a_mark(world):
    world.broker.close()
    world.home.restored_file.write_bytes(b"\xff")
    world.broker = world.start()
    assert world.broker.restored is not None
    assert restored.read_mark(world.home).reason
