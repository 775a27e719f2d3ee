"""TCB levels: what Intel says of a platform, its quoting enclave and its TDX module, and the three as one status.

Rules of Intel's quote verification library (QVL): levels are compared in their order and the first that the platform
reaches in every component counts; what the quoting enclave or the module lack lowers the platform's status.
"""

from __future__ import annotations

import msgspec

from cloister.attest.tee.codes import rejected
from cloister.attest.tee.intel_collateral import (
    Collateral,
    EnclaveLevel,
    PlatformLevel,
    QeIdentity,
    TcbInfo,
    TdxModule,
    unhex,
)
from cloister.attest.tee.intel_pck import Platform
from cloister.attest.tee.sgx_report import SgxReport


class TdxTcb(msgspec.Struct, frozen=True):
    """What a TD report says of its module: versions, signer and attributes."""

    svn: bytes
    mrsigner_seam: bytes
    seam_attributes: bytes


class Judged(msgspec.Struct, frozen=True):
    """The verdict on a TCB: the merged status, its three parts, and the advisories of all."""

    status: str
    platform_status: str
    qe_status: str
    module_status: str | None
    advisories: tuple[str, ...]
    date: str
    evaluation: int


def judge(collateral: Collateral, platform: Platform, qe: SgxReport, tdx: TdxTcb | None) -> Judged:
    """Return the status of a platform whose quoting enclave reported ``qe``; ``tdx`` for a trust domain.

    Raises:
        RejectedError: ``endorsements.mismatch``, ``tcb.*``, ``qe.identity`` or ``tdx.module``.
    """
    info, identity = collateral.tcb_info, collateral.qe_identity
    # 1. Collateral of this kind of TEE and of this platform.
    if (info.id, identity.id) != (("TDX", "TD_QE") if tdx else ("SGX", "QE")):
        raise rejected("endorsements.mismatch", f"collateral of {info.id} and {identity.id} for another TEE")
    if (unhex(info.fmspc, 6), unhex(info.pce_id, 2)) != (platform.fmspc, platform.pce_id):
        raise rejected("tcb.fmspc", f"TCB information of {info.fmspc.lower()}, a platform {platform.fmspc.hex()}")
    # 2. The first level that the platform reaches, then its helpers.
    level = _platform_level(info, platform, tdx)
    qe_level = _qe_level(identity, qe)
    module_level = _module_level(info, tdx) if tdx else None
    # 3. One status for all three.
    status = merge(level.tcb_status, qe_level.tcb_status, module_level.tcb_status if module_level else None)
    if status == "Revoked":
        raise rejected("tcb.revoked", "Intel revoked this TCB level")
    levels = (level, qe_level, *((module_level,) if module_level else ()))
    return Judged(
        status=status,
        platform_status=level.tcb_status,
        qe_status=qe_level.tcb_status,
        module_status=module_level.tcb_status if module_level else None,
        advisories=tuple(sorted({name for each in levels for name in each.advisory_ids})),
        date=level.tcb_date,
        evaluation=min(info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number),
    )


def merge(platform: str, *helpers: str | None) -> str:
    """Return the status of a platform whose quoting enclave or module may lack something (QVL, converge)."""
    if "Revoked" in (platform, *helpers):
        return "Revoked"
    if all(helper in (None, "UpToDate") for helper in helpers):
        return platform
    # Any other word about a helper counts as out of date: Intel lists only UpToDate, OutOfDate and Revoked for them.
    return "OutOfDateConfigurationNeeded" if "Configuration" in platform else "OutOfDate"


def _platform_level(info: TcbInfo, platform: Platform, tdx: TdxTcb | None) -> PlatformLevel:
    for level in info.tcb_levels:
        wanted = [component.svn for component in level.tcb.sgxtcbcomponents]
        reached = platform.pce_svn >= level.tcb.pcesvn and _reaches(platform.components, wanted)
        if reached and (tdx is None or _tdx_reaches(level, tdx)):
            return level
    raise rejected("tcb.no_matching_level", "the platform's versions are below every level Intel lists")


def _tdx_reaches(level: PlatformLevel, tdx: TdxTcb) -> bool:
    if level.tcb.tdxtcbcomponents is None:
        raise rejected("endorsements.malformed", "a TDX level without TDX components")
    # With a major version in component 1, components 0 and 1 are the module's own and its identity judges them.
    first = 2 if tdx.svn[1] else 0
    wanted = [component.svn for component in level.tcb.tdxtcbcomponents]
    return _reaches(tuple(tdx.svn[first:]), wanted[first:])


def _reaches(found: tuple[int, ...], wanted: list[int]) -> bool:
    return all(have >= want for have, want in zip(found, wanted, strict=True))


def _qe_level(identity: QeIdentity, qe: SgxReport) -> EnclaveLevel:
    """Return the level of the quoting enclave, which must be the one the identity describes."""
    same = (
        _masked(qe.misc_select, identity.miscselect, identity.miscselect_mask)
        and _masked(qe.attributes, identity.attributes, identity.attributes_mask)
        and qe.mr_signer == unhex(identity.mrsigner, 32)
        and qe.isv_prod_id == identity.isvprodid
    )
    level = _enclave_level(identity.tcb_levels, qe.isv_svn)
    if not same or level is None:
        raise rejected("qe.identity", "the quoting enclave is not Intel's, or older than every version listed")
    return level


def _module_level(info: TcbInfo, tdx: TdxTcb) -> EnclaveLevel | None:
    """Return the level of the TDX module; None for version 0, which the platform's level covers."""
    major = tdx.svn[1]
    if major == 0:
        _check_module(info.tdx_module, tdx)
        return None
    name = f"TDX_{major:02X}"
    identity = next((each for each in info.tdx_module_identities if each.id == name), None)
    _check_module(identity, tdx)
    level = _enclave_level(identity.tcb_levels, tdx.svn[0]) if identity else None
    if level is None:
        raise rejected("tdx.module", f"no level of {name} that version {tdx.svn[0]} reaches")
    return level


def _check_module(wanted: TdxModule | None, tdx: TdxTcb) -> None:
    if (
        wanted is None
        or unhex(wanted.mrsigner, 48) != tdx.mrsigner_seam
        or not _masked(tdx.seam_attributes, wanted.attributes, wanted.attributes_mask)
    ):
        raise rejected("tdx.module", "the TDX module is not one that the collateral describes")


def _enclave_level(levels: tuple[EnclaveLevel, ...], svn: int) -> EnclaveLevel | None:
    return next((level for level in levels if svn >= level.tcb.isvsvn), None)


def _masked(value: bytes, wanted: str, mask: str) -> bool:
    size = len(value)
    return bytes(a & b for a, b in zip(value, unhex(mask, size), strict=True)) == unhex(wanted, size)
