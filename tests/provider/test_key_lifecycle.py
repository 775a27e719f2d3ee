"""What becomes of data keys when something goes wrong: backups, crashes, damage, several hands at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from log_world import exported
from provider_world import POPULATION, START, Vault, World
from typer.testing import CliRunner

from cloister.contract.clauses import Obligation
from cloister.contract.states import Decision
from cloister.errors import CloisterError, ContractError, RefusedError, UnavailableError
from cloister.provider import __main__ as serving
from cloister.provider import backup, clock, data_keys, files, recovery, rotation, shredding
from cloister.provider.capsule_commands import app
from cloister.provider.data_keys import Gone
from cloister.provider.home import BrokerHome
from cloister.provider.keys import load_identity
from cloister.receipt.audit import Audit
from cloister.receipt.events import Event

NOW = clock.text(START)
LATER = "2026-07-01T00:00:00Z"
AFTER = "2027-01-01T00:00:00Z"


def key_events(world: World) -> list[tuple[str, str]]:
    found: list[Event] = []
    Audit(event=lambda event, *_: found.append(event)).check(exported(world))
    return [(event.op, event.status) for event in found if event.kind == "key"]


def key_file(world: World) -> Path:
    return world.home.directory / "keys" / f"{world.sealed.manifest_digest.removeprefix('sha256:')}.key"


def held(world: World) -> bool:
    return world.home.data_keys.get(world.sealed.manifest_digest) is not None


def back_from(world: World, archive: Path, target: Path) -> None:
    """Lose the broker's directory, and make it again from a backup."""
    world.broker.close()
    backup.restore(archive, target, now=NOW)
    world.home = BrokerHome(target)
    world.broker = world.start()


def recover(world: World, *, exports: tuple[Path, ...] = (), burn: bool = False) -> recovery.Outcome:
    world.broker.close()
    try:
        return recovery.recover(world.home, exports=exports, checkpoints=[], burn=burn, now=NOW)
    finally:
        world.broker = world.start()


@pytest.fixture
def archive(world: World, tmp_path: Path) -> Path:
    """A backup made while the key was still there."""
    assert world.vault().append("c1").status == "ok"
    backup.backup(world.home, tmp_path / "backup", now=NOW)
    return tmp_path / "backup"


# Backups ---------------------------------------------------------------------------------------------


def test_a_key_shredded_after_the_backup_is_destroyed_again_where_an_export_proves_it(
    world: World, archive: Path, tmp_path: Path
) -> None:
    shredding.shred(world.home, world.sealed.manifest_digest, now=NOW, reason="consent", end_contracts=True)
    proof = tmp_path / "export"
    proof.write_bytes(b"".join(exported(world)))
    back_from(world, archive, tmp_path / "restored")
    assert held(world), "the backup holds it"
    done = recover(world, exports=(proof,))
    assert done.withheld == ()
    assert not key_file(world).exists()
    assert world.home.data_keys.gone(world.sealed.manifest_digest) == Gone(NOW, "request", "consent", told=True)
    assert key_events(world) == [("wipe", "request")], "told once"


def test_a_burnt_gap_withholds_keys_until_the_owner_keeps_them(world: World, archive: Path, tmp_path: Path) -> None:
    """The backup knows nothing of a key that was destroyed since, and nothing proves that it was."""
    manifest = world.sealed.manifest_digest
    shredding.shred(world.home, manifest, now=NOW, reason="consent", end_contracts=True)
    back_from(world, archive, tmp_path / "restored")
    with pytest.raises(RefusedError, match=r"broker\.restored"):
        shredding.keep(world.home, manifest, now=NOW)
    assert recover(world, burn=True).withheld == (manifest,)
    world.home.contracts.decide(world.digest, Decision("active", NOW))
    refused = Vault(world).session()
    assert (refused.status, refused.keys) == ("contract.inactive", {})
    assert "may have been destroyed" in refused.reason
    with pytest.raises(ContractError, match=r"capsule\.withheld"):
        world.home.add_contract(world.document, now=NOW)
    assert not held(world)
    # It stays so in backups and after restarts, until the owner says otherwise, in the log.
    backup.backup(world.home, tmp_path / "second", now=NOW)
    assert any(name.endswith(".withheld") for name in backup.read(tmp_path / "second")[1])
    world.restart()
    assert Vault(world).session().status == "contract.inactive"
    shredding.keep(world.home, manifest, now=NOW, reason="it was never destroyed")
    assert Vault(world).session().status == "ok"
    assert key_events(world) == [("keep", "")]
    with pytest.raises(RefusedError, match=r"keep\.nothing"):
        shredding.keep(world.home, manifest, now=NOW)


