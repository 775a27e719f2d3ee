"""An account in the database: how it is loaded, and how its entries and sums are written. Nothing is decided here.

What may be charged is decided by ``accounts``, in the transaction that every function here is given.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import sqlalchemy as sa

from cloister.contract.usage import Usage, Used
from cloister.provider import event_log, matches, schema
from cloister.receipt import account, log, sums
from cloister.receipt.account import Deltas, Tip
from cloister.receipt.events import Event
from cloister.receipt.ledger import Entry


class Held(msgspec.Struct, frozen=True):
    """An account as loaded: the tip (with one contract's and analyst's sums) and the log's frontier."""

    tip: Tip
    frontier: log.Frontier


def load(db: sa.Connection, population: str, contract: str, analyst: str) -> Held:
    """Return an account, with what one contract and one analyst of it have spent."""
    stored = db.execute(schema.SELECT_ACCOUNT, {"k_population": population}).one_or_none()
    rows = db.execute(schema.SELECT_SUMS, {"k_population": population, "k_contract": contract}).all()
    by_analyst = {row.analyst: Fraction(row.spent) for row in rows}
    contract_spent = Fraction(0)
    for spent in by_analyst.values():
        contract_spent = sums.add(contract_spent, spent)
    frontier = log.Frontier() if stored is None else event_log.frontier_of(stored.size, stored.frontier)
    tip = Tip(
        size=frontier.size,
        root=log.root_text(frontier.root()),
        spent=Fraction(stored.spent) if stored else Fraction(0),
        contract_spent=contract_spent,
        analyst_spent=by_analyst.get(analyst, Fraction(0)),
        used=_used(db, contract),
        delta=_deltas(db, population, contract, analyst),
        matched=matches.matched(db, contract),
    )
    return Held(tip, frontier)


def _deltas(db: sa.Connection, population: str, contract: str, analyst: str) -> Deltas:
    everybody = of_contract = of_analyst = Fraction(0)
    for row in db.execute(schema.SELECT_DELTAS, {"k_population": population}):
        spent = Fraction(row.spent)
        everybody = sums.add(everybody, spent)
        if row.contract == contract:
            of_contract = sums.add(of_contract, spent)
            of_analyst = spent if row.analyst == analyst else of_analyst
    return Deltas(everybody, of_contract, of_analyst)


def _used(db: sa.Connection, contract: str) -> Used:
    row = db.execute(schema.SELECT_USED, {"k_contract": contract}).one_or_none()
    return Used(*row) if row else Used()


def raise_epoch(db: sa.Connection, contract: str, epoch: int) -> None:
    """Make sure that the contract's epoch is at least ``epoch``."""
    if epoch > (db.scalar(schema.SELECT_EPOCH, {"k_contract": contract}) or 0):
        put(db, schema.epochs, schema.UPDATE_EPOCH, {"contract": contract}, {"epoch": epoch})


def take(db: sa.Connection, entry: Entry, body: bytes, *, position: int, vault_id: str, epoch: int, time: str) -> None:
    """Write an entry that was charged before, as it was: its event is in the log already, and nothing is decided."""
    held = load(db, entry.population, entry.contract, entry.analyst)
    first = bool(entry.contract) and is_first(db, entry)
    leaf = log.leaf_hash(body)
    after = charged(held, sums.parse(entry.rho), sums.parse(entry.delta), leaf, entry.usage if first else None)
    write(db, entry, after, first=first)
    made = {"vault_id": vault_id, "epoch": epoch, "time": time, "contract": entry.contract}
    named = {"population": entry.population, "charge_id": entry.charge_id}
    insert(db, schema.entries, position=position, body=body, leaf=leaf, **named, **made)


def book(db: sa.Connection, entry: Entry, body: bytes, *, position: int, vault_id: str, epoch: int, time: str) -> None:
    """Write an entry and the event of its charge."""
    leaf = log.leaf_hash(body)
    named: dict[str, Any] = {"population": entry.population, "charge_id": entry.charge_id, "contract": entry.contract}
    made = {"vault_id": vault_id, "epoch": epoch, "time": time}
    insert(db, schema.entries, position=position, body=body, leaf=leaf, **named, **made)
    event = Event("charge", time, actor=vault_id, leaf=leaf.hex(), position=position, epoch=epoch, **named)
    event_log.record(db, event)


def settled(db: sa.Connection, population: str, charge_id: str) -> str:
    """Return what was deposited for a charge, ``""`` if nothing was."""
    return db.scalar(schema.SELECT_SETTLED, {"k_population": population, "k_charge_id": charge_id}) or ""


def is_burnt(db: sa.Connection, entry: Entry) -> bool:
    """Whether a charge came back with a recovery, without its receipt."""
    key = {"k_population": entry.population, "k_charge_id": entry.charge_id}
    return db.scalar(schema.SELECT_BURNT, key) is not None


def is_first(db: sa.Connection, entry: Entry) -> bool:
    """Whether this is the release's first account: a release on two populations counts once."""
    key = {"k_contract": entry.contract, "k_charge_id": entry.charge_id}
    return db.scalar(schema.SELECT_COUNTED, key) is None


def charged(held: Held, amount: Fraction, delta: Fraction, leaf: bytes, usage: Usage | None) -> Held:
    """Return the account after one more entry; ``usage`` if the release is counted with it. Pure."""
    frontier = held.frontier.append(leaf)
    root = log.root_text(frontier.root())
    return Held(account.charged(held.tip, amount, delta, usage, size=frontier.size, root=root), frontier)


def write(db: sa.Connection, entry: Entry, after: Held, *, first: bool) -> None:
    """Write the sums and counts after an entry, ``first`` if its release is counted with it."""
    tip = after.tip
    values = {"size": tip.size, "frontier": b"".join(after.frontier.nodes), "spent": str(tip.spent)}
    put(db, schema.accounts, schema.UPDATE_ACCOUNT, {"population": entry.population}, values)
    key = {"population": entry.population, "contract": entry.contract, "analyst": entry.analyst}
    put(db, schema.sums, schema.UPDATE_SUM, key, {"spent": str(tip.analyst_spent)})
    if sums.parse(entry.delta):
        put(db, schema.deltas, schema.UPDATE_DELTA, key, {"spent": str(tip.delta.analyst_spent)})
    if first:
        insert(db, schema.charges, contract=entry.contract, charge_id=entry.charge_id)
        put(db, schema.used, schema.UPDATE_USED, {"contract": entry.contract}, msgspec.structs.asdict(tip.used))


def insert(db: sa.Connection, table: sa.Table, **values: Any) -> None:
    """Insert a row."""
    db.execute(schema.INSERT[table], values)


def put(db: sa.Connection, table: sa.Table, update: sa.Update, key: dict[str, str], values: dict[str, Any]) -> None:
    """Change the row with a key, or insert it."""
    bound = {f"k_{name}": value for name, value in key.items()}
    if db.execute(update, {**bound, **values}).rowcount == 0:
        insert(db, table, **key, **values)
