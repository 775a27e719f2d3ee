"""Step 6, the reviewer as a relying party: the reviewer's own policy appraises every claim of the vector.

The same appraisal as at a broker (``attest/appraise.py``). What is contraindicated is a failing line; a warning weakens
the verdict; code that nobody pinned is *origin unknown*. That an enclave is simulated is said elsewhere, for all of its
receipts at once, and allowed by the reviewer's option alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from cloister.attest.appraise import SIMULATED_CLAIMS, Result, appraise, tier
from cloister.attest.evidence import Claims
from cloister.attest.policy import Accept, Policy, Reference
from cloister.reviewer.findings import Findings
from cloister.reviewer.trust import ReviewerTrust

ORIGIN = "origin unknown"
PLATFORM = "platform not affirmed"
_CODE = frozenset({"executables", "file-system"})


def check_claims(claims: Claims, contract: str, trust: ReviewerTrust, findings: Findings) -> None:
    """Appraise claims for the contract with digest ``contract`` and say what came of it."""
    policy = trust.policy
    if policy is not None and claims.tee not in policy.accept.tees:
        text = f"your policy {policy.name!r} does not accept {claims.tee} enclaves"
        findings.add(6, "fail", "appraisal.tee", text)
    if policy is not None and claims.assurance == "simulated" and not policy.accept.simulated:
        findings.add(6, "fail", "appraisal.simulated", f"your policy {policy.name!r} accepts no simulated enclave")
    results = _appraised(claims, contract, trust)
    for result in results:
        if result.claim not in _CODE:
            _say(result, claims, findings)
    _say_code([result for result in results if result.claim in _CODE], claims, findings)


def check_unseen(env_digest: str, trust: ReviewerTrust, findings: Findings) -> None:
    """Say whether code is pinned that receipts name and no evidence here reports."""
    _said(env_digest, findings, known=trust.knows_env(env_digest))


def _appraised(claims: Claims, contract: str, trust: ReviewerTrust) -> tuple[Result, ...]:
    """Return the vector under the first of the reviewer's references that knows the code; under the last if none does.

    A pin holds for its own digest only: launch measurements of one release approve no code of another.
    """
    base = trust.policy or Policy("defaults", Accept((claims.tee,), simulated=True))
    found: tuple[Result, ...] = ()
    for reference in (base.reference, *_pins(trust, base.reference.denied, claims.env_digest)):
        found = appraise(claims, msgspec.structs.replace(base, reference=reference), contract=contract).results
        if _is_known([result for result in found if result.claim in _CODE], claims):
            break
    return found


def _pins(trust: ReviewerTrust, denied: tuple[str, ...], env_digest: str) -> Iterator[Reference]:
    for pin in trust.measurement:
        if pin.env_digest == env_digest:
            # A pin says of its measurements that they cover this code (``trust.MeasurementPin``).
            yield Reference((pin.env_digest,), pin.launch, denied, covers_code=bool(pin.launch))


def _is_known(code: Collection[Result], claims: Claims) -> bool:
    if claims.assurance == "simulated":
        return all(result.code != "appraisal.env_digest" for result in code)
    return all(tier(result.value) == "affirming" for result in code)


def _say(result: Result, claims: Claims, findings: Findings) -> None:
    if claims.assurance == "simulated" and SIMULATED_CLAIMS.get(result.claim) == result.value:
        return
    text = f"{result.claim} {result.value}: {result.reason}"
    if tier(result.value) == "contraindicated":
        findings.add(6, "fail", result.code or "appraisal.contraindicated", text)
    elif tier(result.value) == "warning":
        findings.reserve(PLATFORM, 6, result.code or "appraisal.warning", text)


def _say_code(code: Collection[Result], claims: Claims, findings: Findings) -> None:
    for result in code:
        if result.code == "appraisal.measurement":
            findings.add(6, "fail", result.code, f"{result.claim} {result.value}: {result.reason}")
    _said(claims.env_digest, findings, known=_is_known(code, claims))


def _said(env_digest: str, findings: Findings, *, known: bool) -> None:
    if known:
        findings.add(6, "ok", "measurement.pinned", f"code {env_digest} is in your trust file")
    else:
        text = f"code {env_digest} is not in your trust file: what it does is unknown to you"
        findings.reserve(ORIGIN, 6, "measurement.unpinned", text)