def test_what_cannot_be_recorded_is_not_kept(
    world: World, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_from(world, archive, tmp_path / "restored")
    recover(world, burn=True)

    def full(*_: object) -> None:
        raise UnavailableError("ledger.unavailable", "disk full")

    with monkeypatch.context() as broken:
        broken.setattr(BrokerHome, "record", full)
        with pytest.raises(UnavailableError):
            shredding.keep(world.home, world.sealed.manifest_digest, now=NOW)
    assert not held(world)


def test_a_withheld_key_can_be_destroyed(world: World, archive: Path, tmp_path: Path) -> None:
    back_from(world, archive, tmp_path / "restored")
    recover(world, burn=True)
    shredding.shred(world.home, world.sealed.manifest_digest, now=NOW, reason="", end_contracts=True)
    assert not key_file(world).exists()
    with pytest.raises(UnavailableError, match=r"keys\.none"):
        shredding.keep(world.home, world.sealed.manifest_digest, now=NOW)


def test_the_command_says_what_is_withheld_and_keeps_all_of_it(world: World, archive: Path, tmp_path: Path) -> None:
    back_from(world, archive, tmp_path / "restored")
    recover(world, burn=True)
    run, home = CliRunner(), str(world.home.directory)
    assert "withheld since 2026" in run.invoke(app, ["list", home]).stdout
    unsaid = run.invoke(app, ["keep", home])
    assert isinstance(unsaid.exception, RefusedError)
    assert unsaid.exception.code == "keep.which"
    assert not held(world)
    assert world.sealed.manifest_digest in run.invoke(app, ["keep", home, "--all", "--reason", "looked at"]).stdout
    assert held(world)
    assert "no key is withheld" in run.invoke(app, ["keep", home, "--all"]).stdout


def test_decisions_that_the_backup_has_in_its_log_but_not_in_its_files_are_done_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read before the database: what is destroyed in between is in the log and still in the file."""
    real = backup._snapshot

    def meanwhile(path: Path) -> bytes:
        shredding.shred(world.home, world.sealed.manifest_digest, now=NOW, reason="now", end_contracts=True)
        return real(path)

    with monkeypatch.context() as between:
        between.setattr(backup, "_snapshot", meanwhile)
        backup.backup(world.home, tmp_path / "backup", now=NOW)
    proof = tmp_path / "export"
    proof.write_bytes(b"".join(exported(world)))
    back_from(world, tmp_path / "backup", tmp_path / "restored")
    assert held(world)
    assert recover(world, exports=(proof,)).withheld == ()
    assert not key_file(world).exists()


def test_what_a_restored_broker_destroys_is_told_once_it_is_recovered(make_world: Any, tmp_path: Path) -> None:
    world = make_world(obligations=(Obligation("expiry", "destroy-keys"),))
    assert world.vault().append("c1").status == "ok"
    backup.backup(world.home, tmp_path / "backup", now=NOW)
    assert world.vault().append("c2").status == "ok"
    proof = tmp_path / "export"
    proof.write_bytes(b"".join(exported(world)))
    back_from(world, tmp_path / "backup", tmp_path / "restored")
    assert shredding.sweep(world.home, now=AFTER).gone == (world.sealed.manifest_digest,)
    assert not key_file(world).exists()
    ((_, mark),) = world.home.data_keys.untold()
    assert (mark.time, mark.cause) == (AFTER, "expiry")
    recover(world, exports=(proof,))
    assert world.home.data_keys.untold() == ()
    assert key_events(world) == [("wipe", "expiry")]


def test_a_key_that_is_not_here_and_was_destroyed_is_not_taken_up(world: World, archive: Path, tmp_path: Path) -> None:
    shredding.shred(world.home, world.sealed.manifest_digest, now=NOW, reason="", end_contracts=True)
    proof = tmp_path / "export"
    proof.write_bytes(b"".join(exported(world)))
    back_from(world, archive, tmp_path / "restored")
    key_file(world).unlink()
    recover(world, exports=(proof,))
    with pytest.raises(RefusedError, match=r"capsule\.shredded"):
        world.home.add_capsule(world.sealed)


# Copies that a crash leaves --------------------------------------------------------------------------


def crashed(path: Path, body: bytes) -> Path:
    """Leave what ``write_private`` leaves when the machine stops before the renaming."""
    left = path.with_name(f".{path.name}.0badcafe.tmp")
    left.write_bytes(body)
    left.chmod(0o600)
    return left


def linked(path: Path, tmp_path: Path) -> Path:
    """A second name for the same bytes on the disk, to see what becomes of them."""
    kept = tmp_path / f"bytes of {path.name}"
    kept.hardlink_to(path)
    return kept


def zeroed(path: Path) -> bool:
    body = path.read_bytes()
    return body == bytes(len(body)) and len(body) > 0


def test_copies_of_a_key_go_with_it(world: World, tmp_path: Path) -> None:
    left = crashed(key_file(world), key_file(world).read_bytes())
    disk = linked(left, tmp_path)
    shredding.shred(world.home, world.sealed.manifest_digest, now=NOW, reason="", end_contracts=True)
    assert not left.exists()
    assert zeroed(disk)


def test_copies_of_secrets_are_overwritten_at_the_start(world: World, tmp_path: Path) -> None:
    """Of a data key (the sweep does it too), and of the broker's own key."""
    left = crashed(key_file(world), key_file(world).read_bytes())
    own = crashed(world.home.key_file, world.home.key_file.read_bytes())
    disks = linked(left, tmp_path), linked(own, tmp_path)
    world.broker.close()
    assert serving.main(["--home", str(world.home.directory), "--idle-exit", "0.01"]) == 0
    assert not left.exists()
    assert not own.exists()
    assert all(map(zeroed, disks))
    assert held(world)
    left = crashed(key_file(world), b"again")
    shredding.sweep(world.home, now=NOW)
    assert not left.exists()


def test_a_failed_write_of_a_secret_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = []

    def refuse(self: Path, target: Path) -> None:
        disks.append(linked(self, tmp_path))
        raise OSError(28, "no space")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        files.write_private(tmp_path / "secret", b"secret bytes")
    assert zeroed(disks[0])
    assert [path.name for path in tmp_path.iterdir()] == [disks[0].name]


def test_a_replaced_key_does_not_stay_on_the_disk(world: World, tmp_path: Path) -> None:
    """A data key that is kept until another time, and the broker's own key when it is rotated."""
    disks = linked(key_file(world), tmp_path), linked(world.home.key_file, tmp_path)
    world.home.add_capsule(world.sealed, retain_until=LATER)
    rotation.rotate(world.home, world.broker.accounts, now=NOW, stop_contracts=True)
    assert all(map(zeroed, disks))
    assert held(world)
    assert world.home.identity().did != world.broker_key.did


@pytest.mark.parametrize("told", [True, False])
def test_a_rotation_that_is_cut_short_is_finished_or_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, told: bool
) -> None:
    """The new key is on disk before the log names it: no broker is left with a key that nobody has."""
    old, accounts, replace = world.broker_key.did, world.broker.accounts, files.replace_secret

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    cut = (files, "replace_secret") if told else (rotation, "seal")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*cut, dies)
        rotation.rotate(world.home, accounts, now=NOW, stop_contracts=True)
    assert files.replace_secret is replace
    assert world.home.identity().did == old
    assert rotation.is_cut_short(world.home)
    left = next(world.home.directory.glob("broker.key.next"))
    disk, named = linked(left, tmp_path), load_identity(left).did
    world.broker.close()
    assert serving.main(["--home", str(world.home.directory), "--idle-exit", "0.01"]) == 0
    assert world.home.identity().did == (named if told else old)
    assert not rotation.is_cut_short(world.home)
    assert zeroed(disk)


