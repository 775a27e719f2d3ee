"""What this enclave refuses by itself, on its way to the brokers' event logs.

A question that is refused before a charge would be in no log of a provider. Each broker of a table it names (every
broker, if it names none of the contract's) is told code, asker and digest of the question (``receipt.refusals``). That
is done in the background, over the vault's session, a few together: whether a broker can be reached, or how long it
takes, changes nothing a notebook sees, and what is told follows from signed documents and the plan, never from data.
Nobody can fill a log with it: beyond ``AT_ONCE`` an asker's refusals are told singly once a minute, the rest counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from cloister.contract.terms import Broker
from cloister.errors import CloisterError, UnavailableError
from cloister.plan import algebra, codec
from cloister.plan.link import Context
from cloister.receipt.refusals import CODES, MOST_AGE_S, MOST_TOLD, Op, Refused, Told
from cloister.vault.authorise import named_tables
from cloister.vault.brokers import Brokers
from cloister.vault.config import Terms

AT_ONCE = 30
"""How many refusals of one asker, or of one table's capsule, are told one by one before the limit of a minute."""
EVERY_S = 60.0
WAIT_S = 2.0
RETRY_S = 60.0
COUNTS_S = 3600.0
_log = logging.getLogger(__name__)


class _Box(msgspec.Struct):
    """What waits for one broker: refusals with the moment each was made, and counts with that of the first.

    ``sent`` is the message of this ``number`` that the broker has not confirmed: it goes out again as it was.
    """

    number: int = 0
    sent: list[tuple[Refused, float]] = []
    singly: list[tuple[Refused, float]] = []
    counts: Counter[tuple[Op, str, str, str]] = msgspec.field(default_factory=Counter)
    counted_since: float = 0.0


class OpeningRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="refused", tag_field="type"):
    """What the agent says of a session it refused to a named analyst: an ``EVENT`` on the link."""

    analyst: str
    code: str


