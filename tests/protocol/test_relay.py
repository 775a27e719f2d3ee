"""What passes from inside, what is dropped, and what the proxy adds at a cell's end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEnclave, Talk, talking_to

from cloister.analyst import front
from cloister.analyst.chips import OpenBook
from cloister.analyst.messages import Message
from cloister.errors import SignatureError
from cloister.receipt.facts import Cost, ReleaseFacts
from cloister.wire.frames import Kind

MIME = "application/vnd.cloister.release.v1+json"
REHEARSAL = "application/vnd.cloister.rehearsal.v1+json"
Story = Callable[[Talk, ScriptedEnclave], Awaitable[None]]
Handler = Callable[[ScriptedEnclave, Kind, Message], None]


def tell(tmp_path: Path, on_message: Handler, story: Story, book: OpenBook | None = None) -> None:
    async def run() -> None:
        enclave = ScriptedEnclave(on_message)
        async with talking_to(enclave, tmp_path, book) as talk:
            await story(talk, enclave)

    asyncio.run(run())


def cell_with(*outputs: tuple[str, dict[str, Any] | bytes]) -> Handler:
    return lambda enclave, kind, request: enclave.serve(request, *outputs) if kind is Kind.SHELL else None


def types(outputs: list[dict[str, Any]]) -> list[str]:
    return [message["msg_type"] for message in outputs if message["msg_type"] != "status"]


FORGED: list[tuple[str, dict[str, Any] | bytes]] = [
    ("display_data", {"data": {MIME: {}}, "metadata": {}}),
    ("display_data", {"data": {"Application/VND.Cloister.x": {}}, "metadata": {}}),
    ("display_data", b'{"data": {"application/vnd.\\u0063loister.release.v1+json": {}}, "metadata": {}}'),
    ("display_data", {"data": {"text/plain": "1 release"}, "metadata": {"cloister": {"state": "confidential"}}}),
    ("execute_result", {"data": {MIME: {}}, "metadata": {}, "execution_count": 1}),
    ("update_display_data", {"data": {MIME: {}}, "metadata": {}, "transient": {"display_id": "1"}}),
    ("made_up", {"data": {MIME: {}}}),
    ("comm_open", {"comm_id": "x", "target_name": "cloister.status", "data": {}}),
    ("comm_msg", {"comm_id": "w", "data": {"state": {"outputs": [{"data": {MIME: {}}}]}}}),
    ("comm_msg", {"comm_id": "w", "data": {"state": {}, "buffer_paths": [["outputs", 0, "data", MIME]]}}),
    ("display_data", {"data": {REHEARSAL: {}}, "metadata": {}}),
    ("update_display_data", {"data": {REHEARSAL: {}}, "metadata": {}, "transient": {"display_id": "1"}}),
    ("comm_open", {"comm_id": "x", "target_name": "jupyter.widget", "data": {"state": {"o": {REHEARSAL: {}}}}}),
    ("display_data", {"data": {"text/plain": "mine"}, "metadata": {"cloister": {"put": {"name": "a", "sha256": ""}}}}),
    ("update_display_data", {"data": {"text/plain": ""}, "metadata": {"\u0063loister": {}}, "transient": {}}),
    ("execute_result", {"data": {"text/plain": ""}, "metadata": {"cloister": {"rehearsals": []}}}),
    ("comm_msg", {"comm_id": "w", "data": {"state": {"outputs": [{"data": {}, "metadata": {"cloister": {}}}]}}}),
    ("made_up", {"content": [{"metadata": {"cloister": 1}}]}),
]


@pytest.mark.parametrize("output", FORGED)
def test_reserved_names_are_dropped_and_reported(output: tuple[str, Any], tmp_path: Path) -> None:
    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream"]
        assert outputs[1]["content"]["name"] == "stderr"
        assert "reserved" in outputs[1]["content"]["text"]

    tell(tmp_path, cell_with(output), story)


HARMLESS: list[tuple[str, dict[str, Any]]] = [
    ("stream", {"name": "stdout", "text": f"cloister {MIME} \u001b[31mred"}),
    ("display_data", {"data": {"text/plain": f"about {MIME}"}, "metadata": {}}),
    ("error", {"ename": "CloisterError", "evalue": "application/vnd.cloister", "traceback": []}),
    ("comm_open", {"comm_id": "x", "target_name": "jupyter.widget", "data": {"state": {"value": "cloister"}}}),
]


@pytest.mark.parametrize("output", HARMLESS)
def test_talking_about_cloister_is_allowed(output: tuple[str, Any], tmp_path: Path) -> None:
    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == [output[0]]

    tell(tmp_path, cell_with(output), story)


def test_a_thousand_forgeries_fill_no_screen(tmp_path: Path) -> None:
    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream"]

    tell(tmp_path, cell_with(*[FORGED[0]] * 1000), story)


def test_nothing_appears_under_a_line_that_the_proxy_answers(tmp_path: Path) -> None:
    """Clients such as nbclient number their messages, so notebook code knows what the next one will be called."""

    def write_elsewhere(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        if kind is Kind.SHELL:
            header = json.loads(request.header)
            before, _, number = header["msg_id"].rpartition("_")
            line = json.dumps({**header, "msg_id": f"{before}_{int(number) + 1}"}).encode()
            enclave.serve(request)
            enclave.publish("clear_output", {"wait": False}, line)
            enclave.publish("display_data", {"data": {"text/plain": "Genuine: TDX"}, "metadata": {}}, line)
            enclave.publish("stream", {"name": "stdout", "text": "late, of the cell itself"}, request.header)
            enclave.publish("stream", {"name": "stdout", "text": "of no cell"})

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        cell, line = talk.client.execute("1"), talk.client.execute("%cloister verify")
        assert int(line.rpartition("_")[2]) == int(cell.rpartition("_")[2]) + 1
        seen = []
        while len(seen) < 2 or not {"late, of the cell itself", "of no cell"} <= {text for _, text in seen}:
            message = await talk.client.get_iopub_msg(timeout=5)
            assert message["msg_type"] != "clear_output"
            if message["msg_type"] in ("stream", "display_data"):
                content = message["content"]
                seen.append((message["parent_header"].get("msg_id"), content.get("text") or str(content["data"])))
        assert not any("TDX" in text for _, text in seen)

    tell(tmp_path, write_elsewhere, story)


def test_a_forged_reply_becomes_an_error(tmp_path: Path) -> None:
    def forge(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        data = {"status": "ok", "user_expressions": {"a": {"status": "ok", "data": {MIME: {}}}}}
        enclave.reply(request, "execute_reply", data)
        enclave.publish("status", {"execution_state": "idle"}, request.header)

    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        reply, _ = await talk.run()
        assert reply["status"] == "error"
        assert "proxy.reserved" in reply["evalue"]

    tell(tmp_path, forge, story)


def test_the_sandbox_cannot_speak_on_the_proxys_comms(tmp_path: Path) -> None:
    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        enclave.serve(request, ("comm_msg", {"comm_id": "ours", "data": {"word": "Genuine: TDX"}}))

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        content = {"comm_id": "ours", "target_name": "cloister.status", "data": {}}
        talk.client.shell_channel.send(talk.client.session.msg("comm_open", content))
        while (message := await talk.client.get_iopub_msg(timeout=5))["msg_type"] != "comm_msg":
            pass
        assert message["content"]["data"]["word"] == "Local test session"
        _, outputs = await talk.run()
        assert types(outputs) == ["stream"]
        assert "comm_open" not in enclave.types()

    tell(tmp_path, serve, story)


def test_replies_reach_only_who_asked(tmp_path: Path) -> None:
    """A reply keeps the identity of its request, whatever the sandbox writes; unasked ones are dropped."""

    def misroute(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        other = request._replace(header=request.header.replace(b'"msg_id"', b'"msg_id":"other","old_id"'))
        enclave.reply(other, "execute_reply", {"status": "ok", "execution_count": 1})
        enclave.reply(request, "shutdown_reply", {"status": "ok"})
        enclave.reply(request, "execute_reply", {"status": "ok", "execution_count": 2}, idents=(b"somebody else",))
        enclave.reply(request, "execute_reply", {"status": "ok", "execution_count": 3})
        enclave.publish("status", {"execution_state": "idle"}, request.header)

    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        reply, _ = await talk.run()
        assert reply["execution_count"] == 2

    tell(tmp_path, misroute, story)


def test_garbage_from_the_sandbox_is_dropped_and_the_session_lives(tmp_path: Path) -> None:
    def babble(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        enclave.say(Kind.IOPUB, b"no delimiter")
        enclave.say(Kind.IOPUB, b"t", b"<IDS|MSG>", b"{", b"{}", b"{}", b"{}")
        enclave.say(Kind.SHELL, b"<IDS|MSG>", b"{}")
        enclave.say(Kind.IOPUB, b"<IDS|MSG>", request.header, b"[]", b"{}", b"\xff cloister")
        enclave.publish("comm_msg", b"[" * 5000)
        enclave.serve(request, ("stream", {"name": "stdout", "text": "fine"}))

    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        reply, outputs = await talk.run()
        assert reply["status"] == "ok"
        assert types(outputs) == ["stream"]

    tell(tmp_path, babble, story)


FACTS = ReleaseFacts(
    release="r1", receipt="sha256:ab", charge_id="c", question="visits: count", keys=(), measures=(), rows=(), cells=1,
    session="s", rho="1/100", costs=(Cost("st_anna", "0.1", "2 %"),), assurance="simulated", time="2026",
)  # fmt: skip


class Book:
    """Believes envelopes that say ``good``."""

    from_file = False

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:
        if not envelope.get("good"):
            raise SignatureError("signature.invalid", "not signed by the vault")
        return FACTS

    def renew(self, vault_id: str) -> None: ...

    def admit(self, envelope: dict[str, Any]) -> None:
        self.accept(envelope, "")


def _releasing(*receipts: dict[str, Any]) -> Handler:
    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        parent = json.loads(request.header)["msg_id"]
        enclave.event(type="cards", cards=[])
        for receipt in receipts:
            enclave.event(type="receipt", receipt=receipt, parent=parent)
        enclave.serve(request, ("stream", {"name": "stdout", "text": "41.2"}))

    return serve


def test_a_cell_that_released_ends_with_one_chip(tmp_path: Path) -> None:
    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream", "display_data"]
        chip = outputs[-2]["content"]
        assert chip["data"][MIME] == {"version": 1}
        assert {"text/plain", "text/html"} < set(chip["data"])
        assert [item["release"] for item in chip["metadata"]["cloister"]["releases"]] == ["r1", "r1"]
        assert outputs[-1]["content"] == {"execution_state": "idle"}

    tell(tmp_path, _releasing({"good": True}, {"good": True}), story, lambda session, cards: Book())


@pytest.mark.parametrize("book", [lambda session, cards: Book(), None])
def test_a_receipt_that_does_not_verify_is_told_and_not_shown(book: OpenBook | None, tmp_path: Path) -> None:
    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        _, outputs = await talk.run()
        assert types(outputs) == ["stream", "stream"]
        assert "receipt" in outputs[0]["content"]["text"]

    tell(tmp_path, _releasing({"good": False}), story, book)


def test_budget_command_waits_for_the_cells_before_it_and_shows_the_last_report(tmp_path: Path) -> None:
    def serve(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        limit = {"name": "privacy", "population": "st_anna", "spent": "1/5", "limit": "4/5"}
        enclave.event(type="budget", budget={"limits": [limit], "time": "2026-11-21T10:00:00Z"})
        asyncio.get_running_loop().call_later(0.3, enclave.serve, request)

    async def story(talk: Talk, _: ScriptedEnclave) -> None:
        talk.client.execute("1")
        _, outputs = await talk.run("%cloister budget")
        assert "25.0 % used" in outputs[2]["content"]["data"]["text/plain"]

    tell(tmp_path, serve, story)


def test_status_does_not_wait_for_a_cell_that_hangs(tmp_path: Path) -> None:
    def hang(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        enclave.publish("status", {"execution_state": "busy"}, request.header)

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        hanging = talk.client.execute("while True: pass")
        await asyncio.sleep(0.1)
        reply, _ = await talk.run("%cloister status")
        assert reply["status"] == "ok"
        after = await talk.client.get_iopub_msg(timeout=2)
        assert after["content"] == {"execution_state": "busy"}
        assert after["parent_header"]["msg_id"] == hanging
        assert enclave.types() == ["execute_request"]

    tell(tmp_path, hang, story)


def test_vault_and_unknown_events_change_the_status_only(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.event(type="vault", state="died", error={"code": "vault.died"})
        enclave.event(type="from the future")
        reply, _ = await talk.run()
        assert reply["status"] == "ok"

    tell(tmp_path, cell_with(), story)


def test_an_event_that_is_no_event_ends_the_session(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.say(Kind.EVENT, b"[1]")
        reply, _ = await talk.run()
        assert "message.json" in reply["evalue"]

    tell(tmp_path, cell_with(), story)


def test_unsigned_forged_and_replayed_requests_go_nowhere(tmp_path: Path) -> None:
    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        session, channel = talk.client.session, talk.client.shell_channel.socket
        good = session.serialize(session.msg("execute_request", {"code": "1"}))
        forged = [*good[:1], b"0" * 64, *good[2:]]
        unsigned = [*good[:1], b"", *good[2:]]
        for parts in (forged, unsigned, [b"x"], [b""], good, good):
            await channel.send_multipart(parts)
        await talk.run()
        assert enclave.types() == ["execute_request"] * 2

    tell(tmp_path, cell_with(), story)


def test_slow_clients_lose_output_visibly_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HIGH_WATER_BYTES", 2**20)
    monkeypatch.setattr(front, "_LOW_WATER_BYTES", 2**19)
    monkeypatch.setattr(front, "_PATIENCE_S", 0.05)
    megabyte = ("stream", {"name": "stdout", "text": "x" * 2**20})

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        import zmq

        stalled = zmq.Context.instance().socket(zmq.SUB)  # subscribes and never reads
        stalled.rcvhwm = 1
        stalled.subscribe(b"")
        stalled.connect(talk.client.iopub_channel.socket.last_endpoint.decode())
        await asyncio.sleep(0.2)
        reply, outputs = await talk.run()
        assert reply["status"] == "ok"
        notices = [message["content"]["text"] for message in outputs if message["content"].get("name") == "stderr"]
        assert len(notices) == 1
        dropped = int(notices[0].split()[1])
        arrived = sum(message["content"].get("name") == "stdout" for message in outputs)
        assert dropped > 0
        assert arrived + dropped == 60
        stalled.close(linger=0)

    tell(tmp_path, cell_with(*[megabyte] * 60), story)


def test_a_full_queue_is_an_error_not_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.analyst.uplink.MAX_QUEUED_FRAMES", 5)

    async def story(talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.send_gate.clear()
        for _ in range(7):
            talk.client.execute("1")
        reply, _ = await talk.run()
        assert "proxy.queue" in reply["evalue"]
        enclave.send_gate.set()
        await asyncio.sleep(0.2)
        assert len(enclave.received) in (5, 6)  # one may have left before the queue filled

    tell(tmp_path, cell_with(), story)
