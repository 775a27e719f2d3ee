"""How a broker's key follows another: statements that both keys signed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from cloister.wire import documents
from cloister.wire.envelope import Envelope, open_envelope, unverified_payload

SUCCESSION_TYPE = "application/vnd.cloister.succession.v1+json"


class Succession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key ``old`` is followed by ``new``."""

    old: str
    new: str
    time: str
    version: Literal[1] = 1


def keys_of(broker: str, statements: Iterable[Envelope]) -> frozenset[str]:
    """Return the dids a broker has had, ``broker`` (the present one) included.

    A statement that leads to no key of this broker says nothing about it (a rotation that was cut short leaves one).

    Raises:
        SignatureError: One of both signatures is missing or wrong.
    """
    dids = {broker}
    for document in reversed(list(statements)):
        named = documents.decode(unverified_payload(document), Succession)
        if named.new in dids:
            open_envelope(document, SUCCESSION_TYPE, named.old, named.new)
            dids.add(named.old)
    return frozenset(dids)
