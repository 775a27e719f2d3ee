"""Clear words for what the jail refuses.

Comfort only: seccomp and Landlock refuse whether or not these hooks run, and notebook code may go around them.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

_NO_PROGRAMS = (
    "this notebook's sandbox starts no other programs (no !command, subprocess or fork); use Python in the cell, "
    "or run the command on your own machine"
)
_NO_NETWORK = (
    "this notebook's sandbox has no network; data come from cl.tables(), packages are those installed in the enclave"
)
_MEASURED = (
    "packages cannot be added: the enclave's environment is measured, and what was verified is what runs; ask whoever "
    "releases the enclave to add it, and the providers to approve the new measurement (`cloister measure`)"
)
_INSTALLERS = ("pip", "conda", "mamba", "uv")
_TEXTS = {
    **dict.fromkeys(
        (
            "os.fork",
            "os.forkpty",
            "os.exec",
            "os.posix_spawn",
            "os.spawn",
            "os.system",
            "subprocess.Popen",
            "pty.spawn",
        ),
        _NO_PROGRAMS,
    ),
    **dict.fromkeys(("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"), _NO_NETWORK),
}


def explain(shell: Any) -> None:
    """From now on refuse programs and network with a ``PermissionError`` that says so.

    Args:
        shell: The kernel's IPython shell, for ``!command``.
    """
    texts = _TEXTS

    def no_command(command: str = "", *_arguments: Any, **_options: Any) -> None:
        words = str(command).replace("/", " ").split()
        installs = "install" in words and any(name in words for name in _INSTALLERS)
        raise PermissionError(errno.EPERM, _MEASURED if installs else _NO_PROGRAMS)

    shell.system = shell.system_piped = shell.system_raw = no_command

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in texts:
            raise PermissionError(errno.EPERM, texts[event])

    sys.addaudithook(hook)