class Refusals:
    """Takes refusals of one vault and tells the brokers; bounded in what waits and in what is told."""

    def __init__(
        self, terms: Terms, brokers: Brokers, monotonic: Callable[[], float] = time.monotonic, *, alarm: bool = True
    ) -> None:
        """Without ``alarm`` nothing is told before ``flush``."""
        self._terms, self._brokers, self._monotonic, self._alarm = terms, brokers, monotonic, alarm
        self._analysts = {party.did for party in terms.contract.parties if party.role == "analyst"}
        self._boxes = {name: _Box() for name in terms.brokers}
        self._tokens: dict[str, tuple[float, float]] = {}
        self._timer: tuple[threading.Timer, float] | None = None
        self._lock, self._telling = threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def watching(self, op: Op, context: Context, document: dict[str, Any]) -> Iterator[None]:
        """Note a refusal of the block, unless a broker was asked to charge for it: it knows what became of that."""
        asked = self._brokers.asked
        try:
            yield
        except CloisterError as error:
            if op == "price" or self._brokers.asked == asked:
                self._question(op, error.code, context, document)
            raise

    def capsule(self, table: str, code: str) -> None:
        """Note what is wrong with the capsule of a table, for the broker of its provider."""
        if code in CODES["capsule"]:
            self._note(Refused("capsule", code, table=table), [self._terms.broker_of(table)])

    def opening(self, event: bytes) -> None:
        """Note that the agent refused a session; what it says is an ``OpeningRefused``, or nothing."""
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            told = msgspec.json.decode(event, type=OpeningRefused)
            if told.code in CODES["open"] and told.analyst in self._analysts:
                self._note(Refused("open", told.code, told.analyst), self._terms.brokers.values())

    def flush(self, *, counts: bool = False) -> None:
        """Tell the brokers what waits; ``counts`` too, however young. What could not be told waits on."""
        with self._telling:
            for name, broker in self._terms.brokers.items():
                while self._fill(self._boxes[name], counts=counts) and self._tell(broker, self._boxes[name]):
                    pass
        with self._lock:
            if any(box.singly or box.sent for box in self._boxes.values()):
                self._wake(RETRY_S)
            elif any(box.counts for box in self._boxes.values()):
                self._wake(COUNTS_S)

    def _question(self, op: Op, code: str, context: Context, document: dict[str, Any]) -> None:
        if code in CODES[op]:
            tables, digest = _about(document)
            self._note(Refused(op, code, self._named(context.analyst), plan=digest), self._holding(tables))

    def _named(self, analyst: str) -> str:
        return analyst if analyst in self._analysts else ""

    def _holding(self, tables: Iterable[str]) -> list[Broker]:
        known = {self._terms.tables[name].broker for name in tables if name in self._terms.tables}
        return [broker for name, broker in self._terms.brokers.items() if name in known or not known]

    def _note(self, refused: Refused, brokers: Iterable[Broker]) -> None:
        now = self._monotonic()
        with self._lock:
            alone = self._allows(refused.analyst or refused.table, now)
            for broker in brokers:
                self._keep(self._boxes[broker.name], refused, now, alone=alone)

    def _keep(self, box: _Box, refused: Refused, made: float, *, alone: bool) -> None:
        if alone and len(box.singly) < MOST_TOLD:
            box.singly.append((refused, made))
            self._wake(WAIT_S)
            return
        box.counted_since = box.counted_since if box.counts else made
        box.counts[refused.op, refused.code, refused.analyst, refused.table] += 1
        self._wake(COUNTS_S)

    def _allows(self, who: str, now: float) -> bool:
        # Analysts and tables are those of the contract, so there are not many.
        tokens, since = self._tokens.get(who, (float(AT_ONCE), now))
        tokens = min(float(AT_ONCE), tokens + (now - since) / EVERY_S)
        self._tokens[who] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def _fill(self, box: _Box, *, counts: bool) -> bool:
        """Make the next message, if none waits for its answer; return whether there is one."""
        if box.sent:
            return True
        now = self._monotonic()
        with self._lock:
            box.sent, box.singly = box.singly, []
            if counts or now - box.counted_since >= COUNTS_S:
                room = MOST_TOLD - len(box.sent)
                for (op, code, analyst, table), number in sorted(box.counts.items())[:room]:
                    box.sent.append((Refused(op, code, analyst, table, count=number), box.counted_since))
                    del box.counts[op, code, analyst, table]
            box.number += bool(box.sent)
        return bool(box.sent)

    def _tell(self, broker: Broker, box: _Box) -> bool:
        """Send what is to be told; return whether the broker has it, or cannot be told."""
        now = self._monotonic()
        told = tuple(
            msgspec.structs.replace(one, age_s=min(MOST_AGE_S, max(0, int(now - made)))) for one, made in box.sent
        )
        try:
            if self._brokers.tell(broker, Told(box.number, told)).status == "ledger.unavailable":
                return False
        except UnavailableError:
            return False
        except CloisterError as error:
            # It refuses this vault for good, or cannot be believed: nothing more can be said to it.
            _log.info("a broker was not told of refusals: %s", error.code)
        box.sent = []
        return True

    def _wake(self, after_s: float) -> None:
        due = self._monotonic() + after_s
        if not self._alarm or (self._timer is not None and self._timer[1] <= due):
            return
        if self._timer is not None:
            self._timer[0].cancel()
        timer = threading.Timer(after_s, self._ring)
        timer.daemon = True
        timer.start()
        self._timer = timer, due

    def _ring(self) -> None:
        with self._lock:
            self._timer = None
        try:
            self.flush()
        except Exception:  # noqa: BLE001 (nothing of what failed may reach a log, and the next refusal tries again)
            _log.error("refusals could not be told: vault.fault")


def _about(document: dict[str, Any]) -> tuple[frozenset[str], str]:
    """Return the tables a plan names, and its digest: none for an exit, whose plan can name who is asked about."""
    try:
        if not codec.is_exit(document):
            plan = codec.decode(document)
            return named_tables(plan), codec.digest(plan)
        leaving = codec.decode_exit(document)
    except CloisterError:
        return frozenset(), ""
    return frozenset({leaving.table}) if isinstance(leaving, algebra.Match) else named_tables(leaving), ""
