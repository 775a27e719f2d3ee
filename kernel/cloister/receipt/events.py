"""A broker's event log: what happened at the broker, one log per broker, hashed like the accounts (RFC 9162).

An event holds no data and no result: digests, dids, codes and times. The event of a charge names the leaf of the
account entry it belongs to, so that the time of every charge and the vault it was made for are in a log too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from cloister.contract.findings import parse_time
from cloister.errors import CloisterError, MalformedError

Kind = Literal[
    "opened",  # the event log begins; ``accounts`` is what there was before
    "session",  # a vault was admitted
    "charge",  # an account entry was written
    "settle",  # a sealed receipt was deposited
    "refusal",  # a request was refused; ``status`` says why
    "suppressed",  # more refusals than are written one by one; ``count`` of them
    "decision",  # a contract was registered, activated, suspended or revoked
    "identity",  # a did was revoked
    "role",  # a role was granted or removed
    "request",  # an administrator asked for what needs a second person
    "approval",  # a second person approved it
    "key",  # a key was rotated or wiped
    "catalogue",  # an entry of the catalogue changed its state
    "alert",  # more than an alert rule allows; ``op`` is pack and rule, ``status`` what, ``reason`` the hour or day
    "checkpoint",  # a checkpoint was signed
    "anchor",  # another broker's checkpoint was taken up here
    "export",  # an auditor's export was made
    "backup",  # a backup was made
    "restore",  # the accounts were found to be restored or older than they were
    "recover",  # ``cloister ledger recover`` brought them forward
    "purge",  # bodies of events were removed after their retention
]
KINDS: tuple[str, ...] = get_args(Kind)
_YEAR = 365
# PBoC art. 31: logs six months, three years where personal or important data were provided; art. 17, 20 and 45: records
# of purpose, approval and audit three years. A refusal provided nothing.
RETENTION_DAYS: dict[str, int] = {"log": 183, "record": 3 * _YEAR + 1}
_LOGS: frozenset[str] = frozenset({"refusal", "suppressed"})


class AccountTip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where an account stands: the size and root of its log, and the sums of rho and delta (exact fractions)."""

    population: str
    size: int
    root: str
    spent: str
    delta: str = "0"


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event. ``actor`` is a did, or ``owner`` for a command on the broker's own machine.

    ``leaf`` (hex) and ``position`` are those of the account entry of a charge; ``subject`` is what else the event is
    about (a did, a digest, a name); ``status`` is an outcome code.
    """

    kind: Kind
    time: str
    actor: str = ""
    contract: str = ""
    population: str = ""
    charge_id: str = ""
    leaf: str = ""
    position: int = -1
    epoch: int = 0
    op: str = ""
    status: str = ""
    subject: str = ""
    reason: str = ""
    count: int = 0
    accounts: tuple[AccountTip, ...] = ()
    version: Literal[1] = 1


def retention_class(kind: str) -> str:
    """Return the class of a kind of event: ``log`` or ``record``."""
    return "log" if kind in _LOGS else "record"


def retain_until(event: Event) -> str:
    """Return until when the body of an event must be kept (RFC 3339 UTC).

    Raises:
        MalformedError: ``event.time``: the event's time is none.
    """
    moment = parse_time(event.time)
    return _text(moment + timedelta(days=RETENTION_DAYS[retention_class(event.kind)]))


def purged_in_time(event: Event) -> bool:
    """Whether a purge removed only what its class no longer had to keep; one that does not say so did not."""
    try:
        days = RETENTION_DAYS[event.op]
        return parse_time(event.subject) + timedelta(days=days) <= parse_time(event.time)
    except (CloisterError, KeyError, OverflowError):
        return False


def decode_event(body: bytes) -> Event:
    """Return the event of these bytes.

    Raises:
        MalformedError: ``event.malformed``.
    """
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("event.malformed", f"not an event: {error}") from error


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
