"""A session without cryptography: a real bridge and a real ipykernel, on this machine.

``LocalSession`` has the members of ``cloister.analyst.dial.EnclaveSession``; what is missing is only the channel.
It stands where the agent stands: starts kernel and bridge, copies frames, reports when the kernel ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import UnavailableError
from cloister.wire import frames
from cloister.wire.frames import Frame, Kind

# The kernel application of the jail, without the jail.
_INNER = "import pathlib, sys; from cloister.enclave import inner; inner.build_app(pathlib.Path(sys.argv[1])).start()"


@dataclass(frozen=True)
class LocalVerdict:
    """What a test shows in place of an appraisal."""

    word: str = "Local test session"
    assurance: str = "simulated"
    status: str = "contraindicated"
    reasons: tuple[str, ...] = ("no enclave: a test session on this machine",)
    isolation: dict[str, str] = field(default_factory=lambda: {"level": "none"})
    time: str = "2026-11-21T00:00:00Z"


class LocalSession:
    """Kernel, bridge and the agent's end of the socketpair."""

    def __init__(self, directory: Path, kernel: subprocess.Popen[bytes], bridge: subprocess.Popen[bytes]) -> None:
        self.verdict = LocalVerdict()
        self.directory = directory
        self.kernel = kernel
        self.bridge = bridge
        self._decoder = frames.Decoder()
        self._frames: deque[Frame] = deque()
        self._arrived = asyncio.Event()
        self._lost: str | None = None

    @classmethod
    async def open(cls) -> LocalSession:
        """Start an ipykernel on ipc sockets with an empty key, and the bridge to it."""
        session, ours = cls._start()
        await session._listen(ours)
        return session

    @classmethod
    def _start(cls) -> tuple[LocalSession, socket.socket]:
        directory = Path(tempfile.mkdtemp(prefix="cloister-local-"))
        connection = directory / "kernel.json"
        ports = {f"{name}_port": at for at, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
        connection.write_text(json.dumps({"transport": "ipc", "ip": str(directory / "k"), "key": "", **ports}))
        kernel = subprocess.Popen([sys.executable, "-c", _INNER, str(connection)])
        ours, theirs = socket.socketpair()
        bridge_command = (sys.executable, "-m", "cloister.enclave.bridge")
        bridge = subprocess.Popen(
            [*bridge_command, "--connection-file", str(connection), "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        if where := os.environ.get("CLOISTER_TEST_PIDS"):
            Path(where).write_text(json.dumps({"kernel": kernel.pid, "bridge": bridge.pid}))
        return cls(directory, kernel, bridge), ours

    async def send(self, kind: int, *parts: bytes) -> None:
        """Send one frame to the bridge."""
        if self._lost:
            raise UnavailableError("session.lost", self._lost)
        if kind == Kind.EVENT:  # for the agent, of which there is none
            error = {"kind": "unavailable", "code": "vault.died", "reason": "there is none"}
            event = {**json.loads(parts[0]), "error": error}
            self.inject(Frame(Kind.EVENT, (json.dumps(event).encode(),)))
            return
        try:
            self._writer.write(frames.encode(kind, *parts))
            await self._writer.drain()
        except ConnectionError as error:
            # The bridge is gone, and who reads from it has not noticed yet.
            raise UnavailableError("session.lost", "the connection ended", next_step="restart the kernel") from error

    async def receive(self) -> Frame:
        """Return the next frame of the bridge."""
        while not self._frames:
            if self._lost:
                raise UnavailableError("session.lost", self._lost, next_step="restart the kernel")
            self._arrived.clear()
            await self._arrived.wait()
        return self._frames.popleft()

    async def close(self) -> None:
        """Stop both processes."""
        self._watch.cancel()
        self._reading.cancel()
        self._writer.close()
        for process in (self.kernel, self.bridge):
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def inject(self, frame: Frame) -> None:
        """Let the agent say something."""
        self._frames.append(frame)
        self._arrived.set()

    async def _listen(self, ours: socket.socket) -> None:
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
        self._reading = asyncio.create_task(self._read(reader))
        self._watch = asyncio.create_task(self._watch_kernel())

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(2**20):
                for frame in self._decoder.feed(data):
                    self.inject(frame)
        except ConnectionError:
            pass
        self._lost = "the bridge ended"
        self._arrived.set()

    async def _watch_kernel(self) -> None:
        # A descriptor of the process becomes readable when it ends; no polling, no threads.
        fd = os.pidfd_open(self.kernel.pid)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, ended.set)
        try:
            await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
        event = {"type": "kernel", "state": "died", "reason": f"exit status {self.kernel.wait()}"}
        self.inject(Frame(Kind.EVENT, (json.dumps(event).encode(),)))
