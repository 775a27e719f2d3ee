"""kill -9 of vault and broker, at every numbered step and at random moments: nothing is paid or answered twice.

After every schedule three things must hold, whatever was killed when:

* an account's ``spent`` is the exact sum of its entries, and no charge id has two entries;
* a client never sees two different answers to one charge, and what it saw is what the broker holds settled;
* the same questions, asked again in peace, are all answered, at no charge beyond one entry each.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from forker import Forker
from vault_agent import Dead, VaultProcess
from vault_world import World, numbered

from cloister.errors import TrustError, UnavailableError

# Two brokers, steps, rollbacks and clones are in test_schedules.py, five hundred times by night.
SCHEDULES = int(os.environ.get("CLOISTER_CRASH_SCHEDULES", "8"))
LANES = 2
STEPS = ("decode", "authorise", "analyse", "price", "recall", "charge", "execute", "noise", "sign", "settle", "reply")
CHARGE, SETTLE = STEPS.index("charge") + 1, STEPS.index("settle") + 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    """A world of its own: its brokers are killed."""
    world = World(tmp_path_factory.mktemp("crash"))
    yield world
    world.close()


class Client:
    """Remembers every answer it ever saw, by charge id."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def saw(self, result: dict[str, Any]) -> None:
        """Note an answer; a second, different one for the same charge is what must never happen."""
        raw = tuple(result["raw"])
        with self._lock:
            assert self.seen.setdefault(result["charge_id"], raw) == raw, "two noises for one charge"


def check_accounts(world: World, entries_before: int = 0) -> None:
    """The account is the sum of its distinct charges."""
    population = world.card.population
    while True:
        entries, tip = world.anna_broker.entries(population), world.anna_broker.tip(population)
        # A message of a vault that was just killed may still be on its way to the broker.
        if entries == world.anna_broker.entries(population):
            break
    assert tip.size == len(entries) >= entries_before
    assert len({entry["charge_id"] for entry in entries}) == len(entries), "a charge was booked twice"
    assert tip.spent == sum((Fraction(entry["rho"]) for entry in entries), Fraction(0))


def charged(world: World, charge_id: str) -> int:
    """Return how many entries a charge has."""
    return sum(entry["charge_id"] == charge_id for entry in world.anna_broker.entries(world.card.population))


# Every numbered step ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steps_config(world: World) -> dict[str, Any]:
    return world.config()


@pytest.mark.parametrize("step", range(1, len(STEPS) + 1), ids=STEPS)
def test_kill_at_step(world: World, steps_config: dict[str, Any], step: int) -> None:
    asked = numbered(step)
    size = world.anna_broker.tip(world.card.population).size
    with world.vault(steps_config, steps=lambda at: at != step) as vault, pytest.raises(Dead):
        vault.ask("release", asked)
    assert vault.process.returncode == -9
    after = world.anna_broker.tip(world.card.population).size
    assert after - size == (1 if step > CHARGE else 0), "charged before it runs, and not earlier"
    with world.vault(steps_config) as vault:
        answer = vault.ask("release", asked)
        again = vault.ask("release", asked)
    assert answer["recalled"] == (step > SETTLE), "what was settled is recalled, what was not is run again"
    assert again["raw"] == answer["raw"]
    assert charged(world, answer["charge_id"]) == 1
    check_accounts(world)


@pytest.mark.parametrize("path", ["/v1/append", "/v1/settle"])
@pytest.mark.parametrize("arrived", [False, True], ids=["on the way there", "on the way back"])
def test_kill_while_a_message_is_under_way(world: World, path: str, arrived: bool) -> None:
    """The moment the numbered steps cannot name: the broker has booked or deposited, the vault never hears of it."""
    config, network = world.config(), world.new_network()
    held: list[bytes] = []

    with world.vault(config, network) as vault:

        def kill(at: str, body: bytes) -> bytes | None:
            if at != path or held:
                return body
            held.append(body)
            vault.kill()
            return None

        setattr(network, "after" if arrived else "before", kill)
        with pytest.raises(Dead):
            vault.ask("release", numbered(1))
        assert held
    with world.vault(config) as vault:
        answer = vault.ask("release", numbered(1))
    assert answer["recalled"] == (path == "/v1/settle" and arrived)
    assert charged(world, answer["charge_id"]) == 1
    check_accounts(world)


