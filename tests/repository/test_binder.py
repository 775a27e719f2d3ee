"""The Binder by its own steps: built from a copy of the repository as repo2docker builds it, opened, run, measured."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "notebooks"))

import executed  # noqa: E402 (the folder of its tests)

# Building an image takes minutes, and longer than a test usually may.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

MEMORY_MIB = 2048
NOTEBOOK_USER = 1000
TOKEN = "reader"
# What this test run has in its environment is not what a Binder has.
_OURS = ("CLOISTER", "JUPYTER", "PYTHON", "VIRTUAL_ENV", "PYTEST", "COVERAGE", "LD_", "CI")


class Binder:
    """A folder that plays the image: home, repository and environment of the notebook user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.venv = folder / "venv"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        self.env = {**kept, "HOME": str(folder / "home"), "PATH": path, "VIRTUAL_ENV": str(self.venv)}
        # Binder's user has no rights; a test that runs as root gives its own up.
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.user = {"user": NOTEBOOK_USER, "group": NOTEBOOK_USER, "extra_groups": []}

    def copy_repository(self) -> None:
        """Copy what a clone would have, with a tour that carries its receipts."""
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in filter(None, tracked.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.repository / name)
        shutil.copy2(executed.ready(executed.TOUR), self.repository / "notebooks" / executed.TOUR.name)
        (self.folder / "home").mkdir()
        if self.user:
            subprocess.run(["chown", "-R", f"{NOTEBOOK_USER}:{NOTEBOOK_USER}", str(self.folder)], check=True)

    def run(self, *command: str) -> str:
        """Run a command as the notebook user at the top of the repository; return what it printed."""
        done = subprocess.run(
            command, cwd=self.repository, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=600, check=False, **self.user,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}"
        return done.stdout

    def build(self) -> None:
        """Do what repo2docker does with ``binder/``."""
        version = (self.repository / "binder" / "runtime.txt").read_text().strip()
        assert version == "python-3.11"
        self.run(_interpreter(), "-m", "venv", str(self.venv))
        self.run("pip", "install", "--quiet", "--no-cache-dir", "-r", "binder/requirements.txt")
        self.run("binder/postBuild")

    def processes(self) -> list[psutil.Process]:
        """Return everything that runs in this image."""
        return [p for p in psutil.process_iter(["cmdline"]) if str(self.venv) in " ".join(p.info["cmdline"] or ())]


class Lab:
    """The server a Binder starts, and its kernels."""

    def __init__(self, binder: Binder, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = ["jupyter", "lab", "--ServerApp.open_browser=False", f"--ServerApp.port={port}"]
        self.log = binder.folder / "lab.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"],
                cwd=binder.repository, env=binder.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **binder.user,
            )  # fmt: skip
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"token {TOKEN}"}, timeout=60)
        for _ in range(600):
            with suppress(httpx.TransportError):
                self.http.get("/api/status").raise_for_status()
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-4000:])

    @contextmanager
    def open(self, path: str) -> Iterator[Kernel]:
        """Open a notebook as Lab does: a session with the kernel that its metadata names."""
        content = self.http.get(f"/api/contents/{path}").raise_for_status().json()["content"]
        wanted = {"name": content["metadata"]["kernelspec"]["name"]}
        ask = {"path": path, "name": Path(path).name, "type": "notebook", "kernel": wanted}
        session = self.http.post("/api/sessions", json=ask).raise_for_status().json()
        address = f"{self.url.replace('http', 'ws')}/api/kernels/{session['kernel']['id']}/channels?token={TOKEN}"
        with connect(address, max_size=None) as socket:
            yield Kernel(socket, [cell for cell in content["cells"] if cell["cell_type"] == "code"])

    def close(self) -> None:
        """Stop server and kernels."""
        self.process.terminate()
        self.process.wait(30)
        self.http.close()


class Kernel:
    """One kernel behind the server, and the cells of its notebook."""

    def __init__(self, socket: ClientConnection, cells: list[dict[str, Any]]) -> None:
        self.cells = {cell["id"]: cell for cell in cells}
        self._socket = socket

    def run_cell(self, name: str) -> str:
        """Run a cell of the notebook; return the texts it showed."""
        cell = self.cells[name]
        return self.run(cell["source"], may_raise="raises-exception" in cell["metadata"].get("tags", ()))

    def run(self, code: str, *, may_raise: bool = False) -> str:
        """Run code; return the texts it showed."""
        header = {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request", "session": "reader", "username": ""}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        shown = []
        while True:
            got = json.loads(self._socket.recv(timeout=120))
            if got["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            content = got["content"]
            assert may_raise or got["msg_type"] != "error", content
            shown.append(content.get("text", "") or content.get("data", {}).get("text/plain", ""))
            if got["msg_type"] == "status" and content["execution_state"] == "idle":
                return "\n".join(shown)


def _mebibytes(binder: Binder) -> float:
    """Return the memory of everything that runs, shared pages counted once."""
    return sum(process.memory_full_info().pss for process in binder.processes()) / 2**20


def _interpreter() -> str:
    """Return a Python 3.11 or newer that everybody may use."""
    for name in ("/usr/bin/python3.11", "/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        if (
            Path(name).exists()
            and subprocess.run([name, "-c", check], capture_output=True, check=False).returncode == 0
        ):
            return name
    raise AssertionError("no Python 3.11 with venv")


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    """A Binder, built."""
    # Not below pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="cloister-binder-"))
    folder.chmod(0o755)
    binder = Binder(folder)
    binder.copy_repository()
    binder.build()
    yield binder
    for process in binder.processes():
        process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lab(binder: Binder) -> Iterator[Lab]:
    """Its server."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    lab = Lab(binder, port)
    yield lab
    lab.close()


def test_kernels_and_extension_are_there(binder: Binder) -> None:
    specs = json.loads(binder.run("jupyter", "kernelspec", "list", "--json"))["kernelspecs"]
    assert {"cloister", "cloister-mock", "cloister-replay"} <= set(specs)
    listed = binder.run("jupyter", "labextension", "list")
    (line,) = [line for line in listed.splitlines() if "@cloister/lab" in line]
    assert "enabled" in line
    assert "OK" in line
    assert not (binder.repository / "extension" / "node_modules").exists()


def test_the_tour_is_replayed_and_runs_live_beside_it_within_binders_memory(binder: Binder, lab: Lab) -> None:
    saved = json.loads((binder.repository / "reading" / "01-tour.ipynb").read_text("utf-8"))
    (printed,) = [cell["outputs"][0]["text"] for cell in saved["cells"] if cell["id"] == "float"]
    with lab.open("reading/01-tour.ipynb") as replay, lab.open("notebooks/01-tour.ipynb") as live:
        for name in replay.cells:
            again = replay.run_cell(name)
            if name == "float":
                assert again.strip() == "".join(printed).strip()
        for name in live.cells:
            live.run_cell(name)
        assert "Replay" in replay.run("%cloister status")
        assert "Simulated" in live.run("%cloister status")
        used = _mebibytes(binder)
    print(f"server, replay kernel, live kernel, enclave and broker: {used:.0f} MiB (PSS)")
    assert used < MEMORY_MIB


def test_the_readers_link_opens_both_side_by_side(lab: Lab) -> None:
    saved = lab.http.get("/lab/api/workspaces/reading").raise_for_status().json()["data"]
    assert {name for name in saved if name.startswith("notebook:")} == {
        "notebook:reading/01-tour.ipynb",
        "notebook:notebooks/01-tour.ipynb",
    }
