"""Receipts of exits: what they must and must not state. Pure; proxy, vault and reviewer run these functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from cloister.contract.terms import Contract
from cloister.errors import TrustError
from cloister.receipt import naming
from cloister.receipt.receipt import Charge, ExitStatement, Receipt

OUTSIDE = "outside the formal guarantee"
MAX_SIZE = 2**40
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_statement(receipt: Receipt, stated: ExitStatement, contract: Contract) -> None:
    """Check that the receipt of an exit names a clause of the contract, and shows neither plan nor values.

    Raises:
        TrustError: ``receipt.exit``, or ``receipt.limit``: more units than the clause allows in all.
    """
    allowed = contract.outside
    clauses = allowed.matches if stated.name == "match" else allowed.deliveries
    if not 0 <= stated.clause < len(clauses):
        raise TrustError("receipt.exit", f"the contract has no such clause for a {stated.name}", clause="exits")
    shown = receipt.plan or receipt.noise or receipt.raw or receipt.rho != "0" or receipt.seeded
    noisy = not isinstance(receipt.delta, msgspec.UnsetType) or not isinstance(receipt.labels, msgspec.UnsetType)
    if shown or noisy or not _DIGEST.fullmatch(receipt.plan_digest):
        raise TrustError("receipt.exit", "the receipt of an exit states a plan, a price or values")
    if stated.name == "deliver":
        _check_delivery(stated, contract)
    elif stated.receiver or stated.file or stated.key or stated.size or not 1 <= stated.targets <= 2**53:
        raise TrustError("receipt.exit", "the receipt of a match states what only a delivery has")
    elif stated.targets > allowed.matches[stated.clause].per_contract:
        raise TrustError("receipt.limit", "a match of more units than its clause allows", clause="exits.matches")


def _check_delivery(stated: ExitStatement, contract: Contract) -> None:
    if stated.receiver != contract.outside.deliveries[stated.clause].receiver:
        raise TrustError("receipt.exit", "delivered to another receiver than the clause names", clause="exits")
    if not _DIGEST.fullmatch(stated.file) or not 0 < stated.size <= MAX_SIZE or not stated.key or stated.targets:
        raise TrustError("receipt.exit", "the receipt of a delivery does not say what was delivered")


def beyond(receipts: Iterable[Receipt], contract: Contract) -> tuple[str, ...]:
    """Return in words each clause of the contract that these receipts pass, each charge counted once.

    The receipts passed ``check_statement``. Receipts that are not shown may count too, so none passed is no proof.
    """
    counted: dict[tuple[str, int], dict[str, int]] = {}
    for receipt in receipts:
        if receipt.exits is not None:
            each = counted.setdefault((receipt.exits.name, receipt.exits.clause), {})
            units = receipt.exits.targets if receipt.exits.name == "match" else 1
            each[receipt.charge_id] = max(units, each.get(receipt.charge_id, 0))
    passed = []
    for (name, clause), each in sorted(counted.items()):
        total, allowed = sum(each.values()), contract.outside
        if name == "match" and total > (most := allowed.matches[clause].per_contract):
            passed.append(f"matches of {total:,} units under exits.matches[{clause}], which allows {most:,}")
        elif name == "deliver" and total > (most := allowed.deliveries[clause].times):
            passed.append(f"{total:,} deliveries under exits.deliveries[{clause}], which allows {most:,}")
    return tuple(passed)


def check_charge(charge: Charge) -> None:
    """Check that an exit is in the account's log at no price: what costs has noise, and the noise is checked.

    Raises:
        TrustError: ``receipt.charge``.
    """
    if charge.rho != "0" or charge.parts or charge.delta != "0":
        raise TrustError("receipt.charge", "an exit was charged a price that no noise stands for")


def check_opened(receipt: Receipt, salt: bytes, plan: bytes) -> None:
    """Check a plan that its asker shows against the commitment in the receipt.

    Raises:
        TrustError: ``receipt.commitment``.
    """
    if receipt.exits is None or naming.commitment(salt, plan) != receipt.plan_digest:
        raise TrustError("receipt.commitment", "this plan and salt are not what the receipt commits to")


def question(stated: ExitStatement) -> str:
    """Return an exit in a few words."""
    if stated.name == "deliver":
        return f"scores delivered, sealed to {stated.receiver}: {OUTSIDE}"
    return f"match of {stated.targets} unit{'' if stated.targets == 1 else 's'}: {OUTSIDE}"
