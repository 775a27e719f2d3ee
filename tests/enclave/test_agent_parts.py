"""The agent's parts by themselves: causes and transcript, the relay to brokers, limits, the outbox, environments."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cloister.enclave import causes
from cloister.enclave.causes import DELIMITER, Causes, finished
from cloister.enclave.config import load_config
from cloister.enclave.limiter import RateLimit
from cloister.enclave.outbox import Outbox
from cloister.enclave.pipes import Pipe
from cloister.enclave.processes import clean_environment
from cloister.enclave.relay import Relay
from cloister.enclave.vaults import Vault
from cloister.errors import ContractError, MalformedError, RefusedError, UnavailableError
from cloister.plan.link import MAX_REQUEST, Cause, Context
from cloister.receipt import code

# --- causes and transcript


def message(kind: str, content: object, message_id: str = "m1", **header: object) -> tuple[bytes, ...]:
    head = {"msg_id": message_id, "msg_type": kind, **header}
    return (b"client", DELIMITER, json.dumps(head).encode(), b"{}", b"{}", json.dumps(content).encode())


def idle(message_id: str) -> tuple[bytes, ...]:
    head = json.dumps({"msg_id": "x", "msg_type": "status"}).encode()
    parent = json.dumps({"msg_id": message_id}).encode()
    return (b"topic", DELIMITER, head, parent, b"{}", b'{"execution_state": "idle"}')


def run(causes_: Causes, source: str, message_id: str) -> None:
    causes_.sent(message("execute_request", {"code": source}, message_id), shell=True)


def test_a_plan_is_caused_by_the_oldest_unfinished_cell() -> None:
    followed = Causes("s")
    assert followed.current()[0].kind == "background"
    run(followed, "a = 1", "m1")
    run(followed, "b = 2", "m2")
    assert (followed.current()[0].message, followed.ambiguous) == ("m1", True)
    # b is queued, not run: the transcript of a's plan ends with a.
    start = code.transcript_start("s")
    assert followed.current()[1] == code.transcript_add(start, "execute_request", code.exact("a = 1"))
    followed.idle("m1")
    cause, transcript = followed.current()
    assert transcript == followed.transcript
    assert (cause.kind, cause.message, followed.ambiguous) == ("cell", "m2", False)
    assert cause.code == code.exact("b = 2")
    assert cause.code_normalised == code.normalised("b=2 # reformatted")
    followed.idle("m2")
    assert followed.current()[0].kind == "background"


def test_idle_of_somebody_else_changes_nothing() -> None:
    followed = Causes("s")
    run(followed, "a", "m1")
    followed.idle("m7")
    assert followed.current()[0].message == "m1"


@pytest.mark.parametrize("kind", ["complete_request", "inspect_request"])
def test_introspection_is_refused_until_it_is_over(kind: str) -> None:
    followed = Causes("s")
    followed.sent(message(kind, {"code": "cl."}), shell=True)
    with pytest.raises(RefusedError) as excinfo:
        followed.current()
    assert excinfo.value.code == "link.introspection"
    followed.idle("m1")
    assert followed.current()[0].kind == "background"


def test_comms_are_causes_of_their_own() -> None:
    followed = Causes("s")
    followed.sent(message("comm_msg", {"comm_id": "c", "data": {"x": 1}}), shell=True)
    assert (followed.current()[0].kind, followed.current()[0].message) == ("comm", "m1")


def test_a_subshell_does_not_hide_the_running_cell() -> None:
    followed = Causes("s")
    followed.sent(message("comm_msg", {"comm_id": "c", "data": {}}, "m0", subshell_id="sub"), shell=True)
    run(followed, "cell", "m1")
    assert followed.current()[0].message == "m1"


def test_transcript_covers_code_in_order() -> None:
    one, two = Causes("s"), Causes("s")
    assert one.transcript == code.transcript_start("s") == two.transcript
    run(one, "a", "m1")
    assert one.transcript == code.transcript_add(code.transcript_start("s"), "execute_request", code.exact("a"))
    run(one, "b", "m2")
    run(two, "b", "m1")
    run(two, "a", "m2")
    assert one.transcript != two.transcript


@pytest.mark.parametrize(
    ("kind", "content", "counts"),
    [
        ("execute_request", {"code": "", "user_expressions": {"x": "leak()"}}, True),
        ("comm_open", {"comm_id": "c", "target_name": "mine", "data": {}}, True),
        ("comm_msg", {"comm_id": "c", "data": {"x": 1}}, True),
        ("input_reply", {"value": "yes"}, True),
        ("debug_request", {"command": "evaluate"}, True),
        ("complete_request", {"code": "x"}, False),
        ("kernel_info_request", {}, False),
        ("comm_open", {"comm_id": "w", "target_name": "jupyter.widget.control", "data": {}}, False),
        ("comm_open", {"comm_id": "w", "target_name": "jupyter.widget.control", "data": {"x": 1}}, True),
    ],
)
def test_what_enters_the_transcript(kind: str, content: dict[str, object], counts: bool) -> None:
    followed = Causes("s")
    followed.sent(message(kind, content), shell=kind not in ("input_reply", "debug_request"))
    expected = code.transcript_start("s")
    if content.get("code") == "":  # the user expressions count beside the code
        expected = code.transcript_add(expected, "execute_request", code.exact(""))
    assert (followed.transcript != expected) is counts


def test_labs_request_for_widget_states_is_quiet_and_only_that() -> None:
    followed = Causes("s")
    target = {"comm_id": "w", "target_name": "jupyter.widget.control", "data": {}}
    followed.sent(message("comm_open", target), shell=True)
    followed.sent(message("comm_msg", {"comm_id": "w", "data": {"method": "request_states"}}), shell=True)
    assert followed.transcript == code.transcript_start("s")
    followed.sent(message("comm_msg", {"comm_id": "w", "data": {"method": "update"}}), shell=True)
    assert followed.transcript != code.transcript_start("s")


def test_finished_reads_status_messages_only() -> None:
    assert finished(idle("m1")) == "m1"
    assert finished(message("stream", {"text": '"status" "idle"'})) is None
    busy = list(idle("m1"))
    busy[-1] = b'{"execution_state": "busy", "x": "idle"}'
    assert finished(tuple(busy)) is None
    assert finished((b"no", b"message")) is None
    assert finished((DELIMITER, b"\xff", b"\xff", b"", b"\xff")) is None


def test_garbage_is_followed_without_harm() -> None:
    followed = Causes("s")
    for parts in ((), (b"x",), (DELIMITER,), (DELIMITER, b"\xff", b"", b"", b"[]"), message("execute_request", [1])):
        followed.sent(parts, shell=True)
    followed.current()


def test_code_of_a_fence_is_a_whole_message() -> None:
    parts = causes.control_request("agent-1", "kernel_info_request")
    split = causes.split(parts)
    assert split is not None
    assert causes.read_header(split.header).msg_id == "agent-1"
    assert "date" in json.loads(split.header)


# --- the relay


class FakeBroker(BaseHTTPRequestHandler):
    seen: list[tuple[str, bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, body))
        if body == b"redirect":
            self.send_response(302)
            self.send_header("location", "http://127.0.0.1:1/stolen")
            self.end_headers()
            return
        answer = b"z" * (1 << 20) if body == b"large" else b"signed:" + body
        self.send_response(200 if self.path != "/v1/tip" else 503)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broker_url() -> Iterator[str]:
    FakeBroker.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeBroker)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def forward(url: str, head: object, body: bytes) -> tuple[dict[str, object], bytes]:
    async def story() -> tuple[bytes, bytes]:
        relay = Relay()
        try:
            return await relay.forward((json.dumps(head).encode(), body), {"did:key:b": url})
        finally:
            await relay.close()

    answer, content = asyncio.run(story())
    return json.loads(answer), content


def test_relay_carries_bytes_both_ways(broker_url: str) -> None:
    head = {"id": "7", "broker": "did:key:b", "path": "/v1/append"}
    assert forward(broker_url, head, b"\x00\xff") == ({"id": "7", "status": 200}, b"signed:\x00\xff")
    assert FakeBroker.seen == [("/v1/append", b"\x00\xff")]
    assert forward(broker_url, {**head, "path": "/v1/tip"}, b"")[0] == {"id": "7", "status": 503}


@pytest.mark.parametrize(
    "change",
    [
        {"broker": "did:key:other"},
        {"path": "/v1/admin"},
        {"path": "/v1/append?x=1"},
        {"path": "/v1/../etc"},
        {"path": ""},
    ],
)
def test_relay_reaches_brokers_of_the_contract_and_paths_of_the_protocol(
    broker_url: str, change: dict[str, str]
) -> None:
    head = {"id": "7", "broker": "did:key:b", "path": "/v1/append", **change}
    assert forward(broker_url, head, b"x") == ({"id": "7", "status": 0}, b"")
    assert FakeBroker.seen == []


def test_relay_does_not_follow_redirects(broker_url: str) -> None:
    answer, _ = forward(broker_url, {"id": "7", "broker": "did:key:b", "path": "/v1/append"}, b"redirect")
    assert answer["status"] == 302


def test_relay_says_when_a_broker_is_down() -> None:
    for url in ("http://127.0.0.1:9", "nonsense", "http://[::bad"):
        answer, _ = forward(url, {"id": "7", "broker": "did:key:b", "path": "/v1/append"}, b"")
        assert answer == {"id": "7", "status": 0}


def test_relay_bounds_answers(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.enclave.relay.MAX_BODY", 1000)
    answer, body = forward(broker_url, {"id": "7", "broker": "did:key:b", "path": "/v1/append"}, b"large")
    assert (answer["status"], body) == (0, b"")


def test_relay_ignores_the_environments_proxies(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answer, _ = forward(broker_url, {"id": "7", "broker": "did:key:b", "path": "/v1/append"}, b"x")
    assert answer["status"] == 200


def test_relay_refuses_malformed_frames(broker_url: str) -> None:
    with pytest.raises(MalformedError):
        forward(broker_url, ["no head"], b"")


# --- limits, outbox, pipes, environment, configuration


def test_rate_limit_refills() -> None:
    limit = RateLimit(8)
    limit.take(0.0)
    limit.take(0.0)
    with pytest.raises(UnavailableError) as excinfo:
        limit.take(0.0)
    assert excinfo.value.code == "enclave.busy"
    limit.take(60.0 / 8)


def test_a_full_outbox_waits_and_loses_nothing() -> None:
    async def story() -> None:
        outbox = Outbox(limit=10)
        await outbox.put(4, b"x" * 10)
        waiting = asyncio.create_task(outbox.put(4, b"second"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        first = await outbox.get()
        assert first is not None
        await waiting
        second = await outbox.get()
        assert second is not None
        assert second.parts == (b"second",)
        await outbox.finish()
        assert await outbox.get() is None

    asyncio.run(story())


def test_pipes_carry_frames_and_bound_them() -> None:
    async def story() -> None:
        pipe, child = await Pipe.open(limit=100)
        with child:
            await pipe.send(6, b"request")
            assert child.recv(100).endswith(b"request")
            child.send(b"\x00\x00\x10\x00" + b"x" * 20)  # announces 4 KiB
            with pytest.raises(MalformedError):
                async for _ in pipe.frames():
                    pass
        pipe.close()

    asyncio.run(story())


def test_environments_are_built_and_not_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "CLOISTER_HOME", "LD_PRELOAD", "PYTHONSTARTUP", "HTTP_PROXY"):
        monkeypatch.setenv(name, "x")
    environment = clean_environment(tmp_path)
    assert set(environment) <= {
        "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED",
    }  # fmt: skip
    assert environment["HOME"] == str(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"contracts": 1}', '{"contracts": [], "surprise": 1}'])
def test_unreadable_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "enclave.json"
    path.write_text(text)
    with pytest.raises(MalformedError) as excinfo:
        load_config(path)
    assert excinfo.value.code == "enclave.config"


def test_a_context_that_would_end_the_vault_is_refused_before_it_is_sent() -> None:
    """The vault takes no longer one, and answers every session of the contract."""
    cell = Cause("cell", "m1", "sha256:" + "0" * 64, "sha256:" + "0" * 64)
    vault = Vault(None, None, None, None)  # type: ignore[arg-type]
    long = Context("s", "did:key:z", "teaching", "", cell, "#" * MAX_REQUEST)

    async def nobody(*_: object) -> None: ...

    with pytest.raises(ContractError, match=r"contract\.source"):
        asyncio.run(vault.request(long, 1, b"{}", nobody))
    assert vault._pending == {}
