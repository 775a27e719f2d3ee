"""Appraisal: claims and a policy become a trustworthiness vector, a status, and a decision with reasons.

Vector names, tiers and the worst-claim rule are those of EAR (draft-ietf-rats-ear-04) and AR4SI; the values follow
reference/attestation.md 8.2. A simulator is contraindicated whatever the policy says; the decision may still accept it,
as *simulated*, if policy, contract and person all allow it and nothing else is contraindicated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from cloister.attest import platform
from cloister.attest.evidence import Claims
from cloister.attest.policy import Policy
from cloister.attest.references import COMPONENTS, SELF_MEASURING, covered
from cloister.errors import TrustError

Tier = Literal["none", "affirming", "warning", "contraindicated"]
CLAIM_NAMES = (
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
)
ISOLATION_LEVELS = ("none", "reduced", "full")
_TIERS: tuple[Tier, ...] = ("none", "affirming", "warning", "contraindicated")
# What every simulator gets; an accepted simulated enclave is contraindicated for these two and nothing else.
SIMULATED_CLAIMS = {"hardware": 97, "runtime-opaque": 96}


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of the vector: the claim, its AR4SI value, and why, in words."""

    claim: str
    value: int
    reason: str
    code: str = ""


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The appraised claims, in the order of ``CLAIM_NAMES``, and the status: the worst tier among them."""

    results: tuple[Result, ...]

    def value(self, claim: str) -> int:
        """Return the value of one claim."""
        return next(result.value for result in self.results if result.claim == claim)

    @property
    def values(self) -> dict[str, int]:
        """The trustworthiness vector as EAR writes it."""
        return {result.claim: result.value for result in self.results}

    @property
    def status(self) -> Tier:
        """The worst tier of all claims."""
        return worst(tier(result.value) for result in self.results)


def tier(value: int) -> Tier:
    """Return the tier of an AR4SI claim value; anything undefined counts as contraindicated."""
    if value in (-1, 0, 1):
        return "none"
    if 2 <= value <= 31:
        return "affirming"
    if 32 <= value <= 95:
        return "warning"
    return "contraindicated"


def worst(tiers: Iterable[Tier]) -> Tier:
    """Return the worst of several tiers ("none" if there are none)."""
    return _TIERS[max((_TIERS.index(t) for t in tiers), default=0)]


def appraise(claims: Claims, policy: Policy, *, contract: str) -> Vector:
    """Return the vector of ``claims`` under ``policy`` for the contract with digest ``contract``. Pure."""
    results = (
        _instance(claims, policy),
        _configuration(claims, policy, contract),
        _executables(claims, policy),
        _file_system(claims, policy),
        _hardware(claims, policy),
        _runtime(claims),
        Result("storage-opaque", 0, "nothing is claimed about storage; capsules are sealed by their provider"),
        Result("sourced-data", 0, "no data are part of this evidence"),
    )
    return Vector(results)


def decide(vector: Vector, claims: Claims, policy: Policy, *, accept_simulated: bool) -> None:
    """Return if the appraised peer may be used.

    ``accept_simulated`` says that the contract's clause *and* the relying party's own explicit choice allow a simulated
    enclave; the policy has its own say.

    Raises:
        TrustError: Contraindicated; the code names the first reason.
    """
    if claims.tee not in policy.accept.tees:
        raise TrustError(
            "appraisal.tee",
            f"the policy {policy.name!r} does not accept {claims.tee} enclaves",
            next_step="choose a policy that lists this TEE, if that is what you want",
        )
    tolerated = SIMULATED_CLAIMS if claims.assurance == "simulated" else {}
    for result in vector.results:
        if tier(result.value) == "contraindicated" and tolerated.get(result.claim) != result.value:
            raise TrustError(
                result.code,
                result.reason,
                clause=f"policy {policy.name!r}, {result.claim} = {result.value}",
                next_step="do not use this enclave until its operator explains the difference",
            )
    if claims.assurance == "simulated":
        if not (policy.accept.simulated and accept_simulated):
            raise TrustError(
                "appraisal.simulated",
                "the enclave is simulated, and not all of policy, contract and your own choice accept that",
                clause="attestation.md section 3: simulated needs the contract's clause and an explicit local choice",
                next_step="connect to a hardware enclave, or accept simulation explicitly, for demonstration data",
            )
    elif vector.status != "affirming":
        first = next(result for result in vector.results if tier(result.value) == "warning")
        raise TrustError(
            first.code or "appraisal.warning",
            first.reason,
            clause=f"policy {policy.name!r}, {first.claim} = {first.value}: only affirming results release keys",
        )


def _instance(claims: Claims, policy: Policy) -> Result:
    if not policy.instance.allow:
        return Result("instance-identity", 0, "the policy names no allowed hosts")
    if claims.signer in policy.instance.allow:
        return Result("instance-identity", 2, f"an allowed host: {claims.signer}")
    return Result("instance-identity", 97, f"{claims.signer} is not an allowed host", "appraisal.instance")


def _configuration(claims: Claims, policy: Policy, contract: str) -> Result:
    if claims.tee in COMPONENTS:
        reason = f"{claims.tee} says nothing of the machine it is in, which is where the code runs"
        return Result("configuration", 96, reason, "appraisal.component")
    if claims.debug:
        return Result("configuration", 96, "debugging is enabled: the host can read its memory", "appraisal.debug")
    if claims.contract != contract:
        return Result("configuration", 96, "the enclave was started for another contract", "appraisal.contract")
    if claims.assurance == "hardware":
        alone = platform.exclusive(claims, contract) if policy.accept.exclusive else None
        if found := platform.configuration(claims, policy.hardware) or alone:
            return Result("configuration", found.value, found.reason, found.code)
    isolation = claims.runtime.get("isolation")
    level = isolation.get("level") if isinstance(isolation, dict) else None
    reached = ISOLATION_LEVELS.index(level) if level in ISOLATION_LEVELS else 0
    if reached < ISOLATION_LEVELS.index(policy.isolation.minimum):
        reason = f"the sandbox's isolation is {level or 'not declared'}, below {policy.isolation.minimum!r}"
        return Result("configuration", 96, reason, "appraisal.isolation")
    return Result("configuration", 2, "debugging is off and the contract is the one asked for")


def _executables(claims: Claims, policy: Policy) -> Result:
    said = {f"{name}={value}" for name, value in claims.launch.items()}
    denied = (said | {f"{claims.tee}:{text}" for text in said}) & set(policy.reference.denied)
    if denied:
        return Result("executables", 96, f"a denied launch measurement: {min(denied)}", "appraisal.measurement")
    if _launch_approved(claims, policy):
        # MRENCLAVE proves what runs; a boot measurement only what was started.
        return Result("executables", 2 if claims.tee in SELF_MEASURING else 3, "the launch measurement is approved")
    return Result("executables", 33, "no approved launch measurement covers the code")


def _file_system(claims: Claims, policy: Policy) -> Result:
    if claims.env_digest not in policy.reference.env_digest:
        return Result(
            "file-system",
            96,
            f"the measured code ({claims.env_digest[:23]}...) is not approved by the policy",
            "appraisal.env_digest",
        )
    if _launch_approved(claims, policy) and (policy.reference.covers_code or claims.tee in SELF_MEASURING):
        return Result("file-system", 2, "the measured code is approved")
    return Result("file-system", 33, "the measured code is approved, but only the enclave itself says it measured it")


def _launch_approved(claims: Claims, policy: Policy) -> bool:
    return claims.assurance == "hardware" and covered(claims.tee, claims.launch, policy.reference.launch)


def _hardware(claims: Claims, policy: Policy) -> Result:
    if claims.assurance == "simulated":
        value = SIMULATED_CLAIMS["hardware"]
        return Result("hardware", value, "simulated: there is no genuine hardware", "appraisal.simulated")
    found = platform.hardware(claims, policy.hardware)
    return Result("hardware", found.value, found.reason, found.code)


def _runtime(claims: Claims) -> Result:
    if claims.assurance == "simulated":
        value = SIMULATED_CLAIMS["runtime-opaque"]
        return Result("runtime-opaque", value, "simulated: memory is readable by its host", "appraisal.simulated")
    if claims.tee in COMPONENTS:
        return Result("runtime-opaque", 0, "a component does not protect the memory of its machine")
    return Result("runtime-opaque", 2, "memory is encrypted by the TEE")
