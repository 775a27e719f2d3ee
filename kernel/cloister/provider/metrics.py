"""Counters for whoever operates the broker, in the text format of Prometheus. No names, no amounts, no data.

Counts of requests by operation and status only; a status that only one of several accounts could have caused is still
no more than the broker's operator sees in the accounts anyway.
"""

from __future__ import annotations

import threading
from collections import Counter


class Metrics:
    """Counts since the broker started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, op: str, status: str) -> None:
        """Count a request. ``op`` and ``status`` come from closed sets, so the number of series is bounded."""
        with self._lock:
            self._counts[op, status] += 1

    def text(self, *, events: int, waiting: int, restored: bool) -> str:
        """Return everything in the exposition format (version 0.0.4)."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines = [
            "# HELP cloister_requests_total Requests answered, by operation and status.",
            "# TYPE cloister_requests_total counter",
            *(f'cloister_requests_total{{op="{op}",status="{status}"}} {n}' for (op, status), n in counts),
            "# HELP cloister_events Size of the event log.",
            "# TYPE cloister_events gauge",
            f"cloister_events {events}",
            "# HELP cloister_events_waiting Refusals not written yet.",
            "# TYPE cloister_events_waiting gauge",
            f"cloister_events_waiting {waiting}",
            "# HELP cloister_read_only 1 while the accounts are known to be older than they were.",
            "# TYPE cloister_read_only gauge",
            f"cloister_read_only {int(restored)}",
        ]
        return "\n".join(lines) + "\n"
