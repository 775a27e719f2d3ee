"""Hellos a broker has sent and not yet seen used: each nonce serves one session attempt within its lifetime."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cloister.attest import hello

TTL_S = 60.0
MAX_PENDING = 1024


class Hellos:
    """Pending hellos by (contract, vault). Bounded: when full, the oldest one is forgotten."""

    def __init__(self, audience: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._audience = audience
        self._monotonic = monotonic
        self._pending: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, contract: str, vault_id: str) -> bytes:
        """Return a fresh hello, or the pending one in the first half of its life.

        Nobody signs this question: a new hello for each would let strangers void those that vaults are about to use.
        """
        with self._lock:
            now = self._monotonic()
            message, deadline = self._pending.pop((contract, vault_id), (b"", now))
            if deadline - now < TTL_S / 2:
                message, deadline = hello.new_hello(self._audience, contract, hello.BROKER_SESSION), now + TTL_S
            self._pending[contract, vault_id] = (message, deadline)
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        return message

    def take(self, contract: str, vault_id: str) -> bytes | None:
        """Return the pending hello once, or None if there is none or it is too old."""
        with self._lock:
            message, deadline = self._pending.pop((contract, vault_id), (None, 0.0))
        return message if self._monotonic() < deadline else None
