"""Marks what a session shows after a result that may not be saved (``receipt/saving.py``).

The receipt of a result arrives on the channel before its sandbox has the value, so whatever was passed on earlier does
not rest on it. Afterwards anything may: a sandbox is the analyst's own code, and a variable keeps a value over cells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from cloister.analyst.front import Front
from cloister.analyst.messages import Message, decode_object
from cloister.contract.storage import Unsaved
from cloister.errors import RefusedError
from cloister.receipt import saving
from cloister.receipt.facts import ReleaseFacts

_WITH_METADATA = ("display_data", "execute_result", "update_display_data")
# A widget's state is saved too; the mark in its cell says so.
_SHOWN = (*_WITH_METADATA, "stream", "error", "comm_open", "comm_msg", "input_request")
_CELLS = 10_000


class Marks:
    """Puts the marks.

    Args:
        front: Where they are shown.
        why: Says what the session has come to know, if any of it may not be saved.
        stripped: Whether what started this kernel takes marked outputs out of the files it writes; otherwise they are
            withheld.
    """

    def __init__(self, front: Front, why: Callable[[], Unsaved | None], *, stripped: bool) -> None:
        self._front = front
        self._why = why
        self._stripped = stripped
        self._marked: OrderedDict[bytes, Unsaved] = OrderedDict()

    def put(self, msg_type: str, message: Message) -> Message | None:
        """Return an output of the sandbox as it is passed on, or None; before the first of a cell comes a mark."""
        why = self._why()
        if why is None:
            return message
        if msg_type == "clear_output":
            self._marked.pop(message.parent, None)  # the mark goes with the rest
        if msg_type not in _SHOWN:
            return message
        if self._marked.get(message.parent) != why:
            shown = saving.mark(why) if self._stripped else saving.withheld(why)
            self._front.publish(
                "display_data", {"data": shown["data"], "metadata": shown["metadata"], "transient": {}}, message.parent
            )
            self._marked[message.parent] = why
            if len(self._marked) > _CELLS:
                self._marked.popitem(last=False)
        if not self._stripped:
            # A cell that asks waits for the answer: only its words are withheld.
            return _without_prompt(message) if msg_type == "input_request" else None
        return message if msg_type not in _WITH_METADATA else _with_mark(message, why)

    def shown(self, facts: list[ReleaseFacts]) -> list[ReleaseFacts]:
        """Return the releases of a cell whose values may be shown here."""
        return [one for one in facts if self._stripped or isinstance(one.unsaved, msgspec.UnsetType)]

    def without_texts(self, message: Message) -> Message:
        """Return the reply of a cell without texts that would become cells: a file holds those as sources."""
        if self._why() is None:
            return message
        content = decode_object(message.content)
        payload = content.get("payload")
        kept = [item for item in payload if not _is_text(item)] if isinstance(payload, list) else []
        return message._replace(content=msgspec.json.encode({**content, "payload": kept}))

    def check_file(self) -> None:
        """Raise if a file from the sandbox may rest on what may not be saved.

        Raises:
            RefusedError: ``file.tier``.
        """
        why = self._why()
        if why is not None:
            raise RefusedError(
                "file.tier",
                f"this session has results of tier {why.tier}, and a file from it may rest on them",
                clause=why.rule,
                next_step="restart the kernel, and make the file before such a result is asked for",
            )


def _with_mark(message: Message, why: Unsaved) -> Message:
    content = decode_object(message.content)
    metadata = content.get("metadata")
    content["metadata"] = saving.marked(metadata if isinstance(metadata, dict) else {}, why)
    return message._replace(content=msgspec.json.encode(content))


def _without_prompt(message: Message) -> Message:
    return message._replace(content=msgspec.json.encode({**decode_object(message.content), "prompt": ""}))


def _is_text(item: object) -> bool:
    return isinstance(item, dict) and item.get("source") == "set_next_input"
