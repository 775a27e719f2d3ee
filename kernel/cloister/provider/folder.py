"""A capsule's folder as it is read again: the signed manifest and the cards of its tables, each checked."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from cloister.contract import capsule, signing
from cloister.contract.card import Card
from cloister.errors import MalformedError
from cloister.provider.parents import MANIFEST_FILE, card_file
from cloister.wire.envelope import Envelope, unverified_payload


class Folder(NamedTuple):
    """What a folder holds beside the sealed parts; ``digest`` names the capsule in contracts and at the broker."""

    digest: str
    document: Envelope
    manifest: capsule.Manifest
    card_documents: tuple[Envelope, ...]
    cards: tuple[Card, ...]


def read(path: Path) -> Folder:
    """Return what a capsule's folder holds, signed by the provider that its manifest names.

    Raises:
        MalformedError: ``capsule.folder``: ``seal`` has not written this.
        CloisterError: Not signed by that provider, or a card is not the one of its table.
    """
    try:
        document = msgspec.json.decode((path / MANIFEST_FILE).read_bytes(), type=Envelope)
        named = msgspec.json.decode(unverified_payload(document), type=_Named)
        found = [
            msgspec.json.decode((path / card_file(at)).read_bytes(), type=Envelope) for at in range(len(named.tables))
        ]
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise MalformedError(
            "capsule.folder", f"{path} is no capsule", next_step="name the directory that `cloister seal` wrote"
        ) from error
    manifest = capsule.open_manifest(document, named.provider)
    cards = tuple(signing.open_card(one, named.provider) for one in found)
    for card, one in zip(cards, found, strict=True):
        capsule.check_card(manifest, card, signing.payload_digest(one))
    return Folder(signing.payload_digest(document), document, manifest, tuple(found), cards)


class _Named(msgspec.Struct, frozen=True):
    """As much of a manifest as says who must have signed it, whatever its version."""

    provider: str
    tables: tuple[dict[str, object], ...] = ()
