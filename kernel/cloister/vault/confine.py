"""The vault confines itself: no sockets, no other program, no file to write, nothing to read but capsules.

The vault is trusted code; this is the second lock. It holds what a fault in the engine could otherwise reach for.
Two calls, in this order:

* ``prepare()`` first thing in the process, before an engine is imported: privileges go, imports start no threads.
* ``confine(read_dirs, fds)`` once engines are imported and the capsules' folders are known, before any data key
  is held and while there is one thread. Threads the engine starts later are under the same rules.

After that ``read`` and ``write`` on ``fds`` are the only ways out. DuckDB must be given ``memory_limit``, ``threads``
and ``temp_directory=''``, for it can no longer ask ``/proc``.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from cloister.confine import groups, landlock, process, seccomp
from cloister.confine.bpf import Rule, allow, refuse
from cloister.confine.libc import LINUX, call
from cloister.confine.paths import library_paths, package_parent
from cloister.confine.syscalls import number
from cloister.errors import UnavailableError

QUIET_IMPORTS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Keeps NumPy and PyArrow from starting threads when imported: Landlock binds only threads started later."""

DEFAULT_RESERVE_BYTES = 64 << 20
_LOG_BYTES = 64 << 20  # standard error may be a file
_MCL_CURRENT_FUTURE_ONFAULT = 7


class Confinement(msgspec.Struct):
    """What was achieved (``report``, for evidence and logs) and the memory held back for the way out of a fault."""

    report: dict[str, Any]
    reserve: mmap.mmap | None

    def release_reserve(self) -> None:
        """Give the reserve back, so that the constant answer to *out of memory* can be written."""
        if self.reserve is not None:
            self.reserve.close()
            self.reserve = None


def prepare() -> None:
    """Give up privileges and dumps; call before importing an engine, and after every exec."""
    os.environ.update(QUIET_IMPORTS)
    process.limit({"CORE": 0})
    if not LINUX:
        return
    # locking memory later needs this limit, for the capability will be gone; only some may raise it
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    process.no_new_privileges()
    process.drop_capabilities()
    process.not_dumpable()


def confine(
    read_dirs: Iterable[Path], fds: Iterable[int], *, reserve_bytes: int = DEFAULT_RESERVE_BYTES
) -> Confinement:
    """Close every door but ``fds`` and reading below ``read_dirs``; for good.

    Args:
        read_dirs: Folders of capsules. Libraries of the interpreter stay readable too (late imports), and the limits
            of the control group; all else cannot be opened, and nothing can be opened for writing.
        fds: The descriptors to keep, beside the standard streams.
        reserve_bytes: Memory touched now and held back for ``Confinement.release_reserve``.

    Returns:
        What was achieved. On kernels without Landlock or seccomp the report says so; the caller decides.

    Raises:
        UnavailableError: There are threads already, which Landlock would not bind.
        OSError: The kernel offers a feature and refuses to apply it.
    """
    process.close_all_but(fds)
    reserve = _touched(reserve_bytes)
    if not LINUX:
        return Confinement({"landlock": 0, "seccomp": "none", "swap": "possible"}, reserve)
    threads = process.thread_count()
    if threads > 1:
        raise UnavailableError(
            "vault.threads",
            f"The vault already runs {threads} threads; rules for files would not bind them.",
            next_step="Call prepare() before importing engines and confine() before starting threads.",
        )
    process.no_new_privileges()
    process.drop_capabilities()
    process.not_dumpable()
    swap = _keep_out_of_swap()
    limits = process.limit({"CORE": 0, "FSIZE": _LOG_BYTES})
    landlock_abi = landlock.restrict(_paths(read_dirs))
    filtered = seccomp.available()
    report = {
        "landlock": landlock_abi,
        "seccomp": "allowlist" if filtered else "none",
        "capabilities": process.capabilities(),
        "dumpable": False,
        "swap": swap,
        "rlimits": limits,
    }
    if filtered:
        seccomp.install(vault_calls(os.getpid()))
    return Confinement(report, reserve)


def vault_calls(pid: int) -> tuple[Rule, ...]:
    """Return the vault's allowlist: compute, read files, use descriptors it holds; no socket call whatsoever."""
    return (
        *groups.DESCRIPTORS, *groups.THREADS, *groups.MEMORY, *groups.TIME, *groups.SIGNALS, *groups.IDENTITY,
        *groups.FILES_READ, *groups.opening(writing=False), *groups.only_self(pid),
        *allow("mlock2", "munlockall"),
        *refuse(errno.ENOSYS, "io_uring_setup"),
    )  # fmt: skip


def _paths(read_dirs: Iterable[Path]) -> list[tuple[Path, int]]:
    return [
        *((path, landlock.READ) for path in (*read_dirs, *library_paths())),
        (package_parent(), landlock.READ_DIR),
        (Path("/dev/urandom"), landlock.READ_FILE),
        # DuckDB asks for the machine's limits when it starts, and aborts the process if they exist but do not open
        (Path("/proc/self/cgroup"), landlock.READ_FILE),
        (Path("/sys/fs/cgroup"), landlock.READ),
    ]


def _touched(size: int) -> mmap.mmap | None:
    if size <= 0:
        return None
    reserve = mmap.mmap(-1, size)
    for offset in range(0, size, mmap.PAGESIZE):
        reserve[offset] = 1
    return reserve


def _keep_out_of_swap() -> str:
    """Lock memory if the limit allows it; otherwise say whether the machine has swap at all."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        try:
            call(number("mlockall"), _MCL_CURRENT_FUTURE_ONFAULT)
        except OSError:
            pass
        else:
            return "locked"
    try:
        devices = Path("/proc/swaps").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return "possible"
    return "possible" if devices else "off"
