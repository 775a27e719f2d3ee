"""Starts many vaults and brokers quickly: everything is imported once, then each process is a fork.

``python forker.py FD`` reads commands on a socketpair. A vault runs ``boot.run`` on the two descriptors that come
with its command (with three it announces its steps on the last, ``stepping_vault``), a broker runs
``provider.__main__.main``: the code the real entry points run, after the imports that make them slow to start. Tests
that start processes the real way are beside those that use this.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from cloister.vault import confine


def main() -> None:
    """Fork a process per command until the socket closes."""
    confine.prepare()
    from stepping_vault import run as stepping

    from cloister.provider.__main__ import main as broker
    from cloister.vault import boot

    commands = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(commands, 1 << 16, 4)
        if not data:
            return
        command = json.loads(data)
        pid = os.fork()
        if pid:
            for fd in fds:
                os.close(fd)
            commands.sendall(b"%10d" % pid)
            continue
        commands.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 1
        try:
            if command["kind"] == "broker":
                code = broker(command["arguments"])
            else:
                code = boot.run(*fds) if len(fds) == 2 else stepping(*fds)
        finally:
            os._exit(code)


class Forker:
    """The other end: asks for processes. Safe from any thread."""

    def __init__(self, log_file: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs, log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def start(self, command: dict, fds: list[int]) -> int:
        """Return the pid of a new process that has ``fds``."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(command).encode()], fds)
            return int(self._socket.recv(10))

    def close(self) -> None:
        """End the forker; what it started lives on."""
        self._socket.close()
        self._process.wait(10)


class Forked:
    """A forked process with the few methods of ``subprocess.Popen`` that tests use."""

    stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Return -9 once the process is gone."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return -9
        return None

    def kill(self) -> None:
        """Kill -9."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 120) -> int:
        """Wait until the process is gone."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("forked", timeout)
            time.sleep(0.002)
        return -9


if __name__ == "__main__":
    main()
