"""What notebook code may ask the kernel for: the sandbox's paths and its allowlist of system calls."""

from __future__ import annotations

import errno
from pathlib import Path

from cloister.confine import landlock as ll
from cloister.confine.bpf import Arg, Rule, allow, refuse
from cloister.confine.groups import (
    DESCRIPTORS,
    FILES_READ,
    IDENTITY,
    MEMORY,
    SIGNALS,
    THREADS,
    TIME,
    only_self,
    opening,
)
from cloister.confine.paths import library_paths, package_parent

_AF_UNIX, _SOCK_STREAM, _SOCK_FLAGS = 1, 1, 0o2004000
_STREAM = (Arg(0, _AF_UNIX), Arg(1, _SOCK_STREAM, ~_SOCK_FLAGS & 0xFFFFFFFF))

WORK_FILES = allow(
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "copy_file_range", "sendfile", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr",
    "flistxattr", "sync_file_range",
)  # fmt: skip

# Landlock does not cover these, and with a shared uid they would reach the user's files. They pretend success, so
# that shutil.copy and zipfile keep working in the work folder; nothing changes anywhere.
METADATA_DOES_NOTHING = refuse(
    0, "chmod", "fchmod", "fchmodat", "utime", "utimes", "utimensat", "futimesat", "chown", "fchown", "lchown",
    "fchownat",
)  # fmt: skip

SOCKETS = (
    # libzmq aborts on EPERM from socket(); a datagram pair could still be sent to any address
    Rule("socket", (_STREAM,), errno.EINVAL),
    Rule("socketpair", (_STREAM,), errno.EINVAL),
    *allow(
        "accept", "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg", "shutdown", "getsockname", "getpeername",
        "getsockopt", "setsockopt",
    ),
    *refuse(errno.EACCES, "connect", "bind", "listen"),
)  # fmt: skip


def sandbox_calls(pid: int) -> tuple[Rule, ...]:
    """Return the allowlist of the sandbox with process id ``pid``; everything else is refused.

    The Jupyter sockets are bound before it is installed, so ``bind`` and ``listen`` are not on it.
    """
    return (
        *DESCRIPTORS, *THREADS, *MEMORY, *TIME, *SIGNALS, *IDENTITY, *FILES_READ, *opening(writing=True), *WORK_FILES,
        *SOCKETS, *METADATA_DOES_NOTHING, *only_self(pid),
        *allow("wait4", "waitid"),
        # PRIO_PROCESS only: PRIO_USER would reach every process of the same user
        Rule("setpriority", ((Arg(0, 0), Arg(1, 0)), (Arg(0, 0), Arg(1, pid)))),
        *refuse(errno.ENOTSUP, "setxattr", "lsetxattr", "fsetxattr"),
        # files in memory would escape the limit on the address space
        *refuse(errno.ENOSYS, "memfd_create", "io_uring_setup", "fchmodat2", "pkey_alloc"),
    )  # fmt: skip


def sandbox_paths(work: Path) -> tuple[tuple[Path, int], ...]:
    """Return what can be opened: the work folder to write, libraries and fonts to read, three devices; no exec."""
    return (
        (work, ll.WRITE | ll.MAKE_SOCK),
        *((path, ll.READ) for path in library_paths()),
        (package_parent(), ll.READ_DIR),
        (Path("/dev/null"), ll.READ_FILE | ll.WRITE_FILE),
        (Path("/dev/zero"), ll.READ_FILE),
        (Path("/dev/urandom"), ll.READ_FILE),
    )
