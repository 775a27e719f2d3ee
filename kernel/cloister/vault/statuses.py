"""What a broker's signed ``status`` means for the analyst: which error, which clause, what to do next."""

from __future__ import annotations

from fractions import Fraction

from cloister.contract.terms import Broker
from cloister.errors import BudgetError, CloisterError, ContractError, FaultError, TrustError, UnavailableError
from cloister.receipt.ledger import LedgerReply

_NEW_CONTRACT = "Ask the data provider for a contract with a larger budget."
_CHEAPER = "Ask for less precision (a smaller epsilon= or share=); cl.budget() shows what is left."


def check_status(reply: LedgerReply, broker: Broker) -> None:
    """Return if the reply grants what was asked (``ok`` or ``settled``), else raise what it means.

    Raises:
        BudgetError: ``budget.exhausted``, ``limit.analyst``, ``limit.releases``.
        ContractError: ``contract.unknown``, ``contract.inactive``.
        TrustError: ``session.fenced``, ``evidence.rejected``, ``charge.conflict``, or a status nobody defined.
        UnavailableError: ``ledger.unavailable``, ``session.unknown``.
    """
    if reply.status not in {"ok", "settled"}:
        raise _error(reply, broker)


def _error(reply: LedgerReply, broker: Broker) -> CloisterError:
    status = reply.status
    if status in {"budget.exhausted", "limit.analyst", "limit.releases"}:
        return _budget(reply)
    if status in {"contract.unknown", "contract.inactive"}:
        return ContractError(
            status,
            f"broker {broker.name} does not serve this contract now: {reply.reason or 'no reason given'}",
            clause="state and validity of the contract",
            next_step="Ask the data provider whether the contract is active.",
        )
    if status == "evidence.rejected":
        return TrustError(
            status,
            f"broker {broker.name} does not accept this enclave: {reply.reason or 'no reason given'}",
            clause="policies",
            next_step="The provider's policy decides; `cloister status` shows what the enclave proved.",
        )
    if status == "session.fenced":
        return TrustError(
            status,
            "a newer vault of this contract has taken over; this one may not release any more",
            clause="One vault per contract: the broker's epoch fences older ones.",
            next_step="Restart the kernel. Releases already paid for are recalled at no charge.",
        )
    if status in {"ledger.unavailable", "session.unknown"}:
        return UnavailableError(
            status,
            f"broker {broker.name} cannot book a release now; nothing was charged",
            next_step="Run the cell again later; a retry is never charged twice.",
        )
    if status == "charge.conflict":
        return TrustError(
            status,
            "the account holds another entry under the name of this release",
            clause="A charge id names one entry for ever.",
            next_step="Tell the data provider: the account and this contract disagree.",
        )
    return FaultError("broker.status", f"broker {broker.name} answered with a status this version does not know")


def _budget(reply: LedgerReply) -> BudgetError:
    if reply.status == "limit.releases":
        return BudgetError(
            reply.status,
            f"all {reply.releases_limit} releases of the contract are used",
            clause="limits.releases",
            next_step="Re-running an earlier release is free; otherwise ask the provider for a new contract.",
        )
    if reply.status == "limit.analyst":
        left = Fraction(reply.analyst_limit) - Fraction(reply.analyst_spent)
        return BudgetError(
            reply.status,
            f"this release costs more than the {_rho(left)} left of your part of population {reply.population}",
            clause=f"analyst_limits: {_rho(Fraction(reply.analyst_limit))}",
            next_step=_CHEAPER,
        )
    left = Fraction(reply.limit) - Fraction(reply.spent)
    return BudgetError(
        reply.status,
        f"this release costs more than the {_rho(left)} left of the budget of population {reply.population}",
        clause=f"budgets: {_rho(Fraction(reply.limit))}",
        next_step=_CHEAPER if left > 0 else _NEW_CONTRACT,
    )


def _rho(value: Fraction) -> str:
    return f"{float(value):.3g} rho"
