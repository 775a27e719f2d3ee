"""Crypto-shredding: on request, on exit, on completion, on expiry and after the time of retention; and what is left."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest
from log_world import checked, exported
from provider_world import CARD, START, World
from typer.testing import CliRunner

from cloister.contract.clauses import Obligation
from cloister.contract.states import Decision
from cloister.errors import CloisterError, ContractError, RefusedError, UnavailableError
from cloister.provider import __main__ as serving
from cloister.provider import backup, clock, shredding
from cloister.provider.capsule_commands import app
from cloister.provider.data_keys import Gone
from cloister.provider.home import BrokerHome
from cloister.receipt.audit import Audit
from cloister.receipt.events import Event
from cloister.vault.statuses import check_status

NOW = clock.text(START)
LATER = "2026-07-01T00:00:00Z"
AFTER = "2027-01-01T00:00:00Z"


def wipes(world: World) -> list[Event]:
    """Return the events of destroyed keys in the broker's log, read from an auditor's export."""
    found: list[Event] = []
    Audit(event=lambda event, *_: found.append(event)).check(exported(world))
    assert checked(exported(world)).sound
    return [event for event in found if (event.kind, event.op) == ("key", "wipe")]


def held(world: World) -> bool:
    return world.home.data_keys.get(world.sealed.manifest_digest) is not None


def shred(world: World, **changes: Any) -> shredding.Shredded:
    said = {"now": NOW, "reason": "asked for", "end_contracts": True, **changes}
    return shredding.shred(world.home, world.sealed.manifest_digest, **said)


def test_on_request_the_key_is_overwritten_recorded_and_refused_from_then_on(world: World, tmp_path: Any) -> None:
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    (path,) = (world.home.directory / "keys").glob("*.key")
    os.link(path, tmp_path / "the same bytes")
    size = path.stat().st_size
    done = shred(world)
    assert (done.gone, done.ended) == ((world.sealed.manifest_digest,), (world.digest,))
    assert (tmp_path / "the same bytes").read_bytes() == bytes(size)
    (event,) = wipes(world)
    assert (event.subject, event.status, event.reason) == (world.sealed.manifest_digest, "request", "asked for")
    assert event.time == NOW
    for reply in (vault.append("c2"), vault.tip(), world.vault_reply()):
        assert reply.status in {"contract.inactive", "capsule.shredded"}
        assert "asked for" in reply.reason
    assert world.sealed.directory.exists(), "the capsule itself is anybody's ciphertext"


def test_a_running_vault_is_refused_though_it_still_has_its_keys(world: World) -> None:
    """The contract is alive, the vault was admitted and holds everything: the broker signs nothing more."""
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "retention", "its time is over"))
    for reply in (vault.append("c2"), vault.settle("c1", "sealed"), vault.tip()):
        assert reply.status == "capsule.shredded"
    assert vault.append("c1").sealed == "", "not even a recall"
    refused = world.vault_reply()
    assert (refused.status, refused.keys) == ("capsule.shredded", {})
    with pytest.raises(ContractError, match=r"capsule\.shredded") as told:
        check_status(refused, world.contract.brokers[0])
    assert "its time is over" in told.value.reason
    assert told.value.next_step
    world.broker.journal.flush()
    statuses: list[str] = []
    Audit(event=lambda event, *_: statuses.append(event.status)).check(exported(world))
    assert statuses.count("capsule.shredded") >= 1, "the refusals are in the log"


def test_a_key_a_living_contract_needs_is_destroyed_only_with_the_contract(world: World) -> None:
    with pytest.raises(RefusedError, match=r"shred\.needed") as refused:
        shred(world, end_contracts=False)
    assert world.digest in refused.value.reason
    assert held(world)
    assert world.vault().append("c1").status == "ok"
    world.home.contracts.decide(world.digest, Decision("revoked", NOW))
    assert shred(world, end_contracts=False).ended == ()
    assert not held(world)


def test_a_provider_who_leaves_takes_every_key_and_ends_every_contract(world: World) -> None:
    vault = world.vault()
    done = shredding.leave(world.home, now=NOW, reason="we leave")
    assert (done.gone, done.ended) == ((world.sealed.manifest_digest,), (world.digest,))
    assert world.home.data_keys.manifests() == ()
    assert vault.append("c1").status == "contract.inactive"
    assert [(event.status, event.reason) for event in wipes(world)] == [("exit", "we leave")]
    assert shredding.leave(world.home, now=NOW, reason="again") == ((), (), ())


def test_expiry_and_retention_destroy_and_record_once(make_world: Any) -> None:
    world = make_world(obligations=(Obligation("expiry", "destroy-keys"),))
    assert shredding.sweep(world.home, now=LATER).gone == ()
    assert shredding.sweep(world.home, now=AFTER).gone == (world.sealed.manifest_digest,)
    assert shredding.sweep(world.home, now=AFTER).gone == ()
    (event,) = wipes(world)
    assert (event.status, event.contract, event.time) == ("expiry", world.digest, AFTER)
    assert world.contract.not_after in event.reason


def test_after_the_time_of_retention_a_key_goes_whatever_contracts_say(make_world: Any) -> None:
    world = make_world()
    world.home.add_capsule(world.sealed, retain_until=LATER)
    assert shredding.sweep(world.home, now="2026-06-30T23:59:59Z").gone == ()
    assert held(world)
    assert shredding.sweep(world.home, now=LATER).gone == (world.sealed.manifest_digest,)
    assert not held(world)
    assert [(event.status, event.time) for event in wipes(world)] == [("retention", LATER)]


def test_completion_is_recorded_with_its_reason(make_world: Any) -> None:
    from cloister.provider import obligations

    world = make_world(obligations=(Obligation("completion", "destroy-keys"),))
    obligations.complete(world.home, world.digest, now=NOW, reason="published")
    shredding.tell(world.home)
    (event,) = wipes(world)
    assert (event.status, event.reason, event.contract) == ("completion", "published", world.digest)


def test_a_log_that_cannot_be_written_keeps_no_key_alive_and_is_told_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.home.contracts.decide(world.digest, Decision("revoked", NOW))

    def full(*_: Event) -> None:
        raise UnavailableError("ledger.unavailable", "disk full")

    with monkeypatch.context() as broken:
        broken.setattr(BrokerHome, "record", lambda _self, *events: full(*events))
        with pytest.raises(UnavailableError):
            shred(world)
    assert not held(world)
    assert wipes(world) == []
    shredding.sweep(world.home, now=LATER)
    shredding.sweep(world.home, now=LATER)
    assert [(event.time, event.status) for event in wipes(world)] == [(NOW, "request")]


def test_what_was_destroyed_does_not_come_back(world: World, tmp_path: Any) -> None:
    """Neither as a file from a copy, nor by adding it again; a backup made before still holds it."""
    archive = tmp_path / "backup"
    backup.backup(world.home, archive, now=NOW)
    (path,) = (world.home.directory / "keys").glob("*.key")
    before = path.read_bytes()
    shred(world)
    path.write_bytes(before)
    path.chmod(0o600)
    assert not held(world)
    assert world.home.data_keys.manifests() == ()
    with pytest.raises(RefusedError, match=r"capsule\.shredded"):
        world.home.add_capsule(world.sealed)
    with pytest.raises(ContractError, match=r"capsule\.shredded"):
        world.home.add_contract(world.document, now=NOW)
    # What docs/provider.md warns of: the backup is as old as it is.
    assert any(body == before for body in backup.read(archive)[1].values())
    shredding.sweep(world.home, now=NOW)
    assert not path.exists(), "a broker destroys it again at its next sweep, so at every start"
    later = tmp_path / "later"
    backup.backup(world.home, later, now=NOW)
    assert all(
        name.endswith(".gone") or body != before for name, body in backup.read(later)[1].items() if "keys/" in name
    )


def test_a_running_broker_sweeps_by_itself(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(obligations=(Obligation("expiry", "destroy-keys"),))
    monkeypatch.setattr(serving, "SWEEP_S", 0.001)
    turns = []

    async def until_gone() -> None:
        task = asyncio.create_task(serving._sweep(world.broker))
        while held(world):
            await asyncio.sleep(0.001)
            turns.append(world.now)
            world.now = START if len(turns) < 5 else START.replace(year=2028)
        task.cancel()

    asyncio.run(asyncio.wait_for(until_gone(), 60))
    assert len(turns) >= 5
    shredding.tell(world.home)
    assert [event.status for event in wipes(world)] == ["expiry"]


def test_a_key_nobody_has_is_not_destroyed(world: World) -> None:
    with pytest.raises(UnavailableError, match=r"keys\.none"):
        shredding.shred(world.home, "sha256:" + "0" * 64, now=NOW, reason="")


def test_a_broker_without_the_key_admits_nobody(world: World) -> None:
    next((world.home.directory / "keys").glob("*.key")).unlink()
    assert "contract.key" in world.vault_reply().reason


def test_a_key_of_the_former_format_says_what_to_do(world: World) -> None:
    path = next((world.home.directory / "keys").glob("*.key"))
    former = {"manifest": world.sealed.manifest_digest, "table": CARD.name, "grade": "demonstration", "key": "A"}
    path.write_bytes(msgspec.json.encode(former))
    with pytest.raises(CloisterError, match=r"keys\.version") as refused:
        world.home.data_keys.get(world.sealed.manifest_digest)
    assert "seal the table again" in refused.value.next_step
    assert shred(world).gone, "it can be destroyed all the same"


def test_the_command(world: World) -> None:
    run, home, manifest = CliRunner(), str(world.home.directory), world.sealed.manifest_digest
    listed = run.invoke(app, ["list", home])
    assert f"{manifest}  held  {CARD.name}: patient | day, age, sex | bmi, smokes" in listed.stdout
    refused = run.invoke(app, ["shred", home, manifest])
    assert isinstance(refused.exception, RefusedError)
    assert refused.exception.code == "shred.confirm"
    assert held(world)
    done = run.invoke(app, ["shred", home, manifest, "--end-contracts", "--reason", "by word", "--yes"])
    assert done.exit_code == 0, done.exception
    assert "backups" in done.stdout
    assert "destroyed 20" in run.invoke(app, ["list", home]).stdout
    assert [(event.status, event.reason) for event in wipes(world)] == [("request", "by word")]
    assert run.invoke(app, ["exit", home, "--yes"]).exit_code == 0
