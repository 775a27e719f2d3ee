"""Installing a seccomp filter on every thread of this process, for good."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from cloister.confine.bpf import Rule, assemble
from cloister.confine.libc import ARCHITECTURE, LINUX, call
from cloister.confine.syscalls import number

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_FLAG_TSYNC = 1
_KILL_PROCESS = 0x80000000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def available() -> bool:
    """Say whether this kernel takes filters (built in, and an architecture we have a table for)."""
    if not LINUX or ARCHITECTURE is None:
        return False
    try:
        call(number("seccomp"), _GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(_KILL_PROCESS)))
    except OSError:
        return False
    return True


def install(rules: Iterable[Rule]) -> None:
    """Filter all threads of this process, those running now (TSYNC) and those started later.

    ``no_new_privs`` must be set. Nothing can take the filter away again.

    Raises:
        OSError: If the kernel refuses, or a thread could not be brought under the filter (``ESRCH``).
    """
    if ARCHITECTURE is None:
        raise OSError(38, "no system call table for this architecture")
    code = assemble(rules, ARCHITECTURE)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    stray = call(number("seccomp"), _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program))
    if stray:
        raise OSError(3, f"thread {stray} could not be brought under the filter")
