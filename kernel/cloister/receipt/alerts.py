"""Alert rules as data, applied to a broker's logs. Pure; a pack is TOML (``pboc40.toml``).

A measure counts something per subject (an analyst, a vault) and bucket of time, and alerts beyond ``most``:

=================  ==========================================================================
``charge.hours``   a charge outside these hours (local time: ``utc_offset``)
``charge.count``   charges of one analyst
``charge.rows``    rows scanned for one analyst, by declared size
``charge.plans``   different plans of one analyst
``exit.match``     matches of one analyst; ``exit.targets`` the units they ask about
``refusal.count``  refusals whose code begins with one of ``codes``, by actor (of strangers: nobody)
``session.count``  vaults admitted under one contract
=================  ==========================================================================
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec

from cloister.contract.findings import parse_time
from cloister.errors import MalformedError
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.events import Event

ALERTS_TYPE = "application/vnd.cloister.alerts.v1+json"
What = Literal[
    "charge.hours",
    "charge.count",
    "charge.rows",
    "charge.plans",
    "exit.match",
    "exit.targets",
    "refusal.count",
    "session.count",
]


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is counted, per which bucket, and how many are no alert."""

    what: What
    bucket: Literal["hour", "day"] = "hour"
    most: int = 0
    codes: tuple[str, ...] = ()
    hours: tuple[int, ...] = ()
    utc_offset: int = 0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: its measures, or the ``reason`` why a broker's logs cannot show it."""

    id: int
    text: str
    measure: tuple[Measure, ...] = ()
    reason: str = ""
    note: str = ""


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack of rules."""

    name: str
    version: int
    rule: tuple[Rule, ...]


class Alert(msgspec.Struct, frozen=True):
    """More than a rule allows: by whom, in which bucket of time, how many."""

    rule: int
    text: str
    what: str
    subject: str
    bucket: str
    count: int
    most: int


class Raised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert as the event log has it: its ``position`` there, and the ``contract`` under which it became due.

    ``text`` and ``most`` are those of the broker's present pack; an alert of another pack has neither.
    """

    position: int
    time: str
    pack: str
    rule: int
    text: str
    what: str
    subject: str
    contract: str
    bucket: str
    count: int
    most: int


