"""Schedules of crashes, rollbacks and clones around real vaults and real brokers, and what must hold after each.

A schedule asks a few questions, some of which two brokers have to sign, while one thing after another goes wrong (see
``crash_moves``). What left a vault is written down as it leaves. Afterwards, whatever happened:

* *never double-spent, never unpaid*: every account is the exact sum of its distinct entries, and each value that left
  has one entry, at its price, at every broker whose account its question rests on; the account its receipt states is a
  beginning of the account there is; the deposit is in the log, once;
* *never two noises for one charge*: whoever saw a value of a charge saw the same one;
* a charge that only the first of two brokers has booked is waste, or is resumed and then paid once at each;
* in peace every question is answered, but for charges a recovery has burnt.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
from crash_copies import copy_witness, put_aside, put_back
from crash_moves import Move
from forker import Forker
from pair_world import accounts, both
from vault_agent import Dead, VaultProcess
from vault_world import BrokerProcess, World, numbered

from cloister.errors import CloisterError, FaultError, TrustError, UnavailableError
from cloister.provider import checkpoints, recovery
from cloister.provider.home import BrokerHome
from cloister.receipt import log
from cloister.receipt.audit import Audit
from cloister.receipt.checkpoint import raw_root
from cloister.receipt.receipt import Receipt
from cloister.wire.envelope import Envelope, unverified_payload

RHO = "1/1000000"
ATTEMPTS, PATIENCE_S = 20, 300


class Record:
    """Every value that left a vault, by charge id."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, ...]] = {}
        self.receipts: list[Receipt] = []
        self._lock = threading.Lock()

    def saw(self, answer: dict[str, Any]) -> None:
        """Write an answer down."""
        raw = tuple(answer["raw"])
        with self._lock:
            assert self.values.setdefault(answer["charge_id"], raw) == raw, "two noises for one charge"
            envelope = msgspec.convert(answer["receipt"], Envelope)
            self.receipts.append(msgspec.json.decode(unverified_payload(envelope), type=Receipt))


