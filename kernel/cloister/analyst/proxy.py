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
import logging
from pathlib import Path
from typing import Any

from cloister.analyst import guard, limits, storing, widgets
from cloister.analyst.agreed import Agreement, LoadAgreed
from cloister.analyst.asks import Asks
from cloister.analyst.chips import OpenBook
from cloister.analyst.commands import Known
from cloister.analyst.comms import OwnComms
from cloister.analyst.completion import complete
from cloister.analyst.connection_file import ConnectionFile
from cloister.analyst.errands import Errands
from cloister.analyst.events import Events
from cloister.analyst.front import Front
from cloister.analyst.lines import Lines
from cloister.analyst.live import LiveViews
from cloister.analyst.messages import Request
from cloister.analyst.own_replies import ALWAYS_ANSWERED, NEVER_FORWARDED, SUBSHELL_REQUESTS, OwnReplies
from cloister.analyst.parent_watch import parent_gone
from cloister.analyst.pending import Entry, Pending
from cloister.analyst.rehearsals import Rehearsals, rehearsals_path
from cloister.analyst.relay import Outcome, Relay
from cloister.analyst.session import OpenSession
from cloister.analyst.standing import Standing
from cloister.analyst.unsaved import Marks
from cloister.analyst.uplink import State, Uplink
from cloister.errors import CloisterError, UnavailableError
from cloister.home import cloister_home
from cloister.wire.frames import Frame, Kind

_SHUTDOWN_PATIENCE_S = 2.0
_GOODBYE_PATIENCE_S = 0.5
_CLOSE_PATIENCE_S = 2.0
BUDGET_KEPT_S = 15.0
LOOK_EVERY_S = 60.0
"""How often the budget is asked for though nobody looks: a notebook learns so that a provider stopped the contract."""
_CHANNELS = frozenset({Kind.SHELL, Kind.CONTROL, Kind.STDIN, Kind.IOPUB})
_INTERRUPTED = UnavailableError("proxy.interrupted", "interrupted before the enclave was reached; nothing was sent")

