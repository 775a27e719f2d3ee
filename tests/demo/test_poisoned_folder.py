"""A folder somebody sent: modules that lie beside the notebook are not run by the proxy, the demo or its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.analyst.kernelspecs import kernel_json

# Imported by the proxy, the demo, the agent or the broker, in this order.
NAMES = ("cloister", "msgspec", "zmq", "httpx", "websockets", "uvicorn", "sqlalchemy", "duckdb", "cryptography", "json")


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A folder with modules that tell when they are imported, and by which program."""
    folder = tmp_path / "sent"
    folder.mkdir()
    told = folder / "told"
    for name in NAMES:
        tell = (
            f"import sys\nwith open({str(told)!r}, 'a') as out:\n    out.write({name!r} + str(sys.orig_argv) + '\\n')\n"
        )
        (folder / f"{name}.py").write_text(tell)
    return folder


def told(folder: Path) -> str:
    path = folder / "told"
    return path.read_text() if path.exists() else ""


def test_the_poison_works(poisoned: Path) -> None:
    subprocess.run([sys.executable, "-c", "import msgspec"], cwd=poisoned, check=False, capture_output=True)
    assert "msgspec" in told(poisoned)


@pytest.mark.parametrize("mode", ["confidential", "mock"])
def test_the_proxy_imports_nothing_from_beside_the_notebook(poisoned: Path, tmp_path: Path, mode) -> None:
    spec = kernel_json("x", mode, "x")
    argv = [part.replace("{connection_file}", str(tmp_path / "none")) for part in spec["argv"]]
    env = {**os.environ, **spec["env"], "CLOISTER_HOME": str(tmp_path / "home")}
    subprocess.run(argv, cwd=poisoned, env=env, check=False, capture_output=True, timeout=60)
    assert told(poisoned) == ""


@pytest.mark.timeout(120)
def test_nor_does_the_demo_that_the_proxy_starts(poisoned: Path, tmp_path: Path) -> None:
    env = {**os.environ, "CLOISTER_HOME": str(tmp_path / "home"), "CLOISTER_DEMO_IDLE_S": "110"}
    ask = "import asyncio; from cloister.analyst.dial import _start_demo; asyncio.run(_start_demo())"
    run = {"cwd": poisoned, "env": env, "capture_output": True, "timeout": 100}
    try:
        begun = subprocess.run([sys.executable, "-P", "-c", ask], check=False, **run)
        assert told(poisoned) == ""
        assert begun.returncode == 0, begun.stderr.decode()
        state = json.loads((tmp_path / "home" / "demo" / "pair.json").read_text())
        for pid in state["children"]:
            os.kill(pid, 0)
    finally:
        subprocess.run([sys.executable, "-P", "-m", "cloister.demo", "down"], check=False, **run)
