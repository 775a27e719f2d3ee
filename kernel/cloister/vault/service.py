"""The vault's end of the link: frames in, released values or coded errors out, and never a traceback.

Three lanes, so that a long release keeps nobody waiting who asks for nothing secret: ``describe`` and ``price``
are answered at once, ``budget`` asks the brokers, releases run one at a time (a plan asked twice at once is thus
released once and recalled once).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.plan.link import MAX_REQUEST, Context, Rehearsal, Reply, Request, Routing
from cloister.vault.faults import fault
from cloister.vault.pipes import Pipe
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.frames import Frame, Kind

MAX_FRAME = 16 * MAX_REQUEST
MAX_PENDING = 64
_MAX_ID = 2**53
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True):
    """The result of a request, with the receipts, admissions and rehearsals the agent forwards to the proxy."""

    result: dict[str, Any]
    receipts: tuple[Envelope, ...] = ()
    admissions: tuple[Envelope, ...] = ()
    rehearsals: tuple[Rehearsal, ...] = ()


Operation = Callable[[Context, Request], Answered]


class Service:
    """Serves one link with the four operations of a vault, confidential or mock."""

    def __init__(
        self,
        link: Pipe,
        operations: Mapping[str, Operation],
        out_of_memory: Callable[[], None] = lambda: None,
        on_event: Callable[[bytes], None] = lambda _event: None,
    ) -> None:
        """Serve ``operations`` on ``link``.

        ``out_of_memory`` frees what is needed to say so; ``on_event`` takes what the agent, not a sandbox, has to say.
        """
        self._link = link
        self._operations = operations
        self._out_of_memory = out_of_memory
        self._on_event = on_event
        self._lanes = {name: ThreadPoolExecutor(1, f"vault-{name}") for name in ("release", "budget")}
        self._room = threading.BoundedSemaphore(MAX_PENDING)

    def serve(self) -> None:
        """Answer requests until the link closes.

        Raises:
            MalformedError: The bytes on the link are not frames any more.
        """
        for frame in self._link:
            self._accept(frame)

    def _accept(self, frame: Frame) -> None:
        if frame.kind == Kind.EVENT and len(frame.parts) == 1:
            self._on_event(frame.parts[0])
            return
        try:
            context = _decode(frame, 0, Context)
            request = _decode(frame, 1, Request)
            _check_id(request.id)
        except MalformedError as error:
            # Without a request there is no id to answer to; 0 is nobody's.
            self._send(Routing(""), Reply(id=_id_of(frame), error=error.to_dict()))
            return
        lane = self._lanes.get(request.op)
        if lane is None:
            self._answer(context, request)
        elif self._room.acquire(blocking=False):
            lane.submit(self._answer, context, request).add_done_callback(self._done)
        else:
            busy = UnavailableError(
                "vault.busy", "too many requests are waiting", next_step="Wait until running cells have finished."
            )
            self._send(Routing(context.session), Reply(id=request.id, error=busy.to_dict()))

    def _done(self, _lane: Future[None]) -> None:
        self._room.release()

    def _answer(self, context: Context, request: Request) -> None:
        try:
            answered = self._operations[request.op](context, request)
        except CloisterError as error:
            _log.info("refused: %s", error.code)
            self._send(Routing(context.session), Reply(id=request.id, error=error.to_dict()))
        except Exception as error:  # noqa: BLE001 (fail closed: what went wrong may depend on data)
            if isinstance(error, MemoryError):
                self._out_of_memory()
            _log.error("refused: vault.fault")
            self._send(Routing(context.session), Reply(id=request.id, error=fault().to_dict()))
        else:
            routing = Routing(
                context.session,
                tuple(msgspec.to_builtins(envelope) for envelope in answered.receipts),
                tuple(msgspec.to_builtins(envelope) for envelope in answered.admissions),
                answered.rehearsals,
            )
            self._send(routing, Reply(id=request.id, result=answered.result))

    def _send(self, routing: Routing, reply: Reply) -> None:
        try:
            self._link.send(Kind.REPLY, canonical.encode(routing), canonical.encode(reply))
        except OSError:
            _log.info("the link is closed")


def _decode(frame: Frame, index: int, kind: type[_T]) -> _T:
    if frame.kind != Kind.REQUEST or len(frame.parts) != 2:
        raise MalformedError("link.frame", "expected a request frame with context and request")
    if len(frame.parts[index]) > MAX_REQUEST:
        raise MalformedError(
            "link.size",
            f"a request has at most {MAX_REQUEST} bytes",
            next_step="Ask in several smaller plans.",
        )
    try:
        return msgspec.json.decode(frame.parts[index], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("link.request", f"not a {kind.__name__}") from error


def _check_id(number: int) -> None:
    # A larger one could not be written into the reply, and the link would end for everybody.
    if abs(number) > _MAX_ID:
        raise MalformedError("link.request", "a request id is a whole number up to 2^53")


class _Numbered(msgspec.Struct):
    id: int = 0


def _id_of(frame: Frame) -> int:
    """Return the id of a request that is otherwise malformed, so that its sender is not left waiting."""
    try:
        number = msgspec.json.decode(frame.parts[1], type=_Numbered).id
    except (IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0
    return number if abs(number) <= _MAX_ID else 0
