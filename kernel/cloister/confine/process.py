"""What a process gives up about itself: privileges, capabilities, descriptors, dumps, limits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloister.confine.libc import call, prctl
from cloister.confine.syscalls import number

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID = 0, 6, 7


def no_new_privileges() -> None:
    """Make sure that no later exec gains rights (inherited by every thread started afterwards)."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """Hide ``/proc/self`` from siblings of the same uid and refuse their ptrace; exec undoes it, so call it after."""
    prctl(PR_SET_DUMPABLE, 0)


def first_to_go() -> None:
    """Have the kernel end this process before all others when memory runs out (where it lets us say so)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    Raises:
        ProcessLookupError: If that parent is gone already.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError(parent, "the process that started this one is gone")


def drop_capabilities() -> None:
    """Drop every capability from all five sets, for good.

    Raises:
        OSError: If the permitted and effective sets could not be emptied.
    """
    capability = 0
    while True:
        try:
            if prctl(PR_CAPBSET_READ, capability):
                prctl(PR_CAPBSET_DROP, capability)
        except PermissionError:
            break  # without CAP_SETPCAP there is nothing to gain: no_new_privs closes the bounding set
        except OSError:
            break  # past the last capability this kernel knows
        capability += 1
    with contextlib.suppress(OSError):  # before Linux 4.3 there is no ambient set to clear
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    call(number("capset"), ctypes.byref(header), ctypes.byref(nothing))


def capabilities() -> int:
    """Return the union of the permitted, effective and inheritable sets as a bit mask; 0 is none."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    call(number("capget"), ctypes.byref(header), ctypes.byref(sets))
    low, high = sets[0] | sets[1] | sets[2], sets[3] | sets[4] | sets[5]
    return int(low | high << 32)


def become(uid: int) -> None:
    """Change to user and group ``uid`` without supplementary groups (needs CAP_SETUID and CAP_SETGID)."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def can_become(uid: int, needed: Iterable[Path]) -> bool:
    """Say whether this process could run as ``uid``, without trying (threads would see it).

    Args:
        uid: The user and group to become.
        needed: Files and folders that user must be able to read, or at least reach.

    Returns:
        True if the capabilities are there, the id exists in this user namespace, and everyone can read ``needed``.
    """
    if any(not capabilities() >> capability & 1 for capability in (_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID)):
        return False
    maps = ("/proc/self/uid_map", "/proc/self/gid_map")
    return all(_mapped(uid, Path(path)) for path in maps) and all(_open_to_everyone(path) for path in needed)


def _mapped(uid: int, table: Path) -> bool:
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return any(first <= uid < first + count for first, count in ranges)


def _open_to_everyone(path: Path) -> bool:
    try:
        whole = path.resolve(strict=True)
        reachable = all(folder.stat().st_mode & 0o001 for folder in whole.parents)
        return reachable and whole.stat().st_mode & 0o004 != 0
    except OSError:
        return False


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor of this process except 0, 1, 2 and ``keep``."""
    first = 3
    for descriptor in sorted({fd for fd in keep if fd > 2}):
        os.closerange(first, descriptor)
        first = descriptor + 1
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # a descriptor may lie above a soft limit that was lowered after it was opened
    own = Path("/proc/self/fd")
    listed = [int(entry.name) for entry in own.iterdir()] if own.is_dir() else []
    os.closerange(first, max([soft, *(fd + 1 for fd in listed)]))


def limit(limits: Mapping[str, int]) -> dict[str, int]:
    """Lower resource limits, soft and hard, never above what is in force.

    Args:
        limits: Name after ``RLIMIT_`` (``AS``, ``NOFILE`` ...) to its value in the kernel's unit.

    Returns:
        The limits now in force.
    """
    achieved: dict[str, int] = {}
    for name, wanted in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (value, value))
        achieved[name] = value
    return achieved


def thread_count() -> int:
    """Return the number of threads of this process; 0 if the kernel does not say."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 0
