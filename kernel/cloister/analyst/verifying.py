"""``cloister verify`` for the page: the reviewer's own program, in a process of its own.

The reviewer's code is another room, and a notebook of 32 MiB takes it seconds: so it runs apart, with the notebook on
its standard input, while this process goes on serving cells. A thread waits for it and not asyncio, because the event
loop that ZeroMQ needs on Windows cannot start processes.
"""

from __future__ import annotations

import subprocess
import sys
import threading

import msgspec

from cloister.analyst import page
from cloister.errors import UnavailableError

TIMEOUT_S = 120.0
# This process runs in the notebook's folder, and what lies there is no part of this program: -P.
COMMAND = (sys.executable, "-P", "-m", "cloister.cli", "verify", "-", "--json", "--own-receipts")


class Verifier:
    """Runs one verification at a time (the caller sees to that); ``stop`` ends the one that runs."""

    def __init__(self, command: tuple[str, ...] = COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def verify(self, ask_id: str, notebook: bytes) -> page.VerifiedMessage:
        """Return the report on a notebook (nbformat 4 JSON); blocks.

        Raises:
            UnavailableError: ``verify.timeout``, or ``verify.failed``: there is no report.
        """
        with self._lock:
            if self._stopped:
                raise _failed("the kernel is shutting down")
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        try:
            printed, problem = process.communicate(notebook, self._timeout_s)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                "verify.timeout",
                f"the verification took longer than {self._timeout_s:.0f} s",
                next_step="run `cloister verify NOTEBOOK` in a terminal: there it may take its time",
            ) from error
        finally:
            process.kill()
            process.wait()
        try:
            report = msgspec.json.decode(printed, type=dict[str, msgspec.Raw])
            code = msgspec.json.decode(report["exit_code"], type=int)
            return {"type": "verified", "id": ask_id, "exit_code": code, "report": msgspec.json.decode(printed)}
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise _failed(problem.decode("utf-8", "replace").strip()[-500:]) from error

    def stop(self) -> None:
        """End a verification that runs, and start no other."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()


def _failed(reason: str) -> UnavailableError:
    return UnavailableError(
        "verify.failed",
        f"there is no report: {reason or 'the verification ended without a word'}",
        next_step="run `cloister verify NOTEBOOK` in a terminal",
    )
