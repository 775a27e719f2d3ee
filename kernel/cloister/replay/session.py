"""A replay session: the enclave's own sandbox and bridge on this machine, with an oracle in place of the vault.

It has the members of ``analyst.dial.EnclaveSession``, so the proxy cannot tell the difference, and says in its verdict
what it is. Requests reach the oracle through ``enclave.sessions``, which finds the cell that caused each, as in an
enclave. The jail is not optional: what is replayed is somebody else's code.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from cloister.analyst.agreed import Agreed
from cloister.analyst.checklist import NOT_ATTESTED
from cloister.attest.opening import Opening
from cloister.confine.libc import LINUX
from cloister.enclave import folders, isolation
from cloister.enclave.config import ServedContract
from cloister.enclave.sessions import Session as EnclaveSession
from cloister.enclave.vaults import Answer, Vaults
from cloister.errors import CloisterError, FaultError, RefusedError, UnavailableError
from cloister.plan.link import Context, Request, Routing
from cloister.replay import perturb
from cloister.replay.book import ReplayBook
from cloister.replay.oracle import Oracle
from cloister.replay.source import Source, find, load
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

UNCONFINED = "CLOISTER_REPLAY_UNCONFINED"
NO_FILES = "CLOISTER_REPLAY_NO_FILES"
WORD = "Replay: from receipts, no enclave"
WORD_PERTURBED = "Replay: perturbed values, nothing here was released"
WORD_UNCONFINED = "Replay without a sandbox"
_FILES = "run the notebook in the replay kernel yourself to take a file out of it"


class ReplayVerdict(msgspec.Struct, frozen=True):
    """What the badge says of a replay: grey at best, because nothing was attested."""

    word: str
    tone: Literal["grey", "red"]
    assurance: str
    status: str
    reasons: tuple[str, ...]
    isolation: dict[str, Any]
    time: str
    contract: str


class ReplaySession:
    """One notebook's replay. Create with ``await ReplaySession.open()``."""

    def __init__(
        self,
        oracle: Oracle,
        inner: EnclaveSession,
        work: folders.WorkFolder,
        verdict: ReplayVerdict,
        *,
        files: bool = True,
    ) -> None:
        self._oracle = oracle
        self._files = files
        self._inner = inner
        self._work = work
        self.verdict = verdict
        self.session = oracle.session

    @classmethod
    async def open(cls, environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> ReplaySession:
        """Verify the notebook's bundle, start the sandbox, and be ready to answer.

        Raises:
            RefusedError: ``replay.sandbox``, ``replay.which``, ``replay.nothing``.
            TrustError: ``replay.bundle``: the receipts do not verify.
            UnavailableError: The sandbox does not start.
        """
        allowed = environ.get(UNCONFINED) == "1"
        if not LINUX:
            raise no_sandbox("this system has no sandbox for other people's code; replay runs on Linux")
        source = await asyncio.to_thread(lambda: load(find(environ, folder or Path.cwd())))
        oracle = Oracle(source, perturbed=environ.get(perturb.CHOSEN) == "1")
        parent = Path(tempfile.gettempdir())
        folders.remove_abandoned(parent)
        work = folders.open_work(parent)

        async def mark(parent: str) -> None:
            await inner.outbox.put(Kind.IOPUB, *perturb.message(parent))

        vaults = cast("Vaults", _OracleVaults(oracle, mark))
        inner = EnclaveSession(_opening(oracle), _served(source), vaults)
        # First of all frames, so that the book is open before a receipt comes.
        await inner.event(type="cards", cards=source.bundle.cards)
        try:
            await inner.start(work.path / "notebook", plain=False)
            reached = inner.kernel.isolation if inner.kernel else isolation.unconfined()
            if reached.get("level", "none") == "none" and not allowed:
                raise no_sandbox("this machine offers no isolation, and a replay runs somebody else's code")
        except CloisterError:
            await inner.stop("the replay was refused")
            await asyncio.to_thread(work.remove)
            raise
        # Nobody watches a replay that a command runs, and moved values have no business in anybody's files.
        files = environ.get(NO_FILES) != "1" and not oracle.perturbed
        return cls(oracle, inner, work, _verdict(oracle, reached), files=files)

    def book(self) -> ReplayBook:
        """Return the book that lets the proxy show the receipts."""
        return ReplayBook(self._oracle)

    def agreed(self) -> Agreed:
        """Return contract and receipts, for the page."""
        source = self._oracle.source
        return Agreed(source.contract, self._oracle.terms.digest, source.receipts, source.cards)

    async def send(self, kind: int, *parts: bytes) -> None:
        """Take one frame of the proxy.

        Raises:
            CloisterError: The kernel is gone, or the frame is none that a proxy sends.
        """
        if not self._files and kind == Kind.EVENT and (asked := _file_taken(parts)):
            error = RefusedError("replay.files", "this replay writes no files on your machine", next_step=_FILES)
            await self._inner.event(**asked, error=error.to_dict())
            return
        await self._inner.from_proxy(Frame(kind, parts))

    async def receive(self) -> Frame:
        """Return the next frame for the proxy.

        Raises:
            UnavailableError: The sandbox has ended.
        """
        frame = await self._inner.outbox.get()
        if frame is None:
            raise UnavailableError("channel.ended", "the replay has ended", next_step="restart the kernel")
        return frame

    async def close(self) -> None:
        """End the sandbox and delete what it wrote."""
        await self._inner.stop("the notebook closed it")
        await asyncio.to_thread(self._work.remove)


Mark = Callable[[str], Awaitable[None]]


class _OracleVaults:
    """The oracle where an agent has its vaults."""

    def __init__(self, oracle: Oracle, mark: Mark) -> None:
        self._oracle = oracle
        self._mark = mark
        # One question at a time, and not on the loop: a large plan must not keep an interrupt waiting.
        self._turn = asyncio.Lock()

    def identity(self, _contract: str, _mode: str) -> str:
        """Return no vault: none runs, so none is announced."""
        return ""

    async def get(self, _served: ServedContract, _mode: str) -> _OracleVaults:
        """Return what answers."""
        return self

    async def request(self, context: Context, number: int, body: bytes, answer: Answer) -> None:
        """Answer one request."""
        request = msgspec.json.decode(body, type=Request)
        try:
            async with self._turn:
                answered = await asyncio.to_thread(self._oracle.answer, context, request)
        except CloisterError as error:
            await answer(Routing(context.session), canonical.encode({"id": number, "error": error.to_dict()}))
            return
        except Exception as error:  # noqa: BLE001 (boundary: a defect here must not leave a cell waiting for ever)
            fault = FaultError("replay.fault", f"the replay failed to answer ({type(error).__name__})")
            await answer(Routing(context.session), canonical.encode({"id": number, "error": fault.to_dict()}))
            return
        if self._oracle.perturbed and request.op == "release":
            await self._mark(context.cause.message)
        receipts = tuple(msgspec.to_builtins(envelope) for envelope in answered.receipts)
        admissions = tuple(msgspec.to_builtins(envelope) for envelope in answered.admissions)
        reply = canonical.encode({"id": number, "result": answered.result})
        await answer(Routing(context.session, receipts, admissions), reply)


def _file_taken(parts: tuple[bytes, ...]) -> dict[str, str] | None:
    """Return type, id and name of the file that a proxy asks out of the sandbox, if it does."""
    try:
        event = msgspec.json.decode(parts[0], type=dict[str, Any])
    except (IndexError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if event.get("type") != "get":
        return None
    return {name: str(event.get(name, "")) for name in ("type", "id", "name")}


def _opening(oracle: Oracle) -> Opening:
    return Opening(oracle.analyst, oracle.session, oracle.purpose, "confidential", signature="")


def _served(source: Source) -> ServedContract:
    return ServedContract(
        digest=next(iter(source.receipts.values())).contract,
        contract=source.contract,
        envelope=source.bundle.contract,
        cards=source.bundle.cards,
        capsules={},
        brokers={},
        grades=frozenset(),
    )


def _verdict(oracle: Oracle, reached: dict[str, Any]) -> ReplayVerdict:
    count, names = len(oracle.source.receipts), ", ".join(oracle.source.names)
    reasons: tuple[str, ...] = (
        f"answers are those of {count} receipts in {names}, whose signatures this machine checked",
        "no enclave runs, no data are read, nothing is charged; a question without a receipt is refused",
    )
    unconfined = reached.get("level", "none") == "none"
    word = WORD_UNCONFINED if unconfined else WORD_PERTURBED if oracle.perturbed else WORD
    if oracle.perturbed:
        reasons = ("every released value was moved on purpose: no number here is a result", *reasons)
    if unconfined:
        reasons = (f"{UNCONFINED}=1: the notebook's code runs with all rights of this account", *reasons)
    return ReplayVerdict(
        word=word,
        tone="red" if unconfined or oracle.perturbed else "grey",
        assurance=oracle.assurance,
        status=NOT_ATTESTED,
        reasons=reasons,
        isolation=reached,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        contract=oracle.terms.digest,
    )


def no_sandbox(reason: str) -> RefusedError:
    """Return the refusal to run somebody else's code without a jail."""
    return RefusedError(
        "replay.sandbox",
        reason,
        clause="docs/isolation.md",
        next_step=f"`cloister doctor` says what is missing; on a machine you throw away afterwards: {UNCONFINED}=1",
    )
