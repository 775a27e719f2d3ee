"""Who may do what under a contract (roles x actions) and what the tiers of a pack demand: tables for docs and tests.

What is enforced is enforced where it happens (signatures, ``vault/authorise.py``, ``approvals``); a test tries every
cell of both tables against that code, so neither can say anything else. Roles at a broker are the broker's own table.
"""

from __future__ import annotations

from cloister.contract.packs import OPERATIONS, Pack, Rule

ROLES = ("provider", "analyst", "approver", "receiver", "broker", "stranger")
ACTIONS: dict[str, tuple[str, ...]] = {
    "sign the contract": ("provider", "analyst"),
    "sign the card of a table": ("provider",),
    "ask a question": ("analyst",),
    "ask for an approval": ("analyst",),
    "approve what somebody else asks for": ("approver",),
    "approve what they ask for": (),
    "admit an enclave": ("broker",),
    "open a delivery": ("receiver",),
}


def may(role: str, action: str) -> bool:
    """Whether a role may do something; what the table does not know is not allowed."""
    return role in ROLES and role in ACTIONS.get(action, ())


def role_table() -> str:
    """Return roles x actions as a table in Markdown."""
    rows = [[action, *("yes" if may(role, action) else "no" for role in ROLES)] for action in ACTIONS]
    return _table(["", *ROLES], rows)


def tier_table(pack: Pack) -> str:
    """Return the tiers x operations of a pack as a table in Markdown."""
    rows = [[str(level.tier), *(_cell(pack.rule(level.tier, name)) for name in OPERATIONS)] for level in pack.level]
    return _table(["tier", *OPERATIONS], rows)


def _cell(rule: Rule) -> str:
    if rule.decision == "allow":
        return "yes"
    if rule.decision == "refuse":
        return "no"
    said = f"; {', '.join(rule.needs)}" if rule.needs else ""
    days = f"; {rule.days} days" if rule.days else ""
    return f"approval of {rule.approvers}{said}{days}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
