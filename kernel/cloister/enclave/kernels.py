"""One notebook's processes: the jailed kernel and its bridge, joined to the agent by three socketpairs."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from cloister.enclave import isolation, processes
from cloister.enclave.files import SandboxFiles
from cloister.enclave.pipes import Pipe
from cloister.errors import UnavailableError
from cloister.plan.link import MAX_REQUEST
from cloister.wire import frames
from cloister.wire.frames import Frame

START_TIMEOUT_S = 60.0
_REPORT_LIMIT = 64 * 1024
_WORK = "work"
_HOME = "home"  # where the jail puts notebook code, below its work folder
_LOGGED = 4000
_log = logging.getLogger("cloister.enclave")
_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


class KernelProcesses:
    """A running sandbox and bridge. ``isolation`` is what the jail reports it reached; ``files`` is its folder."""

    def __init__(
        self,
        folder: Path,
        files: SandboxFiles,
        sandbox: processes.Child,
        bridge: processes.Child,
        *,
        bus: Pipe,
        link: Pipe,
    ) -> None:
        self.files = files
        self.sandbox = sandbox
        self.bridge = bridge
        self.isolation: dict[str, Any] = {}
        self._folder = folder
        self._bus = bus
        self._link = link

    @classmethod
    async def start(cls, folder: Path, *, plain: bool = False) -> KernelProcesses:
        """Start both processes in the fresh folder ``folder`` and wait until the sandbox is confined.

        ``plain`` starts an ordinary ipykernel without any isolation, which only a test's configuration asks for.

        Raises:
            UnavailableError: A process did not start, or the sandbox could not be confined.
        """
        work = folder / _WORK
        (work / "ipc").mkdir(mode=0o700, parents=True)
        connection = folder / "connection.json"
        connection.write_text(json.dumps(_connection(work)))
        bus, bus_child = await Pipe.open()
        # A plan is small; nothing else comes from the sandbox over the link.
        link, link_child = await Pipe.open(limit=MAX_REQUEST + 4096)
        report, report_child = await Pipe.open()
        try:
            with bus_child, link_child, report_child:
                sandbox = await processes.start(
                    "sandbox",
                    _sandbox(work, connection, link_child.fileno(), report_child.fileno(), plain=plain),
                    fds=(link_child.fileno(), report_child.fileno()),
                    cwd=work,
                    env=processes.clean_environment(work, CLOISTER_LINK_FD=str(link_child.fileno())),
                    log=folder / "sandbox.log",
                )
                bridge = await processes.start(
                    "bridge",
                    (
                        "-m",
                        "cloister.enclave.bridge",
                        "--connection-file",
                        str(connection),
                        "--fd",
                        str(bus_child.fileno()),
                    ),
                    fds=(bus_child.fileno(),),
                    cwd=folder,
                    env=processes.clean_environment(folder),
                    log=folder / "bridge.log",
                )
            files = SandboxFiles(folder, (_WORK,) if plain else (_WORK, _HOME))
            kernel = cls(folder, files, sandbox, bridge, bus=bus, link=link)
            try:
                kernel.isolation = isolation.unconfined() if plain else await _read_report(report)
            except UnavailableError:
                await kernel.stop()
                raise
        finally:
            report.close()
        return kernel

    async def to_kernel(self, frame: Frame) -> None:
        """Hand a Jupyter frame to the bridge.

        Raises:
            UnavailableError: The bridge is gone.
        """
        await self._bus.send(frame.kind, *frame.parts)

    async def to_sandbox(self, reply: bytes) -> None:
        """Hand a reply to the link.

        Raises:
            UnavailableError: The sandbox is gone.
        """
        await self._link.send(frames.Kind.REPLY, reply)

    def from_kernel(self) -> AsyncIterator[Frame]:
        """Yield the bridge's frames."""
        return self._bus.frames()

    def from_sandbox(self) -> AsyncIterator[Frame]:
        """Yield the link's frames."""
        return self._link.frames()

    async def ended(self) -> str:
        """Wait until either process ends; return what happened, in words without data."""
        waits = {asyncio.create_task(child.wait()): child for child in (self.sandbox, self.bridge)}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        first = done.pop()
        status, name = first.result(), waits[first].name
        if name == "bridge":
            return "the bridge to the kernel ended"
        if status == 0:
            return "the kernel was shut down"
        return f"the kernel was killed by signal {-status}" if status < 0 else f"the kernel exited with status {status}"

    async def stop(self) -> None:
        """End both processes and delete the notebook's folder."""
        self._bus.close()
        self._link.close()
        await asyncio.gather(self.sandbox.stop(), self.bridge.stop())
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _sandbox(work: Path, connection: Path, link: int, report: int, *, plain: bool) -> tuple[str, ...]:
    if plain:
        return ("-m", "ipykernel_launcher", "-f", str(connection))
    options = ("--work", str(work), "--connection-file", str(connection))
    return ("-m", "cloister.enclave.jail", *options, "--link-fd", str(link), "--report-fd", str(report))


def _connection(work: Path) -> dict[str, Any]:
    ports = {name: number for number, name in enumerate(_PORTS, start=1)}
    # The inner key authenticates nobody: access to the ipc folder does.
    return {"transport": "ipc", "ip": str(work / "ipc" / "k"), "key": "", "signature_scheme": "hmac-sha256", **ports}


async def _read_report(report: Pipe) -> dict[str, Any]:
    try:
        line = await asyncio.wait_for(report.line(_REPORT_LIMIT), START_TIMEOUT_S)
        told = msgspec.json.decode(line, type=dict[str, Any])
    except (TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnavailableError("sandbox.start", "the sandbox did not start") from error
    reached = told.get("isolation")
    if not isinstance(reached, dict):
        # Written before any code of the user ran; for whoever runs the enclave, not for the notebook.
        _log.error("a sandbox could not be confined: %s", str(told.get("error"))[:_LOGGED])
        raise UnavailableError(
            "sandbox.isolation", "the sandbox could not be confined, so it was not started", next_step="cloister doctor"
        )
    return reached
