"""The background pair: one embedded enclave and its broker (or brokers) per user, shared by all notebooks.

A supervisor process starts the brokers and the agent, writes ``pair.json`` and lives as long as the agent, which leaves
some time after its last session. Starting is serialised by a file lock, so that two kernels opened at once share one
pair, and two notebooks see one budget. Each case (``demo/cases``) has a pair of its own.
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

from cloister.demo.world import World, demo_folder, load_world, reset_command
from cloister.errors import UnavailableError

IDLE_EXIT_S = 60
START_TIMEOUT_S = 60
# The first kernel starts the pair from its notebook's folder; modules that lie there are not ours.
_PYTHON = (sys.executable, "-P", "-m")


def state_file(home: Path, case: str = "") -> Path:
    """Where a running pair says how to reach it."""
    return demo_folder(home, case) / "pair.json"


def running(home: Path, case: str = "") -> dict[str, Any] | None:
    """Return the state of the pair if its supervisor and brokers are alive."""
    try:
        state: dict[str, Any] = json.loads(state_file(home, case).read_text())
        os.kill(state["pid"], 0)
        for broker in state["brokers"].values():
            _ask_health(str(broker))
    except (OSError, ValueError, KeyError, AttributeError, http.client.HTTPException):
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


def up(home: Path, case: str = "", *, effect: float = 1.0) -> dict[str, Any]:
    """Return the running pair, building the world of the demo or of a case and starting the processes where needed.

    A world that is there stays as it is, whatever ``effect`` a new one would have.

    Raises:
        RefusedError: ``demo.case``: there is no such case; ``demo.effect``: there is no such effect.
        UnavailableError: The pair did not come up; the log's place is named.
    """
    # Imported late: a supervisor needs none of what playing every party needs.
    from cloister.demo import cases, parties  # noqa: PLC0415 (see above)

    scene = cases.scene(case, effect) if case else parties.DEMO
    with _lock(home, case):
        state = running(home, case)
        if state:
            return state
        down(home, case)
        parties.build_world(home, scene=scene)
        log = demo_folder(home, case) / "pair.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*_PYTHON, "cloister.demo", "supervise", *([case] if case else [])],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "CLOISTER_HOME": str(home)},
            )
        return _wait(home, case, process, log)


def down(home: Path, case: str = "") -> None:
    """Stop the pair, if any, and wait until it is gone."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        pid = json.loads(state_file(home, case).read_text())["pid"]
        if not _is_supervised(home, case):
            # The state outlived a crash, and the process id may be anybody's by now.
            raise ProcessLookupError(pid, "there is no supervisor")
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    state_file(home, case).unlink(missing_ok=True)


def reset(home: Path, case: str = "", *, effect: float = 1.0) -> None:
    """Stop the pair and build the world of the demo or of a case anew; nobody starts one meanwhile.

    Raises:
        RefusedError: ``demo.case``: there is no such case; ``demo.effect``: there is no such effect.
    """
    from cloister.demo import cases, parties  # noqa: PLC0415 (see ``up``)

    scene = cases.scene(case, effect) if case else parties.DEMO
    with _lock(home, case):
        down(home, case)
        parties.reset(home, scene=scene)


def down_all(home: Path) -> None:
    """Stop the demo and every case that runs."""
    for path in (demo_folder(home) / "cases").glob("*/pair.json"):
        down(home, path.parent.name)
    down(home)


def supervise(home: Path, case: str = "") -> int:
    """Run brokers and agent until the agent leaves; the body of the supervisor process."""
    world = load_world(home, case)
    if world is None:
        raise UnavailableError("demo.world", "there is no demo world yet", next_step="cloister demo up")
    run = demo_folder(home, case) / "run"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alive(home, case).open("w") as alive:
        # Held as long as this process lives, however it ends.
        fcntl.flock(alive, fcntl.LOCK_EX)
        return _supervise(state_file(home, case), world, run)


def _supervise(state: Path, world: World, run: Path) -> int:
    children: list[subprocess.Popen[bytes]] = []
    # SystemExit unwinds through the finally below, so that nothing outlives the supervisor.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        brokers = _start_brokers(world, run, children)
        agent = _start_agent(world, run, brokers, children)
        first = next(iter(brokers.values()))
        pids = [child.pid for child in children]
        _write(state, {"pid": os.getpid(), "broker": first, "brokers": brokers, "agent": agent, "children": pids})
        return children[-1].wait()
    finally:
        state.unlink(missing_ok=True)
        for child in reversed(children):
            child.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()


def _start_brokers(world: World, run: Path, children: list[subprocess.Popen[bytes]]) -> dict[str, str]:
    """Start every broker, then wait until each answers; return the addresses by did."""
    files = {did: run / f"broker{number}.ready" for number, did in enumerate(world.brokers)}
    for did, ready in files.items():
        ready.unlink(missing_ok=True)
        command = ["cloister.provider", "--home", str(world.brokers[did]), "--port", "0", "--ready", str(ready)]
        children.append(subprocess.Popen([*_PYTHON, *command]))
    return {did: _ready(ready, child) for (did, ready), child in zip(files.items(), list(children), strict=True)}


def _start_agent(world: World, run: Path, brokers: dict[str, str], children: list[subprocess.Popen[bytes]]) -> str:
    ready = run / "agent.ready"
    ready.unlink(missing_ok=True)
    config = json.loads(world.enclave_config.read_text())
    config["brokers"] = brokers
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


def _wait(home: Path, case: str, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            state: dict[str, Any] = json.loads(state_file(home, case).read_text())
            return state
        time.sleep(0.02)
    raise UnavailableError(
        "demo.start",
        "the embedded enclave and broker did not start",
        next_step=f"read {log}, then try `{reset_command(case)}`",
    )


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.chmod(0o600)
    temporary.replace(path)


def _alive(home: Path, case: str) -> Path:
    return demo_folder(home, case) / "supervisor.lock"


def _is_supervised(home: Path, case: str) -> bool:
    with _alive(home, case).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _lock(home: Path, case: str) -> Iterator[None]:
    folder = demo_folder(home, case)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
