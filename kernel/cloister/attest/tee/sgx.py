"""Intel SGX: DCAP quote version 3 of an enclave's report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import dcap, sgx_report
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, conclude
from cloister.attest.tee.sgx_report import SgxReport

TEE = "sgx"
FORMAT = "sgx_quote_v3"
VENDOR = "intel"


def examine(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what an SGX quote says; ``endorsements`` may hold ``collateral`` (``intel_collateral.Bundle`` as JSON).

    Raises:
        RejectedError: It does not verify; the code says why.
    """
    at, header = dcap.open_quote(blob)
    if (header.version, header.tee_type) != (3, dcap.SGX_TEE):
        raise rejected("evidence.format", "no SGX quote of version 3")
    report = sgx_report.parse(at.take(sgx_report.SIZE))
    signed = blob[: at.position]
    established = dcap.establish(signed, dcap.read_signatures(at, header), endorsements, roots, now, tdx=None)
    dcap.check_padding(at)
    tcb = established.tcb
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="verified" if tcb else "endorsements_missing",
        debug=report.debug,
        report_data=report.report_data.hex(),
        launch={"mr_enclave": report.mr_enclave.hex(), "mr_signer": report.mr_signer.hex()},
        signer=established.signer,
        tcb_status=tcb.status if tcb else None,
        qe_status=tcb.qe_status if tcb else None,
        advisories=tcb.advisories if tcb else (),
        details={**_details(report), **established.details},
        not_before=established.window.not_before,
        not_after=established.window.not_after,
    )


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of an SGX quote made for ``binding`` (64 bytes of report data).

    Raises:
        RejectedError: As ``examine``, or ``evidence.binding``, or ``endorsements.missing``.
    """
    blob = blob_of(evidence, TEE, (FORMAT,), dcap.MAX_QUOTE)
    return conclude(examine(blob, endorsements, packaged.of(VENDOR), now), binding)


def _details(report: SgxReport) -> dict[str, Any]:
    return {
        "cpu_svn": report.cpu_svn.hex(),
        "misc_select": report.misc_select.hex(),
        "attributes": report.attributes.hex(),
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "isv_ext_prod_id": report.isv_ext_prod_id.hex(),
        "isv_family_id": report.isv_family_id.hex(),
        "config_id": report.config_id.hex(),
        "config_svn": report.config_svn,
    }
