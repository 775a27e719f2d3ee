"""Step 6, what the contract asks of the enclave: allowed hosts, tenancy, placement, software, simulation.

The rules are those by which brokers and the analyst's machine let the enclave in (``contract/relying.py``,
``attest/agreed.py``), applied to the evidence and the admissions of the notebook: a broker that does not keep to the
contract is found out here. The reviewer's own policy is judged apart (``appraising``); what either refuses is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from cloister.attest.agreed import Agreed, policy_for
from cloister.attest.appraise import appraise, tier
from cloister.attest.evidence import Claims
from cloister.attest.policy import Accept, Policy
from cloister.attest.releases import Highest, SoftwareRelease, SoftwareRules, highest_of, moment, select
from cloister.contract import relying
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import TrustError
from cloister.receipt.receipt import Admission, Receipt
from cloister.reviewer import logs
from cloister.reviewer.findings import Findings
from cloister.reviewer.logs import BrokerLog
from cloister.wire.envelope import Envelope

SOFTWARE = "software release not included"
_CODE = frozenset({"executables", "file-system"})


def check_terms(claims: Claims, contract: Contract, digest: str, now: datetime, findings: Findings) -> None:
    """Hold claims to the clauses hosts, tenancy and placement of the contract with ``digest``, each for itself."""
    asked = relying.agreed(contract)
    if asked.hosts is not None:
        with findings.step(6):
            _hold(claims, Agreed(hosts=asked.hosts), "appraisal.instance", digest, now)
            findings.add(6, "ok", "agreed.hosts", f"{claims.signer} is a host of the contract")
    if asked.exclusive:
        with findings.step(6):
            _hold(claims, Agreed(exclusive=True), "appraisal.tenancy", digest, now)
            findings.add(6, "ok", "agreed.tenancy", "it was started for this contract alone")
    with findings.step(6):
        _hold(claims, Agreed(placement=asked.placement), "appraisal.placement", digest, now)
        if "placement" in claims.runtime:
            findings.add(6, "ok", "agreed.placement", f"it says that it runs {contract.placement}, as agreed")
        else:
            text = "the evidence says nothing of placement: it is as agreed if the code is what you know"
            findings.add(6, "note", "agreed.placement", text)


def check_simulated(
    receipts: Collection[Receipt], contract: Contract, cards: Iterable[Card], findings: Findings
) -> None:
    """Hold releases of simulated enclaves to the contract: it must accept them, and the data be for demonstration."""
    if not any(receipt.assurance == "simulated" for receipt in receipts):
        return
    if not contract.accept_simulated:
        findings.add(6, "fail", "appraisal.simulated", "the contract accepts no simulated enclave")
    if real := sorted(card.name for card in cards if card.grade != "demonstration"):
        text = f"a simulated enclave was given data that are not for demonstration: {', '.join(real)}"
        findings.add(6, "fail", "session.grade", text)


def check_software(
    admissions: Iterable[Admission],
    seen: Mapping[str, Claims],
    contract: Contract,
    documents: Iterable[Envelope],
    findings: Findings,
    *,
    brokers_logs: Sequence[BrokerLog] = (),
) -> None:
    """Hold the code of every admission to the contract's clause ``software``, at its time and in their order.

    Args:
        admissions: Those of the notebook.
        seen: Claims of the evidence that is there, by vault.
        contract: The contract.
        documents: Software releases, from anywhere: only those count that a signer of the contract signed.
        findings: Gets the lines.
        brokers_logs: What brokers admitted besides, where the reviewer knows it.
    """
    if contract.signed_software is None:
        return
    known, admissions = tuple(documents), tuple(admissions)
    highest: dict[str, Highest | None] = {}
    said: set[tuple[str, str]] = set()
    for admission in sorted(admissions, key=lambda one: one.time):
        with findings.step(6):
            before = highest_of([highest.get(admission.broker), *logs.admitted_by(admission, brokers_logs)])
            asked = _software(admission, contract, known, before)
            found = _release(admission, seen.get(admission.vault_id), asked, findings)
            if found is None:
                continue
            newest = highest_of([highest.get(admission.broker), Highest(found.version, admission.time)])
            highest[admission.broker] = newest
            if (found.version, found.env_digest) not in said:
                said.add((found.version, found.env_digest))
                text = f"the code is release {found.version}, signed by {found.signer}, as the contract asks"
                findings.add(6, "ok", "agreed.software", text)
    logs.say_rollback(admissions, contract, brokers_logs, findings)


def _software(
    admission: Admission, contract: Contract, documents: tuple[Envelope, ...], highest: Highest | None
) -> SoftwareRules:
    broker = next(one for one in contract.brokers if one.did == admission.broker)
    policy = next(iter(sorted(relying.pinned_policies(contract, broker))), "")
    rules = relying.agreed(contract, policy=policy, documents=documents, highest=highest).software
    if rules is None:
        raise TrustError("release.unknown", "the contract has no such clause", clause="software")
    return rules


def _release(
    admission: Admission, claims: Claims | None, rules: SoftwareRules, findings: Findings
) -> SoftwareRelease | None:
    """Return the release an admitted vault is, None if nobody brought one that lists its code."""
    time = moment(admission.time)
    try:
        release = select(admission.env_digest, rules, time, claims=claims)
    except TrustError as error:
        if error.code != "release.unknown":
            raise
        text = f"no software release of the contract's signers is here that lists the code {admission.env_digest}"
        findings.reserve(SOFTWARE, 6, "release.unknown", text)
        return None
    if claims is not None and claims.assurance == "hardware":
        # What calls itself the release's code must be measured as the release says.
        policy, _ = policy_for(claims, _neutral(claims), Agreed(software=rules), time)
        for result in appraise(claims, policy, contract=claims.contract).results:
            if result.claim in _CODE and tier(result.value) != "affirming":
                text = f"it is not measured as release {release.version} is: {result.reason}"
                findings.add(6, "fail", "release.measurement", text)
    return release


def _hold(claims: Claims, asked: Agreed, code: str, digest: str, now: datetime) -> None:
    """Appraise claims by one clause alone.

    Raises:
        TrustError: ``code``: they contradict the clause. Other codes are of other rules, and judged by them.
    """
    policy, _ = policy_for(claims, _neutral(claims), asked, now)
    for result in appraise(claims, policy, contract=digest).results:
        if result.code == code:
            raise TrustError(code, f"the contract does not allow it: {result.reason}", clause=code.rpartition(".")[2])


def _neutral(claims: Claims) -> Policy:
    return Policy("contract", Accept((claims.tee,), simulated=True))
