"""Live views on real sockets: told by the proxy alone, found again after a reload, and never the sandbox's to touch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from ipywidgets.widgets.widget import __protocol_version__
from scripted import ScriptedEnclave, Talk, talking_to
from test_relay import Handler, cell_with, types

from cloister.analyst import widgets
from cloister.analyst.live import CONTROL_TARGET, TARGET, VIEW_MIME
from cloister.analyst.messages import Message
from cloister.wire.frames import Kind

Story = Callable[["Page", ScriptedEnclave], Awaitable[None]]
LIMITS = [
    {"name": "privacy", "population": "st_anna", "broker": "b", "spent": "1/5", "limit": "4/5"},
    {"name": "releases", "spent": 3, "limit": 1000},
    {"name": "expiry", "not_after": "2999-01-01T00:00:00Z"},
]


class Page:
    """A page that follows widget models as ipywidgets' manager does."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.models: dict[str, dict[str, Any]] = {}
        self.closed: set[str] = set()

    def take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        data = content.get("data", {})
        if content.get("comm_id") == "theirs":
            return
        if message["msg_type"] == "comm_open" and content["target_name"] == TARGET:
            assert message["metadata"]["version"].split(".")[0] == __protocol_version__.split(".")[0]
            self._check_references(data["state"])
            self.models[content["comm_id"]] = dict(data["state"])
        elif message["msg_type"] == "comm_msg" and data.get("method") == "update":
            self._check_references(data["state"])
            self.models[content["comm_id"]].update(data["state"])
        elif message["msg_type"] == "comm_close":
            self.closed.add(content["comm_id"])

    def _check_references(self, state: dict[str, Any]) -> None:
        """A manager resolves references when a state arrives: the model must be known by then."""
        for value in state.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and one.startswith("IPY_MODEL_"):
                    assert one.removeprefix("IPY_MODEL_") in self.models

    async def run(self, code: str) -> list[dict[str, Any]]:
        _, outputs = await self.talk.run(code)
        for message in outputs:
            self.take(message)
        return outputs

    async def show(self, line: str) -> str:
        """Run a line; return the id of the model it shows."""
        outputs = await self.run(line)
        return next(m["content"]["data"][VIEW_MIME]["model_id"] for m in outputs if VIEW_MIME in data_of(m))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.take(await self.talk.client.get_iopub_msg(timeout=5))

    def send(self, kind: str, comm_id: str, data: Any = None, **content: Any) -> str:
        message = self.talk.client.session.msg(kind, {"comm_id": comm_id, "data": data or {}, **content})
        self.talk.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    async def states(self) -> dict[str, Any]:
        """Ask for all models on the control channel, as a page does when it is loaded."""
        self.send("comm_open", "control", target_name=CONTROL_TARGET)
        self.send("comm_msg", "control", {"method": "request_states"})
        while True:
            message = await self.talk.client.get_iopub_msg(timeout=5)
            if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == "control":
                data = message["content"]["data"]
                assert data["method"] == "update_states"
                assert data["buffer_paths"] == []
                states: dict[str, Any] = data["states"]
                return states

    def text(self, model: str) -> str:
        """Return all that a view shows."""
        state = self.models[model]
        children = "".join(self.text(child.removeprefix("IPY_MODEL_")) for child in state.get("children", ()))
        return f"{state.get('description', '')} {state.get('value', '')} {children}"


