"""System calls by purpose: what an ordinary Python process with threads needs to compute and to read files.

Zones put their allowlist together from these groups and add what only they need.
"""

from __future__ import annotations

import errno

from cloister.confine.bpf import Arg, Rule, allow, one_of, refuse

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000 | 0x00000080  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
_SIGN_BIT = 0x80000000
_FIONCLEX, _FIOCLEX, _FIONBIO, _FIONREAD, _TCGETS, _TIOCGWINSZ = 0x5450, 0x5451, 0x5421, 0x541B, 0x5401, 0x5413
_O_ACCESS, _O_TRUNC = 0o3, 0o1000

MEMORY = allow(
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "membarrier", "mlock", "munlock",
)  # fmt: skip
"""Own memory. Executable mappings stay possible: shared libraries and ctypes need them."""

DESCRIPTORS = (
    *allow(
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close", "close_range",
        "dup", "dup2", "dup3", "poll", "ppoll", "select", "pselect6", "pipe", "pipe2", "eventfd", "eventfd2",
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "timerfd_settime",
        "timerfd_gettime", "fsync", "fdatasync", "flock", "fadvise64", "ftruncate", "fallocate",
    ),
    # not F_SETOWN and F_SETSIG (signals to others), F_NOTIFY and F_SETLEASE (watching others)
    one_of("fcntl", 1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1033, 1034)),
    one_of("ioctl", 1, (_FIONBIO, _FIONREAD, _FIOCLEX, _FIONCLEX, _TCGETS, _TIOCGWINSZ), error=errno.ENOTTY),
)  # fmt: skip
"""Descriptors a process holds already, and pipes, events and timers of its own."""

THREADS = (
    *allow(
        "futex", "futex_waitv", "set_robust_list", "set_tid_address", "rseq", "exit", "exit_group", "sched_yield",
        "gettid", "arch_prctl", "restart_syscall", "getcpu",
    ),
    Rule("clone", ((Arg(0, _CLONE_THREAD, _CLONE_THREAD | _CLONE_NAMESPACES),),)),
    *refuse(errno.ENOSYS, "clone3"),  # its flags are behind a pointer; libc falls back to clone
)  # fmt: skip
"""Threads, never processes."""

SIGNALS = allow("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend",
                "sigaltstack", "pause", "getitimer", "setitimer", "alarm", "signalfd4")  # fmt: skip
"""Receiving signals."""

IDENTITY = allow("getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
                 "getpgrp", "uname", "getrandom", "umask", "getrusage", "times", "getrlimit", "capget")  # fmt: skip
"""What a process may know of itself."""

_CLOCKS = ("clock_gettime", "clock_getres", "clock_nanosleep")
TIME = (
    *allow("gettimeofday", "time", "nanosleep", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete"),
    # a negative clock id is another process's CPU time, or a device
    *(Rule(name, ((Arg(0, 0, _SIGN_BIT),),), errno.EINVAL) for name in (*_CLOCKS, "timer_create", "timerfd_create")),
)
"""Fixed clocks only."""

FILES_READ = allow("stat", "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink",
                   "readlinkat", "getdents64", "getcwd", "chdir", "fchdir", "statfs", "fstatfs")  # fmt: skip
"""Looking at files; which ones can be opened is Landlock's part. ``stat`` tells what exists: see docs/isolation.md."""


def opening(*, writing: bool) -> tuple[Rule, ...]:
    """Allow opening files for reading, and for writing if asked; truncating on a read-only open never."""
    openat2 = refuse(errno.ENOSYS, "openat2")  # its flags are behind a pointer; libc falls back to openat
    modes = (0, 1, 2) if writing else (0,)
    create = 0o100
    rules = []
    for name, index in (("open", 1), ("openat", 2)):
        reads: tuple[tuple[Arg, ...], ...] = ((Arg(index, 0, _O_ACCESS | _O_TRUNC | (0 if writing else create)),),)
        writes = tuple((Arg(index, mode, _O_ACCESS),) for mode in modes if mode)
        rules.append(Rule(name, reads + writes, errno.EPERM))
    return (*rules, *openat2)


def only_self(pid: int) -> tuple[Rule, ...]:
    """Allow what takes a process id, for this process only (``pid`` or 0)."""
    mine = (0, pid)
    return (
        *(one_of(name, 0, mine) for name in ("sched_setaffinity", "prlimit64")),
        # libzmq reads and sets the scheduling of each thread it starts, by thread id, and aborts the process if that
        # fails: for ids other than the own these say yes and do nothing, which reads as the ordinary policy
        *(one_of(name, 0, mine, error=0) for name in ("sched_getparam", "sched_getscheduler")),
        Rule("sched_setscheduler", (), 0),
        # libc asks for a thread's affinity when it reads the thread's attributes and takes ENOSYS for an answer
        one_of("sched_getaffinity", 0, mine, error=errno.ENOSYS),
        *(one_of(name, 0, mine) for name in ("getpgid", "getsid")),
        Rule("getpriority", ((Arg(0, 0), Arg(1, 0)), (Arg(0, 0), Arg(1, pid)))),
        # its own process group holds nothing but itself
        one_of("kill", 0, (pid, -pid)),
        *(one_of(name, 0, (pid,)) for name in ("tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")),
        # PR_GET_DUMPABLE, SET_NAME, GET_NAME, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA: never SET_DUMPABLE
        one_of("prctl", 0, (3, 15, 16, 23, 39, 0x53564D41)),
    )
