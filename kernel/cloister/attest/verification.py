"""What a relying party does with an offer, step by step: the same steps for the proxy and for every broker.

Pure: the hello that was sent, the offer that came back, a policy and the time decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest import binding as binding_value
from cloister.attest import verifiers as verifier_registry
from cloister.attest.agreed import Agreed, policy_for
from cloister.attest.appraise import Vector, appraise, decide
from cloister.attest.encoding import unb64
from cloister.attest.endorsements import Endorsements
from cloister.attest.evidence import Claims, RejectedError, completed
from cloister.attest.hello import ANALYST_CHANNEL, SUITES, VERSIONS, Offer, check_offer, parse_hello, parse_offer
from cloister.attest.policy import Policy
from cloister.attest.releases import SoftwareRelease
from cloister.attest.verifiers import Verifier
from cloister.errors import TrustError
from cloister.wire import canonical


class Appraisal(msgspec.Struct, frozen=True):
    """An accepted offer: ``binding`` (48 bytes) names the exchange, ``evidence`` digests the parsed claims.

    ``release`` is the software release that the code is, where the contract has that clause.
    """

    claims: Claims
    vector: Vector
    binding: bytes
    offer: Offer
    evidence: str
    release: SoftwareRelease | None = None

    @property
    def assurance(self) -> str:
        """``simulated`` or the TEE's name: what receipts and admissions carry."""
        return "simulated" if self.claims.assurance == "simulated" else self.claims.tee

    @property
    def status(self) -> str:
        """EAR status: none, affirming, warning or contraindicated (always the last for a simulator)."""
        return self.vector.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line per claim, worst first."""
        ordered = sorted(self.vector.results, key=lambda result: -result.value)
        return tuple(f"{result.claim} {result.value}: {result.reason}" for result in ordered)


def appraise_offer(
    hello: bytes,
    ephemeral_private: X25519PrivateKey | None,
    offer: bytes | Offer,
    *,
    policy: Policy,
    now: datetime,
    accept_simulated: bool,
    prev_binding: bytes = b"",
    verifiers: Mapping[str, Verifier] | None = None,
    agreed: Agreed | None = None,
    endorsements: Endorsements | None = None,
) -> Appraisal:
    """Verify and appraise ``offer`` as the answer to ``hello`` (the bytes this relying party sent).

    ``accept_simulated``: the contract's clause and this party's own explicit choice, both. ``agreed``: what the
    contract asks beyond the policy (``contract/relying.py``). ``endorsements``: what this party keeps itself; it comes
    before what travels with the evidence, whose sender may choose the oldest that is still valid.

    Raises:
        MalformedError: The offer does not follow its schema.
        RejectedError: The evidence does not verify, or was made for another exchange.
        TrustError: The peer chose what was not offered, answers for another contract, or the policy says no.
    """
    # 1. Both messages follow their schema, in canonical spelling and size.
    asked = parse_hello(hello)
    answer = parse_offer(offer) if isinstance(offer, bytes) else check_offer(offer)
    # 2. The hello is ours: its key is the one we hold (nobody may hand us a hello of his own).
    _own_key(asked.role, asked.rp_eph_pub, ephemeral_private)
    # 3. Version and suite were chosen from what we offered, and we speak them.
    if answer.version not in asked.versions or answer.version not in VERSIONS:
        raise TrustError("channel.version", "the enclave chose a protocol version that was not offered")
    if answer.suite not in asked.suites or answer.suite not in SUITES:
        raise TrustError("channel.suite", "the enclave chose a cipher suite that was not offered")
    # 4. It answers for the contract we asked about, and continues the attestation we know of.
    if answer.contract != asked.contract:
        raise TrustError("offer.contract", "the enclave answers for another contract")
    if unb64(answer.prev_binding) != prev_binding:
        raise TrustError("offer.previous", "the offer continues another attestation than this one")
    # 5. The binding is computed from our own hello and our own idea of role and contract.
    value = binding_value.binding(
        hello,
        version=answer.version,
        suite=answer.suite,
        role=asked.role,
        kex_pub=unb64(answer.kex_pub),
        kem_ct=unb64(answer.kem_ct),
        vault_id=answer.vault_id,
        contract=asked.contract,
        env_digest=answer.env_digest,
        prev_binding=prev_binding,
    )
    # 6. The evidence verifies, and reports this very binding.
    report_data = binding_value.report_data(value)
    own = endorsements.for_evidence(answer.evidence) if endorsements else None
    claims = verifier_registry.verify(answer.evidence, report_data, now, endorsements=own, verifiers=verifiers)
    # A plug-in verifier might forget this comparison; it is never left to it alone.
    if claims.report_data != report_data.hex():
        raise RejectedError("evidence.binding", "the evidence was made for another exchange")
    claims = completed(claims, answer.env_digest, asked.contract)
    # 7. What the offer says about code and contract is what the evidence says.
    if claims.env_digest != answer.env_digest or claims.contract != answer.contract:
        raise RejectedError("evidence.claims", "the offer and its evidence disagree")
    # 8. The policy decides, with what the contract adds; every claim gets its value and reason.
    release = None
    if agreed is not None:
        policy, release = policy_for(claims, policy, agreed, now)
    vector = appraise(claims, policy, contract=asked.contract)
    decide(vector, claims, policy, accept_simulated=accept_simulated)
    return Appraisal(claims, vector, value, answer, canonical.digest(claims), release)


def _own_key(role: str, announced: str, private: X25519PrivateKey | None) -> None:
    if role == ANALYST_CHANNEL:
        if private is None or private.public_key().public_bytes_raw() != unb64(announced):
            raise TrustError("hello.key", "the hello does not carry this party's own key")
    elif private is not None:
        raise TrustError("hello.key", "a broker session has no channel key")