class Schedule:
    """One schedule on a world of two brokers; ``folder`` is for copies."""

    def __init__(self, world: World, forker: Forker, folder: Path) -> None:
        self.world, self.forker, self.folder = world, forker, folder
        self.record = Record()
        self.config, self.network = world.config(), world.new_network()
        self.plans = [both(1, RHO), numbered(2, RHO), both(3, RHO)]
        self.brokers = {"anna": world.anna_broker, "bank": world.bank_broker}
        self.burnt: set[str] = set()
        self.errors: list[BaseException] = []
        self._vault: VaultProcess | None = None

    def run(self, moves: list[Move]) -> None:
        """Let every move happen, then ask everything in peace and check."""
        try:
            for move in moves:
                getattr(self, f"_{move.kind}")(move)
                self._mend()
            self.peace()
        finally:
            self._end_vault()
        if self.errors:
            raise self.errors[0]
        self.check()

    def peace(self) -> None:
        """Ask every question twice: each is answered, always alike, unless a recovery has burnt its charge."""
        for plan in self.plans * 2:
            try:
                self._asked(plan)
            except TrustError as error:
                assert error.code == "charge.conflict", error
                assert self.burnt, "nothing was recovered, so nothing is burnt"

    def _asked(self, plan: dict[str, Any]) -> None:
        """Ask until there is an answer: on a busy machine a message may take too long, and a run may be stopped."""
        for attempt in range(ATTEMPTS):
            try:
                return self.record.saw(self._live().ask("release", plan, timeout=PATIENCE_S))
            except (UnavailableError, FaultError):
                if attempt == ATTEMPTS - 1:
                    raise
                self._end_vault()
                self._mend()  # a kill that was late has hit a broker that was started again
        return None

    # What must hold -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold the brokers' logs, the receipts and the record of what left against each other."""
        books = {population: broker.entries(population) for broker, population in accounts(self.world)}
        for broker, population in accounts(self.world):
            check_account(broker, population)
        leaves = {
            population: [log.leaf_hash(body) for body in raw_entries(broker, population)]
            for broker, population in accounts(self.world)
        }
        for receipt in self.record.receipts:
            assert receipt.charges, "a value left that nobody has signed for"
            for charge in receipt.charges:
                paid = [one for one in books[charge.population] if one["charge_id"] == receipt.charge_id]
                assert [one["rho"] for one in paid] == [charge.rho], "a value left that was not paid once, at its price"
                stated = log.root(leaves[charge.population][: charge.size])
                assert stated == raw_root(charge.root), "the account a receipt states is not the account there is"
        settled = {event["charge_id"] for event in self._settlements()}
        assert set(self.record.values) <= settled, "a value left without a deposit"

    def _settlements(self) -> Iterator[dict[str, Any]]:
        for broker, _ in accounts(self.world):
            with contextlib.closing(sqlite3.connect(broker.home.accounts_file)) as db:
                told = [
                    msgspec.json.decode(body) for (body,) in db.execute("SELECT body FROM events WHERE kind='settle'")
                ]
            ids = [event["charge_id"] for event in told]
            assert len(set(ids)) == len(ids), "a charge was settled twice"
            yield from told

    # Moves --------------------------------------------------------------------------------------------

    def _step(self, move: Move) -> None:
        self._end_vault()
        self._vault = self._new_vault(steps=lambda at: at != move.step)
        self._ask(self._vault, move.questions[0])
        self._end_vault()  # the step may not have been reached: what is recalled is not run

    def _message(self, move: Move) -> None:
        vault = self._live()
        left, struck, lock = [move.nth], threading.Event(), threading.Lock()

        def strike(at: str, body: bytes) -> bytes:
            with lock:
                left[0] -= at == move.path
                now = at == move.path and left[0] == 0
            if now:
                self._kill(vault, move.victim)
                struck.set()
            return body

        self._during(vault, move, {move.side: strike}, lambda: struck.wait(0.3) or self._kill(vault, move.victim))

    def _moment(self, move: Move) -> None:
        vault = self._live()

        def later() -> None:
            time.sleep(move.seconds)
            self._kill(vault, move.victim)

        self._during(vault, move, {}, later)

    def _twin(self, move: Move) -> None:
        """A second enclave is started on the same sealed state in the middle of the first one's release."""
        vault, twins, once = self._live(), [], threading.Lock()

        def strike(at: str, body: bytes) -> bytes:
            if at == move.path and once.acquire(blocking=False):
                twins.append(self._new_vault())
                self._ask(twins[0], move.questions[0])
            return body

        self._during(vault, move, {move.side: strike}, lambda: None)
        self._end_vault()
        self._vault = next(iter(twins), None)

    def _file(self, move: Move) -> None:
        broker, old, proof = self._charged_since_copied(move)
        broker.kill()
        put_back(broker.home, old, whole=True)
        broker.start()
        self._nothing_new(move, (self._live, self._fresh))
        self._recover(broker, proof)

    def _running(self, move: Move) -> None:
        broker, old, proof = self._charged_since_copied(move)
        put_back(broker.home, old, whole=False)
        self._nothing_new(move, (self._live, self._fresh))
        self._recover(broker, proof)

    def _directory(self, move: Move) -> None:
        broker, old, proof = self._charged_since_copied(move)
        broker.kill()
        put_aside(broker.home, true := self._new_folder())
        put_back(broker.home, old, whole=True)
        copy_witness(old, broker.home.directory)
        broker.start()
        # The broker cannot know; the vault that saw more does. A new vault is what anchors and checkpoints are for.
        self._nothing_new(move, (self._live,))
        broker.kill()
        # It has signed a second history since, which nothing mends: its owner has to put the true one back.
        with contextlib.suppress(TrustError):
            recovery.recover(broker.home, exports=[proof], checkpoints=[], burn=False, now=now())
            raise AssertionError("two histories were recovered into one")
        put_back(broker.home, true, whole=True)
        copy_witness(true, broker.home.directory)
        broker.start()
        self._end_vault()

    def _clone(self, move: Move) -> None:
        broker, old, _ = self._charged_since_copied(move)
        home = self._new_folder()
        shutil.copytree(
            broker.home.directory,
            home,
            ignore=shutil.ignore_patterns("accounts.*", "ready*"),
            dirs_exist_ok=True,
        )
        shutil.copy(old / "accounts.sqlite", home)
        copy_witness(old, home)
        twin = BrokerProcess(BrokerHome(home), serve=True, forker=self.forker)
        self.network.urls[broker.did] = twin.url
        try:
            self._nothing_new(move, (self._live,))
        finally:
            twin.kill()
            self.network.urls[broker.did] = broker.url
        shutil.rmtree(home)
        self._end_vault()  # what has seen an account go back believes it no more, and is right

    # Parts of moves -----------------------------------------------------------------------------------

    def _charged_since_copied(self, move: Move) -> tuple[BrokerProcess, Path, Path]:
        """Copy a broker's accounts, have something charged, and export: what an auditor took away a moment ago."""
        broker = self.brokers[move.victim]
        old, proof = self._new_folder(), self.folder / "proof"
        put_aside(broker.home, old)
        for plan in self.plans:
            with contextlib.suppress(TrustError):
                self._asked(plan)
        before = broker.tip(self._population(broker)).size
        # A question of its own, so that something was charged even if all of ours were recalled or burnt.
        self._asked(both(10 + before % 80, RHO))
        told = -1
        while told != (told := self._events(broker)):
            time.sleep(1)  # refusals are written half a second later, and would be missing from the proof
        ledger = broker.home.open_accounts()
        proof.write_bytes(b"".join(checkpoints.write_export(broker.home, ledger, now=now(), actor="owner")))
        ledger.close()
        return broker, old, proof

    def _nothing_new(self, move: Move, vaults: tuple[Callable[[], VaultProcess], ...]) -> None:
        """Ask questions that rest on the account that went back: nothing leaves that had not left before."""
        known = set(self.record.values)
        for vault in vaults:
            for plan in (both(91 + move.questions[0], RHO), self.plans[0]):
                try:
                    answer = vault().ask("release", plan, timeout=PATIENCE_S)
                except (CloisterError, Dead):
                    continue
                self.record.saw(answer)
                assert answer["charge_id"] in known, f"{move.kind}: released on an account that went back"

    def _recover(self, broker: BrokerProcess, proof: Path) -> None:
        broker.kill()
        recovery.recover(broker.home, exports=[proof], checkpoints=[], burn=False, now=now())
        self.burnt.add(broker.did)
        broker.start()
        self._end_vault()

    def _during(
        self, vault: VaultProcess, move: Move, hooks: dict[str, Callable[[str, bytes], bytes]], act: Callable[[], Any]
    ) -> None:
        """Ask the move's questions at once while something happens."""
        for side, hook in hooks.items():
            setattr(self.network, side, hook)
        askers = [threading.Thread(target=self._ask, args=(vault, number)) for number in move.questions]
        for asker in askers:
            asker.start()
        act()
        for asker in askers:
            asker.join(PATIENCE_S)
            assert not asker.is_alive()
        self.network.before = self.network.after = lambda _at, body: body

    def _ask(self, vault: VaultProcess, number: int) -> None:
        try:
            self.record.saw(vault.ask("release", self.plans[number], timeout=PATIENCE_S))
        except (Dead, UnavailableError, FaultError):
            pass  # what is killed does not answer; it is asked again in peace
        except TrustError as error:
            if error.code not in {"session.fenced", "charge.conflict"}:
                self.errors.append(error)
        except CloisterError as error:
            if error.code != "charge.conflict" or not self.burnt:
                self.errors.append(error)
        except BaseException as error:  # noqa: BLE001 (raised again by the schedule, in its own thread)
            self.errors.append(error)

    def _kill(self, vault: VaultProcess, victim: str) -> None:
        if victim in {"vault", "all"}:
            vault.kill()
        for name, broker in self.brokers.items():
            if victim in {name, "brokers", "all"}:
                broker.kill()

    def _mend(self) -> None:
        for broker in self.brokers.values():
            broker.restart_if_dead()

    def _live(self) -> VaultProcess:
        if self._vault is None or not self._vault.alive:
            self._end_vault()
            self._vault = self._new_vault()
        return self._vault

    def _fresh(self) -> VaultProcess:
        self._end_vault()
        return self._live()

    def _new_vault(self, **more: Any) -> VaultProcess:
        return self.world.vault(self.config, self.network, forker=self.forker, **more)

    def _end_vault(self) -> None:
        if self._vault is not None:
            self._vault.kill()
            self._vault.close()
        self._vault = None

    def _events(self, broker: BrokerProcess) -> int:
        with contextlib.closing(sqlite3.connect(broker.home.accounts_file)) as db:
            return int(db.execute("SELECT count(*) FROM events").fetchone()[0])

    def _new_folder(self) -> Path:
        (folder := self.folder / f"copy-{time.monotonic_ns()}").mkdir()
        return folder

    def _population(self, broker: BrokerProcess) -> str:
        return next(population for one, population in accounts(self.world) if one is broker)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def raw_entries(broker: BrokerProcess, population: str) -> tuple[bytes, ...]:
    """Return the entries of an account as they are hashed."""
    ledger = broker.home.open_accounts()
    try:
        return ledger.entries(population)
    finally:
        ledger.close()


def check_account(broker: BrokerProcess, population: str) -> None:
    """Check that an account is the exact sum of its distinct entries."""
    while True:
        entries, tip = broker.entries(population), broker.tip(population)
        # A message of a vault that was just killed may still be on its way to the broker.
        if entries == broker.entries(population):
            break
    assert len({entry["charge_id"] for entry in entries}) == len(entries) == tip.size, "a charge was booked twice"
    assert tip.spent == sum((Fraction(entry["rho"]) for entry in entries), Fraction(0))


def check_logs(world: World) -> None:
    """Audit each broker: every charge under a contract, for an admitted vault, with its event, within its limits."""
    for broker, _ in accounts(world):
        ledger = broker.home.open_accounts()
        lines = list(checkpoints.write_export(broker.home, ledger, now=now(), actor="owner"))
        ledger.close()
        report = Audit().check(lines)
        assert report.sound, report.to_text()
