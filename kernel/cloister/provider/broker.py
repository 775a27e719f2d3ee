"""The broker: answers signed requests of admitted vaults with signed replies. No HTTP here (see ``server``).

Every request is read in the same order: 1. decode, 2. the signature of the vault it names, 3. whether that vault was
admitted, 4. the contract and its state, 5. the epoch (inside the account's transaction), 6. the operation. Whatever the
outcome, the reply is bound to request id, nonce and vault and signed by the broker, so that no host can answer in its
place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec
import structlog

from cloister.contract.terms import Broker as BrokerTerms
from cloister.contract.terms import Contract, Limits
from cloister.contract.usage import Used
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.provider import admission, clock, event_log, restored, revoked, software
from cloister.provider.accounts import Booking, Granted, Launched, Tip
from cloister.provider.event_log import Journal
from cloister.provider.hellos import Hellos
from cloister.provider.home import BrokerHome
from cloister.provider.metrics import Metrics
from cloister.provider.registry import Registered
from cloister.provider.requests import (
    Heard,
    Op,
    Request,
    StrangersReply,
    delta_sums,
    open_request,
    population_of,
    refusal_event,
    sender_of,
    told_events,
)
from cloister.receipt.account import broker_of, granted_by
from cloister.receipt.ledger import (
    REPLY_TYPE,
    AppendRequest,
    LedgerReply,
    SessionRequest,
    SettleRequest,
    TipRequest,
)
from cloister.wire import canonical, documents, envelope
from cloister.wire.identity import SigningKey

LEASE_S = 3600
MAX_QUESTION = 512
_NO_TIP = Tip(0, "", Fraction(0), Fraction(0), Fraction(0), Used())
_NOTHING = Granted(Fraction(0), Fraction(0), Limits(0, 0, 0, 0))
_NO_BUDGET = "the contract grants no budget for this population"
_log = structlog.get_logger("cloister.broker")


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/v1/hello``."""

    contract: str
    vault_id: str


