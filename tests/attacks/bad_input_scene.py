"""Where bad input is fed in: real brokers and vaults as processes, and what is left of it in their logs."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "vault"))
sys.path.append(str(Path(__file__).parents[1] / "provider"))
sys.path.append(str(Path(__file__).parents[1] / "attest"))
sys.path.append(str(Path(__file__).parents[1] / "analyst"))

import msgspec
from bad_input_catalogue import VAULT, Row
from forker import Forker
from vault_agent import Network
from vault_world import World, numbered

from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Evidence
from cloister.contract import signing
from cloister.contract.terms import Limits
from cloister.errors import CloisterError
from cloister.provider import checkpoints, clock
from cloister.provider.home import BrokerHome
from cloister.receipt import audit
from cloister.receipt.events import Event
from cloister.wire.envelope import Envelope

PATIENCE_S = 10.0
Change = Callable[[Evidence, Callable[[bytes], Evidence]], Evidence]
"""What is made of evidence; the second argument gives evidence over other bytes."""


class Outcome(msgspec.Struct):
    """What became of an input: the code and reason that were told, the entries in the log, charges and answers."""

    code: str
    entries: list[str]
    charged: int = 0
    released: int = 0
    reason: str = ""


def text_of(event: Event) -> str:
    """Return an event as the catalogue writes it."""
    return " ".join(part for part in (event.kind, event.op, event.status) if part)


def texts_of(events: Iterable[Event], digest: str, before: Counter[str]) -> Iterator[str]:
    """Yield events of a contract as the catalogue writes them, and what came without one since ``before``."""
    events = list(events)
    yield from (text_of(event) for event in events if event.contract == digest)
    yield from nameless(events) - before


def nameless(events: Iterable[Event]) -> Counter[str]:
    """Return the events that name no contract, and how often: strangers, requests for a session, recoveries."""
    found: Counter[str] = Counter()
    for event in events:
        if not event.contract:
            found[text_of(event)] += event.count or 1
    return found


def exported(home: BrokerHome) -> list[Event]:
    """Return the events of a broker that serves, exported and checked as an auditor does."""
    accounts = home.open_accounts()
    try:
        now = clock.text(clock.Clock().now())
        lines = list(checkpoints.write_export(home, accounts, now=now, actor="owner"))
    finally:
        accounts.close()
    found: list[Event] = []
    report = audit.Audit(event=found.append).check(lines)
    assert report.sound, report.to_text()
    return found


class Tampered:
    """An attester whose evidence is changed on its way."""

    def __init__(self, honest: Any, change: Change) -> None:
        self._honest, self._change = honest, change

    def collect(self, data: bytes, **said: Any) -> Evidence:
        """Return what is shown for evidence over ``data``."""
        return self._change(self._honest.collect(data, **said), lambda other: self._honest.collect(other, **said))


class Scene:
    """Two brokers as processes; every input gets a contract and a vault of its own."""

    def __init__(self, root: Path) -> None:
        self._log = root / "vaults.log"
        self.forker = Forker(self._log)
        self.world = World(root / "world", forker=self.forker)
        # What strangers did is counted, and written with the next refusal of somebody who is admitted: here he is.
        used_up = Limits(releases=1, rows=10**9, compute=10**6, models=100)
        self._admitted = self.world.vault(
            self.world.config(self.world.sign(self.world.contract(limits=used_up))), forker=self.forker
        )
        self._numbers = itertools.count()
        self._admitted.ask("release", numbered(next(self._numbers)))

    def close(self) -> None:
        """Stop everything."""
        self._admitted.close()
        self.world.close()
        self.forker.close()

    def run(
        self,
        row: Row,
        *,
        document: Envelope | None = None,
        config: dict[str, Any] | None = None,
        network: Network | None = None,
        change: Change | None = None,
        before: Callable[[Any], None] | None = None,
        question: dict[str, Any] | None = None,
        **context: Any,
    ) -> Outcome:
        """Ask a vault one question under these circumstances; return what came of it.

        ``before`` is done with the vault after an honest question was answered, if it is given.
        """
        world, begun = self.world, self._log.stat().st_size
        document = document or world.sign(world.contract())
        config, digest = config or world.config(document), signing.payload_digest(document)
        seen = nameless(exported(world.anna_home))
        try:
            vault = world.vault(config, network, forker=self.forker)
        except CloisterError as error:
            return Outcome(error.code, self.vault_log(begun), charged=self.charges(digest))
        with vault:
            if change is not None:
                vault.attester = Tampered(world.attester, change)
            if before is not None:
                vault.ask("release", numbered(1))
                before(vault)
            earlier, found = self.charges(digest), Outcome("", [])
            try:
                vault.ask("release", question or numbered(2), **context)
                found.released = 1
            except CloisterError as error:
                found.code, found.reason = error.code, error.reason
            world.anna_broker.restart_if_dead()
            found.entries = self.wait_for(row, digest, begun, seen)
            found.charged = self.charges(digest) - earlier
        return found

    def wait_for(self, row: Row, digest: str, begun: int = 0, seen: Counter[str] | None = None) -> list[str]:
        """Return the entries about a contract once the one that is waited for is among them, or after a while."""
        until = time.monotonic() + PATIENCE_S
        while True:
            if row.where == VAULT:
                entries = self.vault_log(begun)
            else:
                self._nudge()
                entries = list(texts_of(exported(self.world.anna_home), digest, seen or Counter()))
            if row.entry in entries or time.monotonic() > until:
                return entries
            time.sleep(0.2)

    def _nudge(self) -> None:
        with contextlib.suppress(CloisterError):
            self._admitted.ask("release", numbered(next(self._numbers)))

    def charges(self, digest: str) -> int:
        """Return how many entries of the account are of a contract."""
        entries = self.world.anna_broker.entries(self.world.card.population)
        return sum(entry["contract"] == digest for entry in entries)

    def vault_log(self, begun: int) -> list[str]:
        """Return what vaults wrote since, without who wrote it."""
        text = self._log.read_bytes()[begun:].decode(errors="replace")
        return [line.partition(": ")[2] for line in text.splitlines()]


def with_blob(evidence: Evidence, blob: bytes) -> Evidence:
    """Return evidence with other bytes."""
    return msgspec.structs.replace(evidence, blob=b64(blob))


def blob_of(evidence: Evidence) -> bytes:
    """Return the bytes of evidence."""
    return unb64(evidence.blob, limit=1 << 20)
