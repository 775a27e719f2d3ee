"""How often one address may ask for a hello, the only request of a broker that nobody has to sign for, or be refused.

An answer is made and forgotten (``hellos``), but it takes a moment of the broker's time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 120
PER_S = 10.0
MAX_ADDRESSES = 4096


class Rate:
    """A token bucket per address. Bounded: when there are too many addresses, the one idle longest starts afresh."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, *, burst: int = BURST, per_s: float = PER_S
    ) -> None:
        self._monotonic = monotonic
        self._burst, self._per_s = burst, per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, address: str) -> bool:
        """Take a token of ``address`` and return True, or return False if it has none left."""
        now = self._monotonic()
        with self._lock:
            tokens, since = self._buckets.pop(address, (float(self._burst), now))
            tokens = min(float(self._burst), tokens + (now - since) * self._per_s)
            self._buckets[address] = (max(0.0, tokens - 1), now) if tokens >= 1 else (tokens, now)
            while len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        return tokens >= 1

    def left(self, address: str) -> bool:
        """Whether ``address`` has a token left; takes none."""
        now = self._monotonic()
        with self._lock:
            tokens, since = self._buckets.get(address, (float(self._burst), now))
        return min(float(self._burst), tokens + (now - since) * self._per_s) >= 1
