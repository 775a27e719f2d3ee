"""One notebook's session: the sandbox, its link to the vault, and what leaves towards the proxy.

A session outlives the connection for a while (the same analyst may resume) but never its kernel. The agent does not
trust the sandbox: it reads only headers, adds the context the sandbox cannot choose, and refuses what is not a request.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from cloister.attest.channel import Counts
from cloister.attest.opening import Opening
from cloister.enclave import causes
from cloister.enclave.config import ServedContract
from cloister.enclave.kernels import KernelProcesses
from cloister.enclave.outbox import Outbox
from cloister.enclave.vaults import Vaults
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.plan.link import MAX_REQUEST, Cause, Context, Request, Routing
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

FENCE_TIMEOUT_S = 1.0
# Sixteen full sessions still fit into what a vault takes at once (vaults.MAX_PENDING): none can lock another out.
MAX_IN_FLIGHT = 12
FROM_PROXY = frozenset({Kind.SHELL, Kind.CONTROL, Kind.STDIN})
_FROM_BRIDGE = frozenset({Kind.SHELL, Kind.CONTROL, Kind.STDIN, Kind.IOPUB})
_BUDGET_ID = 0
_T = TypeVar("_T")
_log = logging.getLogger("cloister.enclave")


class _Numbered(msgspec.Struct, frozen=True):
    id: int


class _Ask(msgspec.Struct, frozen=True):
    """What a proxy asks the agent itself: the budget as of now, or to carry a file in or out."""

    type: Literal["budget", "put", "get"]
    id: str
    name: str = ""
    sha256: str = ""


class Session:
    """A session admitted by its opening; ``start`` begins it, ``ended`` completes when its kernel is gone."""

    def __init__(self, opening: Opening, served: ServedContract, vaults: Vaults) -> None:
        self.opening = opening
        self.served = served
        self.outbox = Outbox()
        self.kernel: KernelProcesses | None = None
        self.left = asyncio.Event()
        self.left.set()
        # Of the connection that served the session last; None until one has broken.
        self.counts: Counts | None = None
        self.departures = 0
        self._vaults = vaults
        self._causes = causes.Causes(opening.session)
        self._fences: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parents: dict[int, str] = {}
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._over = asyncio.Event()
        self._started = False
        # Whoever waits for the budget that is being asked for, and for the next one ("" is everybody).
        self._budget_asked: list[str] = []
        self._budget_wanted: list[str] = []

    @property
    def attached(self) -> bool:
        """Whether a connection serves this session now."""
        return not self.left.is_set()

    async def start(self, folder: Path, *, plain: bool) -> None:
        """Start the sandbox and begin relaying; the vault is warmed up on the side.

        Raises:
            UnavailableError: The sandbox could not be started or confined.
        """
        self.kernel = await KernelProcesses.start(folder, plain=plain)
        self._started = True
        for work in (self._watch(), self._from_kernel(), self._from_sandbox(), self._greet_vault()):
            self._spawn(work)

    async def ended(self) -> None:
        """Wait until the kernel is gone and its processes are cleaned up."""
        await self._over.wait()

    async def stop(self, reason: str) -> None:
        """End the kernel; ``reason`` is told to the proxy."""
        started = self._started
        await self._finish(reason)
        if started:
            # Somebody else may be ending it already; its processes are gone when this returns.
            await self._over.wait()

    async def event(self, **event: Any) -> None:
        """Tell the proxy something."""
        await self.outbox.put(Kind.EVENT, canonical.encode(event))

    async def from_proxy(self, frame: Frame) -> None:
        """Take one frame of the proxy; what it asks of the agent is done before the next frame is taken.

        Raises:
            MalformedError: A kind or an event that no proxy sends.
            UnavailableError: The kernel is gone.
        """
        if frame.kind == Kind.PING:
            await self.outbox.put(Kind.PING, *frame.parts)
            return
        if frame.kind == Kind.EVENT:
            await self._asked(frame)
            return
        if frame.kind not in FROM_PROXY:
            raise MalformedError("channel.kind", f"a proxy does not send frames of kind {frame.kind}")
        self._causes.sent(frame.parts, shell=frame.kind == Kind.SHELL)
        if self.kernel is None:
            raise UnavailableError("kernel.died", "the kernel has ended")
        await self.kernel.to_kernel(frame)

    async def _asked(self, frame: Frame) -> None:
        ask = _ask(frame)
        if ask.type == "budget":
            self._want_budget(ask.id)
            return
        data = b""
        told: dict[str, Any] = {"type": ask.type, "id": ask.id, "name": ask.name, "sha256": ask.sha256, "error": None}
        try:
            if self.kernel is None:
                raise UnavailableError("kernel.died", "the kernel has ended")
            if ask.type == "put":
                await asyncio.to_thread(self.kernel.files.put, ask.name, frame.parts[1], ask.sha256)
                self._causes.put(ask.name, ask.sha256)
            else:
                data = await asyncio.to_thread(self.kernel.files.get, ask.name)
                told["sha256"] = canonical.digest_bytes(data)
        except CloisterError as error:
            told["error"] = error.to_dict()
        await self.outbox.put(Kind.EVENT, canonical.encode(told), *([data] if ask.type == "get" else []))

    async def _watch(self) -> None:
        if self.kernel is not None:
            await self._finish(await self.kernel.ended())

    async def _finish(self, reason: str) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is None:
            return
        await kernel.stop()
        await self.event(type="kernel", state="died", reason=reason)
        await self.outbox.finish()
        self._over.set()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def _from_kernel(self) -> None:
        kernel = self.kernel
        if kernel is None:
            return
        try:
            async for frame in kernel.from_kernel():
                await self._relay(frame)
        except CloisterError as error:
            _log.warning("session %s: the bridge broke the protocol (%s)", self.opening.session, error.code)
            await self._finish("the bridge broke the protocol")

    async def _relay(self, frame: Frame) -> None:
        if frame.kind == Kind.EVENT:
            await self.event(type="kernel", state="started", reason="")
            return
        if frame.kind not in _FROM_BRIDGE:
            raise MalformedError("bridge.kind", f"a bridge does not send frames of kind {frame.kind}")
        if self._fences and self._is_fence(frame):
            return
        if frame.kind == Kind.IOPUB and (message_id := causes.finished(frame.parts)):
            self._causes.idle(message_id)
        await self.outbox.put(frame.kind, *frame.parts)

    def _is_fence(self, frame: Frame) -> bool:
        parent = causes.parent_of(frame.parts)
        fence = self._fences.get(parent)
        if fence is not None and frame.kind == Kind.IOPUB and causes.finished(frame.parts):
            fence.set()
        return fence is not None

    async def _from_sandbox(self) -> None:
        kernel = self.kernel
        if kernel is None:
            return
        try:
            async for frame in kernel.from_sandbox():
                if frame.kind != Kind.REQUEST or len(frame.parts) != 1 or len(frame.parts[0]) > MAX_REQUEST:
                    raise MalformedError("link.malformed", "a sandbox sends requests and nothing else")
                number = _number(frame.parts[0])
                # A sandbox that asks for more, or does not read its answers, waits in its own pipe, not in our memory.
                await self._room.acquire()
                # Taken at once, in order: the cause is that of now, not of when the vault has time.
                self._spawn(self._request(number, frame.parts[0]))
        except CloisterError as error:
            # The link is one stream: after nonsense no byte of it can be trusted to start a frame.
            _log.warning("session %s: the sandbox broke the link's protocol (%s)", self.opening.session, error.code)
            await self._finish("the sandbox broke the protocol of its link")

    async def _request(self, number: int, body: bytes) -> None:
        if number in self._parents:
            # Answered as if it were new, its receipt would go to another cell than the one that asked first.
            error = MalformedError("link.number", "a request with this id is not answered yet")
            await self._to_sandbox(canonical.encode({"id": number, "error": error.to_dict()}))
            return
        self._parents[number] = ""
        try:
            # The vault decodes again, for itself; here a malformed request still has an id to answer to.
            _decode(body, Request)
            if self._causes.ambiguous:
                await self._fence()
            cause, transcript = self._causes.current()
            vault = await self._vaults.get(self.served, self.opening.mode)
            self._parents[number] = cause.message
            await vault.request(self._context(cause, transcript), number, body, self._answer)
        except CloisterError as error:
            self._parents.pop(number, None)
            await self._to_sandbox(canonical.encode({"id": number, "error": error.to_dict()}))

    def _context(self, cause: Cause, transcript: str) -> Context:
        opening = self.opening
        source = self._causes.source_of(cause) if self.served.keeps_source else ""
        return Context(opening.session, opening.analyst, opening.purpose, transcript, cause, source)

    async def _fence(self) -> None:
        """Wait until everything the kernel published before now has been seen.

        Several cells may be queued; the ``idle`` of the one before may still be on its way while the next one's plan is
        already here. A control request of the agent's own answers on the same ordered channel, behind that ``idle``.
        """
        kernel = self.kernel
        if kernel is None:
            return
        message_id = "agent-" + secrets.token_hex(12)
        fence = self._fences.setdefault(message_id, asyncio.Event())
        try:
            await kernel.to_kernel(Frame(Kind.CONTROL, causes.control_request(message_id, "kernel_info_request")))
            await asyncio.wait_for(fence.wait(), FENCE_TIMEOUT_S)
        except TimeoutError:
            _log.info("session %s: the kernel's control thread is busy; causes may lag", self.opening.session)
        finally:
            # Its reply on the control channel may come after its output; it is recognised a little longer.
            asyncio.get_running_loop().call_later(5, self._fences.pop, message_id, None)

    async def _answer(self, routing: Routing, reply: bytes) -> None:
        # In a task of its own: a proxy that reads slowly must not hold up the vault's other sessions.
        self._spawn(self._deliver(routing, reply))

    async def _deliver(self, routing: Routing, reply: bytes) -> None:
        number = _decode(reply, _Numbered).id
        if number == _BUDGET_ID:
            await self._budget(reply)
            return
        parent = self._parents.pop(number, "")
        for admission in routing.admissions:
            await self.event(type="admission", admission=admission)
        for receipt in routing.receipts:
            await self.event(type="receipt", receipt=receipt, parent=parent)
        for rehearsal in routing.rehearsals:
            await self.event(type="rehearsal", rehearsal=msgspec.to_builtins(rehearsal), parent=parent)
        await self._to_sandbox(reply)
        if routing.receipts:
            self._want_budget()

    async def _to_sandbox(self, reply: bytes) -> None:
        try:
            if self.kernel is not None:
                await self.kernel.to_sandbox(reply)
        except UnavailableError:
            _log.info("session %s: a reply came after its sandbox ended", self.opening.session)
        finally:
            self._room.release()

    async def _greet_vault(self) -> None:
        known = self._vaults.identity(self.served.digest, self.opening.mode)
        if known:
            # One that starts now announces itself; one that runs already would stay unknown to this proxy.
            await self.event(type="vault", state="ready", vault_id=known)
        self._want_budget()

    def _want_budget(self, who: str = "") -> None:
        """Ask for the budget as of now; one that is under way already may be older than what happened since."""
        self._budget_wanted.append(who)
        if not self._budget_asked:
            self._budget_asked, self._budget_wanted = self._budget_wanted, []
            self._spawn(self._ask_budget())

    async def _ask_budget(self) -> None:
        body = canonical.encode({"id": _BUDGET_ID, "op": "budget", "plan": None})
        try:
            vault = await self._vaults.get(self.served, self.opening.mode)
            await vault.request(
                self._context(Cause("background"), self._causes.transcript), _BUDGET_ID, body, self._answer
            )
        except CloisterError as error:
            # One that is busy is not gone.
            await self._no_budget("" if error.code == "vault.busy" else "died", error.to_dict())

    async def _budget(self, reply: bytes) -> None:
        told = msgspec.json.decode(reply, type=dict[str, Any])
        if isinstance(told.get("result"), dict):
            await self._tell_budget({"budget": told["result"]})
        else:
            await self._no_budget("ready", told.get("error") or {})

    async def _no_budget(self, state: str, error: dict[str, Any]) -> None:
        if state and "" in self._budget_asked:
            await self.event(type="vault", state=state, error=error)
        await self._tell_budget({"error": error})

    async def _tell_budget(self, told: dict[str, Any]) -> None:
        asked, self._budget_asked = self._budget_asked, []
        for who in dict.fromkeys(asked):
            if who:
                await self.event(type="budget", id=who, **told)
            elif "budget" in told:
                await self.event(type="budget", **told)
        if self._budget_wanted:
            self._want_budget(self._budget_wanted.pop())

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _number(body: bytes) -> int:
    number = _decode(body, _Numbered).id
    if number <= _BUDGET_ID:
        raise MalformedError("link.malformed", "request ids are positive")
    return number


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("link.malformed", f"a message of the link is no {kind.__name__.lstrip('_')}") from error


def _ask(frame: Frame) -> _Ask:
    ask = _decode(frame.parts[0], _Ask) if frame.parts else None
    if ask is None or len(frame.parts) != (2 if ask.type == "put" else 1) or len(ask.id) > 64:
        raise MalformedError("channel.kind", "an event that no proxy sends")
    return ask
