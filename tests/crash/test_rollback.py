"""Accounts put back under a running release, at every message and on both sides of it; then recovered.

Whatever was lost: nothing is released unpaid, no client ever sees two answers to one charge, and what was spent stays
spent. ``file``: the account file is replaced by an older copy; ``directory``: all of the broker's directory, so that it
cannot know; then the vault that saw more stops.
"""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from vault_world import DirectTransport, World, context, numbered

from cloister.contract import signing
from cloister.contract.states import Decision
from cloister.errors import CloisterError
from cloister.provider import checkpoints, recovery, shredding
from cloister.provider.broker import Broker
from cloister.receipt.audit import Audit
from cloister.vault.release import release

POINTS = [(path, side) for path in ("/v1/append", "/v1/settle") for side in ("before", "after")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    made = World(tmp_path_factory.mktemp("rollback"), serve=False)
    yield made
    made.close()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Study:
    """One contract on the world's brokers; the account file can be put back as it was when the study began."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.home = world, world.anna_home
        self.document = world.sign(world.contract())
        self.old, self.proof = folder / "old", folder / "export"
        self.answers: dict[str, tuple[str, ...]] = {}
        self.state, self.transport = world.state(self.document)

    def ask(self, number: int) -> bool:
        """Ask a question; return whether it was answered. A second, other answer to one charge must not exist."""
        try:
            receipt = release(self.state, context(self.world), numbered(number)).receipt
        except CloisterError as error:
            self.refused = error.code
            return False
        assert self.answers.setdefault(receipt.charge_id, receipt.raw) == receipt.raw, "two noises for one charge"
        return True

    def reconnect(self) -> None:
        """Start a new vault and new brokers on the same directories."""
        self.close()
        self.state, self.transport = self.world.state(self.document)

    def close(self) -> None:
        for broker in self.transport._brokers.values():
            broker.close()

    def snapshot(self) -> None:
        with sqlite3.connect(self.home.accounts_file) as live, sqlite3.connect(self.old) as copy:
            live.backup(copy)

    def export(self) -> None:
        """What an auditor took away a moment ago."""
        accounts = self.home.open_accounts()
        self.proof.write_bytes(b"".join(checkpoints.write_export(self.home, accounts, now=now(), actor="owner")))
        accounts.close()

    def put_back(self, *, all_of_it: bool) -> None:
        """Replace the account file under the running vault, and start the broker again."""
        broker = self.transport._brokers[self.home.identity().did]
        broker.close()
        for path in self.home.directory.glob("accounts.sqlite*"):
            path.unlink()
        shutil.copy(self.old, self.home.accounts_file)
        if all_of_it:
            self.home.witness.path.unlink()
        self.transport._brokers[self.home.identity().did] = Broker(self.home)

    def entries(self) -> list[dict[str, Any]]:
        return self.world.anna_broker.entries(self.world.card.population)

    def check(self) -> None:
        """The account is the exact sum of distinct charges."""
        tip, entries = self.world.anna_broker.tip(self.world.card.population), self.entries()
        assert len({entry["charge_id"] for entry in entries}) == len(entries) == tip.size
        assert tip.spent == sum((Fraction(entry["rho"]) for entry in entries), Fraction(0))


@pytest.fixture
def study(world: World, tmp_path: Path):
    """A study with one release that the old copy holds and one that it does not."""
    made = Study(world, tmp_path)
    assert made.ask(1)
    made.snapshot()
    assert made.ask(2)
    yield made
    made.close()
    for path in made.home.directory.glob("accounts.*"):
        path.unlink()
    made.home.restored_file.unlink(missing_ok=True)


def strike_at(study: Study, point: tuple[str, str], *, all_of_it: bool) -> None:
    path, side = point
    struck: list[str] = []

    def strike(at: str, body: bytes) -> bytes:
        if at == path and not struck:
            struck.append(at)
            study.export()
            study.put_back(all_of_it=all_of_it)
        return body

    setattr(study.transport, side, strike)


@pytest.mark.parametrize("how", ["file", "directory"])
@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_nothing_is_released_on_an_account_that_went_back(study: Study, point: tuple[str, str], how: str) -> None:
    strike_at(study, point, all_of_it=how == "directory")
    settled = point == ("/v1/settle", "after")
    assert study.ask(3) == settled, "only what was paid and settled before is released"
    if not settled:
        rolled = {"file": {"ledger.unavailable"}, "directory": {"broker.rollback", "charge.conflict", "session.fenced"}}
        assert study.refused in rolled[how]
    # Whatever the same vault asks afterwards: not one more release.
    assert not study.ask(4)


@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_after_recovery_what_was_spent_is_spent_and_nothing_runs_twice(study: Study, point: tuple[str, str]) -> None:
    strike_at(study, point, all_of_it=False)
    study.ask(3)
    study.close()
    recovery.recover(study.home, exports=[study.proof], checkpoints=[], burn=False, now=now())
    study.reconnect()
    study.check()
    booked = {entry["charge_id"] for entry in study.entries()}
    assert study.ask(1), "its receipt was in the old copy: recalled"
    assert not study.ask(2), "its receipt is lost: it would be a second noise"
    assert study.refused == "charge.conflict"
    # The third was charged before the strike, and is waste; or it was not, and is released now, for the first time.
    assert study.ask(3) == (len(booked) == 2)
    assert study.ask(4)
    study.check()
    study.export()
    with study.proof.open("rb") as lines:
        report = Audit().check(lines)
    assert report.sound, report.to_text()


def test_a_burnt_gap_releases_nothing_more(study: Study) -> None:
    strike_at(study, ("/v1/append", "after"), all_of_it=False)
    study.ask(3)
    study.close()
    recovery.recover(study.home, exports=[], checkpoints=[], burn=True, now=now())
    study.reconnect()
    assert not study.ask(1), "decisions about the contract may be lost"
    assert study.refused == "contract.inactive"
    study.home.contracts.decide(signing.payload_digest(study.document), Decision("active", now(), "looked at"))
    assert not study.ask(1), "its key may have been destroyed"
    for manifest in study.home.data_keys.manifests():
        shredding.keep(study.home, manifest, now=now())
    assert study.ask(1)
    for number in (2, 3, 4):
        assert not study.ask(number)
        assert study.refused == "budget.exhausted"
    study.check()


def test_a_transport_of_the_tests_misbehaves_where_it_is_told(study: Study) -> None:
    """The strikes above happen: without one, the third question is answered."""
    assert isinstance(study.transport, DirectTransport)
    assert study.ask(3)
    assert study.ask(4)
