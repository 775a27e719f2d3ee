"""What a vault tells without touching data: the contract's tables and budgets, what is spent, what a plan costs.

Shapes as in docs/protocol.md section 4. Rho are exact fractions as text; epsilons are their equivalents at the
budget's delta.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec

from cloister.contract.usage import Used, largest
from cloister.errors import CloisterError
from cloister.plan import precision
from cloister.plan.link import Context, Rehearsal, RehearsedCost
from cloister.receipt import facts
from cloister.receipt.ledger import LedgerReply, OwnAlert
from cloister.receipt.receipt import Charge
from cloister.vault.brokers import Brokers
from cloister.vault.config import Account, Terms
from cloister.vault.question import Question
from cloister.vault.recall import Answer

MOST_ALERTS = 10
"""How many alerts of one broker about the analyst are passed on."""


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
    total, mine = terms.rho_limits(account, analyst)
    keys = {"delta_keys": granted.delta_keys} if Fraction(granted.delta_keys) else {}
    return {
        **keys,
        "population": granted.population,
        "broker": account.broker.name,
        "rho_total": str(total),
        "rho_analyst": str(mine),
        "default_rho": str(precision.rho_of_share(Fraction(granted.default_share), mine)),
        "epsilon": granted.epsilon,
        "delta": granted.delta,
    }


def budget(terms: Terms, context: Context, brokers: Brokers) -> dict[str, Any]:
    """Return every limit of the contract with what is spent, as the brokers sign it now.

    A broker that does not answer is named with its error in place of what is spent, and the others are shown.

    Raises:
        CloisterError: No broker at all answered, or none could be believed.
    """
    replies: list[LedgerReply] = []
    alerts: dict[str, tuple[OwnAlert, ...]] = {}
    errors: dict[str, CloisterError] = {}
    privacy: list[dict[str, Any]] = []
    for account in terms.accounts():
        told: dict[str, Any]
        keys: dict[str, Any]
        try:
            if account.broker.name in errors:
                raise errors[account.broker.name]
            reply = brokers.tip(account.broker, account.budget.population, context.analyst)
            replies.append(reply)
            alerts[account.broker.name] = reply.own_alerts[:MOST_ALERTS]
            told = {"spent": reply.spent, "analyst_spent": reply.analyst_spent}
            keys = {"spent": reply.deltas.spent, "analyst_spent": reply.deltas.analyst_spent}
        except CloisterError as error:
            errors[account.broker.name] = error
            told = keys = {"error": {"code": error.code, "reason": error.reason}}
        privacy += _privacy(terms, account, context.analyst, told, keys)
    if errors and not replies:
        raise next(iter(errors.values()))
    used = largest([reply.used for reply in replies])
    found = _with_counts(terms, privacy, used, max((reply.time for reply in replies), default=""))
    # Each broker's word about the analyst who asks, and about nobody else.
    about = [{**msgspec.to_builtins(one), "broker": name} for name, own in alerts.items() for one in own]
    return {**found, "alerts": about} if about else found


def untouched(terms: Terms, context: Context, time: str) -> dict[str, Any]:
    """Return every limit with nothing spent: the budget of a rehearsal."""
    nothing = {"spent": "0", "analyst_spent": "0"}
    each = (_privacy(terms, account, context.analyst, nothing, nothing) for account in terms.accounts())
    privacy = [limit for limits in each for limit in limits]
    return _with_counts(terms, privacy, Used(), time)


def _privacy(
    terms: Terms, account: Account, analyst: str, told: dict[str, Any], keys: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the limit of rho, and the one of delta where the contract grants any for keys."""
    # The limits are the contract's own: a broker states them too, but nobody has to believe it.
    whose = {"population": account.budget.population, "broker": account.broker.name}
    total, mine = terms.rho_limits(account, analyst)
    if excluded := terms.contract.excluded:
        whose["excludes"] = " and ".join(excluded)
    found = [{"name": "privacy", **whose, "limit": str(total), "analyst_limit": str(mine), **told}]
    total, mine = terms.delta_limits(account, analyst)
    if total:
        found.append({"name": "delta", **whose, "limit": str(total), "analyst_limit": str(mine), **keys})
    return found


def _with_counts(terms: Terms, privacy: list[dict[str, Any]], used: Used, time: str) -> dict[str, Any]:
    granted = terms.contract.limits
    counts = [
        {"name": name, "spent": getattr(used, name), "limit": getattr(granted, name)}
        for name in granted.__struct_fields__
    ]
    expiry = {"name": "expiry", "not_after": terms.contract.not_after}
    return {"limits": [*privacy, *counts, expiry], "time": time}


def cost(question: Question) -> dict[str, Any]:
    """Return what a question costs and how noisy its answer would be.

    ``sigma`` (grid units) and ``stderr`` (the measure's unit) are ``float.hex`` texts. ``rho`` is the most that any
    account pays, ``charges`` what each does.
    """
    delta = question.accounts[0].budget.delta_conversion
    price = question.price
    return {
        "charges": [_due(question, account) for account in question.accounts],
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
        "delta": str(price.delta),
        "threshold": price.threshold,
        "deadline_ms": price.deadline_ms,
        "usage": msgspec.to_builtins(price.usage),
    }


def _due(question: Question, account: Account) -> dict[str, str]:
    due = question.due(account)
    named = {"population": account.budget.population, "broker": account.broker.name, "rho": str(due.rho)}
    return {**named, "delta": str(due.delta)} if due.delta else named


def answer(found: Answer, terms: Terms) -> dict[str, Any]:
    """Return the result of a confidential release."""
    receipt = found.receipt
    return {
        "release": receipt.release,
        "plan_digest": receipt.plan_digest,
        "charge_id": receipt.charge_id,
        "rho": receipt.rho,
        "raw": list(receipt.raw),
        **(
            {}
            if isinstance(receipt.labels, msgspec.UnsetType)
            else {"labels": [list(found) for found in receipt.labels]}
        ),
        "noise": msgspec.to_builtins(receipt.noise),
        "recalled": found.recalled,
        "mode": terms.mode,
        "assurance": receipt.assurance,
        "receipt": msgspec.to_builtins(found.envelope),
        "charges": [_charged(charge, terms) for charge in receipt.charges],
    }


def _charged(charge: Charge, terms: Terms) -> dict[str, str]:
    broker = next((name for name, broker in terms.brokers.items() if broker.did == charge.broker), charge.broker)
    named = {"population": charge.population, "broker": broker, "rho": charge.rho}
    return {**named, "delta": charge.delta} if charge.delta != "0" else named


def rehearsed(question: Question) -> Rehearsal:
    """Return what a mock release tells the proxy beside its values: what it would cost."""
    costs = tuple(
        RehearsedCost(account.budget.population, str(question.due(account).rho)) for account in question.accounts
    )
    words = facts.question(question.plan)
    return Rehearsal(question.release, question.plan_digest, words, costs, question.price.usage)


def rehearsal(
    question: Question, raw: list[int], terms: Terms, labels: tuple[tuple[str, ...], ...] | None = None
) -> dict[str, Any]:
    """Return the result of a mock release: the same fields, nothing charged, no receipt."""
    return {
        "release": question.release,
        "plan_digest": question.plan_digest,
        "charge_id": question.charge_id,
        "rho": str(question.price.rho),
        "raw": [str(value) for value in raw],
        **({} if labels is None else {"labels": [list(found) for found in labels]}),
        "noise": msgspec.to_builtins(question.noise),
        "recalled": False,
        "mode": terms.mode,
        "assurance": terms.assurance,
        "receipt": None,
        "charges": [_due(question, account) for account in question.accounts],
    }
