"""The common form of every reply of a broker: bound to request, nonce and vault, with what an account's tip says."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec

from cloister.contract.terms import Contract, Limits
from cloister.contract.usage import Used
from cloister.provider import clock
from cloister.provider.accounts import Booking, Granted, Tip
from cloister.provider.requests import Op, Request, delta_sums, population_of
from cloister.receipt.ledger import AppendRequest, LedgerReply, OwnAlert, SessionRequest, SettleRequest, TipRequest

LEASE_S = 3600
NOTHING = Granted(Fraction(0), Fraction(0), Limits(0, 0, 0, 0))
_NO_TIP = Tip(0, "", Fraction(0), Fraction(0), Fraction(0), Used())


class Replies:
    """Makes the replies of one broker, unsigned, with its time."""

    def __init__(self, did: str, time: clock.Clock) -> None:
        self._did, self._clock = did, time

    def booked(
        self,
        op: Op,
        request: AppendRequest | SettleRequest | TipRequest,
        contract: Contract,
        booking: Booking,
        granted: Granted,
        *,
        alerts: tuple[OwnAlert, ...] = (),
    ) -> LedgerReply:
        """Return the reply that says how an account stands after a request."""
        if booking.status == "session.unknown":
            # Anybody can sign with a key of his own; what was spent is for admitted vaults.
            return self.refusal(op, request, "session.unknown", "this vault has no session")
        return self.reply(
            op,
            request,
            population_of(request),
            tip=booking.tip,
            granted=granted,
            epoch=request.epoch,
            lease=lease(contract, self._clock.now()),
            status=booking.status,
            reason=booking.reason,
            sealed=booking.sealed,
            alerts=alerts or msgspec.UNSET,
        )

    def refusal(self, op: Op, request: Request, status: str, reason: str) -> LedgerReply:
        """Return a reply that grants nothing, and says nothing of any account."""
        epoch = 0 if isinstance(request, SessionRequest) else request.epoch
        return self.reply(op, request, population_of(request), status=status, reason=reason, epoch=epoch)

    def reply(
        self,
        op: Op,
        request: Request,
        population: str,
        *,
        tip: Tip = _NO_TIP,
        granted: Granted = NOTHING,
        status: str = "ok",
        **fields: Any,
    ) -> LedgerReply:
        """Return a reply; ``fields`` are others of a ``LedgerReply``."""
        return LedgerReply(
            op=op,
            request=request.request,
            nonce=request.nonce,
            broker=self._did,
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


def lease(contract: Contract, now: datetime) -> str:
    """Return until when a vault may go on without hearing from its broker."""
    return min(clock.text(clock.later(now, LEASE_S)), contract.not_after)
