"""The ipykernel inside the jail: an unchanged kernel application, minus what cannot work or must not connect."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

import zmq

from cloister.errors import UnavailableError


def prepare_modules() -> None:
    """Import ipykernel without its debugger and without psutil.

    The debugger needs a second process and TCP; announcing it would give Lab a button that hangs. psutil reads
    ``/proc``; ipykernel does without it.
    """
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    import ipykernel.debugger  # noqa: PLC0415 (only now, without debugpy)
    import ipykernel.kernelbase  # noqa: PLC0415 (only now, without debugpy)

    del sys.modules["debugpy"]
    ipykernel.kernelbase._psutil_import_attempted = True


def build_app(connection_file: Path) -> Any:
    """Create and initialise the kernel application: sockets bound, threads started, no message read yet.

    Args:
        connection_file: An ipc connection file whose sockets lie in the work folder.

    Raises:
        UnavailableError: If a socket was not listening in time.
    """
    prepare_modules()
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415 (after prepare_modules)

    class InnerKernelApp(IPKernelApp):
        """The kernel application without the debugger's loopback connection, and with an iopub that drops nothing."""

        def init_iopub(self, context: Any) -> None:
            # ZeroMQ's default drops what is published while 1,000 messages wait, and bridge and proxy have no limit:
            # a cell that prints faster than it is read would lose lines. What waits counts as the sandbox's memory.
            context.setsockopt(zmq.SNDHWM, 0)
            super().init_iopub(context)  # type: ignore[no-untyped-call]

        def init_control(self, context: Any) -> None:
            super().init_control(context)  # type: ignore[no-untyped-call]
            self.debug_shell_socket.close(linger=0)

    app: Any = InnerKernelApp.instance()
    app.initialize(["-f", str(connection_file), "--IPKernelApp.log_level=50"])
    # by name: IPython loads it when a cell first uses it, and the agent never imports what notebook code imports
    app.shell.magics_manager.register_lazy("cloister_sql", "cloister.sandbox.sql_magic")
    # the heartbeat binds in its own thread: the filter that forbids bind must not overtake it
    _wait_until_listening(f"{app.ip}-{app.hb_port}")
    return app


def _wait_until_listening(path: str, *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UnavailableError("sandbox.sockets", "The kernel's heartbeat socket did not open.") from error
            else:
                return
        time.sleep(0.002)
