"""The verdict: what the analyst's own machine established about an enclave, in the words of the badge."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.attest.verification import Appraisal

_TEE_NAMES = {"sgx": "SGX", "tdx": "TDX", "snp": "SEV-SNP", "nitro": "Nitro", "cca": "CCA"}
NOT_VERIFIED = "Not verified"
SIMULATED = "Simulated"


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of one appraisal.

    ``word`` is ``Genuine: X``, ``Simulated`` or ``Not verified``; ``tone`` is how the badge shows it; ``status`` is
    EAR's; ``reasons`` explain every claim, worst first; ``isolation`` is what the agent says about the sandbox;
    ``time`` is when the evidence was appraised (RFC 3339, UTC); ``binding`` (hex) names the channel; ``operator`` runs
    this proxy.
    """

    word: str
    tone: Literal["green", "amber", "red"]
    assurance: str
    status: str
    reasons: tuple[str, ...]
    isolation: dict[str, Any]
    time: str
    env_digest: str
    contract: str
    vault_id: str
    binding: str
    signer: str
    operator: str = ""


def verdict_of(appraisal: Appraisal, *, isolation: dict[str, Any], time: str, operator: str) -> Verdict:
    """Return the verdict of an accepted appraisal; a sandbox without isolation turns it red."""
    simulated = appraisal.assurance == "simulated"
    word = SIMULATED if simulated else f"Genuine: {_TEE_NAMES.get(appraisal.assurance, appraisal.assurance)}"
    unisolated = isolation.get("level", "none") == "none"
    reasons = appraisal.reasons
    if unisolated:
        reasons = ("isolation none: notebook code runs without a sandbox; demonstration data only", *reasons)
    return Verdict(
        word=word,
        tone="red" if unisolated else "amber" if simulated else "green",
        assurance=appraisal.assurance,
        status=appraisal.status,
        reasons=reasons,
        isolation=isolation,
        time=time,
        env_digest=appraisal.claims.env_digest,
        contract=appraisal.claims.contract,
        vault_id=appraisal.offer.vault_id,
        binding=appraisal.binding.hex(),
        signer=appraisal.claims.signer,
        operator=operator,
    )
