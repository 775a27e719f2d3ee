"""Accounts: one per population, append-only, charged before anything is released.

Rules kept here, each inside one transaction that is on disk before it is acknowledged:

1. the vault that asks holds the contract's current epoch (an older one is *fenced*);
2. a charge id names one entry for ever: the same entry again changes nothing, another body is a conflict;
3. both sums (rho and delta) of account and analyst, the counts of the contract and those of the targets of matches stay
   within their limits, together;
4. a charge is settled once: the first deposit stands;
5. a full or locked disk charges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from cloister.contract.usage import Used
from cloister.errors import MalformedError
from cloister.provider import account_rows as rows
from cloister.provider import deliveries, event_log, matches, schema
from cloister.provider.database import Database
from cloister.provider.witness import Witness
from cloister.receipt import log, sums
from cloister.receipt.account import Granted, Tip
from cloister.receipt.account import refusal as _refusal
from cloister.receipt.events import Event
from cloister.receipt.ledger import Entry
from cloister.wire import canonical

__all__ = ["Accounts", "Booking", "Granted", "Tip"]
RELEASE = "release"
"""``op`` of a session's event whose ``status`` is the version of a software release."""
_RECOVERED = (
    "this charge came back with a recovery of the account, without its receipt; ask with another share or precision"
)


class Launched(msgspec.Struct, frozen=True):
    """What the evidence of a vault said of its launch: the TEE, and measurements by name."""

    tee: str
    launch: dict[str, str]


class Booking(msgspec.Struct, frozen=True):
    """The outcome of a request: a status of the protocol, the tip, and the settled receipt if there is one.

    ``analyst`` is whose charge was settled.
    """

    status: str
    tip: Tip
    sealed: str = ""
    reason: str = ""
    analyst: str = ""


