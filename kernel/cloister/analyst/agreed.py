"""What this person agreed to: the contract of the trust store's entry, and its tables' cards once they arrived.

The contract is this machine's own copy, so it is known whatever becomes of the enclave. The cards come from the
enclave and count because their providers signed them and the contract pins their digests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cloister.analyst import page
from cloister.contract import signing
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.contract.words import in_words
from cloister.errors import MalformedError, TrustError, UnavailableError
from cloister.receipt import chain
from cloister.receipt.receipt import Receipt
from cloister.wire.envelope import Envelope


class Agreed(msgspec.Struct, frozen=True):
    """A contract that every party signed, and its digest.

    ``receipts`` (by digest) and the ``cards`` they are read with are verified ones that are in no store: a replay's,
    and those that may not be in files.
    """

    contract: Contract
    digest: str
    receipts: Mapping[str, Receipt] = {}
    cards: Mapping[str, Card] = {}


LoadAgreed = Callable[[], Agreed]


def agreed_to(document: Envelope, digest: str) -> Agreed:
    """Return what a signed contract says, if it is the one of this digest; it may have ended since.

    Raises:
        TrustError: ``trust.contract``: another contract.
        ContractError: Not signed by every party, or contradicting itself.
    """
    if signing.contract_digest(document) != digest:
        raise TrustError("trust.contract", "the stored contract is not the one that was accepted")
    return Agreed(signing.open_contract(document, now=signing.read_unverified(document).not_before), digest)


class Agreement:
    """The contract, read on first need, and the cards.

    Args:
        load: Reads the contract; ``None`` where a kernel has none.
    """

    def __init__(self, load: LoadAgreed | None) -> None:
        self._load = load
        self._agreed: Agreed | None = None
        self.cards: Mapping[str, Card] | None = None

    def get(self) -> Agreed:
        """Return what was agreed.

        Raises:
            CloisterError: The trust store has no such entry, or it was altered.
        """
        if self._agreed is None:
            if self._load is None:
                raise UnavailableError("page.contract", "this kernel runs under no contract")
            self._agreed = self._load()
        return self._agreed

    def take_cards(self, documents: Sequence[Any]) -> None:
        """Verify and keep the cards of the contract's tables.

        Raises:
            CloisterError: A card is missing, not signed by its provider, or not the one the contract pins.
        """
        if self._load is not None and self.cards is None:
            try:
                signed = msgspec.convert(documents, type=list[Envelope])
            except msgspec.ValidationError as error:
                raise MalformedError("event.cards", "a card is not a signed document") from error
            self.cards = chain.open_cards(signed, self.get().contract)

    def keep(self, receipts: Mapping[str, Receipt]) -> None:
        """Know verified receipts that are in no file, so that a page can be told that their chips are true."""
        if self.cards is not None:
            agreed = self.get()
            self._agreed = msgspec.structs.replace(
                agreed, receipts={**agreed.receipts, **receipts}, cards={**agreed.cards, **self.cards}
            )

    def message(self) -> page.ContractMessage | None:
        """Return contract and tables for the page, once the cards are known."""
        if self.cards is None:
            return None
        agreed = self.get()
        return {
            "type": "contract",
            "digest": agreed.digest,
            "title": agreed.contract.title,
            "not_before": agreed.contract.not_before,
            "not_after": agreed.contract.not_after,
            "words": in_words(agreed.contract).splitlines(),
            "tables": [_table(name, card) for name, card in self.cards.items()],
        }


def _table(name: str, card: Card) -> page.Table:
    return {
        "name": name,
        "title": card.title,
        "unit": card.unit,
        "rows_per_unit": card.rows_per_unit,
        "tier": max((column.tier for column in card.columns), default=1),
        "columns": [
            {"name": column.name, "type": column.type, "tier": column.tier, "about": column.description}
            for column in card.columns
        ],
    }
