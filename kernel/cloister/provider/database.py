"""One broker's database: SQLite in a file, or PostgreSQL by URL; one writer at a time, on disk before it is said.

Both serve the same transactions: a writer first takes the one lock there is (SQLite's own, or an advisory lock), then
reads, decides and writes; so what it decided on cannot have changed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cloister.errors import EXTRA, CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.provider import schema
from cloister.provider.witness import Witness

# Pages of the log before it is copied into the database, some 4 KiB each: a commit that copies takes several times as
# long, and after 1,000 pages (SQLite's own number) every thirtieth does. What is committed is on disk in the log.
CHECKPOINT_PAGES = 16_384
_LOCK = 0x636C6F69  # "cloi": the advisory lock of a database that holds a broker's accounts
TIP = "cloister.event_tip"
"""Key of ``Connection.info`` under which a transaction leaves the event log's new size and root."""
WITNESS = "cloister.witness"
"""Key of ``Connection.info`` under which a transaction finds the witness it has not been compared with yet."""


class Database:
    """An open database.

    Args:
        where: The SQLite file (made with its tables if absent), or a ``postgresql://`` URL.
        busy_ms: How long a transaction waits for another writer before it gives up.
        witness: Where the size of the event log is kept beside the database, so that an older copy is noticed.
    """

    def __init__(self, where: Path | str, *, busy_ms: int = 2000, witness: Witness | None = None) -> None:
        self.engine = _sqlite(where, busy_ms) if isinstance(where, Path) else _postgresql(where, busy_ms)
        self._witness = witness
        self.moved: Callable[[], None] | None = None
        """Called after a transaction that has written to the event log."""
        # Queueing here is fairer and faster than SQLite's busy polling.
        self._writer = threading.Lock()

    def close(self) -> None:
        """Release the database."""
        self.engine.dispose()

    @contextmanager
    def transaction(self, *, recovering: bool = False) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that is committed, on disk, if the block ends without an error.

        Args:
            recovering: Write although the event log may be shorter than it was (``event_log.check_current``).

        Raises:
            UnavailableError: ``ledger.unavailable``: nothing of the transaction happened.
        """
        try:
            with self._writer:
                with self.engine.begin() as connection:
                    connection.info.pop(TIP, None)
                    connection.info[WITNESS] = None if recovering else self._witness
                    yield connection
                    tip = connection.info.pop(TIP, None)
                if tip is not None and self._witness is not None:
                    self._witness.note(*tip)
            if tip is not None and self.moved is not None:
                self.moved()
        except CloisterError:
            raise
        except (DBAPIError, OSError) as error:
            raise UnavailableError(
                "ledger.unavailable",
                "the account cannot be written now (disk full, locked or damaged); nothing was charged",
                next_step="the provider looks at the broker's log and disk; then run the cell again",
            ) from error


def _sqlite(path: Path, busy_ms: int) -> sa.Engine:
    """Return an engine on the SQLite file: write-ahead log, every commit on disk before it is acknowledged."""
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=8, connect_args={"timeout": busy_ms / 1000})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    path.touch(mode=0o600, exist_ok=True)
    schema.metadata.create_all(engine)
    return engine


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # pysqlite would delay BEGIN until the first write, and read what another writer is about to change.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(url: str, busy_ms: int) -> sa.Engine:
    """Return an engine on a PostgreSQL database; whatever the server's default is, a commit waits for the disk."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "postgresql":
            raise MalformedError("database.url", "accounts are kept in SQLite or at a postgresql:// URL")
        wait = (
            f"-c lock_timeout={int(busy_ms)} -c synchronous_commit=on -c default_transaction_isolation=read\\ committed"
        )
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=8,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # every statement after the lock sees what was committed before it
            connect_args={"options": wait},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise RefusedError(
            "install.extra", "PostgreSQL needs its driver", next_step=EXTRA.format("postgresql")
        ) from error
    except ArgumentError as error:
        raise MalformedError("database.url", "not a database URL", next_step="postgresql://user@host/name") from error
    event.listen(engine, "begin", _lock)
    try:
        with engine.begin() as connection:  # under the lock: two brokers that start at once make the tables once
            schema.metadata.create_all(connection)
    except DBAPIError as error:
        raise UnavailableError(
            "database.unavailable", "the accounts' database cannot be reached", next_step="check the URL and the server"
        ) from error
    return engine


def _lock(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
