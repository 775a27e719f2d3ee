"""What the sandbox may not say: names that only the proxy uses.

Notebook code talks to the page with all of Jupyter. Four things are reserved, because the page believes them to
come from the analyst's own machine: comms the proxy answers, ``cloister.*`` comm targets, the proxy's widget models,
and outputs of type ``application/vnd.cloister.*`` (with their facts under the output metadata key ``cloister``).
Message types are chosen by the sender, so every frame is held to the same rules, whatever it calls itself.

A widget model may not even be mentioned: a ``jslink`` between a model of the sandbox and one of ours would have the
page itself write the sandbox's value into our view.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from cloister.analyst.messages import Message, decode_object

RESERVED_MIME = "application/vnd.cloister"
RESERVED_TARGET = "cloister."
RESERVED_METADATA = "cloister"
_COMM_TYPES = frozenset({"comm_open", "comm_msg", "comm_close"})
_REFERENCE = "IPY_MODEL_"
# JSON can spell any character as \uXXXX, so a frame with such an escape is parsed as well.
_SUSPICIOUS = re.compile(rb"(?i)cloister|\\u")


class Owned:
    """The proxy's own comms and widget models, as the guard asks about them."""

    def __init__(self, comms: Container[str], models: Container[str]) -> None:
        self._comms = comms
        self.models = models

    def __contains__(self, comm_id: object) -> bool:
        return comm_id in self._comms or comm_id in self.models


def reserved_name(msg_type: str, message: Message, own: Owned) -> str | None:
    """Return the reserved name a message from the sandbox uses, or ``None`` when it may pass.

    Raises:
        MalformedError: The content has to be looked at and is not a JSON object.
    """
    is_comm = msg_type in _COMM_TYPES
    if not is_comm and not _SUSPICIOUS.search(message.content) and not _SUSPICIOUS.search(message.metadata):
        return None
    content = decode_object(message.content)
    if isinstance(content.get("comm_id"), str) and content["comm_id"] in own:
        return f"comm {content['comm_id']}"
    target = content.get("target_name")
    if isinstance(target, str) and target.strip().lower().startswith(RESERVED_TARGET):
        return f"comm target {target}"
    return _reserved_inside(content, own.models, texts_too=is_comm)


def comms_of_sandbox(listed: dict[str, Any], own: Owned) -> dict[str, dict[str, str]]:
    """Return what the sandbox says about its open comms, without what it must not claim."""
    targets = {
        comm_id: comm["target_name"]
        for comm_id, comm in listed.items()
        if comm_id not in own and isinstance(comm, dict) and isinstance(comm.get("target_name"), str)
    }
    return {
        comm_id: {"target_name": target}
        for comm_id, target in targets.items()
        if not is_reserved_target({"target_name": target.strip().lower()})
    }


def is_reserved_target(content: dict[str, Any]) -> bool:
    """Tell whether a ``comm_open`` from the page asks for the proxy itself."""
    target = content.get("target_name")
    return isinstance(target, str) and target.startswith(RESERVED_TARGET)


def _reserved_inside(value: Any, models: Container[str], *, texts_too: bool) -> str | None:
    """Find a reserved name at any depth: types among the keys (in comms also among the texts), models anywhere.

    Widget models carry whole outputs with their metadata, and binary ones name their place by a path of texts.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            metadata = item.get("metadata")
            if isinstance(metadata, dict) and RESERVED_METADATA in metadata:
                return f"output metadata {RESERVED_METADATA!r}"
            stack.extend(item.values())
            names, texts = list(item), list(item)
        elif isinstance(item, list):
            stack.extend(item)
            continue
        elif isinstance(item, str):
            names, texts = [item] if texts_too else [], [item]
        else:
            continue
        if any(text.strip().removeprefix(_REFERENCE) in models for text in texts):
            return "a live view"
        for name in names:
            if name.strip().lower().startswith(RESERVED_MIME):
                return f"output type {name.strip()[:80]}"
    return None
