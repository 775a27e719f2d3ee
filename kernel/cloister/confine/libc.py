"""The C library as three calls: ``syscall``, ``prctl`` and the errors they set."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

LINUX = sys.platform == "linux"
ARCHITECTURE = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine())

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def call(number: int, *arguments: object) -> int:
    """Make a raw system call.

    Args:
        number: The number of the call on this architecture.
        arguments: Integers, ``ctypes`` objects or ``None``; integers are passed as 64 bits.

    Returns:
        What the kernel returned.

    Raises:
        OSError: With the kernel's error; ``ENOSYS`` on systems other than Linux.
    """
    if _libc is None:
        raise OSError(38, "no such system call: this is not Linux")
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *passed))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Call ``prctl`` (2).

    Raises:
        OSError: With the kernel's error; ``ENOSYS`` on systems other than Linux.
    """
    if _libc is None:
        raise OSError(38, "no such system call: this is not Linux")
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(_libc.prctl(ctypes.c_int(option), *padded))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
