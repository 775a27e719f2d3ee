"""Evidence and what a verifier says about it, in the words of RFC 9334 (RATS)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.errors import TrustError


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an attester produced: the TEE's name, the format, base64 bytes and base64 endorsements."""

    tee: str
    format: str
    blob: str
    endorsements: dict[str, str] = {}


# What is not there is not written: claims of a simulator keep the digest that older admissions name.
class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a verifier established about evidence, independent of the TEE.

    ``report_data`` is the hex binding value; ``launch`` the launch measurements; ``env_digest`` digests the
    code on disk (counts only if the launch measurement covers the code that computed it); ``runtime`` holds
    declared properties such as the isolation level; ``signer`` names the key that signed the evidence. ``platform`` is
    what the verifier established about hardware: the vendor's TCB status words, advisories, versions, details.
    """

    tee: str
    assurance: Literal["hardware", "simulated"]
    debug: bool
    launch: dict[str, str]
    env_digest: str
    contract: str
    report_data: str
    signer: str
    runtime: dict[str, Any]
    warnings: tuple[str, ...] = ()
    platform: dict[str, Any] = {}


def completed(claims: Claims, env_digest: str, contract: str) -> Claims:
    """Return claims with the code and contract that the binding vouches for.

    Call it only after the evidence's report data was compared with a binding over exactly these two: hardware reports
    neither by name, and hashing them into the report data is how it reports them at all. What a verifier did report is
    kept, and compared by the caller.
    """
    if claims.assurance != "hardware" or claims.env_digest or claims.contract:
        return claims
    return msgspec.structs.replace(claims, env_digest=env_digest, contract=contract)


class RejectedError(TrustError):
    """Evidence that does not verify; ``code`` is from the closed list in ``docs/evidence.md``."""

    kind = "rejected"
