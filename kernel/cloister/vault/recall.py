"""Step 5: the same question has one answer (G5).

A settled receipt is known in memory, or comes back, sealed, from the broker with the reply to the charge. Either
way it is checked against the release being asked before it is shown, and it costs nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from cloister.contract.terms import Broker
from cloister.errors import CloisterError, TrustError
from cloister.receipt.receipt import ADMISSION_TYPE, RECEIPT_TYPE, Admission, Receipt
from cloister.vault.deposit import Deposit, open_deposit
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, open_envelope, unverified_payload

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


def recall_deposit(
    sealed: str, sealing_key: bytes, *, release: str, charge_id: str, contract: str, brokers: tuple[Broker, ...]
) -> Answer:
    """Return the answer in a deposit a broker handed back.

    Args:
        sealed: The deposit.
        sealing_key: From ``keys.receipt_key``.
        release: The release key being asked; the receipt must be of it.
        charge_id: The charge the deposit settles.
        contract: Digest of the contract.
        brokers: Brokers whose admission may vouch for the vault that signed.

    Raises:
        TrustError: ``recall.rejected``: not a receipt of this release by a vault that a broker admitted.
    """
    try:
        deposit = open_deposit(sealed, sealing_key, charge_id)
        return _checked(deposit, release, charge_id, contract, brokers)
    except CloisterError as error:
        raise TrustError(
            "recall.rejected",
            "the broker holds a settled receipt for this release that does not verify",
            clause="A settled release is never executed again, and only a verified receipt is shown.",
            next_step="Tell the data provider: the account's deposits were altered.",
        ) from error


def _checked(deposit: Deposit, release: str, charge_id: str, contract: str, brokers: tuple[Broker, ...]) -> Answer:
    dids = {broker.did for broker in brokers}
    signer = None
    digests = set()
    for envelope in deposit.admissions:
        named = documents.decode(unverified_payload(envelope), Admission)
        if named.broker not in dids:
            raise TrustError("recall.admission", "an admission by a foreign broker")
        body = open_envelope(envelope, ADMISSION_TYPE, named.broker)
        if named.contract != contract or signer not in {None, named.vault_id}:
            raise TrustError("recall.admission", "an admission of another contract or vault")
        signer = named.vault_id
        digests.add(canonical.digest_bytes(body))
    if signer is None:
        raise TrustError("recall.admission", "no admission came with the receipt")
    receipt = documents.decode(open_envelope(deposit.receipt, RECEIPT_TYPE, signer), Receipt)
    if (receipt.release, receipt.charge_id, receipt.contract) != (release, charge_id, contract):
        raise TrustError("recall.receipt", "the receipt is of another release")
    if set(receipt.admissions) != digests:
        raise TrustError("recall.receipt", "the receipt names other admissions")
    return Answer(receipt, deposit.receipt, deposit.admissions, recalled=True)
