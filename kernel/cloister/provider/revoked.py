"""Identities that this broker serves no more: analysts, vaults, administrators. Read again when the file changes.

A revoked identity stays revoked; what it was paid for stays paid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloister.errors import RefusedError, UnavailableError
from cloister.provider import files
from cloister.provider.home import BrokerHome
from cloister.receipt.ledger import AppendRequest, TipRequest
from cloister.wire import canonical, identity


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When and why, by did."""

    dids: dict[str, tuple[str, str]] = {}

    def beyond(self, request: Any) -> str:
        """Return who of a vault's request is revoked (the vault or the analyst it asks for), or ``""``."""
        asked_by = ""
        if isinstance(request, AppendRequest):
            asked_by = request.entry.analyst
        elif isinstance(request, TipRequest):
            asked_by = request.analyst
        return next((did for did in (request.vault_id, asked_by) if did in self.dids), "")


_cache: dict[Path, tuple[tuple[int, int, int], Revoked]] = {}


def read(home: BrokerHome) -> Revoked:
    """Return who is revoked.

    Raises:
        UnavailableError: ``revoked.file``: a list that cannot be read lets nobody in.
    """
    try:
        status = home.revoked_file.stat()
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        cached = _cache.get(home.revoked_file)
        if cached is None or cached[0] != stamp:
            cached = _cache[home.revoked_file] = (
                stamp,
                msgspec.json.decode(home.revoked_file.read_bytes(), type=Revoked),
            )
        return cached[1]
    except FileNotFoundError:
        return Revoked()
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError("revoked.file", "the list of revoked identities cannot be read") from error


def revoke(home: BrokerHome, did: str, *, now: str, reason: str = "") -> None:
    """Revoke an identity for good.

    Raises:
        MalformedError: Not a did:key.
        RefusedError: ``identity.self``: the broker's own; its key is rotated instead.
    """
    identity.public_from_did(did)
    if did == home.identity().did:
        raise RefusedError("identity.self", "a broker does not revoke itself", next_step="cloister broker rotate-key")
    with files.changing(home.revoked_file):
        known = read(home)
        if did in known.dids:
            return
        files.write_private(home.revoked_file, canonical.encode(Revoked({**known.dids, did: (now, reason)})))
