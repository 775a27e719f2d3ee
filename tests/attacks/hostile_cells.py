"""Hostile cells: what a notebook may try, as data.

Each cell sets ``won`` to something true if the attack worked. ``denied`` is the outcome in the jail: an errno name,
an exception's name or ``nothing`` (it ran and got nothing). Raw system calls go around all Python-level comfort.
``root`` marks attacks that even without a jail need privilege; ``kernel`` those that depend on how the kernel was
built or who owns the installation: without a jail such a cell may also end in ENOSYS and the like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloister.confine.syscalls import SYSCALLS, number

PRELUDE = """
import array, ctypes, errno, gc, os, socket, subprocess, struct, sys
_libc = ctypes.CDLL(None, use_errno=True)
_holding_the_gil = ctypes.PyDLL(None, use_errno=True)   # a child of a raw fork must not wait for another thread

def sc(name, *arguments):
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    library = _holding_the_gil if name.startswith('clone') else _libc
    result = library.syscall(ctypes.c_long(NR[name]), *passed)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result

def in_child(attack):
    "Run what would replace or end this process in a child; in the jail there is no child to run it in."
    if JAILED:
        return attack()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if attack() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def reap(child):
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True

def reads(*paths):
    "The first path that opens and holds something, or the last error."
    last = None
    for path in paths:
        try:
            with open(path, "rb") as file:
                return file.read(64)
        except OSError as error:
            last = error if last is None or error.errno in (errno.EACCES, errno.EPERM) else last
    raise last

def outcome(attack):
    try:
        won = attack()
    except OSError as error:
        return errno.errorcode.get(error.errno, "OSError")
    except MemoryError:
        return "MemoryError"
    except BaseException as error:
        return type(error).__name__
    return "won" if won else "nothing"

def everything():
    "Every string and byte string that something the collector knows refers to, or a dict of it."
    found = []
    for thing in gc.get_objects():
        for part in gc.get_referents(thing):
            if isinstance(part, (str, bytes)):
                found.append(part)
            elif type(part) is dict:
                found += [value for value in list(part.values()) if isinstance(value, (str, bytes))]
    return found
"""


@dataclass(frozen=True)
class Cell:
    """One attack: a name, the body of a function that returns something true on success, the expected denial."""

    name: str
    body: str
    denied: str
    root: bool = False
    kernel: bool = False

    @property
    def code(self) -> str:
        """The cell's source: defines the attack and prints its outcome."""
        body = "\n".join("    " + line for line in self.body.strip().splitlines())
        return f"def attack():\n{body}\nprint('outcome=' + outcome(attack))"


def prelude(facts: dict[str, Any], *, jailed: bool) -> str:
    """Return the first cell: facts about the surroundings and the helpers above."""
    numbers = {name: number(name) for name, found in SYSCALLS.items() if _here(name, found)}
    return f"NR = {numbers!r}\nJAILED = {jailed}\n" + "".join(f"{k} = {v!r}\n" for k, v in facts.items()) + PRELUDE


def _here(name: str, _found: tuple[int | None, int | None]) -> bool:
    try:
        number(name)
    except OSError:
        return False
    return True


