"""The planned deadline of a run (G6): nothing leaves the vault earlier, whatever the data made of the work.

The deadline comes from plan and card, before the run. A run that overshoots is *late*: it is interrupted ``STOP_S``
after the deadline, and what there is to say leaves ``GRACE_S`` after it, constants both. So an overshoot tells the
outside one bit, like a fault, and is counted like one (``faults.py``).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

STOP_S = 4.0
GRACE_S = 5.0
_AGAIN_S = 0.02


class Deadline:
    """A deadline in milliseconds from its creation; what is late leaves ``grace_s`` (or ``GRACE_S``) after it."""

    def __init__(self, planned_ms: int, grace_s: float | None = None) -> None:
        self._planned_s = planned_ms / 1000
        self._grace_s = GRACE_S if grace_s is None else grace_s
        self._start_s = time.monotonic()

    def remaining_s(self) -> float:
        """Seconds until the deadline; if it has passed, until the grace after it (doubled as often as needed)."""
        elapsed_s, grace_s = self._elapsed_s(), self._grace_s
        limit_s = self._planned_s
        while 0 < limit_s < elapsed_s:
            limit_s, grace_s = self._planned_s + grace_s, 2 * grace_s
        return max(0.0, limit_s - elapsed_s)

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._elapsed_s() > self._planned_s

    def over(self) -> bool:
        """Whether the time to stop has passed: a run that lasted so long has failed, whatever it found."""
        return self._elapsed_s() > self._planned_s + STOP_S

    def wait(self) -> None:
        """Sleep until the deadline."""
        time.sleep(self.remaining_s())

    @contextlib.contextmanager
    def stopping(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Run a block, and call ``interrupt`` from the time to stop on until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            pause_s = max(0.0, self._planned_s + STOP_S - self._elapsed_s())
            while not ended.wait(pause_s):
                interrupt()
                pause_s = _AGAIN_S

        watchdog = threading.Thread(target=watch, name="deadline", daemon=True)
        watchdog.start()
        try:
            yield
        finally:
            ended.set()
            watchdog.join()  # an interrupt that came later would stop the next run

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s
