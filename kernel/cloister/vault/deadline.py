"""The planned deadline of a run (G6): nothing leaves the vault earlier, whatever the data made of the work.

The deadline comes from plan and card, before the run. A run that overshoots leaves at the next doubling of
it, so an overshoot tells the outside a power of two and no more.
"""

from __future__ import annotations

import time


class Deadline:
    """A deadline in milliseconds from its creation."""

    def __init__(self, planned_ms: int) -> None:
        self._planned_s = planned_ms / 1000
        self._start_s = time.monotonic()

    def remaining_s(self) -> float:
        """Seconds until the deadline, or until its next doubling if it has passed."""
        elapsed_s = time.monotonic() - self._start_s
        limit_s = self._planned_s
        while 0 < limit_s < elapsed_s:
            limit_s *= 2
        return max(0.0, limit_s - elapsed_s)

    def wait(self) -> None:
        """Sleep until the deadline."""
        time.sleep(self.remaining_s())
