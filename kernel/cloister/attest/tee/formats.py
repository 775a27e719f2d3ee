"""Every format of hardware evidence by the names that manifests use: who examines it, with which roots.

Adding a format adds an entry; nobody edits a switch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from cloister.attest.tee import dcap, ratls, sgx, tdx
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


_TDX = Format(tdx.examine, (tdx.VENDOR,), dcap.COLLATERAL, tdx.EVENT_LOG)

FORMATS: Mapping[tuple[str, str], Format] = MappingProxyType({
    (sgx.TEE, sgx.FORMAT): Format(sgx.examine, (sgx.VENDOR,), dcap.COLLATERAL),
    (sgx.TEE, ratls.FORMAT): Format(ratls.examine, (sgx.VENDOR,), dcap.COLLATERAL),
    (tdx.TEE, "tdx_quote_v4"): _TDX,
    (tdx.TEE, "tdx_quote_v5"): _TDX,
})  # fmt: skip
"""(tee, format) as a manifest names them."""
