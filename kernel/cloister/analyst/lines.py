"""``%cloister`` lines in their turn: which wait for cells, which ask the enclave, and what waits for them.

A line whose answer depends on the cells before it waits for them; one about the enclave waits a little for a verdict.
A line that moves a file is part of the notebook's order: the cells behind it are held back until it is done, and are
skipped, as a kernel does, when it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloister.analyst import bundles, commands, files
from cloister.analyst.commands import Command, Known
from cloister.analyst.errands import Errands
from cloister.analyst.front import Front
from cloister.analyst.live import LiveViews
from cloister.analyst.messages import Request
from cloister.analyst.pending import Pending
from cloister.analyst.uplink import State, Uplink
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.wire import canonical
from cloister.wire.filenames import check_name

_VERDICT_PATIENCE_S = 15.0
_BUDGET_PATIENCE_S = 5.0
_FILE_PATIENCE_S = 60.0
_REPORT = "please report it, with the log of the kernel"
METADATA_KEY = "cloister"
Bundle = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass
class Waiting:
    """A line whose answer depends on cells before it."""

    request: Request
    command: Command
    cells: set[str]


class Lines:
    """Serves the ``%cloister`` lines of one kernel.

    Args:
        front: Where answers go.
        echo: Counts and shows the input of a cell the sandbox does not see; returns its number.
        known: Returns what the proxy knows now.
        again: Takes a request that was held back, as if it came now.
        done: Called after an answer of our own (the running cell's ``busy`` is told again).
        folder: The notebook's folder.
        check_file: Raises if no file may be taken out of the sandbox now.
    """

    def __init__(
        self,
        front: Front,
        pending: Pending,
        uplink: Uplink,
        errands: Errands,
        live: LiveViews,
        *,
        echo: Callable[[Request], int],
        known: Callable[[], Known],
        again: Callable[[Request], None],
        done: Callable[[], None],
        folder: Path,
        check_file: Callable[[], None],
    ) -> None:
        self._front = front
        self._pending = pending
        self._uplink = uplink
        self._errands = errands
        self._live = live
        self._echo = echo
        self._known = known
        self._again = again
        self._done = done
        self._folder = folder
        self._check_file = check_file
        self._decided = asyncio.Event()
        self._waiting: list[Waiting] = []
        self._moving: Request | None = None
        self._held: deque[Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    def take(self, request: Request) -> bool:
        """Take an ``execute_request`` if it is a line, or waits behind one that moves a file."""
        if self._moving is not None and request.header.subshell_id is None:
            self._held.append(request)
            return True
        command = commands.parse(str(request.content().get("code", "")))
        if command is None:
            return False
        try:
            command.words()
        except CloisterError as error:
            self._fail(request, error)
            return True
        if command.moves_file:
            self._moving = request
        cells = self._pending.cells() if command.waits else set()
        if cells:
            self._waiting.append(Waiting(request, command, cells))
        else:
            self._start(request, command)
        return True

    def ask_budget(self) -> None:
        """Ask for the budget as of now, for pages that look; once at a time."""
        if self._renewing is None or self._renewing.done():
            self._renewing = self._spawn(self._renew_budget())

    def replied(self, msg_id: str, *, stops: bool) -> None:
        """Note that the sandbox answered a cell; ``stops``: it failed, and what is queued behind it is skipped."""
        for waiting in list(self._waiting):
            waiting.cells.discard(msg_id)
            if stops:
                self._waiting.remove(waiting)
                self._abort(waiting.request)
                self._finished(waiting.request, failed=True)
            elif not waiting.cells:
                self._waiting.remove(waiting)
                self._start(waiting.request, waiting.command)

    def changed(self) -> None:
        """Note that the session changed its state."""
        if self._uplink.state is not State.DIALLING:
            self._decided.set()
        if self._uplink.gone and self._uplink.error is not None:
            self._errands.fail(self._uplink.error)
            waiting, self._waiting = self._waiting, []
            for item in waiting:
                self._start(item.request, item.command)

    def interrupt(self) -> None:
        """Skip what is held back; the line in front of it ends by itself."""
        held, self._held = self._held, deque()
        for request in held:
            self._abort(request)

    def _start(self, request: Request, command: Command) -> None:
        if command.name in ("budget", "put", "get") or (command.about_enclave and self._uplink.state is State.DIALLING):
            self._spawn(self._run(request, command))
        else:
            self._answer(request, command)

    async def _run(self, request: Request, command: Command) -> None:
        try:
            await self._ask_and_answer(request, command)
        except Exception:  # (boundary: a defect must not leave the notebook waiting)
            log.exception("a defect while answering a line")
            self._fail(request, CloisterError("proxy.defect", "a defect while answering this line", next_step=_REPORT))
            self._finished(request, failed=True)

    async def _ask_and_answer(self, request: Request, command: Command) -> None:
        if self._uplink.state is State.DIALLING:
            # Run All sends its first line before the enclave could answer.
            patience = _FILE_PATIENCE_S if command.moves_file else _VERDICT_PATIENCE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._decided.wait(), patience)
        if command.moves_file:
            await self._move(request, command)
            return
        if command.name == "budget" and self._uplink.state is State.OPEN:
            # What the enclave told last may be older than the last release; the answer becomes the last told.
            await self._renew_budget()
        self._answer(request, command)

    async def _renew_budget(self) -> None:
        try:
            await self._errands.ask("budget", timeout_s=_BUDGET_PATIENCE_S)
        except CloisterError as error:
            log.info("the budget is not as of now: %s", error)

    def _answer(self, request: Request, command: Command) -> None:
        try:
            data = commands.answer(command, self._known())
        except CloisterError as error:
            self._fail(request, error)
            return
        self._show(request, data, {}, live=command.name if command.live else "")

    async def _move(self, request: Request, command: Command) -> None:
        words, flags = command.words()
        try:
            data, metadata = await (self._put(*words) if command.name == "put" else self._get(*words, flags=flags))
        except CloisterError as error:
            self._fail(request, error)
            self._finished(request, failed=request.content().get("stop_on_error", True) is not False)
        else:
            self._show(request, data, {METADATA_KEY: {command.name: metadata}})
            self._finished(request, failed=False)

    async def _put(self, source: str, name: str = "") -> tuple[Bundle, Bundle]:
        name = check_name(name or source)
        self._check_reachable()
        data = await asyncio.to_thread(files.read, self._folder, source)
        sha256 = canonical.digest_bytes(data)
        await self._errands.ask("put", data, timeout_s=_FILE_PATIENCE_S, name=name, sha256=sha256)
        shown = bundles.file_put(name, sha256, len(data), source)
        return shown, {"name": name, "sha256": sha256, "size": len(data)}

    async def _get(self, name: str, target: str = "", *, flags: frozenset[str]) -> tuple[Bundle, Bundle]:
        target, force = target or name, commands.FORCE in flags
        check_name(name)
        files.check_inert(target)
        self._check_file()
        self._check_reachable()
        if not force:
            files.check_free(self._folder, target)
        told = await self._errands.ask("get", timeout_s=_FILE_PATIENCE_S, name=name)
        sha256 = canonical.digest_bytes(told.data)
        self._check_file()  # what was asked for meanwhile may be in it
        if told.event.get("sha256") != sha256 or told.event.get("name") != name:
            raise MalformedError("file.digest", "the file that arrived is not the file that was announced")
        await asyncio.to_thread(files.write, self._folder, target, told.data, force=force)
        mode = str(self._known().info.get("mode", ""))
        shown = bundles.file_got(name, sha256, len(told.data), target, mode=mode)
        return shown, {"name": name, "sha256": sha256, "size": len(told.data)}

    def _check_reachable(self) -> None:
        if self._uplink.state is not State.OPEN:
            raise self._uplink.error or UnavailableError(
                "proxy.enclave", "the enclave is not reached yet", next_step="try again in a moment"
            )

    def _show(self, request: Request, data: Bundle, metadata: Bundle, *, live: str = "") -> None:
        parent = request.message.header
        with self._front.serving(request):
            number = self._echo(request)
            self._front.publish("display_data", {"data": data, "metadata": metadata, "transient": {}}, parent)
            if live:
                self._front.publish("display_data", self._live.show(live, parent), parent)
            reply = {"status": "ok", "execution_count": number, "user_expressions": {}, "payload": []}
            self._front.reply(request, reply)
        self._done()

    def _fail(self, request: Request, error: CloisterError) -> None:
        with self._front.serving(request):
            self._front.fail(request, error, self._echo(request))
        self._done()

    def _abort(self, request: Request) -> None:
        """Skip a cell queued behind one that failed, as ipykernel does."""
        with self._front.serving(request):
            self._front.reply(request, {"status": "aborted"})
        self._done()

    def _finished(self, request: Request, *, failed: bool) -> None:
        """Let the cells go on that were held back behind a file, or skip them."""
        if self._moving is not request:
            return
        self._moving = None
        held, self._held = self._held, deque()
        for behind in held:
            if failed:
                self._abort(behind)
            else:
                self._again(behind)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
