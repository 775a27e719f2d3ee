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
from datetime import timedelta
from importlib import resources
from typing import Literal

import msgspec

from cloister.contract.findings import parse_time
from cloister.errors import MalformedError
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.events import Event

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


class Watch:
    """Counts what a pack's measures count; feed it with events and charges, then read :meth:`alerts`."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._measures = [(rule, measure) for rule in pack.rule for measure in rule.measure]
        self._counts: list[Counter[tuple[str, str]]] = [Counter() for _ in self._measures]
        self._plans: list[set[int]] = [set() for _ in self._measures]

    def event(self, event: Event) -> None:
        """Count an event."""
        for number, (_, measure) in enumerate(self._measures):
            if measure.what == "session.count" and event.kind == "session":
                self._counts[number][event.contract, _bucket(event.time, measure)] += 1
            elif measure.what == "refusal.count" and event.kind == "refusal" and _named(event.status, measure.codes):
                self._counts[number][event.actor, _bucket(event.time, measure)] += 1
            elif measure.what == "refusal.count" and event.kind == "suppressed" and _named(event.status, measure.codes):
                self._counts[number][event.actor, _bucket(event.time, measure)] += event.count

    def charge(self, charged: Charged) -> None:
        """Count a charge. One without a time is older than the events and belongs to no bucket."""
        if not charged.time:
            return
        entry = charged.entry
        for number, (_, measure) in enumerate(self._measures):
            amount = self._amount(number, measure, charged)
            if amount:
                self._counts[number][entry.analyst, _bucket(charged.time, measure)] += amount

    def alerts(self) -> tuple[Alert, ...]:
        """Return what is beyond its rule, by rule and time."""
        found = [
            Alert(rule.id, rule.text, measure.what, subject, bucket, count, measure.most)
            for (rule, measure), counts in zip(self._measures, self._counts, strict=True)
            for (subject, bucket), count in counts.items()
            if count > measure.most
        ]
        return tuple(sorted(found, key=lambda alert: (alert.rule, alert.bucket, alert.subject, alert.what)))

    def _amount(self, number: int, measure: Measure, charged: Charged) -> int:
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
                key = hash((entry.analyst, _bucket(charged.time, measure), entry.plan))
                new = key not in self._plans[number]
                self._plans[number].add(key)
                return int(new)
            case "exit.match":
                return int(exits is not None and exits.name == "match")
            case "exit.targets":
                return 0 if exits is None else len(exits.targets)
            case _:
                return 0


def _bucket(time: str, measure: Measure) -> str:
    return time[:13] if measure.bucket == "hour" else time[:10]


def _named(code: str, prefixes: tuple[str, ...]) -> bool:
    return any(code == prefix or code.startswith(prefix + ".") for prefix in prefixes)