def test_leftovers_of_a_backup_go_and_are_in_none(world: World, tmp_path: Path) -> None:
    """A dot file in a folder made a backup that could not be read again."""
    left = crashed(tmp_path / "backup", b"every secret")
    disk = linked(left, tmp_path)
    crashed(key_file(world), b"a copy")
    backup.backup(world.home, tmp_path / "backup", now=NOW)
    assert not left.exists()
    assert zeroed(disk)
    assert not [name for name in backup.read(tmp_path / "backup")[1] if "/." in name]


# Damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b'{"manifest":"', b"not a key"])
def test_a_damaged_key_is_destroyed_at_its_time(world: World, damage: bytes) -> None:
    world.home.add_capsule(world.sealed, retain_until=LATER)
    key_file(world).write_bytes(damage)
    assert shredding.sweep(world.home, now="2026-06-30T00:00:00Z") == ((), (), ())
    assert key_file(world).exists()
    assert shredding.sweep(world.home, now=LATER).gone == (world.sealed.manifest_digest,)
    assert not key_file(world).exists()


def test_the_time_is_read_where_it_can_be(world: World) -> None:
    """Without the file of the time (a directory of an earlier version), and whatever the permissions are."""
    world.home.add_capsule(world.sealed, retain_until=LATER)
    key_file(world).with_suffix(".until").unlink()
    key_file(world).write_bytes(b"\xff" + key_file(world).read_bytes())
    key_file(world).chmod(0o644)
    assert world.home.data_keys.retain_until(world.sealed.manifest_digest) == LATER
    assert shredding.sweep(world.home, now=LATER).gone == (world.sealed.manifest_digest,)


