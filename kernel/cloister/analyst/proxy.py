"""The kernel proxy: Jupyter outside, the attested channel inside.

From outside, one of four things happens to a request, in this order:

1. the proxy's own business (its comms, ``%cloister`` lines, requests never forwarded) is answered here;
2. while there is no kernel to ask, requests that must always work are answered here;
3. when the enclave is refused, lost or dead, everything else is answered with the error that ended it;
4. otherwise it is forwarded (queued while the enclave is still being dialled).

What comes from inside is the business of ``relay`` (notebook code) and ``events`` (the agent).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple

from cloister.analyst import commands, guard
from cloister.analyst.agreed import Agreement, LoadAgreed
from cloister.analyst.asks import Asks
from cloister.analyst.chips import OpenBook
from cloister.analyst.comms import OwnComms
from cloister.analyst.connection_file import ConnectionFile
from cloister.analyst.events import Events
from cloister.analyst.front import Front
from cloister.analyst.messages import Request
from cloister.analyst.own_replies import ALWAYS_ANSWERED, NEVER_FORWARDED, SUBSHELL_REQUESTS, OwnReplies
from cloister.analyst.parent_watch import parent_gone
from cloister.analyst.pending import Entry, Pending
from cloister.analyst.rehearsals import Rehearsals, rehearsals_path
from cloister.analyst.relay import Outcome, Relay
from cloister.analyst.session import OpenSession
from cloister.analyst.standing import Standing
from cloister.analyst.uplink import State, Uplink
from cloister.errors import CloisterError, UnavailableError
from cloister.home import cloister_home
from cloister.wire.frames import Frame, Kind

_SHUTDOWN_PATIENCE_S = 2.0
_GOODBYE_PATIENCE_S = 0.5
_CLOSE_PATIENCE_S = 2.0
_VERDICT_PATIENCE_S = 15.0
_CHANNELS = frozenset({Kind.SHELL, Kind.CONTROL, Kind.STDIN, Kind.IOPUB})
_INTERRUPTED = UnavailableError("proxy.interrupted", "interrupted before the enclave was reached; nothing was sent")

log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A ``%cloister`` line whose answer depends on cells before it."""

    request: Request
    command: commands.Command
    cells: set[str]


