"""What agent and bridge give up, what hostile notebooks cannot make them pay, and what a killed agent leaves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_world import LINK, AgentWorld, Notebook
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cloister.attest.opening import Opening
from cloister.confine.libc import LINUX
from cloister.enclave import folders
from cloister.enclave.sessions import MAX_IN_FLIGHT, Session
from cloister.errors import UnavailableError
from cloister.plan.link import Context, Routing
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

pytestmark = pytest.mark.skipif(not LINUX, reason="asks Linux what a process gave up")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path_factory.mktemp("hardening"))
    try:
        world.start()
        yield world
    finally:
        world.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path)
    try:
        yield world
    finally:
        world.stop()


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def status_line(pid: int, name: str) -> str:
    lines = proc(pid, "status").splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name + ":"))


# Not dumpable shows as a /proc folder that belongs to root; for a test run by root nothing shows there.
def is_dumpable(pid: int) -> bool:
    code = (
        "import ctypes, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.prctl(24, 19)\n"  # without CAP_SYS_PTRACE in the bounding set
        "class H(ctypes.Structure): _fields_ = [('v', ctypes.c_uint32), ('p', ctypes.c_int)]\n"
        "libc.capset(ctypes.byref(H(0x20080522, 0)), (ctypes.c_uint32 * 6)())\n"
        f"open('/proc/{pid}/environ', 'rb').read()\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_agent_and_bridge_hide_their_memory_and_gain_no_rights(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run("1")
            assert running.process is not None
            [bridge] = running.children("cloister.enclave.bridge")
            for pid in (running.process.pid, bridge.pid):
                assert status_line(pid, "NoNewPrivs") == "1"
                assert not is_dumpable(pid)

    asyncio.run(story())


def test_short_memory_ends_a_notebook_before_the_vault(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            await notebook.run("1")
            for word in ("cloister.enclave.jail", "cloister.enclave.bridge"):
                [child] = running.children(word)
                assert proc(child.pid, "oom_score_adj").strip() == "1000", word
            [bridge] = running.children("cloister.enclave.bridge")
            limits = proc(bridge.pid, "limits")
            assert "unlimited" not in next(line for line in limits.splitlines() if line.startswith("Max address"))

    asyncio.run(story())


def test_pages_of_a_browser_get_no_connection(running: AgentWorld) -> None:
    async def story() -> None:
        with pytest.raises(InvalidStatus) as excinfo:
            async with connect(running.url, origin="https://evil.example"):  # type: ignore[arg-type]
                pass
        assert excinfo.value.response.status_code == 403

    asyncio.run(story())


# --- floods on the link


class SilentVaults:
    """A vault that takes requests and answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Context, int, object]] = []

    def identity(self, contract: str, mode: str) -> str:
        return ""

    async def get(self, served: object, mode: str) -> SilentVaults:
        return self

    async def request(self, context: Context, number: int, body: bytes, answer: object) -> None:
        if number:
            self.asked.append((context, number, answer))


class ScriptedKernel:
    """Frames of a hostile sandbox, and what it was answered."""

    def __init__(self, requests: list[int]) -> None:
        self._requests = requests
        self.taken = 0
        self.replies: list[bytes] = []

    async def from_sandbox(self):
        for number in self._requests:
            self.taken += 1
            yield Frame(Kind.REQUEST, (canonical.encode({"id": number, "op": "budget", "plan": None}),))
        await asyncio.Event().wait()

    async def to_sandbox(self, reply: bytes) -> None:
        self.replies.append(reply)


def session(vaults: SilentVaults, kernel: ScriptedKernel) -> Session:
    class Served:
        digest = "sha256:" + "0" * 64
        keeps_source = False

    opening = Opening(analyst="did:key:a", session="s", purpose="p", mode="mock", signature="")
    made = Session(opening, Served(), vaults)  # type: ignore[arg-type]
    made.kernel = kernel  # type: ignore[assignment]
    return made


def test_a_flood_of_requests_waits_in_the_sandbox() -> None:
    async def story() -> None:
        vaults, kernel = SilentVaults(), ScriptedKernel(list(range(1, 1000)))
        made = session(vaults, kernel)
        reading = asyncio.ensure_future(made._from_sandbox())
        await asyncio.sleep(0.2)
        assert len(vaults.asked) == MAX_IN_FLIGHT
        assert kernel.taken <= MAX_IN_FLIGHT + 1
        # Every answer makes room for one more; none is lost.
        while len(kernel.replies) < 999:
            _, number, answer = vaults.asked.pop(0)
            await answer(Routing("s"), canonical.encode({"id": number, "result": {}}))  # type: ignore[operator]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert {json.loads(reply)["id"] for reply in kernel.replies} == set(range(1, 1000))
        reading.cancel()

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize("departures", [1, 2])
def test_a_session_that_was_resumed_and_lost_again_waits_anew(world: AgentWorld, departures: int) -> None:
    """The wait of an earlier break does not end what a later one began."""
    stopped: list[str] = []

    async def story() -> None:
        waiting = session(SilentVaults(), ScriptedKernel([]))

        async def stop(reason: str) -> None:
            stopped.append(reason)

        waiting.stop = stop  # type: ignore[method-assign]
        waiting.left.set()
        waiting.departures = departures
        with world.here(resume_s=0) as agent:
            await agent._expire(waiting, 1)

    asyncio.run(story())
    assert len(stopped) == (1 if departures == 1 else 0)