CELLS: tuple[Cell, ...] = (
    # -- looking around in its own process
    Cell("environment", "return os.environ.get('CLOISTER_CANARY')", "nothing"),
    Cell("environment_by_name", "return [v for v in os.environ.values() if v.startswith('canary-')]", "nothing"),
    Cell("libc_environ", "return _libc.getenv(b'CLOISTER_CANARY')", "nothing"),
    Cell("print_modules", """
parts = []
for module in list(sys.modules.values()):
    for name, value in list(getattr(module, '__dict__', {}).items()):
        if isinstance(value, (str, bytes, dict, list, tuple)):
            parts.append(repr(value))
return ("b'CLOISTER_" + "CANARY': b'") in ''.join(parts)
""", "nothing"),
    Cell("gc_search", """
return [value for value in everything() if isinstance(value, bytes) and len(value) > 7 and value[:7] == b'canary-']
""", "nothing"),
    Cell("traceback_of_a_failure", """
import traceback
try:
    1 / 0
except ZeroDivisionError as error:
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = ''.join(summary.format()) + repr(os.environ)
return CANARY in text
""", "nothing"),
    Cell("initial_stack", """
# the kernel puts the environment above argv[0]; write() reports a bad address instead of crashing
start = ctypes.cast(ctypes.c_void_p.in_dll(_libc, 'program_invocation_name'), ctypes.c_void_p).value & ~4095
reading, writing = os.pipe()
found = b''
for page in range(64):
    try:
        got = sc('write', writing, start + 4096 * page, 4096)
    except OSError:
        break
    found += os.read(reading, got)
os.close(reading); os.close(writing)
return CANARY.encode() in found
""", "nothing"),
    Cell("proc_self_environ", "return CANARY.encode() in open('/proc/self/environ', 'rb').read()", "EACCES"),
    Cell("proc_self_maps", "return open('/proc/self/maps').read()", "EACCES"),
    Cell("proc_self_mem", "return open('/proc/self/mem', 'rb')", "EACCES"),
    Cell("inherited_descriptors", """
inherited = os.stat('/etc/hostname')
for fd in range(3, 1024):
    try:
        found = os.fstat(fd)
    except OSError:
        continue
    if (found.st_dev, found.st_ino) == (inherited.st_dev, inherited.st_ino):
        return True
""", "nothing"),
    # -- the vault's and the agent's process
    Cell("list_processes", "return [p for p in os.listdir('/proc') if p.isdigit()]", "EACCES"),
    Cell("victim_environ", "return CANARY.encode() in open(f'/proc/{VICTIM}/environ', 'rb').read()", "EACCES"),
    Cell("victim_maps", "return open(f'/proc/{VICTIM}/maps').read()", "EACCES"),
    Cell("victim_cmdline", "return open(f'/proc/{VICTIM}/cmdline').read()", "EACCES"),
    Cell("victim_descriptors", "return os.listdir(f'/proc/{VICTIM}/fd')", "EACCES"),
    Cell("victim_executable_link", "return os.readlink(f'/proc/{VICTIM}/exe')", "EACCES"),
    Cell("victim_memory_file", """
with open(f'/proc/{VICTIM}/mem', 'rb') as memory:
    memory.seek(ADDRESS)
    return CANARY.encode() in memory.read(32)
""", "EACCES"),
    Cell("process_vm_readv", """
buffer = ctypes.create_string_buffer(32)
local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 32)
remote = (ctypes.c_uint64 * 2)(ADDRESS, 32)
sc('process_vm_readv', VICTIM, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
return CANARY.encode() in buffer.raw
""", "EPERM"),
    Cell("process_vm_writev", """
buffer = ctypes.create_string_buffer(b'memory-' + CANARY.encode())
local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
remote = (ctypes.c_uint64 * 2)(ADDRESS, 8)
return sc('process_vm_writev', VICTIM, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
""", "EPERM"),
    Cell("ptrace_attach", """
return sc('ptrace', 0x4206, VICTIM, 0, 0) == 0      # PTRACE_SEIZE: does not stop it
""", "EPERM"),
    Cell("pidfd_getfd", """
pidfd = sc('pidfd_open', VICTIM, 0)
return sc('pidfd_getfd', pidfd, 1, 0)
""", "EPERM"),
    Cell("prlimit_victim", """
limits = (ctypes.c_uint64 * 2)()
sc('prlimit64', VICTIM, 7, None, ctypes.byref(limits))
sc('prlimit64', VICTIM, 7, ctypes.byref(limits), None)
return True
""", "EPERM"),
    Cell("prlimit_high_bits", "return sc('prlimit64', VICTIM | (1 << 32), 7, None, (ctypes.c_uint64 * 2)()) == 0",
         "EPERM"),
    Cell("sched_setaffinity_victim", """
mask = ctypes.create_string_buffer(128)
sc('sched_getaffinity', VICTIM, 128, mask)
sc('sched_setaffinity', VICTIM, 128, mask)
return True
""", "ENOSYS"),
    Cell("sched_setaffinity_blind", """
mask = (ctypes.c_uint64 * 16)(3)
sc('sched_setaffinity', VICTIM, 128, mask)
return True
""", "EPERM"),
    Cell("sched_setscheduler_victim", """
sc('sched_setscheduler', VICTIM, 3, ctypes.byref(ctypes.c_int(0)))     # says yes in the jail, and does nothing
return sc('sched_getscheduler', VICTIM) == 3
""", "nothing"),
    Cell("sched_getparam_victim", """
priority = ctypes.c_int(77)
sc('sched_getparam', VICTIM, ctypes.byref(priority))
return priority.value != 77
""", "nothing"),
    Cell("sched_setattr_victim", """
attributes = ctypes.create_string_buffer(struct.pack('IIQiI', 48, 3, 0, 0, 0), 48)
return sc('sched_setattr', VICTIM, attributes, 0) == 0
""", "EPERM"),
    Cell("setpriority_victim", "return sc('setpriority', 0, VICTIM, 5) == 0", "EPERM"),
    Cell("getpriority_of_user", "return sc('getpriority', 2, 0) > 0", "EPERM"),
    Cell("ioprio_victim", "return sc('ioprio_get', 1, VICTIM) >= 0", "EPERM"),
    Cell("kill_victim", "os.kill(VICTIM, 23); return True", "EPERM"),
    Cell("kill_everything", "return os.kill(VICTIM if not JAILED else -1, 23) is None", "EPERM"),
    Cell("kill_own_group_zero", "return os.kill(0, 0) is None", "EPERM"),
    Cell("tgkill_victim", "return sc('tgkill', VICTIM, VICTIM, 23) == 0", "EPERM"),
    Cell("tkill_victim", "return sc('tkill', VICTIM, 23) == 0", "EPERM"),
    Cell("sigqueue_victim", """
info = ctypes.create_string_buffer(struct.pack('iii', 23, 0, -1), 128)
return sc('rt_sigqueueinfo', VICTIM, 23, info) == 0
""", "EPERM"),
    Cell("pidfd_signal_victim",
         "return sc('pidfd_send_signal', sc('pidfd_open', VICTIM, 0), 23, None, 0) == 0", "EPERM"),
    Cell("signal_by_fcntl_owner", """
import fcntl
reading, writing = os.pipe()
fcntl.fcntl(reading, fcntl.F_SETOWN, VICTIM)
return fcntl.fcntl(reading, fcntl.F_GETOWN) == VICTIM
""", "EPERM"),
    Cell("signal_by_ioctl_owner", """
import fcntl
left, right = socket.socketpair()
fcntl.ioctl(left, 0x8901, struct.pack('i', VICTIM))   # FIOSETOWN
return True
""", "ENOTTY"),
    Cell("cpu_clock_of_victim", """
clock = (~VICTIM << 3) | 2
return sc('clock_gettime', clock & 0xFFFFFFFF, ctypes.byref((ctypes.c_int64 * 2)())) == 0
""", "EINVAL"),
    Cell("cpu_clock_of_victim_libc", "import time; return time.clock_gettime((~VICTIM << 3) | 2) >= 0", "EINVAL"),
    Cell("timer_on_victim_clock", """
timer = ctypes.c_int()
return sc('timer_create', ((~VICTIM << 3) | 2) & 0xFFFFFFFF, None, ctypes.byref(timer)) == 0
""", "EINVAL"),
    Cell("shared_memory_of_victim", "return sc('shmat', SEGMENT, 0, 0)", "EPERM", kernel=True),
    Cell("kcmp_victim", "return sc('kcmp', VICTIM, VICTIM, 1, 0, 0) == 0", "EPERM", kernel=True),
    Cell("pidfd_of_victim", "return sc('pidfd_open', VICTIM, 0) >= 0", "EPERM"),
    # -- the network and the desktop
    Cell("tcp", "return socket.create_connection(('127.0.0.1', TCP), 2)", "EPERM"),
    Cell("tcp_raw", "return sc('socket', 2, 1, 0)", "EINVAL"),
    Cell("tcp6", "return sc('socket', 10, 1, 0)", "EINVAL", kernel=True),
    Cell("udp", """
fd = sc('socket', 2, 2, 0)
address = struct.pack('>HH4s8x', socket.htons(2), UDP, bytes([127, 0, 0, 1]))
return sc('sendto', fd, b'x', 1, 0, address, 16)
""", "EINVAL"),
    Cell("raw_socket", "return sc('socket', 2, 3, 1)", "EINVAL", root=True),
    Cell("packet_socket", "return sc('socket', 17, 3, 0)", "EINVAL", root=True, kernel=True),
    Cell("netlink", "return sc('socket', 16, 3, 0)", "EINVAL"),
    Cell("vsock", "return sc('socket', 40, 1, 0)", "EINVAL", kernel=True),
    Cell("alg_socket", "return sc('socket', 38, 5, 0)", "EINVAL", kernel=True),
    Cell("socket_high_bits", "return sc('socket', 2 | (1 << 32), 1 | (1 << 40), 0)", "EINVAL"),
    Cell("x11", "socket.socket(socket.AF_UNIX).connect(STATE + '/X0'); return True", "EPERM"),
    Cell("x11_raw", """
name = struct.pack('H', 1) + (STATE + '/X0').encode() + b'\\0'
return sc('connect', sc('socket', 1, 1, 0), name, len(name)) == 0
""", "EACCES"),
    Cell("dbus_raw", """
name = struct.pack('H', 1) + (STATE + '/bus').encode() + b'\\0'
return sc('connect', sc('socket', 1, 1, 0), name, len(name)) == 0
""", "EACCES"),
    Cell("docker_raw", """
name = struct.pack('H', 1) + (STATE + '/docker.sock').encode() + b'\\0'
return sc('connect', sc('socket', 1, 1, 0), name, len(name)) == 0
""", "EACCES"),
    Cell("abstract_raw", """
name = struct.pack('H', 1) + ABSTRACT.encode()
return sc('connect', sc('socket', 1, 1, 0), name, len(name)) == 0
""", "EACCES"),
    Cell("unix_datagram", "return sc('socket', 1, 2, 0)", "EINVAL"),
    Cell("datagram_pair_to_path", """
pair = array.array('i', [0, 0])
sc('socketpair', 1, 2, 0, ctypes.c_void_p(pair.buffer_info()[0]))
name = struct.pack('H', 1) + (STATE + '/notify').encode() + b'\\0'
return sc('sendto', pair[0], b'x', 1, 0, name, len(name))
""", "EINVAL"),
    Cell("listen_raw", """
fd = sc('socket', 1, 1, 0)
name = struct.pack('H', 1) + b'\\0cloister-squat-%d' % os.getpid()
return sc('bind', fd, name, len(name)) == 0 and sc('listen', fd, 1) == 0
""", "EACCES"),
    # -- other programs
    Cell("fork", "return reap(os.fork())", "EPERM"),
    Cell("fork_raw", "return reap(sc('clone', 17, 0, 0, 0, 0))", "EPERM"),
    Cell("vfork_raw", "return sc('vfork') if JAILED else reap(os.fork())", "EPERM", kernel=True),
    Cell("clone3_raw", """
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
return reap(sc('clone3', ctypes.byref(arguments), 88))
""", "ENOSYS"),
    Cell("clone_new_user_namespace", "return reap(sc('clone', 0x10000000 | 17, 0, 0, 0, 0))", "EPERM", kernel=True),
    Cell("exec", "return in_child(lambda: os.execv('/bin/true', ['true']))", "EPERM"),
    Cell("exec_raw", """
vector = (ctypes.c_char_p * 2)(b'true', None)
return in_child(lambda: sc('execve', ctypes.c_char_p(b'/bin/true'), vector, None))
""", "EPERM"),
    Cell("memfd", """
fd = os.memfd_create('more-memory-than-the-limit')
return os.write(fd, b'x')
""", "ENOSYS"),
    Cell("exec_by_descriptor", """
with open('program', 'wb') as out:
    out.write(b'#!/bin/true\\n' if JAILED else open('/bin/true', 'rb').read())
os.chmod('program', 0o700)
fd = os.open('program', os.O_RDONLY)
vector = (ctypes.c_char_p * 2)(b'true', None)
return in_child(lambda: sc('execveat', fd, ctypes.c_char_p(b''), vector, None, 0x1000))
""", "EPERM"),
    Cell("posix_spawn", "return os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)", "EPERM"),
    Cell("posix_spawn_libc", """
pid, vector = ctypes.c_int(), (ctypes.c_char_p * 2)(b'true', None)
error = _libc.posix_spawn(ctypes.byref(pid), b'/bin/true', None, None, vector, None)
if error:
    raise OSError(error, 'posix_spawn')
return os.waitpid(pid.value, 0)
""", "EPERM"),
    Cell("subprocess", "return subprocess.run(['/bin/true'], check=True)", "EPERM"),
    Cell("os_system", "return os.system('/bin/true') == 0", "EPERM"),
    Cell("libc_system", "return _libc.system(b'/bin/true') == 0", "nothing"),
    Cell("popen", "return os.popen('/bin/echo x').read()", "EPERM"),
    Cell("bang", "return get_ipython().getoutput('/bin/echo x')", "EPERM"),
    Cell("bang_system", "return get_ipython().system('/bin/true') is None", "EPERM"),
    Cell("multiprocessing", """
import multiprocessing
child = multiprocessing.get_context('fork').Process(target=print)
child.start()
child.join()
return True
""", "EPERM"),
    # -- the kernel's back doors
    Cell("io_uring", "return sc('io_uring_setup', 4, ctypes.create_string_buffer(120))", "ENOSYS", kernel=True),
    Cell("bpf", """
attributes = ctypes.create_string_buffer(struct.pack('IIII', 2, 4, 8, 1), 128)
return sc('bpf', 0, attributes, 128)
""", "EPERM", root=True, kernel=True),
    Cell("perf_event", """
attributes = ctypes.create_string_buffer(struct.pack('IIQ', 1, 128, 0), 128)
return sc('perf_event_open', attributes, VICTIM, -1, -1, 0)
""", "EPERM", root=True, kernel=True),
    Cell("keyctl", "return sc('keyctl', 0, -3, 1, 0, 0)", "EPERM", kernel=True),
    Cell("add_key", "return sc('add_key', b'user', b'x', b'y', 1, -2)", "EPERM", kernel=True),
    Cell("userfaultfd", "return sc('userfaultfd', 1)", "EPERM", kernel=True),
    Cell("mount", """
sc('mount', b'none', (STATE + '/mnt').encode(), b'tmpfs', 0, None)
sc('umount2', (STATE + '/mnt').encode(), 0)
return True
""", "EPERM", root=True, kernel=True),
    Cell("unshare_user", "return in_child(lambda: sc('unshare', 0x10000000) == 0)", "EPERM", kernel=True),
    Cell("unshare_mounts", "return in_child(lambda: sc('unshare', 0x00020000) == 0)", "EPERM", root=True),
    Cell("setns", "return in_child(lambda: sc('setns', os.open(f'/proc/{VICTIM}/ns/uts', 0), 0) == 0)", "EACCES",
         root=True),
    Cell("chroot", "return in_child(lambda: sc('chroot', b'/') == 0)", "EPERM", root=True),
    Cell("personality", "return sc('personality', 0xFFFFFFFF) >= 0", "EPERM"),
    Cell("more_seccomp", "return sc('seccomp', 2, 0, ctypes.byref(ctypes.c_uint32(0))) == 0", "EPERM"),
    Cell("become_dumpable", "return _libc.prctl(4, 1, 0, 0, 0) == 0", "nothing"),
    Cell("outlive_the_agent", "return _libc.prctl(1, 0, 0, 0, 0) == 0", "nothing"),
    Cell("regain_capabilities", """
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
sc('capget', ctypes.byref(header), ctypes.byref(sets))
return sets[0] and sc('capset', ctypes.byref(header), ctypes.byref(sets)) == 0
""", "nothing", root=True),
    Cell("syslog", "return sc('syslog', 10, None, 0) >= 0", "EPERM", root=True, kernel=True),
    Cell("machine_load", "return sc('sysinfo', ctypes.create_string_buffer(256)) == 0", "EPERM"),
    Cell("watch_files", """
fd = sc('inotify_init1', 0)
return sc('inotify_add_watch', fd, STATE.encode(), 0xfff) >= 0
""", "EPERM", kernel=True),
    # -- files
    Cell("attesters", """
import glob
paths = ['/sys/kernel/config/tsm/report', '/dev/sgx_enclave', '/dev/sgx_provision', '/dev/sgx/enclave',
         '/dev/tdx_guest', '/dev/sev-guest', '/dev/sev', '/dev/nsm', '/dev/tpm0', '/dev/tpmrm0',
         '/dev/attestation/quote',
         '/sys/class/misc/tdx_guest/measurements/rtmr3:sha384', '/sys/kernel/security/tpm0/binary_bios_measurements']
# most machines have none of these; their neighbours show that the folders themselves are closed
return reads(*paths, '/sys/kernel/notes', '/sys/kernel/mm/transparent_hugepage/enabled')
""", "EACCES"),
    Cell("attester_write", "return os.open('/dev/full', os.O_WRONLY)", "EACCES"),
    Cell("capsule", "return reads(STATE + '/demo/capsules/part-0.parquet')", "EACCES"),
    Cell("cloister_home_keys", "return reads(STATE + '/enclave/simulator.key', STATE + '/trust/entries.json')",
         "EACCES"),
    Cell("ledger", "import sqlite3; return open(STATE + '/demo/ledger.sqlite', 'r+b')", "EACCES"),
    Cell("list_cloister_home", "return os.listdir(STATE)", "EACCES"),
    Cell("passwords", "return reads('/etc/passwd')", "EACCES"),
    Cell("home_of_the_user", "return os.listdir(os.path.expanduser('~' if not JAILED else '/root'))", "EACCES"),
    Cell("write_tmp", """
with open('/tmp/cloister-attack', 'w') as file:
    file.write('x')
os.unlink('/tmp/cloister-attack')
return True
""", "EACCES"),
    Cell("write_shm", """
with open('/dev/shm/cloister-attack', 'w') as file:
    file.write('x')
os.unlink('/dev/shm/cloister-attack')
return True
""", "EACCES"),
    Cell("write_packages", """
import msgspec
path = os.path.join(os.path.dirname(msgspec.__file__), 'cloister_attack.py')
open(path, 'w').close()
os.unlink(path)
return True
""", "EACCES", kernel=True),
    Cell("truncating_open", """
import glob, msgspec
# readable in the jail; a read-only open that truncates must not be a way to write
path = glob.glob(os.path.dirname(os.path.dirname(msgspec.__file__)) + '/msgspec-*/INSTALLER')[0]
if not JAILED:
    path = STATE + '/mnt/truncated'
    open(path, 'w').close()
return os.open(path, os.O_RDONLY | os.O_TRUNC)
""", "EPERM"),
    Cell("truncate_path", "os.truncate(STATE + '/mnt/../trust/entries.json', 20); return True", "EPERM"),
    Cell("symlink_escape", """
link = os.path.join(os.environ.get('TMPDIR', STATE + '/mnt'), 'escape')
if os.path.lexists(link):
    os.unlink(link)
os.symlink(STATE, link)
return reads(link + '/enclave/simulator.key')
""", "EACCES"),
    Cell("hardlink_in", """
target = os.path.join(os.environ.get('TMPDIR', STATE), 'hard')
os.link(STATE + '/enclave/simulator.key', target)
os.unlink(target)
return True
""", "EXDEV"),
    Cell("rename_in", """
target = os.path.join(os.environ.get('TMPDIR', STATE), 'moved')
os.rename(STATE + '/trust/entries.json', target)
os.rename(target, STATE + '/trust/entries.json')
return True
""", "EACCES"),
    Cell("delete", """
path = STATE + '/mnt/file'
if not JAILED:
    open(path, 'w').close()
os.unlink(path if not JAILED else STATE + '/trust/entries.json')
return True
""", "EACCES"),
    Cell("chmod_ledger", """
path = STATE + '/demo/ledger.sqlite'
os.chmod(path, 0o640 if os.stat(path).st_mode & 0o777 != 0o640 else 0o600)
before = 0o640
os.chmod(path, 0o646)
return os.stat(path).st_mode & 0o777 == 0o646
""", "nothing"),
    Cell("chmod_open_library", """
import msgspec
fd = os.open(msgspec.__file__, os.O_RDONLY)
mode = os.fstat(fd).st_mode & 0o777
os.fchmod(fd, mode ^ 0o010)
changed = os.fstat(fd).st_mode & 0o777 != mode
os.fchmod(fd, mode)
return changed
""", "nothing", kernel=True),
    Cell("utime_ledger", """
path = STATE + '/demo/ledger.sqlite'
os.utime(path, (1, 1))
return os.stat(path).st_mtime == 1
""", "nothing"),
    Cell("setxattr_ledger", "os.setxattr(STATE + '/demo/ledger.sqlite', 'user.x', b'y'); return True", "ENOTSUP",
         kernel=True),
    Cell("device_memory", "return reads('/dev/mem', '/dev/kmem', '/dev/port', '/dev/full')", "EACCES"),
    Cell("open_by_handle", """
handle = ctypes.create_string_buffer(struct.pack('I', 128), 256)
return sc('name_to_handle_at', -100, STATE.encode(), handle, ctypes.byref(ctypes.c_int()), 0) == 0
""", "EPERM", kernel=True),
    Cell("openat2", """
how = (ctypes.c_uint64 * 3)(0, 0, 0)
return _libc.syscall(ctypes.c_long(437), ctypes.c_long(-100), STATE.encode(), ctypes.byref(how), ctypes.c_long(24)) >= 0
""", "nothing"),
    Cell("make_device", "os.mknod(os.environ.get('TMPDIR', STATE) + '/null', 0o20600, os.makedev(1, 3)); return True",
         "EPERM", root=True),
    # -- resources and the link
    Cell("raise_limits", """
import resource
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
return True
""", "ValueError"),
    Cell("huge_file", """
path = os.path.join(os.environ.get('TMPDIR', STATE), 'huge')
with open(path, 'wb') as file:
    file.truncate(1 << 33)
os.unlink(path)
return True
""", "EFBIG"),
    Cell("allocate_memory", "import numpy; return len(numpy.empty(1 << 30))", "MemoryError"),
)  # fmt: skip
