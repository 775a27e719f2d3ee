"""Pseudonyms: HMAC-SHA256 under a secret of the provider's (RFC 2104), 128 bits in hexadecimal.

The secret is a file as ``cloister unit-keys salt`` draws it (32 bytes, mode 0600). Unlike the salt of hashed keys it is
shared with nobody, and the two never give the same text for the same key, even out of the same file.
"""

from __future__ import annotations

import hmac

from cloister.provider.hashed_keys import Salt
from cloister.wire import canonical

PSEUDONYM_BYTES = 16
_SPACE = " \t\r\n\v\f"
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def pseudonym(text: str | None, secret: Salt, *, domain: str, normaliser: str) -> str | None:
    """Return the pseudonym of a key's text; null of none and of a blank, which is no key.

    Args:
        text: The key as it is written in the data.
        secret: The provider's secret.
        domain: What the keys are of; pseudonyms of different domains cannot be linked.
        normaliser: How the card makes keys comparable, so that one unit has one pseudonym.
    """
    if text is None or not text.strip():
        return None
    plain = text.strip(_SPACE).translate(_LOWER) if normaliser == "ascii-lower-strip" else text
    described = canonical.encode({"domain": domain, "normaliser": normaliser})
    message = b"cloister/pseudonym/v1" + described + plain.encode("utf-8", errors="surrogatepass")
    return hmac.digest(secret.secret, message, "sha256")[:PSEUDONYM_BYTES].hex()
