"""Tables of the account database (SQLAlchemy Core: the same schema serves SQLite and PostgreSQL).

Sums are exact fractions written as text; the log's frontier and leaf hashes make roots and proofs cheap.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from cloister.contract.usage import Used

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("charge_id", sa.Text, nullable=False),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("vault_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
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
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in Used.__struct_fields__),
)

# The counts of the exit *match*, by clause of a contract; what the entries' targets say (``matches.recount``).
matched = sa.Table(
    "matched",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("clause", sa.BigInteger, primary_key=True),
    sa.Column("targets", sa.BigInteger, nullable=False),
    sa.Column("most", sa.BigInteger, nullable=False),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("clause", sa.BigInteger, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("times", sa.BigInteger, nullable=False),
)

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("contract", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("vault_id", sa.Text, primary_key=True),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("admission", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
)

# What was measured of the launch of an admitted vault: a veto of it stops the vault too (``software``).
launches = sa.Table(
    "launches",
    metadata,
    sa.Column("vault_id", sa.Text, primary_key=True),
    sa.Column("tee", sa.Text, nullable=False),
    sa.Column("launch", sa.LargeBinary, nullable=False),
)

# The event log: bodies may be purged after their retention, leaves never are.
events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("until", sa.Text, nullable=False),
)

# Where the alerts are among the events, and whom they are about: an analyst is told of her own.
alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("contract", sa.Text, nullable=False, index=True),
    sa.Column("subject", sa.Text, nullable=False),
)

event_tip = sa.Table(
    "event_tip",
    metadata,
    sa.Column("log", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)

# Charges brought back by a recovery without their receipt: nobody may have them executed again.
burnt = sa.Table(
    "burnt",
    metadata,
    sa.Column("population", sa.Text, primary_key=True),
    sa.Column("charge_id", sa.Text, primary_key=True),
)

# The newest checkpoint of other brokers that this one has seen (``anchors``).
witnessed = sa.Table(
    "witnessed",
    metadata,
    sa.Column("broker", sa.Text, primary_key=True),
    sa.Column("checkpoint", sa.LargeBinary, nullable=False),
)

# Requests of administrators: what was asked, by whom, and what became of it.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("manifest", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("card", sa.LargeBinary, nullable=False),
    sa.Column("visible", sa.Text, nullable=False),
)


class Contains(FunctionElement[bool]):
    """Whether the first argument, bytes, holds the second (a hexadecimal text)."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(Contains)
def _contains(element: Any, compiler: Any, **options: Any) -> str:
    body, needle = (compiler.process(clause, **options) for clause in element.clauses)
    return f"instr({body}, {needle}) > 0"


@compiles(Contains, "postgresql")
def _contains_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    body, needle = (compiler.process(clause, **options) for clause in element.clauses)
    return f"position({needle} in {body}) > 0"


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
SELECT_EXITS = sa.select(entries.c.body).where(Contains(entries.c.body, sa.literal(b'"exit":', sa.LargeBinary)))
SELECT_EPOCH = sa.select(epochs.c.epoch).where(*_where(epochs, "contract"))
UPDATE_EPOCH = sa.update(epochs).where(*_where(epochs, "contract"))
SELECT_SESSION = sa.select(sessions.c.contract, sessions.c.epoch).where(*_where(sessions, "vault_id"))
SELECT_ADMISSION = sa.select(sessions.c.admission).where(*_where(sessions, "vault_id"))
SELECT_LAUNCH = sa.select(launches.c.tee, launches.c.launch).where(*_where(launches, "vault_id"))
UPDATE_LAUNCH = sa.update(launches).where(*_where(launches, "vault_id"))
UPDATE_SESSION = sa.update(sessions).where(*_where(sessions, "vault_id"))
SELECT_POPULATIONS = sa.select(accounts.c.population).order_by(accounts.c.population)
INSERT = {table: sa.insert(table) for table in metadata.sorted_tables}
SELECT_LEAVES = sa.select(entries.c.leaf).where(*_where(entries, "population")).order_by(entries.c.position)
SELECT_POSITION = sa.select(entries.c.position, entries.c.body).where(*_where(entries, "population", "charge_id"))
SELECT_ALL_ACCOUNTS = sa.select(accounts).order_by(accounts.c.population)
SELECT_ALL_DELTAS = sa.select(deltas.c.population, deltas.c.spent)
SELECT_BURNT = sa.select(burnt.c.charge_id).where(*_where(burnt, "population", "charge_id"))
SELECT_EVENT_TIP = sa.select(event_tip.c.size, event_tip.c.frontier)
UPDATE_EVENT_TIP = sa.update(event_tip)
SELECT_EVENTS = sa.select(events.c.leaf, events.c.body).order_by(events.c.position)
SELECT_EVENTS_AFTER = (
    sa.select(events.c.position, events.c.kind, events.c.body)
    .where(events.c.position >= sa.bindparam("k_position"))
    .order_by(events.c.position)
    .limit(sa.bindparam("k_most"))
)
SELECT_ENTRY = sa.select(entries.c.body, entries.c.vault_id).where(*_where(entries, "population", "position"))
SELECT_ALERTS_AFTER = (
    sa.select(alerts.c.position, events.c.body)
    .join_from(alerts, events, alerts.c.position == events.c.position)
    .where(alerts.c.position >= sa.bindparam("k_position"), events.c.body.is_not(None))
    .order_by(alerts.c.position)
    .limit(sa.bindparam("k_most"))
)
SELECT_ALERTS_ABOUT = (
    sa.select(alerts.c.position, events.c.body)
    .join_from(alerts, events, alerts.c.position == events.c.position)
    .where(*_where(alerts, "contract", "subject"), events.c.body.is_not(None))
    .order_by(alerts.c.position.desc())
    .limit(sa.bindparam("k_most"))
)
SELECT_ADMISSIONS = sa.select(sessions.c.admission).order_by(sessions.c.time, sessions.c.vault_id)
# Thousands at once go past the statement compiler, which takes longer than the database.
_INSERT_TARGETS = "INSERT INTO targets (contract, clause, tag, times) VALUES ({0}, {0}, {0}, {0})"


def insert_targets(db: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows into ``targets``."""
    mark = "%s" if db.dialect.name == "postgresql" else "?"
    db.exec_driver_sql(_INSERT_TARGETS.format(mark), rows)
