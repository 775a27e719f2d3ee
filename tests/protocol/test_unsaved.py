"""From a result that may not be saved on, everything a session shows has a mark, and no file leaves the sandbox.

At the end a real Jupyter server saves what a real proxy showed, and the bytes of its files are looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nbformat.v4
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there
sys.path.insert(0, str(Path(__file__).parents[1] / "vault"))  # and the mutants there

from mutants import mutated
from nbclient import NotebookClient
from scripted import ScriptedEnclave, Talk, talking_to
from signed_world import World
from tiered import VALUE, Book
from tornado.web import HTTPError

from cloister.analyst import events, lines, relay, server_extension, unsaved
from cloister.analyst.agreed import Agreed
from cloister.analyst.messages import Message
from cloister.contract import packs
from cloister.contract.clauses import PackTerms
from cloister.wire.frames import Kind

Outputs = list[dict[str, Any]]
PROMISE = "CLOISTER_STRIPS_SAVED"
Story = Callable[[Talk, ScriptedEnclave], Any]
EARLIER = ("stream", {"name": "stdout", "text": "earlier"})
STRICT = World(terms={"pack": PackTerms("beijing-4", packs.load("beijing-4").digest)})
CONFIG = Path(__file__).parents[2] / "kernel" / "jupyter_server_config" / "cloister.json"


@pytest.fixture(autouse=True)
def promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a program had started the proxy that strips what it saves."""
    monkeypatch.setenv(PROMISE, "1")


def play(
    tmp_path: Path,
    story: Story,
    *outputs: Any,
    receipt: bool = True,
    reply: Any = None,
    book: Any = None,
    **options: Any,
) -> Any:
    """Run a story against an enclave: a cell ``release`` has a receipt first, and every cell but ``before`` outputs."""

    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        code = json.loads(request.content).get("code", "")
        if code == "release":
            enclave.event(type="cards", cards=[msgspec.to_builtins(STRICT.card)])
            parent = json.loads(request.header)["msg_id"]
            enclave.event(type="receipt", receipt={"good": receipt}, parent=parent)
        enclave.publish("status", {"execution_state": "busy"}, request.header)
        for msg_type, content in outputs if code != "before" else [EARLIER]:
            if msg_type == "input_request":
                enclave._compose(Kind.STDIN, msg_type, content, request.header, request.idents)
            else:
                enclave.publish(msg_type, content, request.header)
        enclave.reply(request, "execute_reply", {"status": "ok", "execution_count": 1, **(reply or {})})
        enclave.publish("status", {"execution_state": "idle"}, request.header)

    async def run() -> Any:
        enclave = ScriptedEnclave(serve)
        async with talking_to(enclave, tmp_path, lambda session, cards: book or Book(), **options) as talk:
            return await story(talk, enclave)

    return asyncio.run(run())


def shown(outputs: Outputs) -> list[tuple[str, bool]]:
    """The outputs a notebook gets, and which of them have a mark."""
    kinds = [one for one in outputs if one["msg_type"] not in ("status", "execute_input")]
    return [(one["msg_type"], "unsaved" in one["content"].get("metadata", {}).get("cloister", {})) for one in kinds]


def cells(tmp_path: Path, *outputs: Any, **options: Any) -> list[list[tuple[str, bool]]]:
    """What a notebook gets of three cells, the second of which has the receipt."""

    async def story(talk: Talk, _: ScriptedEnclave) -> list[list[tuple[str, bool]]]:
        return [shown((await talk.run(code))[1]) for code in ("before", "release", "later")]

    return play(tmp_path, story, *outputs, **options)


STREAM = ("stream", {"name": "stdout", "text": VALUE})
RESULT = ("execute_result", {"data": {"text/plain": VALUE}, "metadata": {"mine": 1}, "execution_count": 1})
UPDATE = ("update_display_data", {"data": {}, "metadata": {}, "transient": {"display_id": "of an earlier cell"}})
ERROR = ("error", {"ename": "E", "evalue": VALUE, "traceback": []})
CLEAR = ("clear_output", {"wait": True})
WIDGET = ("comm_msg", {"comm_id": "w", "data": {"method": "update", "state": {"value": VALUE}}})


def check_marks(tmp_path: Path) -> None:
    before, release, later = cells(tmp_path, STREAM, RESULT, UPDATE)
    assert before == [("stream", False)]
    for marked in (release, later):
        assert marked[:4] == [
            ("display_data", True), ("stream", False), ("execute_result", True), ("update_display_data", True)
        ]  # fmt: skip
    for other in (ERROR, WIDGET):
        assert cells(tmp_path, other)[2] == [("display_data", True), (other[0], False)]
    _, release, _ = cells(tmp_path, STREAM, CLEAR, STREAM)
    stream, mark = ("stream", False), ("display_data", True)
    assert release[:5] == [mark, stream, ("clear_output", False), mark, stream]


