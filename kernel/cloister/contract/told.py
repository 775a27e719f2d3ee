"""What a manifest tells of a table beside its parts, read so that nothing of another table is taken for it.

Figures of quality name the card they were measured against and the sealed parts of the table they were measured on.
The manifest as a whole is signed; this finds figures that its signer copied from another table or an earlier capsule.
"""

from __future__ import annotations

import msgspec

from cloister.contract.capsule import Manifest
from cloister.contract.lineage import PublishedQuality, Treatment
from cloister.errors import TrustError
from cloister.wire import canonical


def bound(quality: PublishedQuality, manifest: Manifest, table: str) -> PublishedQuality:
    """Return figures bound to a table of a capsule: to its card, and to each of its parts."""
    return msgspec.structs.replace(quality, card=manifest.table(table).card, parts=_parts(manifest, table))


def quality(manifest: Manifest, table: str) -> PublishedQuality | None:
    """Return the figures published of a table, or None if there are none.

    Raises:
        TrustError: ``capsule.quality``: they are of another table, card or capsule, or say not of which.
    """
    found = manifest.table(table).quality
    if isinstance(found, msgspec.UnsetType):
        found = manifest.quality
    if isinstance(found, msgspec.UnsetType):
        return None
    if found != bound(found, manifest, table):
        unbound = isinstance(found.card, msgspec.UnsetType) or isinstance(found.parts, msgspec.UnsetType)
        raise TrustError(
            "capsule.quality",
            f"the figures published of {table} "
            + ("do not say which table they were computed from" if unbound else "were computed from another table"),
            clause="tables.quality",
            next_step="do not rely on them; the provider measures again and seals the table anew",
        )
    return found


def treatments(manifest: Manifest, table: str) -> tuple[Treatment, ...]:
    """Return the steps by which a table was de-identified before it was sealed."""
    found = manifest.table(table).deidentified
    if isinstance(found, msgspec.UnsetType):
        found = manifest.deidentified
    return () if isinstance(found, msgspec.UnsetType) else found


def _parts(manifest: Manifest, table: str) -> str:
    """Digest of the sealed parts of a table; they are ciphertext, so it tells nothing of what is in them."""
    return canonical.digest([[part.path, part.sha256, part.commitment] for part in manifest.parts_of(table)])
