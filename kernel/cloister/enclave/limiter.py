"""A token bucket: how many quotes callers who have proved nothing yet can force per minute."""

from __future__ import annotations

from cloister.errors import UnavailableError


class RateLimit:
    """Allows ``per_minute`` events per minute, in bursts of up to a quarter of that."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._room = max(1.0, per_minute / 4)
        self._tokens = self._room
        self._last = 0.0

    def take(self, now: float) -> None:
        """Count one event at monotonic time ``now`` (seconds).

        Raises:
            UnavailableError: Too many.
        """
        self._tokens = min(self._room, self._tokens + max(0.0, now - self._last) * self._per_second)
        self._last = now
        if self._tokens < 1:
            raise UnavailableError(
                "enclave.busy", "the enclave is asked for too much evidence", next_step="try again in a minute"
            )
        self._tokens -= 1