def test_a_key_that_is_kept_on_has_no_old_time(world: World) -> None:
    world.home.add_capsule(world.sealed, retain_until=LATER)
    world.home.add_capsule(world.sealed)
    assert shredding.sweep(world.home, now=AFTER) == ((), (), ())
    assert held(world)
    with pytest.raises(ContractError, match=r"contract\.time"):
        world.home.add_capsule(world.sealed, retain_until="next summer")


def test_a_damaged_key_of_which_no_time_is_known_is_named(world: World) -> None:
    key_file(world).write_bytes(b"damaged")
    done = shredding.sweep(world.home, now=AFTER)
    assert (done.gone, done.damaged) == ((), (world.sealed.manifest_digest,))
    from cloister.provider import contract_commands

    said = CliRunner().invoke(contract_commands.broker_app, ["sweep", str(world.home.directory)])
    assert "cannot be read" in said.stdout
    assert "keys.file" in CliRunner().invoke(app, ["list", str(world.home.directory)]).stdout


@pytest.mark.parametrize("suffix", [".gone", ".withheld"])
def test_a_damaged_mark_is_a_mark(world: World, suffix: str) -> None:
    key_file(world).with_suffix(suffix).write_bytes(b"")
    assert not held(world)
    assert Vault(world).session().status in {"capsule.shredded", "contract.inactive"}


def test_one_key_that_cannot_be_overwritten_keeps_no_other(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "sha256:" + "0" * 64
    key = world.home.data_keys.get(world.sealed.manifest_digest)
    world.home.data_keys.put(msgspec.structs.replace(key, manifest=other, retain_until=LATER))
    world.home.add_capsule(world.sealed, retain_until=LATER)
    real = files.overwrite

    def stuck(path: Path) -> None:
        if path.name.startswith("000"):
            raise OSError(30, "read-only file system")
        real(path)

    with monkeypatch.context() as broken:
        broken.setattr(files, "overwrite", stuck)
        with pytest.raises(UnavailableError, match=r"keys\.wipe"):
            shredding.sweep(world.home, now=LATER)
    assert not key_file(world).exists()
    assert world.home.data_keys.get(other) is None, "it is there, and given to nobody"
    shredding.sweep(world.home, now=LATER)
    assert not (world.home.directory / "keys" / f"{'0' * 64}.key").exists()


def test_a_disk_that_is_too_full_for_a_mark_is_not_too_full_for_zeros(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = linked(key_file(world), tmp_path)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as broken:
        broken.setattr(files, "write_private", full)
        with pytest.raises(UnavailableError, match=r"keys\.wipe"):
            world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "request"))
    assert zeroed(disk)
    assert not held(world)


# Several hands ---------------------------------------------------------------------------------------


def test_a_key_destroyed_while_its_vault_is_admitted_is_not_handed_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(world.broker.accounts).open_session

    def meanwhile(self: Any, *named: Any, **more: Any) -> int:
        world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "retention", "its time is over"))
        return real(self, *named, **more)

    monkeypatch.setattr(type(world.broker.accounts), "open_session", meanwhile)
    refused = Vault(world).session()
    assert (refused.status, refused.keys) == ("capsule.shredded", {})


