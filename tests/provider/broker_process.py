"""The broker as a real process, for the worlds of these tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import httpx


class Process:
    """``python -m cloister.provider`` on a world's home; the world's vaults then talk to it over HTTP."""

    def __init__(self, world, *options: str) -> None:
        self.world = world
        self.log = world.directory / "broker.log"
        self.ready = world.directory / "ready.json"
        self.options = options
        self.client: httpx.Client | None = None
        self.start()

    def start(self) -> None:
        self.ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cloister.provider", "--home", str(self.world.home.directory)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "--ready", str(self.ready), *self.options], stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 20
        while not self.ready.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.state = json.loads(self.ready.read_text())
        if self.client is not None:
            self.client.close()
        self.client = httpx.Client(base_url=self.state["url"], timeout=20)
        self.world.broker = self

    def post(self, op: str, body: bytes) -> bytes:
        answer = self.client.post(f"/v1/{op}", content=body)
        answer.raise_for_status()
        return answer.content

    def __getattr__(self, name):
        if name in ("hello", "session", "append", "settle", "tip"):
            return lambda body: self.post(name, body)
        raise AttributeError(name)

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) in (0, -signal.SIGTERM)
        self.client.close()

    def kill(self) -> None:
        """Called from a timer's thread: the client, which the test's own thread is using, is left alone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
