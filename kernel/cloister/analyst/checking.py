"""Release chips of a saved notebook against the receipts this machine holds.

A notebook is anybody's file, and so is a chip in it. Each is rendered again from the receipt in this user's store,
walked down the whole chain of signatures, and must be the same in facts, text and HTML. What this machine holds no
receipt for it cannot judge: that is the reviewer's work (``cloister verify``), and the chip is called foreign.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloister.analyst import page
from cloister.analyst.agreed import Agreed
from cloister.analyst.receipts import StoredSession, load_session
from cloister.contract import signing
from cloister.contract.card import Card
from cloister.errors import CloisterError, RefusedError, TrustError
from cloister.receipt import chain, chip
from cloister.receipt.facts import ReleaseFacts, difference, facts
from cloister.receipt.receipt import Receipt

State = Literal["verified", "foreign", "false"]


class _Held(msgspec.Struct, frozen=True):
    """What the store holds of one session, verified: receipts by digest, and the cards they are read with."""

    receipts: Mapping[str, Receipt]
    cards: Mapping[str, Card]


class Checker:
    """Judges chips; reads each session's receipts once.

    Args:
        store: The receipts of this user, by session.
        agreed: The contract this kernel runs under.
    """

    def __init__(self, store: Path, agreed: Agreed) -> None:
        self._store = store
        self._agreed = agreed
        self._known = _Held(agreed.receipts, agreed.cards)
        self._held: dict[str, _Held | CloisterError] = {}

    def check(self, chips: Iterable[page.ChipAsk]) -> list[page.ChipVerdict]:
        """Return a verdict on each chip."""
        return [self._verdict(found) for found in chips]

    def _verdict(self, found: page.ChipAsk) -> page.ChipVerdict:
        state: State = "verified"
        try:
            reason = self._judge(found["data"], found["metadata"])
        except RefusedError as error:
            state, reason = "foreign", error.reason
        except CloisterError as error:
            state, reason = "false", error.reason
        return {"key": found["key"], "state": state, "reason": reason}

    def _judge(self, data: dict[str, Any], metadata: dict[str, Any]) -> str:
        """Return what was verified.

        Raises:
            RefusedError: ``chip.foreign``: nothing on this machine can tell.
            CloisterError: The chip is false; the reason says in what.
        """
        # 1. What the chip says it shows.
        claimed = _claims(metadata)
        # 2. Each release is what its receipt says.
        for item in claimed:
            self._check_facts(item)
        # 3. What is seen is exactly that, and the marks of simulation and recall are not taken off.
        shown, described = json.loads(json.dumps(chip.display(claimed)))
        if metadata[chip.METADATA_KEY] != described[chip.METADATA_KEY]:
            raise TrustError("chip.facts", "the chip's facts carry more than its receipts say")
        told = {name: _joined(value) if name.startswith("text/") else value for name, value in data.items()}
        for name in sorted({*shown, *told}):
            if told.get(name) != shown.get(name):
                raise TrustError("chip.text", f"the chip's {name} is not what its receipts say")
        return f"{len(claimed)} released, as {'its receipt says' if len(claimed) == 1 else 'their receipts say'}"

    def _check_facts(self, claimed: ReleaseFacts) -> None:
        held = self._known if claimed.receipt in self._known.receipts else self._session(claimed.session)
        receipt = held.receipts.get(claimed.receipt)
        if receipt is None:
            raise _foreign("this machine holds no such receipt")
        if claimed.session != receipt.session and not claimed.recalled:
            raise TrustError("chip.session", "a release of another session that is not marked as recalled")
        cards = chain.cards_of(receipt, held.cards)
        true = facts(receipt, self._agreed.contract, cards, session=claimed.session, recalled=claimed.recalled)
        if claimed != true:
            raise TrustError("chip.value", f"not what the receipt says: {difference(claimed, true)}")

    def _session(self, session: str) -> _Held:
        if session not in self._held:
            try:
                self._held[session] = self._load(session)
            except CloisterError as error:
                self._held[session] = error
        held = self._held[session]
        if isinstance(held, CloisterError):
            raise held
        return held

    def _load(self, session: str) -> _Held:
        try:
            return self._open(load_session(self._store, session))
        except RefusedError:
            raise
        except CloisterError as error:
            # An id that could be a path, an altered store: no receipt to judge by, whatever the chip is worth.
            raise _foreign(f"what this machine keeps of that session cannot be used: {error.reason}") from error

    def _open(self, stored: StoredSession) -> _Held:
        contract, digest = self._agreed.contract, self._agreed.digest
        if signing.contract_digest(stored.contract) != digest:
            raise _foreign("released under another contract than this kernel's")
        cards = chain.open_cards(stored.cards, contract)
        opened = [(item, chain.open_admission(item, contract, digest)) for item in stored.admissions]
        admissions = {chain.admission_digest(document): admission for document, admission in opened}
        receipts = {}
        for kept in stored.receipts:
            receipt, _ = chain.open_receipt(kept.receipt, admissions, contract, digest)
            chain.check_names(receipt, contract)
            chain.check_charges(receipt, chain.cards_of(receipt, cards).values(), contract)
            receipts[chain.receipt_digest(kept.receipt)] = receipt
        return _Held(receipts, cards)


def _claims(metadata: dict[str, Any]) -> tuple[ReleaseFacts, ...]:
    place = metadata.get(chip.METADATA_KEY)
    try:
        claimed = msgspec.convert(place["releases"], type=tuple[ReleaseFacts, ...]) if isinstance(place, dict) else ()
    except (msgspec.ValidationError, KeyError, RecursionError):
        claimed = ()
    if not claimed:
        raise TrustError("chip.malformed", "a chip without facts that can be read")
    return claimed


def _joined(value: Any) -> Any:
    """Return a text of nbformat, which files also store as a list of lines."""
    is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if is_lines else value


def _foreign(reason: str) -> RefusedError:
    return RefusedError("chip.foreign", reason, next_step="cloister verify NOTEBOOK, once it is bundled by its author")
