"""Intel TDX: DCAP quotes versions 4 and 5 of a trust domain's report, with its event log if it is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import ccel, dcap, tdx_report
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.dcap import Header
from cloister.attest.tee.examined import Examined, Roots, blob_of, conclude
from cloister.attest.tee.intel_tcb import TdxTcb
from cloister.attest.tee.tdx_report import TdxReport

TEE = "tdx"
FORMATS = ("tdx_quote_v4", "tdx_quote_v5")
VENDOR = "intel"
EVENT_LOG = "event_log"
# Body types of quote version 5.
_BODIES = {2: tdx_report.SIZE_10, 3: tdx_report.SIZE_15}


def examine(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what a TDX quote says; ``endorsements`` may hold ``collateral`` (JSON) and ``event_log`` (CCEL).

    Raises:
        RejectedError: It does not verify; the code says why.
    """
    at, header = dcap.open_quote(blob)
    if header.version not in (4, 5) or header.tee_type != dcap.TDX_TEE:
        raise rejected("evidence.format", "no TDX quote of version 4 or 5")
    report = tdx_report.parse(read_body(at, header))
    signed = blob[: at.position]
    tcb = TdxTcb(report.tee_tcb_svn, report.mrsigner_seam, report.seam_attributes)
    established = dcap.establish(signed, dcap.read_signatures(at, header), endorsements, roots, now, tdx=tcb)
    details = {**_details(report), **established.details}
    if EVENT_LOG in endorsements:
        details["events"] = ccel.check(endorsements[EVENT_LOG], report.rtmr)
    dcap.check_padding(at)
    judged = established.tcb
    return Examined(
        tee=TEE,
        format=f"tdx_quote_v{header.version}",
        verdict="verified" if judged else "endorsements_missing",
        debug=report.debug,
        report_data=report.report_data.hex(),
        launch={"mr_td": report.mr_td.hex()} | {f"rtmr{n}": value.hex() for n, value in enumerate(report.rtmr)},
        signer=established.signer,
        tcb_status=judged.status if judged else None,
        qe_status=judged.qe_status if judged else None,
        module_status=judged.module_status if judged else None,
        advisories=judged.advisories if judged else (),
        details=details,
        warnings=tuple(_warnings(report)),
        not_before=established.window.not_before,
        not_after=established.window.not_after,
    )


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a TDX quote made for ``binding`` (64 bytes of report data).

    Raises:
        RejectedError: As ``examine``, or ``evidence.binding``, or ``endorsements.missing``.
    """
    blob = blob_of(evidence, TEE, FORMATS, dcap.MAX_QUOTE)
    examined = examine(blob, endorsements, packaged.of(VENDOR), now)
    if examined.format != evidence.format:
        raise rejected("evidence.format", f"a quote of another version than {evidence.format}")
    return conclude(examined, binding)


def read_body(at: Cursor, header: Header) -> bytes:
    """Return the report that a quote carries; the cursor stands behind it.

    Raises:
        RejectedError: ``evidence.format`` or ``evidence.truncated``.
    """
    if header.version == 4:
        return at.take(tdx_report.SIZE_10)
    kind, size = at.u16(), at.u32()
    if _BODIES.get(kind) != size:
        raise rejected("evidence.format", f"a quote body of type {kind} and {size} bytes is no TD report")
    return at.take(size)


def _warnings(report: TdxReport) -> list[str]:
    found = []
    if report.migratable:
        found.append("the trust domain may be moved to another machine by a migration TD")
    if not report.faults_hidden:
        found.append("the host can raise exceptions in the trust domain (SEPT_VE_DISABLE is off)")
    if report.unknown_attributes:
        found.append(f"attributes of the trust domain that are not known here: {report.unknown_attributes:#x}")
    return found


def _details(report: TdxReport) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: getattr(report, name).hex()
        for name in (
            "tee_tcb_svn", "mr_seam", "mrsigner_seam", "seam_attributes", "td_attributes", "xfam", "mr_config_id",
            "mr_owner", "mr_owner_config",
        )
    }  # fmt: skip
    found |= {"migratable": report.migratable, "sept_ve_disable": report.faults_hidden}
    if report.tee_tcb_svn2:
        found |= {"tee_tcb_svn2": report.tee_tcb_svn2.hex(), "mr_servicetd": report.mr_servicetd.hex()}
    return found
