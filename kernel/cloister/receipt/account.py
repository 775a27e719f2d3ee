"""What an account may come to: the sums of its entries, what a contract grants, and the refusals between them. Pure.

A broker decides by these rules before it writes, and whoever audits its logs applies the same ones to every entry.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from cloister.contract.exits import Exits
from cloister.contract.terms import Broker, Contract, Limits
from cloister.contract.usage import Usage, Used, exceeded
from cloister.plan.precision import rho_of_epsilon
from cloister.receipt import sums
from cloister.receipt.ledger import Entry, Matched

BURNT = "burnt:"
"""Charge ids that begin so are of no release: what ``cloister ledger recover`` books for charges it cannot prove."""


class Granted(msgspec.Struct, frozen=True):
    """What a contract grants: rho and delta of the population and of the analyst, its limits and exits beside them."""

    rho: Fraction
    analyst: Fraction
    limits: Limits
    delta: Fraction = Fraction(0)
    analyst_delta: Fraction = Fraction(0)
    exits: Exits = Exits()


class Deltas(msgspec.Struct, frozen=True):
    """The second sum: delta spent on an account by everybody, under one contract, and by one analyst of it."""

    spent: Fraction = Fraction(0)
    contract_spent: Fraction = Fraction(0)
    analyst_spent: Fraction = Fraction(0)


class Tip(msgspec.Struct, frozen=True):
    """Where an account stands, and what contract and analyst have spent (rho), after the transaction."""

    size: int
    root: str
    spent: Fraction
    contract_spent: Fraction
    analyst_spent: Fraction
    used: Used
    delta: Deltas = Deltas()
    matched: tuple[Matched, ...] = ()


def charged(before: Tip, amount: Fraction, delta: Fraction, usage: Usage | None, *, size: int, root: str) -> Tip:
    """Return the account after one more entry; ``usage`` if the release is counted with it."""
    return Tip(
        size=size,
        root=root,
        spent=sums.add(before.spent, amount),
        contract_spent=sums.add(before.contract_spent, amount),
        analyst_spent=sums.add(before.analyst_spent, amount),
        used=before.used if usage is None else before.used.plus(usage),
        delta=Deltas(*(sums.add(spent, delta) for spent in msgspec.structs.astuple(before.delta))),
    )


def refusal(after: Tip, entry: Entry, amount: Fraction, delta: Fraction, granted: Granted) -> str:
    """Return why the account may not come to stand at ``after``, or ``""``."""
    if found := exit_refusal(entry, amount, delta, granted):
        return found
    if after.spent > granted.rho:
        return "budget.exhausted"
    # What spends none is not held against the sum of those that do, perhaps under another contract.
    if delta and (after.delta.spent > granted.delta or after.delta.analyst_spent > granted.analyst_delta):
        return "budget.delta"
    if after.analyst_spent > granted.analyst:
        return "limit.analyst"
    beyond = exceeded(after.used, granted.limits)
    return f"limit.{beyond}" if beyond else ""


def exit_refusal(entry: Entry, amount: Fraction, delta: Fraction, granted: Granted) -> str:
    """Return why an entry may not be what it is: an analyst's exit under a clause, free, or noise that costs."""
    if entry.exits is None:
        return "" if amount > 0 else "budget.exhausted"
    clauses = granted.exits.matches if entry.exits.name == "match" else granted.exits.deliveries
    if amount or delta or not 0 <= entry.exits.clause < len(clauses):
        return f"exit.{entry.exits.name}"
    # At no price nothing passes the share of somebody who has none: who is no analyst of the contract is told here.
    return "" if granted.analyst > 0 else "limit.analyst"


def granted_by(contract: Contract, broker: Broker | None, population: str, analyst: str) -> Granted | None:
    """Return what a contract grants at a broker: None without a budget for the population, nothing to a stranger."""
    name = next((p.name for p in contract.parties if p.did == analyst and p.role == "analyst"), None)
    for budget in contract.budgets:
        if broker is not None and (budget.broker, budget.population) == (broker.name, population):
            rho = rho_of_epsilon(Fraction(budget.epsilon), budget.delta_conversion)
            delta, share = Fraction(budget.delta_keys), _share(contract, population, name)
            return Granted(rho, rho * share, contract.limits, delta, delta * share, contract.outside)
    return None


def broker_of(contract: Contract, did: str) -> Broker | None:
    """Return the terms of the broker with this did, if the contract names it."""
    return next((broker for broker in contract.brokers if broker.did == did), None)


def is_burnt(entry: Entry) -> bool:
    """Whether an entry is of no release but of a recovery; no vault can write one, for it belongs to no contract."""
    return entry.contract == "" and entry.charge_id.startswith(BURNT)


def _share(contract: Contract, population: str, analyst: str | None) -> Fraction:
    if analyst is None:
        return Fraction(0)
    for limit in contract.analyst_limits:
        if (limit.analyst, limit.population) == (analyst, population):
            return Fraction(limit.share)
    return Fraction(1)
