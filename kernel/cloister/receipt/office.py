"""Messages between an administrator and a broker: signed requests and signed replies, like those of vaults.

A request names the broker it is for, is fresh (five minutes) and is answered once.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ASK_TYPE = "application/vnd.cloister.office-request.v1+json"
ANSWER_TYPE = "application/vnd.cloister.office-reply.v1+json"


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an administrator, analyst or auditor asks a broker to do."""

    request: str
    broker: str
    actor: str
    time: str
    action: str
    arguments: dict[str, Any] = {}
    version: Literal[1] = 1


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``done``, ``pending`` (a second person has to approve), or ``refused`` with code and reason."""

    request: str
    broker: str
    actor: str
    action: str
    status: Literal["done", "pending", "refused"]
    time: str
    code: str = ""
    reason: str = ""
    next_step: str = ""
    result: Any = None
    version: Literal[1] = 1
