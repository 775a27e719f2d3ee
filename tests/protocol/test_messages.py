"""Every message type, to a plain ipykernel by way of proxy and bridge, and to a jailed one behind the channel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Client, kernel


@pytest.fixture(scope="module", params=["cloister-local", "cloister-attested"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "cloister-attested":
        request.getfixturevalue("attested")
    with kernel(request.param) as client:
        client.run("pass")
        yield client


def test_kernel_info_carries_the_verdict_and_no_debugger(client: Client) -> None:
    content = client.ask("shell", "kernel_info_request", {}).content
    assert content["status"] == "ok"
    assert content["banner"].startswith("Cloister ")
    assert content["cloister"]["word"] in content["banner"].partition("\n")[0]
    assert content["cloister"]["state"] == "open"
    assert content["cloister"]["assurance"] == "simulated"
    assert "debugger" not in content["supported_features"]
    assert "kernel subshells" in content["supported_features"]
    assert content["implementation"] == "ipython"


def test_execute_outputs_and_reply(client: Client) -> None:
    cell = client.run("import sys; print('out'); print('err', file=sys.stderr); 6 * 7")
    assert cell.content["status"] == "ok"
    assert cell.text() == "out\n"
    assert cell.text("stderr") == "err\n"
    assert cell.of("execute_result")[0]["data"]["text/plain"] == "42"
    assert cell.of("execute_input")[0]["execution_count"] == cell.content["execution_count"]
    assert cell.states == ["busy", "idle"]


def test_user_expressions_and_error(client: Client) -> None:
    assert client.run("", user_expressions={"a": "1 + 1"}).content["user_expressions"]["a"]["data"] == {
        "text/plain": "2"
    }
    failed = client.run("1 / 0")
    assert failed.content["ename"] == failed.of("error")[0]["ename"] == "ZeroDivisionError"


def test_display_and_update_display(client: Client) -> None:
    cell = client.run("h = display('a', display_id=True); h.update('b')")
    first, second = cell.of("display_data")[0], cell.of("update_display_data")[0]
    assert first["transient"]["display_id"] == second["transient"]["display_id"]
    assert second["data"]["text/plain"] == "'b'"


def test_complete_inspect_is_complete_history(client: Client) -> None:
    assert "zip" in client.ask("shell", "complete_request", {"code": "zi", "cursor_pos": 2}).content["matches"]
    asked = {"code": "zip", "cursor_pos": 3, "detail_level": 0}
    assert client.ask("shell", "inspect_request", asked).content["found"]
    assert client.ask("shell", "is_complete_request", {"code": "for i in x:"}).content["status"] == "incomplete"
    asked = {"hist_access_type": "tail", "n": 1, "output": False, "raw": True}
    assert client.ask("shell", "history_request", asked).content["history"]


def test_stdin_reaches_the_asking_client(client: Client) -> None:
    msg_id = client.kc.execute("answer = input('who? ')", allow_stdin=True)
    request = client.kc.get_stdin_msg(timeout=10)
    assert request["content"]["prompt"] == "who? "
    client.kc.input("me")
    assert client.finish(msg_id).content["status"] == "ok"
    assert client.run("answer").of("execute_result")[0]["data"]["text/plain"] == "'me'"


def test_interrupt_by_message(client: Client) -> None:
    msg_id = client.kc.execute("import time; print('in', flush=True); time.sleep(30)")
    client.wait_output("stream")
    started = time.perf_counter()
    client.manager.interrupt_kernel()
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    assert time.perf_counter() - started < 2


def test_comms_both_ways_with_binary_buffers(client: Client) -> None:
    client.run(
        "heard = []\n"
        "def target(comm, message):\n"
        "    @comm.on_msg\n"
        "    def _(message):\n"
        "        heard.append(bytes(message['buffers'][0]))\n"
        "        comm.send({'n': len(heard[-1])}, buffers=[heard[-1][::-1]])\n"
        "get_ipython().kernel.comm_manager.register_target('echo', target)"
    )
    client.comm("comm_open", {"comm_id": "c1", "target_name": "echo", "data": {}})
    assert "c1" in client.ask("shell", "comm_info_request", {}).content["comms"]
    payload = bytes(range(256)) * 4096
    heard = client.comm("comm_msg", {"comm_id": "c1", "data": {}}, buffers=[payload])
    answer = next(message for message in heard.outputs if message["msg_type"] == "comm_msg")
    assert answer["content"]["data"] == {"n": 2**20}
    assert bytes(answer["buffers"][0]) == payload[::-1]
    client.comm("comm_close", {"comm_id": "c1", "data": {}})
    assert "c1" not in client.ask("shell", "comm_info_request", {}).content["comms"]


def test_subshells_answer_while_the_main_shell_sleeps(client: Client) -> None:
    subshell = client.ask("control", "create_subshell_request", {}).content["subshell_id"]
    assert client.ask("control", "list_subshell_request", {}).content["subshell_id"] == [subshell]
    sleeping = client.kc.execute("time.sleep(1.5)")
    beside = client.ask("shell", "execute_request", {"code": "1", "silent": False}, subshell_id=subshell)
    assert beside.content["status"] == "ok"
    assert beside.reply_s < 1
    assert client.finish(sleeping).content["status"] == "ok"
    assert client.ask("control", "delete_subshell_request", {"subshell_id": subshell}).content["status"] == "ok"
    assert client.ask("control", "list_subshell_request", {}).content["subshell_id"] == []


@pytest.mark.parametrize(
    ("asked", "refused"), [("debug_request", True), ("usage_request", True), ("connect_request", False)]
)
def test_requests_that_never_reach_the_enclave(client: Client, asked: str, refused: bool) -> None:
    channel = "shell" if asked == "connect_request" else "control"
    content = {"type": "request", "seq": 3, "command": "initialize", "arguments": {}} if refused else {}
    answer = client.ask(channel, asked, content).content
    if asked == "debug_request":
        assert answer["success"] is False
        assert answer["request_seq"] == 3
    elif asked == "usage_request":
        assert answer["status"] == "error"
        assert "hostname" not in answer
        assert "pid" not in answer
    else:
        assert answer["shell_port"] == client.manager.shell_port


def test_aborts_what_is_queued_behind_an_error(client: Client) -> None:
    first = client.kc.execute("import time; time.sleep(.3); 1 / 0")
    second = client.kc.execute("print('never')")
    assert client.finish(first).content["status"] == "error"
    assert client.finish(second).content["status"] == "aborted"


def test_ten_megabytes_of_display_pass(client: Client) -> None:
    cell = client.run("display({'text/plain': 'x' * 10_000_000}, raw=True)")
    assert len(cell.of("display_data")[0]["data"]["text/plain"]) == 10_000_000


def test_two_thousand_flushed_prints_lose_none(client: Client) -> None:
    cell = client.run("for i in range(2000): print(i, flush=True)")
    assert cell.text().split() == [str(i) for i in range(2000)]


def test_prints_wait_for_a_bridge_that_does_not_read(tmp_path: Path) -> None:
    where = tmp_path / "pids.json"
    with kernel("cloister-local", env={"CLOISTER_TEST_PIDS": str(where)}) as client:
        stop = f"import json, os, signal; bridge = json.load(open({str(where)!r}))['bridge']"
        cell = client.run(
            f"{stop}\nos.kill(bridge, signal.SIGSTOP)\nfor i in range(5000): print(i, flush=True)\n"
            "import time; time.sleep(0.5)\nos.kill(bridge, signal.SIGCONT)"
        )
        assert cell.text().split() == [str(i) for i in range(5000)]


def test_restart_wipes_the_state() -> None:
    with kernel("cloister-local") as client:
        assert client.run("marker = 1").content["status"] == "ok"
        started = time.perf_counter()
        client.manager.restart_kernel()
        client.kc.wait_for_ready(timeout=15)
        assert client.run("marker").content["ename"] == "NameError"
        assert time.perf_counter() - started < 10


def test_curve_on() -> None:
    with kernel("cloister-local", encryption="required") as client:
        assert client.manager.get_connection_info()["curve_publickey"]
        assert client.run("print('sealed')").text() == "sealed\n"
        assert client.kc.hb_channel.is_beating()


def test_a_plain_client_gets_nothing_from_a_curve_kernel() -> None:
    import zmq

    with kernel("cloister-local", encryption="required") as client, zmq.Context() as context:
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{client.manager.hb_port}")
        socket.send(b"ping")
        assert socket.poll(500) == 0
        socket.close()


@pytest.mark.parametrize(("stop", "status"), [(True, "aborted"), (False, "ok")])
def test_a_command_behind_a_cell_that_fails_obeys_stop_on_error(client: Client, stop: bool, status: str) -> None:
    # Run All in the Lab goes on after a cell tagged raises-exception.
    failing = client.kc.execute("import time; time.sleep(0.3); 1 / 0", stop_on_error=stop)
    command = client.kc.execute("%cloister verify", stop_on_error=stop)
    assert client.finish(failing).content["status"] == "error"
    assert client.finish(command).content["status"] == status
