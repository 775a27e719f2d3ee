"""Files in and out of a sandbox: with a real agent, and with a folder that fights back."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_world import LINK, AgentWorld, Notebook

from cloister.enclave import files
from cloister.enclave.files import SandboxFiles
from cloister.errors import CloisterError, MalformedError
from cloister.wire import canonical
from cloister.wire.filenames import MAX_FILE, check_name
from cloister.wire.frames import Kind

pytestmark = pytest.mark.timeout(120)


def digest(data: bytes) -> str:
    return canonical.digest_bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the folder by itself


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "work" / "home").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"of the agent")
    return tmp_path / "work" / "home"


@pytest.fixture
def sandbox(home: Path) -> SandboxFiles:
    return SandboxFiles(home.parent.parent, ("work", "home"), quota=100)


def refused(sandbox: SandboxFiles, name: str = "x") -> str:
    with pytest.raises(CloisterError) as caught:
        sandbox.get(name)
    assert "of the agent" not in str(caught.value)
    return caught.value.code


def test_a_file_goes_in_and_comes_out(sandbox: SandboxFiles, home: Path) -> None:
    sandbox.put("a.csv", b"1,2", digest(b"1,2"))
    assert (home / "a.csv").read_bytes() == b"1,2"
    assert (home / "a.csv").stat().st_uid == home.stat().st_uid
    assert sandbox.get("a.csv") == b"1,2"
    sandbox.put("a.csv", b"3", digest(b"3"))
    assert sandbox.get("a.csv") == b"3"
    assert names(home) == ["a.csv"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../secret", "/etc/passwd", "a\\b", "a\0b", ".hidden", "a\nb", "\u202egpj.exe", " a",
     "\ud800", "x" * 256, "C:x", "a.txt:stream", "-rf"],
)  # fmt: skip
def test_names_are_plain(sandbox: SandboxFiles, name: str) -> None:
    for attempt in (lambda: check_name(name), lambda: sandbox.put(name, b"", digest(b"")), lambda: sandbox.get(name)):
        with pytest.raises(MalformedError, match=r"file\.name"):
            attempt()


def test_names_of_any_language_are_plain() -> None:
    assert check_name("数据 2026 (été).csv") == "数据 2026 (été).csv"


def test_only_ordinary_files_of_the_sandbox_come_out(sandbox: SandboxFiles, home: Path, tmp_path: Path) -> None:
    assert refused(sandbox) == "file.missing"
    (home / "x").symlink_to(tmp_path / "secret")
    assert refused(sandbox) == "file.kind"
    (home / "x").unlink()
    os.link(tmp_path / "secret", home / "x")
    assert refused(sandbox) == "file.kind"
    (home / "x").unlink()
    (home / "x").mkdir()
    assert refused(sandbox) == "file.kind"
    (home / "x").rmdir()
    os.mkfifo(home / "x")  # opening it must not wait for a writer
    assert refused(sandbox) == "file.kind"
    (home / "x").unlink()
    with (home / "x").open("wb") as out:
        out.truncate(MAX_FILE + 1)
    assert refused(sandbox) == "file.size"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_stays(sandbox: SandboxFiles, home: Path) -> None:
    (home / "x").write_bytes(b"of the agent")
    os.chown(home / "x", 12345, 12345)
    assert refused(sandbox) == "file.kind"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_is_put_belongs_to_the_sandbox(sandbox: SandboxFiles, home: Path) -> None:
    os.chown(home, 12345, 12345)
    sandbox.put("x", b"1", digest(b"1"))
    assert (home / "x").stat().st_uid == 12345
    assert (home / "x").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("step", ["home", "work"])
def test_a_folder_turned_into_a_link_is_not_followed(home: Path, tmp_path: Path, step: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "home").mkdir(parents=True)
    (elsewhere / "x").write_bytes(b"of the agent")
    place = home if step == "home" else home.parent
    place.rename(tmp_path / "moved")
    place.symlink_to(elsewhere)
    sandbox = SandboxFiles(tmp_path, ("work", "home"))
    assert refused(sandbox) == "file.kind"
    with pytest.raises(CloisterError):
        sandbox.put("new", b"1", digest(b"1"))
    assert not (elsewhere / "new").exists()
    assert not (elsewhere / "home" / "new").exists()


def test_a_link_at_the_name_is_replaced_not_followed(sandbox: SandboxFiles, home: Path, tmp_path: Path) -> None:
    (home / "x").symlink_to(tmp_path / "secret")
    sandbox.put("x", b"1", digest(b"1"))
    assert (tmp_path / "secret").read_bytes() == b"of the agent"
    assert not (home / "x").is_symlink()
    (home / "d").mkdir()
    with pytest.raises(CloisterError, match=r"file\.kind"):
        sandbox.put("d", b"1", digest(b"1"))
    assert names(home) == ["d", "x"]


def test_a_name_that_changes_all_the_time_never_leads_out(sandbox: SandboxFiles, home: Path, tmp_path: Path) -> None:
    over = threading.Event()

    def flip() -> None:
        (tmp_path / "own").write_bytes(b"own")
        while not over.is_set():
            for make in (lambda at: at.symlink_to(tmp_path / "secret"), lambda at: at.write_bytes(b"own")):
                make(home / "next")
                (home / "next").replace(home / "x")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        seen = set()
        for _ in range(2000):
            try:
                seen.add(sandbox.get("x"))
            except CloisterError as error:
                seen.add(error.code.encode())
        assert b"of the agent" not in seen
        assert seen <= {b"own", b"", b"file.kind", b"file.missing"}
    finally:
        over.set()
        thread.join()


def test_size_quota_and_digest(sandbox: SandboxFiles, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedError, match=r"file\.digest"):
        sandbox.put("x", b"1", digest(b"2"))
    monkeypatch.setattr(files, "MAX_FILE", 60)
    with pytest.raises(CloisterError, match=r"file\.size"):
        sandbox.put("x", bytes(61), digest(bytes(61)))
    sandbox.put("x", bytes(60), digest(bytes(60)))
    with pytest.raises(CloisterError, match=r"file\.quota"):
        sandbox.put("y", bytes(60), digest(bytes(60)))  # 60 of 100 are used, replaced or not
    assert names(home) == ["x"]


# --- with a real agent


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path_factory.mktemp("agent"))
    world.start()
    try:
        yield world
    finally:
        world.stop()


class Files(Notebook):
    """A notebook that puts and gets."""

    async def tell(self, kind: str, number: str, data: bytes | None = None, **fields: object) -> None:
        head = json.dumps({"type": kind, "id": number, **fields}).encode()
        await self.session.send(Kind.EVENT, head, *([] if data is None else [data]))

    async def put(self, number: str, name: str, data: bytes) -> dict[str, object]:
        await self.tell("put", number, data, name=name, sha256=digest(data))
        return await self.event("put", id=number)

    async def get(self, number: str, name: str) -> tuple[dict[str, object], bytes]:
        await self.tell("get", number, name=name)
        while (frame := await self.session.receive()).kind != Kind.EVENT or len(frame.parts) != 2:
            pass
        return json.loads(frame.parts[0]), frame.parts[1]


def test_a_cell_reads_what_was_put_and_what_it_writes_comes_out(running: AgentWorld) -> None:
    async def story() -> None:
        async with Files(running) as notebook:
            told = await notebook.put("1", "regions.csv", b"a,b\n1,2\n")
            assert told == {
                "type": "put", "id": "1", "name": "regions.csv", "sha256": digest(b"a,b\n1,2\n"), "error": None,
            }  # fmt: skip
            assert await notebook.run("print(open('regions.csv').read())") == "a,b\n1,2\n\n"
            await notebook.run("open('regions.csv', 'a').write('3,4'); open('out.bin', 'wb').write(bytes(range(256)))")
            told, data = await notebook.get("2", "out.bin")
            assert (told["error"], told["sha256"], data) == (None, digest(data), bytes(range(256)))
            told, data = await notebook.get("3", "missing")
            assert (told["error"]["code"], data) == ("file.missing", b"")
            told = await notebook.put("4", "../x", b"")
            assert told["error"]["code"] == "file.name"

    asyncio.run(story())


def test_a_file_is_there_before_the_cell_behind_it_runs(running: AgentWorld) -> None:
    async def story() -> None:
        async with Files(running) as notebook:
            data = os.urandom(4 * 2**20)
            await notebook.tell("put", "1", data, name="big", sha256=digest(data))
            assert await notebook.run("import os; print(os.path.getsize('big'))") == f"{len(data)}\n"

    asyncio.run(story())


@pytest.mark.parametrize(
    "parts",
    [
        [b"{}"],
        [b'{"type":"put","id":"1","name":"a","sha256":""}'],
        [b'{"type":"get","id":"1","name":"a"}', b"more"],
        [b'{"type":"rm","id":"1","name":"a"}'],
        [b'{"type":"get","id":"' + b"1" * 65 + b'","name":"a"}'],
        [],
    ],
)
def test_an_event_that_no_proxy_sends_ends_the_channel(running: AgentWorld, parts: list[bytes]) -> None:
    async def story() -> None:
        async with Files(running) as notebook:
            await notebook.session.send(Kind.EVENT, *parts)
            with pytest.raises(CloisterError):
                while True:
                    await notebook.next(10)

    asyncio.run(story())


def test_the_budget_is_told_to_who_asks_as_of_now(running: AgentWorld) -> None:
    async def story() -> None:
        async with Files(running) as notebook:
            await notebook.run(LINK)
            for number in ("a", "b", "c"):
                await notebook.tell("budget", number)
            for number in ("a", "b", "c"):
                assert (await notebook.event("budget", id=number))["budget"]["limits"]

    asyncio.run(story())
