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
        """Return a fresh hello; an earlier one for the same vault is void."""
        message = hello.new_hello(self._audience, contract, hello.BROKER_SESSION)
        with self._lock:
            self._pending.pop((contract, vault_id), None)
            self._pending[contract, vault_id] = (message, self._monotonic() + TTL_S)
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        return message

    def take(self, contract: str, vault_id: str) -> bytes | None:
        """Return the pending hello once, or None if there is none or it is too old."""
        with self._lock:
            message, deadline = self._pending.pop((contract, vault_id), (None, 0.0))
        return message if self._monotonic() < deadline else None
