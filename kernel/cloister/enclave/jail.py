"""The sandbox's process: gives up everything it does not need, then runs an ordinary ipykernel.

    python -m cloister.enclave.jail --work DIR --connection-file F --link-fd N [--report-fd M] [--uid U]

In this order, and none of it can be taken back:

1. start again with a clean environment, so that no secret of the parent is in memory
2. own session; every descriptor closed but the link and the standard streams, which become ``/dev/null``
3. fresh folders for configuration: nothing an earlier notebook left there is executed
4. resource limits, no_new_privs, an own uid where possible, no capabilities, not dumpable, die with the parent
5. Landlock: libraries to read, the work folder to write, nothing else
6. ipykernel binds its ipc sockets
7. seccomp on all threads; one line about the achieved level to the parent
8. the event loop: only now is a message read, so no code of the user ran before step 7

The parent must start it from a thread that lives as long as the sandbox shall (the kernel ties both together).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from cloister.confine import landlock, process, seccomp
from cloister.confine.libc import LINUX
from cloister.confine.paths import package_parent
from cloister.enclave import isolation
from cloister.enclave.rules import sandbox_calls, sandbox_paths

_KEPT_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUSERBASE")
_CLEAN_FLAGS = ("-E", "-P", "-B")
# -E also ignores the PYTHONPATH this package may have come from: what runs must be what was measured.
_SAME_PACKAGE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('cloister.enclave.jail', run_name='__main__', alter_sys=True)"
)
_FRESH_FOLDERS = ("ipython", "config", "cache", "run", "tmp")
_KEPT_FOLDERS = ("home", "mpl", "ipc")
_FONT_CACHE = Path.home() / ".cache" / "matplotlib"
_MIB = 1 << 20
EXIT_FAILED = 70


def main(arguments: list[str] | None = None) -> None:
    """Run the sandbox until its kernel is shut down."""
    options = _parser().parse_args(arguments)
    if not _is_clean():
        _start_again(sys.argv[1:] if arguments is None else arguments)
    errors_fd = os.dup(2)  # where a failed start is told; closed before the first cell
    try:
        app = _confined_app(options, errors_fd)
    except Exception:  # noqa: BLE001 - boundary: whatever failed, the parent must learn of it and no cell may run
        _report_failure(options.report_fd, errors_fd)
    os.close(errors_fd)
    app.start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cloister.enclave.jail", description="Run one sandboxed kernel.")
    parser.add_argument("--work", type=Path, required=True, help="the only folder the notebook can write")
    parser.add_argument("--connection-file", type=Path, required=True, help="ipc; written if it does not exist")
    parser.add_argument("--link-fd", type=int, required=True, help="the framed link to the agent")
    parser.add_argument("--report-fd", type=int, default=-1, help="gets one JSON line: isolation or error")
    parser.add_argument("--uid", default="auto", help="a number, 'auto' (if root and readable) or 'shared'")
    parser.add_argument("--memory-mib", type=int, default=4096, help="address space of the sandbox")
    parser.add_argument("--cache", type=Path, default=_FONT_CACHE, help="folder with matplotlib's font list, to copy")
    return parser


def _is_clean() -> bool:
    if not LINUX:
        return True
    flags = sys.flags.ignore_environment and sys.flags.safe_path and sys.flags.dont_write_bytecode
    return bool(flags) and set(os.environ) <= set(_KEPT_ENVIRONMENT)


def _start_again(arguments: list[str]) -> None:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    command = [sys.executable, *_CLEAN_FLAGS, "-c", _SAME_PACKAGE, str(package_parent()), *arguments]
    os.execve(sys.executable, command, kept)  # noqa: S606 - our own interpreter, fixed arguments


def _confined_app(options: argparse.Namespace, errors_fd: int) -> Any:
    work = options.work.resolve()
    _detach({options.link_fd, options.report_fd, errors_fd})
    uid = _choose_uid(options.uid, work.parent)
    connection_file = _prepare_folders(work, options, uid)
    limits = _limits(options.memory_mib, own_uid=uid is not None)
    parent = os.getppid()
    if not LINUX:
        report = isolation.unconfined()
    else:
        process.first_to_go()
        process.no_new_privileges()
        if uid is not None:
            process.become(uid)
        process.drop_capabilities()
        process.not_dumpable()
        process.die_with(parent)
        landlock_abi = landlock.restrict(sandbox_paths(work))
    _set_environment(work, options.link_fd)

    from cloister.enclave.inner import build_app  # noqa: PLC0415 - imported under Landlock on purpose
    from cloister.enclave.refusals import explain  # noqa: PLC0415

    app = build_app(connection_file)
    os.chdir(work / "home")
    sys.path.insert(0, "")  # a notebook imports modules that lie beside it
    if LINUX:
        filtered = seccomp.available()
        if filtered:
            seccomp.install(sandbox_calls(os.getpid()))
        report = isolation.achieved(
            landlock_abi=landlock_abi,
            allowlist=filtered,
            own_uid=uid is not None,
            limits=limits,
            capabilities=process.capabilities() if not filtered else 0,
        )
        explain(app.shell)
    _tell(options.report_fd, {"isolation": report})
    return app


def _detach(keep: set[int]) -> None:
    if os.getpgid(0) != os.getpid():
        os.setsid()
    os.umask(0o077)
    process.close_all_but(keep)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if null > 2:
        os.close(null)


def _choose_uid(wanted: str, folder: Path) -> int | None:
    if wanted == "shared":
        return None
    uid = isolation.FIRST_OWN_UID + os.getpid() if wanted == "auto" else int(wanted)
    if isolation.can_have_own_uid(uid, folder):
        return uid
    if wanted != "auto":
        raise PermissionError(1, f"this sandbox cannot run as user {uid}")
    return None


def _prepare_folders(work: Path, options: argparse.Namespace, uid: int | None) -> Path:
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _FRESH_FOLDERS + _KEPT_FOLDERS:
        folder = work / name
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists() and name in _FRESH_FOLDERS:
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
    # searching all fonts of a machine can take seconds of the first plot
    for font_list in options.cache.glob("fontlist-*.json"):
        (work / "mpl" / font_list.name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            shutil.copyfile(font_list, work / "mpl" / font_list.name)
    copied = work / "run" / "connection.json"
    copied.write_text(_connection(options.connection_file, work), encoding="utf-8")
    if uid is not None:
        for path in (work, *work.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
    return copied


def _connection(given: Path, work: Path) -> str:
    if not given.exists():
        ports = {f"{name}_port": index for index, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
        info = {
            "transport": "ipc",
            "ip": str(work / "ipc" / "k"),
            "key": "",
            "signature_scheme": "hmac-sha256",
            **ports,
        }
        given.write_text(json.dumps(info), encoding="utf-8")
    text = given.read_text(encoding="utf-8")
    info = json.loads(text)
    if info.get("transport") != "ipc" or work not in Path(str(info.get("ip"))).resolve().parents:
        raise ValueError("the connection file must name ipc sockets inside the work folder")
    return text


def _limits(memory_mib: int, *, own_uid: bool) -> dict[str, int]:
    wanted = {"CORE": 0, "NOFILE": 1024, "FSIZE": 1024 * _MIB, "AS": memory_mib * _MIB, "MEMLOCK": 64 * _MIB}
    if own_uid:
        # counted per user over the whole machine: with a shared uid it would count the user's own processes
        wanted["NPROC"] = 512
    if not LINUX:
        wanted = {"CORE": 0}
    return process.limit(wanted)


def _set_environment(work: Path, link_fd: int) -> None:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_ENVIRONMENT and name != "HOME"}
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update({
        "HOME": str(work / "home"), "TMPDIR": str(work / "tmp"), "IPYTHONDIR": str(work / "ipython"),
        "MPLCONFIGDIR": str(work / "mpl"), "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "XDG_CONFIG_HOME": str(work / "config"), "XDG_CACHE_HOME": str(work / "cache"),
        "XDG_DATA_HOME": str(work / "config"), "XDG_RUNTIME_DIR": str(work / "run"),
        "JUPYTER_CONFIG_DIR": str(work / "config"), "JUPYTER_DATA_DIR": str(work / "config"),
        "JUPYTER_RUNTIME_DIR": str(work / "run"), "JUPYTER_PLATFORM_DIRS": "1", "USER": "cloister",
        "LOGNAME": "cloister", "PATH": "",
        "LOKY_MAX_CPU_COUNT": str(len(os.sched_getaffinity(0)) if LINUX else os.cpu_count() or 1),
        "JOBLIB_MULTIPROCESSING": "0", "CLOISTER_LINK_FD": str(link_fd),
    })  # fmt: skip
    os.environ.setdefault("LANG", "C.UTF-8")
    # configuration is searched in the current folder: a fresh, empty one until the user's code may run
    os.chdir(work / "ipython")


def _tell(report_fd: int, line: dict[str, Any]) -> None:
    if report_fd >= 0:
        os.write(report_fd, json.dumps(line).encode() + b"\n")
        os.close(report_fd)


def _report_failure(report_fd: int, errors_fd: int) -> NoReturn:
    text = traceback.format_exc(limit=-4)
    with contextlib.suppress(OSError):
        os.write(errors_fd, text.encode())
    with contextlib.suppress(OSError):
        _tell(report_fd, {"error": text})
    os._exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
