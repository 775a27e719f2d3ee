"""Record and replay: the whole release path on neighbouring tables with noise, clock and randomness frozen.

Two vaults with the same keys, the same contract and the same brokers (a copy of each, as they were) answer the same
plans; only the rows differ, by all rows of one unit. Noise is replaced by a fixed function of shape and scale, so its
*outputs* are equal while its inputs are recorded. Then everything that can be seen from outside the gate must be equal
byte for byte: what is asked of the brokers and in which order, prices, deadlines and waits, SQL and parameters, shapes,
codes and replies. What the noise hides is measured on the way: the exact distance of its inputs, in units of its scale,
is the rho that was really used.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from vault_world import DirectTransport, World, context

from cloister.errors import CloisterError
from cloister.provider import clock
from cloister.provider import keys as provider_keys
from cloister.provider.broker import Broker
from cloister.provider.home import BrokerHome
from cloister.vault import deadline, describe, engine, ledger, noise
from cloister.vault.config import open_config
from cloister.vault.keys import VaultKeys
from cloister.vault.release import release
from cloister.vault.state import VaultState
from cloister.wire import canonical

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)


@dataclass
class Record:
    """What can be seen of some releases, in order, and, apart from it, what went into the noise."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)
    inputs: list[list[tuple[tuple[int, ...], float]]] = field(default_factory=list)
    maxima: list[list[tuple[tuple[int, ...], float]]] = field(default_factory=list)
    prices: list[Fraction] = field(default_factory=list)


class Swapped(engine.Engine):
    """The vault's engine, which finds other rows in the capsule than the provider sealed."""

    def __init__(self, rows: dict[str, Any], record: Record) -> None:
        super().__init__(1)
        self._rows = rows
        self._record = record

    def load(self, name: str, card: Any, parts: Any, *keys: bytes) -> None:
        self._record.seen.append(("load", name))
        super().load(name, card, self._rows.get(name, parts), *keys)

    def run(self, analysis: Any) -> engine.Exact:
        exact = super().run(analysis)
        self._record.seen.append(("exact", len(exact.values), exact.widths))
        return exact


