"""The whole thing, as a user has it: a state folder of its own, the demo parties, real kernels and commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
from jupyter_client import KernelManager


class Demo:
    """One user's Cloister: starts kernels, runs commands, finds the processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "CLOISTER_HOME": str(home), "CLOISTER_DEMO_IDLE_S": "20"}

    def command(self, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run ``cloister ARGUMENTS``."""
        return subprocess.run(
            [sys.executable, "-c", "from cloister.cli import main; main()", *arguments],
            env=self.env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def kernel(self, name: str = "cloister", **env: str) -> Kernel:
        """Start a kernel and wait until it answers."""
        return Kernel(name, {**self.env, **env})

    def pair(self) -> dict:
        """Say how to reach the running pair."""
        return json.loads((self.home / "demo" / "pair.json").read_text())

    def processes(self, part: str) -> list[psutil.Process]:
        """Return the pair's processes whose command line names ``part`` (``cloister.vault``)."""
        supervisor = psutil.Process(self.pair()["pid"])
        return [p for p in supervisor.children(recursive=True) if part in " ".join(p.cmdline())]


class Kernel:
    """A kernel and its client; ``run`` returns what a cell printed and raises what it raised."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(env=env)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def messages(self, code: str, timeout: float = 120) -> tuple[dict, list[dict]]:
        """Run a cell; return its reply content and every iopub message."""
        seen: list[dict] = []
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=seen.append, allow_stdin=False)
        return reply["content"], seen

    def run(self, code: str, timeout: float = 120) -> str:
        """Run a cell and return the text of its streams and result."""
        reply, seen = self.messages(code, timeout)
        if reply["status"] != "ok":
            raise CellError(reply)
        texts = [m["content"]["text"] for m in seen if m["msg_type"] == "stream"]
        texts += [m["content"]["data"].get("text/plain", "") for m in seen if m["msg_type"] == "execute_result"]
        return "".join(texts)

    def close(self) -> None:
        """Stop the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CellError(Exception):
    """A cell failed; ``content`` is its reply."""

    def __init__(self, content: dict) -> None:
        super().__init__(content.get("evalue"))
        self.content = content
