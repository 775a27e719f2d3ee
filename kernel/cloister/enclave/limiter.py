"""How much evidence callers can ask for per minute: shares for analysts by key, and one for strangers by address.

Strangers use up their own share at most, and one address a part of it. An analyst who signed her hello
(``attest.introduction``) has a share that nobody else can touch, and part of one that the analysts have together.
"""

from __future__ import annotations

from collections import OrderedDict

from cloister.errors import UnavailableError

MOST_KEYS = 4096


class RateLimit:
    """Allows ``per_minute`` events per minute, in bursts of up to a quarter of that."""

    def __init__(self, per_minute: float) -> None:
        self._per_second = per_minute / 60
        self._room = max(1.0, per_minute / 4)
        self._tokens = self._room
        self._last = 0.0

    def take(self, now: float) -> None:
        """Count one event at monotonic time ``now``.

        Raises:
            UnavailableError: Too many.
        """
        if not self.has_room(now):
            raise UnavailableError(
                "enclave.busy", "the enclave is asked for too much evidence", next_step="try again in a minute"
            )
        self._tokens -= 1

    def has_room(self, now: float) -> bool:
        """Whether one event more is allowed at ``now``."""
        self._tokens = min(self._room, self._tokens + max(0.0, now - self._last) * self._per_second)
        self._last = now
        return self._tokens >= 1


class Share:
    """What several keys have together, and at most half of it for each. Bounded: the key idle longest starts afresh."""

    def __init__(self, per_minute: float) -> None:
        self._all = RateLimit(per_minute)
        self._each = per_minute / 2
        self._keys: OrderedDict[str, RateLimit] = OrderedDict()

    def take(self, key: str, now: float) -> None:
        """Count one event of ``key``.

        Raises:
            UnavailableError: Too many, of this key or of all together; the first leaves the others' room as it is.
        """
        own = self._keys.pop(key, None) or RateLimit(self._each)
        self._keys[key] = own
        while len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        if own.has_room(now):
            self._all.take(now)
        own.take(now)


class Quotes:
    """Evidence per minute: a quarter for strangers, a quarter in equal parts for each analyst, half for all of them."""

    def __init__(self, per_minute: int, analysts: frozenset[str]) -> None:
        quarter = per_minute / 4
        self._strangers, self._analysts = Share(quarter), Share(2 * quarter)
        self._own = {did: RateLimit(quarter / len(analysts)) for did in analysts}

    def take(self, now: float, *, address: str, analyst: str = "") -> None:
        """Count evidence for a caller at monotonic time ``now``.

        Args:
            now: Seconds.
            address: What his host can be told by.
            analyst: The did that signed the hello, of an analyst whom a contract names; "" for anybody else.

        Raises:
            UnavailableError: Too much.
        """
        own = self._own.get(analyst)
        if own is None:
            self._strangers.take(address, now)
        elif own.has_room(now):
            own.take(now)
        else:
            self._analysts.take(analyst, now)