class Clock:
    """Stands in for ``time``: it goes on only when somebody sleeps."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._record.seen.append(("sleep", round(seconds, 9)))
        self._now += seconds


def run(world: World, document: Any, plans: list[dict[str, Any]], rows: dict[str, Any], scratch: Path) -> Record:
    """Return the record of ``plans`` asked one after the other of a vault that finds ``rows`` in its capsules."""
    record = Record()
    with frozen(record), copies(world, scratch) as brokers:
        config = world.config(document)
        terms = open_config(canonical.encode(config))
        transport = Wire(world, config, brokers, record)
        keys = VaultKeys()
        transport.keys = keys
        state = VaultState(terms, keys, transport, Swapped(rows, record))
        state.on_step = lambda number: record.seen.append(("step", number))
        for number, plan in enumerate(plans):
            record.inputs.append([])
            record.maxima.append([])
            record.prices.append(Fraction(0))
            record.seen.append(("plan", number))
            try:
                answer = release(state, context(world), plan)
            except CloisterError as error:
                record.seen.append(("refused", canonical.encode(error.to_dict())))
            else:
                record.seen.append(("reply", canonical.encode(describe.answer(answer, terms))))
                record.prices[-1] = Fraction(answer.receipt.rho)
        state.engine.close()
    return record


class Wire(DirectTransport):
    """In-process brokers; every message is recorded both ways."""

    def __init__(self, world: World, config: dict[str, Any], brokers: dict[str, Broker], record: Record) -> None:
        self._world = world
        self._config = config
        self._brokers = brokers
        self.keys = None
        self.posts = []
        self.before = self.after = lambda path, body: body
        self._record = record

    def post(self, broker: str, path: str, body: bytes) -> bytes:
        self._record.seen.append(("ask", broker, path, body))
        answer = super().post(broker, path, body)
        self._record.seen.append(("told", answer))
        return answer


@contextmanager
def copies(world: World, scratch: Path) -> Iterator[dict[str, Broker]]:
    """The brokers as they are now, on copies of their folders, at a fixed time."""
    shutil.rmtree(scratch, ignore_errors=True)
    brokers = {}
    for place in (world.anna_broker, world.bank_broker):
        home = scratch / place.home.directory.name
        shutil.copytree(place.home.directory, home)
        brokers[place.did] = Broker(BrokerHome(home), time=clock.Clock(lambda: NOW))
    try:
        yield brokers
    finally:
        for broker in brokers.values():
            broker.close()


@contextmanager
def frozen(record: Record) -> Iterator[None]:
    """Randomness, clock and the outputs of the noise are fixed; its inputs and the queries are recorded."""
    source = random.Random(4)

    def draw(size: int) -> bytes:
        return source.randbytes(size)

    def still(values: Any, sigma: float) -> list[int]:
        record.seen.append(("noise", len(values), sigma.hex()))
        record.inputs[-1].append((tuple(values), sigma))
        seed = int.from_bytes(hashlib.sha256(f"{len(values)} {sigma.hex()}".encode()).digest()[:8])
        return [random.Random(seed + place).randrange(1000) for place in range(len(values))]

    def chosen(rows: Any, at: Any, parts: int, scale: float) -> list[int]:
        """A noisy maximum moves with the largest change of a score, and costs what a Gaussian on it would."""
        record.seen.append(("maximum", len(rows), tuple(at), parts, scale.hex()))
        record.maxima[-1] += [(tuple(noise.scores(rows, place, parts)), scale) for place in at]
        return [place % len(rows) for place in at]

    compiled = engine.compile_plan

    def compile_plan(*given: Any) -> Any:
        query = compiled(*given)
        record.seen.append(("query", query.sql, canonical.encode(msgspec.to_builtins(query.parameters))))
        return query

    class Suite:
        """Sealing without randomness: whoever opens it here gets what was put in."""

        def encrypt(self, plain: bytes, *_: Any, **__: Any) -> bytes:
            return plain

    with ExitStack() as stack:
        for target, name, value in (
            ("os", "urandom", draw),
            ("secrets", "token_bytes", lambda size=32: draw(size)),
            ("secrets", "token_hex", lambda size=32: draw(size).hex()),
        ):
            stack.enter_context(mock.patch(f"{target}.{name}", value))
        for kind in (Ed25519PrivateKey, X25519PrivateKey):
            make = kind.from_private_bytes
            stack.enter_context(mock.patch.object(kind, "generate", staticmethod(lambda make=make: make(draw(32)))))
        stack.enter_context(mock.patch.object(provider_keys, "_SUITE", Suite()))
        stack.enter_context(mock.patch.object(VaultKeys, "open_data_key", lambda _self, sealed, info: sealed))
        time = Clock(record)
        stack.enter_context(mock.patch.object(deadline, "time", time))
        stack.enter_context(mock.patch.object(ledger, "time", time))
        stack.enter_context(mock.patch.object(noise, "gaussian", still))
        stack.enter_context(mock.patch.object(noise, "quantiles", chosen))
        stack.enter_context(mock.patch.object(engine, "compile_plan", compile_plan))
        yield


def divergence(first: Record, second: Record) -> str:
    """Return where two records part, or an empty text."""
    for number, (mine, other) in enumerate(zip(first.seen, second.seen, strict=False)):
        if mine != other:
            return f"event {number}: {str(mine)[:300]} / {str(other)[:300]}"
    if len(first.seen) != len(second.seen):
        return f"{len(first.seen)} events / {len(second.seen)}"
    return ""


def overspent(first: Record, second: Record) -> str:
    """Return a plan whose inputs to the noise were further apart than its price pays for, or an empty text."""
    for number, price in enumerate(first.prices):
        used = Fraction(0)
        for kept, norm in (("inputs", sum), ("maxima", max)):
            mine, other = getattr(first, kept)[number], getattr(second, kept)[number]
            for (left, sigma), (right, _) in zip(mine, other, strict=True):
                square = norm((x - y) ** 2 for x, y in zip(left, right, strict=True))
                used += Fraction(square) / (2 * Fraction(sigma) ** 2)
        if used > price:
            return f"plan {number} used rho {float(used)} and paid {float(price)}"
    return ""
