"""The sentinel: applies alert rules to the event log as it grows, and writes what is due into the log itself.

It follows the log, whoever writes to it (this process, another one, a command), a little after and never in the way of
a charge. What it finds follows from the log alone: a broker that was killed before an alert was written writes it when
it is started again, and an alert that is in the log is not written twice. An alert names whom it is about (a did, a
contract), the rule, the hour or day and a count; neither data nor what was asked is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

import msgspec
import structlog

from cloister.contract.findings import parse_time
from cloister.errors import CloisterError
from cloister.provider import event_log, schema
from cloister.provider.broker import Broker
from cloister.provider.database import Database
from cloister.receipt import alerts
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.events import Event, decode_event
from cloister.receipt.ledger import Entry

AT_ONCE = 500
"""Events read in one transaction: charges wait no longer than that takes."""
MOST_BACK = 200_000
"""How many events are read again at the most when a broker starts."""
WAIT_S = 0.3
LOOK_S = 30.0
"""How soon this process' own events are looked at, and those of others."""
_ENTRY = ("k_population", "k_position")
_READ = frozenset({"session", "charge", "refusal", "suppressed", "alert"})
_log = structlog.get_logger("cloister.alerts")


class Sentinel:
    """The sentinel of one broker; ``tell`` is called with every alert after it was written."""

    def __init__(self, broker: Broker, tell: Callable[[alerts.Raised], None] | None = None) -> None:
        self.newest = -1
        """Position of the newest alert that was seen in the log."""
        self._broker, self._tell = broker, tell
        self._live = alerts.Live(broker.rules)
        self._at, self._first = -1, ""
        self._due: dict[tuple[str, ...], tuple[alerts.Alert, str]] = {}
        self._moved, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()

    def start(self) -> None:
        """Follow the log in the background from now on."""
        self._broker.accounts.database.moved = self._moved.set
        self._moved.set()
        self._thread = threading.Thread(target=self._follow, name="alerts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time, and end."""
        self._ended.set()
        self._moved.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def look(self) -> None:
        """Read what is new in the log and write what is due.

        Raises:
            UnavailableError: ``ledger.unavailable``: the next look goes on from the same place.
        """
        with self._looking:
            while self._broker.restored is None and self._read():
                pass
            if self._due and self._broker.restored is None:
                self._write()

    def _follow(self) -> None:
        while not self._ended.is_set():
            self._moved.wait(LOOK_S)
            self._ended.wait(WAIT_S)
            self._moved.clear()
            try:
                self.look()
            except CloisterError as error:
                _log.warning("alerts wait", code=error.code)

    def _read(self) -> bool:
        """Count the next part of the log; return whether there is more."""
        database = self._broker.accounts.database
        if self._at < 0:
            self._at, self._first = self._begin()
        with database.transaction() as db:
            rows = db.execute(schema.SELECT_EVENTS_AFTER, {"k_position": self._at, "k_most": AT_ONCE}).all()
            events = [
                (row.position, decode_event(row.body)) for row in rows if row.body is not None and row.kind in _READ
            ]
            places = [(event.population, event.position) for _, event in events if event.kind == "charge"]
            entries = {
                place: db.execute(schema.SELECT_ENTRY, dict(zip(_ENTRY, place, strict=True))).one_or_none()
                for place in places
            }
        # Only now, when nothing can fail any more: what was counted is not counted again.
        self._at += len(rows)
        for position, event in events:
            if event.time < self._first:  # of a day that is not counted whole
                continue
            if event.kind == "alert":
                self._due.pop(_name(event), None)
                self.newest = max(self.newest, position)
            elif event.kind != "charge":
                self._keep(self._live.event(event), event.contract)
            elif (row := entries[event.population, event.position]) is not None:
                entry = msgspec.json.decode(row.body, type=Entry)
                charged = Charged(entry, event.position, event.time, row.vault_id)
                self._keep(self._live.charge(charged), event.contract)
        return len(rows) == AT_ONCE

    def _keep(self, due: Iterable[alerts.Alert], contract: str) -> None:
        for alert in due:
            self._due[_name(self._event(alert, contract))] = alert, contract

    def _event(self, alert: alerts.Alert, contract: str) -> Event:
        named = {"time": self._broker.now(), "actor": self._broker.did, "contract": contract}
        return alerts.event_of(alert, self._broker.rules.name, **named)

    def _write(self) -> None:
        """Write what is due and was not written meanwhile by another process on the same log."""
        with self._broker.accounts.database.transaction() as db:
            rows = db.execute(schema.SELECT_ALERTS_AFTER, {"k_position": self._at, "k_most": AT_ONCE}).all()
            known = {_name(decode_event(row.body)) for row in rows}
            events = [self._event(*due) for name, due in self._due.items() if name not in known]
            position = event_log.tip(db).size
            event_log.record(db, *events)
        self._due.clear()
        for number, event in enumerate(events):
            one = alerts.raised(event, position + number, self._broker.rules)
            self.newest = one.position
            _log.warning("alert", rule=event.op, what=one.what, count=one.count)
            if self._tell is not None:
                self._tell(one)

    def _begin(self) -> tuple[int, str]:
        """Return where to begin, and at which day: the one before the latest event's, so that two are counted anew."""
        with self._broker.accounts.database.transaction() as db:
            end = event_log.tip(db).size
        at, first = end, ""
        while at > max(0, end - MOST_BACK):
            before = max(0, at - AT_ONCE)
            with self._broker.accounts.database.transaction() as db:
                rows = db.execute(schema.SELECT_EVENTS_AFTER, {"k_position": before, "k_most": at - before}).all()
            times = [decode_event(row.body).time for row in rows if row.body is not None]
            if not first and times:
                first = (parse_time(times[-1]) - timedelta(days=1)).strftime("%Y-%m-%d")
            at = before
            if times and times[0] < first:
                break
        return at, first


def page(
    database: Database, pack: alerts.Pack, *, broker: str, now: str, after: int, request: str = ""
) -> alerts.Raises:
    """Return the alerts in the log from a position on, some hundred at the most.

    Args:
        database: The broker's database.
        pack: Its present rules, for their words.
        broker: Its did.
        now: Its time.
        after: The position.
        request: The name of the request that is answered.

    Raises:
        UnavailableError: ``ledger.unavailable``.
    """
    with database.transaction() as db:
        rows = db.execute(schema.SELECT_ALERTS_AFTER, {"k_position": after, "k_most": AT_ONCE}).all()
    found = tuple(alerts.raised(decode_event(row.body), row.position, pack) for row in rows)
    onwards = found[-1].position + 1 if found else after
    return alerts.Raises(broker, request, now, after, onwards, found)


def _name(event: Event) -> tuple[str, ...]:
    return event.op, event.status, event.subject, event.reason, str(event.count)