class Raises(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a broker's stream of alerts: those after a position; ``next`` is where to go on."""

    broker: str
    request: str
    time: str
    after: int
    next: int
    alerts: tuple[Raised, ...]
    version: Literal[1] = 1


def event_of(alert: Alert, pack: str, *, time: str, actor: str, contract: str) -> Event:
    """Return the event of an alert."""
    named: dict[str, Any] = {"actor": actor, "contract": contract, "op": f"{pack}.{alert.rule}"}
    named |= {"status": alert.what, "subject": alert.subject, "reason": alert.bucket}
    return Event("alert", time, count=alert.count, **named)


def raised(event: Event, position: int, pack: Pack) -> Raised:
    """Return the alert of an event of kind ``alert``."""
    name, _, number = event.op.rpartition(".")
    rule = next((one for one in pack.rule if name == pack.name and str(one.id) == number), None)
    measures = () if rule is None else rule.measure
    most = next((one.most for one in measures if one.what == event.status), -1)
    text = "" if rule is None else rule.text
    place = (position, event.time, name, int(number) if number.isdecimal() else 0, text)
    return Raised(*place, event.status, event.subject, event.contract, event.reason, event.count, most)


def read_pack(text: str) -> Pack:
    """Return the pack written in TOML.

    Raises:
        MalformedError: ``alerts.malformed``: not a pack, or a rule with neither a measure nor a reason (or both).
    """
    try:
        pack = msgspec.convert(tomllib.loads(text), Pack)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MalformedError("alerts.malformed", str(error)) from error
    for rule in pack.rule:
        if bool(rule.measure) == bool(rule.reason):
            raise MalformedError("alerts.malformed", f"rule {rule.id}: either measures or a reason")
    if len({rule.id for rule in pack.rule}) != len(pack.rule):
        raise MalformedError("alerts.malformed", "two rules of one number")
    return pack


def pboc40() -> Pack:
    """Return the packaged rules of PBoC article 40."""
    return read_pack(resources.files("cloister.receipt").joinpath("pboc40.toml").read_text(encoding="utf-8"))


class _Count(NamedTuple):
    """What one event or charge adds to a measure (its number in the pack): whose, in which bucket, how much."""

    measure: int
    subject: str
    bucket: str
    amount: int


class _Counting:
    """What a pack's measures count of one event or charge."""

    def __init__(self, pack: Pack) -> None:
        self._measures = [(rule, measure) for rule in pack.rule for measure in rule.measure]
        self._plans: dict[tuple[int, str, str], set[int]] = {}

    def _of_event(self, event: Event) -> Iterator[_Count]:
        for number, (_, measure) in enumerate(self._measures):
            bucket = _bucket(event.time, measure)
            if measure.what == "session.count" and event.kind == "session":
                yield _Count(number, event.contract, bucket, 1)
            elif measure.what == "refusal.count" and event.kind == "refusal" and _named(event.status, measure.codes):
                yield _Count(number, event.actor, bucket, 1)
            elif measure.what == "refusal.count" and event.kind == "suppressed" and _named(event.status, measure.codes):
                yield _Count(number, event.actor, bucket, event.count)

    def _of_charge(self, charged: Charged) -> Iterator[_Count]:
        """A charge without a time is older than the events and belongs to no bucket."""
        if charged.time:
            for number, (_, measure) in enumerate(self._measures):
                bucket = _bucket(charged.time, measure)
                if amount := self._amount(number, measure, charged, bucket):
                    yield _Count(number, charged.entry.analyst, bucket, amount)

    def _amount(self, number: int, measure: Measure, charged: Charged, bucket: str) -> int:
        entry, exits = charged.entry, charged.entry.exits
        match measure.what:
            case "charge.hours":
                local = parse_time(charged.time) + timedelta(hours=measure.utc_offset)
                return int(local.hour not in measure.hours)
            case "charge.count":
                return 1
            case "charge.rows":
                return entry.usage.rows
            case "charge.plans":
                known = self._plans.setdefault((number, entry.analyst, bucket), set())
                before = len(known)
                known.add(hash(entry.plan))
                return len(known) - before
            case "exit.match":
                return int(exits is not None and exits.name == "match")
            case "exit.targets":
                return 0 if exits is None else len(exits.targets)
            case _:
                return 0

    def _alert(self, found: _Count, count: int) -> Alert:
        rule, measure = self._measures[found.measure]
        return Alert(rule.id, rule.text, measure.what, found.subject, found.bucket, count, measure.most)


class Watch(_Counting):
    """Counts what a pack's measures count; feed it with events and charges, then read :meth:`alerts`."""

    def __init__(self, pack: Pack) -> None:
        super().__init__(pack)
        self._counts: Counter[_Count] = Counter()

    def event(self, event: Event) -> None:
        """Count an event."""
        for one in self._of_event(event):
            self._counts[one._replace(amount=0)] += one.amount

    def charge(self, charged: Charged) -> None:
        """Count a charge."""
        for one in self._of_charge(charged):
            self._counts[one._replace(amount=0)] += one.amount

    def alerts(self) -> tuple[Alert, ...]:
        """Return what is beyond its rule, by rule and time."""
        found = [
            self._alert(key, count)
            for key, count in self._counts.items()
            if count > self._measures[key.measure][1].most
        ]
        return tuple(sorted(found, key=lambda alert: (alert.rule, alert.bucket, alert.subject, alert.what)))


class Live(_Counting):
    """Counts as a log grows, and returns an alert when it is due: beyond ``most``, and again when it has doubled.

    What it says follows from the log alone. It holds the latest two buckets of each length, and of what is counted in
    them at most ``most_counts`` subjects; those beyond are counted together, as nobody.
    """

    def __init__(self, pack: Pack, *, most_counts: int = 50_000) -> None:
        super().__init__(pack)
        self._most = most_counts
        self._counts: dict[_Count, int] = {}
        self._next: dict[_Count, int] = {}
        self._buckets: dict[int, list[str]] = {}

    def event(self, event: Event) -> list[Alert]:
        """Count an event; return what is due."""
        return [alert for one in self._of_event(event) for alert in self._add(one)]

    def charge(self, charged: Charged) -> list[Alert]:
        """Count a charge; return what is due."""
        return [alert for one in self._of_charge(charged) for alert in self._add(one)]

    def _add(self, one: _Count) -> Iterator[Alert]:
        if not self._enter(one.bucket):
            return
        key = one._replace(amount=0)
        if key not in self._counts and len(self._counts) >= self._most:
            key = key._replace(subject="")
        count = self._counts[key] = self._counts.get(key, 0) + one.amount
        if count >= self._next.get(key, self._measures[key.measure][1].most + 1):
            self._next[key] = 2 * count
            yield self._alert(key, count)

    def _enter(self, bucket: str) -> bool:
        """Return whether a bucket is one of the latest two of its length; a new one ends the oldest."""
        latest = self._buckets.setdefault(len(bucket), [])
        if bucket not in latest:
            latest[:] = sorted([*latest, bucket])[-2:]
            ended = [key for key in self._counts if len(key.bucket) == len(bucket) and key.bucket not in latest]
            for key in ended:
                self._counts.pop(key)
                self._next.pop(key, None)
            for plans in [key for key in self._plans if len(key[2]) == len(bucket) and key[2] not in latest]:
                del self._plans[plans]
        return bucket in latest


def _bucket(time: str, measure: Measure) -> str:
    return time[:13] if measure.bucket == "hour" else time[:10]


def _named(code: str, prefixes: tuple[str, ...]) -> bool:
    return any(code == prefix or code.startswith(prefix + ".") for prefix in prefixes)
