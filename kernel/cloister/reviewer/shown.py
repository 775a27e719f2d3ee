"""Steps 9 and 10: the chips of a notebook against its receipts, and its cells against what they caused.

A chip is rendered again from the receipts; facts, text and HTML must be the same byte for byte. The cell that carries
it must be the one the receipt names as its cause: exactly, or but for formatting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import TrustError
from cloister.receipt import chip, code
from cloister.receipt.chain import cards_of
from cloister.receipt.facts import ReleaseFacts, difference, facts
from cloister.receipt.receipt import Receipt
from cloister.reviewer.findings import Findings
from cloister.reviewer.notebook import Chip, CodeCell, chips

FRESH = "fresh, from top to bottom: reproducible"
FRESH_WITH_FILES = "fresh, from top to bottom, with the files it put in: reproducible with the same files"
OTHER_RUN = "not a fresh run from top to bottom: not shown to be reproducible"
NO_RUN = "unknown: no release is shown"


class Verified(NamedTuple):
    """What the earlier steps established: receipts by digest, contract and cards."""

    receipts: Mapping[str, Receipt]
    contract: Contract
    cards: Mapping[str, Card]


def check_chips(cells: tuple[CodeCell, ...], known: Verified, findings: Findings) -> set[str]:
    """Check every chip and the code of its cell; return the digests of the receipts shown."""
    shown: set[str] = set()
    sources = {digest: cell.place for cell in cells for digest in _digests(cell)}
    for cell in cells:
        for found in chips(cell):
            shown |= _check_chip(found, cell, known, sources, findings)
    return shown


def _check_chip(
    found: Chip, cell: CodeCell, known: Verified, sources: Mapping[str, int], findings: Findings
) -> set[str]:
    if found.releases is None:
        findings.add(9, "fail", "chip.malformed", "a release chip whose facts cannot be read", cell=cell.place)
        return set()
    shown: set[str] = set()
    failed_before = findings.failures
    for claimed in found.releases:
        with findings.step(9, cell=cell.place, release=claimed.release):
            receipt = _receipt_of(claimed, known)
            shown.add(claimed.receipt)
            _check_facts(claimed, receipt, known)
            _check_code(claimed, receipt, cell, sources, findings)
    data, metadata = json.loads(json.dumps(chip.display(found.releases)))
    if found.data != data or found.metadata.get(chip.METADATA_KEY) != metadata[chip.METADATA_KEY]:
        findings.add(9, "fail", "chip.text", "the chip shows another text than its facts say", cell=cell.place)
    elif findings.failures == failed_before:
        findings.add(9, "ok", "chip.ok", f"{len(shown)} released, as the receipts say", cell=cell.place)
    return shown


def _receipt_of(claimed: ReleaseFacts, known: Verified) -> Receipt:
    receipt = known.receipts.get(claimed.receipt)
    if receipt is None:
        raise TrustError("chip.unbound", "a chip without a receipt that verifies")
    return receipt


def _check_facts(claimed: ReleaseFacts, receipt: Receipt, known: Verified) -> None:
    if claimed.session != receipt.session and not claimed.recalled:
        raise TrustError("chip.session", "the chip is of another session than its receipt, and not marked as recalled")
    cards = cards_of(receipt, known.cards)
    true = facts(receipt, known.contract, cards, session=claimed.session, recalled=claimed.recalled)
    if claimed != true:
        raise TrustError("chip.value", f"the chip does not say what the receipt says ({difference(claimed, true)})")


def _check_code(
    claimed: ReleaseFacts, receipt: Receipt, cell: CodeCell, sources: Mapping[str, int], findings: Findings
) -> None:
    place, name, cause = cell.place, claimed.release, receipt.cause
    first = sources.get(cause.code, sources.get(cause.code_normalised))
    if cause.kind != "cell":
        text = f"released by a {cause.kind} task, not by the code of a cell"
        findings.add(10, "note", "code.outside", text, cell=place, release=name)
    elif cause.code == code.exact(cell.source):
        findings.add(10, "ok", "code.same", "the cell is the code that ran", cell=place, release=name)
    elif cause.code_normalised == code.normalised(cell.source):
        text = "the cell was reformatted since it ran; its tokens are the same"
        findings.add(10, "note", "code.reformatted", text, cell=place, release=name)
    elif not claimed.recalled:
        text = "other code than the cell's caused this release"
        findings.add(10, "fail", "code.changed", text, cell=place, release=name)
    elif first is not None:
        text = f"recalled, free; cell {first} released it (that this cell asked the same is not signed)"
        findings.add(10, "note", "code.recalled", text, cell=place, release=name)
    else:
        text = f"cell {place}: recalled; the code that released it is not in the notebook"
        findings.reserve("code not in the notebook", 10, "code.elsewhere", text, release=name)


def _digests(cell: CodeCell) -> tuple[str, str]:
    return code.exact(cell.source), code.normalised(cell.source)


def how_it_ran(cells: tuple[CodeCell, ...], receipts: Mapping[str, Receipt]) -> str:
    """Say whether every release was caused by exactly the cells above it, run once each, in order.

    The transcript in a receipt covers all code its session had seen; it is recomputed from the notebook's cells. The
    receipt of a recalled release speaks about its own session: it counts only where nothing was released anew. A file
    that a ``%cloister put`` line carried in counts by the digest its answer shows; another digest is another run.
    """
    anew: list[bool] = []
    recalled: list[bool] = []
    word = FRESH
    transcripts = {receipt.session: code.transcript_start(receipt.session) for receipt in receipts.values()}
    for cell in cells:
        for kind, digest in _carried(cell):
            word = FRESH_WITH_FILES if kind == "put" else word
            for session, before in transcripts.items():
                transcripts[session] = code.transcript_add(before, kind, digest)
        for claimed in (item for found in chips(cell) for item in found.releases or ()):
            receipt = receipts.get(claimed.receipt)
            same = receipt is not None and receipt.transcript == transcripts[receipt.session]
            (recalled if claimed.recalled else anew).append(same)
    judged = anew or recalled
    if not judged:
        return NO_RUN
    return word if all(judged) else OTHER_RUN


def _carried(cell: CodeCell) -> Iterator[tuple[str, str]]:
    """Yield what a cell carried into the kernel, as the transcript names it: its code, or the file it put."""
    if cell.reaches_enclave:
        yield "execute_request", code.exact(cell.source)
        return
    for output in cell.outputs:
        metadata = output.get("metadata")
        place = metadata.get(chip.METADATA_KEY) if isinstance(metadata, dict) else None
        put = place.get("put") if isinstance(place, dict) else None
        if isinstance(put, dict):
            yield "put", code.put_code(str(put.get("name")), str(put.get("sha256")))