log = logging.getLogger(__name__)


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
        # Jupyter starts a kernel in the notebook's folder.
        self._folder = Path.cwd()
        self._front = Front(connection, self._on_request)
        self._pending = Pending()
        self._uplink = Uplink(open_session, self._on_frame, self._on_change)
        self._agreement = Agreement(load_agreed)
        self._rehearsals = Rehearsals(lambda: rehearsals_path(cloister_home(), self._agreement.get().digest))
        self._events = Events(self._uplink, self._notice, open_book, self._agreement, self._rehearsals)
        self._standing = Standing(entry, mode, self._uplink, self._events, self._agreement)
        self._info = self._standing.info
        self._asks = Asks(self._agreement, self._rehearsals)
        self._comms = OwnComms(self._front, self._standing, self._asks, self._look)
        self._live = LiveViews(self._front, self._picture)
        self._own = OwnReplies(connection)
        self._errands = Errands(self._uplink.send)
        self._marks = Marks(self._front, lambda: self._events.unsaved, stripped=storing.promised())
        self._relay = Relay(
            self._front,
            self._pending,
            self._events,
            self._comms,
            self._live,
            marks=self._marks,
            info=self._info,
            on_reply=self._on_reply,
        )
        self._lines = Lines(
            self._front,
            self._pending,
            self._uplink,
            self._errands,
            self._live,
            echo=self._echo,
            known=self._known,
            again=self._on_request,
            done=self._relay.resume_busy,
            folder=self._folder,
            check_file=self._marks.check_file,
        )
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
        looking = asyncio.create_task(self._keep_looking())
        await asyncio.wait({orphaned, stopped}, return_when=asyncio.FIRST_COMPLETED)
        code = 1 if orphaned.done() else 0
        for task in (uplink, orphaned, stopped, looking):
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

    def _known(self) -> Known:
        try:
            contract = self._agreement.get().contract
        except CloisterError:  # no contract is known here: shares are shown without epsilon
            contract = None
        return Known(self._info(), self._events.budget, self._events.verified, contract)

    def _picture(self, view: str) -> widgets.Models:
        """Return the models of a live view as they should be now."""
        known = self._known()
        if view == widgets.BUDGET:
            return widgets.budget(known.budget, known.contract, self._mode)
        return widgets.status(known.info, limits.left(limits.limits(known.budget or {}, known.contract)))

    def _look(self) -> None:
        """Ask for the budget anew when a page looks at an old one: other notebooks spend from it too."""
        known = self._events.budget is not None and self._uplink.state is State.OPEN
        if known and self._mode == "confidential" and self._events.budget_age_s > BUDGET_KEPT_S:
            self._lines.ask_budget()

    async def _keep_looking(self) -> None:
        while not self._uplink.gone:
            await asyncio.sleep(LOOK_EVERY_S)
            self._look()

    def _tell_pages(self) -> None:
        """Tell every open comm and live view that something changed."""
        self._comms.push()
        self._live.refresh()

    def _on_request(self, request: Request) -> None:
        kind = request.header.msg_type
        if self._is_own_business(request):
            return
        if kind == "interrupt_request":
            self._lines.interrupt()
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
            return self._lines.take(request)
        if kind == "complete_request":
            return self._completes(request)
        if self._live.take(request, alone=not self._kernel_alive or self._uplink.gone):
            self._front.status("busy", request.message.header)
            self._front.status("idle", request.message.header)
            self._relay.resume_busy()
            return True
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

    def _completes(self, request: Request) -> bool:
        """Complete the words of a ``%cloister`` line; return whether it is one."""
        asked = request.content()
        code, cursor = asked.get("code"), asked.get("cursor_pos")
        if not isinstance(code, str) or not isinstance(cursor, int):
            return False
        found = complete(code, cursor, self._folder)
        if found is not None:
            with self._front.serving(request):
                self._front.reply(request, found)
            self._relay.resume_busy()
        return found is not None

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
        self._relay.passed_on(request)
        if request.channel is not Kind.STDIN:
            self._pending.add(request)
        if self._mode == "mock" and request.header.msg_type == "execute_request":
            self._rehearsals.began(request.header.msg_id, str(request.content().get("code", "")))

    def _answer(self, request: Request) -> None:
        with self._front.serving(request):
            content = self._own.content(request, self._info(), self._listing())
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
            self._front.reply(request, self._own.content(request, self._info(), self._listing()))
        elif request.wants_reply:
            self._front.fail(request, error, self._relay.execution_count)
        elif request.header.msg_type == "comm_open":
            closing = {"comm_id": str(request.content().get("comm_id")), "data": {}}
            self._front.publish("comm_close", closing, request.message.header)

    def _listing(self) -> dict[str, Any]:
        return {**self._comms.listing(), **self._live.listing()}

    def _echo(self, request: Request) -> int:
        """Count and show the input of a cell that the sandbox will not see; return its number."""
        content = request.content()
        if request.header.msg_type == "execute_request" and not content.get("silent"):
            self._relay.execution_count += 1
            shown = {"code": str(content.get("code", "")), "execution_count": self._relay.execution_count}
            self._front.publish("execute_input", shown, request.message.header)
        return self._relay.execution_count

    def _on_reply(self, reply_type: str, msg_id: str, outcome: Outcome) -> None:
        """Note that the sandbox answered: waiting ``%cloister`` lines and a shutdown hang on it."""
        if reply_type == "shutdown_reply":
            self._said_goodbye.set()
        elif reply_type == "execute_reply":
            self._rehearsals.ended(msg_id, outcome.status)
            self._lines.replied(msg_id, stops=outcome.stops)

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
            # A file that was asked for is nobody else's business; a budget is everybody's.
            if not self._errands.is_file(frame) and self._events.handle(frame):
                self._kernel_alive = self._kernel_alive or self._events.kernel_started
                self._tell_pages()
            self._errands.answered(frame)
        elif frame.kind in _CHANNELS and not self._uplink.gone:
            self._kernel_alive = True
            self._relay.take(frame)
            await self._front.room()
        else:
            log.debug("ignored a frame of kind %d", frame.kind)

    def _on_change(self) -> None:
        if self._uplink.gone:
            self._kernel_ended.set()
            log.log(logging.INFO if self._ending else logging.WARNING, "enclave %s", self._reason())
            for entry in self._pending.take():
                self._fail(entry.request, self._reason(), entry)
        self._lines.changed()
        self._tell_pages()

    def _reason(self) -> CloisterError:
        return self._uplink.error or UnavailableError("proxy.enclave", "there is no enclave")

    def _notice(self, text: str, msg_id: str) -> None:
        self._front.notice(text, self._pending.header_of(msg_id))
