"""What the sandbox may not say: names that only the proxy uses.

Notebook code talks to the page with all of Jupyter. Three things are reserved, because the page believes them to
come from the analyst's own machine: comms the proxy answers, ``cloister.*`` comm targets, and outputs of type
``application/vnd.cloister.*`` (with their facts under the output metadata key ``cloister``). Message types are
chosen by the sender, so every frame is held to the same rules, whatever it calls itself.
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
# JSON can spell any character as \uXXXX, so a frame with such an escape is parsed as well.
_SUSPICIOUS = re.compile(rb"(?i)cloister|\\u")


def reserved_name(msg_type: str, message: Message, own_comms: Container[str]) -> str | None:
    """Return the reserved name a message from the sandbox uses, or ``None`` when it may pass.

    Raises:
        MalformedError: The content has to be looked at and is not a JSON object.
    """
    is_comm = msg_type in _COMM_TYPES
    if not is_comm and not _SUSPICIOUS.search(message.content) and not _SUSPICIOUS.search(message.metadata):
        return None
    content = decode_object(message.content)
    if isinstance(content.get("comm_id"), str) and content["comm_id"] in own_comms:
        return f"comm {content['comm_id']}"
    target = content.get("target_name")
    if isinstance(target, str) and target.strip().lower().startswith(RESERVED_TARGET):
        return f"comm target {target}"
    if _has_reserved_metadata(content):
        return f"output metadata {RESERVED_METADATA!r}"
    return _reserved_mime(content, values_too=is_comm)


def is_reserved_target(content: dict[str, Any]) -> bool:
    """Tell whether a ``comm_open`` from the page asks for the proxy itself."""
    target = content.get("target_name")
    return isinstance(target, str) and target.startswith(RESERVED_TARGET)


def _has_reserved_metadata(content: dict[str, Any]) -> bool:
    metadata = content.get("metadata")
    return isinstance(metadata, dict) and RESERVED_METADATA in metadata


def _reserved_mime(value: Any, *, values_too: bool) -> str | None:
    """Find a reserved type among the keys at any depth; in comms also among the texts.

    Widget models carry whole outputs, and binary ones name their place by a path of texts.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
            names = list(item)
        elif isinstance(item, list):
            stack.extend(item)
            continue
        else:
            names = [item] if values_too and isinstance(item, str) else []
        for name in names:
            if name.strip().lower().startswith(RESERVED_MIME):
                return f"output type {name.strip()[:80]}"
    return None
