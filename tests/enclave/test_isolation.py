"""The jail from outside and inside: what the kernel says about it, and that a notebook still works in it."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.enclave import isolation

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))

import jailed

# what IPython, Jupyter or Python itself would execute on the way up
PLANTED = (
    "ipython/profile_default/startup/0.py", "ipython/profile_default/ipython_kernel_config.py",
    "ipython/usercustomize.py",
    "ipython/ipython_config.py", "home/ipython_config.py", "config/jupyter_config.py", "home/numpy.py",
    "home/sitecustomize.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def kernel() -> Iterator[jailed.Kernel]:
    with jailed.jail() as running:
        yield running


def status(path: str) -> dict[str, str]:
    lines = Path(path).read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


class TestFromOutside:
    def test_every_thread_is_filtered_and_without_privileges(self, kernel: jailed.Kernel) -> None:
        assert kernel.process is not None
        threads = list(Path(f"/proc/{kernel.process.pid}/task").iterdir())
        assert len(threads) > 3
        for thread in threads:
            told = status(f"{thread}/status")
            assert told["Seccomp"] == "2"
            assert told["NoNewPrivs"] == "1"
            assert {int(told[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")} <= {
                0,
                int(told["CapBnd"], 16),
            }
            assert int(told["CapPrm"], 16) == int(told["CapEff"], 16) == int(told["CapInh"], 16) == 0

    def test_descriptors(self, kernel: jailed.Kernel) -> None:
        assert kernel.process is not None
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):  # not dumpable: closed to the user's other processes
                list(Path(f"/proc/{kernel.process.pid}/fd").iterdir())
            return
        for entry in Path(f"/proc/{kernel.process.pid}/fd").iterdir():
            target = str(entry.readlink())
            allowed = target.startswith(("socket:", "pipe:", "anon_inode:", str(kernel.work))) or target == "/dev/null"
            assert allowed, target

    def test_it_leads_its_own_session(self, kernel: jailed.Kernel) -> None:
        assert kernel.process is not None
        assert os.getpgid(kernel.process.pid) == kernel.process.pid

    def test_sockets_and_folders_are_private(self, kernel: jailed.Kernel) -> None:
        sockets = list((kernel.work / "ipc").iterdir())
        assert len(sockets) == 5
        assert all(stat.S_ISSOCK(path.stat().st_mode) and path.stat().st_mode & 0o077 == 0 for path in sockets)
        assert all(path.stat().st_mode & 0o077 == 0 for path in kernel.work.iterdir())

    def test_it_has_no_engine_mapped(self, kernel: jailed.Kernel) -> None:
        kernel.run("import numpy, pandas, sklearn, matplotlib")
        assert kernel.process is not None
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                Path(f"/proc/{kernel.process.pid}/maps").read_text()
            return
        mapped = Path(f"/proc/{kernel.process.pid}/maps").read_text()
        assert "numpy" in mapped
        assert "duckdb" not in mapped
        assert "opendp" not in mapped

    def test_report(self, kernel: jailed.Kernel) -> None:
        assert kernel.isolation["level"] in {"full", "reduced"}
        assert kernel.isolation["seccomp"] == "allowlist"
        assert kernel.isolation["capabilities"] == 0
        assert kernel.isolation["rlimits"]["CORE"] == 0
        assert set(kernel.isolation) == set(isolation.unconfined())


class TestANotebookWorks:
    def test_plot(self, kernel: jailed.Kernel) -> None:
        got = kernel.run("import matplotlib.pyplot as plt\nplt.errorbar([1, 2], [3, 4], yerr=1)\nplt.show()")
        assert got["status"] == "ok"
        assert any("image/png" in data for data in got["data"])
        assert got["stderr"] == ""

    def test_pandas_renders(self, kernel: jailed.Kernel) -> None:
        got = kernel.run("import pandas as pd; pd.DataFrame({'a': [1, 2]}).groupby('a').size().to_frame()")
        assert "text/html" in got["data"][0]

    def test_scikit_learn_with_and_without_jobs(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "import numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
            "from sklearn.ensemble import RandomForestRegressor\n"
            "x = np.arange(60.0).reshape(-1, 2); y = x[:, 0] * 2\n"
            "print(round(LinearRegression().fit(x, y).score(x, y), 6), "
            "RandomForestRegressor(5, n_jobs=2).fit(x, y).predict(x).shape)"
        )
        assert got["stdout"] == "1.0 (30,)\n"
        assert got["stderr"] == ""

    def test_joblib_falls_back_to_one_process(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "from joblib import Parallel, delayed\nprint(sum(Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(5))))"
        )
        assert got["stdout"] == "10\n"

    def test_widgets(self, kernel: jailed.Kernel) -> None:
        got = kernel.run("import ipywidgets; ipywidgets.IntSlider(value=3)")
        assert "application/vnd.jupyter.widget-view+json" in got["data"][0]

    def test_traceback_shows_the_cell(self, kernel: jailed.Kernel) -> None:
        got = kernel.run("def broken():\n    return 1 / 0\nbroken()")
        assert got["error"]["ename"] == "ZeroDivisionError"
        assert any("return" in line for line in got["error"]["traceback"])

    def test_completion_and_inspection(self, kernel: jailed.Kernel) -> None:
        kernel.run("import pandas as pd")
        reply = kernel.client.complete("pd.DataFra", reply=True, timeout=30)
        assert {"DataFrame", "pd.DataFrame"} & set(reply["content"]["matches"])
        assert kernel.client.inspect("len", reply=True, timeout=30)["content"]["found"]

    def test_history(self, kernel: jailed.Kernel) -> None:
        kernel.run("remembered = 1", store_history=True)
        reply = kernel.client.history(hist_access_type="tail", n=5, reply=True, timeout=30)
        assert any("remembered = 1" in entry[2] for entry in reply["content"]["history"])

    def test_input(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "print('hello', input('name? '))", allow_stdin=True, stdin_hook=lambda _: kernel.client.input("Ada")
        )
        assert got["stdout"] == "hello Ada\n"

    def test_files_and_temporary_files(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "import shutil, tempfile, os, zipfile\nopen('a.txt', 'w').write('x'); shutil.copy2('a.txt', 'b.txt')\n"
            "with tempfile.TemporaryDirectory() as folder: open(folder + '/c', 'w').write('y')\n"
            "zipfile.ZipFile('z.zip', 'w').write('a.txt'); zipfile.ZipFile('z.zip').extractall('out')\n"
            "os.rename('b.txt', 'out/d.txt'); print(sorted(os.listdir('.')), sorted(os.listdir('out')))"
        )
        assert got["stdout"] == "['a.txt', 'out', 'z.zip'] ['a.txt', 'd.txt']\n"

    def test_local_modules(self, kernel: jailed.Kernel) -> None:
        assert (
            kernel.run("open('helper.py', 'w').write('answer = 42')\nimport helper\nprint(helper.answer)")["stdout"]
            == "42\n"
        )

    def test_threads_asyncio_and_callbacks(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "import asyncio, ctypes\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(4) as pool: total = sum(pool.map(len, ['a', 'bb', 'ccc']))\n"
            "await asyncio.sleep(0.01)\nback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)\n"
            "print(total, back(1), await asyncio.to_thread(len, 'four'))"
        )
        assert got["stdout"] == "6 2 4\n"

    def test_zmq_threads_and_large_outputs(self, kernel: jailed.Kernel) -> None:
        got = kernel.run(
            "import zmq\ncontext = zmq.Context(io_threads=2)\n"
            "a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)\n"
            "a.bind('inproc://x'); b.connect('inproc://x'); a.send(b'y' * 200_000, copy=False)\n"
            "print(len(b.recv())); a.close(); b.close(); context.term()\n"
            "print('z' * 2_000_000)"
        )
        assert got["stdout"].startswith("200000\n")
        assert len(got["stdout"]) == 2_000_008
        assert kernel.alive

    def test_magics(self, kernel: jailed.Kernel) -> None:
        got = kernel.run("%timeit -n1 -r1 sum(range(10))\n%who_ls str\n%pwd")
        assert got["status"] == "ok"

    def test_subshells(self, kernel: jailed.Kernel) -> None:
        message = kernel.client.session.msg("create_subshell_request", {})
        kernel.client.control_channel.send(message)
        subshell = kernel.client.get_control_msg(timeout=20)["content"]["subshell_id"]
        busy = kernel.client.execute("import time; time.sleep(1.5)", silent=True)
        content = {
            "code": "side = 7",
            "silent": True,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
        }
        request = kernel.client.session.msg("execute_request", content)
        request["header"]["subshell_id"] = subshell
        started = time.monotonic()
        kernel.client.shell_channel.send(request)
        first = kernel.client.get_shell_msg(timeout=20)
        assert first["parent_header"]["msg_id"] == request["header"]["msg_id"]
        assert first["content"]["status"] == "ok"
        assert time.monotonic() - started < 1.4
        assert kernel.client.get_shell_msg(timeout=20)["parent_header"]["msg_id"] == busy

    def test_interrupt_by_message(self, kernel: jailed.Kernel) -> None:
        running = kernel.client.execute("import time\nfor _ in range(200): time.sleep(0.1)")
        time.sleep(0.5)
        kernel.client.control_channel.send(kernel.client.session.msg("interrupt_request", {}))
        reply = kernel.client.get_shell_msg(timeout=20)
        assert reply["parent_header"]["msg_id"] == running
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        deadline = time.monotonic() + 10
        while not kernel.alive:  # what follows an error at once is aborted
            assert time.monotonic() < deadline

    @pytest.mark.parametrize(
        "code", ["!ls", "%%bash\nls", "import os; os.fork()", "import subprocess; subprocess.run(['ls'])"]
    )
    def test_no_programs_in_clear_words(self, kernel: jailed.Kernel, code: str) -> None:
        error = kernel.run(code)["error"]
        assert error["ename"] == "PermissionError"
        assert "starts no other programs" in error["evalue"]
        assert kernel.alive

    @pytest.mark.parametrize("code", ["%pip install rich", "!pip install rich", "!/usr/bin/pip install rich"])
    def test_no_packages_in_clear_words(self, kernel: jailed.Kernel, code: str) -> None:
        error = kernel.run(code)["error"]
        assert error["ename"] == "PermissionError"
        assert "environment is measured" in error["evalue"]
        assert kernel.alive

    def test_no_network_in_clear_words(self, kernel: jailed.Kernel) -> None:
        error = kernel.run("import httpx; httpx.get('http://127.0.0.1:9')")["error"]
        assert "no network" in error["evalue"] + "".join(error["traceback"])

    def test_debugger_is_not_announced(self, kernel: jailed.Kernel) -> None:
        kernel.client.kernel_info()
        while (reply := kernel.client.get_shell_msg(timeout=20))["msg_type"] != "kernel_info_reply":
            pass
        assert "debugger" not in reply["content"].get("supported_features", [])
        assert not reply["content"].get("debugger")


def test_shutdown_ends_it_and_so_does_the_end_of_its_parent() -> None:
    with jailed.jail() as kernel:
        kernel.client.shutdown()
        assert kernel.process is not None
        assert kernel.process.wait(15) == 0
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import jailed\n"
        "with jailed.jail() as kernel:\n    print(kernel.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(Path(jailed.__file__).parent)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and status(f"/proc/{pid}/status")["State"][0] != "Z":
        assert time.monotonic() < deadline, "the sandbox outlived its parent"
        time.sleep(0.05)


def test_what_an_earlier_notebook_left_is_not_executed(tmp_path: Path) -> None:
    plant = f"""
