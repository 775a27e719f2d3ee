"""1, 2, 5 and 20 providers, each with a capsule, a card, a broker and an account of its own, end to end.

``open_s`` is from a new vault to tables in memory: every broker appraises it and sends its key, every capsule is
opened and loaded. ``align_ms`` is one aggregate over all tables aligned on the unit, ``report_ms`` one match report:
decoded, analysed, charged at every broker, computed, held until the planned time, settled. Brokers are called in this
process, with their databases on disk; ``planned_ms`` is part of both. ``_cpu`` is the same in processor time, which
other work on the machine does not lengthen much.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "vault"))

from providers_world import Providers, open_session

from cloister.sandbox.align import align
from cloister.sandbox.frame import Frame
from cloister.sandbox.match_report import match_report

NUMBERS = (1, 2, 5, 20)
ROWS = 4_096
REPEAT = 5


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Return how long something takes, on the clock and in processor time."""
    start, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - used


def middle(name: str, runs: list[tuple[float, float]]) -> dict[str, float]:
    """Return the median of runs in milliseconds."""
    times, used = zip(*runs, strict=True)
    return {
        f"{name}_ms": round(1000 * statistics.median(times)),
        f"{name}_cpu_ms": round(1000 * statistics.median(used)),
    }


def measured(number: int, rows: int) -> dict[str, float]:
    """Return the figures of so many providers."""
    with tempfile.TemporaryDirectory() as folder:
        world = Providers(Path(folder), number, rows)
        session = open_session(world)
        frames = [Frame.of_table(session, own.name) for own in world.cards]
        joined = align(*frames) if number > 1 else frames[0]
        score = joined[next(name for name in joined if name.startswith("score"))]
        # The first question opens the sessions and the capsules; the second is asked of tables in memory.
        opened = seconds(lambda: joined[score >= 1].groupby(group_of(joined)).size(share=0.001))
        warm = [seconds(lambda at=at: (score >= at).mean(share=0.001)) for at in range(2, 2 + REPEAT)]
        planned = (score >= 1).mean.cost(share=0.001).deadline_ms
        found = {"open_s": round(opened[0], 2), "open_cpu_s": round(opened[1], 2), **middle("align", warm)}
        found["planned_ms"] = planned
        if number > 1:
            report = [seconds(lambda at=at: match_report(*frames, share=0.001 * at)) for at in range(1, 4)]
            found |= middle("report", report)
        return found


def group_of(frame: Frame) -> str:
    """Return the first group column."""
    return next(name for name in frame if name.startswith("group"))


def main() -> None:
    """Print one JSON line."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    load = os.getloadavg()[0]
    found = {str(number): measured(number, rows) for number in NUMBERS}
    ratios = {name: round(found["20"][name] / found["2"][name], 1) for name in found["2"]}
    more = {"rows_each": rows, "t20_over_t2": ratios, "target": "<= 12"}
    print(json.dumps({**found, **more, "load_average": [round(load, 1), round(os.getloadavg()[0], 1)]}))


if __name__ == "__main__":
    main()
