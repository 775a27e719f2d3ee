"""The agent with real processes: cells, context, crashes, two notebooks, and peers that misbehave."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from agent_world import LINK, AgentWorld, Notebook, cell
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cloister.analyst.trust import TrustStore
from cloister.attest.channel import RelyingParty
from cloister.attest.hello import new_hello
from cloister.attest.introduction import HEADER, introduce
from cloister.attest.offer import refused
from cloister.attest.renewal import Renewal
from cloister.enclave.connection import RENEW
from cloister.errors import CloisterError, TrustError, UnavailableError
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    """One agent for every test that does not break it."""
    world = AgentWorld(tmp_path_factory.mktemp("agent"))
    world.env = {"BROKER_SECRET": "do-not-inherit", "PYTHONSTARTUP": "/nonexistent.py"}
    world.start()
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    """An agent of the test's own, not started yet."""
    world = AgentWorld(tmp_path)
    try:
        yield world
    finally:
        world.stop()


# --- a notebook


def test_cells_run_and_values_come_back(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            assert await notebook.run("print(6 * 7)") == "42\n"
            assert notebook.session.verdict.word == "Simulated"
            assert (await notebook.event("kernel"))["state"] == "started"
            described = json.loads(await notebook.run(LINK + "import json; print(json.dumps(L.request('describe')))"))
            assert described["analyst"] == running.analyst.did
            assert described["mode"] == "mock"
            assert "limits" in (await notebook.event("budget"))["budget"]
            assert (await notebook.event("cards"))["cards"]

    asyncio.run(story())


def test_children_inherit_nothing_of_the_agent(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            names = await notebook.run("import os; print(sorted(os.environ))")
            assert "BROKER_SECRET" not in names
            for word in ("cloister.vault", "cloister.enclave.bridge"):
                (child, *_) = running.children(word)
                environment = child.environ()
                assert "BROKER_SECRET" not in environment
                assert "PYTHONSTARTUP" not in environment
                assert "do-not-inherit" not in str(environment)

    asyncio.run(story())


def test_children_hold_only_their_descriptors(running: AgentWorld) -> None:
    """Sockets a child may hold: what it was given, and (bridge, sandbox) ipc. The vault has exactly its two."""

    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run("1")
            for vault in running.children("cloister.vault"):
                sockets = [name for name in opened_by(vault.pid) if name.startswith("socket:")]
                assert len(sockets) == 2
                assert vault.net_connections() == []

    asyncio.run(story())


def test_two_notebooks_share_one_vault(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as one, Notebook(running) as two:
            pids = await asyncio.gather(
                one.run("import os; print(os.getpid())"), two.run("import os; print(os.getpid())")
            )
            assert pids[0] != pids[1]
            ask = LINK + "print(L.request('describe')['contract_digest'])"
            answers = await asyncio.gather(*(notebook.run(ask) for notebook in (one, two) for _ in range(3)[:1]))
            assert answers[0] == answers[1]
            mock = running.children("cloister.vault")
            assert len(mock) == 2  # one confidential, one mock; not one per notebook
            await one.session.close()
            assert await two.run("print('still here')") == "still here\n"

    asyncio.run(story())


def test_large_outputs_and_inputs_pass_whole(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            size = 10_000_000
            assert await notebook.run(f"x = {'a' * 2_000_000!r}\nprint(len(x))") == "2000000\n"
            assert len(await notebook.run(f"print('b' * {size}, flush=True)")) == size + 1
            many = await notebook.run("for n in range(1000): print(n, flush=True)")
            assert many.split() == [str(n) for n in range(1000)]

    asyncio.run(story())


def test_goodbye_ends_the_kernel_at_once(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            pid = int(await notebook.run("import os; print(os.getpid())"))
        await until(lambda: not psutil.pid_exists(pid), 10)

    asyncio.run(story())


def test_introspection_never_asks_the_vault(running: AgentWorld) -> None:
    code = LINK + (
        "seen = []\n"
        "class Keys(dict):\n"
        "    def _ipython_key_completions_(self):\n"
        "        try:\n"
        "            seen.append(L.request('describe'))\n"
        "        except Exception as error:\n"
        "            seen.append(error.code)\n"
        "        return ['a']\n"
        "keys = Keys()\n"
    )

    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run(code)
            await notebook.ask("complete_request", {"code": "keys['", "cursor_pos": 6})
            assert await notebook.run("print(seen)") == "['link.introspection']\n"

    asyncio.run(story())


def test_background_threads_may_ask_and_are_called_so(running: AgentWorld) -> None:
    code = LINK + (
        "import threading, time\nseen = []\n"
        "def later():\n    time.sleep(.5); seen.append(L.request('describe')['mode'])\n"
        "thread = threading.Thread(target=later); thread.start()\n"
    )

    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run(code)
            assert await notebook.run("thread.join(); print(seen)") == "['mock']\n"

    asyncio.run(story())


def test_malformed_requests_are_answered_with_their_id(running: AgentWorld) -> None:
    code = LINK + (
        "from cloister.wire import frames\nimport os\n"
        "slot = __import__('cloister.sandbox.link').sandbox.link._Slot()\n"
        "L._waiting[77] = slot\n"
        'os.write(L._fd, frames.encode(6, b\'{"id":77,"op":"dump"}\'))\n'
        "slot.done.wait(10); print(slot.reply.error['code'])"
    )

    async def story() -> None:
        async with Notebook(running) as notebook:
            assert await notebook.run(code) == "link.malformed\n"
            assert await notebook.run("print(1)") == "1\n"

    asyncio.run(story())


@pytest.mark.parametrize(
    "nonsense",
    [
        "b'\\x00' * 64",  # no frame
        "b'\\xff' * 64",  # announces 4 GiB
        "frames.encode(7, b'{}')",  # a reply
        "frames.encode(6, b'{}', b'{}')",  # a context of its own
        "frames.encode(6, b'not json')",
        'frames.encode(6, b\'{"id":0,"op":"budget"}\')',  # the agent's own id
    ],
)
def test_nonsense_on_the_link_ends_this_kernel_only(running: AgentWorld, nonsense: str) -> None:
    code = f"{LINK}from cloister.wire import frames\nimport os\nos.write(L._fd, {nonsense})"

    async def story() -> None:
        async with Notebook(running) as bystander, Notebook(running) as notebook:
            await notebook.send("execute_request", cell(code))
            died = await notebook.event("kernel", state="died")
            assert "protocol" in died["reason"]
            with pytest.raises(UnavailableError) as excinfo:
                while True:
                    await notebook.next()
            assert excinfo.value.code == "channel.ended"
            assert await bystander.run("print('unharmed')") == "unharmed\n"

    asyncio.run(story())


# --- crashes


def test_killed_sandbox_is_reported(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            pid = int(await notebook.run("import os; print(os.getpid())"))
            psutil.Process(pid).kill()
            assert "signal 9" in (await notebook.event("kernel", state="died"))["reason"]

    asyncio.run(story())


def test_killed_bridge_is_reported_and_takes_its_kernel_along(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            pid = int(await notebook.run("import os; print(os.getpid())"))
            running.children("cloister.enclave.bridge")[-1].kill()
            assert "bridge" in (await notebook.event("kernel", state="died"))["reason"]
            await until(lambda: not psutil.pid_exists(pid), 10)

    asyncio.run(story())


def test_killed_vault_is_reported_and_restarted_by_the_next_request(running: AgentWorld) -> None:
    ask = LINK + "print(L.request('describe')['mode'])"

    async def story() -> None:
        async with Notebook(running) as notebook:
            assert await notebook.run(ask) == "mock\n"
            first = (await notebook.event("vault", state="ready"))["vault_id"]
            for vault in running.children("cloister.vault"):
                vault.kill()
            died = await notebook.event("vault", state="died")
            assert died["error"]["code"] == "vault.died"
            assert await notebook.run("print('cells run without a vault')") == "cells run without a vault\n"
            notebook.events.clear()
            assert await notebook.run(ask) == "mock\n"
            assert (await notebook.event("vault", state="ready"))["vault_id"] != first

    asyncio.run(story())


def test_restarted_vault_is_attested_within_the_session(world: AgentWorld) -> None:
    world.start()
    ask = LINK + "print(L.request('describe')['mode'])"

    async def story() -> None:
        async with Notebook(world, mode="confidential") as notebook:
            assert await notebook.run(ask) == "confidential\n"
            for _ in range(2):  # the second renewal continues the first
                before = notebook.session.verdict
                assert before.vault_id.startswith("did:key:")
                for vault in world.children("cloister.vault"):
                    vault.kill()
                await notebook.event("vault", state="died")
                notebook.events.clear()
                assert await notebook.run(ask) == "confidential\n"
                ready = await notebook.event("vault", state="ready")
                assert ready["vault_id"] == notebook.session.verdict.vault_id != before.vault_id
                assert ready["exchange"]["hello"]

    asyncio.run(story())


def test_a_renewal_is_for_the_party_that_opened_the_channel(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            hello = RelyingParty(SigningKey.generate().did, running.entry().contract_digest).hello
            await notebook.session.send(Kind.EVENT, RENEW, hello)
            with pytest.raises(UnavailableError):
                while True:
                    await notebook.next(10)

    asyncio.run(story())


def test_request_in_flight_when_the_vault_dies_gets_a_code(running: AgentWorld) -> None:
    code = LINK + (
        "from cloister.errors import CloisterError\n"
        "try:\n    print(L.request('describe')['mode'])\nexcept CloisterError as error:\n    print(error.code)\n"
    )

    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.event("budget")
            await notebook.run(LINK)
            stopped = running.children("cloister.vault")
            for vault in stopped:
                vault.suspend()
            message = await notebook.send("execute_request", cell(code))
            await asyncio.sleep(1)
            for vault in stopped:
                vault.kill()
            await notebook.wait_idle(message)
            text = [f[3]["text"] for f in notebook.frames if f[1]["msg_type"] == "stream"]
            assert text == ["vault.died\n"]

    asyncio.run(story())


def test_killed_agent_is_noticed_and_leaves_nobody_behind(world: AgentWorld) -> None:
    world.start()

    async def story() -> None:
        async with Notebook(world) as notebook:
            await notebook.run(LINK + "L.request('describe')")
            children = psutil.Process(world.process.pid).children(recursive=True)
            assert len(children) >= 4  # two vaults, sandbox, bridge
            world.process.kill()
            with pytest.raises(UnavailableError) as excinfo:
                while True:
                    await notebook.next()
            assert excinfo.value.code == "channel.lost"
            await until(lambda: not [c for c in children if c.is_running() and c.status() != "zombie"], 15)

    asyncio.run(story())


def test_stopped_agent_says_so(world: AgentWorld) -> None:
    world.start()

    async def story() -> None:
        async with Notebook(world) as notebook:
            await notebook.run("1")
            world.process.send_signal(signal.SIGTERM)
            assert (await notebook.event("kernel", state="died"))["reason"] == "the enclave is stopping"
            with pytest.raises(UnavailableError) as excinfo:
                await notebook.next()
            assert excinfo.value.code == "channel.ended"

    asyncio.run(story())
    assert world.stop() == 0


def test_sessions_work_without_any_vault(world: AgentWorld) -> None:
    """The vault cannot start at all: cells run, and the vault's trouble is an event and an error on the link."""
    package = world.copy_package()
    (package / "vault" / "__main__.py").write_text("raise SystemExit(3)\n")
    world.start()
    code = LINK + (
        "from cloister.errors import CloisterError\n"
        "try:\n    L.request('describe'); print('answered')\nexcept CloisterError as error:\n    print(error.code)\n"
    )

    async def story() -> None:
        for mode in ("mock", "confidential"):
            async with Notebook(world, mode=mode) as notebook:
                assert await notebook.run("print('alive')") == "alive\n"
                assert await notebook.run(code) == "vault.start\n"
                assert (await notebook.event("vault", state="died"))["error"]["code"] == "vault.start"
                assert notebook.session.verdict.vault_id == ""

    asyncio.run(story())


# --- who may come in


def test_only_the_same_analyst_resumes(world: AgentWorld) -> None:
    """The connection breaks without a goodbye: the kernel waits, for the same analyst and nobody else."""
    other = TrustStore(world.folder / "other")
    world.others = (other.analyst_key(),)
    world.write_contract()
    world.start(resume_s=20)

    async def story() -> None:
        first = await Notebook(world).__aenter__()
        await first.run("kept = 'my state'")
        name = first.session.session
        with pytest.raises(TrustError) as excinfo:
            await Notebook(world, session=name).__aenter__()
        assert excinfo.value.code == "session.attached"
        first.session._socket.transport.abort()
        await asyncio.sleep(0.3)
        for options in ({"store": other}, {"mode": "confidential"}):
            with pytest.raises(TrustError) as excinfo:
                await Notebook(world, session=name, **options).__aenter__()
            assert excinfo.value.code == "session.owner"
        async with Notebook(world, session=name) as again:
            assert await again.run("print(kept)") == "my state\n"

    asyncio.run(story())


def test_lost_session_ends_after_a_while(world: AgentWorld) -> None:
    world.start(resume_s=0.3, idle_exit_s=3)

    async def story() -> None:
        notebook = await Notebook(world).__aenter__()
        notebook.session._socket.transport.abort()

    asyncio.run(story())
    assert world.process.wait(20) == 0  # resume_s passed, then idle_exit_s


def test_idle_agent_leaves(world: AgentWorld) -> None:
    world.start(idle_exit_s=0.5)
    assert world.process.wait(20) == 0


def test_unknown_purpose_and_contract(running: AgentWorld) -> None:
    async def story() -> None:
        async with connect(running.url) as socket:
            await socket.send(RelyingParty(running.analyst.did, "sha256:" + "0" * 64).hello)
            error = refused(await socket.recv())
            assert error is not None
            assert "contract.unknown" in error.reason
        hello = new_hello(running.analyst.did, running.entry().contract_digest, "broker-session")
        async with connect(running.url) as socket:
            await socket.send(hello)
            error = refused(await socket.recv())
            assert error is not None
            assert "hello.role" in error.reason

    asyncio.run(story())


def test_expired_contract_gets_no_session(world: AgentWorld) -> None:
    """The agent has its own look at the validity; it does not rely on the analyst's."""
    world.write_contract(not_before="2020-01-01T00:00:00Z", not_after="2020-02-01T00:00:00Z")
    world.start()

    async def story() -> None:
        async with connect(world.url) as socket:
            await socket.send(RelyingParty(world.analyst.did, world.entry().contract_digest).hello)
            error = refused(await socket.recv())
            assert error is not None
            assert "contract.expired" in error.reason

    asyncio.run(story())


def test_forced_quotes_are_limited(world: AgentWorld) -> None:
    """Strangers who force evidence are turned away; whoever is in, or is introduced, is not their victim."""
    world.start(quotes_per_minute=8)
    contract, known, stranger = world.entry().contract_digest, world.analyst, SigningKey.generate()
    earlier: list[bytes] = []

    async def knock(
        signer: SigningKey | None = None, audience: str = known.did, said: bytes = b"", hello: bytes = b""
    ) -> CloisterError | None:
        hello = hello or RelyingParty(audience, contract).hello
        async with connect(world.url) as socket:
            assert socket.response is not None
            if signer is not None:
                said = introduce(signer, socket.response.headers[HEADER], hello)
            for message in (said, hello):
                earlier.append(message)
                if message:
                    await socket.send(message)
            return refused(await socket.recv())

    def busy(answer: CloisterError | None) -> bool:
        return answer is not None and "enclave.busy" in answer.reason

    async def story() -> None:
        # Who does not introduce himself is answered like anybody else, as long as there is room.
        answers = [await knock() for _ in range(4)]
        assert answers[0] is None
        assert busy(answers[-1])
        async with Notebook(world) as notebook:
            # Signed by somebody the contract does not name, or not by whom the hello names: still a stranger.
            assert busy(await knock(stranger, stranger.did))
            assert busy(await knock(stranger))
            assert busy(await knock(said=b'{"introduction":""}'))
            # The analyst has her share; what she said there is worth nothing on another connection.
            earlier.clear()
            assert await knock(known) is None
            said, hello = earlier
            assert busy(await knock(said=said, hello=hello))
            assert busy(await knock(said=said))
            # Within a session evidence is counted apart, and limited too.
            for number in range(4):
                hello = Renewal(world.analyst.did, world.entry().contract_digest, b"").hello
                await notebook.session.send(Kind.EVENT, RENEW, hello)
                if number < 3:
                    await notebook.event("offer")
                    notebook.events.clear()
            with pytest.raises(UnavailableError):
                await notebook.event("offer")

    asyncio.run(story())


@pytest.mark.parametrize("first", ["text", b"", b"{}", b"\x00" * 5000, b"x" * 200_000, json.dumps({"versions": []})])
def test_strangers_do_no_harm(running: AgentWorld, first: str | bytes) -> None:
    async def story() -> None:
        async with connect(running.url) as socket:
            await socket.send(first)
            try:
                answer = await asyncio.wait_for(socket.recv(), 10)
                assert refused(answer if isinstance(answer, bytes) else answer.encode()) is not None
            except ConnectionClosed:
                pass
        async with Notebook(running) as notebook:
            assert await notebook.run("print(1)") == "1\n"

    asyncio.run(story())


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.REPLY, Kind.BROKER, Kind.IOPUB, Kind.EVENT, 99])
def test_a_proxy_cannot_speak_to_vault_or_broker(running: AgentWorld, kind: int) -> None:
    """Whoever holds a channel is still only a notebook: other kinds end the connection."""

    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run("1")
            await notebook.session.send(kind, b"{}", b"{}")
            with pytest.raises(UnavailableError):
                while True:
                    await notebook.next(10)

    asyncio.run(story())


def test_ping_is_answered(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.session.send(Kind.PING, b"now")
            while (got := await notebook.next()) is None or got[0] != Kind.PING:
                pass

    asyncio.run(story())


def test_queued_cells_get_their_own_cause(running: AgentWorld) -> None:
    """Run All sends every cell at once; each plan must still be attributed to the cell that made it."""
    code = LINK + "print(L.request('describe')['mode'])"

    async def story() -> None:
        async with Notebook(running) as notebook:
            ids = [await notebook.send("execute_request", cell(code)) for _ in range(8)]
            await notebook.wait_idle(ids[-1])
            text = [f[3]["text"] for f in notebook.frames if f[1]["msg_type"] == "stream"]
            assert text == ["mock\n"] * 8
            # The agent's own fences are its own business.
            assert not [f for f in notebook.frames if str(f[2].get("msg_id", "")).startswith("agent-")]

    asyncio.run(story())


def test_production_data_need_isolation(world: AgentWorld) -> None:
    from agent_world import make_card

    from cloister.contract import signing
    from cloister.contract.terms import TableTerms

    card = signing.seal_card(msgspec.structs.replace(make_card(), grade="production"), world.provider)
    table = TableTerms("fair.people", "fair", "fair", signing.payload_digest(card), "sha256:" + "0" * 64)
    world.write_contract(tables=(table,))
    (world.folder / "card.json").write_bytes(msgspec.json.encode(card))
    world.start(plain_kernel=True)

    async def story() -> None:
        with pytest.raises(CloisterError) as excinfo:
            await Notebook(world, mode="confidential").__aenter__()
        assert excinfo.value.code == "isolation.grade"
        async with Notebook(world) as notebook:  # mock data are nobody's
            assert notebook.session.verdict.tone == "red"
            assert await notebook.run("print(1)") == "1\n"

    asyncio.run(story())


def test_unsigned_contract_is_not_served(world: AgentWorld) -> None:
    from cloister.contract import signing

    envelope = signing.sign_contract(world.terms(), world.provider)
    (world.folder / "contract.json").write_bytes(msgspec.json.encode(envelope))
    with pytest.raises(RuntimeError, match=r"contract\.unsigned"):
        world.start()


def test_card_by_somebody_else_is_not_served(world: AgentWorld) -> None:
    from agent_world import make_card

    from cloister.contract import signing

    forged = signing.seal_card(make_card(), SigningKey.generate())
    (world.folder / "card.json").write_bytes(msgspec.json.encode(forged))
    with pytest.raises(RuntimeError, match=r"card\."):
        world.start()


def opened_by(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


async def until(condition: object, timeout_s: float) -> None:
    for _ in range(int(timeout_s / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in time")
