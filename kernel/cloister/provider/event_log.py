"""The event log in the database: written in the transaction of what it tells, hashed like an account."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from fractions import Fraction

import msgspec
import sqlalchemy as sa

from cloister.contract.findings import parse_time
from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.provider import clock, schema
from cloister.provider.database import TIP, WITNESS, Database
from cloister.provider.witness import Seen
from cloister.receipt import log, sums
from cloister.receipt.checkpoint import Checkpoint
from cloister.receipt.events import KINDS, RETENTION_DAYS, AccountTip, Event, retain_until, retention_class
from cloister.wire import canonical

_HASH = 32
_AT_ONCE = 10_000
MOST_TEXT = 200
"""Characters that a text of a refusal has at most in the log: whoever is refused has written it."""
_COUNTERS = 200
_TEXTS = frozenset({"actor", "contract", "population", "charge_id", "op", "status", "subject", "reason"})
OLDER = "ledger.older"


def older(db: sa.Connection, seen: Seen | None) -> str:
    """Return why the log is not the one that was seen, or a continuation of it; ``""`` if it is."""
    if seen is None:
        return ""
    if seen.size < 0:
        return "the file that remembers how far the event log had come is damaged"
    now = tip(db)
    if now.size == seen.size:
        same = now.root() == seen.root
    else:  # The file may lag behind: another process has just committed, or this machine crashed.
        same = now.size > seen.size and log.root(event_leaves(db)[: seen.size]) == seen.root
    if same:
        return ""
    return f"the event log holds {now.size} events and had {seen.size}: an older copy was put in its place"


def check_current(db: sa.Connection) -> None:
    """Check, once in a transaction and under its lock, that the log did not go back since this machine last wrote it.

    Whoever writes to the accounts, or signs what they say, asks this first: a database can be exchanged under a
    broker that runs, and the commands at the broker's machine start no broker.

    Raises:
        UnavailableError: ``ledger.older``.
    """
    witness = db.info.pop(WITNESS, None)
    if witness is not None and (why := older(db, witness.seen())):
        raise UnavailableError(OLDER, why, next_step="cloister ledger recover")


def record(db: sa.Connection, *events: Event) -> None:
    """Append events to the log, in the caller's transaction.

    Raises:
        UnavailableError: ``ledger.older``.
    """
    if not events:
        return
    check_current(db)
    row = db.execute(schema.SELECT_EVENT_TIP).one_or_none()
    frontier = log.Frontier() if row is None else frontier_of(row.size, row.frontier)
    rows = []
    for event in events:
        body = canonical.encode(event)
        leaf = log.leaf_hash(body)
        values = {"leaf": leaf, "body": body, "kind": event.kind, "until": retain_until(event)}
        rows.append({"position": frontier.size, **values})
        _index(db, frontier.size, event)
        frontier = frontier.append(leaf)
    db.execute(schema.INSERT[schema.events], rows)
    _move(db, frontier, first=row is None)


def take(db: sa.Connection, leaf: bytes, body: bytes | None, event: Event | None) -> None:
    """Append an event that was in the log before, as it was (without a body: purged)."""
    frontier = tip(db)
    kind, until = ("purge", "") if event is None else (event.kind, retain_until(event))
    values = {"position": frontier.size, "leaf": leaf, "body": body, "kind": kind, "until": until}
    db.execute(schema.INSERT[schema.events], values)
    if event is not None:
        _index(db, frontier.size, event)
    _move(db, frontier.append(leaf), first=frontier.size == 0)


def _index(db: sa.Connection, position: int, event: Event) -> None:
    if event.kind == "alert":
        values = {"position": position, "contract": event.contract, "subject": event.subject}
        db.execute(schema.INSERT[schema.alerts], values)


def _move(db: sa.Connection, frontier: log.Frontier, *, first: bool) -> None:
    state = {"size": frontier.size, "frontier": b"".join(frontier.nodes)}
    if first:
        db.execute(schema.INSERT[schema.event_tip], {"log": "events", **state})
    else:
        db.execute(schema.UPDATE_EVENT_TIP, state)
    db.info[TIP] = (frontier.size, frontier.root())


def open_log(db: sa.Connection, time: str) -> None:
    """Begin the log if there is none, with where the accounts stand: older entries have no events."""
    if db.execute(schema.SELECT_EVENT_TIP).one_or_none() is None:
        record(db, Event("opened", time, actor="owner", accounts=account_tips(db)))


def tip(db: sa.Connection) -> log.Frontier:
    """Return size and frontier of the log."""
    row = db.execute(schema.SELECT_EVENT_TIP).one_or_none()
    return log.Frontier() if row is None else frontier_of(row.size, row.frontier)


def frontier_of(size: int, raw: bytes) -> log.Frontier:
    """Return a frontier as it is stored: the hashes one after the other."""
    return log.Frontier(size, tuple(raw[at : at + _HASH] for at in range(0, len(raw), _HASH)))


def account_tips(db: sa.Connection) -> tuple[AccountTip, ...]:
    """Return where every account stands."""
    deltas: dict[str, Fraction] = {}
    for row in db.execute(schema.SELECT_ALL_DELTAS):
        deltas[row.population] = sums.add(deltas.get(row.population, Fraction(0)), Fraction(row.spent))
    return tuple(
        AccountTip(
            row.population,
            row.size,
            log.root_text(frontier_of(row.size, row.frontier).root()),
            row.spent,
            str(deltas.get(row.population, Fraction(0))),
        )
        for row in db.execute(schema.SELECT_ALL_ACCOUNTS)
    )


def checkpoint(db: sa.Connection, broker: str, time: str) -> Checkpoint:
    """Return where all logs stand, unsigned."""
    now = tip(db)
    return Checkpoint(broker, time, now.size, log.root_text(now.root()), account_tips(db))


def event_leaves(db: sa.Connection) -> list[bytes]:
    """Return the leaf hashes of the log."""
    return [row.leaf for row in db.execute(schema.SELECT_EVENTS)]


def read(db: sa.Connection) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield leaf and body of every event, in order; the body is None where it was purged."""
    for row in db.execute(schema.SELECT_EVENTS.execution_options(yield_per=_AT_ONCE)):
        yield row.leaf, row.body


