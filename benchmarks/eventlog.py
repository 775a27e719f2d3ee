"""The broker's logs: events written per second (SQLite, on disk), and how long an auditor's check of a million takes.

``python -m benchmarks.eventlog [EVENTS]``. The checked export is complete: half of its events are charges, each with
its account entry, under a signed contract with room for them; every signature, root, sum and limit is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "provider"))

import msgspec
from provider_world import POPULATION, World

from cloister.contract.terms import Limits
from cloister.contract.usage import Usage
from cloister.provider import event_log, schema
from cloister.receipt import audit, export, log
from cloister.receipt.checkpoint import Checkpoint, sign_checkpoint
from cloister.receipt.events import AccountTip, Event
from cloister.receipt.ledger import Entry
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

TIME = "2026-06-01T00:00:00Z"
BATCH = 100
WRITTEN = 10_000
CHARGES = 300


def written(world: World) -> dict[str, object]:
    """Return events per second: in batches as refusals are, and charges one by one, each on disk."""
    database = world.broker.accounts.database
    batch = [Event("refusal", TIME, actor="did:key:a", op="append", status="limit.rows")] * BATCH
    start = time.perf_counter()
    for _ in range(WRITTEN // BATCH):
        event_log.record_all(database, batch)
    batched = WRITTEN / (time.perf_counter() - start)
    vault = world.vault()
    start = time.perf_counter()
    for number in range(CHARGES):
        assert vault.append(f"c{number}", "1/1000000").status == "ok"
    return {
        "events_per_s_batched": round(batched),
        "charges_per_s (signed, on disk, entry and event)": round(CHARGES / (time.perf_counter() - start)),
    }


def lines(world: World, charges: int) -> Iterator[bytes]:
    """Yield an export of ``charges`` charges and as many settlements."""
    vault = world.vault()
    with world.broker.accounts.database.transaction() as db:
        admitted = db.scalars(schema.SELECT_ADMISSIONS).all()
    rho = "1/1267650600228229401496703205376"
    sample = Entry("@", POPULATION, world.digest, world.analyst.did, rho, "0", "sha256:plan", Usage(64, 2, 0))
    entry_text = canonical.encode(sample).decode()
    names = {"contract": world.digest, "population": POPULATION, "charge_id": "@", "epoch": 1}
    charge = canonical.encode(
        Event("charge", TIME, actor=vault.key.did, leaf="#", position=7_000_007, **names)
    ).decode()
    settle = canonical.encode(Event("settle", TIME, actor=vault.key.did, **names)).decode()
    events, entries = log.Growing(), log.Growing()
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        for number in range(charges):
            name = f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"
            body = entry_text.replace("@", name).encode()
            leaf = log.leaf_hash(body)
            entries.append(leaf)
            second.write(body + b"\n")
            # The number first: a digest put in before may hold its digits.
            told = charge.replace("7000007", str(number)).replace("@", name).replace("#", leaf.hex())
            for text in (told, settle.replace("@", name)):
                events.append(log.leaf_hash(text.encode()))
                first.write(text.encode() + b"\n")
        tip = AccountTip(POPULATION, charges, log.root_text(entries.root()), str(Fraction(rho) * charges))
        stated = Checkpoint(world.broker.did, TIME, events.size, log.root_text(events.root()), (tip,))
        signed = sign_checkpoint(stated, world.broker_key)
        admissions = tuple(msgspec.json.decode(one, type=Envelope) for one in admitted)
        yield export.write_header(export.Header(signed, (world.document,), admissions))
        yield export.write_section("", events.size)
        first.seek(0)
        yield from first
        yield export.write_section(POPULATION, charges)
        second.seek(0)
        yield from second


def main() -> None:
    """Print one JSON line."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(releases=10**7, rows=10**12, compute=10**9, models=10)
        world = World(Path(folder), limits=limits)
        result: dict[str, object] = {"load_average": round(os.getloadavg()[0], 1), **written(world)}
        path = Path(folder) / "export"
        with path.open("wb") as out:
            out.writelines(lines(world, count // 2))
        start, worked = time.perf_counter(), time.process_time()
        with path.open("rb") as source:
            report = audit.Audit().check(source, broker=world.broker.did)
        took, worked = time.perf_counter() - start, time.process_time() - worked
        assert report.sound, report.to_text()
        world.broker.close()
    print(
        json.dumps(
            {
                **result,
                "events_verified": report.events,
                "entries_verified": sum(report.entries.values()),
                "verified_in_s": round(took, 1),
                "verified_in_cpu_s": round(worked, 1),
                "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
                "target": "1,000 events/s batched; 1,000,000 events verified in < 60 s",
            }
        )
    )


if __name__ == "__main__":
    main()
