"""The seccomp programs themselves, run in a small BPF interpreter: both architectures, every listed call."""

from __future__ import annotations

import errno
import struct

import pytest

from cloister.confine.bpf import ALLOW, ERRNO, KILL_PROCESS, Arg, Rule, allow, assemble, refuse
from cloister.confine.syscalls import AUDIT_ARCH, KNOWN_UP_TO, SYSCALLS
from cloister.enclave.rules import sandbox_calls
from cloister.vault.confine import vault_calls

PID = 4242
ARCHITECTURES = ("x86_64", "aarch64")
NEVER = """
    execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise pidfd_open pidfd_getfd
    pidfd_send_signal kcmp bpf perf_event_open keyctl add_key request_key userfaultfd mount umount2 unshare setns
    chroot pivot_root personality capset seccomp io_uring_setup io_uring_enter io_uring_register connect bind listen
    shmget shmat semget msgget mq_open inotify_init1 fanotify_init name_to_handle_at open_by_handle_at mknod mknodat
    sched_setparam sched_setattr tkill truncate syslog sysinfo clone3 openat2 memfd_secret
    move_pages migrate_pages get_robust_list iopl ioperm modify_ldt setuid setsid setpgid landlock_create_ruleset
""".split()  # noqa: SIM905
NOT_FOR_THE_VAULT = """
    accept accept4 sendto recvfrom sendmsg recvmsg unlink rename mkdir symlink link chmod fchmod utimensat
""".split()  # noqa: SIM905


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int | None = None) -> int:
    """Interpret the classic BPF this package emits."""
    padded = [argument & (1 << 64) - 1 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture or 0, 0, *padded)
    code = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    accumulator, position = 0, 0
    while True:
        operation, jump_true, jump_false, k = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x15:
            position += jump_true if accumulator == k else jump_false
        elif operation == 0x35:
            position += jump_true if accumulator >= k else jump_false
        elif operation == 0x06:
            return int(k)
        else:
            raise AssertionError(hex(operation))


class Filter:
    def __init__(self, rules: tuple[Rule, ...], architecture: str) -> None:
        self.program = assemble(rules, architecture)
        self.architecture = architecture

    def __call__(self, name: str, *arguments: int) -> int | None:
        number = SYSCALLS[name][ARCHITECTURES.index(self.architecture)]
        return None if number is None else self.number(number, *arguments)

    def number(self, number: int, *arguments: int) -> int:
        return run(self.program, number, arguments, AUDIT_ARCH[self.architecture])


@pytest.fixture(params=ARCHITECTURES)
def sandbox(request: pytest.FixtureRequest) -> Filter:
    return Filter(sandbox_calls(PID), request.param)


@pytest.fixture(params=ARCHITECTURES)
def vault(request: pytest.FixtureRequest) -> Filter:
    return Filter(vault_calls(PID), request.param)


def refused(result: int | None) -> bool:
    return result is None or (result & 0xFFFF0000 == ERRNO and result & 0xFFFF != 0)


@pytest.mark.parametrize("name", NEVER)
def test_never_allowed_whatever_the_arguments(sandbox: Filter, vault: Filter, name: str) -> None:
    for arguments in ((), (PID,), (1, 1), (0, 0, 0), ((1 << 64) - 1,) * 6):
        assert refused(sandbox(name, *arguments))
        assert refused(vault(name, *arguments))


def test_foreign_abis_are_killed(sandbox: Filter) -> None:
    read = SYSCALLS["read"][ARCHITECTURES.index(sandbox.architecture)]
    assert read is not None
    assert sandbox.number(read) == ALLOW
    assert run(sandbox.program, read, (), 0x40000003) == KILL_PROCESS  # i386
    assert run(sandbox.program, read, (), 0x40000028) == KILL_PROCESS  # arm
    if sandbox.architecture == "x86_64":
        assert sandbox.number(read | 0x40000000) == KILL_PROCESS  # x32


def test_calls_of_the_future_do_not_exist(sandbox: Filter) -> None:
    assert sandbox.number(KNOWN_UP_TO + 1) == ERRNO | errno.ENOSYS
    assert sandbox.number(KNOWN_UP_TO - 1) == ERRNO | errno.EPERM


def test_only_unix_streams(sandbox: Filter, vault: Filter) -> None:
    nonblocking = 1 | 0o4000 | 0o2000000
    for call in ("socket", "socketpair"):
        assert sandbox(call, 1, 1) == sandbox(call, 1, nonblocking) == ALLOW
        for family in (2, 10, 16, 17, 38, 40):
            assert sandbox(call, family, 1) == ERRNO | errno.EINVAL
        for kind in (2, 3, 5):
            assert sandbox(call, 1, kind) == ERRNO | errno.EINVAL
        assert refused(vault(call, 1, 1))


@pytest.mark.parametrize("name", NOT_FOR_THE_VAULT)
def test_the_vault_has_no_socket_call_and_changes_no_file(vault: Filter, name: str) -> None:
    assert refused(vault(name))


