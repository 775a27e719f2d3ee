"""What a vault tells without touching data: the contract's tables and budgets, what is spent, what a plan costs.

Shapes as in docs/protocol.md section 4. Rho are exact fractions as text; epsilons are their equivalents at the
budget's delta.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec

from cloister.plan import precision
from cloister.plan.link import Context
from cloister.vault.brokers import Brokers
from cloister.vault.config import Account, Terms
from cloister.vault.question import Question
from cloister.vault.recall import Answer


def describe(terms: Terms, context: Context) -> dict[str, Any]:
    """Return contract, cards and the asker's budgets (all public)."""
    return {
        "contract": msgspec.to_builtins(terms.contract),
        "contract_digest": terms.digest,
        "mode": terms.mode,
        "assurance": terms.assurance,
        "analyst": context.analyst,
        "cards": {name: msgspec.to_builtins(card) for name, card in terms.cards.items()},
        "budgets": [_budget(terms, account, context.analyst) for account in terms.accounts()],
    }


def _budget(terms: Terms, account: Account, analyst: str) -> dict[str, str]:
    granted = account.budget
    total, mine = limits(terms, account, analyst)
    return {
        "population": granted.population,
        "broker": account.broker.name,
        "rho_total": str(total),
        "rho_analyst": str(mine),
        "default_rho": str(precision.rho_of_share(Fraction(granted.default_share), mine)),
        "epsilon": granted.epsilon,
        "delta": granted.delta,
    }


def limits(terms: Terms, account: Account, analyst: str) -> tuple[Fraction, Fraction]:
    """Return an account's limit and the analyst's part of it, in rho."""
    granted = account.budget
    total = precision.rho_of_epsilon(Fraction(granted.epsilon), Fraction(granted.delta))
    return total, total * terms.analyst_share(analyst, granted.population)


def budget(terms: Terms, context: Context, brokers: Brokers) -> dict[str, Any]:
    """Return every limit of the contract with what is spent, as the brokers sign it now.

    Raises:
        CloisterError: A broker could not be reached, or its reply not believed.
    """
    privacy = []
    releases, time = 0, ""
    for account in terms.accounts():
        reply = brokers.tip(account.broker, account.budget.population, context.analyst)
        privacy.append(_privacy(account, reply.spent, reply.limit, reply.analyst_spent, reply.analyst_limit))
        releases, time = max(releases, reply.releases), max(time, reply.time)
    return _with_frame(terms, privacy, releases, time)


def untouched(terms: Terms, context: Context, time: str) -> dict[str, Any]:
    """Return every limit with nothing spent: the budget of a rehearsal."""
    privacy = []
    for account in terms.accounts():
        total, mine = limits(terms, account, context.analyst)
        privacy.append(_privacy(account, "0", str(total), "0", str(mine)))
    return _with_frame(terms, privacy, 0, time)


def _privacy(account: Account, spent: str, limit: str, analyst_spent: str, analyst_limit: str) -> dict[str, Any]:
    return {
        "name": "privacy",
        "population": account.budget.population,
        "broker": account.broker.name,
        "spent": spent,
        "limit": limit,
        "analyst_spent": analyst_spent,
        "analyst_limit": analyst_limit,
    }


def _with_frame(terms: Terms, privacy: list[dict[str, Any]], releases: int, time: str) -> dict[str, Any]:
    limits_of_contract = [
        {"name": "releases", "spent": releases, "limit": terms.contract.limits.releases},
        {"name": "expiry", "not_after": terms.contract.not_after},
    ]
    return {"limits": [*privacy, *limits_of_contract], "time": time}


def cost(question: Question) -> dict[str, Any]:
    """Return what a question costs and how noisy its answer would be.

    ``sigma`` (grid units) and ``stderr`` (the measure's unit) are ``float.hex`` texts.
    """
    delta = Fraction(question.accounts[0].budget.delta)
    price = question.price
    return {
        "rho": str(price.rho),
        "rho_asked": str(price.rho_asked),
        "epsilon": str(precision.epsilon_of_rho(price.rho, delta)),
        "components": [
            {
                "measure": part.measure,
                "role": part.role,
                "step": str(part.step),
                "sigma": part.sigma.hex(),
                "stderr": part.stderr.hex(),
            }
            for part in price.components
        ],
        "cells": price.cells,
        "deadline_ms": price.deadline_ms,
    }


def answer(found: Answer, terms: Terms) -> dict[str, Any]:
    """Return the result of a confidential release."""
    receipt = found.receipt
    return {
        "release": receipt.release,
        "plan_digest": receipt.plan_digest,
        "charge_id": receipt.charge_id,
        "rho": receipt.rho,
        "raw": list(receipt.raw),
        "noise": msgspec.to_builtins(receipt.noise),
        "recalled": found.recalled,
        "mode": terms.mode,
        "assurance": receipt.assurance,
        "receipt": msgspec.to_builtins(found.envelope),
    }


def rehearsal(question: Question, raw: list[int], terms: Terms) -> dict[str, Any]:
    """Return the result of a mock release: the same fields, nothing charged, no receipt."""
    return {
        "release": question.release,
        "plan_digest": question.plan_digest,
        "charge_id": question.charge_id,
        "rho": str(question.price.rho),
        "raw": [str(value) for value in raw],
        "noise": msgspec.to_builtins(question.noise),
        "recalled": False,
        "mode": terms.mode,
        "assurance": terms.assurance,
        "receipt": None,
    }
