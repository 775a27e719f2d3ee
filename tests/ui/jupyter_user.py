"""One Jupyter user: an own Cloister, own notebooks and settings, a real JupyterLab and a real Notebook 7."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import nbformat.v4
import psutil

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
START_S = 90
_CLI = "from cloister.cli import main; main()"
# What each application is started as, and where it shows a notebook.
_APPLICATIONS = {
    "lab": ("jupyterlab", "lab/tree/{path}?reset"),
    "notebook": ("notebook", "notebooks/{path}"),
}


class JupyterUser:
    """A person with a folder of notebooks; everything is below ``root`` and goes away with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "cloister"
        self.notebooks = root / "work"
        self.settings = root / "settings"
        self.notebooks.mkdir(parents=True)
        self.forget_choices()
        # Both applications read it: `window.jupyterapp` is how tests give commands and see that a page is ready.
        page = root / "config" / "labconfig" / "page_config.json"
        page.parent.mkdir(parents=True)
        page.write_text(json.dumps({"exposeAppInBrowser": True}))
        self.env = {
            **os.environ,
            "CLOISTER_HOME": str(self.home),
            "CLOISTER_DEMO_IDLE_S": "30",
            "HOME": str(root),
            "JUPYTER_CONFIG_DIR": str(root / "config"),
            "JUPYTER_DATA_DIR": str(root / "data"),
            "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def command(self, *arguments: str, timeout: float = 180, **env: str) -> str:
        """Run ``cloister ARGUMENTS`` as this user and return what it printed.

        Raises:
            AssertionError: It failed; the message is what it said.
        """
        done = subprocess.run(
            [sys.executable, "-c", _CLI, *arguments],
            env={**self.env, **env}, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"cloister {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def notebook(self, name: str, kernel: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells; return its path for the browser."""
        content = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        )
        nbformat.write(content, self.notebooks / name)
        return name

    def copy(self, source: Path, name: str = "", kernel: str = "") -> str:
        """Put a copy of a notebook, without outputs, into the folder."""
        target = self.notebooks / (name or source.name)
        shutil.copyfile(source, target)
        if kernel:
            content = self.read(target.name)
            content["metadata"]["kernelspec"]["name"] = kernel
            target.write_text(json.dumps(content))
        return target.name

    def read(self, name: str) -> dict[str, Any]:
        """Return a saved notebook."""
        content: dict[str, Any] = json.loads((self.notebooks / name).read_text("utf-8"))
        return content

    def choose(self, plugin: str, **settings: Any) -> None:
        """Write user settings of a Lab plugin (``@jupyterlab/apputils-extension:themes``)."""
        package, _, name = plugin.partition(":")
        folder = self.settings / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jupyterlab-settings").write_text(json.dumps(settings))

    def forget_choices(self) -> None:
        """Go back to the default settings, without the question about news."""
        shutil.rmtree(self.settings, ignore_errors=True)
        self.choose("@jupyterlab/apputils-extension:notification", fetchNews="false", checkForUpdates=False)

    def pair(self) -> dict[str, Any]:
        """Say how to reach the running pair."""
        state: dict[str, Any] = json.loads((self.home / "demo" / "pair.json").read_text())
        return state

    def kill_enclave(self) -> None:
        """Kill the agent, as a power cut at the enclave would."""
        for process in psutil.Process(self.pair()["pid"]).children(recursive=True):
            # A process that ended meanwhile has no command line.
            with contextlib.suppress(psutil.Error):
                if "cloister.enclave --config" in " ".join(process.cmdline()):
                    process.kill()


class Application:
    """A running ``jupyter lab`` or ``jupyter notebook`` of a user."""

    def __init__(self, user: JupyterUser, kind: str) -> None:
        self.user, self.kind = user, kind
        module, self._where = _APPLICATIONS[kind]
        self._token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{_free_port()}"
        self.log = user.root / f"{kind}.log"
        options = [
            f"--port={self.url.rpartition(':')[2]}",
            "--ServerApp.port_retries=0",
            "--ServerApp.open_browser=False",
            "--ExtensionApp.open_browser=False",
            "--allow-root",
            f"--IdentityProvider.token={self._token}",
            f"--ServerApp.root_dir={user.notebooks}",
        ]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *options],
                env=user.env, cwd=user.notebooks, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"token {self._token}"}, timeout=30)
        self._wait()

    def address(self, path: str) -> str:
        """Return the address that opens a notebook."""
        where = self._where.format(path=path)
        return f"{self.url}/{where}{'&' if '?' in where else '?'}token={self._token}"

    def end_kernels(self) -> None:
        """Shut down every session, as closing the notebooks for good would."""
        for session in self.http.get("/api/sessions").json():
            self.http.delete(f"/api/sessions/{session['id']}")
        for kernel in self.http.get("/api/kernels").json():
            self.http.delete(f"/api/kernels/{kernel['id']}")

    def close(self) -> None:
        """Stop the server."""
        self.http.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.http.get("/api/status").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        self.close()
        raise AssertionError(f"{self.kind} did not start: {self.log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
