"""The vault's confinement, applied to a real process with the real engines in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """
import ctypes, json, os, socket, subprocess, sys, threading
from pathlib import Path
from cloister.vault.confine import confine, prepare

folder, confined, wire = Path(sys.argv[1]), sys.argv[2] == "confined", int(sys.argv[3])
prepare() if confined else None
import duckdb, opendp.prelude as dp, pyarrow as pa, pyarrow.parquet as pq
from cloister.confine.process import thread_count
threads = thread_count()
pq.write_table(pa.table({"a": list(range(1000))}), folder / "capsule" / "t.parquet")
result = {"threads": threads}
if confined:
    done = confine([folder / "capsule"], [wire])
    result["report"] = done.report
    result["reserve"] = len(done.reserve)
    done.release_reserve()
    result["released"] = done.reserve is None

engine = duckdb.connect(config={"memory_limit": "500MB", "threads": "2", "temp_directory": ""})
table = pq.read_table(folder / "capsule" / "t.parquet")
engine.register("t", table)
result["sum"] = engine.execute("select sum(a)::varchar from t").fetchone()[0]
dp.enable_features("contrib")
noise = dp.m.make_gaussian(dp.atom_domain(T=int), dp.absolute_distance(T=float), scale=10.0)
result["noisy"] = isinstance(noise(5), int)
pool = threading.Thread(target=lambda: result.__setitem__("thread", True))
pool.start(); pool.join()
libc = ctypes.CDLL(None, use_errno=True)

def raw(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments]) == -1:
        raise OSError(ctypes.get_errno(), "raw")

def forked():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

attempts = {
    "tcp": lambda: socket.socket(), "udp": lambda: socket.socket(type=socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX), "pair": lambda: socket.socketpair(),
    "fork": forked, "program": lambda: subprocess.run(["/bin/true"], check=True),
    "read": lambda: open("/etc/hostname"), "read_beside": lambda: open(folder / "beside"),
    "processes": lambda: os.listdir("/proc"), "maps": lambda: open("/proc/self/maps"),
    "write": lambda: open(folder / "capsule" / "w", "w"),
    "append": lambda: open(folder / "capsule" / "t.parquet", "ab"),
    "write_tmp": lambda: open(f"/tmp/attack-{os.getpid()}", "w"),
    "rename": lambda: os.rename(folder / "beside", folder / "b2"),
    "delete": lambda: os.unlink(folder / "capsule" / "t.parquet"),
    "link": lambda: os.symlink("/", folder / "capsule" / "l"),
    "copy_by_engine": lambda: engine.execute(f"copy t to '{folder}/out.csv'"),
    "spill": lambda: os.mkdir(folder / "spill"), "memfd": lambda: os.memfd_create("x"),
    "prlimit": lambda: __import__("resource").prlimit(os.getppid(), 7), "kill": lambda: os.kill(os.getppid(), 0),
    "dumpable": lambda: None if libc.prctl(3, 0, 0, 0, 0) else (_ for _ in ()).throw(OSError("not dumpable")),
    "inherited": lambda: os.fstat(int(sys.argv[4])),
}
result["done"] = []
for name, attempt in attempts.items():
    try:
        attempt()
        result["done"].append(name)
    except Exception:
        pass
Path(f"/tmp/attack-{os.getpid()}").unlink() if "write_tmp" in result["done"] else None
os.write(wire, json.dumps(result).encode())
os._exit(0)
"""


def run(folder: Path, mode: str) -> dict[str, Any]:
    (folder / "capsule").mkdir()
    (folder / "beside").write_text("x")
    reading, writing = os.pipe()
    inherited = os.open("/etc/hostname", os.O_RDONLY)
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), mode, str(writing), str(inherited)],
        pass_fds=(writing, inherited),
        timeout=120,
        check=False,
        capture_output=True,
    )
    os.close(writing)
    os.close(inherited)
    with os.fdopen(reading) as answer:
        text = answer.read()
    assert text, process.stderr.decode()[-2000:]
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("vault"), "confined")


def test_the_engines_work_inside(confined: dict[str, Any]) -> None:
    assert confined["sum"] == "499500"
    assert confined["noisy"]
    assert confined["thread"]


def test_imports_start_no_threads(confined: dict[str, Any]) -> None:
    assert confined["threads"] == 1


def test_every_way_out_is_closed(confined: dict[str, Any]) -> None:
    assert confined["done"] == []


def test_the_same_attempts_succeed_without_confinement(tmp_path: Path) -> None:
    free = run(tmp_path, "free")
    assert len(free["done"]) == 23
    assert free["threads"] > 1


def test_report(confined: dict[str, Any]) -> None:
    report = confined["report"]
    assert report["seccomp"] == "allowlist"
    assert report["landlock"] >= 1
    assert report["capabilities"] == 0
    assert report["dumpable"] is False
    assert report["swap"] in {"locked", "off", "possible"}
    assert report["rlimits"]["CORE"] == 0
    assert confined["reserve"] == 64 << 20
    assert confined["released"]


def test_it_refuses_to_run_beside_threads() -> None:
    program = (
        "import threading, time\nfrom cloister.vault.confine import confine, prepare\n"
        "from cloister.errors import CloisterError\n"
        "prepare(); threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
        "try:\n    confine([], [])\nexcept CloisterError as error:\n    print(error.code, flush=True)\n"
        "import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "vault.threads\n"
