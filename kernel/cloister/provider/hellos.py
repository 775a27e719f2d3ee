"""Hellos of a broker: each serves one session attempt of one vault within its lifetime, and none is kept.

Nobody signs the question for a hello, so what answering it leaves behind is what strangers could fill: a hello is made
from a secret of this process, the vault it is for, and the time, and made again when the vault uses it. Only that it
was used is remembered, of vaults that signed their request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cloister.attest import hello
from cloister.wire import canonical

TTL_S = 60.0
"""How long a hello serves at most; at least half of that is left when somebody is told it."""
MAX_USED = 65536


class Hellos:
    """Makes hellos for (contract, vault), and knows how many of them were used."""

    def __init__(self, audience: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._audience = audience
        self._monotonic = monotonic
        self._secret = secrets.token_bytes(32)
        # By contract, vault and half of a lifetime: the next hello's number. Bounded: the oldest is forgotten.
        self._used: OrderedDict[tuple[str, str, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, contract: str, vault_id: str) -> bytes:
        """Return the hello that a vault may use now; whoever else asks gets the same and changes nothing."""
        with self._lock:
            return self._make(contract, vault_id, self._half())

    def take(self, contract: str, vault_id: str) -> tuple[bytes, ...]:
        """Return the hellos that a vault may have been told, the newest first; none of them serves again."""
        with self._lock:
            now = self._half()
            while self._used and next(iter(self._used))[2] < now - 1:
                self._used.popitem(last=False)
            found = tuple(self._make(contract, vault_id, half) for half in (now, now - 1))
            for half in (now - 1, now):
                key = (contract, vault_id, half)
                self._used[key] = self._used.pop(key, 0) + 1
            while len(self._used) > MAX_USED:
                self._used.popitem(last=False)
        return found

    def _half(self) -> int:
        return int(self._monotonic() // (TTL_S / 2))

    def _make(self, contract: str, vault_id: str, half: int) -> bytes:
        number = self._used.get((contract, vault_id, half), 0)
        what = canonical.encode([contract, vault_id, half, number])
        nonce = hmac.new(self._secret, what, hashlib.sha256).digest()
        return hello.new_hello(self._audience, contract, hello.BROKER_SESSION, nonce=nonce)
