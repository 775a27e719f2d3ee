"""The page's comm on real sockets: what is told, when, and that nothing a page sends can do harm."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from scripted import ScriptedEnclave, Talk, talking_to
from signed_world import World
from test_relay import Book, Handler, cell_with, types

from cloister.analyst import proxy
from cloister.analyst.agreed import agreed_to
from cloister.analyst.comms import MAX_OPEN
from cloister.analyst.messages import Message
from cloister.errors import ContractError, TrustError, UnavailableError
from cloister.wire.frames import Kind

DEEP = "[" * 100_000
Story = Callable[["Page", Talk, ScriptedEnclave], Awaitable[None]]


class Page:
    """A page with one comm: sends, and collects what comes back on it."""

    def __init__(self, talk: Talk, comm_id: str = "page") -> None:
        self.talk, self.comm_id = talk, comm_id

    def send(self, kind: str, data: Any = None, **content: Any) -> None:
        content = {"comm_id": self.comm_id, "data": data if data is not None else {}, **content}
        self.talk.client.shell_channel.send(self.talk.client.session.msg(kind, content))

    def open(self, target: str = "cloister.status", **content: Any) -> None:
        self.send("comm_open", target_name=target, **content)

    async def next(self, kind: str = "comm_msg") -> Any:
        """Return the data (or content) of the next message on the comm."""
        while True:
            message = await self.talk.client.get_iopub_msg(timeout=5)
            if message["msg_type"] == kind and message["content"].get("comm_id") == self.comm_id:
                return message["content"]["data"] if kind == "comm_msg" else message["content"]

    async def until(self, wanted: str, **fields: Any) -> Any:
        """Return the next message of a type with these fields."""
        while True:
            data = await self.next()
            if data["type"] == wanted and fields.items() <= data.items():
                return data

    async def ask(self, data: Any) -> Any:
        """Ask and return the answer: the next message that is no news."""
        self.send("comm_msg", data)
        while (answer := await self.next())["type"] in ("status", "receipts", "contract", "receipt"):
            pass
        return answer


def tell(tmp_path: Path, story: Story, on_message: Handler | None = None, **options: Any) -> None:
    async def run() -> None:
        enclave = ScriptedEnclave(on_message or cell_with())
        async with talking_to(enclave, tmp_path, **options) as talk:
            await story(Page(talk), talk, enclave)

    asyncio.run(run())


def test_a_page_that_opens_is_told_where_the_kernel_stands(tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        status = await page.until("status", state="open")
        assert (status["word"], status["mode"], status["promote"]) == ("Local test session", "confidential", "")
        assert status["checklist"][0]["state"] == "fail"
        page.send("comm_msg", {"type": "refresh"})
        assert await page.until("status") == status
        assert enclave.received == []

    tell(tmp_path, story)


@pytest.mark.parametrize(("mode", "asked"), [("confidential", 1), ("mock", 0)])
def test_a_page_that_looks_gets_a_budget_as_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, asked: int
) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        def answer(ask: dict[str, Any], _: bytes) -> None:
            enclave.event(type="budget", id=ask["id"], budget={"limits": [], "time": "2026-11-21T12:00:00Z"})

        enclave.on_ask = answer
        page.open()
        await page.until("status", state="open")
        assert enclave.asked == []
        enclave.event(type="budget", budget={"limits": [], "time": "2026-11-21T10:00:00Z"})
        old = await page.until("status")
        while old["budget"] is None:
            old = await page.until("status")
        # Told just now: asking again would only cost the brokers.
        page.send("comm_msg", {"type": "refresh"})
        assert (await page.until("status"))["budget"]["time"] == "2026-11-21T10:00:00Z"
        assert enclave.asked == []
        monkeypatch.setattr(proxy, "BUDGET_KEPT_S", -1.0)
        page.send("comm_msg", {"type": "refresh"})
        told = await page.until("status")
        if asked:
            told = await page.until("status")
        assert told["budget"]["time"] == f"2026-11-21T{10 + 2 * asked}:00:00Z"
        assert len(enclave.asked) == asked

    tell(tmp_path, story, mode=mode)


def test_a_contract_that_is_stopped_shows_though_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revoked by the only provider: within a minute the page says so, and takes it back when it is over."""
    monkeypatch.setattr(proxy, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(proxy, "BUDGET_KEPT_S", -1.0)
    told = {"limits": [], "time": "2026-11-21T12:00:00Z"}
    revoked = ContractError("contract.inactive", "broker anna does not serve this contract now: no longer").to_dict()
    lost = UnavailableError("broker.unavailable", "no answer").to_dict()

    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        answers: list[dict[str, Any]] = [{"budget": told}, {"error": lost}, {"error": revoked}, {"budget": told}]
        enclave.on_ask = lambda ask, _: enclave.event(
            type="budget", id=ask["id"], **(answers.pop(0) if len(answers) > 1 else answers[0])
        )
        page.open()
        await page.until("status", state="open")
        enclave.event(type="budget", budget={**told, "time": "2026-11-21T10:00:00Z"})
        while (status := await page.until("status"))["error"] is None:
            assert len(answers) > 1, "it was never said"
        assert (status["error"]["code"], status["state"]) == ("contract.inactive", "open")
        while (await page.until("status"))["error"] is not None:
            pass
        assert enclave.received == [], "no cell was run for it"

    tell(tmp_path, story)


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        "refresh",
        3,
        {"type": 3},
        {"type": "spend", "id": "1"},
        {"type": "estimate", "id": 1, "cells": []},
        {"type": "estimate", "id": "1", "cells": [None]},
        {"type": "check", "id": "1", "chips": {}},
        {"type": "verify", "id": "1", "notebook": 3},
        {"type": "refresh", "padding": "x" * 5000},
        {"type": "estimate", "id": "1", "cells": ["x" * 2**22]},
    ],
    ids=lambda data: json.dumps(data)[:40],
)
def test_a_wrong_message_is_answered_with_an_error_and_nothing_else(data: Any, tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        answer = await page.ask(data)
        assert answer["type"] == "error"
        assert answer["code"].startswith("page.")
        assert answer["reason"]
        assert answer["next_step"]
        assert enclave.received == []
        reply, _ = await talk.run()
        assert reply["status"] == "ok"

    tell(tmp_path, story)


def test_a_message_nested_without_end_does_not_harm(tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("status", state="open")
        session = talk.client.session
        for kind, content in (("comm_msg", f'{{"comm_id":"page","data":{DEEP}'), ("comm_open", DEEP)):
            message = session.msg(kind, {})
            parts = [session.pack(message[part]) for part in ("header", "parent_header", "metadata")]
            body = [*parts, content.encode()]
            await talk.client.shell_channel.socket.send_multipart([b"<IDS|MSG>", session.sign(body), *body])
        reply, _ = await talk.run()
        assert reply["status"] == "ok"

    tell(tmp_path, story)


@pytest.mark.parametrize("comm_id", [None, 7, "", "x" * 1000, ["a"], {"a": 1}])
def test_a_comm_without_a_proper_name_is_not_opened(comm_id: Any, tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open(comm_id=comm_id)
        while (message := await talk.client.get_iopub_msg(timeout=5))["msg_type"] != "comm_close":
            assert message["msg_type"] == "status"
        assert enclave.received == []

    tell(tmp_path, story)


def test_unknown_targets_and_too_many_comms_are_closed(tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        Page(talk, "other").open("cloister.spend")
        await Page(talk, "other").next("comm_close")
        pages = [Page(talk, f"page {number}") for number in range(MAX_OPEN + 1)]
        for one in pages:
            one.open()
        await pages[-1].next("comm_close")
        # One that goes makes room.
        pages[0].send("comm_close")
        pages[-1].open()
        await pages[-1].until("status")
        assert enclave.received == []

    tell(tmp_path, story)


def test_an_idle_kernel_stays_silent(tmp_path: Path) -> None:
    """Servers end idle kernels, and a cell must not pay for the panel beside it: nothing changed, nothing is sent."""

    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("status", state="open")
        await talk.run()  # what was told at the start is read
        for _ in range(5):
            enclave.event(type="vault", state="ready")
            enclave.event(type="budget", budget=None)
            msg_id = talk.client.execute("1")
            while (message := await talk.client.get_iopub_msg(timeout=5))["content"].get("execution_state") != "idle":
                assert message["msg_type"] != "comm_msg"
            assert message["parent_header"]["msg_id"] == msg_id

    tell(tmp_path, story)


def test_a_page_that_left_is_not_answered(tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("receipts")
        page.send("comm_msg", {"type": "estimate", "id": "1", "cells": []})
        page.send("comm_close")
        # Asked later and answered later: had the first been answered, it would be here by now.
        late = Page(talk, "late")
        late.open()
        late.send("comm_msg", {"type": "estimate", "id": "2", "cells": []})
        while (message := await talk.client.get_iopub_msg(timeout=5))["content"].get("data", {}).get("id") != "2":
            assert message["content"].get("comm_id") != "page"

    tell(tmp_path, story)


ALERT = {
    "broker": "anna-broker",
    "rule": 13,
    "text": "use of an interface beyond its contract",
    "what": "refusal.count",
    "bucket": "2026-11-21",
    "count": 1,
    "most": 0,
}


def test_budget_and_receipts_are_told_when_they_change(tmp_path: Path) -> None:
    limit = {"name": "releases", "spent": 1, "limit": 9}

    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("receipts", total=0)
        enclave.event(type="cards", cards=[])
        enclave.event(type="receipt", receipt={"good": True}, parent="x")
        assert (await page.until("status", releases=1))["budget"] is None
        assert (await page.until("receipt"))["item"]["question"] == "visits: count"
        enclave.event(type="budget", budget={"limits": [limit], "time": "now"})
        assert (await page.until("status"))["budget"] == {"limits": [limit], "alerts": [], "time": "now"}
        enclave.event(type="budget", budget={"limits": [limit], "alerts": [ALERT], "time": "now"})
        assert (await page.until("status"))["budget"]["alerts"] == [ALERT]
        enclave.event(type="budget", budget={"limits": [], "alerts": [{**ALERT, "count": "<b>"}], "time": "now"})
        assert (await page.until("status"))["budget"] is None
        late = Page(talk, "late")
        late.open()
        assert [item["release"] for item in (await late.until("receipts", total=1))["items"]] == ["r1"]

    tell(tmp_path, story, open_book=lambda session, cards: Book())


def test_the_page_is_answered_while_a_cell_runs_and_the_cell_stays_busy(tmp_path: Path) -> None:
    def hang(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        enclave.publish("status", {"execution_state": "busy"}, request.header)

    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        running = talk.client.execute("while True: pass")
        while (await talk.client.get_iopub_msg(timeout=5))["parent_header"].get("msg_id") != running:
            pass
        page.open()
        assert (await page.until("status"))["state"] == "open"
        while (message := await talk.client.get_iopub_msg(timeout=5))["parent_header"].get("msg_id") != running:
            pass
        assert message["content"] == {"execution_state": "busy"}
        assert enclave.types() == ["execute_request"]

    tell(tmp_path, story, hang)


def test_the_sandbox_can_neither_speak_nor_close_for_the_proxy(tmp_path: Path) -> None:
    forged = {"comm_id": "page", "data": {"type": "status", "word": "Genuine: TDX"}}

    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("status", state="open")
        _, outputs = await talk.run()
        assert types(outputs) == ["stream"]
        assert "reserved" in outputs[1]["content"]["text"]

    serve = cell_with(("comm_msg", forged), ("comm_close", forged), ("comm_open", {**forged, "target_name": "x"}))
    tell(tmp_path, story, serve)


class Refusing(ScriptedEnclave):
    """An enclave whose evidence the analyst's machine refused."""

    async def open(self) -> ScriptedEnclave:
        raise TrustError("appraisal.env_digest", "other code than the policy approves", next_step="ask")


def test_the_page_is_right_and_served_when_the_enclave_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))
    world = World()

    async def run() -> None:
        enclave = Refusing()
        agreed = agreed_to(world.contract, world.digest)
        async with talking_to(enclave, tmp_path, load_agreed=lambda: agreed) as talk:
            page = Page(talk)
            page.open()
            status = await page.until("status", state="refused")
            assert (status["tone"], status["word"]) == ("red", "Not verified")
            assert status["error"]["code"] == "appraisal.env_digest"
            assert [item["state"] for item in status["checklist"]].count("fail") == 1
            # What needs this machine only is still answered.
            assert (await page.ask({"type": "estimate", "id": "1", "cells": ["1"]}))["unknown"] == 1
            chip = {"key": "a", "data": {}, "metadata": {}}
            assert (await page.ask({"type": "check", "id": "1", "chips": [chip]}))["chips"][0]["state"] == "false"

    asyncio.run(run())


def test_the_page_is_told_that_the_kernel_died(tmp_path: Path) -> None:
    async def story(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        await page.until("status", state="open")
        enclave.event(type="kernel", state="started")
        assert (await page.until("status"))["kernel_started"]
        enclave.event(type="kernel", state="died", reason="out of memory")
        status = await page.until("status", state="dead")
        assert status["tone"] == "red"
        assert "out of memory" in status["error"]["reason"]

    tell(tmp_path, story)


def _rehearsing(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
    """Answer cells as a mock kernel does; each asks for what its code is called."""
    parent = json.loads(request.header)["msg_id"]
    source = json.loads(request.content)["code"]
    costs = [{"population": "clinic.patients", "rho": "1/50"}]
    for rehearsal in ({"release": source, "plan": {}, "costs": costs, "usage": {}}, {"release": 1}, "what"):
        enclave.event(type="rehearsal", parent=parent, rehearsal=rehearsal)
    enclave.serve(request)


def test_what_a_mock_run_asked_is_the_estimate_of_a_confidential_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))
    world = World()
    options = {"load_agreed": lambda: agreed_to(world.contract, world.digest)}
    cells = ["a", "b", "a", "c", "%cloister status"]

    async def rehearse(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        enclave.event(type="cards", cards=[msgspec.to_builtins(world.card)])
        page.open()
        assert (await page.until("status", state="open"))["promote"] == "cloister-scripted"
        for source in ("a", "b"):
            await talk.run(source)
        assert (await page.ask({"type": "estimate", "id": "1", "cells": cells}))["unknown"] == 1

    async def promote(page: Page, talk: Talk, enclave: ScriptedEnclave) -> None:
        page.open()
        found = await page.ask({"type": "estimate", "id": "2", "cells": cells})
        assert [cell["releases"] for cell in found["cells"]] == [1, 1, 0, 0, 0]
        assert [cell["known"] for cell in found["cells"]] == [True, True, True, False, True]
        assert found["total"][0]["population"] == "clinic.patients"
        # A confidential kernel learns nothing from such events: what it asks is on receipts.
        await talk.run("c")
        assert (await page.ask({"type": "estimate", "id": "3", "cells": cells}))["unknown"] == 1

    for mode, story in (("mock", rehearse), ("confidential", promote)):
        (tmp_path / mode).mkdir()
        tell(tmp_path / mode, story, _rehearsing, mode=mode, **options)