def purge(db: sa.Connection, retention: str, before: str, *, now: str, actor: str) -> int:
    """Remove the bodies of a class of events written before a moment; their leaves stay, so that the log verifies.

    Args:
        db: The transaction.
        retention: The class of events, ``log`` or ``record`` (``receipt.events``).
        before: The moment (RFC 3339 UTC).
        now: The broker's time.
        actor: Who does it.

    Raises:
        RefusedError: ``retention.early``: some of them must still be kept; ``retention.class``.
        ContractError: Not a time.
    """
    days = RETENTION_DAYS.get(retention)
    if days is None:
        raise RefusedError("retention.class", f"{retention!r} is no class", next_step="name log or record")
    try:
        ended = clock.text(parse_time(before) + timedelta(days=days))
    except OverflowError as error:
        raise MalformedError(
            "retention.time", f"{before} is beyond any calendar", next_step="name a past time"
        ) from error
    if ended > now:
        raise RefusedError(
            "retention.early",
            f"events of class {retention} are kept {days} days; those written before {before} may go after {ended}",
            clause="logs are kept 6 months, records of charges, sessions, decisions and audits 3 years",
            next_step="name an earlier moment with --before",
        )
    kinds = [kind for kind in KINDS if retention_class(kind) == retention]
    events = schema.events.c
    old = sa.update(schema.events).where(events.until < ended, events.kind.in_(kinds), events.body.is_not(None))
    gone = db.execute(old.values(body=None)).rowcount
    record(db, Event("purge", now, actor=actor, op=retention, subject=before, count=gone))
    return gone


class Journal:
    """Refusals on their way to the log: written together, so that nobody who is refused makes the disk work.

    At most ``most`` wait, half a second; what is beyond is counted. Of strangers (events without an actor, which
    anybody can cause) there is never a body: they are counted by operation and status, and the counts are written with
    the next event of somebody else, or after an hour. A crash may lose what waits; charges, settlements and decisions
    never go this way.
    """

    def __init__(
        self, database: Database, *, most: int = 1000, wait_s: float = 0.5, strangers_wait_s: float = 3600
    ) -> None:
        self.closed = False
        """A restored broker's log takes nothing: it would become another history than the one that was lost."""
        self._database = database
        self._most, self._wait_s, self._strangers_wait_s = most, wait_s, strangers_wait_s
        self._waiting: list[Event] = []
        self._uncounted: Counter[tuple[str, str]] = Counter()
        self._latest = ""
        self._timer: tuple[threading.Timer, float] | None = None
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        """Take an event; it is written within half a second, or by :meth:`flush`."""
        with self._lock:
            if self.closed:
                return
            self._latest = event.time
            if not event.actor:
                self._count(event.op, event.status)
                self._wake(self._strangers_wait_s)
            elif len(self._waiting) >= self._most:
                self._count("", "")
            else:
                self._waiting.append(_cut(event))
                self._wake(self._wait_s)

    def _count(self, op: str, status: str) -> None:
        key = (op[:MOST_TEXT], status[:MOST_TEXT])
        self._uncounted[key if key in self._uncounted or len(self._uncounted) < _COUNTERS else ("", "")] += 1

    def _wake(self, after_s: float) -> None:
        if self._timer is not None:
            if self._timer[1] <= after_s:
                return
            self._timer[0].cancel()
        timer = threading.Timer(after_s, self._flush_quietly)
        timer.daemon = True
        timer.start()
        self._timer = timer, after_s

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            UnavailableError: ``ledger.unavailable``: it waits on.
        """
        with self._lock:
            events, self._waiting = self._waiting, []
            counts, self._uncounted = self._uncounted, Counter()
            time = self._latest
            if self._timer is not None:
                self._timer[0].cancel()
                self._timer = None
        if not events and not counts:
            return
        told = [Event("suppressed", time, op=op, status=code, count=n) for (op, code), n in sorted(counts.items())]
        try:
            record_all(self._database, [*events, *told])
        except CloisterError:
            with self._lock:
                self._waiting = [*events, *self._waiting][: self._most]
                self._uncounted.update(counts)
            raise

    def _flush_quietly(self) -> None:
        # What could not be written waits for the next refusal, or for the end.
        with contextlib.suppress(CloisterError):
            self.flush()


def _cut(event: Event) -> Event:
    texts = {name: getattr(event, name)[:MOST_TEXT] for name in _TEXTS}
    return msgspec.structs.replace(event, **texts)


def record_all(database: Database, events: Iterable[Event]) -> None:
    """Append events in one transaction.

    Raises:
        UnavailableError: ``ledger.unavailable``.
    """
    with database.transaction() as db:
        record(db, *events)
