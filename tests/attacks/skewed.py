"""Runs a module with a wall clock that is wrong: ``python skewed.py SECONDS MODULE ARGUMENTS...``.

The clock that jumps is the host's; what no host can set back unnoticed (monotonic time) goes on as it was.
"""

from __future__ import annotations

import datetime
import runpy
import sys
import time


def skew(seconds: float) -> None:
    """From now on this process takes the time to be ``seconds`` later than it is."""
    real, real_time = datetime.datetime, time.time

    class Skewed(real):  # type: ignore[valid-type,misc]
        """Tells a wrong time."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            """Return the wrong time."""
            return real.now(tz) + datetime.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            """Return the wrong time."""
            return real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)

    datetime.datetime = Skewed  # type: ignore[misc]
    time.time = lambda: real_time() + seconds


if __name__ == "__main__":
    skew(float(sys.argv[1]))
    if sys.argv[2] == "cloister.vault":
        from cloister.vault import confine

        confine.prepare()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