def check_withheld(tmp_path: Path) -> None:
    # Nobody promised to strip what is saved, so it is not shown: one placeholder in a cell, and no chip.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(PROMISE)
        before, release, later = cells(tmp_path, STREAM, RESULT, UPDATE, ERROR, WIDGET)
        prompt = cells(tmp_path, ("input_request", {"prompt": VALUE, "password": False}))[2]
    assert before == [("stream", False)]
    assert release == later == prompt == [("display_data", False)]


def check_unknown(tmp_path: Path) -> None:
    # Nobody can say of which tier a result is whose receipt does not verify, and the sandbox has it all the same.
    agreed = Agreed(STRICT.terms, STRICT.digest)
    _, _, later = cells(tmp_path, STREAM, receipt=False, load_agreed=lambda: agreed)
    assert later == [("display_data", True), ("stream", False)]
    assert cells(tmp_path, STREAM, receipt=False)[2] == [("stream", False)]
    # In a replay everything came out of a file.
    replayed = Book()
    replayed.from_file = True
    again = cells(tmp_path, STREAM, receipt=False, load_agreed=lambda: agreed, book=replayed)
    assert again[2] == [("stream", False)]


def check_files(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> tuple[list[str], int]:
        said = []
        for line in ("%cloister get x", "release", "%cloister get x"):
            reply, _ = await talk.run(line)
            said.append(str(reply.get("evalue", "")))
        return said, sum(asked["type"] == "get" for asked, _ in enclave.asked)

    (early, _, late), asked = play(tmp_path, story, STREAM)
    assert "file.tier" not in early
    assert "file.tier" in late
    assert asked == 1


def check_sources(tmp_path: Path) -> None:
    next_input, page = {"source": "set_next_input", "text": f"x = {VALUE}"}, {"source": "page", "data": {}}

    async def story(talk: Talk, _: ScriptedEnclave) -> list[Any]:
        return [(await talk.run(code))[0]["payload"] for code in ("before", "release")]

    said = play(tmp_path, story, reply={"payload": [next_input, page]})
    assert said == [[next_input, page], [page]]


def check_prompts(tmp_path: Path) -> None:
    assert cells(tmp_path, ("input_request", {"prompt": VALUE, "password": False}))[2] == [("display_data", True)]


CHECKS = {
    "prompts": check_prompts,
    "marks": check_marks,
    "withheld": check_withheld,
    "unknown": check_unknown,
    "files": check_files,
    "sources": check_sources,
}


@pytest.mark.parametrize("name", CHECKS)
def test_after_such_a_result(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)


MUTANTS = [
    ("marks", relay, "if (marked := self._marks.put(header.msg_type, message)) is not None:",
     "if (marked := message) is not None:"),
    ("withheld", unsaved, "if not self._stripped:", "if False:"),
    ("withheld", relay, "if facts := self._marks.shown(self._events.take_releases(msg_id)):",
     "if facts := self._events.take_releases(msg_id):"),
    ("marks", unsaved, "self._marked.pop(message.parent, None)", "pass"),
    ("marks", unsaved, "message if msg_type not in _WITH_METADATA else _with_mark(message, why)", "message"),
    ("marks", unsaved, '"stream", "error", "comm_open", "comm_msg", "input_request")', '"stream", "error")'),
    ("prompts", relay, "self._show(Kind.STDIN, header, message)",
     "self._front.relay(Kind.STDIN, message, header.msg_type)"),
    ("unknown", events, "self._receipts.from_file", "False"),
    ("unknown", events, "found = unsaved(self._agreement.get().contract, None)", "found = None"),
    ("files", lines, "self._check_file()\n        self._check", "self._check"),
    ("sources", relay, "return self._marks.without_texts(message), status", "return message, status"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_each_mark_is_needed(number: int, tmp_path: Path) -> None:
    name, *mutant = MUTANTS[number]
    with mutated(*mutant), pytest.raises(AssertionError):
        CHECKS[name](tmp_path)


# Files of a real Jupyter server ----------------------------------------------------------------------


class Server:
    """A Jupyter server with the configuration that the package installs, or without it."""

    def __init__(self, root: Path, *, installed: bool = True) -> None:
        self.root, self._token = root / "notebooks", secrets.token_hex(16)
        self.root.mkdir(parents=True)
        config = root / "config" / "jupyter_server_config.d"
        config.mkdir(parents=True)
        if installed:
            shutil.copy(CONFIG, config)
        else:
            (config / CONFIG.name).write_text(CONFIG.read_text().replace("true", "false"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", f"--port={self._port}", "--allow-root"]
        options = [f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}"]
        inherited = {name: value for name, value in os.environ.items() if name != PROMISE}
        env = {**inherited, "JUPYTER_RUNTIME_DIR": str(root / "runtime"), "CLOISTER_HOME": str(root / "home")}
        # This folder's word goes before that of the environment, in which the package is installed.
        env |= {"JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTER_PREFER_ENV_PATH": "0"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([*command, *options, "--ServerApp.port_retries=0"], env=env, **quiet)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                self.ask("GET", "status")
                return
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer of a request to the server's API."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
            connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None

    def save(self, name: str, notebook: Any, path: str = "contents") -> int:
        return self.ask("PUT", f"{path}/{name}", {"type": "notebook", "format": "json", "content": notebook})[0]

    def files_with(self, text: bytes) -> set[str]:
        """The files under the server's folder that hold a text, hidden ones and checkpoints included."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)) for path in found if text in path.read_bytes()}

    def children(self) -> list[psutil.Process]:
        """The processes of its kernels."""
        return psutil.Process(self._process.pid).children()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(15)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.close()


CELLS = (
    "print('kept')",
    "2+2  # cloister-release",
    f"x = '{VALUE[:4]}' + '{VALUE[4:]}'\nprint(x)",
    "x",
    "from IPython.display import display\nshown = display(x, display_id=True)",
    "shown.update('again ' + x)",
    "1/0 if x else 0  # the traceback names it: see the next",
    "raise ValueError(x)",
)


@pytest.fixture(scope="module")
def ran(kernelspecs: Path) -> Any:
    """The notebook as a front end holds it after a real proxy and a real kernel have run it."""
    argv = [sys.executable, str(Path(__file__).parent / "tiered.py"), "-f", "{connection_file}"]
    env = {PROMISE: "1"}
    spec = {"argv": argv, "display_name": "tiered", "language": "python", "interrupt_mode": "message", "env": env}
    folder = kernelspecs / "kernels" / "cloister-tiered"
    folder.mkdir()
    (folder / "kernel.json").write_text(json.dumps(spec))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    NotebookClient(notebook, kernel_name="cloister-tiered", timeout=60, allow_errors=True).execute()
    return notebook


def test_no_byte_of_it_is_in_any_file_that_a_server_writes(server: Server, ran: Any) -> None:
    assert VALUE in json.dumps(ran), "the front end shows it"
    value, kept = VALUE.encode(), b"kept"
    assert server.save("work.ipynb", ran) == 201
    assert server.ask("POST", "contents/work.ipynb/checkpoints")[0] == 201
    assert server.save("work.ipynb", ran) == 200, "autosave is a save"
    status, copy = server.ask("POST", "contents/", {"copy_from": "work.ipynb"})
    assert status == 201
    assert server.ask("PATCH", f"contents/{copy['path']}", {"path": "renamed.ipynb"})[0] == 200
    assert server.ask("POST", "contents/work.ipynb/checkpoints/checkpoint")[0] == 204
    assert server.files_with(value) == set()
    saved = server.files_with(kept)
    assert {"work.ipynb", "renamed.ipynb"} < saved
    assert any("checkpoint" in name for name in saved)
    written = nbformat.read(server.root / "work.ipynb", 4)
    nbformat.validate(written)
    texts = [cell.outputs[0].data["text/plain"] if index else "" for index, cell in enumerate(written.cells)
             if cell.outputs]  # fmt: skip
    assert all("Not in this file" in text for text in texts[1:])
    assert [len(cell.outputs) for cell in written.cells] == [1, 1, 0 + 1, 1, 1, 1, 1, 1]
    # Read from the file it shows what the file holds.
    status, model = server.ask("GET", "contents/work.ipynb")
    assert status == 200
    assert VALUE not in json.dumps(model)


def test_a_notebook_that_cannot_be_looked_at_is_not_saved(server: Server, ran: Any) -> None:
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": ran["cells"]}]}
    assert server.save("old.ipynb", old) == 400
    assert not (server.root / "old.ipynb").exists()
    assert server.files_with(VALUE.encode()) == set()


def test_kernels_know_whether_their_server_strips(server: Server) -> None:
    assert server.ask("POST", "kernels", {"name": "python3"})[0] == 201
    assert {process.environ().get(PROMISE) for process in server.children()} == {"1"}


def test_without_the_extension_it_would_be_there(tmp_path: Path, ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROMISE)
    bare = Server(tmp_path, installed=False)
    try:
        assert bare.ask("POST", "kernels", {"name": "python3"})[0] == 201
        assert {process.environ().get(PROMISE) for process in bare.children()} == {None}
        assert bare.save("work.ipynb", ran) == 201
        assert {Path(name).parent.name for name in bare.files_with(VALUE.encode())} == {"", ".ipynb_checkpoints"}
    finally:
        bare.close()


def test_whatever_fails_in_the_hook_fails_the_save(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(notebook: Any) -> int:
        raise RecursionError

    monkeypatch.setattr(server_extension.storing, "strip", broken)
    with pytest.raises(HTTPError, match="not saved"):
        server_extension.before_save({"type": "notebook", "content": {}})
    server_extension.before_save({"type": "file", "content": "x"})
