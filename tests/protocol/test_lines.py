"""``%cloister`` lines in their turn: what they wait for, what they ask the enclave, and what waits for them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from scripted import ScriptedEnclave, Talk, talking_to
from signed_world import World
from test_relay import Handler, cell_with, types

from cloister.analyst import lines
from cloister.analyst.agreed import agreed_to
from cloister.analyst.messages import Message
from cloister.errors import TrustError
from cloister.receipt.rehearsal import REHEARSAL_MIME
from cloister.wire import canonical
from cloister.wire.frames import Kind

Story = Callable[[Talk, ScriptedEnclave], Awaitable[None]]


@pytest.fixture(autouse=True)
def beside_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path / "home"))
    return tmp_path


class Files:
    """An agent that keeps what is put and hands it out."""

    def __init__(self, enclave: ScriptedEnclave) -> None:
        self.kept: dict[str, bytes] = {}
        self.order: list[str] = []
        self._enclave = enclave
        enclave.on_ask = self

    def __call__(self, ask: dict[str, Any], data: bytes) -> None:
        told = {key: ask[key] for key in ("type", "id", "name") if key in ask}
        self.order.append(ask["type"])
        if ask["type"] == "put":
            assert ask["sha256"] == canonical.digest_bytes(data)
            self.kept[ask["name"]] = data
            self._enclave.event(**told, error=None)
        elif ask["type"] == "get":
            data = self.kept[ask["name"]]
            told |= {"sha256": canonical.digest_bytes(data), "error": None}
            self._enclave.say(Kind.EVENT, json.dumps(told).encode(), data)


def tell(tmp_path: Path, story: Story, on_message: Handler | None = None, **options: Any) -> None:
    async def run() -> None:
        enclave = ScriptedEnclave(on_message or cell_with())
        async with talking_to(enclave, tmp_path, **options) as talk:
            await talk.run("%cloister help")  # the session is open when this is answered
            await asyncio.sleep(0)
            await story(talk, enclave)

    asyncio.run(run())


def shown(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return next(message["content"] for message in outputs if message["msg_type"] == "display_data")


# --- files


def test_a_file_goes_in_with_its_digest_in_the_output(tmp_path: Path) -> None:
    (tmp_path / "regions.csv").write_bytes(b"a,b\n")

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        files = Files(enclave)
        reply, outputs = await talk.run("%cloister put regions.csv")
        assert reply["status"] == "ok"
        assert files.kept == {"regions.csv": b"a,b\n"}
        place = shown(outputs)["metadata"]["cloister"]
        assert place == {"put": {"name": "regions.csv", "sha256": canonical.digest_bytes(b"a,b\n"), "size": 4}}
        assert "regions.csv (4 bytes) is now in the sandbox" in shown(outputs)["data"]["text/plain"]
        await talk.run("%cloister put regions.csv r.csv")
        assert files.kept["r.csv"] == b"a,b\n"

    tell(tmp_path, story)


def test_a_file_comes_out_and_says_who_made_it(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        Files(enclave).kept["plot.png"] = b"\x89PNG"
        reply, outputs = await talk.run("%cloister get plot.png")
        assert reply["status"] == "ok"
        assert (tmp_path / "plot.png").read_bytes() == b"\x89PNG"
        assert "nothing vouches for its content" in shown(outputs)["data"]["text/plain"]
        reply, _ = await talk.run("%cloister get plot.png")
        assert "file.exists" in reply["evalue"]
        reply, _ = await talk.run("%cloister get plot.png other.png")
        assert reply["status"] == "ok"
        (tmp_path / "plot.png").write_bytes(b"old")
        reply, _ = await talk.run("%cloister get plot.png --force")
        assert reply["status"] == "ok"
        assert (tmp_path / "plot.png").read_bytes() == b"\x89PNG"

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("put missing.csv", "file.missing"),
        ("put ../secret", "file.name"),
        ("put home", "file.kind"),
        ("put huge", "file.size"),
        ("put a.csv ../b", "file.name"),
        ("get ../x", "file.name"),
        ("get x ../x", "file.name"),
        ("put", "command.arguments"),
        ("get a b c", "command.arguments"),
        ("put a.csv --force", "command.arguments"),
    ],
)
def test_what_cannot_be_moved_is_said_before_the_enclave_is_asked(tmp_path: Path, line: str, code: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "a.csv").write_bytes(b"1")
    with (tmp_path / "huge").open("wb") as out:
        out.truncate(16 * 2**20 + 1)

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        reply, outputs = await talk.run(f"%cloister {line}")
        assert reply["status"] == "error"
        assert code in reply["evalue"]
        assert types(outputs) == ["execute_input", "error"]
        assert [ask["type"] for ask, _ in enclave.asked if ask["type"] == "put"] == []

    tell(tmp_path, story)


def test_what_the_enclave_refuses_or_falsifies_is_told_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1")
    answers = [
        ({"error": {"kind": "refused", "code": "file.quota", "reason": "too much"}}, b"", "file.quota"),
        ({"name": "x", "sha256": canonical.digest_bytes(b"2")}, b"3", "file.digest"),
        ({"name": "y", "sha256": canonical.digest_bytes(b"2")}, b"2", "file.digest"),
        ({"name": "x"}, b"", "file.digest"),
    ]

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        for told, data, code in answers:
            enclave.on_ask = lambda ask, _, told=told, data=data: enclave.say(
                Kind.EVENT, json.dumps({"type": "get", "id": ask["id"], **told}).encode(), data
            )
            reply, _ = await talk.run("%cloister get x")
            assert code in reply["evalue"]
            assert not (tmp_path / "x").exists()

    tell(tmp_path, story)


def test_a_silent_enclave_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_FILE_PATIENCE_S", 0.1)
    monkeypatch.setattr(lines, "_BUDGET_PATIENCE_S", 0.1)

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.on_ask = None
        reply, _ = await talk.run("%cloister get x")
        assert "enclave.silent" in reply["evalue"]
        reply, _ = await talk.run("%cloister budget")
        assert reply["status"] == "ok"

    tell(tmp_path, story)


def test_an_enclave_that_is_lost_meanwhile_ends_the_line_and_what_waits_behind_it(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.on_ask = lambda ask, data: enclave.event(type="kernel", state="died", reason="test")
        talk.client.execute("%cloister get x")
        reply, _ = await talk.run("behind")
        assert reply["status"] == "aborted"
        reply, _ = await talk.run("%cloister put x")
        assert "kernel.died" in reply["evalue"]

    tell(tmp_path, story)


# --- the order of the notebook


def test_run_all_moves_files_between_the_cells_before_and_behind(tmp_path: Path) -> None:
    """Lab sends every cell at once; a cell behind ``put`` must find the file, one before it must not."""
    (tmp_path / "a.csv").write_bytes(b"1")
    order: list[str] = []

    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        code = json.loads(request.content)["code"]
        asyncio.get_running_loop().call_later(0.1, lambda: (order.append(code), enclave.serve(request)))

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        files = Files(enclave)
        files.order = order
        for code in ("one", "%cloister put a.csv", "two", "%cloister get a.csv b.csv", "%cloister status", "three"):
            last = talk.client.execute(code)
        while (reply := await talk.client.get_shell_msg(timeout=5))["parent_header"]["msg_id"] != last:
            assert reply["content"]["status"] == "ok"
        assert order == ["one", "put", "two", "get", "three"]
        assert (tmp_path / "b.csv").read_bytes() == b"1"

    tell(tmp_path, story, serve)


def test_cells_behind_a_file_that_is_missing_are_skipped(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        talk.client.execute("%cloister put missing.csv")
        talk.client.execute("needs it")
        reply, outputs = await talk.run("needs it too")
        assert reply["status"] == "aborted"
        assert types(outputs) == []
        assert enclave.types() == []
        reply, _ = await talk.run("later")
        assert reply["status"] == "ok"

    tell(tmp_path, story)


def test_a_file_behind_a_cell_that_fails_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1")

    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        def fail() -> None:
            enclave.publish("status", {"execution_state": "busy"}, request.header)
            enclave.reply(request, "execute_reply", {"status": "error", "ename": "E", "evalue": "", "traceback": []})
            enclave.publish("status", {"execution_state": "idle"}, request.header)

        asyncio.get_running_loop().call_later(0.1, fail)

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        files = Files(enclave)
        for code in ("1 / 0", "%cloister put a.csv"):
            talk.client.execute(code)
        reply, _ = await talk.run("behind")
        assert reply["status"] == "aborted"
        assert files.kept == {}
        assert enclave.types() == ["execute_request"]

    tell(tmp_path, story, serve)


def test_an_interrupt_skips_what_waits_behind_a_file(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.on_ask = None  # it takes its time
        line = talk.client.execute("%cloister get x")
        behind = talk.client.execute("behind")
        await asyncio.sleep(0.1)
        talk.client.control_channel.send(talk.client.session.msg("interrupt_request", {}))
        while (reply := await talk.client.get_shell_msg(timeout=5))["parent_header"]["msg_id"] != behind:
            pass
        assert reply["content"]["status"] == "aborted"
        ask, _ = enclave.asked[-1]
        data = {"type": "get", "id": ask["id"], "name": "x", "sha256": canonical.digest_bytes(b"")}
        enclave.say(Kind.EVENT, json.dumps(data).encode(), b"")
        while (reply := await talk.client.get_shell_msg(timeout=5))["parent_header"]["msg_id"] != line:
            pass
        assert reply["content"]["status"] == "ok"

    tell(tmp_path, story)


def test_without_an_enclave_nothing_is_moved_and_all_other_lines_answer(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1")

    class Refused(ScriptedEnclave):
        async def open(self) -> ScriptedEnclave:
            raise TrustError("appraisal.env_digest", "other code")

    async def run() -> None:
        async with talking_to(Refused(), tmp_path) as talk:
            for line in ("status", "budget", "verify", "help"):
                reply, outputs = await talk.run(f"%cloister {line}")
                assert reply["status"] == "ok"
                assert {"text/plain", "text/html"} <= set(shown(outputs)["data"])
            for line in ("put a.csv", "get a.csv b.csv"):
                reply, _ = await talk.run(f"%cloister {line}")
                assert "appraisal.env_digest" in reply["evalue"]

    asyncio.run(run())


# --- budget


def test_the_budget_is_asked_for_and_told_in_epsilon(tmp_path: Path) -> None:
    world = World()
    limit = {"name": "privacy", "population": "clinic.patients", "broker": "b", "spent": "1/100", "limit": "1/10"}
    alert = {"broker": "b", "rule": 13, "text": "<b>", "what": "refusal.count", "bucket": "2026-11-21", "count": 3}
    alert["most"] = 0

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        def answer(ask: dict[str, Any], _: bytes) -> None:
            budget = {"limits": [limit], "alerts": [alert, 7], "time": "2026-11-21T12:00:00Z"}
            enclave.event(type="budget", id=ask["id"], budget=budget)

        enclave.on_ask = answer
        enclave.event(type="budget", budget={"limits": [], "time": "2026-11-21T10:00:00Z"})
        _, outputs = await talk.run("%cloister budget")
        text = shown(outputs)["data"]["text/plain"]
        assert "as of 2026-11-21T12:00:00Z" in text
        assert "10.0 % used (epsilon " in text
        assert "1/100" not in text
        assert "alert at b: <b>; refusal.count 3 > 0, 2026-11-21 UTC" in text
        assert "alert at b: &lt;b&gt;; refusal" in shown(outputs)["data"]["text/html"]

    tell(tmp_path, story, load_agreed=lambda: agreed_to(world.contract, world.digest))


# --- rehearsals


def test_a_mock_cell_ends_with_one_chip_that_says_what_it_would_cost(tmp_path: Path) -> None:
    world = World()
    costs = [{"population": "clinic.patients", "rho": "1/50"}]

    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        parent = json.loads(request.header)["msg_id"]
        for release in ("r1", "r2", "r1"):
            rehearsal = {"release": release, "plan": "sha256:0", "question": f"visits: {release}", "costs": costs}
            enclave.event(type="rehearsal", parent=parent, rehearsal=rehearsal)
        enclave.serve(request, ("stream", {"name": "stdout", "text": "41.2"}))

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream", "display_data"]
        data, metadata = (outputs[-2]["content"][key] for key in ("data", "metadata"))
        assert data[REHEARSAL_MIME] == {"version": 1}
        assert "MOCK: invented values, nothing charged, no receipt" in data["text/plain"]
        assert "of clinic.patients (epsilon" in data["text/plain"]
        listed = metadata["cloister"]["rehearsals"]
        assert [item["question"] for item in listed] == ["visits: r1", "visits: r2"]
        assert outputs[-1]["content"] == {"execution_state": "idle"}

    async def nothing(talk: Talk, enclave: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream"]

    options = {"load_agreed": lambda: agreed_to(world.contract, world.digest)}
    tell(tmp_path, story, serve, mode="mock", **options)
    tell(tmp_path, nothing, serve, mode="confidential", **options)
