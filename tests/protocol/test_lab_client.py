"""JupyterLab's own client (``@jupyterlab/services``) through a real Jupyter server.

Needs Node; its packages are installed from the committed lock file into the source tree on first use.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parent / "labclient"
INSTALL_TIMEOUT_S = 240
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@pytest.fixture(scope="module")
def packages() -> None:
    """Install the locked packages once."""
    marker = CLIENT / "node_modules" / ".package-lock.json"
    lock = CLIENT / "package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=CLIENT, check=True, timeout=INSTALL_TIMEOUT_S, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server(kernelspecs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A Jupyter server of its own: address and token."""
    token, root = secrets.token_hex(16), tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", f"--port={port}", "--allow-root"]
    options = [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}", "--ServerApp.port_retries=0"]
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTER_RUNTIME_DIR": str(root / "runtime")}
    process = subprocess.Popen([*command, *options], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait_for(f"{url}api/status?token={token}", process)
        yield url, token
    finally:
        process.terminate()
        process.wait(15)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the Jupyter server did not start")


def drive(server: tuple[str, str], kernel: str, scenario: str) -> dict[str, Any]:
    command = ["node", "client.mjs", *server, kernel, scenario]
    done = subprocess.run(command, check=False, cwd=CLIENT, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_lab_client_with_an_enclave(packages: None, server: tuple[str, str]) -> None:
    seen = drive(server, "cloister-local", "alive")
    assert seen["info"]["cloister"]["version"]
    assert seen["subshellSupport"] is True
    assert [kind for kind, _ in seen["hello"]["outputs"]].count("stream") == 1
    assert seen["hello"]["reply"]["status"] == "ok"
    assert "lab" in json.dumps(seen["input"]["outputs"])
    assert "zip" in seen["complete"]["matches"]
    assert seen["comm"] == {"data": {"n": 3}, "bytes": [3, 2, 1]}
    assert seen["status"]["data"]["word"] == "Local test session"
    assert seen["status"]["ms"] < 1000
    assert seen["statusWhileRunning"] == "busy"
    assert seen["interrupted"]["reply"]["ename"] == "KeyboardInterrupt"
    assert seen["subshells"] is True
    assert seen["restarted"]["reply"]["ename"] == "NameError"


def test_lab_client_with_a_refused_enclave(packages: None, server: tuple[str, str]) -> None:
    seen = drive(server, "cloister-refused", "gone")
    assert seen["info"]["cloister"]["state"] in ("dialling", "refused")
    assert seen["cell"]["reply"]["ename"] == "TrustError"
    assert seen["cell"]["ms"] < 1000
    assert "appraisal.measurement" in json.dumps(seen["cell"]["outputs"])
    assert "refused" in json.dumps(seen["command"]["outputs"])
    assert seen["widgetClosed"] is True