def data_of(message: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = message["content"].get("data", {}) if message["msg_type"] == "display_data" else {}
    return data


def tell(tmp_path: Path, story: Story, on_message: Handler | None = None, *, budget: bool = True) -> None:
    async def run() -> None:
        enclave = ScriptedEnclave(on_message or cell_with())
        if budget:
            enclave.event(type="budget", budget={"limits": LIMITS, "time": "2026-11-21T10:00:00Z"})
        async with talking_to(enclave, tmp_path) as talk:
            page = Page(talk)
            await page.run("%cloister status")  # now there is a verdict
            await story(page, enclave)

    asyncio.run(run())


# --- what a line shows


def test_an_answer_is_a_record_and_a_live_view(tmp_path: Path) -> None:
    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        for line in ("%cloister status", "%cloister budget"):
            record, live = (data_of(m) for m in await page.run(line) if m["msg_type"] == "display_data")
            assert set(record) == {"text/plain", "text/html"}
            assert set(live) == {"text/plain", "text/html", VIEW_MIME}
            assert live[VIEW_MIME]["version_major"] == 2
            assert (await page.run("%cloister help"))[2]["content"]["data"].keys() == {"text/plain", "text/html"}

    tell(tmp_path, story)


def test_the_models_are_those_the_installed_ipywidgets_knows(tmp_path: Path) -> None:
    """Names, modules, versions and attributes; our states leave out what a class has a default for."""
    known = {cls().get_state()["_model_name"]: cls().get_state() for cls in (
        ipywidgets.HTML, ipywidgets.VBox, ipywidgets.HBox, ipywidgets.FloatProgress, ipywidgets.Layout,
        type(ipywidgets.HTML().style), type(ipywidgets.FloatProgress().style),
    )}  # fmt: skip

    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        for line in ("%cloister status", "%cloister budget"):
            await page.show(line)
        outputs = [state["_model_name"] for state in (await page.states()).values() for state in [state["state"]]]
        assert set(outputs) == set(known)
        for state in page.models.values():
            theirs = known[state["_model_name"]]
            assert state.keys() <= theirs.keys()
            for name, value in state.items():
                if name.startswith("_"):
                    assert value == theirs[name]

    tell_from_start(tmp_path, story)


def tell_from_start(tmp_path: Path, story: Story) -> None:
    async def run() -> None:
        enclave = ScriptedEnclave(cell_with())
        enclave.event(type="budget", budget={"limits": LIMITS, "time": "2026-11-21T10:00:00Z"})
        async with talking_to(enclave, tmp_path) as talk:
            await story(Page(talk), enclave)

    asyncio.run(run())


def test_a_view_changes_while_a_cell_runs_and_after_the_enclave_died(tmp_path: Path) -> None:
    def hang(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        enclave.publish("status", {"execution_state": "busy"}, request.header)

    async def run() -> None:
        enclave = ScriptedEnclave(hang)
        enclave.event(type="budget", budget={"limits": LIMITS, "time": "2026-11-21T10:00:00Z"})
        async with talking_to(enclave, tmp_path) as talk:
            page = Page(talk)
            status = await page.show("%cloister status")
            budget = await page.show("%cloister budget")
            await page.until(lambda: "75.0 % of the privacy budget left" in page.text(budget))
            assert "Local test session" in page.text(status)
            talk.client.execute("while True: pass")
            await asyncio.sleep(0.1)
            assert (await page.show("%cloister status")) == status  # one set of models, however often it is shown
            spent = {**LIMITS[0], "spent": "3/5"}
            enclave.event(type="budget", budget={"limits": [spent, *LIMITS[1:]], "time": "2026-11-21T11:00:00Z"})
            await page.until(lambda: "75.0 % used" in page.text(budget))
            await page.until(lambda: "25.0 % of the privacy budget left" in page.text(status))
            assert "3 of 1,000 releases" in page.text(budget)
            bar = page.models[page.models[page.models[budget]["children"][1][10:]]["children"][0][10:]]
            assert (bar["value"], bar["bar_style"]) == (75.0, "warning")
            enclave.event(type="kernel", state="died", reason="out of memory")
            await page.until(lambda: "out of memory" in page.text(status))
            assert "dead" in page.text(status)

    asyncio.run(run())


def test_limits_come_and_go(tmp_path: Path) -> None:
    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        budget = await page.show("%cloister budget")
        assert "no budget was reported yet" in page.text(budget)
        enclave.event(type="budget", budget={"limits": LIMITS, "time": "2026-11-21T11:00:00Z"})
        await page.until(lambda: "until 2999" in page.text(budget))
        enclave.event(type="budget", budget={"limits": LIMITS[:1], "time": "2026-11-21T11:00:00Z"})
        await page.until(lambda: len(page.closed) == 6)  # two rows of three models
        assert len(page.models[budget]["children"]) == 2

    tell(tmp_path, story, budget=False)


def test_nothing_is_sent_while_nothing_changes(tmp_path: Path) -> None:
    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        await page.show("%cloister status")
        enclave.event(type="budget", budget={"limits": LIMITS, "time": "2026-11-21T10:00:00Z"})
        outputs = await page.run("1")
        assert types(outputs) == []

    tell(tmp_path, story)


# --- a page that is loaded again


def test_a_reloaded_page_finds_the_models_by_the_control_channel_while_no_kernel_answers(tmp_path: Path) -> None:
    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        status = await page.show("%cloister status")
        states = await page.states()
        assert states[status]["model_name"] == "HTMLModel"
        assert states[status]["state"] == page.models[status]
        assert "comm_open" not in enclave.types()
        enclave.event(type="kernel", state="died", reason="gone")
        await page.until(lambda: "gone" in page.text(status))
        assert "gone" in (await page.states())[status]["state"]["value"]

    tell_from_start(tmp_path, story)


SLIDER = {"model_name": "IntSliderModel", "model_module": "m", "model_module_version": "2", "state": {"value": 3}}
OPENED = ("comm_open", {"comm_id": "theirs", "target_name": TARGET, "data": {"state": {}}})
CLOSED = ("comm_close", {"comm_id": "theirs", "data": {}})


def with_widgets(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
    """A sandbox whose cells show and close a slider, and that tells a page about it."""
    content = json.loads(request.content)
    if content.get("comm_id") == "control" and "target_name" not in content:
        answer = {"method": "update_states", "states": {"theirs": SLIDER}, "buffer_paths": []}
        enclave.publish("comm_msg", {"comm_id": "control", "data": answer}, request.header)
    elif "code" in content:
        enclave.serve(request, OPENED if content["code"] == "show" else CLOSED)


def test_the_sandboxes_models_and_ours_come_back_together(tmp_path: Path) -> None:
    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        status = await page.show("%cloister status")
        await page.run("show")
        states = await page.states()
        assert states["theirs"] == SLIDER
        assert "Local test session" in states[status]["state"]["value"]
        assert enclave.types()[-2:] == ["comm_open", "comm_msg"]

    tell(tmp_path, story, with_widgets)


def test_a_sandbox_that_has_no_models_is_not_asked_and_a_running_cell_keeps_no_page_waiting(tmp_path: Path) -> None:
    def hang(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        if json.loads(request.content)["code"] == "hang":
            enclave.publish("status", {"execution_state": "busy"}, request.header)
        else:
            with_widgets(enclave, kind, request)

    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        status = await page.show("%cloister status")
        await page.run("show")
        await page.run("close")
        page.talk.client.execute("hang")
        assert list(await page.states()) == list(page.models)
        assert status in page.models
        assert "comm_open" not in enclave.types()

    tell(tmp_path, story, hang)


def test_a_reloaded_page_finds_the_models_one_by_one(tmp_path: Path) -> None:
    """What ipywidgets does where the control channel fails: list the comms, ask each for its state."""

    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        status = await page.show("%cloister status")
        msg_id = page.talk.client.comm_info(target_name=TARGET)
        while (reply := await page.talk.client.get_shell_msg(timeout=5))["parent_header"]["msg_id"] != msg_id:
            pass
        assert reply["content"]["comms"][status] == {"target_name": TARGET}
        asked = page.send("comm_msg", status, {"method": "request_state"})
        while (m := await page.talk.client.get_iopub_msg(timeout=5))["msg_type"] != "comm_msg":
            pass
        assert m["parent_header"]["msg_id"] == asked
        assert m["content"]["data"]["state"] == page.models[status]
        page.send("comm_msg", status, {"method": "update", "state": {"value": "Genuine: TDX"}})
        page.send("comm_close", status)
        await page.run("1")
        assert "Local test session" in (await page.states())[status]["state"]["value"]
        assert set(enclave.types()) == {"execute_request"}

    tell(tmp_path, story, cell_with())


# --- what the sandbox may not do


@pytest.mark.parametrize("spelling", ["{id}", "IPY_MODEL_{id}", " IPY_MODEL_{id} "])
@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("comm_msg", {"comm_id": "{id}", "data": {"method": "update", "state": {"value": "Genuine: TDX"}}}),
        ("comm_open", {"comm_id": "{id}", "target_name": "jupyter.widget", "data": {"state": {}}}),
        ("comm_close", {"comm_id": "{id}", "data": {}}),
        # A link between two models is carried out by the page itself.
        ("comm_open", {"comm_id": "x", "target_name": "jupyter.widget", "data": {"state": {
            "_model_name": "LinkModel", "source": ["IPY_MODEL_theirs", "value"], "target": ["{ref}", "value"]}}}),
        ("comm_msg", {"comm_id": "x", "data": {"method": "update", "state": {"children": ["{ref}"]}}}),
        ("comm_msg", {"comm_id": "x", "data": {"method": "update", "state": {"{ref}": 1}}}),
        ("display_data", {"data": {"application/vnd.jupyter.widget-view+json": {"model_id": "{ref}"}}, "metadata": {}}),
        ("update_display_data", {"data": {"x": {"model_id": "{ref}"}}, "metadata": {}, "transient": {}}),
    ],
)  # fmt: skip
def test_the_sandbox_can_neither_speak_as_our_models_nor_name_them(
    tmp_path: Path, msg_type: str, content: dict[str, Any], spelling: str
) -> None:
    model = ""

    def forge(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        text = json.dumps(content).replace("{id}", model).replace("{ref}", spelling.format(id=model))
        # Any letter may be spelt by its code.
        enclave.serve(request, (msg_type, text.replace("cloister", "clo\\u0069ster").encode()))

    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        nonlocal model
        model = await page.show("%cloister status")
        outputs = await page.run("1")
        assert types(outputs) == ["stream"]
        assert "reserved" in outputs[1]["content"]["text"]

    tell(tmp_path, story, forge)


def test_a_sandbox_that_claims_our_models_when_a_page_is_loaded_is_not_heard(tmp_path: Path) -> None:
    model = ""
    forged = {
        "model_name": "HTMLModel",
        "model_module": "m",
        "model_module_version": "2",
        "state": {"value": "Genuine"},
    }

    def forge(enclave: ScriptedEnclave, kind: Kind, request: Message) -> None:
        content = json.loads(request.content)
        if b"comm_info_request" in request.header:
            comms = {model: {"target_name": "mine"}, "theirs": {"target_name": "t"}, "s": {"target_name": "Cloister.x"}}
            enclave.reply(request, "comm_info_reply", {"status": "ok", "comms": comms})
            enclave.publish("status", {"execution_state": "idle"}, request.header)
        elif content.get("comm_id") == "control":
            states = {model: forged, "theirs": forged}
            answer = {"method": "update_states", "states": states, "buffer_paths": []}
            enclave.publish("comm_msg", {"comm_id": "control", "data": answer}, request.header)
        else:
            enclave.serve(request, OPENED)

    async def story(page: Page, enclave: ScriptedEnclave) -> None:
        nonlocal model
        model = await page.show("%cloister status")
        await page.run("show")
        states = await page.states()
        assert "Local test session" in states[model]["state"]["value"]
        assert "theirs" not in states
        msg_id = page.talk.client.comm_info()
        while (reply := await page.talk.client.get_shell_msg(timeout=5))["parent_header"]["msg_id"] != msg_id:
            pass
        listed = reply["content"]["comms"]
        assert listed[model] == {"target_name": TARGET}
        assert listed["theirs"] == {"target_name": "t"}
        assert "s" not in listed

    tell(tmp_path, story, forge)


def test_words_in_a_view_are_escaped() -> None:
    info = {"word": "<script>", "state": "<b>", "error": {"code": "<i>", "reason": "<u>"}, "releases": 0}
    models = {**widgets.status(info, None), **widgets.budget({"limits": [{"name": "<s>"}], "time": "<hr>"}, None, "")}
    shown = "".join(str(state.get("value")) for state in models.values())
    for tag in ("<script", "<i>", "<u>", "<s>", "<hr>"):
        assert tag not in shown
