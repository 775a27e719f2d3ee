"""Clocks that are apart, by minutes, hours and days: of broker, enclave and analyst, each against the others.

The broker's clock decides about contracts, leases and receipts. The enclave's host may show any time: the vault takes
none but the broker's. Enclave and analyst look at the contract by their own clocks as well, which can only refuse more.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bad_input_scene  # noqa: F401 (it makes the other folders of tests importable)
import pytest
from dial_world import DialWorld
from vault_agent import VaultProcess
from vault_world import World, context, numbered
from websockets.asyncio.server import serve

sys.path.append(str(Path(__file__).parents[1] / "enclave"))

from agent_world import AgentWorld, Notebook

from cloister.analyst import dial
from cloister.analyst.dial import EnclaveSession
from cloister.contract import signing
from cloister.errors import CloisterError
from cloister.provider import clock
from cloister.provider.broker import Broker
from cloister.vault.release import release

SKEWED = str(Path(__file__).with_name("skewed.py"))
MINUTES, HOURS, DAYS = timedelta(minutes=4), timedelta(hours=5), timedelta(days=3)
APART = [sign * by for by in (MINUTES, HOURS, DAYS) for sign in (-1, 1)]
DAY = timedelta(days=1)


def named(apart: timedelta) -> str:
    return f"{apart / timedelta(hours=1):+.2f} h"


def text(moment: datetime) -> str:
    return clock.text(moment)


def signed(world: World, begins: datetime, ends: datetime) -> Any:
    """A contract from a day before until a day after, registered by a broker whose clock was right then."""
    document = world.sign(world.contract(not_before=text(begins), not_after=text(ends)), register=False)
    for home in (world.anna_home, world.bank_home):
        home.contracts.add(document, now=text(begins))
    return document


def booked(world: World, document: Any) -> int:
    digest = signing.payload_digest(document)
    return sum(entry["contract"] == digest for entry in world.anna_broker.entries(world.card.population))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("clocks"), serve=False)


def asked(world: World, state: Any, number: int) -> tuple[str, str]:
    """Return the code of a refusal, or the time of the receipt."""
    try:
        return "", release(state, context(world), numbered(number)).receipt.time
    except CloisterError as error:
        return error.code, ""


# The broker ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", APART, ids=named)
def test_the_brokers_clock_decides(world: World, apart: timedelta) -> None:
    """Against everybody else's: a contract it takes to be over, or not begun, releases nothing; else it is as ever."""
    now = datetime.now(UTC)
    document = signed(world, now - DAY, now + DAY)
    state, transport = world.state(document)
    did = world.anna_home.identity().did
    transport._brokers[did] = broker = Broker(world.anna_home, time=clock.Clock(lambda: datetime.now(UTC) + apart))
    code, time = asked(world, state, 1)
    if abs(apart) < DAY:
        assert code == ""
        assert abs(datetime.fromisoformat(time) - (now + apart)) < timedelta(minutes=2), "receipts have its time"
        return
    assert code == "contract.inactive"
    assert booked(world, document) == 0
    broker.close()


def test_a_broker_that_is_put_back_goes_on_from_its_latest_time(world: World) -> None:
    """Its clock never goes back while it runs: setting the machine's back brings no contract to life."""
    moment = [datetime.now(UTC)]
    document = signed(world, moment[0] - DAY, moment[0] + DAY)
    state, transport = world.state(document)
    did = world.anna_home.identity().did
    transport._brokers[did] = Broker(world.anna_home, time=clock.Clock(lambda: moment[0]))
    assert asked(world, state, 1)[0] == ""
    moment[0] += 2 * DAY
    assert asked(world, state, 2)[0] == "contract.inactive"
    moment[0] -= 2 * DAY
    assert asked(world, state, 3)[0] == "contract.inactive"
    assert booked(world, document) == 1


# The enclave -----------------------------------------------------------------------------------------


class SkewedVault(VaultProcess):
    """A vault on a host whose wall clock is wrong."""

    apart = timedelta()

    @classmethod
    def _start(cls, arguments: list[str], fds: list[int]) -> Any:  # type: ignore[override]
        seconds = str(cls.apart.total_seconds())
        popen = subprocess.Popen
        try:
            subprocess.Popen = (
                lambda command, **more: popen(  # type: ignore[misc,assignment]
                    [command[0], SKEWED, seconds, *command[2:]], **more
                )
            )
            return VaultProcess._start(arguments, fds)
        finally:
            subprocess.Popen = popen  # type: ignore[misc]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("clocks-served"))
    yield made
    made.close()