def test_a_repeated_id_does_not_move_the_receipt_to_another_cell() -> None:
    async def story() -> None:
        vaults, kernel = SilentVaults(), ScriptedKernel([5, 5])

        made = session(vaults, kernel)
        made._causes.sent(message("m1"), shell=True)
        first = asyncio.ensure_future(made._request(5, canonical.encode({"id": 5, "op": "budget", "plan": None})))
        await first
        made._causes.idle("m1")
        made._causes.sent(message("m2"), shell=True)
        await made._request(5, canonical.encode({"id": 5, "op": "budget", "plan": None}))
        assert made._parents[5] == "m1"
        assert json.loads(kernel.replies[0])["error"]["code"] == "link.number"
        assert len(vaults.asked) == 1

    asyncio.run(asyncio.wait_for(story(), 30))


def message(message_id: str) -> tuple[bytes, ...]:
    head = json.dumps({"msg_id": message_id, "msg_type": "execute_request"}).encode()
    return (b"client", b"<IDS|MSG>", head, b"{}", b"{}", b'{"code": "x"}')


@pytest.mark.timeout(120)
def test_many_threads_that_ask_at_once_are_all_answered(running: AgentWorld) -> None:
    async def story() -> None:
        async with Notebook(running) as notebook:
            code = (
                LINK + "import threading\ngot = []\n"
                "def ask():\n    got.append(L.request('budget'))\n"
                "threads = [threading.Thread(target=ask) for _ in range(100)]\n"
                "[t.start() for t in threads]; [t.join() for t in threads]\nprint(len(got))"
            )
            assert await notebook.run(code) in {"100\n", "0\n"}

    asyncio.run(story())


# --- what a killed agent leaves


def test_folders_of_a_killed_agent_are_removed_by_the_next(world: AgentWorld, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    world.start(work=str(work))
    [left] = work.iterdir()
    assert world.process is not None
    world.process.kill()
    world.process.wait()
    assert left.exists()
    world.start(work=str(work))
    assert not left.exists()
    [mine] = work.iterdir()
    assert mine != left


def test_only_our_own_and_abandoned_folders_are_removed(tmp_path: Path) -> None:
    alive = folders.open_work(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    (tmp_path / f"{folders.PREFIX}link").symlink_to(precious)
    stranger = tmp_path / f"{folders.PREFIX}stranger"
    stranger.mkdir()  # no lock file: not made by an agent, or not finished
    linked = tmp_path / f"{folders.PREFIX}linked"
    linked.mkdir()
    (linked / folders.LOCK).symlink_to(precious / "data")
    folders.remove_abandoned(tmp_path)
    assert alive.path.exists()
    assert (precious / "data").read_text() == "x"
    assert stranger.exists()
    assert linked.exists()
    left = alive.path
    alive.release()
    folders.remove_abandoned(tmp_path)
    assert not left.exists()


# --- the code that runs is the code that was measured


@pytest.mark.timeout(120)
def test_the_sandbox_runs_the_package_that_was_measured(world: AgentWorld) -> None:
    """The agent runs from a copy (PYTHONPATH); the jail ignores that variable and must use the copy all the same."""
    package = world.copy_package()
    (package / "enclave" / "refusals.py").write_text(
        (package / "enclave" / "refusals.py").read_text() + "\nMARK = 'the copy'\n"
    )
    world.start()

    async def story() -> None:
        async with Notebook(world) as notebook:
            printed = await notebook.run(
                "import cloister, sys\nprint(cloister.__file__)\nprint(sys.modules['cloister.enclave.refusals'].MARK)"
            )
            assert printed.splitlines() == [str(package / "__init__.py"), "the copy"]

    asyncio.run(story())


def test_a_jail_that_fails_says_why_in_the_log(world: AgentWorld) -> None:
    package = world.copy_package()
    inner = package / "enclave" / "inner.py"
    inner.write_text(inner.read_text().replace("def build_app", "raise RuntimeError('no kernel today')\ndef build_app"))
    world.start()

    async def story() -> None:
        with pytest.raises(UnavailableError) as excinfo:
            async with Notebook(world):
                pass
        assert excinfo.value.code == "sandbox.isolation"
        assert "no kernel today" not in str(excinfo.value)

    asyncio.run(story())
    assert "no kernel today" in world.log()


def test_code_that_children_would_not_import_is_not_measured(world: AgentWorld, tmp_path: Path) -> None:
    world.start()
    expected = world.ready["env_digest"]
    world.stop()
    elsewhere = tmp_path / "elsewhere"
    fake = elsewhere / "duckdb-99.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: duckdb\nVersion: 99\n")
    (fake / "RECORD").write_text("")
    world.env["PYTHONPATH"] = str(elsewhere)
    world.start()
    assert world.ready["env_digest"] == expected


def test_evidence_says_what_the_work_folder_allows(world: AgentWorld) -> None:
    world.start()
    with world.here() as agent:
        [digest] = agent.contracts
        told = agent.runtime(digest)["isolation"]["level"]

    async def story() -> None:
        async with Notebook(world) as notebook:
            assert notebook.session.verdict.isolation["level"] == told

    asyncio.run(story())
