"""What leaves a broker of its logs: signed checkpoints with their proofs, and the auditor's export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cloister.errors import MalformedError, RefusedError
from cloister.provider import event_log, restored, rotation, schema
from cloister.provider.accounts import Accounts
from cloister.provider.home import BrokerHome
from cloister.receipt import export, log
from cloister.receipt.checkpoint import (
    Checkpoint,
    Included,
    Taken,
    check_extension,
    digest_of,
    open_checkpoint,
    prove_extension,
)
from cloister.receipt.checkpoint import sign_checkpoint as sign
from cloister.receipt.events import Event
from cloister.wire.envelope import Envelope

_AT_ONCE = 5000


def check_current(home: BrokerHome) -> None:
    """Check that the accounts are not known to be old: a checkpoint of an old state would be a signed fork.

    Raises:
        RefusedError: ``broker.restored``.
    """
    if (mark := restored.read_mark(home)) is not None:
        raise RefusedError("broker.restored", mark.reason, next_step=restored.NEXT_STEP)


def take(
    home: BrokerHome,
    accounts: Accounts,
    *,
    now: str,
    actor: str,
    earlier: Envelope | None = None,
    charges: Iterable[tuple[str, str]] = (),
) -> Taken:
    """Return a signed checkpoint of all logs.

    Args:
        home: The broker's directory.
        accounts: Its open accounts.
        now: The broker's time.
        actor: Who asks.
        earlier: A checkpoint of this broker that the new one shall be proven to extend.
        charges: (population, charge id) of entries to be proven to be in it.

    Raises:
        RefusedError: ``broker.restored``.
        MalformedError: ``log.charge``: no such charge; ``log.size``: the earlier one is of a longer log.
        TrustError: The earlier one is of another history of this broker.
        UnavailableError: ``ledger.unavailable``.
    """
    check_current(home)
    key = home.identity()
    with accounts.database.transaction() as db:
        event_log.open_log(db, now)
        event_log.record(db, Event("checkpoint", now, actor=actor))
        stated = event_log.checkpoint(db, key.did, now)
        before = None if earlier is None else open_checkpoint(earlier, broker=key.did)
        proven = () if before is None else prove_extension(before, leaves(db, stated))
        included = tuple(_included(db, population, charge) for population, charge in charges)
    if before is not None:  # a clone of this broker signed it, or the accounts went back
        check_extension(before, stated, proven)
    document = sign(stated, key)
    return Taken(document, "" if earlier is None else digest_of(earlier), proven, included)


def leaves(db: sa.Connection, stated: Checkpoint) -> Mapping[str, Sequence[bytes]]:
    """Return the leaf hashes of every log."""
    found: dict[str, Sequence[bytes]] = {"": event_log.event_leaves(db)}
    for tip in stated.accounts:
        found[tip.population] = db.scalars(schema.SELECT_LEAVES, {"k_population": tip.population}).all()
    return found


def _included(db: sa.Connection, population: str, charge: str) -> Included:
    row = db.execute(schema.SELECT_POSITION, {"k_population": population, "k_charge_id": charge}).one_or_none()
    if row is None:
        raise MalformedError("log.charge", f"the account of {population} holds no charge {charge}")
    every = db.scalars(schema.SELECT_LEAVES, {"k_population": population}).all()
    path = log.inclusion_proof(every, row.position)
    return Included(population, row.body.decode(), row.position, tuple(node.hex() for node in path))


def write_export(home: BrokerHome, accounts: Accounts, *, now: str, actor: str) -> Iterator[bytes]:
    """Yield the lines of the auditor's export (``receipt.export``).

    The logs are read in parts after the checkpoint, up to its sizes, so that charges need not wait for a long export.

    Raises:
        RefusedError: ``broker.restored``.
        UnavailableError: ``ledger.unavailable``.
    """
    check_current(home)
    key = home.identity()
    with accounts.database.transaction() as db:
        event_log.open_log(db, now)
        event_log.record(db, Event("export", now, actor=actor))
        stated = event_log.checkpoint(db, key.did, now)
        admissions = tuple(msgspec.json.decode(raw, type=Envelope) for raw in db.scalars(schema.SELECT_ADMISSIONS))
    known = [home.contracts.get(digest) for digest in home.contracts.digests()]
    contracts = tuple(one.document for one in known if one is not None)
    yield export.write_header(export.Header(sign(stated, key), contracts, admissions, rotation.read(home)))
    yield export.write_section("", stated.events)
    events = schema.events.c
    yield from _lines(accounts, sa.select(events.leaf, events.body), events.position, stated.events)
    entries = schema.entries.c
    for tip in stated.accounts:
        yield export.write_section(tip.population, tip.size)
        select = sa.select(entries.leaf, entries.body).where(entries.population == tip.population)
        yield from _lines(accounts, select, entries.position, tip.size)


def _lines(accounts: Accounts, select: sa.Select[Any], position: sa.ColumnElement[int], size: int) -> Iterator[bytes]:
    for at in range(0, size, _AT_ONCE):
        part = select.where(position >= at, position < min(size, at + _AT_ONCE)).order_by(position)
        with accounts.database.transaction() as db:
            rows = db.execute(part).all()
        for leaf, body in rows:
            yield export.write_leaf(leaf, body)
