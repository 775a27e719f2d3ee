"""How much evidence callers can ask for per minute: a share for analysts by key, and one for strangers by address.

Strangers use up their own share at most, and one address a part of it; an analyst who signed his hello
(``attest.introduction``) has a part of the analysts' share that nobody else can touch.
"""

from __future__ import annotations

from collections import OrderedDict

from cloister.attest.introduction import FRESH_S
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
        """Count one event at monotonic time ``now`` (seconds).

        Raises:
            UnavailableError: Too many.
        """
        if not self.left(now):
            raise UnavailableError(
                "enclave.busy", "the enclave is asked for too much evidence", next_step="try again in a minute"
            )
        self._tokens -= 1

    def left(self, now: float) -> bool:
        """Whether there is room for one event more."""
        self._tokens = min(self._room, self._tokens + max(0.0, now - self._last) * self._per_second)
        self._last = now
        return self._tokens >= 1


class Share:
    """A part of what there is, and at most half of that for each key. Bounded: the key idle longest starts afresh."""

    def __init__(self, per_minute: float) -> None:
        self._all = RateLimit(per_minute)
        self._each = per_minute / 2
        self._keys: OrderedDict[str, RateLimit] = OrderedDict()

    def take(self, key: str, now: float) -> None:
        """Count one event of ``key``.

        Raises:
            UnavailableError: Too many, of this key or of all together; the others' room is not touched by the first.
        """
        own = self._keys.pop(key, None) or RateLimit(self._each)
        self._keys[key] = own
        while len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        if own.left(now):
            self._all.take(now)
        own.take(now)


class Quotes:
    """Evidence per minute: three quarters for analysts who signed their hello, one for everybody else."""

    def __init__(self, per_minute: int) -> None:
        self._analysts, self._strangers = Share(per_minute * 3 / 4), Share(per_minute / 4)
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def take(self, now: float, *, address: str, analyst: str = "", hello: bytes = b"") -> None:
        """Count evidence for a caller at monotonic time ``now``.

        Args:
            now: Seconds.
            address: What his host can be told by.
            analyst: The did that signed the hello, of an analyst whom the contract names; "" for anybody else.
            hello: Its bytes: with the same ones again (somebody else may have seen them) he is a stranger.

        Raises:
            UnavailableError: Too much.
        """
        while self._seen and next(iter(self._seen.values())) < now - 2 * FRESH_S:
            self._seen.popitem(last=False)
        if not analyst or hello in self._seen:
            self._strangers.take(address, now)
            return
        self._analysts.take(analyst, now)
        self._seen[hello] = now
