"""Passes: what an admitted vault shows with a request, before its body, so that strangers cannot take its place.

Who signed a request is known when all of it was read. A broker that many strangers ask at once must know earlier whose
requests to read, so every answer to an admitted vault may carry a pass, which comes back as a header. It opens nothing:
it says in which queue to wait. It is stateless, and outlives a restart of the broker.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from cloister.wire.identity import SigningKey

HEADER = "cloister-pass"
LIFE_S = 3600
_LONGEST = 512


class Pass:
    """A pass that holds: of which vault, and whether it is time for a new one."""

    def __init__(self, vault_id: str, *, old: bool) -> None:
        self.vault_id, self.old = vault_id, old


class Passes:
    """Issues and checks passes; its secret follows from the broker's key."""

    def __init__(self, key: SigningKey, now: Callable[[], float] = time.time) -> None:
        self._secret = hmac.digest(key.private_bytes(), b"cloister/pass/v1", "sha256")
        self._now = now

    def issue(self, vault_id: str) -> str:
        """Return a pass for a vault, good for an hour."""
        said = f"{int(self._now()) + LIFE_S} {vault_id}"
        return f"{said} {self._tag(said)}"

    def check(self, text: str) -> Pass | None:
        """Return the pass, or None if this broker did not issue it or its time is over."""
        said, _, tag = text[:_LONGEST].rpartition(" ")
        if not said.isascii() or not tag.isascii() or not hmac.compare_digest(tag, self._tag(said)):
            return None
        until, _, vault_id = said.partition(" ")
        left = int(until) - self._now()
        return Pass(vault_id, old=left < LIFE_S / 2) if left > 0 else None

    def _tag(self, said: str) -> str:
        return hmac.digest(self._secret, said.encode(), "sha256").hex()
