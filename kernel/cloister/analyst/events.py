"""What the agent reports beside the Jupyter frames: kernel, vault, receipts, rehearsals, budget.

Events come from the attested agent, not from notebook code. Unknown types are ignored, so that a newer enclave
can say more; an event that is not a JSON object ends the session, because the agent never sends one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from cloister.analyst.agreed import Agreement
from cloister.analyst.chips import OpenBook, ReceiptBook
from cloister.analyst.messages import decode_object
from cloister.analyst.rehearsals import Rehearsals
from cloister.analyst.uplink import State, Uplink
from cloister.contract.storage import Unsaved, unsaved
from cloister.errors import CloisterError, ContractError, MalformedError, UnavailableError, from_dict
from cloister.receipt.facts import ReleaseFacts
from cloister.receipt.rehearsal import MAX_SHOWN, Rehearsal, RehearsalFacts, rehearsal_facts
from cloister.wire.frames import Frame

_CELLS_KEPT = 256
_RELEASES_LISTED = 1000

log = logging.getLogger(__name__)


class Events:
    """Keeps what events told: verified releases by cell, the last budget, the vault's state."""

    def __init__(
        self,
        uplink: Uplink,
        notice: Callable[[str, str], None],
        open_book: OpenBook | None,
        agreement: Agreement,
        rehearsals: Rehearsals,
    ) -> None:
        self._uplink = uplink
        self._open_book = open_book
        self._agreement = agreement
        self._rehearsals = rehearsals
        self._receipts: ReceiptBook | None = None
        self._notice = notice
        self._releases: OrderedDict[str, list[ReleaseFacts]] = OrderedDict()
        self._rehearsed: OrderedDict[str, list[RehearsalFacts]] = OrderedDict()
        self.budget: dict[str, Any] | None = None
        self._budget_at = time.monotonic()
        self.vault: dict[str, Any] | None = None
        self.stopped: CloisterError | None = None
        """Why nothing is released any more, if every broker that was asked for the budget said so."""
        self.unsaved: Unsaved | None = None
        """Why what the session shows from now on may not be saved, if it has come to know such a result."""
        self.kernel_started = False
        self.released = 0
        self.verified: deque[ReleaseFacts] = deque(maxlen=_RELEASES_LISTED)

    def handle(self, frame: Frame) -> bool:
        """Take one event; return whether the page should be told that something changed.

        Raises:
            MalformedError: Not an event.
        """
        if len(frame.parts) != 1:
            raise MalformedError("event.shape", "an event has one part")
        event = decode_object(frame.parts[0])
        handler = {
            "kernel": self._kernel,
            "cards": self._cards,
            "receipt": self._receipt,
            "admission": self._admission,
            "rehearsal": self._rehearsal,
            "vault": self._vault,
            "budget": self._budget,
            "refused": self._refused,
        }.get(str(event.get("type")))
        if handler is None:
            log.debug("ignored an event of type %r", event.get("type"))
            return False
        handler(event)
        return True

    def take_releases(self, msg_id: str) -> list[ReleaseFacts]:
        """Return the verified releases of a cell that just ended, and forget them."""
        return self._releases.pop(msg_id, [])

    def take_rehearsals(self, msg_id: str) -> list[RehearsalFacts]:
        """Return what a cell that just ended rehearsed, and forget it."""
        return self._rehearsed.pop(msg_id, [])

    def _kernel(self, event: dict[str, Any]) -> None:
        if event.get("state") == "started":
            self.kernel_started = True
        elif event.get("state") == "died":
            reason = str(event.get("reason") or "no reason was given")
            self._uplink.end(
                State.DEAD,
                UnavailableError(
                    "kernel.died",
                    f"the kernel inside the enclave ended: {reason}",
                    next_step="restart the kernel; what was released keeps its receipts and costs nothing again",
                ),
            )

    def _cards(self, event: dict[str, Any]) -> None:
        """Open the book of receipts: the signed cards say what the numbers in a receipt mean."""
        cards = event.get("cards")
        session = self._uplink.session
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise MalformedError("event.cards", "cards are a list of signed documents")
        self._agreement.take_cards(cards)
        if self._open_book is not None and session is not None and self._receipts is None:
            self._receipts = self._open_book(session, cards)

    def _receipt(self, event: dict[str, Any]) -> None:
        parent = str(event.get("parent", ""))
        envelope = event.get("receipt")
        if self._receipts is None or not isinstance(envelope, dict):
            self._notice("a receipt arrived that this machine cannot check", parent)
            self._of_unknown_tier()
            return
        try:
            facts = self._receipts.accept(envelope, parent)
        except CloisterError as error:
            self._notice(f"a receipt of this cell does not verify: {error}", parent)
            self._of_unknown_tier()
            return
        if isinstance(facts.unsaved, Unsaved):
            self._came_to_know(facts.unsaved)
            self._agreement.keep(self._receipts.in_memory)
        self.released += 1
        self.verified.append(facts)
        self._releases.setdefault(parent, []).append(facts)
        if len(self._releases) > _CELLS_KEPT:
            self._releases.popitem(last=False)

    def _of_unknown_tier(self) -> None:
        """The sandbox gets the value all the same: it counts as one of the highest tier."""
        if self._receipts is not None and self._receipts.from_file:
            return
        with contextlib.suppress(CloisterError):  # without a contract nothing says what may be saved
            found = unsaved(self._agreement.get().contract, None)
            if found is not None:
                self._came_to_know(found)

    def _came_to_know(self, found: Unsaved) -> None:
        self.unsaved = found if self.unsaved is None else max(self.unsaved, found)

    def _admission(self, event: dict[str, Any]) -> None:
        envelope = event.get("admission")
        if self._receipts is None or not isinstance(envelope, dict):
            return
        try:
            self._receipts.admit(envelope)
        except CloisterError as error:
            self._notice(f"an admission does not verify: {error}", "")

    def _rehearsal(self, event: dict[str, Any]) -> None:
        """Note what a mock cell would have cost; it carries no values, and nothing rests on it but an estimate."""
        try:
            rehearsal = msgspec.convert(event.get("rehearsal"), type=Rehearsal)
        except msgspec.ValidationError as error:
            log.warning("ignored a rehearsal: %s", error)
            return
        parent = str(event.get("parent", ""))
        if not self._rehearsals.heard(parent, rehearsal):
            return
        try:
            contract = self._agreement.get().contract
        except CloisterError:  # without one the chip says that the price is not known
            contract = None
        kept = self._rehearsed.setdefault(parent, [])
        # One more than is shown, so that the chip says that there are more.
        if len(kept) <= MAX_SHOWN:
            kept.append(rehearsal_facts(rehearsal, contract))
        if len(self._rehearsed) > _CELLS_KEPT:
            self._rehearsed.popitem(last=False)

    def _vault(self, event: dict[str, Any]) -> None:
        self.vault = {"state": event.get("state"), "error": event.get("error")}
        # The vault this machine attested, not the one the event names: the session asked for evidence before this.
        attested = getattr(self._uplink.verdict, "vault_id", "")
        if self._receipts is not None and attested:
            self._receipts.renew(attested, getattr(self._uplink.session, "exchange", None))

    def _budget(self, event: dict[str, Any]) -> None:
        budget, error = event.get("budget"), event.get("error")
        # Somebody's ask that failed tells nothing new: what was told last stays, with its time. A contract that ended,
        # was suspended or revoked is news, and nobody has to ask a question to learn it.
        if isinstance(budget, dict):
            self.budget, self._budget_at, self.stopped = budget, time.monotonic(), None
        elif isinstance(error, dict) and error.get("kind") == ContractError.kind:
            self.stopped = from_dict(error)

    @property
    def budget_age_s(self) -> float:
        """How long ago a budget was last told."""
        return time.monotonic() - self._budget_at

    def _refused(self, event: dict[str, Any]) -> None:
        error = event.get("error")
        self._uplink.end(State.REFUSED, from_dict(error if isinstance(error, dict) else {}))
