"""A contract as an ODRL agreement (W3C ODRL Information Model 2.2, JSON-LD), for catalogues and tools that read it.

The export says what the contract says in the words of another vocabulary; it is not signed and permits nothing. What
ODRL has no term for stands under the profile's own prefix. The contract's digest is its ``uid``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloister.contract import access
from cloister.contract.clauses import Access, RowLimit
from cloister.contract.signing import contract_digest
from cloister.contract.terms import Contract, Party

CONTEXT = "http://www.w3.org/ns/odrl.jsonld"
PROFILE = "urn:cloister:odrl:1"
_PREFIX = "urn:cloister:term:"
_ACTIONS = {"aggregate": "aggregate", "model": _PREFIX + "fit-model"}


def agreement(contract: Contract) -> dict[str, Any]:
    """Return the contract as a JSON-LD object."""
    permissions = [rule for analyst in _analysts(contract) for rule in _permissions(contract, analyst)]
    return {
        "@context": [CONTEXT, {"cloister": _PREFIX}],
        "@type": "Agreement",
        "uid": f"urn:cloister:contract:{contract_digest(contract)}",
        "profile": PROFILE,
        "permission": permissions,
        "prohibition": list(_prohibitions(contract)),
        "obligation": list(_obligations(contract)),
    }


def _permissions(contract: Contract, analyst: Party) -> Iterator[dict[str, Any]]:
    owners = {party.name: party.did for party in contract.parties if party.role == "provider"}
    for table in contract.tables:
        granted = access.of_analyst(contract, analyst.did, table.name)
        if access.limited(contract) and granted is None:
            continue
        for operation in contract.operations:
            yield {
                "target": _target(table.name, table.manifest),
                "assigner": owners[table.provider],
                "assignee": analyst.did,
                "action": _ACTIONS[operation],
                "constraint": list(_constraints(contract, granted)),
                "duty": [{"action": _PREFIX + "add-privacy-noise"}],
            }
    for match in contract.outside.matches:
        granted = access.of_analyst(contract, analyst.did, match.table)
        if access.limited(contract) and not _may_match(granted, match.column):
            continue
        table = next(one for one in contract.tables if one.name == match.table)
        yield {
            "target": _target(table.name, table.manifest),
            "assigner": owners[table.provider],
            "assignee": analyst.did,
            "action": _PREFIX + "match",
            "constraint": [
                _purposes(contract, granted),
                _constraint("count", "lteq", match.per_contract),
                *_time(contract, granted),
            ],
        }


def _may_match(granted: Access | None, column: str) -> bool:
    """Whether access grants a match: it reads every row. A key that no grant names is left out: cards are not here."""
    return granted is not None and column in granted.columns and not granted.rows


def _constraints(contract: Contract, granted: Access | None) -> Iterator[dict[str, Any]]:
    yield _purposes(contract, granted)
    yield _constraint("count", "lteq", contract.limits.releases)
    yield from _time(contract, granted)
    for budget in contract.budgets:
        yield _constraint(f"{_PREFIX}epsilon:{budget.population}", "lteq", budget.epsilon)
    if granted is not None:
        yield _constraint(_PREFIX + "column", "isAnyOf", list(granted.columns))
        for limit in granted.rows:
            yield from _rows(limit)


def _purposes(contract: Contract, granted: Access | None) -> dict[str, Any]:
    purposes = granted.purposes if granted is not None and granted.purposes else contract.purposes
    return _constraint("purpose", "isAnyOf", list(purposes))


def _rows(limit: RowLimit) -> Iterator[dict[str, Any]]:
    name = f"{_PREFIX}row:{limit.column}"
    if limit.values:
        yield _constraint(name, "isAnyOf", list(limit.values))
    for operator, bound in (("gteq", limit.low), ("lteq", limit.high)):
        if bound:
            yield _constraint(name, operator, bound)


def _time(contract: Contract, granted: Access | None) -> Iterator[dict[str, Any]]:
    begin = (granted.not_before if granted is not None else "") or contract.not_before
    end = (granted.not_after if granted is not None else "") or contract.not_after
    for operator, time in (("gteq", begin), ("lt", end)):
        yield {**_constraint("dateTime", operator, time), "dataType": "xsd:dateTime"}


def _prohibitions(contract: Contract) -> Iterator[dict[str, Any]]:
    """Yield that rows do not leave: no table is read, copied or passed on."""
    owners = {party.name: party.did for party in contract.parties if party.role == "provider"}
    for table in contract.tables:
        for analyst in _analysts(contract):
            yield {
                "target": _target(table.name, table.manifest),
                "assigner": owners[table.provider],
                "assignee": analyst.did,
                "action": ["read", "reproduce", "distribute"],
            }


def _obligations(contract: Contract) -> Iterator[dict[str, Any]]:
    for duty in contract.duties:
        for broker in contract.brokers if duty.do == "destroy-keys" else ():
            yield {
                "assignee": broker.did,
                "action": "delete",
                "target": f"urn:cloister:keys:{broker.name}",
                "constraint": [_constraint("event", "eq", f"{_PREFIX}{duty.on}")],
            }


def _analysts(contract: Contract) -> list[Party]:
    return [party for party in contract.parties if party.role == "analyst"]


def _target(name: str, manifest: str) -> dict[str, str]:
    return {"@type": "Asset", "uid": f"urn:cloister:capsule:{manifest}", "title": name}


def _constraint(left: str, operator: str, right: Any) -> dict[str, Any]:
    return {"leftOperand": left, "operator": operator, "rightOperand": right}
