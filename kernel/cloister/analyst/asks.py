"""What a page asks for, answered beside the running kernel: estimate, check, verify, bundle.

The event loop carries every cell, so whatever takes time happens in threads, few at once. No answer spends budget,
changes the trust store or reaches the enclave: they read what this machine already holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from cloister.analyst import page
from cloister.analyst.agreed import Agreed, Agreement
from cloister.analyst.bundling import bundle_notebook
from cloister.analyst.checking import Checker
from cloister.analyst.estimate import estimate
from cloister.analyst.rehearsals import Rehearsals
from cloister.analyst.verifying import Verifier
from cloister.errors import CloisterError, FaultError, MalformedError, UnavailableError
from cloister.home import cloister_home
from cloister.receipt.bundle import BUNDLE_KEY, METADATA_KEY

MAX_WAITING = 16
# A notebook may have 32 MiB, and those that wait are kept in memory.
MAX_NOTEBOOKS = 3
Send = Callable[[page.Message], None]

log = logging.getLogger(__name__)


class _Output(msgspec.Struct):
    metadata: dict[str, Any] = {}


class _Cell(msgspec.Struct):
    outputs: list[_Output] = []


class _Notebook(msgspec.Struct):
    """The part of a notebook that says which receipts it rests on; the rest stays bytes."""

    nbformat: int
    cells: list[_Cell]


_notebooks = msgspec.json.Decoder(_Notebook)


class Asks:
    """Answers the page."""

    def __init__(self, agreement: Agreement, rehearsals: Rehearsals) -> None:
        self._agreement = agreement
        self._rehearsals = rehearsals
        self._verifier = Verifier()
        self._tasks: set[asyncio.Task[None]] = set()
        self._notebooks = 0
        self._one_notebook = asyncio.Lock()

    def take(self, ask: page.EstimateAsk | page.CheckAsk | page.NotebookAsk, send: Send) -> None:
        """Start to answer; ``send`` is called once, later.

        Raises:
            UnavailableError: ``page.busy``: too many wait already.
        """
        is_notebook = isinstance(ask, page.NotebookAsk)
        if len(self._tasks) >= MAX_WAITING or (is_notebook and self._notebooks >= MAX_NOTEBOOKS):
            raise UnavailableError("page.busy", "too many questions of this page are still unanswered")
        self._notebooks += is_notebook
        task = asyncio.create_task(self._serve(ask, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up what is not answered yet."""
        for task in self._tasks:
            task.cancel()
        self._verifier.stop()

    async def _serve(self, ask: page.EstimateAsk | page.CheckAsk | page.NotebookAsk, send: Send) -> None:
        ask_id = ask.id if isinstance(ask, page.NotebookAsk) else ask["id"]
        try:
            send(await self._answer(ask))
        except CloisterError as error:
            send(page.error_message(ask_id, error))
        except Exception:
            # Boundary: a defect here must cost the answer and not the kernel.
            log.exception("defect while answering the page")
            fault = FaultError("page.fault", "the proxy failed to answer", next_step="see the log of the kernel")
            send(page.error_message(ask_id, fault))
        finally:
            self._notebooks -= isinstance(ask, page.NotebookAsk)

    async def _answer(self, ask: page.EstimateAsk | page.CheckAsk | page.NotebookAsk) -> page.Message:
        if isinstance(ask, page.NotebookAsk):
            async with self._one_notebook:
                work = self._verify if ask.type == "verify" else _bundle
                return await asyncio.to_thread(work, ask)
        if ask["type"] == "estimate":
            return await asyncio.to_thread(self._estimate, ask)
        return await asyncio.to_thread(self._check, ask)

    def _estimate(self, ask: page.EstimateAsk) -> page.EstimateMessage:
        return estimate(ask["id"], ask["cells"], self._rehearsals.cells(), self._agreed().contract)

    def _check(self, ask: page.CheckAsk) -> page.CheckedMessage:
        checker = Checker(cloister_home() / "receipts", self._agreed())
        return {"type": "checked", "id": ask["id"], "chips": checker.check(ask["chips"])}

    def _verify(self, ask: page.NotebookAsk) -> page.VerifiedMessage:
        _read(ask)
        return self._verifier.verify(ask.id, bytes(ask.notebook))

    def _agreed(self) -> Agreed:
        return self._agreement.get()


def _bundle(ask: page.NotebookAsk) -> page.BundledMessage:
    try:
        bundled = bundle_notebook(msgspec.to_builtins(_read(ask)), cloister_home() / "receipts")
    except RecursionError as error:
        raise MalformedError("page.notebook", "this is no notebook: it is nested too deeply") from error
    return {"type": "bundled", "id": ask.id, "bundle": bundled["metadata"][METADATA_KEY][BUNDLE_KEY]}


def _read(ask: page.NotebookAsk) -> _Notebook:
    try:
        found = _notebooks.decode(ask.notebook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("page.notebook", f"this is no notebook: {str(error)[:200]}") from error
    if found.nbformat != 4:
        raise MalformedError(
            "page.notebook",
            f"a notebook of format {found.nbformat}; this reads format 4",
            next_step="save it in a current Jupyter",
        )
    return found
