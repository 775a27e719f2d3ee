"""The analyst's receipts: verified when they arrive, kept by session, bundled into notebooks.

A receipt is believed if the whole chain holds: the contract names the broker, the broker admitted the vault, the vault
signed the receipt. Of this session it must come from the very vault this machine attested; a receipt of another session
is a recalled release, shown as such. What does not verify is neither shown nor stored.

    <directory>/<session>/contract.json  cards.jsonl  admissions.jsonl  evidence.jsonl  receipts.jsonl
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cloister.contract import signing
from cloister.errors import MalformedError, RefusedError, TrustError, UnavailableError
from cloister.receipt import chain
from cloister.receipt.bundle import Exchange
from cloister.receipt.facts import ReleaseFacts, facts
from cloister.receipt.receipt import Admission, Receipt
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")
_T = TypeVar("_T")


class ReceiptBook:
    """Verifies and keeps the receipts of one session.

    Args:
        contract: The signed contract of the trust store's entry.
        vault_id: The vault this machine attested for the session.
        session: The session's id.
        directory: The store (``CLOISTER_HOME/receipts``); the session gets a folder in it.
        cards: The signed cards of the contract's tables.
        analyst: The did the session was opened with.
        evidence: What was sent and seen when the session was attested.

    Raises:
        CloisterError: Contract or a card is not what it must be, or the store cannot be written.
    """

    def __init__(
        self,
        contract: Envelope,
        vault_id: str,
        session: str,
        directory: Path,
        *,
        cards: Iterable[Envelope],
        analyst: str,
        evidence: Exchange | None = None,
    ) -> None:
        self._contract = signing.open_contract(contract, now=signing.read_unverified(contract).not_before)
        self._digest = signing.contract_digest(contract)
        kept_cards = tuple(cards)
        self._cards = chain.open_cards(kept_cards, self._contract)
        self._vault_id = vault_id
        self._session = session
        self._analyst = analyst
        self._admissions: dict[str, Admission] = {}
        self._seen: set[str] = set()
        self.from_file = False
        self.in_memory: dict[str, Receipt] = {}
        """Receipts that verify and are in no file, by digest."""
        self._folder = session_folder(directory, session)
        self._append("contract.json", contract)
        for card in kept_cards:
            self._append("cards.jsonl", card)
        if evidence is not None:
            self._append("evidence.jsonl", evidence)

    def renew(self, vault_id: str, evidence: Exchange | None = None) -> None:
        """Follow the enclave to the vault that replaces one that died; keep the evidence for it.

        Only for a vault this machine attested inside the channel; its receipts still need a broker's admission.
        """
        if vault_id != self._vault_id and evidence is not None:
            self._append("evidence.jsonl", evidence)
        self._vault_id = vault_id

    def admit(self, envelope: dict[str, Any]) -> None:
        """Verify and keep a broker's admission of a vault.

        Raises:
            TrustError: ``admission.*``: not by a broker of the contract, or of another contract.
            MalformedError: Not an envelope.
        """
        document = _convert(envelope, Envelope)
        digest = chain.admission_digest(document)
        admission = chain.open_admission(document, self._contract, self._digest)
        if digest not in self._admissions:
            self._admissions[digest] = admission
            self._append("admissions.jsonl", document)

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:
        """Verify and keep one receipt; return what the chip shows.

        Args:
            envelope: The receipt as the agent forwarded it.
            parent: The Jupyter message whose cell gets the chip.

        Raises:
            TrustError: ``receipt.*``: forged, foreign, inconsistent, or by another vault than the attested one.
            MalformedError: Not an envelope.
            UnavailableError: ``receipt.store``: it verifies, but cannot be kept.
        """
        # 1. The chain of signatures: contract, broker, vault.
        document = _convert(envelope, Envelope)
        receipt, vault_id = chain.open_receipt(document, self._admissions, self._contract, self._digest)
        # 2. Of this session: by the attested vault. Of another: a recalled release.
        recalled = receipt.session != self._session
        if not recalled and vault_id != self._vault_id:
            raise TrustError(
                "receipt.vault",
                "a receipt of this session by another vault than the one this machine attested",
                next_step="restart the kernel: the enclave changed under the session",
            )
        if receipt.analyst != self._analyst and not (recalled and self._contract.share_releases):
            raise TrustError("receipt.analyst", "a receipt of another analyst", clause="share_releases")
        # 3. Names, prices and accounts follow from each other; values have the shape of the plan.
        chain.check_names(receipt, self._contract)
        cards = chain.cards_of(receipt, self._cards)
        chain.check_charges(receipt, cards.values(), self._contract)
        recalled = recalled or receipt.release in self._seen
        found = facts(receipt, self._contract, cards, session=self._session, recalled=recalled)
        # 4. Kept, then shown. What a notebook may not be saved with is not kept in another file either.
        if receipt.release not in self._seen:
            if vault_id != self._vault_id:
                self._copy_evidence(vault_id)
            if isinstance(found.unsaved, msgspec.UnsetType):
                self._append("receipts.jsonl", Kept(parent, document))
            else:
                self.in_memory[found.receipt] = receipt
            self._seen.add(receipt.release)
        return found

    def _copy_evidence(self, vault_id: str) -> None:
        """Keep the evidence of an earlier session's vault with its recalled receipts, if this machine saw it."""
        for session in stored_sessions(self._folder.parent):
            for exchange in _lines(self._folder.parent / session / "evidence.jsonl", Exchange):
                if exchange.vault_id() == vault_id:
                    self._append("evidence.jsonl", exchange)
                    return

    def _append(self, name: str, value: msgspec.Struct) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as out:
                out.write(canonical.encode(value) + b"\n")
        except OSError as error:
            raise UnavailableError(
                "receipt.store",
                f"the receipt verifies but cannot be kept in {self._folder}",
                next_step="make room there and run the cell again: the release is recalled at no charge",
            ) from error


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stored receipt and the Jupyter message it answered."""

    parent: str
    receipt: Envelope


class StoredSession(msgspec.Struct, frozen=True):
    """What the store holds of one session."""

    contract: Envelope
    cards: tuple[Envelope, ...]
    admissions: tuple[Envelope, ...]
    evidence: tuple[Exchange, ...]
    receipts: tuple[Kept, ...]


def session_folder(directory: Path, session: str) -> Path:
    """Return the folder of a session in the store.

    Raises:
        MalformedError: ``receipt.session``: the id could name a path.
    """
    if not _SESSION.fullmatch(session):
        raise MalformedError("receipt.session", "a session id has letters, digits, - and _ only")
    return directory / session


def load_session(directory: Path, session: str) -> StoredSession:
    """Return what the store holds of a session.

    Raises:
        RefusedError: ``receipt.unknown``: no such session here.
        MalformedError: A file of the store was altered.
    """
    folder = session_folder(directory, session)
    contracts = list(_lines(folder / "contract.json", Envelope))
    if not contracts:
        raise RefusedError(
            "receipt.unknown",
            f"this machine holds no receipts of session {session}",
            next_step="bundle on the machine and as the user that ran the notebook, or run it again (recalled, free)",
        )
    return StoredSession(
        contract=contracts[0],
        cards=tuple(_lines(folder / "cards.jsonl", Envelope)),
        admissions=tuple(_lines(folder / "admissions.jsonl", Envelope)),
        evidence=tuple(_lines(folder / "evidence.jsonl", Exchange)),
        receipts=tuple(_lines(folder / "receipts.jsonl", Kept)),
    )


def stored_sessions(directory: Path) -> tuple[str, ...]:
    """Return the ids of all sessions in the store."""
    if not directory.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in directory.iterdir() if _SESSION.fullmatch(entry.name)))


def _lines(path: Path, kind: type[_T]) -> Iterator[_T]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedError("receipt.store", f"{path} was altered", next_step="remove the folder") from error


def _convert(value: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise MalformedError("receipt.malformed", "not a signed document") from error