def test_the_vault_opens_for_reading_only(vault: Filter, sandbox: Filter) -> None:
    for flags in (1, 2, 0o100, 0o1000, 0o1101):
        assert refused(vault("openat", 0, 0, flags))
    assert vault("openat", 0, 0, 0o2000000) == ALLOW
    assert sandbox("openat", 0, 0, 0o1101) == ALLOW
    assert refused(sandbox("openat", 0, 0, 0o1000))


@pytest.mark.parametrize("name", ["prlimit64", "sched_setaffinity", "sched_getaffinity", "getpgid"])
def test_process_ids_other_than_the_own_are_refused(sandbox: Filter, name: str) -> None:
    assert sandbox(name, 0) == sandbox(name, PID) == ALLOW
    for other in (1, PID + 1, -1, PID | 1 << 31):
        assert refused(sandbox(name, other))
    # the kernel reads 32 bits of a process id: bits above must not hide another one
    assert refused(sandbox(name, (PID + 1) | 1 << 32))


def test_signals_go_to_itself_only(sandbox: Filter) -> None:
    assert sandbox("kill", PID) == sandbox("kill", -PID) == sandbox("tgkill", PID, 7) == ALLOW
    for other in (0, -1, 1, PID + 1, -PID - 1):
        assert refused(sandbox("kill", other))
        assert refused(sandbox("tgkill", other, PID))


def test_priority_of_itself_only(sandbox: Filter) -> None:
    assert sandbox("setpriority", 0, 0) == sandbox("setpriority", 0, PID) == ALLOW
    assert refused(sandbox("setpriority", 0, 1))
    assert refused(sandbox("setpriority", 1, 0))
    assert refused(sandbox("setpriority", 2, 0))


@pytest.mark.parametrize("name", ["clock_gettime", "clock_getres", "clock_nanosleep", "timer_create", "timerfd_create"])
def test_clocks_of_others_are_refused(sandbox: Filter, vault: Filter, name: str) -> None:
    for clock in range(12):
        assert sandbox(name, clock) == ALLOW
    for clock in (-1, (~PID << 3) | 2, 0x80000000, (1 << 32) | 0x80000002):
        assert refused(sandbox(name, clock))
        assert refused(vault(name, clock))


def test_threads_but_not_processes(sandbox: Filter, vault: Filter) -> None:
    thread = 0x003D0F00
    for filtered in (sandbox, vault):
        assert filtered("clone", thread) == ALLOW
        assert refused(filtered("clone", 17))
        assert refused(filtered("clone", 0x4111))  # vfork
        for namespace in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
            assert refused(filtered("clone", thread | namespace))
        assert filtered("clone3") == ERRNO | errno.ENOSYS


def test_terminals_and_owners_of_descriptors(sandbox: Filter) -> None:
    for command in (0x5412, 0x8901, 0x8902, 0x40049409, 0x541C):  # TIOCSTI, FIOSETOWN, SIOCSPGRP, FICLONE, TIOCLINUX
        assert refused(sandbox("ioctl", 3, command))
    for command in (8, 10, 15, 1024, 1026):  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
        assert refused(sandbox("fcntl", 3, command))


def test_metadata_calls_pretend(sandbox: Filter) -> None:
    for name in ("chmod", "fchmod", "fchmodat", "utimensat", "fchown"):
        assert sandbox(name) in {None, ERRNO}


def test_scheduling_of_others_is_only_pretended(sandbox: Filter) -> None:
    for name in ("sched_getparam", "sched_getscheduler", "sched_setscheduler"):
        assert sandbox(name, PID + 1, 3) == ERRNO
    assert sandbox("sched_getscheduler", PID) == ALLOW
    assert sandbox("sched_setscheduler", PID, 1) == ERRNO


def test_dumpable_stays_off(sandbox: Filter) -> None:
    for option in (1, 4, 8, 22, 24, 0x59616D61):  # PDEATHSIG, DUMPABLE, KEEPCAPS, SECCOMP, CAPBSET_DROP, PTRACER
        assert refused(sandbox("prctl", option))


class TestAssembler:
    def test_alternatives_are_tried_in_turn(self) -> None:
        rules = (Rule("kill", ((Arg(0, 1), Arg(1, 2)), (Arg(0, 3, 0xFF), Arg(1, 4)), (Arg(2, 9),)), 77),)
        program = Filter(rules, "x86_64")
        assert program("kill", 1, 2) == program("kill", 0x103, 4) == program("kill", 5, 5, 9) == ALLOW
        assert program("kill", 1, 4) == program("kill", 3, 2) == program("kill", 0) == ERRNO | 77

    def test_a_call_listed_twice_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="twice"):
            assemble((*allow("read"), *refuse(1, "read")), "x86_64")

    def test_unlisted_is_refused(self) -> None:
        program = Filter(allow("read"), "aarch64")
        assert program("read") == ALLOW
        assert program("write") == ERRNO | errno.EPERM

    def test_programs_fit_the_kernel(self, sandbox: Filter, vault: Filter) -> None:
        assert max(len(sandbox.program), len(vault.program)) // 8 < 1500
