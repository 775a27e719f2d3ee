"""Every format of hardware evidence by the names that manifests use: who examines it, with which roots.

Adding a format adds an entry; nobody edits a switch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from cloister.attest.tee import azure_vtpm, cca, dcap, gcp_oidc, gcp_vtpm, nitro, nvidia, ratls, sgx, snp, tdx, tpm
from cloister.attest.tee.examined import Examine


class Format(msgspec.Struct, frozen=True):
    """One format of one TEE: its function, the vendors of its roots, and the names of its endorsements.

    ``endorsement`` is the key under which a manifest's single endorsements file is handed to ``examine``;
    ``event_log`` the key of its event log. Empty: the format takes none.
    """

    examine: Examine
    vendors: tuple[str, ...] = ()
    endorsement: str = ""
    event_log: str = ""


_SNP = Format(snp.examine, snp.VENDORS, snp.ENDORSEMENT)
_TDX = Format(tdx.examine, (tdx.VENDOR,), dcap.COLLATERAL, tdx.EVENT_LOG)

FORMATS: Mapping[tuple[str, str], Format] = MappingProxyType({
    (sgx.TEE, sgx.FORMAT): Format(sgx.examine, (sgx.VENDOR,), dcap.COLLATERAL),
    (sgx.TEE, ratls.FORMAT): Format(ratls.examine, (sgx.VENDOR,), dcap.COLLATERAL),
    (tdx.TEE, "tdx_quote_v4"): _TDX,
    (tdx.TEE, "tdx_quote_v5"): _TDX,
    (snp.TEE, "snp_report_v2"): _SNP,
    (snp.TEE, "snp_report_v3"): _SNP,
    (nitro.TEE, nitro.FORMAT): Format(nitro.examine, nitro.VENDORS),
    (cca.TEE, cca.FORMAT): Format(cca.examine, (), cca.ENDORSEMENT),
    (azure_vtpm.TEE_SNP, azure_vtpm.FORMAT): Format(azure_vtpm.examine_snp, snp.VENDORS),
    (azure_vtpm.TEE_TDX, azure_vtpm.FORMAT): Format(azure_vtpm.examine_tdx, (tdx.VENDOR,), dcap.COLLATERAL),
    (gcp_vtpm.TEE, gcp_vtpm.FORMAT): Format(gcp_vtpm.examine),
    (gcp_oidc.TEE, gcp_oidc.FORMAT): Format(gcp_oidc.examine, (), gcp_oidc.ENDORSEMENT),
    (tpm.TEE, tpm.FORMAT): Format(tpm.examine),
    (nvidia.TEE, nvidia.FORMAT): Format(nvidia.examine, nvidia.VENDORS, nvidia.CHAIN),
})  # fmt: skip
"""(tee, format) as a manifest names them."""
