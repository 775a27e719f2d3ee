"""Steps 11 and 12: the brokers' logs, as far as the notebook carries proofs of them.

A proof holds a broker's signed reply about an account (a checkpoint: size and root), and for entries their audit
paths. Without a checkpoint nobody can say what else was released.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cloister.contract.terms import Contract
from cloister.errors import MalformedError, TrustError
from cloister.receipt import chain, log
from cloister.receipt.bundle import Inclusion, Proof
from cloister.receipt.ledger import REPLY_TYPE, LedgerReply
from cloister.receipt.receipt import Receipt
from cloister.reviewer.findings import Findings
from cloister.wire import canonical, documents
from cloister.wire.envelope import open_envelope, unverified_payload

UNKNOWN = "Completeness unknown: no checkpoint of a broker."


def check_accounts(
    proofs: Iterable[Proof],
    receipts: Mapping[str, Receipt],
    contract: Contract,
    findings: Findings,
    *,
    logged: Collection[tuple[str, str]] = (),
) -> list[LedgerReply]:
    """Check roots and proofs; return the checkpoints that verify.

    ``logged``: charge id and population of what was found in exports of the brokers' logs.
    """
    _check_forks(receipts.values(), findings)
    _check_growth(receipts.values(), findings)
    checkpoints = []
    proven: set[tuple[str, str]] = set(logged)
    for proof in proofs:
        with findings.step(11):
            checkpoint = _open_checkpoint(proof, contract)
            for entry in proof.entries:
                _check_entry(entry, checkpoint, receipts)
                proven.add((entry.entry.charge_id, checkpoint.population))
            checkpoints.append(checkpoint)
    if checkpoints or proven:
        due = {(r.charge_id, charge.population) for r in receipts.values() for charge in r.charges}
        text = f"{len(due & proven)} of {len(due)} charges are proven to be in the brokers' logs"
        findings.add(11, "ok" if due <= proven else "note", "account.proven", text)
    else:
        findings.add(11, "note", "account.unproven", "no proof of the brokers' logs; the signed charges are consistent")
    return checkpoints


def completeness(
    checkpoints: Iterable[LedgerReply], receipts: Mapping[str, Receipt], shown: set[str], findings: Findings
) -> str:
    """Report what was released and is not shown; return it as a sentence."""
    for digest, receipt in receipts.items():
        if digest not in shown:
            text = "a release of this notebook's sessions that no cell shows"
            findings.reserve("releases not shown", 12, "completeness.not_shown", text, release=receipt.release)
    # Populations of one contract share the count of releases; the newest checkpoint tells most.
    known = max((checkpoint.used.releases for checkpoint in checkpoints), default=None)
    if known is None:
        findings.add(12, "note", "completeness.unknown", UNKNOWN)
        return UNKNOWN
    missing = max(0, known - len(receipts))
    text = f"{len(shown)} of {known} releases shown; {missing} executions not in this notebook."
    findings.add(12, "ok" if not missing else "note", "completeness.counted", text)
    return text


def _check_forks(receipts: Iterable[Receipt], findings: Findings) -> None:
    roots: dict[tuple[str, str, int], str] = {}
    for receipt in receipts:
        for charge in receipt.charges:
            place = (charge.broker, charge.population, charge.size)
            if roots.setdefault(place, charge.root) != charge.root:
                text = f"the account of {charge.population} had two states at size {charge.size}: it was forked"
                findings.add(11, "fail", "account.fork", text, release=receipt.release)


def _check_growth(receipts: Iterable[Receipt], findings: Findings) -> None:
    with findings.step(11):
        for receipt in chain.out_of_line(receipts):
            text = "an account stands lower after this release than after an earlier one"
            findings.add(11, "fail", "account.shrunk", text, release=receipt.release)


def _open_checkpoint(proof: Proof, contract: Contract) -> LedgerReply:
    named = documents.decode(unverified_payload(proof.checkpoint), LedgerReply)
    if named.broker not in {broker.did for broker in contract.brokers}:
        raise TrustError("account.broker", "a checkpoint by somebody who is no broker of the contract")
    return documents.decode(open_envelope(proof.checkpoint, REPLY_TYPE, named.broker), LedgerReply)


def _check_entry(proven: Inclusion, checkpoint: LedgerReply, receipts: Mapping[str, Receipt]) -> None:
    entry = proven.entry
    receipt = next((item for item in receipts.values() if item.charge_id == entry.charge_id), None)
    if receipt is None:
        return
    said = (entry.population, entry.contract, entry.analyst, entry.plan)
    if said != (checkpoint.population, receipt.contract, receipt.analyst, receipt.plan_digest):
        raise TrustError("account.entry", "the entry of a charge is not that of the receipt")
    stated, booked = receipt.exits, entry.exits
    left = stated and (stated.name, stated.clause, stated.targets)
    if left != (booked and (booked.name, booked.clause, len(booked.targets))):
        raise TrustError("account.entry", "the account was booked another exit than the receipt says, or none")
    if entry.rho not in {charge.rho for charge in receipt.charges if charge.population == entry.population}:
        raise TrustError("account.entry", "the account was charged another price than the receipt says")
    try:
        path = [bytes.fromhex(text) for text in proven.path]
        root = bytes.fromhex(checkpoint.root.removeprefix("sha256:"))
    except ValueError as error:
        raise MalformedError("account.path", "an audit path is not hex") from error
    log.verify_inclusion(log.leaf_hash(canonical.encode(entry)), proven.index, checkpoint.size, path, root)
