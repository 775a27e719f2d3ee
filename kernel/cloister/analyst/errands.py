"""What the proxy asks the agent itself: the budget as of now, a file in, a file out.

An errand is an event with a number of its own; the answer is an event that quotes it. No notebook code takes part.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from cloister.analyst.messages import decode_object
from cloister.errors import CloisterError, MalformedError, UnavailableError, from_dict
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

Send = Callable[[int, tuple[bytes, ...]], None]


class Told(NamedTuple):
    """An answer: the event, and the bytes beside it."""

    event: dict[str, Any]
    data: bytes


class Errands:
    """What was asked of the agent and has no answer yet."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[str, asyncio.Future[Told]] = {}

    async def ask(self, kind: str, *data: bytes, timeout_s: float, **fields: str) -> Told:
        """Ask and wait for the answer.

        Raises:
            CloisterError: What the enclave answered, or what ended it.
            UnavailableError: ``enclave.silent``: no answer in time.
        """
        number = secrets.token_hex(8)
        waiting: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._send(Kind.EVENT, (canonical.encode({"type": kind, "id": number, **fields}), *data))
            told = await asyncio.wait_for(waiting, timeout_s)
        except TimeoutError as error:
            raise UnavailableError(
                "enclave.silent", f"the enclave did not answer within {timeout_s:.0f} s", next_step="try again"
            ) from error
        finally:
            self._waiting.pop(number, None)
        if isinstance(told.event.get("error"), dict):
            raise from_dict(told.event["error"])
        return told

    def answered(self, frame: Frame) -> None:
        """Take an event that may answer an errand."""
        event = _event(frame)
        waiting = self._waiting.get(str(event.get("id", "")))
        if waiting is not None and not waiting.done():
            waiting.set_result(Told(event, b"".join(frame.parts[1:])))

    @staticmethod
    def is_file(frame: Frame) -> bool:
        """Tell whether an event is about a file."""
        return _event(frame).get("type") in ("put", "get")

    def fail(self, error: CloisterError) -> None:
        """Answer everybody with what ended the session."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)


def _event(frame: Frame) -> dict[str, Any]:
    try:
        return decode_object(frame.parts[0]) if frame.parts else {}
    except MalformedError:
        return {}
