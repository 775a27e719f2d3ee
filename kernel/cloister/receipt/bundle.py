"""The bundle: what a notebook carries so that anybody can check its numbers, offline.

It sits in the notebook's metadata under ``cloister.bundle`` and holds signed documents only: nothing in it is
believed because it is there. Identities that must come from elsewhere (providers, measurements) are not read
from it by the reviewer. Pure; notebooks are plain dictionaries of nbformat 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from cloister.attest.encoding import unb64
from cloister.attest.hello import parse_offer
from cloister.errors import MalformedError
from cloister.receipt.ledger import Entry
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, unverified_payload

METADATA_KEY = "cloister"
BUNDLE_KEY = "bundle"
MAX_BUNDLE = 16 * 2**20
MAX_DOCUMENTS = 10_000


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evidence the proxy saw: hello, offer and its own opening, as sent (base64; docs/protocol.md section 3)."""

    hello: str
    offer: str
    opening: str = ""

    def vault_id(self) -> str:
        """Return the vault the offer names; nothing is checked.

        Raises:
            MalformedError: Not an offer.
        """
        return parse_offer(unb64(self.offer)).vault_id


class Inclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account entry, its index in the log, and its audit path (hex) towards a checkpoint (``receipt/log.py``)."""

    entry: Entry
    index: int
    path: tuple[str, ...]


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker's signed reply about an account, taken as a checkpoint, and entries proven to be in it."""

    checkpoint: Envelope
    entries: tuple[Inclusion, ...] = ()


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contract, cards, admissions, evidence, receipts and proofs of one notebook.

    ``software`` holds the signed releases of the software that the contract's clause is about; it is written only where
    there are any.
    """

    contract: Envelope
    cards: tuple[Envelope, ...]
    admissions: tuple[Envelope, ...]
    evidence: tuple[Exchange, ...]
    receipts: tuple[Envelope, ...]
    proofs: tuple[Proof, ...] = ()
    version: Literal[1] = 1
    software: tuple[Envelope, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def releases(self) -> tuple[Envelope, ...]:
        """The software releases, none where it carries none."""
        return self.software if isinstance(self.software, tuple) else ()


def bundle(
    notebook: dict[str, Any],
    *,
    contract: Envelope,
    cards: Iterable[Envelope],
    admissions: Iterable[Envelope],
    evidence: Iterable[Exchange],
    receipts: Iterable[Envelope],
    proofs: Iterable[Proof] = (),
    software: Iterable[Envelope] = (),
) -> dict[str, Any]:
    """Return a copy of ``notebook`` that carries these documents; an earlier bundle is replaced.

    Documents appear once each and in the order of their payload digests (receipts: as given), so bundling
    twice gives the same bytes.

    Raises:
        MalformedError: ``bundle.size``: more than ``MAX_BUNDLE`` bytes or ``MAX_DOCUMENTS`` receipts.
    """
    releases = tuple(_unique(software, ordered=True))
    content = Bundle(
        contract=contract,
        cards=tuple(_unique(cards, ordered=True)),
        admissions=tuple(_unique(admissions, ordered=True)),
        evidence=tuple({canonical.digest(item): item for item in evidence}.values()),
        receipts=tuple(_unique(receipts, ordered=False)),
        proofs=tuple(proofs),
        software=releases or msgspec.UNSET,
    )
    if len(content.receipts) > MAX_DOCUMENTS or len(canonical.encode(content)) > MAX_BUNDLE:
        raise MalformedError(
            "bundle.size",
            f"the bundle would exceed {MAX_BUNDLE >> 20} MiB or {MAX_DOCUMENTS:,} receipts",
            next_step="split the notebook, or restart the kernel and run it once from top to bottom",
        )
    result: dict[str, Any] = json.loads(json.dumps(notebook))
    place = result.setdefault("metadata", {}).setdefault(METADATA_KEY, {})
    place[BUNDLE_KEY] = json.loads(canonical.encode(content))
    return result


def is_bundled(notebook: dict[str, Any]) -> bool:
    """Tell whether a notebook carries a bundle, whatever it is worth."""
    return BUNDLE_KEY in _place(notebook)


def read_bundle(notebook: dict[str, Any]) -> Bundle:
    """Return the bundle of a notebook; its signatures are not checked here.

    Raises:
        MalformedError: ``bundle.absent``, ``bundle.size`` or ``bundle.malformed``.
    """
    place = _place(notebook)
    if BUNDLE_KEY not in place:
        raise MalformedError(
            "bundle.absent",
            "the notebook carries no receipts",
            next_step="its author adds them with `cloister bundle NOTEBOOK`",
        )
    try:
        size = len(canonical.encode(place[BUNDLE_KEY]))
        content = msgspec.convert(place[BUNDLE_KEY], type=Bundle)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MalformedError("bundle.malformed", f"the bundle does not follow its schema: {error}") from error
    if size > MAX_BUNDLE or len(content.receipts) > MAX_DOCUMENTS:
        raise MalformedError("bundle.size", f"a bundle of {size:,} bytes exceeds the limit")
    return content


def _place(notebook: dict[str, Any]) -> dict[str, Any]:
    metadata = notebook.get("metadata")
    place = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    return place if isinstance(place, dict) else {}


def _unique(documents: Iterable[Envelope], *, ordered: bool) -> Iterator[Envelope]:
    found = {canonical.digest_bytes(unverified_payload(item)): item for item in documents}
    return (found[key] for key in (sorted(found) if ordered else found))
