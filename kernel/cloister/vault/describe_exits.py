"""What a vault tells of an exit: its cost, its result, and a rehearsal's. Shapes as in docs/protocol.md section 4."""

from __future__ import annotations

from typing import Any

import msgspec

from cloister.attest.encoding import b64
from cloister.plan import algebra, codec
from cloister.plan.link import Rehearsal
from cloister.receipt import exits
from cloister.receipt.receipt import ExitStatement
from cloister.vault.config import Terms
from cloister.vault.exits import Left
from cloister.vault.outside import Allowed, Outside


def cost(plan: algebra.Exit, allowed: Allowed, terms: Terms) -> dict[str, Any]:
    """Return what an exit costs: no rho at all, and what it uses of the contract's limits."""
    return {
        "exit": codec.exit_name(plan),
        "clause": allowed.clause,
        "rho": "0",
        "excludes": " and ".join(terms.contract.excluded),
        "deadline_ms": allowed.price.deadline_ms,
        "usage": msgspec.to_builtins(allowed.price.usage),
    }


def left(found: Left, terms: Terms) -> dict[str, Any]:
    """Return the result of a confidential exit: what it gave, the receipt, and the salt that opens its commitment."""
    receipt = found.answer.receipt
    return {
        **_outside(found.asked, terms),
        "recalled": found.answer.recalled,
        "assurance": receipt.assurance,
        "receipt": msgspec.to_builtins(found.answer.envelope),
        "admissions": msgspec.to_builtins(found.answer.admissions),
        **found.result,
    }


def rehearsal(asked: Outside, result: dict[str, Any], terms: Terms) -> dict[str, Any]:
    """Return the result of a mock exit: the same fields, nothing charged, no receipt."""
    given = {"recalled": False, "assurance": terms.assurance, "receipt": None, "admissions": []}
    return {**_outside(asked, terms), **given, **result}


def _outside(asked: Outside, terms: Terms) -> dict[str, Any]:
    return {
        "exit": asked.leaves.name,
        "release": asked.release,
        "commitment": asked.plan_digest,
        "charge_id": asked.charge_id,
        "salt": b64(asked.salt),
        "mode": terms.mode,
    }


def rehearsed(asked: Outside, statement: ExitStatement) -> Rehearsal:
    """Return what a mock exit tells the proxy."""
    return Rehearsal(asked.release, asked.plan_digest, exits.question(statement), (), asked.price.usage)
