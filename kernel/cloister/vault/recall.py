"""Step 5: the same question has one answer (G5).

A settled receipt is known in memory, or comes back, sealed, from the broker with the reply to the charge. Either
way it is checked against the release being asked before it is shown, and it costs nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from cloister.errors import CloisterError, TrustError
from cloister.receipt import chain
from cloister.receipt.deposit import open_deposit
from cloister.receipt.receipt import Receipt
from cloister.vault.config import Terms
from cloister.wire.envelope import Envelope

_CAPACITY = 4096


class Answer(msgspec.Struct, frozen=True):
    """A settled release: the receipt, its envelope, the admissions it names, and whether it was known before."""

    receipt: Receipt
    envelope: Envelope
    admissions: tuple[Envelope, ...]
    recalled: bool


class Memory:
    """The latest settled releases of this vault, by release key. What is forgotten is still at the broker."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._capacity = capacity
        self._lock = threading.Lock()

    def get(self, key: str) -> Answer | None:
        """Return the settled answer to a release key, marked as recalled."""
        with self._lock:
            answer = self._answers.get(key)
        return None if answer is None else msgspec.structs.replace(answer, recalled=True)

    def put(self, key: str, answer: Answer) -> None:
        """Remember a settled answer."""
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > self._capacity:
                self._answers.popitem(last=False)


def recall_deposit(sealed: str, sealing_key: bytes, *, release: str, charge_id: str, terms: Terms) -> Answer:
    """Return the answer in a deposit a broker handed back.

    Args:
        sealed: The deposit.
        sealing_key: From ``deposit.receipt_key``.
        release: The release key being asked; the receipt must be of it.
        charge_id: The charge the deposit settles.
        terms: The contract, whose brokers may vouch for the vault that signed.

    Raises:
        TrustError: ``recall.rejected``: not a receipt of this release by a vault that a broker admitted.
    """
    try:
        deposit = open_deposit(sealed, sealing_key, charge_id)
        admissions = {
            chain.admission_digest(document): chain.open_admission(document, terms.contract, terms.digest)
            for document in deposit.admissions
        }
        receipt, _ = chain.open_receipt(deposit.receipt, admissions, terms.contract, terms.digest)
        chain.check_names(receipt, terms.contract)
        if receipt.release != release:
            raise TrustError("recall.release", "the receipt is of another release")
    except CloisterError as error:
        raise TrustError(
            "recall.rejected",
            "the broker holds a settled receipt for this release that does not verify",
            clause="A settled release is never executed again, and only a verified receipt is shown.",
            next_step="Tell the data provider: the account's deposits were altered.",
        ) from error
    return Answer(receipt, deposit.receipt, deposit.admissions, recalled=True)
