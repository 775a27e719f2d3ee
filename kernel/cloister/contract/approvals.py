"""Approvals: what persons allow one analyst beyond the tier rules, in a document that the contract did not foresee.

The analyst asks by signing it, and approvers of the table's provider sign the very same bytes; nobody approves a
request of their own. It names one contract, analyst, table and purpose, columns and operations, the reason and the time
(no wildcards). The vault checks signatures and scope, the broker with every charge that it is registered and was not
withdrawn; how many approvers are enough, and what else must be said, is a rule of the tier (``packs``).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Literal

import msgspec

from cloister.contract import findings
from cloister.contract.findings import Finding, error, parse_time
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, ContractError
from cloister.wire import canonical, documents, envelope, identity

APPROVAL_TYPE = "application/vnd.cloister.approval.v1+json"
Operation = Literal["aggregate", "model", "match", "deliver"]


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for and approved.

    Attributes:
        contract: Digest of the contract.
        analyst: The did of the analyst who asks, for nobody else.
        table: The one table it is about.
        columns: The columns of it.
        operations: What may be done with them.
        purpose: One purpose of the contract.
        necessity: Why it is needed.
        measures: How the risk is kept small.
        lowers_to: The tier that what is released is handled by (PBoC draft, article 21); 0: the tier of the columns.
        nda: Digest of the confidentiality agreement the analyst signed, or ``""``.
        not_before: From then on (RFC 3339 in UTC).
        not_after: Until then.
        plan: Digest of the one delivery of the contract it is about, which fixes what is delivered and to whom; without
            it, an approval does not meet the obligation on exports.
    """

    contract: str
    analyst: str
    table: str
    columns: tuple[str, ...]
    operations: tuple[Operation, ...]
    purpose: str
    necessity: str
    measures: str
    lowers_to: int
    nda: str
    not_before: str
    not_after: str
    plan: str | msgspec.UnsetType = msgspec.UNSET
    version: Literal[1] = 1

    @property
    def days(self) -> float:
        """How long it holds, in days."""
        return (parse_time(self.not_after) - parse_time(self.not_before)) / datetime.timedelta(days=1)

    def holds_at(self, now: str) -> bool:
        """Whether ``now`` lies in its time."""
        return parse_time(self.not_before) <= parse_time(now) < parse_time(self.not_after)


class Approved(msgspec.Struct, frozen=True):
    """An approval whose signatures were checked: its digest, and the names of the approvers who signed."""

    digest: str
    approval: Approval
    approvers: tuple[str, ...]


def request(approval: Approval, contract: Contract, key: identity.SigningKey) -> envelope.Envelope:
    """Return the request signed by the analyst who asks.

    Raises:
        ContractError: It makes no sense under the contract, or the key is not the analyst's (``approval.signer``).
    """
    check(approval, contract)
    if key.did != approval.analyst:
        raise _refused("approval.signer", "a request is signed by the analyst it is for")
    return envelope.seal(APPROVAL_TYPE, canonical.encode(approval), key)


def approve(document: envelope.Envelope, contract: Contract, key: identity.SigningKey) -> envelope.Envelope:
    """Return the request with the signature of one more approver.

    Raises:
        ContractError: ``approval.self-granted``; ``approval.signer``: no approver of this table's provider;
            ``approval.unsigned``: nobody asked; or it makes no sense under the contract.
    """
    approval = read_unverified(document)
    check(approval, contract)
    if not _signed_by(document, approval.analyst):
        raise _refused("approval.unsigned", "the analyst has not signed the request")
    if key.did == approval.analyst:
        raise _self_granted()
    if key.did not in _approvers(approval, contract):
        raise _refused("approval.signer", f"this key belongs to no approver of {approval.table}")
    return envelope.add_signature(document, key)


def read_unverified(document: envelope.Envelope) -> Approval:
    """Return the request without checking who signed, for people who read it before they sign.

    Raises:
        ContractError: ``approval.malformed``.
    """
    try:
        if document.payloadType != APPROVAL_TYPE:
            raise _refused("approval.malformed", f"not an approval but a {document.payloadType}")
        return documents.decode(envelope.unverified_payload(document), Approval)
    except CloisterError as problem:
        raise _refused("approval.malformed", problem.reason) from problem


