"""The background pair: one embedded enclave and one broker per user, shared by all notebooks.

A supervisor process starts the broker and the agent, writes ``pair.json`` and lives as long as the agent, which leaves
some time after its last session. Starting is serialised by a file lock, so that two kernels opened at once share one
pair, and two notebooks see one budget.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cloister.demo.world import World, load_world
from cloister.errors import UnavailableError

IDLE_EXIT_S = 60
START_TIMEOUT_S = 60
# The first kernel starts the pair from its notebook's folder; modules that lie there are not ours.
_PYTHON = (sys.executable, "-P", "-m")


def state_file(home: Path) -> Path:
    """Where a running pair says how to reach it."""
    return home / "demo" / "pair.json"


def running(home: Path) -> dict[str, Any] | None:
    """Return the state of the pair if its supervisor and broker are alive."""
    try:
        state: dict[str, Any] = json.loads(state_file(home).read_text())
        os.kill(state["pid"], 0)
        _ask_health(str(state["broker"]))
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None
    return state


def _ask_health(broker: str) -> None:
    connection = http.client.HTTPConnection(broker.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", "/v1/health")
        if connection.getresponse().status != HTTPStatus.OK:
            raise OSError(f"{broker} is not well")
    finally:
        connection.close()


def up(home: Path) -> dict[str, Any]:
    """Return the running pair, building the demo world and starting the processes where needed.

    Raises:
        UnavailableError: The pair did not come up; the log's place is named.
    """
    with _lock(home):
        state = running(home)
        if state:
            return state
        down(home)
        # Imported late: a supervisor needs none of what playing every party needs.
        from cloister.demo.parties import build_world  # noqa: PLC0415 (see above)

        build_world(home)
        log = home / "demo" / "pair.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*_PYTHON, "cloister.demo", "supervise"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "CLOISTER_HOME": str(home)},
            )
        return _wait(home, process, log)


def down(home: Path) -> None:
    """Stop the pair, if any, and wait until it is gone."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        pid = json.loads(state_file(home).read_text())["pid"]
        if not _is_supervised(home):
            # The state outlived a crash, and the process id may be anybody's by now.
            raise ProcessLookupError(pid, "there is no supervisor")
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    state_file(home).unlink(missing_ok=True)


def supervise(home: Path) -> int:
    """Run broker and agent until the agent leaves; the body of the supervisor process."""
    world = load_world(home)
    if world is None:
        raise UnavailableError("demo.world", "there is no demo world yet", next_step="cloister demo up")
    run = home / "demo" / "run"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alive(home).open("w") as alive:
        # Held as long as this process lives, however it ends.
        fcntl.flock(alive, fcntl.LOCK_EX)
        return _supervise(home, world, run)


def _supervise(home: Path, world: World, run: Path) -> int:
    children: list[subprocess.Popen[bytes]] = []
    # SystemExit unwinds through the finally below, so that nothing outlives the supervisor.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker_url = _start_broker(world, run, children)
        agent_url = _start_agent(world, run, broker_url, children)
        state = {"pid": os.getpid(), "broker": broker_url, "agent": agent_url, "children": [c.pid for c in children]}
        _write(state_file(home), state)
        return children[1].wait()
    finally:
        state_file(home).unlink(missing_ok=True)
        for child in reversed(children):
            child.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()


def _start_broker(world: World, run: Path, children: list[subprocess.Popen[bytes]]) -> str:
    ready = run / "broker.ready"
    ready.unlink(missing_ok=True)
    command = ["cloister.provider", "--home", str(world.broker_home), "--port", "0", "--ready", str(ready)]
    children.append(subprocess.Popen([*_PYTHON, *command]))
    return _ready(ready, children[-1])


def _start_agent(world: World, run: Path, broker_url: str, children: list[subprocess.Popen[bytes]]) -> str:
    ready = run / "agent.ready"
    ready.unlink(missing_ok=True)
    config = json.loads(world.enclave_config.read_text())
    config["brokers"] = dict.fromkeys(world.broker_dids, broker_url)
    config["ready"] = str(ready)
    config["idle_exit_s"] = float(os.environ.get("CLOISTER_DEMO_IDLE_S", IDLE_EXIT_S))
    _write(run / "enclave.json", config)
    children.append(subprocess.Popen([*_PYTHON, "cloister.enclave", "--config", str(run / "enclave.json")]))
    return _ready(ready, children[-1])


def _ready(path: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(path.read_text())["url"])
        time.sleep(0.02)
    raise UnavailableError("demo.start", f"{process.args!r} did not start", next_step="see the log in the demo folder")


def _wait(home: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            state: dict[str, Any] = json.loads(state_file(home).read_text())
            return state
        time.sleep(0.02)
    raise UnavailableError(
        "demo.start",
        "the embedded enclave and broker did not start",
        next_step=f"read {log}, then try `cloister demo reset`",
    )


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.chmod(0o600)
    temporary.replace(path)


def _alive(home: Path) -> Path:
    return home / "demo" / "supervisor.lock"


def _is_supervised(home: Path) -> bool:
    with _alive(home).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    folder = home / "demo"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
