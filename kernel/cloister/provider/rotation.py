"""A broker's new key: the old one names its successor, both sign, and the old one is destroyed.

A contract names its brokers by their keys, so what was signed under the old key ends with it: its parties sign an
amendment that names the new one. The accounts stay, for they belong to populations.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sa

from cloister.errors import MalformedError, RefusedError
from cloister.provider import event_log, files, restored, schema
from cloister.provider.accounts import Accounts
from cloister.provider.home import BrokerHome
from cloister.provider.keys import load_identity
from cloister.receipt.events import Event, decode_event
from cloister.receipt.succession import SUCCESSION_TYPE, Succession
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal
from cloister.wire.identity import SigningKey

_FILE: Literal["succession.json"] = "succession.json"


def read(home: BrokerHome) -> tuple[Envelope, ...]:
    """Return the statements of all rotations so far, oldest first.

    Raises:
        MalformedError: ``rotation.file``.
    """
    try:
        return msgspec.json.decode((home.directory / _FILE).read_bytes(), type=tuple[Envelope, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise MalformedError("rotation.file", f"{home.directory / _FILE} cannot be read") from error


def rotate(home: BrokerHome, accounts: Accounts, *, now: str, stop_contracts: bool = False) -> str:
    """Replace the broker's key; return the new did.

    Raises:
        RefusedError: ``rotation.contracts``: active contracts name the old key and ``stop_contracts`` is false;
            ``broker.restored``: what proves the lost time is signed by the old key, so it is recovered first.
        UnavailableError: ``ledger.unavailable``, ``ledger.older``; nothing was replaced.
    """
    if (mark := restored.read_mark(home)) is not None:
        raise RefusedError("broker.restored", mark.reason, next_step=restored.NEXT_STEP)
    old, new = home.identity(), SigningKey.generate()
    named = []
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        if known is not None and known.state(now) == "active":
            named += [digest] if any(broker.did == old.did for broker in known.contract.brokers) else []
    if named and not stop_contracts:
        raise RefusedError(
            "rotation.contracts",
            f"{len(named)} active contracts name this broker's key; they end with it",
            next_step="let them end first, or say --stop-contracts; then the parties sign contracts with the new did",
        )
    # On disk before anything names it: a rotation that is cut short is finished at the next start, not half done.
    files.write_private(_next(home), base64.b64encode(new.private_bytes()))
    statement = seal(SUCCESSION_TYPE, canonical.encode(Succession(old.did, new.did, now)), old, new)
    with accounts.database.transaction() as db:
        event_log.open_log(db, now)
        event_log.record(db, Event("key", now, actor="owner", op="rotate", subject=new.did))
        files.write_private(home.directory / _FILE, canonical.encode((*read(home), statement)))
    finish(home, accounts)
    return new.did


def is_cut_short(home: BrokerHome) -> bool:
    """Whether a rotation began and did not end."""
    return _next(home).exists()


def finish(home: BrokerHome, accounts: Accounts) -> None:
    """Finish a rotation that was cut short after the log had told it; forget one that was cut short before.

    Under ``lock.held``, before anything is signed. Where the log went back, nobody knows: the key waits.

    Raises:
        UnavailableError: ``ledger.unavailable``.
        MalformedError, TrustError: A key file that is none, or not private.
    """
    if not is_cut_short(home):
        return
    new = load_identity(_next(home))
    with accounts.database.transaction() as db:
        if event_log.older(db, home.witness.seen()):
            return
        told = new.did in _told(db)
    if told:
        files.replace_secret(home.key_file, base64.b64encode(new.private_bytes()))
    files.overwrite(_next(home))


def _told(db: sa.Connection) -> set[str]:
    events = schema.events.c
    bodies = db.scalars(sa.select(events.body).where((events.kind == "key") & events.body.is_not(None)))
    return {one.subject for one in map(decode_event, bodies) if one.op == "rotate"}


def _next(home: BrokerHome) -> Path:
    return home.key_file.with_name("broker.key.next")
