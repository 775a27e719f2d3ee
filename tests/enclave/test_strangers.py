"""What strangers can do to an agent who have proved nothing yet: connections, messages, evidence, lines in a log."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from agent_world import AgentWorld, Notebook
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cloister.attest.channel import EnclaveEnd, RelyingParty
from cloister.attest.evidence import Evidence
from cloister.enclave import doors
from cloister.enclave.agent import REFUSALS_PER_MINUTE, Agent
from cloister.enclave.connection import Connection
from cloister.enclave.limiter import Quotes
from cloister.errors import UnavailableError
from cloister.wire.identity import SigningKey

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path_factory.mktemp("agent"))
    world.start()
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent in this process, which listens nowhere."""
    with AgentWorld(tmp_path).here() as made:
        yield made


def test_silent_connections_keep_no_analyst_out(running: AgentWorld) -> None:
    async def story() -> None:
        crowd = [socket.create_connection(running.address) for _ in range(doors.MOST_STRANGERS + 20)]
        try:
            async with Notebook(running) as notebook:
                await notebook.run("1")
                assert running.process is not None
                held = psutil.Process(running.process.pid).net_connections("tcp")
                # All but those that were closed for later ones, the analyst's own, and the listener.
                assert len([one for one in held if one.status == "ESTABLISHED"]) <= doors.MOST_STRANGERS + 1
                # She is none of them any more.
                crowd.extend(socket.create_connection(running.address) for _ in range(doors.MOST_STRANGERS))
                await notebook.run("2")
        finally:
            for one in crowd:
                one.close()

    asyncio.run(story())


class Known:
    """As much of a connection as doors look at."""

    def __init__(self, address: str) -> None:
        self.remote_address, self.closed = (address, 1), False
        self.transport = self

    def abort(self) -> None:
        self.closed = True


def test_of_too_many_connections_the_oldest_of_the_busiest_address_goes() -> None:
    one = doors.Doors(3)
    quiet, *busy = (Known(address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"))
    later = [Known("192.0.2.3"), Known("192.0.2.4")]
    for each in (quiet, *busy, later[0]):
        one.arrived(each)
    assert [each.closed for each in (quiet, *busy, *later)] == [False, True, False, False, False]
    one.left(later[0])
    one.arrived(later[1])
    assert not quiet.closed


def test_an_introduced_analyst_gives_way_to_herself_only() -> None:
    one = doors.Doors(2, of_analyst=2)
    hers, *crowd = (Known("192.0.2.1") for _ in range(5))
    one.arrived(hers)
    one.introduced(hers, "did:key:ada")
    for each in crowd:
        one.arrived(each)
    assert [each.closed for each in (hers, *crowd)] == [False, True, True, False, False]
    more = [Known("192.0.2.9") for _ in range(2)]
    for each in more:
        one.arrived(each)
        one.introduced(each, "did:key:ada")
    assert [each.closed for each in (hers, *more)] == [True, False, False]
    one.introduced(hers, "did:key:ada")  # closed already: it takes no place
    assert not more[0].closed


@pytest.mark.parametrize("per_minute", [16, 240])
def test_the_evidence_of_an_analyst_is_out_of_reach_of_strangers_and_of_other_analysts(per_minute: int) -> None:
    analysts = [f"did:key:{number}" for number in range(5)]
    limits = Quotes(per_minute, frozenset(analysts))

    def most(now: float = 0.0, **who: str) -> int:
        for number in range(10 * per_minute):
            try:
                limits.take(now, **{"address": "192.0.2.9", **who})
            except UnavailableError:
                return number
        raise AssertionError("no limit")

    flood = [most(address=f"192.0.2.{number}") for number in range(100)]
    assert sum(flood) <= per_minute / 4
    assert flood[0] < sum(flood) or per_minute < 100  # one address has not all of the strangers' share
    assert most(analyst="did:key:nobody") == 0  # whom no contract names is a stranger
    *greedy, last = analysts
    assert all(most(analyst=did) >= 1 for did in greedy)
    assert most(analyst=last) >= 1
    # And again, for as long as they go on.
    for minute in range(5, 50, 5):
        assert all(most(60.0 * minute, analyst=did) >= 1 for did in (*greedy, last))


def test_strangers_do_not_fill_the_log(running: AgentWorld) -> None:
    async def story() -> None:
        for _ in range(60):
            async with connect(running.url) as socket:
                await socket.send(b"{}")
                await socket.recv()

    before = running.log().count("refused a connection")
    asyncio.run(story())
    assert 0 < running.log().count("refused a connection") - before <= REFUSALS_PER_MINUTE / 2


def test_before_a_session_nobody_says_much(running: AgentWorld) -> None:
    """Pings are answered by themselves, and answers that nobody reads would wait in the agent's memory."""

    async def story() -> None:
        async with connect(running.url) as socket:
            with pytest.raises(ConnectionClosed):
                for number in range(2 * doors.MOST_BYTES // 100):
                    await socket.ping(f"{number:100}")
                await asyncio.wait_for(socket.wait_closed(), 5)
                await socket.send(b"{}")
        async with Notebook(running) as notebook:
            assert await notebook.run(f"x = '{'x' * 4 * doors.MOST_BYTES}'; print(1)") == "1\n"

    asyncio.run(story())


def test_who_reads_nothing_is_not_waited_for(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        """A stranger that says hello and takes no answer."""

        remote_address, response = ("192.0.2.1", 1), None

        def __init__(self, hello: bytes) -> None:
            self._hello = hello

        async def recv(self) -> bytes:
            return self._hello

        async def send(self, _data: bytes) -> None:
            await asyncio.Event().wait()

    async def vault_id(_served: object) -> str:
        return ""

    monkeypatch.setattr("cloister.enclave.connection.HANDSHAKE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(agent, "vault_id", vault_id)
    [digest] = agent.contracts
    hello = RelyingParty(SigningKey.generate().did, digest).hello
    for first in (hello, b"{}"):  # an offer that nobody takes, a refusal that nobody takes
        asyncio.run(asyncio.wait_for(Connection(agent, Deaf(first)).run(), 10))


def test_hardware_that_takes_its_time_keeps_neither_sessions_nor_analysts_waiting(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence is made beside the event loop, and of strangers one at a time is in an analyst's way."""
    asked: list[str] = []
    busy = 0

    async def vault_id(_served: object) -> str:
        return ""

    class Slow:
        tee = "simulator"

        def collect(self, *_: object, **__: object) -> Evidence:
            nonlocal busy
            busy += 1
            most.append(busy)
            time.sleep(0.05)
            busy -= 1
            return Evidence("simulator", "simulator/v1", "", {})

    most: list[int] = []
    monkeypatch.setattr(agent, "_attester", Slow())
    monkeypatch.setattr(agent, "vault_id", vault_id)
    [served] = agent.contracts.values()

    async def ask(name: str, *, introduced: bool) -> None:
        end = EnclaveEnd()
        end.receive_hello(RelyingParty(SigningKey.generate().did, served.digest).hello)
        await agent.offer(end, served, introduced=introduced)
        asked.append(name)

    async def story() -> None:
        crowd = [asyncio.ensure_future(ask("stranger", introduced=False)) for _ in range(6)]
        await asyncio.sleep(0)
        analyst = asyncio.ensure_future(ask("analyst", introduced=True))
        turns = 0
        while not analyst.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10  # others had theirs meanwhile
        await asyncio.gather(*crowd, analyst)

    asyncio.run(story())
    assert asked.index("analyst") <= 1
    assert max(most) == 1
