"""Amendments: a contract that takes the place of another one, signed by everybody who signed that one.

An account belongs to a population, not to a contract, so what was spent stays spent. What a contract counts for itself
(releases, rows, computing, models, targets of matches, deliveries) begins anew under the amendment, whose parties sign
the limits.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloister.contract.findings import Finding, exact, warning
from cloister.contract.terms import Contract
from cloister.errors import ContractError

_ANEW = ("counted anew from 0", "lower it by what was used before")


def check(after: Contract, before: Contract) -> None:
    """Check that whoever gave something under a contract has signed its amendment.

    Raises:
        ContractError: ``contract.amends``.
    """
    signers = {party.did for party in after.parties}
    for party in before.parties:
        if party.role == "provider" and party.did not in signers:
            raise refused(f"{party.name}, a provider of the contract it amends, is no party of it")


def findings(after: Contract, before: Contract) -> Iterator[Finding]:
    """Yield what the people who sign an amendment should notice."""
    old = {(budget.broker, budget.population): budget for budget in before.budgets}
    for budget in after.budgets:
        former = old.get((budget.broker, budget.population))
        if former is None:
            yield warning(
                "amendment.budget",
                f"budgets.{budget.population}",
                "a population that the former contract did not charge",
                "what others have spent of it counts",
            )
        elif (now := exact(budget.epsilon)) is not None and (was := exact(former.epsilon)) is not None and now > was:
            yield warning(
                "amendment.budget",
                f"budgets.{budget.population}",
                f"epsilon grows from {former.epsilon} to {budget.epsilon}",
                "what was spent counts against the larger budget",
            )
    known = {party.did for party in before.parties}
    for party in after.parties:
        if party.did not in known:
            yield warning("amendment.party", "parties", f"{party.name} is new", "check the did over a path you trust")
    for name in type(after.limits).__struct_fields__:
        yield warning("amendment.limit", f"limits.{name}", *_ANEW)
    for match in after.outside.matches:
        if (match.table, match.column) in {(one.table, one.column) for one in before.outside.matches}:
            where = f"exits.matches of {match.column} in {match.table}"
            yield warning("amendment.limit", f"{where}: per_contract", *_ANEW)
            yield warning("amendment.limit", f"{where}: per_target", *_ANEW)
    for delivery in after.outside.deliveries:
        if delivery.plan in {one.plan for one in before.outside.deliveries}:
            yield warning("amendment.limit", f"exits.deliveries of {delivery.plan}: times", *_ANEW)


def refused(reason: str) -> ContractError:
    """Return the refusal of an amendment."""
    return ContractError(
        "contract.amends", reason, clause="amends", next_step="draft a contract of its own, without the clause amends"
    )
