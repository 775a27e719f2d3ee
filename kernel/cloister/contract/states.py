"""The life of a contract: draft -> offered -> signed -> active -> suspended, revoked or expired.

Draft, offered and signed follow from the signatures; expired from the time; the rest is the provider's decision at
the broker. Revoked is final: what was taken back comes back only as a new contract.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloister.contract import signing
from cloister.contract.findings import parse_time
from cloister.contract.terms import Contract
from cloister.errors import ContractError
from cloister.wire.envelope import Envelope

State = Literal["draft", "offered", "signed", "active", "suspended", "revoked", "expired"]
Decided = Literal["active", "suspended", "revoked"]

_MOVES: dict[Decided | None, frozenset[Decided]] = {
    None: frozenset({"active", "suspended", "revoked"}),
    "active": frozenset({"suspended", "revoked"}),
    "suspended": frozenset({"active", "revoked"}),
    "revoked": frozenset(),
}


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider decided about a contract at his broker, when, and why (shown to the analyst)."""

    state: Decided
    time: str
    reason: str = ""


def state_of(document: Envelope, decision: Decision | None, *, now: str) -> State:
    """Return the state of a contract at ``now``.

    Raises:
        ContractError: ``contract.malformed``.
    """
    contract = signing.read_unverified(document)
    missing = signing.missing_signers(document)
    if missing:
        return "draft" if len(missing) == len(contract.parties) else "offered"
    return state_of_signed(contract, decision, now=now)


def state_of_signed(contract: Contract, decision: Decision | None, *, now: str) -> State:
    """Return the state at ``now`` of a contract that every party has signed (the caller checked that)."""
    if decision is not None and decision.state == "revoked":
        return "revoked"
    if parse_time(now) >= parse_time(contract.not_after):
        return "expired"
    if decision is None:
        return "signed"
    if decision.state == "active" and parse_time(now) < parse_time(contract.not_before):
        return "signed"
    return decision.state


def decide(previous: Decision | None, following: Decision) -> Decision:
    """Return the new decision if the life of a contract allows it.

    Raises:
        ContractError: ``contract.state``.
    """
    before = None if previous is None else previous.state
    if following.state != before and following.state not in _MOVES[before]:
        raise ContractError(
            "contract.state",
            f"a {before} contract cannot become {following.state}",
            next_step="sign a new contract",
        )
    return following
