"""Coverage: which columns of a table a contract can ever let a plan depend on. Pure; broker and vault compute the same.

Keys of a capsule's column groups are given to a vault for these columns only. What is covered follows from the signed
contract and the card alone, not from what somebody asks: the vault of a contract that grants nobody a column, or whose
tier rules refuse every operation it has with it, never holds the key of its group (unless it shares a group with a
column that is covered).
"""

from __future__ import annotations

import msgspec

from cloister.contract import packs
from cloister.contract.card import Card, Column
from cloister.contract.terms import Contract


def covered(contract: Contract, card: Card) -> frozenset[str]:
    """Return the covered columns of a table; empty if there is none.

    Where there is any, the key columns are covered with it: they say which rows are of one unit.

    Raises:
        ContractError: ``pack.unknown``, ``pack.digest``.
    """
    granted = _granted(contract, card.name)
    used = {
        column.name
        for column in card.columns
        if (granted is None or column.name in granted) and _allowed(contract, card, column)
    }
    if not used and not _matched(contract, card.name):
        return frozenset()
    return frozenset(used | set(card.key))


def narrowed(card: Card, columns: frozenset[str]) -> Card:
    """Return the card as a vault loads the table: what is not covered is null in every row, which drops none."""
    return msgspec.structs.replace(
        card,
        columns=tuple(
            column if column.name in columns else msgspec.structs.replace(column, nullable=True)
            for column in card.columns
        ),
    )


def _granted(contract: Contract, table: str) -> set[str] | None:
    """Return the columns that any analyst is granted; None where the contract has no such clause."""
    if isinstance(contract.access, msgspec.UnsetType):
        return None
    mine = [one for one in contract.access if one.table == table]
    return {name for one in mine for name in (*one.columns, *(limit.column for limit in one.rows))}


def _allowed(contract: Contract, card: Card, column: Column) -> bool:
    """Whether the tier rules let any operation of the contract have the column, perhaps with an approval."""
    pack = packs.of(contract)
    operations: list[str] = list(contract.operations)
    if contract.outside.deliveries:
        operations.append("deliver")
    if column.name in _matched(contract, card.name):
        operations.append("match")
    decisions = {pack.rule(column.tier, operation).decision for operation in operations}
    return "allow" in decisions or ("approval" in decisions and _has_approvers(contract, card.name))


def _matched(contract: Contract, table: str) -> set[str]:
    return {clause.column for clause in contract.outside.matches if clause.table == table}


def _has_approvers(contract: Contract, table: str) -> bool:
    providers = {terms.provider for terms in contract.tables if terms.name == table}
    return any(approver.provider in providers for approver in contract.who_approves)
