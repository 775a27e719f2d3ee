"""Hellos a broker has sent and not yet seen used: each nonce serves one session attempt within its lifetime.

Anybody can ask for one, so what is kept is bounded, and when it is full one of whoever has asked for most is forgotten:
strangers with many addresses push out their own, not that of a vault that is just proving itself.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from cloister.attest import hello

TTL_S = 60.0
MAX_PENDING = 1024


class Hellos:
    """Pending hellos by (contract, vault). Bounded: when full, the oldest one of the busiest asker is forgotten."""

    def __init__(self, audience: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._audience = audience
        self._monotonic = monotonic
        self._pending: OrderedDict[tuple[str, str], tuple[bytes, float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, contract: str, vault_id: str, asker: str = "") -> bytes:
        """Return a fresh hello, or the pending one in the first half of its life; ``asker`` is an address.

        Nobody signs this question: a new hello for each would let strangers void those that vaults are about to use.
        """
        with self._lock:
            now = self._monotonic()
            message, deadline, who = self._pending.pop((contract, vault_id), (b"", now, asker))
            if deadline - now < TTL_S / 2:
                message, deadline = hello.new_hello(self._audience, contract, hello.BROKER_SESSION), now + TTL_S
            self._pending[contract, vault_id] = (message, deadline, who)
            if len(self._pending) > MAX_PENDING:
                self._forget_one(now)
        return message

    def _forget_one(self, now: float) -> None:
        over = next((key for key, (_, deadline, _) in self._pending.items() if deadline <= now), None)
        if over is None:
            asked = Counter(who for _, _, who in self._pending.values())
            over = max(self._pending, key=lambda key: asked[self._pending[key][2]])
        del self._pending[over]

    def take(self, contract: str, vault_id: str) -> bytes | None:
        """Return the pending hello once, or None if there is none or it is too old."""
        with self._lock:
            message, deadline, _ = self._pending.pop((contract, vault_id), (None, 0.0, ""))
        return message if self._monotonic() < deadline else None
