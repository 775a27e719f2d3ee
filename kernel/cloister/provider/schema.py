"""Tables of the account database (SQLAlchemy Core: the same schema serves SQLite and a larger database).

Sums are exact fractions written as text; the log's frontier and leaf hashes make roots and proofs cheap.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from cloister.contract.usage import Used

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("charge_id", sa.Text, nullable=False),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("vault_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.UniqueConstraint("population", "charge_id"),
)

settlements = sa.Table(
    "settlements",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("charge_id", sa.Text, primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("vault_id", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
)

sums = sa.Table(
    "sums",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("analyst", sa.Text, primary_key=True),
    sa.Column("spent", sa.Text, nullable=False),
)

# The second sum of an account, in a table of its own: only what spends delta has a row here.
deltas = sa.Table(
    "deltas",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("analyst", sa.Text, primary_key=True),
    sa.Column("spent", sa.Text, nullable=False),
)

charges = sa.Table(
    "charges",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("charge_id", sa.Text, primary_key=True),
)

used = sa.Table(
    "used",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Integer, nullable=False) for name in Used.__struct_fields__),
)

# The counts of the exit *match*, by clause of a contract; what the entries' targets say (``matches.recount``).
matched = sa.Table(
    "matched",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("clause", sa.Integer, primary_key=True),
    sa.Column("targets", sa.Integer, nullable=False),
    sa.Column("most", sa.Integer, nullable=False),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("clause", sa.Integer, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
)

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("vault_id", sa.Text, primary_key=True),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("admission", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
)


def _where(table: sa.Table, *columns: str) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == sa.bindparam(f"k_{name}") for name in columns]


# Statements are built once: a charge is a dozen of them, and building costs more than SQLite takes to run them.
# Keys are bound as ``k_<column>``, values under the column's own name.
SELECT_ACCOUNT = sa.select(accounts).where(*_where(accounts, "population"))
UPDATE_ACCOUNT = sa.update(accounts).where(*_where(accounts, "population"))
SELECT_BODY = sa.select(entries.c.body).where(*_where(entries, "population", "charge_id"))
SELECT_CHARGE = sa.select(entries.c.body).where(*_where(entries, "population", "charge_id", "contract"))
SELECT_ENTRIES = sa.select(entries.c.body).where(*_where(entries, "population")).order_by(entries.c.position)
SELECT_SETTLED = sa.select(settlements.c.sealed).where(*_where(settlements, "population", "charge_id"))
SELECT_SUMS = sa.select(sums.c.analyst, sums.c.spent).where(*_where(sums, "population", "contract"))
UPDATE_SUM = sa.update(sums).where(*_where(sums, "population", "contract", "analyst"))
SELECT_DELTAS = sa.select(deltas.c.contract, deltas.c.analyst, deltas.c.spent).where(*_where(deltas, "population"))
UPDATE_DELTA = sa.update(deltas).where(*_where(deltas, "population", "contract", "analyst"))
SELECT_COUNTED = sa.select(charges.c.charge_id).where(*_where(charges, "contract", "charge_id"))
SELECT_USED = sa.select(*(used.c[name] for name in Used.__struct_fields__)).where(*_where(used, "contract"))
SELECT_ALL_USED = sa.select(used).order_by(used.c.contract)
UPDATE_USED = sa.update(used).where(*_where(used, "contract"))
SELECT_MATCHED = (
    sa.select(matched.c.clause, matched.c.targets, matched.c.most)
    .where(*_where(matched, "contract"))
    .order_by(matched.c.clause)
)
UPDATE_MATCHED = sa.update(matched).where(*_where(matched, "contract", "clause"))
SELECT_TARGETS = sa.select(targets.c.tag, targets.c.times).where(
    *_where(targets, "contract", "clause"), targets.c.tag.in_(sa.bindparam("k_tags", expanding=True))
)
UPDATE_TARGET = sa.update(targets).where(*_where(targets, "contract", "clause", "tag"))
SELECT_ALL_MATCHED = sa.select(matched.c.contract, matched.c.clause, matched.c.targets, matched.c.most)
SELECT_ALL_TARGETS = sa.select(targets.c.contract, targets.c.clause, targets.c.tag, targets.c.times)
# Finds no entry too few; what only looks like an exit is sorted out by who reads it.
SELECT_EXITS = sa.select(entries.c.body).where(
    sa.func.instr(entries.c.body, sa.literal(b'"exit":', sa.LargeBinary)) > 0
)
SELECT_EPOCH = sa.select(epochs.c.epoch).where(*_where(epochs, "contract"))
UPDATE_EPOCH = sa.update(epochs).where(*_where(epochs, "contract"))
SELECT_SESSION = sa.select(sessions.c.contract, sessions.c.epoch).where(*_where(sessions, "vault_id"))
UPDATE_SESSION = sa.update(sessions).where(*_where(sessions, "vault_id"))
SELECT_POPULATIONS = sa.select(accounts.c.population).order_by(accounts.c.population)
INSERT = {table: sa.insert(table) for table in metadata.sorted_tables}
# Thousands at once go past the statement compiler, which takes longer than the database.
INSERT_TARGETS = "INSERT INTO targets (contract, clause, tag, times) VALUES (?, ?, ?, ?)"
# Pages of the log before it is copied into the database, some 4 KiB each: a commit that copies takes several times as
# long, and after 1,000 pages (SQLite's own number) every thirtieth does. What is committed is on disk in the log.
CHECKPOINT_PAGES = 16_384


def open_database(path: Path, *, busy_ms: int = 2000) -> sa.Engine:
    """Return an engine on the SQLite file: write-ahead log, every commit on disk before it is acknowledged.

    Args:
        path: The database file; created with its tables if absent.
        busy_ms: How long a transaction waits for another process before it gives up.
    """
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=8, connect_args={"timeout": busy_ms / 1000})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    path.touch(mode=0o600, exist_ok=True)
    metadata.create_all(engine)
    return engine


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # pysqlite would delay BEGIN until the first write, and read what another writer is about to change.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
