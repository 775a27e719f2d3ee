"""The release chip at a cell's end: which receipts it rests on, and the output the proxy publishes.

Rendering is ``cloister.receipt.chip``, a pure function of the facts of verified receipts, so that a reviewer
renders it again. The receipts themselves are checked and kept by a ``ReceiptBook``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cloister.analyst.session import Session
from cloister.receipt import chip, rehearsal
from cloister.receipt.bundle import Exchange
from cloister.receipt.facts import ReleaseFacts
from cloister.receipt.receipt import Receipt
from cloister.receipt.rehearsal import RehearsalFacts


class ReceiptBook(Protocol):
    """Verifies and keeps the receipts and admissions of one session."""

    @property
    def from_file(self) -> bool:
        """Whether all there is to release was saved before: in a replay."""

    @property
    def in_memory(self) -> Mapping[str, Receipt]:
        """Receipts that verify and are in no file, by digest."""

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:
        """Verify and store one receipt.

        Raises:
            CloisterError: The receipt does not verify.
        """

    def renew(self, vault_id: str, evidence: Exchange | None = None) -> None:
        """Follow the enclave to the vault that replaces one that died, and keep the evidence for it."""

    def admit(self, envelope: dict[str, Any]) -> None:
        """Verify and store one admission.

        Raises:
            CloisterError: The admission does not verify.
        """


OpenBook = Callable[[Session, list[dict[str, Any]]], ReceiptBook | None]


def display_data(releases: Sequence[ReleaseFacts]) -> dict[str, Any]:
    """Return the content of the ``display_data`` message for the releases of one cell."""
    data, metadata = chip.display(releases)
    return {"data": data, "metadata": metadata, "transient": {}}


def rehearsed_data(rehearsals: Sequence[RehearsalFacts]) -> dict[str, Any]:
    """Return the content of the ``display_data`` message for what one mock cell rehearsed."""
    data, metadata = rehearsal.display(rehearsals)
    return {"data": data, "metadata": metadata, "transient": {}}
