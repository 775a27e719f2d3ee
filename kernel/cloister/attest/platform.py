"""Appraisal of genuine hardware: what its vendor and its verifier say of it, against what a policy accepts.

Values follow reference/attestation.md 8.2 (AR4SI): 2 affirming, 32 and above a warning, 96 and above contraindicated.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cloister.attest.evidence import Claims
from cloister.attest.policy import Hardware

# The field in which hardware reports the configuration it was started with, and its size in bytes.
_CONFIGURATION = {"tdx": ("mr_config_id", 48), "sgx": ("config_id", 64), "snp": ("host_data", 32)}

# TEEs whose status is Intel's, by collateral of some age.
_INTEL = frozenset({"sgx", "tdx", "azure-vtpm-tdx"})
# TEEs whose versions AMD reports and judges nowhere.
_AMD = frozenset({"snp", "azure-vtpm-snp"})
# The TEE whose evidence is a token about a machine, and the software that Google's reference names for it.
_TOKENS, _CONFIDENTIAL_SPACE = "gcp-oidc", "CONFIDENTIAL_SPACE"


class Finding(msgspec.Struct, frozen=True):
    """An AR4SI value with its reason in words and, if it is not affirming, its code."""

    value: int
    reason: str
    code: str = ""


def hardware(claims: Claims, rules: Hardware) -> Finding:
    """Return the value of the hardware claim: the worst that vendor, collateral or verifier say."""
    for finding in (_status(claims, rules), _age(claims, rules), _versions(claims, rules), _warnings(claims, rules)):
        if finding is not None:
            return finding
    status = claims.platform.get("tcb_status")
    return Finding(2, "genuine hardware" + (f", {status}" if status else ""))


def configuration(claims: Claims, rules: Hardware) -> Finding | None:
    """Return why the way this enclave was started is contraindicated, None if it is not."""
    details = _details(claims)
    if claims.tee == _TOKENS and (wrong := _token(details, rules)):
        return Finding(96, wrong, "appraisal.token")
    if details.get("migratable") or details.get("migration_agent"):
        return Finding(96, "it may be moved to a machine nobody appraised", "appraisal.migratable")
    vmpl = details.get("vmpl", 0)
    if not isinstance(vmpl, int) or vmpl > rules.vmpl:
        return Finding(
            96, f"it runs at VMPL {vmpl}, above {rules.vmpl}: others in its guest command it", "appraisal.vmpl"
        )
    return None


def _token(details: dict[str, Any], rules: Hardware) -> str:
    """Return what is wrong with the machine that a token of Confidential Space describes, "" if nothing is.

    Google's service signs tokens of ordinary shielded machines and of other software too, with the same key.
    """
    if details.get("hwmodel") not in rules.hwmodel:
        return f"the token is of hardware {details.get('hwmodel')}, which the policy does not list (hardware.hwmodel)"
    if details.get("swname") != _CONFIDENTIAL_SPACE:
        return f"the token is of {details.get('swname')}, not of Confidential Space"
    if details.get("secboot") is not True:
        return "the machine was started without secure boot"
    if details.get("aud") not in rules.audience:
        return f"the token is for {details.get('aud')}, which the policy does not list (hardware.audience)"
    return ""


def exclusive(claims: Claims, contract: str) -> Finding | None:
    """Return why this machine was not started for ``contract`` alone (``sha256:<hex>``), None if it was.

    What starts the machine writes the contract's digest, followed by zeros, into the field that hardware reports for
    its configuration: MRCONFIGID of TDX, CONFIGID of SGX, HOST_DATA of SNP. A shared machine names the contract in its
    report data only.
    """
    name, size = _CONFIGURATION.get(claims.tee, ("", 0))
    found = claims.launch.get(name, _details(claims).get(name))
    digest = contract.removeprefix("sha256:")
    if name and len(digest) == 64 and found == digest.ljust(2 * size, "0"):
        return None
    return Finding(96, "it was not started for this contract alone", "appraisal.tenancy")


def _status(claims: Claims, rules: Hardware) -> Finding | None:
    status = claims.platform.get("tcb_status")
    if status is None:
        return None
    if status == "Revoked":
        return Finding(96, "the vendor revoked this platform's TCB", "appraisal.tcb")
    listed = claims.platform.get("advisories") or []
    opened = sorted(set(listed) - set(rules.advisories))
    if status not in rules.tcb_status or opened:
        names = f" ({', '.join(opened)})" if opened else ""
        return Finding(32, f"the vendor says {status} of this platform{names}", "appraisal.tcb")
    return None


def _age(claims: Claims, rules: Hardware) -> Finding | None:
    """Compare how new Intel's word is: a status from old collateral is true of old faults only."""
    evaluation = _details(claims).get("tcb_eval_num")
    if claims.tee not in _INTEL and evaluation is None:
        return None
    if not rules.evaluation:
        return Finding(32, "the policy names no oldest collateral (hardware.evaluation)", "appraisal.collateral")
    if not _at_least(evaluation, rules.evaluation):
        reason = f"judged by collateral {evaluation}, older than {rules.evaluation}"
        return Finding(32, reason, "appraisal.collateral")
    return None


def _versions(claims: Claims, rules: Hardware) -> Finding | None:
    """Compare versions that no vendor judged: without a policy's own least versions nobody did.

    Reported versions are those the key was derived for. The host may go back to the committed ones at any time, and
    under those of the launch the guest's memory was first filled: each must be as new (AMD 56860, TCB_VERSION).
    """
    details, tcb = _details(claims), claims.platform.get("tcb") or {}
    if claims.tee not in _AMD and not tcb:
        return None
    product = str(details.get("product"))
    least = rules.minimum_tcb.get(product)
    if not least:
        return Finding(32, f"the policy names no least versions of {product} (hardware.minimum_tcb)", "appraisal.tcb")
    for what, found in (
        ("", tcb),
        ("committed ", details.get("tcb_committed")),
        ("launch ", details.get("tcb_launch")),
    ):
        names = found if isinstance(found, dict) else {}
        if unnamed := sorted(set(names) - set(least)):
            return Finding(32, f"the policy names no least version of {', '.join(unnamed)}", "appraisal.tcb")
        if low := sorted(name for name, level in least.items() if not _at_least(names.get(name), level)):
            return Finding(32, f"below the least {what}version of {', '.join(low)}", "appraisal.tcb")
    return None


def _warnings(claims: Claims, rules: Hardware) -> Finding | None:
    open_ones = [text for text in claims.warnings if text not in rules.warnings]
    return Finding(32, f"its verifier warns: {open_ones[0]}", "appraisal.warning") if open_ones else None


def _at_least(found: Any, least: int) -> bool:
    return isinstance(found, int) and found >= least


def _details(claims: Claims) -> dict[str, Any]:
    details = claims.platform.get("details")
    return details if isinstance(details, dict) else {}
