"""Files of the broker: of two changes at once none is lost, and a wiped key is gone from where it lay."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from log_world import spend
from provider_world import World

from cloister.errors import MalformedError, RefusedError
from cloister.provider import event_log, log_commands, revoked, roles
from cloister.provider.data_keys import Gone
from cloister.wire.identity import SigningKey

NOW = "2026-06-01T00:00:00Z"


@pytest.mark.parametrize("module", [revoked, roles])
def test_of_two_changes_at_once_none_is_lost(world: World, module, monkeypatch) -> None:
    """Both would read before one of them writes, if they could."""
    both, read = threading.Barrier(2), module.read

    def slowly(home):
        known = read(home)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return known

    monkeypatch.setattr(module, "read", slowly)
    dids = [SigningKey.generate().did for _ in range(2)]
    act = (lambda did: revoked.revoke(world.home, did, now=NOW)) if module is revoked else None
    act = act or (lambda did: roles.grant(world.home, did, "auditor"))
    threads = [threading.Thread(target=act, args=(did,)) for did in dids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read(world.home).dids) == set(dids)


def test_a_wiped_key_is_overwritten_where_it_lies(world: World, tmp_path: Path) -> None:
    (path,) = (world.home.directory / "keys").glob("*.key")
    os.link(path, tmp_path / "the same bytes")
    size = path.stat().st_size
    assert world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(NOW, "request"))
    assert not path.exists()
    assert (tmp_path / "the same bytes").read_bytes() == bytes(size)


def test_a_purge_before_the_end_of_time_is_refused(world: World) -> None:
    with world.broker.accounts.database.transaction() as db, pytest.raises(MalformedError) as stopped:
        event_log.purge(db, "log", "9999-12-31T00:00:00Z", now=NOW, actor="owner")
    assert stopped.value.code == "retention.time"


def test_accounts_do_not_move_away_from_what_is_written(world: World) -> None:
    spend(world, 1)
    world.broker.close()
    with pytest.raises(MalformedError) as stopped:
        log_commands.accounts_at(world.home.directory, "postgresql://nobody@127.0.0.1:1/none")
    assert stopped.value.code == "database.booked"
    for path in world.home.directory.glob("accounts.sqlite*"):
        path.unlink()
    with pytest.raises(RefusedError) as refused:  # the file was removed, and its events with it
        log_commands.accounts_at(world.home.directory, "postgresql://nobody@127.0.0.1:1/none")
    assert refused.value.code == "broker.restored"
    assert not world.home.accounts_url.exists()
