"""Charge + settle + receipt on loopback, and the start of a vault: real vault and broker processes, SQLite on disk.

A release takes its planned deadline and, around it, everything else: decode, analyse, price, charge, receipt, deposit,
reply. ``around_the_deadline_ms`` is that rest. The agent is the tests' small one (``tests/vault/vault_agent.py``)
with the product's relay.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "vault"))

from vault_world import World, plan, visits_card

from cloister.enclave.relay import Relay
from cloister.plan import algebra as a

ROWS = 100_000
RELEASES = 40


def visits(rows: int) -> pa.Table:
    """Return ``rows`` visits, five per patient."""
    rng = np.random.default_rng(20261121)
    return pa.table(
        {
            "patient": [f"p{i // 5:06d}" for i in range(rows)],
            "age": rng.integers(0, 100, rows),
            "sex": rng.choice(["f", "m"], rows),
            "cost": rng.integers(0, 1000, rows),
            "genome": rng.integers(0, 10, rows),
        }
    )


def question(number: int) -> dict[str, object]:
    """Return one of many plans of equal price."""
    older = a.Compare("ge", a.Col("age"), a.Number(str(number)))
    return plan(a.Mean("cost", a.Col("cost")), where=older, rho="1/100000")


def median_ms(seconds: list[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(seconds) * 1000, 2)


def main() -> None:
    """Print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), card=visits_card(row_limit=131_072, rows_per_unit=6), data=visits(ROWS))
        try:
            result = measure(world)
        finally:
            world.close()
    print(json.dumps(result))


def measure(world: World) -> dict[str, object]:
    """Return the figures of one vault under a fresh contract."""
    config = world.config()
    start = time.perf_counter()
    with world.vault(config) as vault:
        started_s = time.perf_counter() - start
        trips = {"/v1/append": [], "/v1/settle": []}
        relay = Relay()

        def post(did: str, path: str, body: bytes) -> tuple[int, bytes]:
            """Carry a request as the agent's relay does."""
            sent = time.perf_counter()
            answer = relay._post(world.network.urls[did], path, body)
            trips.get(path, []).append(time.perf_counter() - sent)
            return answer

        world.network.post = post
        first = timed(lambda: vault.ask("release", question(0)))
        planned_s = vault.ask("price", question(1))["deadline_ms"] / 1000
        released = [timed(lambda n=n: vault.ask("release", question(n))) for n in range(1, RELEASES + 1)]
        recalled = [timed(lambda n=n: vault.ask("release", question(n))) for n in range(1, RELEASES + 1)]
        budget = [timed(lambda: vault.ask("budget")) for _ in range(10)]
        resident = psutil.Process(vault.process.pid).memory_info().rss
    return {
        "rows": ROWS,
        "load_average": round(os.getloadavg()[0], 1),
        "vault_start_s": round(started_s, 2),
        "first_release_s (attest, open and load the capsule, planned)": round(first, 2),
        "planned_deadline_ms": round(planned_s * 1000),
        "around_the_deadline_ms": median_ms([t - planned_s for t in released]),
        "of_it_append_http_ms": median_ms(trips["/v1/append"][1:]),
        "of_it_settle_http_ms": median_ms(trips["/v1/settle"][1:]),
        "recall_ms": median_ms(recalled),
        "budget_two_brokers_ms": median_ms(budget),
        "vault_resident_mb": resident >> 20,
        "target": "charge + settle + receipt < 5 ms on loopback",
    }


def timed(work: object) -> float:
    """Return how long ``work`` took, in seconds."""
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
