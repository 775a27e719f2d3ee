"""The broker descriptor: questions to brokers and to the attester, carried by the agent as opaque bytes.

The agent and the network behind it are not trusted: they can drop, delay, repeat or invent anything. This
module only matches answers to questions by id; ``ledger`` and ``session`` decide whether to believe them.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import msgspec

from cloister.errors import MalformedError, UnavailableError
from cloister.vault.pipes import Pipe
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

MAX_REPLY = 64 * 2**20
TIMEOUT_S = 20.0
_RETRY = "Run the cell again. What was already charged is not charged a second time."


class _Head(msgspec.Struct, frozen=True):
    id: str
    status: int = 0
    type: str = ""
    error: dict[str, Any] | None = None


class Relay:
    """Asks over the broker descriptor and waits for the answer with the same id."""

    def __init__(self, pipe: Pipe, timeout_s: float = TIMEOUT_S) -> None:
        self._pipe = pipe
        self._timeout_s = timeout_s
        self._waiting: dict[str, Future[tuple[_Head, bytes]]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin reading answers, in a thread that ends with the descriptor."""
        threading.Thread(target=self._read, name="broker-relay", daemon=True).start()

    def post(self, broker: str, path: str, body: bytes) -> bytes:
        """Return the body a broker answered with.

        Raises:
            UnavailableError: No answer in time, or the relay could not reach the broker.
        """
        head, answer = self._ask(Kind.BROKER, {"broker": broker, "path": path}, body)
        if head.status != 200:
            raise UnavailableError("broker.unavailable", "the data provider's broker did not answer", next_step=_RETRY)
        return answer

    def attest(self, hello: bytes) -> bytes:
        """Return the attester's offer for a broker's hello.

        Raises:
            UnavailableError: No answer in time, or the attester gave no evidence.
        """
        head, answer = self._ask(Kind.EVENT, {"type": "attest"}, hello)
        if head.type != "offer":
            raise UnavailableError(
                "attester.unavailable", "the enclave could not produce evidence for the broker", next_step=_RETRY
            )
        return answer

    def _ask(self, kind: Kind, head: dict[str, str], body: bytes) -> tuple[_Head, bytes]:
        identifier = secrets.token_hex(8)
        answer: Future[tuple[_Head, bytes]] = Future()
        with self._lock:
            self._waiting[identifier] = answer
        try:
            self._pipe.send(kind, canonical.encode({"id": identifier, **head}), body)
            return answer.result(self._timeout_s)
        except (FutureTimeoutError, OSError) as error:
            raise UnavailableError(
                "broker.unavailable", "no answer came back from the data provider's broker", next_step=_RETRY
            ) from error
        finally:
            with self._lock:
                self._waiting.pop(identifier, None)

    def _read(self) -> None:
        try:
            for frame in self._pipe:
                self._deliver(frame)
        except (MalformedError, OSError):
            pass  # the relay is gone or talks nonsense: everybody waiting is told below
        with self._lock:
            waiting = list(self._waiting.values())
        for answer in waiting:
            answer.set_exception(OSError("relay closed"))

    def _deliver(self, frame: Frame) -> None:
        if frame.kind not in {Kind.BROKER, Kind.EVENT} or not frame.parts:
            return
        try:
            head = msgspec.json.decode(frame.parts[0], type=_Head)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return
        with self._lock:
            answer = self._waiting.pop(head.id, None)
        if answer is not None:
            answer.set_result((head, frame.parts[1] if len(frame.parts) > 1 else b""))