import os
for name in {PLANTED!r}:
    path = os.path.join(os.environ["HOME"], "..", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write("import os; open(os.environ.get('TMPDIR', '/tmp') + '/planted', 'w')")
"""
    with jailed.jail("--uid", "shared", work=tmp_path) as kernel:
        assert kernel.run(plant)["status"] == "ok"
        assert (tmp_path / "ipython/profile_default/startup/0.py").exists()
    (tmp_path / "connection.json").unlink()
    for path in (tmp_path / "ipc").iterdir():
        path.unlink()
    with jailed.jail("--uid", "shared", work=tmp_path) as kernel:
        assert kernel.run("import os; print(os.path.exists(os.environ['TMPDIR'] + '/planted'))")["stdout"] == "False\n"


def test_links_left_in_the_work_folder_lead_nowhere(tmp_path: Path) -> None:
    work, outside = tmp_path / "w", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("x")
    for name in ("ipython", "home", "mpl", "tmp"):
        (work / name).symlink_to(outside)
    with jailed.jail("--uid", "shared", work=work) as kernel:
        assert kernel.alive
    assert [path.name for path in outside.iterdir()] == ["kept"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the foreign ABI of x86-64")
def test_a_foreign_abi_kills_the_process() -> None:
    with jailed.jail() as kernel:
        assert kernel.process is not None
        kernel.client.execute(
            "import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\n"
            "page.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"  # getpid through int 0x80
            "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"
        )
        assert kernel.process.wait(15) == -signal.SIGSYS


def _start(*arguments: str, fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cloister.enclave.jail", *arguments]
    return subprocess.run(command, pass_fds=fds, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "connection",
    [
        {"transport": "tcp", "ip": "127.0.0.1", "shell_port": 1},
        {"transport": "ipc", "ip": "/tmp/elsewhere/k"},
        {"transport": "ipc", "ip": "WORK/../k"},
    ],
)
def test_a_connection_that_leaves_the_work_folder_is_refused(tmp_path: Path, connection: dict[str, str]) -> None:
    work, file = tmp_path / "w", tmp_path / "c.json"
    file.write_text(json.dumps(connection).replace("WORK", str(work)))
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    options = ("--work", str(work), "--connection-file", str(file), "--link-fd", str(theirs.fileno()))
    with ours, theirs:
        done = _start(*options, "--report-fd", str(writing), fds=(theirs.fileno(), writing))
    os.close(writing)
    with os.fdopen(reading) as report:
        assert "ipc sockets inside the work folder" in json.loads(report.readline())["error"]
    assert done.returncode == 70
    assert b"ipc sockets inside the work folder" in done.stderr


def test_an_own_uid_is_taken_where_possible_and_never_pretended(tmp_path: Path) -> None:
    if isolation.can_have_own_uid(isolation.FIRST_OWN_UID, Path("/tmp")):
        with jailed.jail("--uid", str(isolation.FIRST_OWN_UID)) as kernel:
            assert kernel.isolation["uid"] == "own"
            assert kernel.process is not None
            assert status(f"/proc/{kernel.process.pid}/status")["Uid"].split()[0] == str(isolation.FIRST_OWN_UID)
    else:
        with (
            pytest.raises(RuntimeError, match="cannot run as user"),
            jailed.jail("--uid", str(isolation.FIRST_OWN_UID)),
        ):
            pass


def test_own_uid_in_a_machine_whose_interpreter_is_readable(tmp_path: Path) -> None:
    """The interpreter's home is made readable in a private mount namespace, as in a container image."""
    home = Path(sys.base_prefix).parents[1]
    script = tmp_path / "namespace.sh"
    script.write_text(
        f"set -e\nmkdir {tmp_path}/kept\nmount --bind {home} {tmp_path}/kept\n"
        f"mount -t tmpfs -o mode=755 tmpfs {home.parent}\nmkdir {home}\nmount --bind {tmp_path}/kept {home}\n"
        'exec "$@"\n'
    )
    wrapper = ("unshare", "--mount", "bash", str(script))
    # Not without privilege, and not if this checkout itself lies in the folder that is covered.
    probe = [*wrapper, sys.executable, "-c", "import cloister"]
    possible = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if (tmp_path / "kept").exists():
        (tmp_path / "kept").rmdir()
    if not possible:
        assert isolation.probe().level != "full"
        return
    with jailed.jail(wrapper=wrapper) as kernel:
        assert kernel.process is not None
        uid = int(status(f"/proc/{kernel.process.pid}/status")["Uid"].split()[0])
        assert (kernel.isolation["uid"], kernel.isolation["level"]) == ("own", "full")
        assert uid >= isolation.FIRST_OWN_UID
        assert kernel.isolation["rlimits"]["NPROC"] == 512
        got = kernel.run("import matplotlib.pyplot as plt; plt.plot([1]); plt.show()")
        assert any("image/png" in data for data in got["data"])


def test_start_is_quick() -> None:
    started = time.monotonic()
    with jailed.jail() as kernel:
        assert kernel.run("1")["status"] == "ok"
        elapsed_s = time.monotonic() - started
    assert elapsed_s < 10, f"{elapsed_s:.1f} s from start to first cell (0.5 s on an idle machine)"
