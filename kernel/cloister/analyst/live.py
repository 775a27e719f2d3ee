"""Live views: widget models that the proxy owns and keeps up to date, also while a cell runs and after an enclave died.

An enclave must not vouch for itself, so these models live on the analyst's machine. Their ids are the proxy's; the
guard drops every frame of the sandbox that names one. One set of models per kernel, made when a line first asks for
them, serves any number of outputs.

A page that is loaded later asks for models in two ways (``docs/adr/0006-live-views.md``): by a comm of target
``jupyter.widget.control``, or by ``comm_info`` and then each model on its own. If the sandbox has models too, both go
to the sandbox and ours are added to its answer; if it has none or cannot answer, the proxy answers, at once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from cloister.analyst.front import Front
from cloister.analyst.messages import EMPTY, Message, Request
from cloister.analyst.widgets import PROTOCOL_VERSION, REFERENCE, Models, State

TARGET = "jupyter.widget"
CONTROL_TARGET = "jupyter.widget.control"
VIEW_MIME = "application/vnd.jupyter.widget-view+json"
MAX_CONTROLS = 64
MAX_THEIRS = 10_000
_ID_CHARACTERS = 128
_VERSION = {"version": PROTOCOL_VERSION}
_HINT = "Live view of Cloister: shown while this kernel runs. The table above was true when the cell ran."


class LiveViews:
    """The proxy's widget models.

    Args:
        front: Where messages go.
        picture: Returns the models of one view as they should be now, by the key of its root.
    """

    def __init__(self, front: Front, picture: Callable[[str], Models]) -> None:
        self._front = front
        self._picture = picture
        self._prefix = f"cloister-{secrets.token_hex(16)}-"
        self._shown: list[str] = []
        self._models: Models = {}
        # Control comms of pages; True: the sandbox was not told of it.
        self._controls: OrderedDict[str, bool] = OrderedDict()
        self._theirs: set[str] = set()

    def __contains__(self, comm_id: object) -> bool:
        return comm_id in self._models

    def listing(self) -> dict[str, dict[str, str]]:
        """Return the models' comms as in a ``comm_info_reply``."""
        return {comm_id: {"target_name": TARGET} for comm_id in self._models}

    def show(self, root: str, parent: bytes) -> dict[str, Any]:
        """Return the output that shows a view, after making its models known to whoever listens now."""
        if root not in self._shown:
            self._shown.append(root)
        self._update(parent)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._prefix + root}
        shown = {VIEW_MIME: view, "text/plain": _HINT, "text/html": f"<small>{_HINT}</small>"}
        return {"data": shown, "metadata": {}, "transient": {}}

    def refresh(self) -> None:
        """Tell pages what changed."""
        if self._shown:
            self._update(EMPTY)

    def note(self, msg_type: str, content: dict[str, Any]) -> None:
        """Note that a widget model of the sandbox came or went."""
        comm_id = str(content.get("comm_id"))[:_ID_CHARACTERS]
        if msg_type == "comm_close":
            self._theirs.discard(comm_id)
        # A full list stays as it is: what counts is whether there is any.
        elif content.get("target_name") == TARGET and len(self._theirs) < MAX_THEIRS:
            self._theirs.add(comm_id)

    def take(self, request: Request, *, alone: bool) -> bool:
        """Serve a comm message of a page if it is ours to serve; return whether it was.

        Args:
            request: What the page sent.
            alone: No kernel can answer it.
        """
        kind = request.header.msg_type
        if kind not in ("comm_open", "comm_msg", "comm_close"):
            return False
        content = request.content()
        comm_id = str(content.get("comm_id"))
        if comm_id in self._models:
            if kind == "comm_msg" and _method(content) == "request_state":
                self._send(comm_id, {"method": "update", **_whole(self._models[comm_id])}, request.message.header)
            return True
        if kind == "comm_open" and content.get("target_name") == CONTROL_TARGET:
            # A running cell would keep the page waiting for a sandbox that has nothing to tell.
            self._controls[comm_id] = ours = alone or not self._theirs
            if len(self._controls) > MAX_CONTROLS:
                self._controls.popitem(last=False)
            return ours
        if comm_id not in self._controls:
            if not alone:
                self.note(kind, content)
            return False
        ours = self._controls[comm_id] or alone
        if kind == "comm_close":
            del self._controls[comm_id]
        elif ours and _method(content) == "request_states":
            self.answer(comm_id, request.message.header)
        return ours

    @property
    def watching(self) -> bool:
        """Whether a page is asking for the states of widgets."""
        return bool(self._controls)

    def is_control(self, content: dict[str, Any]) -> bool:
        """Tell whether the sandbox speaks on a page's control comm."""
        return str(content.get("comm_id")) in self._controls

    def answer(self, comm_id: str, parent: bytes) -> None:
        """Tell a page our models on its control comm."""
        self._send(comm_id, {"method": "update_states", "states": self._states(), "buffer_paths": []}, parent)

    def merged(self, message: Message, content: dict[str, Any]) -> Message:
        """Return the sandbox's answer on a control comm with our models added."""
        data = content.get("data")
        if not isinstance(data, dict) or data.get("method") != "update_states":
            return message
        states = data.get("states")
        both = {**(states if isinstance(states, dict) else {}), **self._states()}
        return message._replace(content=msgspec.json.encode({**content, "data": {**data, "states": both}}))

    def _states(self) -> dict[str, Any]:
        return {
            comm_id: {
                "model_name": state["_model_name"],
                "model_module": state["_model_module"],
                "model_module_version": state["_model_module_version"],
                "state": state,
            }
            for comm_id, state in self._models.items()
        }

    def _update(self, parent: bytes) -> None:
        wanted: Models = {}
        for root in self._shown:
            wanted |= {self._prefix + key: self._named(state) for key, state in self._picture(root).items()}
        for comm_id, state in wanted.items():
            known = self._models.get(comm_id)
            if known is None:
                opened = {"comm_id": comm_id, "target_name": TARGET, "data": _whole(state)}
                self._front.publish("comm_open", opened, parent, _VERSION)
            elif changed := {key: value for key, value in state.items() if known.get(key) != value}:
                self._send(comm_id, {"method": "update", **_whole(changed)}, parent)
        for comm_id in self._models.keys() - wanted.keys():
            self._front.publish("comm_close", {"comm_id": comm_id, "data": {}}, parent)
        self._models = wanted

    def _named(self, state: State) -> State:
        return {key: self._refer(value) for key, value in state.items()}

    def _refer(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._refer(item) for item in value]
        if isinstance(value, str) and value.startswith(REFERENCE):
            return REFERENCE + self._prefix + value.removeprefix(REFERENCE)
        return value

    def _send(self, comm_id: str, data: dict[str, Any], parent: bytes) -> None:
        self._front.publish("comm_msg", {"comm_id": comm_id, "data": data}, parent, _VERSION)


def _whole(state: State) -> dict[str, Any]:
    return {"state": state, "buffer_paths": []}


def _method(content: dict[str, Any]) -> object:
    data = content.get("data")
    return data.get("method") if isinstance(data, dict) else None