class Accounts:
    """The accounts of one broker: in a SQLite file (a path), or in PostgreSQL (a URL)."""

    def __init__(self, where: Path | str, *, busy_ms: int = 2000, witness: Witness | None = None) -> None:
        self.database = Database(where, busy_ms=busy_ms, witness=witness)
        self._transaction = self.database.transaction

    def close(self) -> None:
        """Release the database."""
        self.database.close()

    @contextmanager
    def _current(self) -> Iterator[sa.Connection]:
        """Yield a transaction on accounts that are the newest; what vaults are told of others would be a fork."""
        with self._transaction() as db:
            event_log.check_current(db)
            yield db

    def open_session(
        self,
        contract: str,
        vault_id: str,
        *,
        admit: Callable[[int], bytes],
        time: str,
        launch: Launched | None = None,
        version: str = "",
    ) -> int:
        """Raise the contract's epoch for a vault; older sessions of the contract are fenced from now on.

        Args:
            contract: Digest of the contract.
            vault_id: The vault that was appraised.
            admit: Makes the signed admission for the new epoch; it is kept with the session.
            time: The broker's time.
            launch: What was measured of its launch.
            version: Of the software release that its code is: a recovered broker must know what it admitted.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._current() as db:
            epoch = 1 + (db.scalar(schema.SELECT_EPOCH, {"k_contract": contract}) or 0)
            rows.put(db, schema.epochs, schema.UPDATE_EPOCH, {"contract": contract}, {"epoch": epoch})
            values = {"contract": contract, "epoch": epoch, "admission": admit(epoch), "time": time}
            rows.put(db, schema.sessions, schema.UPDATE_SESSION, {"vault_id": vault_id}, values)
            if launch is not None:
                measured = {"tee": launch.tee, "launch": canonical.encode(launch.launch)}
                rows.put(db, schema.launches, schema.UPDATE_LAUNCH, {"vault_id": vault_id}, measured)
            released: dict[str, Any] = {"op": RELEASE, "status": version} if version else {}
            event_log.open_log(db, time)
            event_log.record(db, Event("session", time, actor=vault_id, contract=contract, epoch=epoch, **released))
        return epoch

    def contract_of(self, vault_id: str) -> str | None:
        """Return the contract a vault was admitted to, if it was.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            contract: str | None = db.scalar(schema.SELECT_SESSION, {"k_vault_id": vault_id})
            return contract

    def admission_of(self, vault_id: str) -> bytes | None:
        """Return the signed admission of a vault, as it was kept with its session.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            admission: bytes | None = db.scalar(schema.SELECT_ADMISSION, {"k_vault_id": vault_id})
            return admission

    def launch_of(self, vault_id: str) -> Launched | None:
        """Return what was measured of the launch of a vault when it was admitted, if that is on record.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            row = db.execute(schema.SELECT_LAUNCH, {"k_vault_id": vault_id}).one_or_none()
            return None if row is None else Launched(row.tee, msgspec.json.decode(row.launch, type=dict[str, str]))

    def append(
        self, entry: Entry, granted: Granted, *, vault_id: str, epoch: int, time: str, shared: bool = False
    ) -> Booking:
        """Charge an account.

        ``shared``: the contract shares releases between its analysts, so the same entry by another of them is known
        too; whoever asked first has paid.

        Raises:
            UnavailableError: ``ledger.unavailable``: nothing was charged.
            MalformedError: The amount is not a fraction, or a part of it more than the whole.
        """
        amount, delta, body = sums.parse(entry.rho), sums.parse(entry.delta), canonical.encode(entry)
        if not isinstance(entry.maxima, msgspec.UnsetType) and sums.parse(entry.maxima) > amount:
            raise MalformedError("ledger.maxima", "the part of a charge for noisy maxima is more than the charge")
        if not entry.population:
            raise MalformedError("ledger.population", "an account has a name")
        with self._current() as db:
            held = rows.load(db, entry.population, entry.contract, entry.analyst)
            refusal = _fenced(db, entry.contract, vault_id, epoch)
            if refusal:
                return Booking(refusal, held.tip)
            known = db.scalar(schema.SELECT_BODY, {"k_population": entry.population, "k_charge_id": entry.charge_id})
            if known is not None:
                if known != body and not (shared and _same_but_asker(known, entry)):
                    return Booking("charge.conflict", held.tip, reason="this charge id names another entry")
                sealed = rows.settled(db, entry.population, entry.charge_id)
                if not sealed and rows.is_burnt(db, entry):
                    return Booking("charge.conflict", held.tip, reason=_RECOVERED)
                return Booking("ok", held.tip, sealed=sealed)
            first = rows.is_first(db, entry)
            after = rows.charged(held, amount, delta, log.leaf_hash(body), entry.usage if first else None)
            asked = matches.asked(entry)
            refusal = _refusal(after.tip, entry, amount, delta, granted)
            refusal = refusal or deliveries.refusal(db, entry, granted.exits)
            if asked and not refusal:
                refusal = matches.book(db, asked, granted.exits.matches[asked.clause])
            if refusal:
                return Booking(refusal, held.tip)
            rows.write(db, entry, after, first=first)
            rows.book(db, entry, body, position=held.tip.size, vault_id=vault_id, epoch=epoch, time=time)
            return Booking("ok", msgspec.structs.replace(after.tip, matched=matches.matched(db, entry.contract)))

    def has_settled(self, entry: Entry) -> bool:
        """Whether exactly this entry, of this very analyst, was charged and its receipt deposited.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        key = {"k_population": entry.population, "k_charge_id": entry.charge_id}
        with self._transaction() as db:
            known = db.scalar(schema.SELECT_BODY, key)
            return known == canonical.encode(entry) and bool(rows.settled(db, entry.population, entry.charge_id))

    def settle(
        self, population: str, charge_id: str, sealed: str, *, contract: str, vault_id: str, epoch: int, time: str
    ) -> Booking:
        """Deposit the sealed receipt of a charge; a second, different one gets the first back.

        Raises:
            UnavailableError: ``ledger.unavailable``: nothing was deposited.
        """
        with self._current() as db:
            key = {"k_population": population, "k_charge_id": charge_id, "k_contract": contract}
            body = db.scalar(schema.SELECT_CHARGE, key)
            analyst = "" if body is None else msgspec.json.decode(body, type=Entry).analyst
            tip = rows.load(db, population, contract, analyst).tip
            refusal = _fenced(db, contract, vault_id, epoch)
            if refusal:
                return Booking(refusal, tip)
            if body is None:
                return Booking("charge.conflict", tip, reason="there is no such charge under this contract")
            first = rows.settled(db, population, charge_id)
            if first:
                return Booking("ok" if first == sealed else "settled", tip, sealed=first, analyst=analyst)
            values = {"sealed": sealed, "vault_id": vault_id, "time": time}
            rows.insert(db, schema.settlements, population=population, charge_id=charge_id, **values)
            named: dict[str, Any] = {"population": population, "charge_id": charge_id, "contract": contract}
            event_log.record(db, Event("settle", time, actor=vault_id, epoch=epoch, **named))
            return Booking("ok", tip, sealed=sealed, analyst=analyst)

    def tip(self, population: str, contract: str, analyst: str, *, vault_id: str, epoch: int) -> Booking:
        """Return where an account stands.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._current() as db:
            status = _fenced(db, contract, vault_id, epoch) or "ok"
            return Booking(status, rows.load(db, population, contract, analyst).tip)

    def read_tip(self, population: str, contract: str = "", analyst: str = "") -> Tip:
        """Return where an account stands, for its owner (no session needed).

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            return rows.load(db, population, contract, analyst).tip

    def entries(self, population: str) -> tuple[bytes, ...]:
        """Return the canonical bytes of every entry of an account, in order (the leaves of its log).

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            return tuple(db.scalars(schema.SELECT_ENTRIES, {"k_population": population}))

    def populations(self) -> tuple[str, ...]:
        """Return the populations that have an account.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            return tuple(db.scalars(schema.SELECT_POPULATIONS))

    def recount(self) -> None:
        """Bring the counts of matches back to what the logs say, should they say anything else (``matches``).

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            matches.recount(db)

    def used(self) -> dict[str, Used]:
        """Return what was used under each contract, by its digest.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            return {contract: Used(*counts) for contract, *counts in db.execute(schema.SELECT_ALL_USED)}

    def deposit(self, population: str, charge_id: str) -> str:
        """Return what was deposited for a charge, sealed, for its owner; ``""`` if nothing was.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self._transaction() as db:
            return rows.settled(db, population, charge_id)


def _fenced(db: sa.Connection, contract: str, vault_id: str, epoch: int) -> str:
    session = db.execute(schema.SELECT_SESSION, {"k_vault_id": vault_id}).one_or_none()
    if session is None or session.contract != contract:
        return "session.unknown"
    current = db.scalar(schema.SELECT_EPOCH, {"k_contract": contract})
    return "" if epoch == session.epoch == current else "session.fenced"


def _same_but_asker(body: bytes, entry: Entry) -> bool:
    return msgspec.structs.replace(msgspec.json.decode(body, type=Entry), analyst=entry.analyst) == entry
