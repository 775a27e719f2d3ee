"""The closed lists of verdicts and reason codes; ``docs/evidence.md`` publishes them, and a test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cloister.attest.evidence import RejectedError

VERDICTS: Mapping[str, str] = MappingProxyType({
    "verified": "every signature, chain, time and endorsement holds; whether to trust it is the policy's decision",
    "endorsements_missing": "the signatures hold, but collateral that says whether the platform is sound was not given",
    "unanchored": "the signature holds, but nothing here ties the signing key to a vendor",
    "references_missing": "genuine hardware, but nothing here says which measurements are good",
    "rejected": "it does not verify; a reason code says why",
})  # fmt: skip
"""Verdicts and what each means. Only ``verified`` can become claims (``examined.conclude``)."""

CODES: Mapping[str, str] = MappingProxyType({
    # The evidence itself.
    "evidence.tee": "no verifier for this TEE is installed",
    "evidence.format": "not a format, version or type that this verifier knows",
    "evidence.oversize": "larger than any evidence of this format",
    "evidence.truncated": "it ends before a field that it announces",
    "evidence.malformed": "its structure breaks the rules of its format",
    "evidence.algorithm": "signed with, or naming, another algorithm than the format's own",
    "evidence.signature": "a signature over the evidence is wrong",
    "evidence.key": "the key that signed is not the key the hardware vouches for",
    "evidence.chain": "its certificates do not lead to a pinned root by the rules of X.509",
    "evidence.expired": "a certificate of the evidence has expired",
    "evidence.not_yet_valid": "a certificate of the evidence, or a time in it, lies in the future",
    "evidence.revoked": "the vendor revoked a certificate of the evidence",
    "evidence.binding": "made for another exchange: replayed, relayed, re-keyed or meant for someone else",
    "evidence.claims": "what the evidence says contradicts itself or what it came with",
    "evidence.event_log": "the event log does not replay to the measured registers",
    # Endorsements: what the vendor says about the platform.
    "endorsements.missing": "no endorsement that says whether the platform is sound",
    "endorsements.oversize": "larger than any endorsement of its kind",
    "endorsements.malformed": "an endorsement breaks the rules of its format",
    "endorsements.signature": "a signature over an endorsement is wrong",
    "endorsements.chain": "an endorsement's certificates do not lead to a pinned root by the rules of X.509",
    "endorsements.expired": "an endorsement, or a certificate that signed it, has expired",
    "endorsements.not_yet_valid": "an endorsement, or a certificate that signed it, is not valid yet",
    "endorsements.revoked": "the vendor revoked the certificate that signed an endorsement",
    "endorsements.mismatch": "an endorsement of another kind of evidence or another product",
    "crl.expired": "the vendor's list of revoked certificates is out of date",
    "crl.not_yet_valid": "the vendor's list of revoked certificates is from the future",
    # The platform's security version.
    "tcb.fmspc": "the TCB information is of another platform (FMSPC or PCE id)",
    "tcb.no_matching_level": "the platform is below every TCB level the vendor lists",
    "tcb.revoked": "the vendor revoked this TCB level",
    "tcb.mismatch": "the certificate is of another TCB than the report's",
    "tcb.chip": "the certificate is of another chip or product than the report's",
    # The helper components that sign for the hardware.
    "qe.identity": "the quoting enclave is not the vendor's",
    "tdx.module": "the TDX module is not the vendor's, or not one the collateral knows",
    # What genuine evidence may still lack.
    "evidence.unanchored": "nothing ties the signing key to a vendor",
    "references.missing": "nothing says which measurements are good",
    "references.mismatch": "a measurement is none of those the vendor lists as good",
})  # fmt: skip
"""Reason codes of ``RejectedError`` and what each means, one line each."""


def rejected(code: str, reason: str) -> RejectedError:
    """Return the error to raise; its code is one of ``CODES``."""
    if code not in CODES:
        # A code outside the closed list is a defect here; the evidence is refused all the same.
        return RejectedError("evidence.malformed", f"{reason} (unlisted code {code})")
    return RejectedError(code, reason)
