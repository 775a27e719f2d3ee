"""The book of receipts of a replay: what it lets the proxy show was verified before the kernel started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cloister.errors import TrustError
from cloister.receipt import chain
from cloister.receipt.bundle import Exchange
from cloister.receipt.facts import ReleaseFacts, facts
from cloister.receipt.receipt import Receipt
from cloister.replay.oracle import Oracle
from cloister.wire import canonical


class ReplayBook:
    """Has the members of ``analyst.receipts.ReceiptBook``; keeps nothing, because nothing new is released."""

    in_memory: Mapping[str, Receipt] = MappingProxyType({})
    from_file = True

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._accepted: Counter[str] = Counter()

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:  # noqa: ARG002 (a member of the protocol)
        """Return what the chip shows: the same as in the notebook.

        Raises:
            TrustError: ``receipt.unknown``: not one of the receipts that verified.
        """
        source = self._oracle.source
        found = next(
            (one for one in source.bundle.receipts if canonical.encode(one) == canonical.encode(envelope)), None
        )
        digest = chain.receipt_digest(found) if found is not None else ""
        receipt = source.receipts.get(digest)
        if receipt is None or self._oracle.perturbed:
            raise TrustError("receipt.unknown", "a receipt that is not of the notebook being replayed")
        showing = self._oracle.showing(digest, self._accepted[digest])
        self._accepted[digest] += 1
        cards = chain.cards_of(receipt, source.cards)
        return facts(receipt, source.contract, cards, session=showing.session, recalled=showing.recalled)

    def admit(self, envelope: dict[str, Any]) -> None:
        """Take an admission; they were all checked with the bundle."""

    def renew(self, vault_id: str, evidence: Exchange | None = None) -> None:
        """Do nothing: no vault runs."""