def test_a_key_destroyed_while_a_release_is_charged_gets_no_signature(
    world: World, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(world.broker.accounts).append

    def meanwhile(self: Any, *named: Any, **more: Any) -> Any:
        world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "retention", "its time is over"))
        return real(self, *named, **more)

    monkeypatch.setattr(type(world.broker.accounts), "append", meanwhile)
    assert vault.append("c1").status == "capsule.shredded"
    assert world.broker.accounts.read_tip(POPULATION).size == 1, "charged, and waste"


@pytest.mark.parametrize("act", ["wipe", "wipe_all"])
def test_a_key_that_is_being_added_does_not_survive_its_destruction(
    world: World, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, manifest, gone = world.home.data_keys, world.sealed.manifest_digest, Gone(NOW, "exit", "we leave")
    destroy = {"wipe": lambda: keys.wipe(manifest, gone), "wipe_all": lambda: keys.wipe_all(gone)}[act]
    other = threading.Thread(target=destroy)
    real = files.replace_secret

    def slowly(path: Path, data: bytes) -> None:
        other.start()
        other.join(0.2)  # it has to wait for this write; if it does not, it has ended by now
        real(path, data)

    monkeypatch.setattr(data_keys.files, "replace_secret", slowly)
    world.home.add_capsule(world.sealed)
    other.join()
    assert not key_file(world).exists()
    assert keys.gone(manifest) is not None


def test_a_key_read_while_it_is_destroyed_is_no_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.read_private

    def meanwhile(path: Path) -> bytes:
        body = real(path)
        world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "request"))
        return body

    monkeypatch.setattr(data_keys.files, "read_private", meanwhile)
    assert not held(world)


# A folder that is no broker --------------------------------------------------------------------------


def commands_of_a_broker() -> list[list[str]]:
    """Every command whose first argument is a broker's directory."""
    import typer

    from cloister.cli import whole

    found: list[list[str]] = []

    def walk(command: Any, name: list[str]) -> None:
        if (below := getattr(command, "commands", None)) is not None:
            for part, one in below.items():
                walk(one, [*name, part])
        elif any("broker's directory" in (getattr(p, "help", "") or "") for p in command.params):
            found.append(name)

    walk(typer.main.get_command(whole()), [])
    return [name for name in found if name not in (["broker", "init"], ["seal"], ["release", "add"])]


WORDS = {
    "capsule keep": ["--all"],
    "capsule shred": ["sha256:0", "--yes"],
    "capsule exit": ["--yes"],
    "account source": ["sha256:0", "c", "--population", "p"],
    "broker add": ["contract.json"],
    "broker approve": ["approval.json"],
    "broker withdraw": ["sha256:0"],
    "broker complete": ["sha256:0"],
    "broker suspend": ["sha256:0"],
    "broker resume": ["sha256:0"],
    "broker revoke": ["sha256:0"],
    "broker backup": ["--out", "file"],
    "broker grant": ["did:key:z", "auditor"],
    "broker ungrant": ["did:key:z", "auditor"],
    "broker revoke-did": ["did:key:z"],
    "broker peer": ["did:key:z"],
    "broker purge": ["--before", NOW],
    "broker accounts-at": ["postgresql://host/name"],
    "audit export": ["--out", "file"],
    "checkpoint take": ["--out", "file"],
    "release veto": ["1.2"],
    "release least": ["sha256:0", "1.2"],
}


def test_every_command_of_a_broker_refuses_a_folder_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list would say that there is nothing, and a decision would be about nothing."""
    from cloister.cli import whole

    monkeypatch.chdir(tmp_path)
    named = [" ".join(name) for name in commands_of_a_broker()]
    assert len(named) >= 25
    assert {"capsule list", "broker roles", "broker contracts", "broker approvals", "broker sweep"} <= set(named)
    empty = tmp_path / "no broker"
    empty.mkdir()
    for command in named:
        done = CliRunner().invoke(whole(), [*command.split(), str(empty), *WORDS.get(command, [])])
        assert isinstance(done.exception, CloisterError), (command, done.output)
        assert done.exception.code in {"broker.none", "keys.missing"}, command
        assert done.exception.next_step
    assert list(empty.iterdir()) == [], "nothing was made there"
