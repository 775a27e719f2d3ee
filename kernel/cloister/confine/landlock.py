"""Landlock: a process limits what it and its children may do with files, TCP, signals and abstract sockets.

The kernel's ABI version decides what can be asked for (kernel documentation, userspace-api/landlock): 2 moving
files between directories, 3 truncation, 4 TCP, 5 ioctl on devices, 6 signals and abstract Unix sockets. Never
covered: stat, chmod, chown, utime, xattr, UDP; a seccomp filter must take care of those.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from cloister.confine.libc import LINUX, call

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_CREATE_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
_FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_NET_ALL = 0b11
_SCOPE_ALL = 0b11
NEWEST_ABI = 7


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Return the Landlock ABI this kernel offers, 0 if none (not built in, disabled, or not Linux)."""
    if not LINUX:
        return 0
    try:
        return call(_CREATE, None, 0, _CREATE_VERSION)
    except OSError:
        return 0


def handled(version: int) -> tuple[int, int, int, int]:
    """Return what ABI ``version`` lets a ruleset handle: file rights, network rights, scopes and the struct's size."""
    last_right = {0: -1, 1: 12, 2: 13, 3: 14, 4: 14}.get(version, 15)
    rights = (1 << (last_right + 1)) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    return rights, _NET_ALL if version >= 4 else 0, _SCOPE_ALL if version >= 6 else 0, size


def restrict(rules: Iterable[tuple[Path, int]], *, version: int | None = None) -> int:
    """Deny the calling thread everything Landlock handles, except ``rules``; inherited by threads it starts.

    Call it while the process has one thread: others keep their rights. TCP, signals to and abstract Unix
    sockets of processes outside are denied wholly where the ABI covers them. Paths that do not exist are skipped.

    Args:
        rules: Paths and the rights allowed beneath them.
        version: ABI to behave like (for tests); never above what the kernel offers.

    Returns:
        The ABI in force, 0 if nothing could be restricted.

    Raises:
        OSError: If the kernel offers Landlock but refuses the ruleset.
    """
    effective = min(abi() if version is None else min(version, abi()), NEWEST_ABI)
    if effective == 0:
        return 0
    rights, net, scopes, size = handled(effective)
    attributes = _RulesetAttr(rights, net, scopes)
    ruleset = call(_CREATE, ctypes.byref(attributes), size, 0)
    try:
        for path, allowed in rules:
            _allow(ruleset, path, allowed & rights)
        call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return effective


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            return
        raise
    try:
        granted = rights if path.is_dir() else rights & _FOR_FILES
        if granted:
            call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_PathBeneathAttr(granted, descriptor)), 0)
    finally:
        os.close(descriptor)
