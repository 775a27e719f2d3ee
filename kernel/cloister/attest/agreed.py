"""What a contract asks of an enclave beyond a relying party's own policy: hosts, tenancy, software. It only adds.

A policy is one party's word and pinned by digest; hosts, tenancy and release signers are what all parties signed. The
appraisal runs under both: what either refuses is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from cloister.attest.evidence import Claims
from cloister.attest.policy import Instance, Policy, Reference
from cloister.attest.references import Launch
from cloister.attest.releases import SoftwareRelease, SoftwareRules, select
from cloister.errors import TrustError


class Agreed(msgspec.Struct, frozen=True):
    """The contract's part of an appraisal.

    ``hosts`` None: any that the policy allows. ``software`` None: the policy's own references say what code is
    approved; otherwise only releases do. ``vetoed``: digests of code this party refuses whoever approves it, with why;
    ``launches``: what it refuses by measurement, whatever code is said to run there. ``placement`` "": any.
    """

    hosts: tuple[str, ...] | None = None
    exclusive: bool = False
    software: SoftwareRules | None = None
    vetoed: Mapping[str, str] = {}
    placement: str = ""
    launches: tuple[tuple[Launch, str], ...] = ()

    def veto_of(self, env_digest: str, tee: str, launch: Mapping[str, str]) -> str | None:
        """Return why code, or the launch it runs in, is refused here; None if it is not."""
        if env_digest in self.vetoed:
            return f"this code was vetoed here: {self.vetoed[env_digest] or 'no reason given'}"
        why = next((said for refused, said in self.launches if refused.is_of(tee, launch)), None)
        return None if why is None else f"its launch measurements were vetoed here: {why or 'no reason given'}"


def policy_for(claims: Claims, policy: Policy, agreed: Agreed, now: datetime) -> tuple[Policy, SoftwareRelease | None]:
    """Return the policy these claims are appraised by, and the software release their code is (None: no such clause).

    Raises:
        TrustError: ``release.*``: no release makes this code acceptable; ``appraisal.instance``: policy and contract
            allow no host in common; ``appraisal.placement``, ``appraisal.tenancy``: the enclave itself says that it
            runs otherwise than the contract asks.
    """
    if (why := agreed.veto_of(claims.env_digest, claims.tee, claims.launch)) is not None:
        raise TrustError(
            "release.vetoed",
            why,
            next_step="the enclave's operator installs another release",
        )
    _declared(claims, "placement", agreed.placement)
    _declared(claims, "tenancy", "exclusive" if agreed.exclusive else "")
    release = None
    if agreed.software is not None:
        release = select(claims.env_digest, agreed.software, now, claims=claims)
        stated = release.references_of(claims.tee)
        reference = Reference(
            (release.env_digest,), stated.launch, policy.reference.denied, covers_code=stated.covers_code
        )
        policy = msgspec.structs.replace(policy, reference=reference)
    if agreed.exclusive:
        policy = msgspec.structs.replace(policy, accept=msgspec.structs.replace(policy.accept, exclusive=True))
    if agreed.hosts is not None:
        policy = msgspec.structs.replace(policy, instance=Instance(_common(policy, agreed.hosts)))
    return policy, release


def _declared(claims: Claims, clause: str, asked: str) -> None:
    """Compare what the enclave declares with a clause; what it does not declare, only its code can keep."""
    said = claims.runtime.get(clause, asked)
    if asked and said != asked:
        raise TrustError(
            f"appraisal.{clause}",
            f"the enclave says that its {clause} is {said!r}, and the contract asks for {asked!r}",
            clause=clause,
            next_step="use an enclave that runs as the contract asks, or sign a contract with this clause changed",
        )


def _common(policy: Policy, hosts: tuple[str, ...]) -> tuple[str, ...]:
    common = tuple(host for host in hosts if not policy.instance.allow or host in policy.instance.allow)
    if not common:
        # An empty list in a policy means any host.
        raise TrustError(
            "appraisal.instance",
            "the policy and the contract allow no host in common",
            clause="hosts",
            next_step="change the policy's instance.allow, or sign a contract with other hosts",
        )
    return common
