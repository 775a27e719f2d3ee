"""Access: what a contract grants one analyst of one table (S2-06: who, which columns, which rows, when). Pure.

A contract without the clause grants every analyst every column; with it, what is not granted is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloister.contract.clauses import Access
from cloister.contract.findings import parse_time
from cloister.contract.terms import Contract
from cloister.errors import ContractError

_ASK_PROVIDER = "Ask the data provider for a contract that grants it; cl.contract() shows what is granted."


def limited(contract: Contract) -> bool:
    """Whether the contract limits what each analyst may ask of each table."""
    return not isinstance(contract.access, msgspec.UnsetType)


def of_analyst(contract: Contract, did: str, table: str) -> Access | None:
    """Return what an analyst is granted of a table; None if nothing is, or if the contract has no such clause."""
    if isinstance(contract.access, msgspec.UnsetType):
        return None
    names = {party.name for party in contract.parties if party.did == did and party.role == "analyst"}
    return next((one for one in contract.access if one.analyst in names and one.table == table), None)


def check_table(contract: Contract, did: str, table: str, purpose: str) -> None:
    """Check that an analyst may ask of a table at all, for this purpose.

    Raises:
        ContractError: ``contract.access``, ``contract.purpose``.
    """
    if not limited(contract):
        return
    granted = of_analyst(contract, did, table)
    if granted is None:
        raise _refused("contract.access", f"the contract grants you nothing of {table}", "access")
    if granted.purposes and purpose not in granted.purposes:
        raise ContractError(
            "contract.purpose",
            f"the contract grants you {table} for another purpose than {purpose!r}",
            clause=f"access.{table}.purposes",
            nearest=granted.purposes,
            next_step="Connect with one of the purposes you are granted it for.",
        )


def check_columns(contract: Contract, did: str, table: str, columns: Iterable[str]) -> None:
    """Check that an analyst may use these columns of a table.

    Raises:
        ContractError: ``contract.access``.
    """
    if not limited(contract):
        return
    granted = of_analyst(contract, did, table)
    for column in columns:
        if granted is None or column not in granted.columns:
            where = f"access.{table}.columns"
            raise _refused("contract.access", f"the contract does not grant you column {column} of {table}", where)


def check_time(contract: Contract, did: str, table: str, now: str) -> None:
    """Check that ``now`` (RFC 3339 in UTC) is in the time an analyst is granted a table for.

    Raises:
        ContractError: ``contract.access-time``.
    """
    granted = of_analyst(contract, did, table)
    if granted is None:
        return
    early = granted.not_before and parse_time(now) < parse_time(granted.not_before)
    if early or (granted.not_after and parse_time(now) >= parse_time(granted.not_after)):
        time = f"from {granted.not_before or contract.not_before} until {granted.not_after or contract.not_after}"
        raise _refused("contract.access-time", f"the contract grants you {table} {time}", f"access.{table}")


def rows_refused(table: str) -> ContractError:
    """Return the refusal of a plan that reads rows of a table that its asker is not granted."""
    return ContractError(
        "contract.rows",
        f"the contract grants you some rows of {table} only, and this asks about others",
        clause=f"access.{table}.rows",
        next_step="Begin with cl.table(...), which keeps to the rows you are granted; look-ups and matches read all.",
    )


def _refused(code: str, reason: str, clause: str) -> ContractError:
    return ContractError(code, reason, clause=clause, next_step=_ASK_PROVIDER)
