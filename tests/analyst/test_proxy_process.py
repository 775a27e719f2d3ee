"""The proxy as a process: exit codes, the parent watch, and a trust store that has no such entry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
time.sleep(60)
"""


def proxy_command(path: Path) -> list[str]:
    return [sys.executable, "-m", "cloister.analyst", "-f", str(path), "--entry", "nobody", "--mode", "confidential"]


def connection(tmp_path: Path) -> Path:
    return Path(write_connection_file(str(tmp_path / "connection.json"), key=b"secret")[0])


def test_unreadable_connection_file_ends_with_a_reason(tmp_path: Path) -> None:
    done = subprocess.run(proxy_command(tmp_path / "missing"), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "connection.file" in done.stderr


def test_the_proxy_does_not_outlive_its_parent(tmp_path: Path) -> None:
    env = {**os.environ, "CLOISTER_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PARENT, *proxy_command(connection(tmp_path))]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
    proxy = psutil.Process(int(parent.stdout.readline()))
    time.sleep(2)
    assert proxy.is_running()
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([proxy], timeout=10)
    assert not alive


def test_an_unknown_entry_is_refused_in_the_notebook_and_sigterm_ends_cleanly(tmp_path: Path) -> None:
    path = connection(tmp_path)
    env = {**os.environ, "CLOISTER_HOME": str(tmp_path)}
    process = subprocess.Popen(proxy_command(path), env=env, stderr=subprocess.DEVNULL)
    client = BlockingKernelClient(connection_file=str(path))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=20)
        reply = client.execute_interactive("1", timeout=20, output_hook=lambda message: None)
        assert "trust.unknown" in reply["content"]["evalue"]
        assert json.loads(path.read_text())["key"] == "secret"
    finally:
        client.stop_channels()
        process.terminate()
    assert process.wait(10) == 0
