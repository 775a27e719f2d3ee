"""How large a request can be, by route: what the largest real document needs, and nothing beyond.

A body is refused by its declared length, before a byte of it is read. Sizes are of the whole request as it travels: a
DSSE envelope carries its payload in base64, four bytes for three.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_KIB, _MIB = 2**10, 2**20

BODY: Mapping[str, int] = MappingProxyType({
    "/v1/hello": 512,  # two names
    "/v1/session": 384 * _KIB,  # an offer of 256 KiB (``attest.hello.MAX_OFFER``)
    "/v1/append": _MIB,  # an entry with 20,000 tags of a match (``contract.exits.MAX_TARGETS``)
    # A deposit of 500,000 integers of 64 bits (``plan.layout.MAX_INTEGERS``): in the receipt's envelope, sealed, in the
    # request's envelope, so three times in base64.
    "/v1/settle": 32 * _MIB,
    "/v1/tip": 16 * _KIB,  # three names and a notice
    "/v1/office": 4 * _MIB,  # a card with long lists of categories; a checkpoint of 10,000 accounts
    "/v1/anchor": 4 * _MIB,  # a checkpoint of 5,000 accounts and the proofs that each of them grew
    "/v1/anchor/newest": 16 * _KIB,
})  # fmt: skip
"""The most bytes of a body, by route."""

STRANGERS_BODY = 4 * _MIB
"""The most bytes that are read from somebody who shows no pass of an admitted vault (``passes``), on any route."""


def largest(path: str, *, known: bool) -> int:
    """Return the most bytes of a body: of a vault that showed its pass (``known``), or of anybody."""
    return BODY[path] if known else min(BODY[path], STRANGERS_BODY)
