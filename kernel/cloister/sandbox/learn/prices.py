"""The price of several releases together, and how one price is divided among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from cloister.contract.usage import Usage
from cloister.errors import PlanError
from cloister.sandbox import doubts
from cloister.sandbox.answer import Fact
from cloister.sandbox.cost import Cost
from cloister.sandbox.precision import Charged, Precision, Reach
from cloister.sandbox.rows import Rows
from cloister.sandbox.session import Due, Session


def together(session: Session, costs: Sequence[Cost], *, whole: bool = True) -> Cost:
    """Return what several releases cost together: each account pays the sum of its parts (zCDP adds up).

    ``whole``: one price is said for all of them, which would have to be more where it is too little for one.

    Disjoint parts of a ``Split`` share no unit, so a tighter account would charge the dearest of them only; the account
    books the sum, and so does this.
    """
    accounts = _summed(session, [account for cost in costs for account in cost.accounts])
    errors: dict[str, float] = {}
    for cost in costs:
        for name, error in cost.errors.items():
            errors[name] = max(error, errors.get(name, 0.0))
    first = costs[0]
    return dataclasses.replace(
        first,
        rho=max(account.rho for account in accounts),
        epsilon=max(account.epsilon for account in accounts),
        share=max(account.share for account in accounts),
        accounts=accounts,
        errors=errors,
        n=next((cost.n for cost in costs if cost.n is not None), None),
        cells=max(cost.cells for cost in costs),
        deadline_ms=sum(cost.deadline_ms for cost in costs),
        usage=Usage(
            rows=sum(cost.usage.rows for cost in costs),
            compute=sum(cost.usage.compute for cost in costs),
            models=sum(cost.usage.models for cost in costs),
        ),
        delta=sum((cost.delta for cost in costs), Fraction(0)),
        doubts=doubts.together(costs, whole=whole),
        layout=None,
        stderrs=(),
        sigmas=(),
    )


def joined(facts: Sequence[Fact]) -> Fact:
    """Return the facts of a value computed from several releases: the price and receipts of all of them."""
    # One question asked twice is one release, charged once.
    facts = list({fact.release: fact for fact in reversed(facts)}.values())[::-1]
    first = facts[0]
    accounts = _summed(first.ask.rows.session, [account for fact in facts for account in fact.accounts])
    return dataclasses.replace(
        first,
        rho=max(account.rho for account in accounts),
        epsilon=max(account.epsilon for account in accounts),
        share=max(account.share for account in accounts),
        accounts=accounts,
        parts=tuple(part for fact in facts for part in fact.parts),
        recalled=all(fact.recalled for fact in facts),
        paid=sum(fact.share for fact in facts if not fact.recalled),
        notes=tuple(dict.fromkeys(note for fact in facts for note in fact.notes)),
        ask=None,
    )


def _summed(session: Session, charged: Sequence[Charged]) -> tuple[Charged, ...]:
    paid: dict[tuple[str, str], Fraction] = {}
    for part in charged:
        name = (part.population, part.broker)
        paid[name] = paid.get(name, Fraction(0)) + part.rho
    return session.charged(Due(population, str(rho), broker) for (population, broker), rho in paid.items())


def divided(rows: Rows, epsilon: Any, share: Any, weights: Sequence[Fraction]) -> list[float]:
    """Return the shares of the analyst's total that releases are asked at, if all of them cost this together.

    Args:
        rows: What is asked about; a share is of the smallest account of its tables.
        epsilon: Of all together; or
        share: of all together; with neither, the contract's default share.
        weights: What part of the price each gets; they add up to 1.

    Raises:
        PlanError: Both were said, or one out of range.
    """
    account = rows.session.tightest(rows.tables)

    def no_width(_rho: Fraction) -> Reach:
        raise PlanError("api.within", "several releases have no common half-width")

    rho = Precision(epsilon, share).rho(account, no_width)
    # Rounded down to a double: together they never cost more than was said.
    return [float(rho * weight / account.mine) * (1 - 1e-12) for weight in weights]


def must_say(what: str, price: Cost, form: str) -> PlanError:
    """Return the refusal of a loop of releases for which no price was said: it names the price it would have."""
    return PlanError(
        "api.learn.price",
        f"{what}: at the prices its parts have by themselves, epsilon {price.epsilon:.3g} = "
        f"{100 * price.share:.3g} % of your total",
        nearest=(form,),
        next_step="say epsilon= or share= of the whole; .cost(...) tells the price before",
    )
