"""The vault's side of an account: signed requests, and replies that are believed only after every check.

A reply counts if the broker signed it, it answers this request (op, id, nonce, vault, population, epoch) and it
takes neither the account nor the contract's counts back to an earlier state than this vault knows. Anything else
stops the release: the host between vault and broker must not be able to answer for the broker.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Protocol

import msgspec

from cloister.contract.findings import parse_time
from cloister.contract.terms import Broker
from cloister.contract.usage import Used
from cloister.errors import MalformedError, SignatureError, TrustError, UnavailableError
from cloister.receipt.ledger import (
    REPLY_TYPE,
    REQUEST_TYPE,
    AppendRequest,
    Entry,
    ExitEntry,
    LedgerReply,
    Matched,
    SessionRequest,
    SettleRequest,
    TipRequest,
)
from cloister.receipt.refusals import Told
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, open_envelope, seal
from cloister.wire.identity import SigningKey

# Fraction also reads "1e999999999", which would take all memory.
_SUM = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")
Request = SessionRequest | AppendRequest | SettleRequest | TipRequest


class Post(Protocol):
    """Carries bytes to a broker and brings bytes back; believed in nothing."""

    def post(self, broker: str, path: str, body: bytes) -> bytes:
        """Return what came back for ``body``."""
        ...


class Ledger:
    """One broker, as one vault sees it. Calls are serialised, so replies arrive in the order of the account."""

    def __init__(self, relay: Post, broker: Broker, key: SigningKey) -> None:
        self.broker = broker
        self._relay = relay
        self._key = key
        self._lock = threading.Lock()
        # Once the account went back it grows again, past every size seen: what was noticed once must not be forgotten.
        self._went_back: TrustError | None = None
        self._tips: dict[str, tuple[int, str, Fraction, Fraction]] = {}
        # One vault serves one contract, so a broker has one set of counts to tell it.
        self._used, self._own = Used(), Used()
        self._booked: set[str] = set()
        self._charges: set[tuple[str, str]] = set()
        self._charged: dict[str, tuple[Fraction, Fraction]] = {}
        # Of matches: what the broker counts by clause, and the targets this vault alone has asked.
        self._matched: dict[int, Matched] = {}
        self._targets: dict[int, Counter[str]] = {}
        self._asked: dict[int, int] = {}
        self._time: datetime | None = None
        self._lease: datetime | None = None
        self._heard_s = 0.0

    def now(self) -> str:
        """Return the broker's time (RFC 3339 UTC): its latest signed one, carried on by the monotonic clock.

        The host may slow that clock down; then the broker itself still refuses what has expired.

        Raises:
            UnavailableError: The broker has not signed any time yet.
        """
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def lease_ended(self) -> bool:
        """Whether the broker has been silent for longer than its last reply allows."""
        return self._lease is not None and self._now() >= self._lease

    def _now(self) -> datetime:
        if self._time is None:
            raise UnavailableError("broker.unavailable", "the broker has not told the time yet")
        return self._time + timedelta(seconds=time.monotonic() - self._heard_s)

    def session(self, contract: str, hpke_public: str, offer: dict[str, object]) -> LedgerReply:
        """Present evidence; the reply carries epoch, admission and sealed data keys."""
        request = SessionRequest(
            request=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            contract=contract,
            vault_id=self._key.did,
            vault_hpke=hpke_public,
            offer=dict(offer),
        )
        return self._call("session", request, population="", epoch=None)

    def append(self, epoch: int, entry: Entry, approvals: tuple[str, ...] = ()) -> LedgerReply:
        """Charge an account. The same entry gets the same answer for ever."""
        request = AppendRequest(
            request=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            vault_id=self._key.did,
            epoch=epoch,
            entry=entry,
            approvals=approvals or msgspec.UNSET,
        )
        return self._call("append", request, population=entry.population, epoch=epoch, entry=entry)

    def settle(self, epoch: int, population: str, charge_id: str, sealed: str) -> LedgerReply:
        """Deposit the sealed receipt of a charge; the first deposit stands."""
        request = SettleRequest(
            request=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            vault_id=self._key.did,
            epoch=epoch,
            population=population,
            charge_id=charge_id,
            sealed=sealed,
        )
        return self._call("settle", request, population=population, epoch=epoch)

    def tip(
        self,
        epoch: int,
        population: str,
        contract: str,
        analyst: str,
        told: Told | msgspec.UnsetType = msgspec.UNSET,
    ) -> LedgerReply:
        """Read an account's sums; ``told`` tells the broker what this enclave refused by itself."""
        request = TipRequest(
            request=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            vault_id=self._key.did,
            epoch=epoch,
            population=population,
            contract=contract,
            analyst=analyst,
            told=told,
        )
        return self._call("tip", request, population=population, epoch=epoch)

    def _call(
        self, op: str, request: Request, *, population: str, epoch: int | None, entry: Entry | None = None
    ) -> LedgerReply:
        body = canonical.encode(seal(REQUEST_TYPE, canonical.encode(request), self._key))
        with self._lock:
            if self._went_back is not None:
                raise self._went_back
            reply = self._believe(self._relay.post(self.broker.did, f"/v1/{op}", body))
            expected = (op, request.request, request.nonce, self.broker.did, self._key.did, population)
            got = (reply.op, reply.request, reply.nonce, reply.broker, reply.vault_id, reply.population)
            granted = reply.status in {"ok", "settled"}
            misplaced = reply.status == "settled" and op != "settle"  # it would be granted without being counted
            if got != expected or misplaced or (epoch is not None and granted and reply.epoch != epoch):
                raise TrustError(
                    "broker.unexpected",
                    "the broker's reply does not answer this request",
                    clause="Every reply is bound to its request; an old or foreign reply stops the release.",
                    next_step="Run the cell again; if it happens again, tell the data provider.",
                )
            try:
                self._follow(reply)
            except TrustError as error:
                self._went_back = error
                raise
            if entry is not None and reply.status == "ok":
                self._count(entry, reply)
            self._time, self._heard_s = parse_time(reply.time), time.monotonic()
            self._lease = parse_time(reply.lease) if reply.lease else self._lease
            return reply

    def _believe(self, body: bytes) -> LedgerReply:
        try:
            envelope = msgspec.json.decode(body, type=Envelope)
            reply = msgspec.json.decode(open_envelope(envelope, REPLY_TYPE, self.broker.did), type=LedgerReply)
        except (msgspec.ValidationError, msgspec.DecodeError, MalformedError, SignatureError) as error:
            raise TrustError(
                "broker.forged",
                "a reply in the broker's name is not signed by the broker",
                clause=f"The contract names {self.broker.did} as broker {self.broker.name}.",
                next_step="Nothing was released. Tell the data provider; the host may be answering for the broker.",
            ) from error
        sums = [reply.spent, reply.limit, reply.contract_spent, reply.analyst_spent, reply.analyst_limit]
        sums += msgspec.structs.astuple(reply.deltas)
        if not all(map(_SUM.fullmatch, sums)):
            raise TrustError(
                "broker.figures",
                "the broker signed a sum that is no fraction",
                clause="sums are exact fractions p/q",
                next_step="Nothing was released. Tell the data provider.",
            )
        return reply

    def _follow(self, reply: LedgerReply) -> None:
        """Refuse an account that shrank: a restored or forked ledger would let budget be spent twice."""
        if not reply.population or reply.status not in {"ok", "settled"}:
            return  # a refusal may come without the account's figures
        before = self._tips.get(reply.population, (0, "", Fraction(0), Fraction(0)))
        now = (reply.size, reply.root, Fraction(reply.spent), Fraction(reply.deltas.spent))
        less = now[2] < before[2] or now[3] < before[3]
        if reply.size < before[0] or less or (reply.size == before[0] and before[1] and now != before):
            raise _shrunk("the account went back to an earlier state than this vault has seen")
        if not reply.used.covers(self._used):
            raise _shrunk("the broker counts less of the contract as used than it did before")
        matched = {own.clause: own for own in reply.matches}
        for clause, own in self._matched.items():
            told = matched.get(clause, Matched(clause))
            if told.targets < own.targets or told.most < own.most:
                raise _shrunk("the broker counts fewer targets of matches than it did before")
        self._tips[reply.population], self._used, self._matched = now, reply.used, matched

    def _count(self, entry: Entry, reply: LedgerReply) -> None:
        """Refuse a broker that counts less than this vault has had booked: it would let limits be passed."""
        used, charge = reply.used, (entry.population, entry.charge_id)
        own = self._own if entry.charge_id in self._booked else self._own.plus(entry.usage)
        if not used.covers(own):
            raise _shrunk("the broker counts less of the contract as used than this vault alone was charged")
        rho, delta = self._charged.get(entry.population, (Fraction(0), Fraction(0)))
        if charge not in self._charges:
            rho, delta = rho + Fraction(entry.rho), delta + Fraction(entry.delta)
        if Fraction(reply.spent) < rho or Fraction(reply.deltas.spent) < delta:
            raise _shrunk("the account holds less than this vault alone was charged")
        if entry.exits is not None and charge not in self._charges:
            self._count_targets(entry.exits, reply)
        self._booked.add(entry.charge_id)
        self._charges.add(charge)
        self._charged[entry.population] = rho, delta
        self._own = own

    def _count_targets(self, exits: ExitEntry, reply: LedgerReply) -> None:
        asked = self._targets.setdefault(exits.clause, Counter())
        after = {tag: asked[tag] + times for tag, times in Counter(exits.targets).items()}
        told = next((own for own in reply.matches if own.clause == exits.clause), Matched(exits.clause))
        total = self._asked.get(exits.clause, 0) + len(exits.targets)
        if told.targets < total or told.most < max(after.values(), default=0):
            raise _shrunk("the broker counts fewer targets of matches than this vault alone has asked")
        asked.update(exits.targets)
        self._asked[exits.clause] = total


def _shrunk(reason: str) -> TrustError:
    return TrustError(
        "broker.rollback",
        reason,
        clause="An account only grows; its log is append-only.",
        next_step="Tell the data provider: a restored broker needs ledger recovery before it charges again.",
    )