@pytest.mark.parametrize("apart", [-DAYS, DAYS], ids=named)
def test_what_the_enclaves_host_says_of_the_time_is_nothing(served: World, apart: timedelta) -> None:
    """Real processes. A contract that is over by the broker's clock releases nothing; one that is not goes on."""
    now = datetime.now(UTC)
    over = signed(served, now - 5 * DAY, now - DAY)
    alive = signed(served, now - DAY, now + DAY)
    kind = type("Vault", (SkewedVault,), {"apart": apart})
    for document, expected in ((over, "contract.inactive"), (alive, "")):
        with kind(served.config(document), served.network, served.attester, analyst=served.analyst.did) as vault:
            code = ""
            try:
                answer = vault.ask("release", numbered(1))
            except CloisterError as error:
                code = error.code
            assert code == expected
            if not code:
                payload = json.loads(base64.b64decode(answer["receipt"]["payload"]))
                told = datetime.fromisoformat(payload["time"])
                assert abs(told - now) < timedelta(minutes=10), "the receipt has the broker's time"
        assert booked(served, document) == (0 if expected else 1)


@pytest.mark.parametrize("apart", [timedelta(hours=-30), timedelta(hours=30)], ids=named)
def test_a_vault_whose_clock_runs_wrong_after_it_heard_the_time(world: World, apart: timedelta) -> None:
    """Too slow, and the broker still refuses; too fast, and it refuses early. Either way nothing is released."""
    now, moment = datetime.now(UTC), [timedelta()]
    document = signed(world, now - DAY, now + DAY)
    state, transport = world.state(document)
    did = world.anna_home.identity().did
    transport._brokers[did] = Broker(world.anna_home, time=clock.Clock(lambda: datetime.now(UTC) + moment[0]))
    assert asked(world, state, 1)[0] == ""
    if apart < timedelta():
        moment[0] = 2 * DAY  # the contract ends, and the vault's machine has stood still
        expected = "contract.inactive"
    else:
        ledger = state.brokers._ledgers["anna-broker"]
        ledger._heard_s -= apart.total_seconds()
        ledger._lease = None  # else it opens a session first, and hears the right time
        expected = "contract.expired"
    assert asked(world, state, 2)[0] == expected
    assert booked(world, document) == 1


class SkewedAgent(AgentWorld):
    """An agent on a host whose wall clock is wrong."""

    def start_apart(self, apart: timedelta) -> None:
        popen, seconds = subprocess.Popen, str(apart.total_seconds())
        try:
            subprocess.Popen = (
                lambda command, **more: popen(  # type: ignore[misc,assignment]
                    [command[0], SKEWED, seconds, *command[2:]], **more
                )
            )
            self.start()
        finally:
            subprocess.Popen = popen  # type: ignore[misc]


@pytest.mark.parametrize("apart", [HOURS, -DAYS, timedelta(days=40)], ids=named)
def test_an_agent_lets_nobody_in_outside_the_contract_by_its_own_clock_either(tmp_path: Path, apart: timedelta) -> None:
    """Its contract runs from yesterday for thirty days. Hours apart are no reason to refuse anybody."""
    made = SkewedAgent(tmp_path)
    made.start_apart(apart)

    async def story() -> str:
        try:
            async with Notebook(made):
                return ""
        except CloisterError as error:
            return error.reason

    try:
        reason = asyncio.run(story())
    finally:
        made.stop()
    expected = {-DAYS: "contract.not-yet-valid", timedelta(days=40): "contract.expired"}.get(apart, "")
    assert expected in reason
    assert bool(reason) == bool(expected)


# The analyst -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", APART, ids=named)
def test_an_analysts_proxy_says_no_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: timedelta
) -> None:
    made, now = DialWorld(tmp_path), datetime.now(UTC)
    contract = made.sign(made.terms(not_before=text(now - DAY), not_after=text(now + DAY)))

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + apart

    monkeypatch.setattr(dial, "datetime", Skewed)
    codes: list[str] = []

    async def story() -> None:
        async with serve(made.honest, "127.0.0.1", 0, compression=None) as server:
            host, port = server.sockets[0].getsockname()[:2]
            entry = made.entry(f"ws://{host}:{port}", contract=contract)
            try:
                session = await EnclaveSession.open(entry, mode="confidential", store=made.store)
            except CloisterError as error:
                codes.append(error.code)
            else:
                await session.close()

    asyncio.run(story())
    expected = {-DAYS: ["contract.not-yet-valid"], DAYS: ["contract.expired"]}.get(apart, [])
    assert codes == expected
    assert bool(made.first) == (not expected), "nothing is sent to an enclave under such a contract"
