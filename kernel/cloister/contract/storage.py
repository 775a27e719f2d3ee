"""Which results may be written into a saved notebook: a rule of the contract's pack (S3-41).

A saved notebook is storage on a terminal, and whoever gets the file has what it shows. A result has the tier of the
most sensitive column it depends on, unless approvals it rests on lower it; the vault signs that into the receipt.
"""

from __future__ import annotations

import msgspec

from cloister.contract import packs
from cloister.contract.terms import Contract
from cloister.errors import ContractError


class Unsaved(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """Why something is shown and not saved: its tier, the highest that is, by which pack, and the rule in words."""

    tier: int
    highest: int
    pack: str
    rule: str


def words(why: Unsaved) -> str:
    """Say that something is shown and will not be saved."""
    return f"shown, not saved: a result of tier {why.tier}, and no file holds one above {why.highest} ({why.rule})"


def unsaved(contract: Contract, tier: int | None) -> Unsaved | None:
    """Return why a result of this tier may not be saved under a contract, or None if it may.

    A result whose tier nobody stated counts as one of the highest, and under a pack of which this version knows
    nothing no tier may be saved.
    """
    try:
        pack = packs.of(contract)
    except ContractError:
        return Unsaved(0 if tier is None else tier, 0, "", "the tier rules of the contract are not known here")
    stated = pack.tiers if tier is None else tier
    if stated <= pack.highest_stored:
        return None
    return Unsaved(stated, pack.highest_stored, pack.name, pack.storage)


def keeps_all(contract: Contract) -> bool:
    """Whether everything that can be released under a contract may be saved."""
    try:
        pack = packs.of(contract)
    except ContractError:
        return False
    return pack.tiers <= pack.highest_stored
