"""A plan that may be asked: decoded, authorised, analysed, priced and named. Everything here is public.

Steps 1 to 4 of a release, which ``price`` takes as well: the price of a release is found by the same code that
charges it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec

from cloister.errors import ContractError, PlanError
from cloister.plan import algebra, codec
from cloister.plan.link import Context, Request
from cloister.plan.numbers import rational
from cloister.receipt import naming
from cloister.receipt.receipt import ComponentNoise
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.authorise import authorise
from cloister.vault.config import Account, Terms
from cloister.vault.permits import Grant, check_reads
from cloister.vault.price import AccountPrice, Price, price


class Asked(msgspec.Struct, frozen=True):
    """What is charged, settled and recalled under one name: what the contract grants and what it costs."""

    plan_digest: str
    grant: Grant
    price: Price
    accounts: tuple[Account, ...]
    manifests: tuple[str, ...]
    cards: tuple[str, ...]
    release: str
    charge_id: str

    def due(self, account: Account) -> AccountPrice:
        """Return what an account pays for the release."""
        return self.price.due(account.key)


class Question(Asked, frozen=True):
    """A plan with noise, analysed."""

    plan: algebra.Plan
    document: dict[str, Any]
    analysis: Analysis
    noise: tuple[ComponentNoise, ...]


def name_question(
    plan: algebra.Plan, grant: Grant, analysis: Analysis, cost: Price, *, analyst: str, terms: Terms
) -> Question:
    """Return the question with its release key and charge id (docs/protocol.md section 6)."""
    plan_digest = codec.digest(plan)
    return Question(
        **names(plan_digest, rational(plan.rho), grant, analyst=analyst, terms=terms),
        price=cost,
        plan=plan,
        document=codec.encode(plan),
        analysis=analysis,
        noise=tuple(ComponentNoise(part.sigma.hex(), str(part.rho)) for part in cost.components),
    )


def names(plan_digest: str, rho: Fraction, grant: Grant, *, analyst: str, terms: Terms) -> dict[str, Any]:
    """Return the fields of ``Asked`` that follow from plan, price asked, contract and asker."""
    manifests = tuple(sorted({terms.tables[name].manifest for name in grant.tables}))
    cards = tuple(sorted({terms.tables[name].card for name in grant.tables}))
    release = naming.release_key(
        plan=plan_digest,
        rho=rho,
        manifests=manifests,
        cards=cards,
        env_digest=terms.env_digest,
        contract=terms.digest,
        analyst="" if terms.contract.share_releases else analyst,
    )
    accounts = {(a.broker.did, a.budget.population): a for a in map(terms.account_of, grant.scanned)}
    _check_asked(grant, {account.broker.did for account in accounts.values()}, terms)
    return {
        "plan_digest": plan_digest,
        "grant": grant,
        "accounts": tuple(accounts[key] for key in sorted(accounts)),
        "manifests": manifests,
        "cards": cards,
        "release": release,
        "charge_id": naming.charge_id(release),
    }


def _check_asked(grant: Grant, asked: set[str], terms: Terms) -> None:
    """Check that the broker of every approval is one of those ``asked``: it alone knows whether that still stands."""
    for approved in grant.approvals:
        if terms.broker_of(approved.approval.table).did not in asked:
            raise ContractError(
                "approval.broker",
                f"the approval for {approved.approval.table} is held by a broker that this plan is not charged at",
                clause="approvals are asked for with every charge",
                next_step="Leave the approved columns of that public table out.",
            )


def prepare(document: dict[str, Any], context: Context, terms: Terms) -> Question:
    """Return a plan after steps 1 to 4 of a release, for those who only want to know its price.

    Raises:
        CloisterError: The plan is malformed, not allowed by the contract, or cannot be released as written.
    """
    plan = codec.decode(document)
    grant = authorise(plan, context, terms)
    analysis = analyse(plan, grant.cards, terms.account_keys(grant.scanned))
    grant = check_reads(analysis.uses, grant, context, terms)
    return name_question(
        plan, grant, analysis, price(analysis, rational(plan.rho)), analyst=context.analyst, terms=terms
    )


def plan_of(request: Request) -> dict[str, Any]:
    """Return the plan of a request.

    Raises:
        PlanError: ``plan.missing``.
    """
    if request.plan is None:
        raise PlanError("plan.missing", f"a {request.op} request needs a plan", next_step="Send a plan.")
    return request.plan
