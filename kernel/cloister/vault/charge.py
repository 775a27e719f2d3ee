"""Step 6: every broker concerned signs the charge before anything runs (G2).

The entry is a function of plan, contract and asker, and its id names it for ever: asking again after a crash or a
lost reply finds the same entry and pays nothing. There is no refund and no abort; with several brokers a charge
that stopped half-way resumes.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from cloister.receipt.ledger import Entry, ExitEntry, LedgerReply
from cloister.receipt.receipt import Charge
from cloister.vault.brokers import Brokers
from cloister.vault.config import Account, Terms
from cloister.vault.limits import check_alone, check_charged, check_delta, check_match_status, check_matched
from cloister.vault.price import AccountPrice, Price
from cloister.vault.question import Asked
from cloister.vault.recall import Answer
from cloister.vault.statuses import check_status


class Booked(msgspec.Struct, frozen=True):
    """The charges as the brokers signed them, the latest broker time, and the deposit if one was settled."""

    charges: tuple[Charge, ...]
    time: str
    settled: str


def charge(
    brokers: Brokers,
    question: Asked,
    analyst: str,
    terms: Terms,
    leaves: ExitEntry | msgspec.UnsetType = msgspec.UNSET,
) -> Booked:
    """Book the question at every account, each at its own price; the first one keeps the deposit.

    ``leaves`` is what the entries say of an exit, if it is one.

    Raises:
        BudgetError: An account, the analyst's part or another limit of the contract is exhausted; with one account and
            a broker that keeps the limits nothing was charged.
        CloisterError: A broker could not be reached, or its reply not believed; or the contract has ended.
    """
    check_alone(question.price.usage, terms)
    charges: list[Charge] = []
    time = ""
    for account in question.accounts:
        due = question.due(account)
        entry = _entry(question, account, analyst, terms, leaves)
        reply = brokers.append(account.broker, entry, _approvals(question, account, terms))
        check_match_status(reply, leaves, terms)
        check_status(reply, account.broker)
        charges.append(_charge(entry, reply, due, question.price))
        time = max(time, reply.time)
        if reply.sealed and leaves is msgspec.UNSET:
            return Booked(tuple(charges), time, reply.sealed)
        check_charged(reply, account, terms, analyst)
        check_matched(reply, leaves, terms)
        if reply.sealed:  # a settled exit is executed again, so it must be within the limits first
            return Booked(tuple(charges), time, reply.sealed)
        if due.delta:
            check_delta(reply, account, terms, analyst)
    return Booked(tuple(charges), time, "")


def check_shared(
    brokers: Brokers,
    question: Asked,
    known: Answer,
    *,
    analyst: str,
    terms: Terms,
    leaves: ExitEntry | msgspec.UnsetType = msgspec.UNSET,
) -> None:
    """Check that every approval stands of an analyst who is shown what another one was charged for.

    ``charge`` has asked the account that keeps the deposit. The others hold the same entry, so asking charges nothing.

    Raises:
        CloisterError: See ``charge``.
    """
    if known.receipt.analyst == analyst:
        return
    for account in question.accounts[1:]:
        if named := _approvals(question, account, terms):
            reply = brokers.append(account.broker, _entry(question, account, analyst, terms, leaves), named)
            check_status(reply, account.broker)


def _entry(
    question: Asked, account: Account, analyst: str, terms: Terms, leaves: ExitEntry | msgspec.UnsetType
) -> Entry:
    due = question.due(account)
    return Entry(
        charge_id=question.charge_id,
        population=account.budget.population,
        contract=terms.digest,
        analyst=analyst,
        rho=str(due.rho),
        delta=str(due.delta),
        plan=question.plan_digest,
        usage=question.price.usage,
        maxima=_maxima(due, question.price),
        exit=leaves,
    )


def _approvals(question: Asked, account: Account, terms: Terms) -> tuple[str, ...]:
    """Return the approvals that concern tables of the account's broker, which alone holds them."""
    found = (one for one in question.grant.approvals if terms.broker_of(one.approval.table) == account.broker)
    return tuple(one.digest for one in found)


def _maxima(due: AccountPrice, whole: Price) -> str | msgspec.UnsetType:
    """Return what of the price is for quantiles."""
    named = zip(whole.components, due.parts, strict=True)
    found = sum((rho for part, rho in named if part.role == "quantile"), Fraction(0))
    return str(found) if found else msgspec.UNSET


def _charge(entry: Entry, reply: LedgerReply, due: AccountPrice, whole: Price) -> Charge:
    own = due.parts != tuple(part.rho for part in whole.components)
    return Charge(
        population=entry.population,
        broker=reply.broker,
        rho=entry.rho,
        size=reply.size,
        root=reply.root,
        spent=reply.spent,
        analyst_spent=reply.analyst_spent,
        used=reply.used,
        parts=tuple(map(str, due.parts)) if own else (),
        delta=entry.delta,
        delta_spent=reply.deltas.spent,
        analyst_delta_spent=reply.deltas.analyst_spent,
    )