def open_approval(document: envelope.Envelope, contract: Contract, digest: str) -> Approved:
    """Return an approval of this contract that its analyst asked for and at least one approver signed.

    Whether its time has come and whether there are enough approvers is for whoever uses it.

    Raises:
        ContractError: ``approval.malformed``, ``approval.contract``, ``approval.scope``, ``approval.unsigned``,
            ``approval.signer``.
    """
    approval = read_unverified(document)
    if approval.contract != digest:
        raise _refused("approval.contract", "the approval is of another contract")
    check(approval, contract)
    if not _signed_by(document, approval.analyst):
        raise _refused("approval.unsigned", "the analyst has not signed the request")
    known, signers = _approvers(approval, contract), [signature.keyid for signature in document.signatures]
    if signers == [approval.analyst]:
        raise _refused("approval.unsigned", "no approver has signed it")
    if len(set(signers)) != len(signers):
        raise _refused("approval.signer", "someone has signed twice")
    others = [did for did in signers if did != approval.analyst]
    for did in others:
        if did not in known or not _signed_by(document, did):
            raise _refused("approval.signer", f"signed by someone who is no approver of {approval.table}")
    found = canonical.digest_bytes(envelope.unverified_payload(document))
    return Approved(found, approval, tuple(sorted(known[did] for did in others)))


def check(approval: Approval, contract: Contract) -> None:
    """Check that an approval makes sense under a contract.

    Raises:
        ContractError: ``approval.scope``.
    """
    for finding in _findings(approval, contract):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)


def _findings(approval: Approval, contract: Contract) -> Iterator[Finding]:
    code, table = "approval.scope", next((t for t in contract.tables if t.name == approval.table), None)
    yield from findings.unreadable(approval, code)
    if table is None:
        yield error(code, "table", f"the contract has no table {approval.table!r}", "name one of its tables")
    if approval.analyst not in {party.did for party in contract.parties if party.role == "analyst"}:
        yield error(code, "analyst", "the contract does not name this analyst", "ask with the contract's key")
    if approval.purpose not in contract.purposes:
        yield error(code, "purpose", f"{approval.purpose!r} is no purpose of the contract", "one of its purposes")
    if not approval.columns or any(map(findings.is_wildcard, approval.columns)):
        yield error(code, "columns", "no column in particular is named", "name each one")
    if not approval.operations or findings.twice([*approval.operations, *approval.columns]):
        yield error(code, "operations", "no operation, or something stands twice", "name each once")
    if approval.nda and not findings.is_digest(approval.nda):
        yield error(code, "nda", "not a sha256 digest", "the digest of the signed agreement")
    if not isinstance(approval.plan, msgspec.UnsetType):
        if approval.operations != ("deliver",):
            yield error(code, "plan", "a plan is named, and more than its delivery is asked for", "deliver alone")
        if approval.plan not in {allowed.plan for allowed in contract.outside.deliveries}:
            yield error(code, "plan", "the contract has no delivery of this plan", "one of exits.deliveries")
    if not 0 <= approval.lowers_to <= 5:
        yield error(code, "lowers_to", "no tier", "1 to 5, or 0 where the tier stays")
    try:
        if parse_time(approval.not_before) >= parse_time(approval.not_after):
            yield error(code, "not_after", "ends before it begins", "not_before < not_after")
    except CloisterError as problem:
        yield error(code, "not_before", problem.reason, problem.next_step)


def _approvers(approval: Approval, contract: Contract) -> dict[str, str]:
    """Return the names, by did, of those who may approve: of the table's provider, and not the one who asks."""
    owner = next((table.provider for table in contract.tables if table.name == approval.table), "")
    return {one.did: one.name for one in contract.who_approves if one.provider == owner and one.did != approval.analyst}


def _signed_by(document: envelope.Envelope, did: str) -> bool:
    try:
        envelope.open_envelope(document, APPROVAL_TYPE, did)
    except CloisterError:
        return False
    return True


def _self_granted() -> ContractError:
    return _refused("approval.self-granted", "nobody approves a request of their own")


def _refused(code: str, reason: str) -> ContractError:
    return ContractError(
        code,
        reason,
        clause="approvers: another person than the one who asks signs the same request",
        next_step="cloister approval show prints what is asked and who has signed",
    )
