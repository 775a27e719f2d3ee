"""Kernels for attack tests: one in the jail, one without, and what is around them to attack."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

CANARY = "canary-7f3a9c51e2"

_VICTIM = """
import ctypes, json, os, signal, sys, time
signal.signal(signal.SIGURG, signal.SIG_IGN)
secret = ctypes.create_string_buffer(b"memory-" + os.environ["CLOISTER_CANARY"].encode())
libc = ctypes.CDLL(None)
segment = libc.shmget(0, 4096, 0o1600)
print(json.dumps({"pid": os.getpid(), "address": ctypes.addressof(secret), "segment": segment}), flush=True)
sys.stdin.read()
libc.shmctl(segment, 0, None)
"""


@contextmanager
def surroundings() -> Iterator[dict[str, Any]]:
    """What a machine with a Cloister on it looks like to an attacker.

    A process of the same user that stands for vault and agent (secret in memory, environment and shared memory),
    a state folder with capsule, keys and accounts, and listening sockets of a desktop.
    """
    with tempfile.TemporaryDirectory(prefix="cl-") as folder:
        state = Path(folder)
        for name in (
            "enclave/simulator.key",
            "demo/capsules/part-0.parquet",
            "demo/ledger.sqlite",
            "trust/entries.json",
        ):
            path = state / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"file-{CANARY}")
        (state / "mnt").mkdir()
        listeners = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        names = [str(state / "X0"), str(state / "bus"), str(state / "docker.sock"), f"\0{state.name}-abstract"]
        for listener, name in zip(listeners, names, strict=True):
            listener.bind(name)
            listener.listen(64)
        tcp, udp, datagram = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM), None
        udp.bind(("127.0.0.1", 0))
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        datagram.bind(str(state / "notify"))
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM],
            env={**os.environ, "CLOISTER_CANARY": CANARY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert victim.stdout is not None
            facts = json.loads(victim.stdout.readline())
            yield {
                "VICTIM": facts["pid"],
                "ADDRESS": facts["address"],
                "SEGMENT": facts["segment"],
                "STATE": str(state),
                "ABSTRACT": names[3],
                "TCP": tcp.getsockname()[1],
                "UDP": udp.getsockname()[1],
                "CANARY": CANARY,
            }
        finally:
            assert victim.stdin is not None
            victim.stdin.close()
            victim.wait(10)
            for opened in (*listeners, tcp, udp, datagram):
                opened.close()


class Kernel:
    """A running kernel; ``run`` executes a cell and returns what came back."""

    def __init__(self, client: BlockingKernelClient, process: subprocess.Popen[bytes] | None = None) -> None:
        self.client = client
        self.process = process
        self.isolation: dict[str, Any] = {}
        self.work = Path()
        self.link: socket.socket | None = None

    def run(self, code: str, *, timeout: float = 20, **options: Any) -> dict[str, Any]:
        got: dict[str, Any] = {"stdout": "", "stderr": "", "data": [], "error": None}

        def hook(message: dict[str, Any]) -> None:
            content, kind = message["content"], message["msg_type"]
            if kind == "stream":
                got[content["name"]] += content["text"]
            elif kind in {"execute_result", "display_data"}:
                got["data"].append(content["data"])
            elif kind == "error":
                got["error"] = content

        reply = self.client.execute_interactive(code, output_hook=hook, timeout=timeout, **options)
        got["status"] = reply["content"]["status"]
        return got

    @property
    def alive(self) -> bool:
        return self.run("print(6 * 7)")["stdout"] == "42\n"


@contextmanager
def jail(
    *arguments: str, work: Path | None = None, missing: str = "", wrapper: tuple[str, ...] = ()
) -> Iterator[Kernel]:
    """A sandbox as the agent starts it, with a client on its ipc sockets.

    ``missing`` is a statement that takes a feature of the kernel away before the jail asks for it.
    """
    with tempfile.TemporaryDirectory(prefix="cj-") as folder:
        Path(folder).chmod(0o711)  # an own uid has to pass through
        work = work or Path(folder) / "w"
        work.mkdir(mode=0o700, exist_ok=True)
        connection = work / "connection.json"
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        decoy = os.open("/etc/hostname", os.O_RDONLY)  # an inherited descriptor the jail must close
        os.set_inheritable(decoy, True)
        process = subprocess.Popen(
            [
                *wrapper,
                *_command(missing),
                *("--work", str(work)),
                *("--connection-file", str(connection), "--link-fd", str(theirs.fileno())),
                *("--report-fd", str(writing), *arguments),
            ],
            pass_fds=(theirs.fileno(), writing, decoy),
            env={} if missing else {**os.environ, "CLOISTER_CANARY": CANARY},
        )
        for descriptor in (writing, decoy):
            os.close(descriptor)
        theirs.close()
        client = BlockingKernelClient()
        try:
            with os.fdopen(reading) as report:
                line = json.loads(report.readline() or '{"error": "the jail said nothing"}')
            if "isolation" not in line:
                raise RuntimeError(line["error"])
            client.load_connection_file(str(connection))
            client.start_channels()
            client.wait_for_ready(timeout=60)
            kernel = Kernel(client, process)
            kernel.isolation, kernel.work, kernel.link = line["isolation"], work, ours
            yield kernel
        finally:
            client.stop_channels()
            process.kill()
            process.wait(10)
            ours.close()


def _command(missing: str) -> tuple[str, ...]:
    if not missing:
        return (sys.executable, "-m", "cloister.enclave.jail")
    program = (
        "import sys; from cloister.confine import landlock, seccomp; from cloister.enclave import jail; "
        f"{missing}; jail.main(sys.argv[1:])"
    )
    # with the flags and the empty environment it would start itself with, it does not start itself again
    return (sys.executable, "-E", "-P", "-B", "-c", program)


@contextmanager
def plain() -> Iterator[Kernel]:
    """An ordinary ipykernel of the same user: the control in which every attack must succeed."""
    with tempfile.TemporaryDirectory(prefix="cp-") as folder:
        manager = KernelManager()
        decoy = os.open("/etc/hostname", os.O_RDONLY)
        env = {**os.environ, "CLOISTER_CANARY": CANARY, "CLOISTER_LINK_FD": "1"}
        manager.start_kernel(env=env, pass_fds=(decoy,), cwd=folder)  # attacks leave files behind
        os.close(decoy)
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=60)
            yield Kernel(client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
