"""The broker's time: what validity, leases and receipts are dated by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """UTC in whole seconds; it never goes back while the broker runs."""

    def __init__(self, source: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._source = source
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the current moment."""
        with self._lock:
            self._latest = max(self._latest, self._source())
            return self._latest


def text(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, whole seconds (fixed width, so that texts sort like times)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def later(moment: datetime, seconds: float) -> datetime:
    """Return ``moment`` plus a number of seconds."""
    return moment + timedelta(seconds=seconds)
