"""Checks an auditor's export, offline and alone: signatures, logs, and every charge against its contract.

1. the broker signed the checkpoint; 2. every contract is signed by all of its parties and names this broker; 3. the
broker signed the admissions; 4. the event log is the one the checkpoint states; 5. so is every account, its entries are
charges that their contracts allow, each once, with its event, for a vault that was admitted; 6. the counts of contracts
stay within their limits; 7. every earlier checkpoint is a state these logs went through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from cloister.contract import signing
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, ContractError, TrustError
from cloister.receipt import account, checkpoint, export, log, succession
from cloister.receipt.audit_accounts import AccountCheck, Charged, Counts
from cloister.receipt.checkpoint import Checkpoint
from cloister.receipt.events import Event, decode_event, purged_in_time
from cloister.receipt.receipt import ADMISSION_TYPE, Admission
from cloister.wire import documents
from cloister.wire.envelope import Envelope, open_envelope, unverified_payload

MOST = 20
"""Findings of one code that are written out; the others are counted."""


class Finding(msgspec.Struct, frozen=True):
    """What was found in a step: ``fail`` is a false statement, ``note`` something a reader should know."""

    step: int
    level: Literal["ok", "note", "fail"]
    code: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """The outcome of an audit. ``sound`` if nothing in it is false."""

    broker: str
    time: str
    events: int
    purged: int
    entries: dict[str, int]
    by_kind: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether no finding is a failure."""
        return all(finding.level != "fail" for finding in self.findings)

    def to_text(self) -> str:
        """Return the report in words, one line per finding."""
        lines = [f"broker {self.broker}, checkpoint of {self.time}: {self.events:,} events ({self.purged:,} purged)"]
        lines += [f"account {name}: {size:,} entries" for name, size in sorted(self.entries.items())]
        lines += [f"{one.level:5} {one.step}. {one.text} [{one.code}]" for one in self.findings]
        return "\n".join(lines)