class Broker:
    """One broker: its key signs, its accounts pay, its policy admits."""

    def __init__(self, home: BrokerHome, *, time: clock.Clock | None = None, busy_ms: int = 2000) -> None:
        self._home = home
        self._key = home.identity()
        self._clock = time or clock.Clock()
        self.accounts = self._accounts = home.open_accounts(busy_ms=busy_ms)
        self._accounts.recount()
        self._hellos = Hellos(self._key.did)
        self._heard = Heard()
        self.journal = Journal(self._accounts.database)
        self.metrics = Metrics()
        self.restored = restored.check(home, self._accounts, now=self.now())
        self.journal.closed = self.restored is not None

    @property
    def did(self) -> str:
        """The did that replies are signed by."""
        return self._key.did

    @property
    def key(self) -> SigningKey:
        """The broker's key."""
        return self._key

    @property
    def home(self) -> BrokerHome:
        """The broker's directory."""
        return self._home

    def now(self) -> str:
        """Return the broker's time as text."""
        return clock.text(self._clock.now())

    def metrics_text(self) -> str:
        """Return the counters for whoever operates the broker.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        with self.accounts.database.transaction() as db:
            events = event_log.tip(db).size
        return self.metrics.text(events=events, waiting=self.journal.waiting, restored=self.restored is not None)

    def close(self) -> None:
        """Write what waits for the event log, and release the accounts."""
        with contextlib.suppress(CloisterError):
            self.journal.flush()
        self._accounts.close()

    def hello(self, body: bytes) -> bytes:
        """Return a hello (role ``broker-session``) for a vault that wants a session.

        Raises:
            MalformedError: Not ``{contract, vault_id}``.
        """
        # Strangers ask this: no more of it is read than a digest and a did.
        if len(body) > MAX_QUESTION:
            raise MalformedError("ledger.request", "a question for a hello is larger than one can be")
        question = documents.decode(body, _Question)
        return self._hellos.issue(question.contract, question.vault_id)

    def session(self, body: bytes) -> bytes:
        """Admit a vault: appraise its evidence, raise the epoch, seal the data keys.

        Raises:
            MalformedError, SignatureError: Not a request signed by the vault it names.
        """
        request = open_request(body, SessionRequest)
        return self._answer("session", request, request.contract, lambda known: self._admit(request, known))

    def append(self, body: bytes) -> bytes:
        """Charge an account (see :meth:`Accounts.append`).

        Raises:
            MalformedError, SignatureError: Not a request signed by the vault it names.
        """
        request = open_request(body, AppendRequest)
        entry = request.entry

        def book(known: Registered) -> LedgerReply:
            if known.contract.regime == "screened":
                return self._refusal("append", request, "contract.screened", "nothing is charged under this regime")
            held, now = self._home.approvals, clock.text(self._clock.now())
            refused = held.refusal(request.approved, known.contract, known.digest, analyst=entry.analyst, now=now)
            # What this analyst was given stays his, whatever became of the approvals; it costs nothing again.
            if refused is not None and not self._accounts.has_settled(entry):
                return self._refusal("append", request, refused.status, refused.reason)
            granted = self._granted(known.contract, entry.population, entry.analyst)
            if granted is None:
                return self._refusal("append", request, "budget.exhausted", _NO_BUDGET)
            booking = self._accounts.append(
                entry,
                granted,
                vault_id=request.vault_id,
                epoch=request.epoch,
                time=clock.text(self._clock.now()),
                shared=known.contract.share_releases,
            )
            return self._booked("append", request, known.contract, booking, granted)

        return self._answer("append", request, entry.contract, book)

    def settle(self, body: bytes) -> bytes:
        """Deposit the sealed receipt of a charge (see :meth:`Accounts.settle`).

        Raises:
            MalformedError, SignatureError: Not a request signed by the vault it names.
        """
        request = open_request(body, SettleRequest)

        def deposit(known: Registered) -> LedgerReply:
            booking = self._accounts.settle(
                request.population,
                request.charge_id,
                request.sealed,
                contract=known.digest,
                vault_id=request.vault_id,
                epoch=request.epoch,
                time=clock.text(self._clock.now()),
            )
            granted = self._granted(known.contract, request.population, booking.analyst)
            return self._booked("settle", request, known.contract, booking, granted or _NOTHING)

        return self._answer("settle", request, None, deposit)

    def tip(self, body: bytes) -> bytes:
        """Return where an account stands.

        Raises:
            MalformedError, SignatureError: Not a request signed by the vault it names.
        """
        request = open_request(body, TipRequest)

        def read(known: Registered) -> LedgerReply:
            granted = self._granted(known.contract, request.population, request.analyst)
            if granted is None and (request.population or request.told is msgspec.UNSET):
                return self._refusal("tip", request, "budget.exhausted", _NO_BUDGET)
            booking = self._accounts.tip(
                request.population, known.digest, request.analyst, vault_id=request.vault_id, epoch=request.epoch
            )
            if booking.status == "ok":
                self._hear(request, known)
            return self._booked("tip", request, known.contract, booking, granted or _NOTHING)

        return self._answer("tip", request, request.contract, read)

    # The common frame of every reply -----------------------------------------------------------------

    def _answer(
        self, op: Op, request: Request, contract: str | None, act: Callable[[Registered], LedgerReply]
    ) -> bytes:
        """Run ``act`` for an active contract (of the session, where the request names none) and sign its reply.

        Only a vault that was admitted hears more than that it has no session, and may name an analyst in the log.
        """
        admitted: str | None = None
        try:
            admitted = self._accounts.contract_of(request.vault_id)
            digest = contract if contract is not None else admitted
            known = None if digest is None else self._home.contracts.get(digest)
            if self.restored is not None:
                why = f"{self.restored.reason}; the provider runs `{restored.NEXT_STEP}`"
                reply = self._refusal(op, request, "ledger.unavailable", why)
            elif digest is None or (op != "session" and digest != admitted):
                reply = self._refusal(op, request, "session.unknown", "this vault has no session")
            elif found := revoked.read(self._home).beyond(request):
                reply = self._refusal(op, request, "contract.inactive", f"{found} was revoked at this broker")
            elif op != "session" and (vetoed := self._vetoed(request.vault_id))[0]:
                reply = self._refusal(op, request, *vetoed)
            elif known is None or self._terms_of_self(known.contract) is None:
                reply = self._refusal(op, request, "contract.unknown", "this broker does not serve this contract")
            elif (state := known.state(clock.text(self._clock.now()))) != "active":
                self._hear(request, known)
                why = known.decision.reason if known.decision else ""
                reply = self._refusal(op, request, "contract.inactive", f"the contract is {state}. {why}".strip())
            else:
                # Asked again before anything is signed: a key may be destroyed while its vault is being admitted.
                reply = self._keyless(op, request, known) or act(known)
                reply = self._keyless(op, request, known) or reply
        except UnavailableError as error:
            if error.code == event_log.OLDER:
                self._went_back()
            reply = self._refusal(op, request, "ledger.unavailable", error.reason)
        _log.info(op, status=reply.status, population=reply.population, size=reply.size, epoch=reply.epoch)
        self.metrics.count(op, reply.status)
        signed = canonical.encode(envelope.seal(REPLY_TYPE, canonical.encode(reply), self._key))
        if reply.status in {"ok", "settled"}:
            return signed
        self.journal.add(refusal_event(op, request, reply, admitted=admitted))
        return StrangersReply(signed) if admitted is None else signed

    def _hear(self, request: Request, known: Registered) -> None:
        """Keep what an admitted vault refused by itself, also under a contract that has ended meanwhile."""
        if isinstance(request, TipRequest) and self._heard.is_new(request.vault_id, request.told):
            for event in told_events(request, known.contract, now=self.now()):
                self.journal.add(event)

    def knows(self, body: bytes) -> bool:
        """Whether these bytes are a request signed by a vault that was admitted here, whatever else comes of it."""
        with contextlib.suppress(CloisterError):
            return self._accounts.contract_of(sender_of(body)) is not None
        return False

    def _vetoed(self, vault_id: str) -> tuple[str, str]:
        if not self._home.software_file.exists():
            return "", ""
        accounts = self._accounts
        return software.vetoed_session(self._home, accounts.admission_of(vault_id), accounts.launch_of(vault_id))

    def _keyless(self, op: Op, request: Request, known: Registered) -> LedgerReply | None:
        """Return the refusal of a contract whose tables' keys here are destroyed or withheld."""
        named = (known.contract, self._terms_of_self(known.contract), self._home.data_keys)
        if why := admission.shredded(*named):
            return self._refusal(op, request, "capsule.shredded", why)
        if why := admission.withheld(*named):
            return self._refusal(op, request, "contract.inactive", why)
        return None

    def _went_back(self) -> None:
        """Only read from now on: the accounts were exchanged under the running broker."""
        self.journal.closed = True
        with contextlib.suppress(UnavailableError):
            self.restored = restored.check(self._home, self._accounts, now=self.now()) or self.restored

    def _admit(self, request: SessionRequest, known: Registered) -> LedgerReply:
        now = self._clock.now()
        terms = self._terms_of_self(known.contract)
        try:
            if terms is None:
                raise MalformedError("contract.unknown", "this broker is not named by the contract")
            policy = self._home.policy()
            admitted = admission.appraise_request(
                request,
                self._hellos.take(known.digest, request.vault_id),
                known.contract,
                broker=terms,
                policy=policy,
                keys=self._home.data_keys,
                now=now,
                agreed=software.agreed(self._home, known.contract, known.digest, policy[1]),
                endorsements=self._home.endorsements(),
            )
            if admitted.appraisal.release is not None:
                software.remember(self._home, known.digest, admitted.appraisal.release, now=clock.text(now))
        except CloisterError as error:
            return self._refusal("session", request, "evidence.rejected", f"{error.code}: {error.reason}")
        documents_signed: list[envelope.Envelope] = []

        def admit(epoch: int) -> bytes:
            document = admission.seal_admission(
                admitted, self._key, contract=known.digest, epoch=epoch, time=clock.text(now)
            )
            documents_signed.append(document)
            return canonical.encode(document)

        claims, release = admitted.appraisal.claims, admitted.appraisal.release
        epoch = self._accounts.open_session(
            known.digest,
            request.vault_id,
            admit=admit,
            time=clock.text(now),
            launch=Launched(claims.tee, claims.launch),
            version="" if release is None else release.version,
        )
        return self._reply(
            "session",
            request,
            "",
            epoch=epoch,
            lease=self._lease(known.contract, now),
            admission=msgspec.to_builtins(documents_signed[-1]),
            keys=admission.seal_keys(admitted, self.did, contract=known.digest, epoch=epoch),
        )

    def _booked(
        self,
        op: Op,
        request: AppendRequest | SettleRequest | TipRequest,
        contract: Contract,
        booking: Booking,
        granted: Granted,
    ) -> LedgerReply:
        if booking.status == "session.unknown":
            # Anybody can sign with a key of his own; what was spent is for admitted vaults.
            return self._refusal(op, request, "session.unknown", "this vault has no session")
        return self._reply(
            op,
            request,
            population_of(request),
            tip=booking.tip,
            granted=granted,
            epoch=request.epoch,
            lease=self._lease(contract, self._clock.now()),
            status=booking.status,
            reason=booking.reason,
            sealed=booking.sealed,
        )

    def _refusal(self, op: Op, request: Request, status: str, reason: str) -> LedgerReply:
        epoch = 0 if isinstance(request, SessionRequest) else request.epoch
        return self._reply(op, request, population_of(request), status=status, reason=reason, epoch=epoch)

    def _reply(
        self,
        op: Op,
        request: Request,
        population: str,
        *,
        tip: Tip = _NO_TIP,
        granted: Granted = _NOTHING,
        status: str = "ok",
        **fields: Any,
    ) -> LedgerReply:
        return LedgerReply(
            op=op,
            request=request.request,
            nonce=request.nonce,
            broker=self.did,
            vault_id=request.vault_id,
            population=population,
            size=tip.size,
            root=tip.root,
            spent=str(tip.spent),
            limit=str(granted.rho),
            contract_spent=str(tip.contract_spent),
            analyst_spent=str(tip.analyst_spent),
            analyst_limit=str(granted.analyst),
            used=tip.used,
            limits=granted.limits,
            delta=delta_sums(tip, granted),
            matched=tip.matched or msgspec.UNSET,
            status=status,
            time=clock.text(self._clock.now()),
            **{"lease": "", **fields},
        )

    def _lease(self, contract: Contract, now: datetime) -> str:
        return min(clock.text(clock.later(now, LEASE_S)), contract.not_after)

    def _terms_of_self(self, contract: Contract) -> BrokerTerms | None:
        return broker_of(contract, self.did)

    def _granted(self, contract: Contract, population: str, analyst: str) -> Granted | None:
        return granted_by(contract, self._terms_of_self(contract), population, analyst)
