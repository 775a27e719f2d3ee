"""Match and alignment: one key, a batch and two tables, end to end, against their targets.

End to end is from the question at the vault's door to the settled answer: real vault and broker processes, SQLite on
disk, the agent's relay. ``single`` and ``batch`` take a watch list of the declared size; ``aligned`` loads two tables
of as many keys from memory and aligns them. Sizes are arguments: ``python -m benchmarks.matching 10000000``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "vault"))

from match_world import TABLE, contract, watched_card
from vault_world import World

from cloister.contract.exits import MatchTerms
from cloister.contract.terms import Limits
from cloister.enclave.relay import Relay
from cloister.plan import algebra as a
from cloister.sandbox.matching import Match
from cloister.sandbox.session import Session, use
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.targets import targets

BATCH = 100_000
ASKED = 200
COLUMN = f"{TABLE}.person"


def name(number: int) -> str:
    """Return the key of a person."""
    return f"N{number:012d}"


def listed(rows: int) -> pa.Table:
    """Return the watch list: every even person, one row each."""
    return pa.table(
        {
            "person": [name(2 * number) for number in range(rows)],
            "flagged": pa.array(np.arange(rows) % 3 == 0),
            "category": pa.array(np.where(np.arange(rows) % 5 == 0, "fraud", "debt")),
            "year": pa.array(np.full(rows, 2020)),
        }
    )


class Peer:
    """The sandbox's link, without the sandbox."""

    def __init__(self, vault: Any) -> None:
        self.request = vault.ask


@contextmanager
def asked(rows: int, trips: dict[str, list[float]]) -> Iterator[Match]:
    """Yield ``cl.match`` on a vault that holds the list; ``trips`` notes how long brokers take."""
    with tempfile.TemporaryDirectory() as folder:
        card = watched_card(row_limit=rows, rows_per_unit=1)
        world = World(Path(folder), card=card, data=listed(rows))
        relay = Relay()

        def post(did: str, path: str, body: bytes) -> tuple[int, bytes]:
            sent = time.perf_counter()
            answer = relay._post(world.network.urls[did], path, body)
            trips.setdefault(path, []).append(time.perf_counter() - sent)
            return answer

        world.network.post = post
        # Each question counts the rows of the whole list.
        limits = Limits(releases=1000, rows=10**12, compute=10**9, models=1)
        document = contract(world, MatchTerms(TABLE, "person", 10**7, 10**3), limits=limits)
        try:
            with world.vault(world.config(document)) as vault:
                use(Session(Peer(vault)))
                yield Match()
        finally:
            use(None)
            world.close()


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    """Return the middle and the slow end of times, in milliseconds."""
    found = sorted(seconds)
    return {
        f"{name}_p50_ms": round(1000 * statistics.median(found), 1),
        f"{name}_p95_ms": round(1000 * found[int(0.95 * len(found))], 1),
    }


def seconds(run: Callable[[], Any]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def matched(rows: int) -> dict[str, Any]:
    """One key at a time, then a batch: a key in the list and one that is not in turn."""
    trips: dict[str, list[float]] = {}
    with asked(rows, trips) as match:
        cold = seconds(lambda: match(COLUMN, name(1)))
        planned = match.cost(COLUMN, name(3)).deadline_ms
        for times in trips.values():
            times.clear()
        warm = [seconds(lambda number=number: match(COLUMN, name(10 + number))) for number in range(ASKED)]
        single = {**spread("single", warm), **spread("append", trips["/v1/append"])}
        single |= spread("settle", trips["/v1/settle"])
        keys = [name(10**7 + number) if number % 2 else name(2 * number) for number in range(BATCH)]
        found: list[Any] = []
        batch = seconds(lambda: found.append(match(COLUMN, keys)))
        assert int(found[0].sum()) == sum(1 for number in range(BATCH) if int(keys[number][1:]) < 2 * rows
                                          and int(keys[number][1:]) % 2 == 0)  # fmt: skip
    return {"keys": rows, "first_s": round(cold, 2), "planned_ms": planned, **single, "batch_s": round(batch, 2)}


def aligned(rows: int) -> dict[str, Any]:
    """Two tables of as many keys, half of them shared: load both from memory, then align."""
    cards, engine = {}, Engine()
    load = 0.0
    for place, table in enumerate(("p.a", "p.b")):
        card = msgspec.structs.replace(
            watched_card(), name=table, population=table, row_limit=rows, rows_per_unit=1,
            columns=tuple(column for column in watched_card().columns if column.name in {"person", "year"}),
        )  # fmt: skip
        cards[table] = card
        numbers = np.arange(rows) + place * (rows // 2)
        data = pa.table({"person": pa.array(np.char.add("N", numbers.astype("U12"))), "year": np.full(rows, 2020)})
        load += seconds(lambda table=table, card=card, data=data: engine.load(table, card, data, b"bench"))
        del data
    both = a.Align(a.Table("p.a"), a.Table("p.b"), "inner", (("year", "other"),))
    analysis = analyse(a.VectorSum(both, (a.Units("n"),), "1/100"), cards)
    cold = seconds(lambda: engine.run(analysis))
    warm = min(seconds(lambda: engine.run(analysis)) for _ in range(3))
    assert engine.run(analysis).values == (rows - rows // 2,)
    found = {"keys": rows, "load_both_s": round(load, 1)}
    found |= {"align_cold_s": round(cold, 2), "align_best_s": round(warm, 2)}
    sought = [targets(cards["p.a"], [f"N{number}"], b"") for number in range(0, rows, rows // ASKED)]
    used = []
    for one in sought:
        start = time.process_time()
        assert engine.found("p.a", "TRUE", one) == (True,)
        used.append(time.process_time() - start)
    return {**found, **spread("one_key_looked_up_cpu", used)}


def main() -> None:
    """Print one JSON line."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    parts = sys.argv[2:] or ["matched", "aligned"]
    load = os.getloadavg()[0]
    found = {part: {"matched": matched, "aligned": aligned}[part](rows) for part in parts}
    print(json.dumps({**found, "load_average": [round(load, 1), round(os.getloadavg()[0], 1)]}))


if __name__ == "__main__":
    main()
