"""A carrier that relays, alters and diverts, between the real dial and a real agent, on real WebSockets.

The attacker is the program teachers run (``cloister.demo.hostile_relay``). One agent and one kernel serve the whole
file: whatever a trick ends is resumed by the next test, which also shows what resuming is worth.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "enclave"))

from agent_world import AgentWorld, Notebook, cell
from websockets.asyncio.client import connect

from cloister.analyst.dial import ask_offer
from cloister.attest.channel import Counts, RelyingParty
from cloister.attest.policy import parse_policy
from cloister.attest.verification import Appraisal
from cloister.contract import signing
from cloister.demo import hostile_relay
from cloister.demo.hostile_relay import TO_ENCLAVE, TO_PARTY, TRICKS, HostileRelay
from cloister.errors import CloisterError, TrustError
from cloister.wire.identity import SigningKey

pytestmark = pytest.mark.timeout(120)

SECRET = "plum-kestrel-7741"
KEPT = "ran = globals().get('ran', [])\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path_factory.mktemp("relayed"))
    world.start(resume_s=60, quotes_per_minute=100_000)
    try:
        yield world
    finally:
        world.stop()


async def lab(world: AgentWorld, **options: Any) -> Notebook:
    """Open the session ``lab``, or resume it as soon as the agent has noticed that its connection broke."""
    for _ in range(600):
        try:
            return await Notebook(world, session="lab", **options).__aenter__()
        except TrustError as error:
            if error.code != "session.attached":
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("the agent never noticed that the connection broke")


async def one_has_ended(relay: HostileRelay) -> None:
    """Wait until the relay has seen a connection end."""
    for _ in range(1000):
        if relay.earlier:
            return
        await asyncio.sleep(0.01)


def leave(notebook: Notebook) -> None:
    """Break the connection without a goodbye, so that the kernel waits."""
    notebook.session._socket.transport.abort()


async def ending(notebook: Notebook) -> str:
    """Return the code that ends a session."""
    with pytest.raises(CloisterError) as excinfo:
        while True:
            await notebook.next(60)
    return excinfo.value.code


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


# --- a relay that only listens


def test_a_listener_learns_sizes_and_times_and_nothing_else(running: AgentWorld) -> None:
    """Every byte that passed is searched for what was said, for the names of the session, and for keys."""
    relay = HostileRelay(running.url)

    async def story() -> list[bytes]:
        async with relay.serving() as url:
            notebook = await lab(running, entry=running.entry(endpoint=url))
            assert await notebook.run(f"{KEPT}print('{SECRET}'.upper())") == SECRET.upper() + "\n"
            channel = notebook.session._channel
            keys = [channel._out._key, channel._in._key]
            leave(notebook)
        return keys

    keys = asyncio.run(story())
    wire = b"\n".join(message.data for message in relay.passed)
    secrets = [SECRET.encode(), SECRET.upper().encode(), b"execute_request", b"ran = globals", b"teaching", b"accepted"]
    secrets += [*keys, running.analyst.private_bytes(), (running.home / "enclave" / "simulator.key").read_bytes()]
    for secret in secrets:
        for spelling in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert spelling not in wire
    # The search would find what is there: who asks, for which contract, and for whom the evidence speaks, are plain.
    assert running.analyst.did.encode() in wire
    assert running.entry().contract_digest.encode() in wire
    assert {message.way for message in relay.passed} == {TO_ENCLAVE, TO_PARTY}
    for message in relay.passed:  # the first message of each way is plain JSON, and no other is
        assert is_json(message.data) == (message.number == 0)


# --- a relay that interferes after the verdict

SEEN_BY_THE_PARTY = {"alter", "truncate", "drop", "repeat", "reorder", "inject", "earlier"}
AT_A_CELL = [
    # (trick, the cells of "a", "b" that may have run)
    ("alter", [[]]),
    ("truncate", [[]]),
    ("drop", [[]]),
    ("reorder", [[]]),
    ("inject", [[]]),
    ("earlier", [[]]),
    ("cut", [[]]),
    ("reflect", [[]]),
    ("repeat", [["a"]]),
]


async def interfered(world: AgentWorld, trick: str, way: str, number: int) -> tuple[str, Counts, list[str]]:
    """Send two cells through the relay; return how it ended, the counts then, and which cells ran."""
    relay = HostileRelay(world.url, trick, way=way, number=number)
    async with relay.serving() as url:
        if trick == "earlier":  # there must have been a connection before
            notebook = await lab(world, entry=world.entry(endpoint=url))
            await notebook.run(KEPT)
            leave(notebook)
            await one_has_ended(relay)
        notebook = await lab(world, entry=world.entry(endpoint=url))
        for name in ("a", "b"):
            await notebook.send("execute_request", cell(f"{KEPT}ran.append({name!r})"))
        code = await ending(notebook)
        counts = notebook.session.counts
        leave(notebook)
    again = await lab(world)
    ran = json.loads(await again.run(f"{KEPT}import json; print(json.dumps(ran)); ran.clear()"))
    leave(again)
    return code, counts, ran


@pytest.mark.parametrize(("trick", "runs"), AT_A_CELL, ids=[trick for trick, _ in AT_A_CELL])
def test_a_cell_arrives_once_in_order_and_whole_or_ends_the_channel(
    running: AgentWorld, trick: str, runs: list[list[str]]
) -> None:
    code, _, ran = asyncio.run(interfered(running, trick, TO_ENCLAVE, 2))
    # The enclave notices and hangs up; of what was sent back the analyst may be the first to see that it is not his.
    assert code in ({"channel.frame", "channel.lost"} if trick == "reflect" else {"channel.lost"})
    assert ran in runs


@pytest.mark.parametrize("trick", sorted(SEEN_BY_THE_PARTY | {"reflect", "cut"}))
def test_an_output_arrives_once_in_order_and_whole_or_ends_the_channel(running: AgentWorld, trick: str) -> None:
    code, _, ran = asyncio.run(interfered(running, trick, TO_PARTY, 3))
    ends = {"cut": {"channel.lost"}, "reflect": {"channel.frame", "channel.lost"}}  # either end may notice first
    assert code in ends.get(trick, {"channel.frame"})
    assert ran in ([], ["a"], ["a", "b"])


# --- a relay in the handshake


def refused(world: AgentWorld, relay: HostileRelay, **changes: Any) -> CloisterError:
    """Dial through the relay and return the refusal; nothing but the hello must have left."""

    async def story() -> CloisterError:
        async with relay.serving() as url:
            with pytest.raises(CloisterError) as excinfo:
                await Notebook(world, entry=world.entry(endpoint=url, **changes)).__aenter__()
        return excinfo.value

    error = asyncio.run(story())
    assert [message.number for message in relay.passed if message.way == TO_ENCLAVE] == [0]
    return error


@pytest.mark.parametrize(
    ("trick", "way", "number", "code"),
    [
        ("downgrade", TO_ENCLAVE, 0, "evidence.binding"),
        ("middle", TO_ENCLAVE, 0, "evidence.binding"),
        ("alter", TO_ENCLAVE, 0, "enclave.refused"),
        ("reflect", TO_ENCLAVE, 0, "offer.malformed"),
        ("alter", TO_PARTY, 0, "offer.malformed"),
    ],
)
def test_a_touched_handshake_is_refused_before_anything_is_said(
    running: AgentWorld, trick: str, way: str, number: int, code: str
) -> None:
    assert refused(running, HostileRelay(running.url, trick, way=way, number=number)).code == code


@pytest.mark.parametrize(("way", "number"), [(TO_PARTY, 0), (TO_ENCLAVE, 0), (TO_ENCLAVE, 1)])
def test_nothing_of_an_earlier_connection_counts(running: AgentWorld, way: str, number: int) -> None:
    """Replayed: the evidence, the hello (the enclave answers it, to nobody's use), and the signed opening."""
    relay = HostileRelay(running.url, "earlier", way=way, number=number)

    async def story() -> str:
        async with relay.serving() as url:
            leave(await lab(running, entry=running.entry(endpoint=url)))
            await one_has_ended(relay)
            with pytest.raises(CloisterError) as excinfo:
                await Notebook(running, entry=running.entry(endpoint=url)).__aenter__()
        return excinfo.value.code

    # The enclave cannot even open the replayed opening, so it cannot say so either.
    assert asyncio.run(story()) == ("evidence.binding" if number == 0 else "channel.lost")


# --- a diverter: a genuine enclave, and not the chosen one


def test_a_diverted_analyst_meets_an_enclave_without_her_contract(running: AgentWorld) -> None:
    asked = signing.sign_contract(running.terms(title="Another fair"), running.provider, running.analyst)
    other = running.entry().contract_digest
    error = refused(running, HostileRelay("ws://127.0.0.1:9", "divert", other=running.url), contract=asked)
    assert error.code == "enclave.refused"
    assert "contract.unknown" in error.reason
    # Asked for its own contract the enclave answers, for its own contract; a changed answer is no longer its word.
    relay = HostileRelay("ws://127.0.0.1:9", "divert", other=running.url, contract=other)
    assert refused(running, relay, contract=asked).code == "offer.contract"
    relay = HostileRelay("ws://127.0.0.1:9", "disguise", other=running.url, contract=other)
    assert refused(running, relay, contract=asked).code == "evidence.binding"


def test_a_diverted_analyst_meets_other_code_or_another_machine(running: AgentWorld) -> None:
    """Same contract, genuine enclave: her own policy tells it from the one she chose."""

    def diverted(policy: str) -> str:
        return refused(running, HostileRelay("ws://127.0.0.1:9", "divert", other=running.url), policy=policy).code

    assert diverted(running.policy(env_digests=("sha384:" + "0" * 96,))) == "appraisal.env_digest"
    assert diverted(running.policy(instances=(SigningKey.generate().did,))) == "appraisal.instance"
    assert diverted(running.policy(tees=("tdx",))) == "appraisal.tee"


def test_without_a_pinned_machine_any_enclave_of_the_contract_will_do(running: AgentWorld) -> None:
    """What the design says and the verdict shows: code and contract are the identity, an address is not."""

    async def story() -> Appraisal:
        channel = RelyingParty(running.analyst.did, running.entry().contract_digest)
        async with (
            HostileRelay("ws://127.0.0.1:9", "divert", other=running.url).serving() as url,
            connect(url) as socket,
        ):
            offer = await ask_offer(socket, channel, running.analyst)
        policy = parse_policy(running.policy())
        return channel.receive_offer(offer, policy=policy, now=datetime.now(UTC), accept_simulated=True)

    appraisal = asyncio.run(story())
    assert appraisal.vector.value("instance-identity") == 0


# --- resuming


def test_a_session_is_resumed_without_a_gap_or_not_at_all(running: AgentWorld) -> None:
    """Both ends number the same frames: nothing was lost on the way exactly if their counts mirror each other."""

    async def quiet(notebook: Notebook) -> Counts:
        await notebook.run(KEPT + "ran.append('before')")
        for _ in range(50):  # an event may be on its way; the last state of both ends is compared
            try:
                await notebook.next(1.0)
            except TimeoutError:
                break
        leave(notebook)
        return notebook.session.counts

    async def story() -> None:
        seen = await quiet(await lab(running))
        again = await lab(running, seen=seen)
        assert "before" in await again.run("print(ran)")
        seen = await quiet(again)
        with pytest.raises(TrustError) as excinfo:
            await lab(running, seen=Counts(seen.sent, seen.received - 1))
        assert excinfo.value.code == "session.gap"
        assert "lost messages" in excinfo.value.reason

    asyncio.run(story())


# --- the program


def test_the_program_relays_and_records(running: AgentWorld, tmp_path: Path) -> None:
    record = tmp_path / "wire.jsonl"
    program = [sys.executable, "-m", "cloister.demo.hostile_relay", "--upstream", running.url, "--trick", "downgrade"]
    process = subprocess.Popen([*program, "--record", str(record)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]

        async def story() -> str:
            with pytest.raises(CloisterError) as excinfo:
                await Notebook(running, entry=running.entry(endpoint=url)).__aenter__()
            return excinfo.value.code

        assert asyncio.run(story()) == "evidence.binding"
    finally:
        process.terminate()
    assert process.wait(20) == 0
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["way"], line["number"]) for line in lines] == [(TO_ENCLAVE, 0), (TO_PARTY, 0)]


def test_in_front_of_the_demo_for_as_long_as_it_runs(tmp_path: Path) -> None:
    state = tmp_path / "demo" / "pair.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"agent": "ws://a", "pid": 1}))
    with hostile_relay.in_front_of_the_demo(tmp_path, "ws://relay", "ws://a"):
        assert json.loads(state.read_text()) == {"agent": "ws://relay", "pid": 1}
    assert json.loads(state.read_text())["agent"] == "ws://a"
    with hostile_relay.in_front_of_the_demo(tmp_path, "ws://relay", "ws://a"):
        state.write_text(json.dumps({"agent": "ws://new"}))  # the pair was started again meanwhile
    assert json.loads(state.read_text())["agent"] == "ws://new"


def test_every_trick_is_played_here() -> None:
    played = (
        {trick for trick, _ in AT_A_CELL} | SEEN_BY_THE_PARTY | {"forward", "downgrade", "middle", "divert", "disguise"}
    )
    assert played == set(TRICKS)
