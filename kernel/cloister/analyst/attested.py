"""The real enclave behind a proxy: dials it by its trust store entry and opens the book of its receipts."""

from __future__ import annotations

from typing import Any

import msgspec

from cloister.analyst.agreed import Agreed, agreed_to
from cloister.analyst.dial import EnclaveSession
from cloister.analyst.receipts import ReceiptBook
from cloister.analyst.trust import TrustStore
from cloister.attest.opening import Mode
from cloister.errors import MalformedError
from cloister.home import cloister_home
from cloister.wire.envelope import Envelope

CONFIDENTIAL: Mode = "confidential"
DEMO = "demo"


async def dial(entry: str, mode: Mode, purpose: str) -> EnclaveSession:
    """Verify the enclave of ``entry`` and open a session.

    Raises:
        CloisterError: As ``EnclaveSession.open``.
    """
    try:
        return await EnclaveSession.open(entry, mode=mode, purpose=purpose)
    except MalformedError as error:
        if entry == DEMO and error.code == "contract.malformed":
            error.next_step = "the demo was built by an older version: `cloister demo reset` (full budgets)"
        raise


def load_agreed(entry: str) -> Agreed:
    """Return what this person agreed to under an entry of the trust store.

    Raises:
        CloisterError: There is no such entry, or it was altered.
    """
    found = TrustStore().load(entry)
    return agreed_to(found.contract, found.contract_digest)


def open_book(entry: str, mode: Mode, session: EnclaveSession, cards: list[dict[str, Any]]) -> ReceiptBook | None:
    """Return the book of a session's receipts; mock kernels have none.

    Raises:
        CloisterError: The cards are not those of the contract, or the store cannot be written.
    """
    if mode != CONFIDENTIAL:
        return None
    store = TrustStore()
    try:
        signed = msgspec.convert(cards, type=list[Envelope])
    except msgspec.ValidationError as error:
        raise MalformedError("event.cards", "a card is not a signed document") from error
    return ReceiptBook(
        store.load(entry).contract,
        session.verdict.vault_id,
        session.session,
        cloister_home() / "receipts",
        cards=signed,
        analyst=store.analyst_key().did,
        evidence=session.exchange,
    )
