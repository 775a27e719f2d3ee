"""Is this the newest state the accounts were in? A broker that cannot be sure of it reads, and signs nothing.

Asked when a broker starts (before every write there is ``event_log.check_current``). Known are: a mark that ``cloister
broker restore`` leaves, and how far the event log had come (``witness``). The mark stays until ``cloister ledger
recover`` has brought the accounts forward.
"""

from __future__ import annotations

import msgspec

from cloister.errors import MalformedError
from cloister.provider import event_log, files
from cloister.provider.accounts import Accounts
from cloister.provider.home import BrokerHome
from cloister.wire import canonical

NEXT_STEP = "cloister ledger recover"


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the accounts are not believed, since when (RFC 3339), and how many events they should at least hold."""

    reason: str
    time: str
    events: int = 0


def read_mark(home: BrokerHome) -> Mark | None:
    """Return the mark, if there is one; one that cannot be read is one."""
    try:
        return msgspec.json.decode(home.restored_file.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, MalformedError):
        return Mark("the mark of a restored broker cannot be read", "")


def set_mark(home: BrokerHome, mark: Mark) -> None:
    """Leave the mark."""
    files.write_private(home.restored_file, canonical.encode(mark))


def check(home: BrokerHome, accounts: Accounts, *, now: str) -> Mark | None:
    """Return the mark if the accounts are older than they were, leaving it on the first time.

    Nothing is written to the log: what was lost is to be put there by ``cloister ledger recover``.

    Raises:
        UnavailableError: ``ledger.unavailable``.
    """
    if (known := read_mark(home)) is not None:
        return known
    seen = home.witness.seen()
    if seen is None:
        return None
    with accounts.database.transaction() as db:
        reason = event_log.older(db, seen)
    if not reason:
        return None
    mark = Mark(reason, now, max(seen.size, 0))
    set_mark(home, mark)
    return mark