def test_two_runs_of_one_charge_show_one_answer(world: World) -> None:
    """A vault is frozen with its answer before the deposit, a second one settles; the first must not show its own."""
    config = world.config()
    reached, go = threading.Event(), threading.Event()

    def freeze(at: int) -> bool:
        if at == SETTLE:
            reached.set()
            go.wait(30)
        return True

    with world.vault(config, steps=freeze) as first:
        number = first.begin("release", numbered(1))
        assert reached.wait(30)
        with world.vault(config) as second:
            answer = second.ask("release", numbered(1))
            go.set()
            with pytest.raises(TrustError) as fenced:
                first.wait(number)
            assert fenced.value.code == "session.fenced"
            assert second.ask("release", numbered(1))["raw"] == answer["raw"]
    assert charged(world, answer["charge_id"]) == 1


# Random schedules ------------------------------------------------------------------------------------


class Schedule:
    """Several clients ask a few questions while vault and broker are killed at random moments."""

    def __init__(self, world: World, forker: Forker, seed: int) -> None:
        self.world = world
        self.forker = forker
        self.rng = random.Random(seed)
        self.client = Client()
        self.config = world.config()
        self.network = world.new_network()
        self.plans = [numbered(number, rho="1/1000000") for number in range(3)]
        self.vault: VaultProcess | None = None
        self.errors: list[BaseException] = []

    def run(self) -> None:
        """Kill twice, then ask everything in peace and check."""
        before = self.world.anna_broker.tip(self.world.card.population).size
        for _ in range(2):
            self._disturbed()
        check_accounts(self.world, before)
        for plan in self.plans:
            answer = self._vault().ask("release", plan)
            self.client.saw(answer)
            assert charged(self.world, answer["charge_id"]) == 1
        assert self.world.anna_broker.tip(self.world.card.population).size == before + len(self.plans)
        check_accounts(self.world, before)
        self._vault().close()
        if self.errors:
            raise self.errors[0]

    def _disturbed(self) -> None:
        vault = self._vault()
        asked = self.rng.choices(self.plans, k=self.rng.randint(1, 3))
        askers = [threading.Thread(target=self._ask, args=(vault, plan)) for plan in asked]
        for asker in askers:
            asker.start()
        self._kill_something(vault)
        for asker in askers:
            asker.join(60)
            assert not asker.is_alive()
        self.world.anna_broker.restart_if_dead()

    def _ask(self, vault: VaultProcess, plan: dict[str, Any]) -> None:
        try:
            self.client.saw(vault.ask("release", plan))
        except (Dead, UnavailableError):
            pass  # a lost connection is what this is about; the answer is asked for again in peace
        except BaseException as error:  # noqa: BLE001 (raised again by the schedule, in its own thread)
            self.errors.append(error)

    def _kill_something(self, vault: VaultProcess) -> None:
        victim = self.rng.choice(("vault", "vault", "vault", "broker", "both"))
        if self.rng.random() < 0.4:
            # A release takes a little over 0.1 s once tables are loaded; moments are drawn over all of it.
            time.sleep(self.rng.uniform(0, 0.3))
            self._kill(vault, victim)
            return
        path = self.rng.choice(("/v1/session", "/v1/append", "/v1/append", "/v1/settle", "/v1/settle"))
        side = self.rng.choice(("before", "after"))
        once, done = threading.Lock(), threading.Event()

        def strike(at: str = path, body: bytes = b"") -> bytes:
            if at == path and once.acquire(blocking=False):
                self._kill(vault, victim)
                done.set()
            return body

        setattr(self.network, side, strike)
        if not done.wait(0.5):
            strike()
        setattr(self.network, side, lambda at, body: body)
        assert done.wait(30)

    def _kill(self, vault: VaultProcess, victim: str) -> None:
        if victim in ("vault", "both"):
            vault.kill()
        if victim in ("broker", "both"):
            self.world.anna_broker.kill()

    def _vault(self) -> VaultProcess:
        if self.vault is None or not self.vault.alive:
            self.vault = self.world.vault(self.config, self.network, forker=self.forker)
        return self.vault


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory):
    """Processes start as forks here: a hundred schedules need several hundred of them."""
    forker = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield forker
    forker.close()


def test_random_schedules(tmp_path: Path, forker: Forker) -> None:
    def lane(number: int) -> list[str]:
        world = World(tmp_path / str(number), forker=forker)
        try:
            for seed in range(number, SCHEDULES, LANES):
                try:
                    Schedule(world, forker, seed).run()
                except BaseException as error:
                    error.add_note(f"schedule {seed}")
                    raise
        finally:
            world.close()
        return []

    with ThreadPoolExecutor(LANES) as pool:
        for outcome in [pool.submit(lane, number) for number in range(LANES)]:
            outcome.result()