class Proxy:
    """One kernel as Jupyter sees it.

    Args:
        connection: Where to bind, and the key of the outer session.
        open_session: Dials and appraises the enclave; called once.
        entry: Name of the trust store's entry, for display.
        mode: ``confidential`` or ``mock``, fixed for the kernel's life.
        open_book: Opens the book that verifies receipts of a session; without one there are no chips.
        load_agreed: Reads the contract of the entry; without one the page is told of no contract.
    """

    def __init__(
        self,
        connection: ConnectionFile,
        open_session: OpenSession,
        *,
        entry: str,
        mode: str,
        open_book: OpenBook | None = None,
        load_agreed: LoadAgreed | None = None,
    ) -> None:
        self._mode = mode
        self._front = Front(connection, self._on_request)
        self._pending = Pending()
        self._uplink = Uplink(open_session, self._on_frame, self._on_change)
        agreement = Agreement(load_agreed)
        self._rehearsals = Rehearsals(lambda: rehearsals_path(cloister_home(), agreement.get().digest))
        self._events = Events(self._uplink, self._notice, open_book, agreement, self._rehearsals)
        self._standing = Standing(entry, mode, self._uplink, self._events, agreement)
        self._info = self._standing.info
        self._asks = Asks(agreement, self._rehearsals)
        self._comms = OwnComms(self._front, self._standing, self._asks)
        self._own = OwnReplies(connection)
        self._relay = Relay(
            self._front, self._pending, self._events, self._comms, info=self._info, on_reply=self._on_reply
        )
        self._waiting: list[_Waiting] = []
        self._deciding: set[asyncio.Task[None]] = set()
        self._decided = asyncio.Event()
        self._kernel_alive = False
        self._said_goodbye = asyncio.Event()
        self._kernel_ended = asyncio.Event()
        self._stop = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve until shutdown; return the exit code (1 when the parent process is gone).

        Raises:
            UnavailableError: A port of the connection file stays taken.
        """
        await self._front.bind()
        uplink = asyncio.create_task(self._uplink.run())
        orphaned = asyncio.create_task(parent_gone())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({orphaned, stopped}, return_when=asyncio.FIRST_COMPLETED)
        code = 1 if orphaned.done() else 0
        for task in (uplink, orphaned, stopped):
            task.cancel()
        self._asks.close()
        try:
            await asyncio.wait_for(self._uplink.close(), _CLOSE_PATIENCE_S)
        except TimeoutError:
            log.warning("the enclave did not take leave in time")
        self._front.close()
        return code

    def stop(self) -> None:
        """End ``run`` (used by the signal handler)."""
        self._stop.set()

    def _on_request(self, request: Request) -> None:
        kind = request.header.msg_type
        if self._is_own_business(request):
            return
        if kind == "shutdown_request":
            self._shut_down(request)
        elif kind in ALWAYS_ANSWERED and not self._can_ask(kind):
            self._answer(request)
        elif self._uplink.gone:
            self._fail(request, self._reason())
        else:
            self._forward(request)

    def _is_own_business(self, request: Request) -> bool:
        kind = request.header.msg_type
        if kind in NEVER_FORWARDED:
            self._answer(request)
            return True
        if kind == "execute_request":
            command = commands.parse(str(request.content().get("code", "")))
            if command is not None:
                self._command(request, command)
            return command is not None
        if kind == "comm_open" and guard.is_reserved_target(request.content()):
            with self._front.serving(request):
                self._comms.opened(request)
        elif kind in ("comm_msg", "comm_close") and self._comms.owns(request):
            with self._front.serving(request):
                self._comms.said(request)
        else:
            return False
        self._relay.resume_busy()
        return True

    def _can_ask(self, kind: str) -> bool:
        """Whether a request of the always-answered list goes to the kernel (perhaps by way of the queue)."""
        if self._uplink.gone:
            return False
        return self._kernel_alive or kind in SUBSHELL_REQUESTS

    def _forward(self, request: Request) -> None:
        try:
            self._uplink.send(request.channel, request.message.parts())
        except CloisterError as error:
            self._fail(request, error)
            return
        if request.channel is not Kind.STDIN:
            self._pending.add(request)
        if self._mode == "mock" and request.header.msg_type == "execute_request":
            self._rehearsals.began(request.header.msg_id, str(request.content().get("code", "")))

    def _answer(self, request: Request) -> None:
        with self._front.serving(request):
            content = self._own.content(request, self._info(), self._comms.listing())
            self._front.reply(request, content)
            if request.header.msg_type == "interrupt_request":
                self._interrupt_queued()
        self._relay.resume_busy()

    def _fail(self, request: Request, error: CloisterError, entry: Entry | None = None) -> None:
        """Answer with an error, finishing whatever the sandbox had already begun to answer."""
        parent = request.message.header
        if entry is None or not entry.busy:
            self._front.status("busy", parent)
            self._echo(request)
        if entry is None or not entry.replied:
            self._fail_reply(request, error)
        if entry is None or not entry.idle:
            self._front.status("idle", parent)

    def _fail_reply(self, request: Request, error: CloisterError) -> None:
        if request.header.msg_type in ALWAYS_ANSWERED:
            self._front.reply(request, self._own.content(request, self._info(), self._comms.listing()))
        elif request.wants_reply:
            self._front.fail(request, error, self._relay.execution_count)
        elif request.header.msg_type == "comm_open":
            closing = {"comm_id": str(request.content().get("comm_id")), "data": {}}
            self._front.publish("comm_close", closing, request.message.header)

    def _echo(self, request: Request) -> None:
        """Count and show the input of a cell that the sandbox will not see."""
        content = request.content()
        if request.header.msg_type != "execute_request" or content.get("silent"):
            return
        self._relay.execution_count += 1
        shown = {"code": str(content.get("code", "")), "execution_count": self._relay.execution_count}
        self._front.publish("execute_input", shown, request.message.header)

    def _command(self, request: Request, command: commands.Command) -> None:
        cells = self._pending.cells() if command.waits else set()
        if cells:
            self._waiting.append(_Waiting(request, command, cells))
        elif command.about_enclave and self._uplink.state is State.DIALLING:
            task = asyncio.create_task(self._after_verdict(request, command))
            self._deciding.add(task)
            task.add_done_callback(self._deciding.discard)
        else:
            self._run_command(request, command)

    async def _after_verdict(self, request: Request, command: commands.Command) -> None:
        """Answer once there is a verdict: Run All sends its first line before the enclave could answer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._decided.wait(), _VERDICT_PATIENCE_S)
        self._run_command(request, command)

    def _run_command(self, request: Request, command: commands.Command) -> None:
        with self._front.serving(request):
            self._echo(request)
            try:
                known = commands.Known(self._info(), self._events.budget, self._events.verified)
                data = commands.answer(command, known)
            except CloisterError as error:
                self._front.fail(request, error, self._relay.execution_count)
            else:
                shown = {"data": data, "metadata": {}, "transient": {}}
                self._front.publish("display_data", shown, request.message.header)
                reply = {"status": "ok", "execution_count": self._relay.execution_count}
                self._front.reply(request, {**reply, "user_expressions": {}, "payload": []})
        self._relay.resume_busy()

    def _on_reply(self, reply_type: str, msg_id: str, outcome: Outcome) -> None:
        """Note that the sandbox answered: waiting ``%cloister`` lines and a shutdown hang on it."""
        if reply_type == "shutdown_reply":
            self._said_goodbye.set()
        elif reply_type == "execute_reply":
            self._rehearsals.ended(msg_id, outcome.status)
            for waiting in list(self._waiting):
                waiting.cells.discard(msg_id)
                if outcome.stops or not waiting.cells:
                    self._waiting.remove(waiting)
                    if outcome.stops:
                        self._abort(waiting.request)
                    else:
                        self._run_command(waiting.request, waiting.command)

    def _abort(self, request: Request) -> None:
        """Skip a cell queued behind one that failed, as ipykernel does."""
        with self._front.serving(request):
            self._front.reply(request, {"status": "aborted"})
        self._relay.resume_busy()

    def _interrupt_queued(self) -> None:
        """Stop what waits for an enclave that is still being dialled."""
        if self._uplink.state is State.DIALLING:
            cells = self._pending.take(only_cells=True)
            self._uplink.unsend({entry.request.message.header for entry in cells})
            for entry in cells:
                self._fail(entry.request, _INTERRUPTED, entry)

    def _shut_down(self, request: Request) -> None:
        if self._kernel_alive and not self._uplink.gone:
            self._forward(request)
        if self._ending is None:
            self._ending = asyncio.create_task(self._take_leave(request))

    async def _take_leave(self, request: Request) -> None:
        """Let the kernel answer and run its exit handlers, but not for ever."""
        if self._pending.get(request.header.msg_id) is not None:
            try:
                await asyncio.wait_for(self._said_goodbye.wait(), _SHUTDOWN_PATIENCE_S)
                await asyncio.wait_for(self._kernel_ended.wait(), _GOODBYE_PATIENCE_S)
            except TimeoutError:
                log.info("the kernel in the enclave did not end by itself")
        if not self._said_goodbye.is_set():
            self._answer(request)
        content = self._own.content(request, self._info(), {})
        self._front.publish("shutdown_reply", content, request.message.header)
        self._stop.set()

    async def _on_frame(self, frame: Frame) -> None:
        if frame.kind == Kind.EVENT:
            if self._events.handle(frame):
                self._kernel_alive = self._kernel_alive or self._events.kernel_started
                self._comms.push()
        elif frame.kind in _CHANNELS and not self._uplink.gone:
            self._kernel_alive = True
            self._relay.take(frame)
            await self._front.room()
        else:
            log.debug("ignored a frame of kind %d", frame.kind)

    def _on_change(self) -> None:
        if self._uplink.state is not State.DIALLING:
            self._decided.set()
        if self._uplink.gone:
            self._kernel_ended.set()
            log.log(logging.INFO if self._ending else logging.WARNING, "enclave %s", self._reason())
            for entry in self._pending.take():
                self._fail(entry.request, self._reason(), entry)
            waiting, self._waiting = self._waiting, []
            for item in waiting:
                self._run_command(item.request, item.command)
        self._comms.push()

    def _reason(self) -> CloisterError:
        return self._uplink.error or UnavailableError("proxy.enclave", "there is no enclave")

    def _notice(self, text: str, msg_id: str) -> None:
        self._front.notice(text, self._pending.header_of(msg_id))
