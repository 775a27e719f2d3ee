"""Signing and opening of cards and contracts. Nothing is believed before every signature was checked.

The digest of a document is that of its canonical payload, whoever has signed it so far. Opening a contract:

1. it decodes, in its one canonical spelling;
2. every party, and nobody else, has signed exactly these bytes;
3. it makes sense (:func:`cloister.contract.lint.contract_findings`: no wildcard, no dangling name, sane budgets);
4. the given time lies in its validity.
"""

from __future__ import annotations

from cloister.contract import findings, lint
from cloister.contract.capsule import CARD_TYPE
from cloister.contract.card import Card
from cloister.contract.terms import CONTRACT_TYPE, Contract
from cloister.errors import CloisterError, ContractError
from cloister.wire import canonical, documents, envelope, identity


def seal_card(card: Card, key: identity.SigningKey) -> envelope.Envelope:
    """Return the card signed by its provider."""
    return envelope.seal(CARD_TYPE, canonical.encode(card), key)


def open_card(document: envelope.Envelope, provider_did: str, *, pinned: str = "") -> Card:
    """Return a card signed by ``provider_did`` and, if given, of the ``pinned`` digest.

    Raises:
        ContractError: ``card.signature``, ``card.digest``, ``card.malformed``, ``card.text``.
    """
    try:
        body = envelope.open_envelope(document, CARD_TYPE, provider_did)
        card = documents.decode(body, Card)
    except CloisterError as error:
        code = "card.signature" if error.kind == "signature" else "card.malformed"
        raise ContractError(code, error.reason, clause="tables.card", next_step=_ASK_PROVIDER) from error
    for finding in findings.unreadable(card, "card.text"):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=_ASK_PROVIDER)
    if pinned and canonical.digest_bytes(body) != pinned:
        raise ContractError(
            "card.digest", "not the card the contract pins", clause="tables.card", next_step=_ASK_PROVIDER
        )
    return card


def sign_contract(contract: Contract, *keys: identity.SigningKey) -> envelope.Envelope:
    """Return the contract signed by ``keys`` (parties may sign one after another: :func:`add_signature`)."""
    return envelope.seal(CONTRACT_TYPE, canonical.encode(contract), *keys)


def add_signature(document: envelope.Envelope, key: identity.SigningKey) -> envelope.Envelope:
    """Return the contract with the signature of one more party.

    Raises:
        ContractError: ``contract.signer``: the key belongs to no party.
    """
    contract = read_unverified(document)
    if key.did not in {party.did for party in contract.parties}:
        raise ContractError("contract.signer", "this key belongs to no party of the contract", clause="parties")
    return envelope.add_signature(document, key)


def contract_digest(document: envelope.Envelope | Contract) -> str:
    """Return ``sha256:<hex>`` of the canonical terms, independent of signatures."""
    return payload_digest(document) if isinstance(document, envelope.Envelope) else canonical.digest(document)


def payload_digest(document: envelope.Envelope) -> str:
    """Return ``sha256:<hex>`` of the payload of a card, manifest or contract; checks nothing."""
    return canonical.digest_bytes(envelope.unverified_payload(document))


def read_unverified(document: envelope.Envelope) -> Contract:
    """Return the terms without checking who signed: for drafts, diffs and finding out whom to ask.

    Raises:
        ContractError: ``contract.malformed``.
    """
    try:
        if document.payloadType != CONTRACT_TYPE:
            raise ContractError("contract.malformed", f"not a contract but a {document.payloadType}")
        return documents.decode(envelope.unverified_payload(document), Contract)
    except CloisterError as error:
        raise ContractError(
            "contract.malformed", error.reason, next_step="ask the other party for the document again"
        ) from error


def missing_signers(document: envelope.Envelope) -> tuple[str, ...]:
    """Return the names of the parties whose valid signature is still missing, in the contract's order."""
    missing = []
    for party in read_unverified(document).parties:
        try:
            envelope.open_envelope(document, CONTRACT_TYPE, party.did)
        except CloisterError:
            missing.append(party.name)
    return tuple(missing)


def open_contract(document: envelope.Envelope, *, now: str) -> Contract:
    """Return a contract that every party signed, that makes sense and is valid at ``now`` (RFC 3339 UTC).

    Raises:
        ContractError: ``contract.malformed``, ``contract.unsigned``, ``contract.signer``, a finding's code
            (``contract.wildcard``, ``contract.reference``, ...), ``contract.not-yet-valid``, ``contract.expired``.
    """
    contract = read_unverified(document)
    missing = missing_signers(document)
    if missing:
        raise ContractError(
            "contract.unsigned",
            "no valid signature of " + ", ".join(missing),
            clause="parties",
            next_step="every party signs the same document: cloister contract sign",
        )
    signers = [signature.keyid for signature in document.signatures]
    if sorted(signers) != sorted(party.did for party in contract.parties):
        raise ContractError("contract.signer", "signed by someone who is no party of it", clause="parties")
    for finding in lint.contract_findings(contract):
        if finding.level == "error":
            raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    check_validity(contract, now=now)
    return contract


def check_validity(contract: Contract, *, now: str) -> None:
    """Check that ``now`` lies in the validity of the contract.

    Raises:
        ContractError: ``contract.not-yet-valid``, ``contract.expired``, or a time that is none.
    """
    moment = lint.parse_time(now)
    if moment < lint.parse_time(contract.not_before):
        raise ContractError(
            "contract.not-yet-valid",
            f"the contract begins at {contract.not_before}",
            clause="not_before",
            next_step="wait, or check the clock of this machine",
        )
    if moment >= lint.parse_time(contract.not_after):
        raise ContractError(
            "contract.expired",
            f"the contract ended at {contract.not_after}",
            clause="not_after",
            next_step="ask the provider for a new contract",
        )


_ASK_PROVIDER = "ask the provider for the signed card of this contract"
