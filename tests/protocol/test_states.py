"""Refused, lost, dead and still dialling: the always-list works, everything else is an error within a second."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Client, kernel

ALWAYS = [
    ("shell", "kernel_info_request", {}),
    ("control", "kernel_info_request", {}),
    ("shell", "comm_info_request", {}),
    ("shell", "is_complete_request", {"code": "1"}),
    ("control", "interrupt_request", {}),
    ("control", "create_subshell_request", {}),
    ("control", "list_subshell_request", {}),
    ("control", "delete_subshell_request", {"subshell_id": "x"}),
]
FAILING = [
    ("shell", "execute_request", {"code": "1", "silent": False}),
    ("shell", "complete_request", {"code": "a", "cursor_pos": 1}),
    ("shell", "inspect_request", {"code": "a", "cursor_pos": 1}),
    ("shell", "history_request", {"hist_access_type": "tail", "n": 1, "output": False, "raw": True}),
    ("control", "made_up_request", {}),
]


@contextmanager
def _refused(tmp_path: Path) -> Iterator[Client]:
    with kernel("cloister-refused") as client:
        yield client


@contextmanager
def _ended(tmp_path: Path, victim: str) -> Iterator[Client]:
    pids = tmp_path / "pids.json"
    with kernel("cloister-local", env={"CLOISTER_TEST_PIDS": str(pids)}) as client:
        assert client.run("1").content["status"] == "ok"
        running = client.kc.execute("import time; print(1, flush=True); time.sleep(60)")
        client.wait_output("stream")
        queued = client.kc.execute("2")
        killed = time.perf_counter()
        os.kill(json.loads(pids.read_text())[victim], signal.SIGKILL)
        for msg_id in (running, queued):
            cell = client.finish(msg_id)
            assert cell.content["status"] == "error"
            assert cell.of("error")
            assert cell.states.count("idle") == 1
        assert time.perf_counter() - killed < 10  # not when the cell would have ended, after a minute
        yield client


@contextmanager
def _lost(tmp_path: Path) -> Iterator[Client]:
    with _ended(tmp_path, "bridge") as client:
        yield client


@contextmanager
def _dead(tmp_path: Path) -> Iterator[Client]:
    with _ended(tmp_path, "kernel") as client:
        yield client


Start = Callable[[Path], "object"]


@pytest.mark.parametrize(
    ("start", "state", "code"),
    [
        (_refused, "refused", "appraisal.measurement"),
        (_lost, "lost", "session.lost"),
        (_dead, "dead", "kernel.died"),
    ],
)
def test_answers_without_an_enclave(start: Start, state: str, code: str, tmp_path: Path) -> None:
    with start(tmp_path) as client:
        for channel, msg_type, content in ALWAYS:
            cell = client.ask(channel, msg_type, content)
            assert cell.content["status"] in ("ok", "complete"), msg_type
            assert cell.reply["msg_type"] == msg_type.replace("_request", "_reply")
            assert cell.states == ["busy", "idle"], msg_type
            assert cell.reply_s < 1
        for channel, msg_type, content in FAILING:
            cell = client.ask(channel, msg_type, content)
            assert cell.content["status"] == "error", msg_type
            assert code in cell.content["evalue"]
            assert cell.states == ["busy", "idle"], msg_type
            assert cell.reply_s < 1
        info = client.ask("shell", "kernel_info_request", {}).content["cloister"]
        assert info["state"] == state
        assert info["error"]["code"] == code
        _commands_still_work(client, state)
        _comms_are_closed_or_ours(client, state)


def _commands_still_work(client: Client, state: str) -> None:
    shown = client.run("# where am I\n%cloister status").of("display_data")[0]["data"]
    assert state in shown["text/plain"]
    assert "<table>" in shown["text/html"]
    assert client.run("%cloister help").content["status"] == "ok"
    assert "unknown" in client.run("%cloister budget").of("display_data")[0]["data"]["text/plain"]
    for line in ("put a.csv", "get a.csv"):
        failed = client.run(f"%cloister {line}")
        assert failed.content["status"] == "error"
        assert failed.reply_s < 1


def _comms_are_closed_or_ours(client: Client, state: str) -> None:
    widget = client.comm("comm_open", {"comm_id": "w", "target_name": "jupyter.widget", "data": {}})
    assert widget.of("comm_close")[0]["comm_id"] == "w"
    ours = client.comm("comm_open", {"comm_id": "s", "target_name": "cloister.status", "data": {}})
    assert ours.of("comm_msg")[0]["data"]["state"] == state


def test_a_failing_cell_says_why_where_the_user_looks() -> None:
    with kernel("cloister-refused") as client:
        cell = client.run("1 + 1")
        assert [message["msg_type"] for message in cell.outputs] == ["execute_input", "error"]
        error = cell.of("error")[0]
        assert error["ename"] == "TrustError"
        assert "next step" in "\n".join(error["traceback"])
        assert "Not verified" in client.ask("shell", "kernel_info_request", {}).content["banner"]


def test_kernel_info_is_answered_while_dialling_and_cells_wait() -> None:
    with kernel("cloister-slow", env={"CLOISTER_TEST_DIAL_S": "1.5"}) as client:
        info = client.ask("shell", "kernel_info_request", {})
        assert info.reply_s < 0.5
        assert info.content["cloister"]["state"] == "dialling"
        status = client.run("%cloister status").of("display_data")[0]["data"]["text/plain"]
        assert "dialling" not in status  # the first line of Run All waits for the verdict
        assert "Simulated" in status or "open" in status
        subshell = client.send("control", "create_subshell_request", {})
        assert client.run("print('after')").text() == "after\n"
        assert client.finish(subshell, "control").content["subshell_id"]


def test_interrupt_while_dialling_stops_the_queue() -> None:
    with kernel("cloister-slow") as client:
        waiting = [client.kc.execute("1"), client.kc.execute("2")]
        time.sleep(0.2)  # the interrupt travels on a socket of its own and must not overtake
        started = time.perf_counter()
        client.manager.interrupt_kernel()
        for msg_id in waiting:
            assert "proxy.interrupted" in client.finish(msg_id).content["evalue"]
        assert time.perf_counter() - started < 10  # not when the dial would have ended, after an hour


@pytest.mark.parametrize("name", ["cloister-refused", "cloister-slow", "cloister-local"])
def test_shutdown_is_answered_and_ends_the_process(name: str) -> None:
    with kernel(name) as client:
        process = client.manager.provisioner.process
        started = time.perf_counter()
        msg_id = client.send("control", "shutdown_request", {"restart": False})
        reply = client.kc.get_control_msg(timeout=5)
        assert reply["parent_header"]["msg_id"] == msg_id
        assert reply["content"] == {"status": "ok", "restart": False}
        assert process.wait(timeout=5) == 0
        assert time.perf_counter() - started < 5


def test_no_process_outlives_its_kernel(tmp_path: Path) -> None:
    pids = tmp_path / "pids.json"
    with kernel("cloister-local", env={"CLOISTER_TEST_PIDS": str(pids)}) as client:
        client.run("1")
    for pid in json.loads(pids.read_text()).values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