class Audit:
    """One export being checked.

    Args:
        charge: Called with every charge, in the order of its account.
        event: Called with every event that has its body, in order.
    """

    def __init__(
        self, *, charge: Callable[[Charged], None] | None = None, event: Callable[[Event], None] | None = None
    ) -> None:
        self._charge = charge or (lambda _: None)
        self._event = event or (lambda _: None)
        self._found: list[Finding] = []
        self._codes: Counter[str] = Counter()
        self.contracts: dict[str, Contract] = {}
        self._dids: frozenset[str] = frozenset()
        self._admitted: set[tuple[str, str]] = set()
        self._counts = Counts()
        self._by_kind: Counter[str] = Counter()
        self._purged = 0
        self._entries: dict[str, int] = {}

    @property
    def dids(self) -> frozenset[str]:
        """The dids that the broker has and had (after :meth:`check`)."""
        return self._dids

    def check(self, lines: Iterable[bytes], *, broker: str = "", earlier: Iterable[Envelope] = ()) -> Report:
        """Return what is found in an export.

        Args:
            lines: The export's lines.
            broker: The did it must be of; without it, of the broker its contracts name.
            earlier: Checkpoints taken before, which its logs must have gone through.

        Raises:
            MalformedError: Not an export, or cut short.
            TrustError: ``checkpoint.broker`` or a checkpoint whose signature is missing or wrong: nothing can be said.
        """
        feed = iter(lines)
        header = export.read_header(feed)
        stated = checkpoint.open_checkpoint(header.checkpoint, broker=broker)
        self._say(1, "ok", "checkpoint.signed", f"signed by {stated.broker}")
        self._dids = succession.keys_of(stated.broker, header.succession)
        self._read_contracts(header, pinned=bool(broker))
        self._read_admissions(header)
        before = [self._earlier(document, stated) for document in earlier]
        self._read_logs(feed, stated, [one for one in before if one is not None])
        for code, text in self._counts.beyond(self.contracts):
            self._say(6, "fail", code, text)
        return Report(
            stated.broker, stated.time, stated.events, self._purged, self._entries, dict(self._by_kind), self._summary()
        )

    def _read_contracts(self, header: export.Header, *, pinned: bool) -> None:
        for document in header.contracts:
            try:
                contract = signing.open_contract(document, now=signing.read_unverified(document).not_before)
                if all(account.broker_of(contract, did) is None for did in self._dids):
                    raise ContractError("contract.broker", f"contract {contract.name} does not name this broker")
                self.contracts[signing.contract_digest(document)] = contract
            except CloisterError as error:
                self._say(2, "fail", error.code, error.reason)
        self._say(2, "ok", "contract.signed", f"{len(self.contracts)} contracts, each signed by all of its parties")
        if not pinned and not self.contracts:
            self._say(2, "note", "origin.unknown", "no contract names this broker and --broker was not given")

    def _read_admissions(self, header: export.Header) -> None:
        for document in header.admissions:
            try:
                admission = documents.decode(unverified_payload(document), Admission)
                if admission.broker not in self._dids:
                    raise TrustError("admission.broker", "an admission in the name of another broker")
                open_envelope(document, ADMISSION_TYPE, admission.broker)
                self._admitted.add((admission.vault_id, admission.contract))
            except CloisterError as error:
                self._say(3, "fail", error.code, error.reason)
        self._say(3, "ok", "admission.signed", f"{len(self._admitted)} admissions")

    def _earlier(self, document: Envelope, stated: Checkpoint) -> Checkpoint | None:
        try:
            known = checkpoint.open_checkpoint(document, broker=stated.broker)
            checkpoint.check_grown(known, stated)
        except CloisterError as error:
            self._say(7, "fail", error.code, error.reason)
            return None
        return known

    def _read_logs(self, feed: Iterator[bytes], stated: Checkpoint, before: list[Checkpoint]) -> None:
        expected, seen = stated.logs(), set[str]()
        charges: dict[str, list[tuple[bytes, str, str]]] = {}
        starts: dict[str, int] = {}
        for section, leaves in export.read_sections(feed):
            name = section.log
            if name not in expected or name in seen or (name and "" not in seen):
                self._say(4, "fail", "export.order", f"a log that is not stated, twice, or out of order: {name!r}")
                continue
            seen.add(name)
            tree = log.Growing(marks=[one.logs()[name][0] for one in before if name in one.logs()])
            if name:
                self._read_account(name, leaves, tree, stated, (charges.get(name, []), starts.get(name, 0)))
            else:
                self._read_events(leaves, tree, charges, starts)
            step = 5 if name else 4
            if (tree.size, log.root_text(tree.root())) != expected[name]:
                self._say(step, "fail", "log.root", f"the log {name or 'of events'} is not the one that was signed")
            else:
                self._say(step, "ok", "log.root", f"{name or 'event log'}: {tree.size:,} entries under the signed root")
            self._went_through(name, tree, before)
        for name in sorted(set(expected) - seen):
            self._say(4, "fail", "export.missing", f"the log {name or 'of events'} is not in the export")

    def _went_through(self, name: str, tree: log.Growing, before: list[Checkpoint]) -> None:
        for one in before:
            size, root = one.logs().get(name, (0, log.root_text(log.EMPTY_ROOT)))
            if log.root_text(tree.roots.get(size, log.EMPTY_ROOT if size == 0 else b"")) != root:
                what = f"the log {name or 'of events'} does not go through the checkpoint of {one.time}"
                self._say(7, "fail", "log.consistency", what)
            else:
                self._say(7, "ok", "log.consistency", f"{name or 'event log'}: extends the checkpoint of {one.time}")

    def _read_events(
        self,
        leaves: Iterator[export.Leaf],
        tree: log.Growing,
        charges: dict[str, list[tuple[bytes, str, str]]],
        starts: dict[str, int],
    ) -> None:
        latest, said_purged = "", 0
        for leaf in leaves:
            tree.append(leaf.digest)
            if leaf.body is None:
                self._purged += 1
                continue
            try:
                event = decode_event(leaf.body)
                digest = bytes.fromhex(event.leaf)
            except (CloisterError, ValueError) as error:
                self._say(4, "fail", "event.malformed", str(error))
                continue
            self._by_kind[event.kind] += 1
            if event.time < latest:
                self._say(4, "note", "event.time", f"the broker's clock went back to {event.time}")
            latest = event.time
            said_purged += event.count if event.kind == "purge" else 0
            if event.kind == "purge" and not purged_in_time(event):
                self._say(4, "fail", "retention.early", f"events before {event.subject} were purged at {event.time}")
            if event.kind == "opened":
                starts.update((tip.population, tip.size) for tip in event.accounts)
            if event.kind == "charge":
                known = charges.setdefault(event.population, [])
                if not known:
                    # Positions before the first event are explained by ``opened`` or by a purge, else they are missing.
                    purged_start = event.position if self._purged else 0
                    starts[event.population] = max(starts.get(event.population, 0), purged_start)
                if event.position != starts[event.population] + len(known):
                    text = f"the events of {event.population} do not follow each other"
                    self._say(4, "fail", "event.position", text)
                known.append((digest, event.time, event.actor))
            self._event(event)
        if self._purged != said_purged:
            text = f"{self._purged:,} bodies are missing, and purges of {said_purged:,} are on record"
            self._say(4, "fail", "event.purged", text)

    def _read_account(
        self,
        population: str,
        leaves: Iterator[export.Leaf],
        tree: log.Growing,
        stated: Checkpoint,
        events: tuple[list[tuple[bytes, str, str]], int],
    ) -> None:
        check = AccountCheck(population, self._dids, self.contracts, self._admitted, self._counts)
        known, start = events
        for leaf in leaves:
            at = tree.size - start
            tree.append(leaf.digest)
            event = known[at] if 0 <= at < len(known) else None
            try:
                charged = check.entry(leaf, position=tree.size - 1, event=event, before_events=at < 0)
            except CloisterError as error:
                self._say(5, "fail", error.code, f"{population}, entry {tree.size - 1}: {error.reason}")
                continue
            if charged is not None:
                self._charge(charged)
        self._entries[population] = tree.size
        if len(known) > tree.size - start:
            self._say(
                5, "fail", "event.entry", f"{population}: charges in the event log that the account does not hold"
            )
        if start:
            self._say(5, "note", "event.before", f"{population}: {start:,} entries are older than the events kept")
        tip = stated.account(population)
        if tip is not None and (str(check.spent), str(check.delta)) != (tip.spent, tip.delta):
            self._say(5, "fail", "account.spent", f"{population}: the sums are not those of the entries")

    def _say(self, step: int, level: Literal["ok", "note", "fail"], code: str, text: str) -> None:
        self._codes[f"{step} {level} {code}"] += 1
        if level == "ok" or self._codes[f"{step} {level} {code}"] <= MOST:
            self._found.append(Finding(step, level, code, text))

    def _summary(self) -> tuple[Finding, ...]:
        found = list(self._found)
        for key, count in self._codes.items():
            step, level, code = key.split(" ", 2)
            if level != "ok" and count > MOST:
                more = f"and {count - MOST:,} more"
                found.append(Finding(int(step), "fail" if level == "fail" else "note", code, more))
        return tuple(sorted(found, key=lambda one: one.step))
