"""The report body of a TDX trust domain: 584 bytes (TDX 1.0) or 648 (TDX 1.5, two fields more)."""

from __future__ import annotations

import msgspec

from cloister.attest.tee.bytes import Cursor

SIZE_10, SIZE_15 = 584, 648
# Bits of TD_ATTRIBUTES (Intel TDX module ABI): no #VE on a fault in the host's page tables; may be migrated.
_SEPT_VE_DISABLE, _MIGRATABLE = 1 << 28, 1 << 29
# Features of the processor that a domain may use: LASS, PKS, KL, TPA, PERFMON.
_FEATURES = 1 << 27 | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63


class TdxReport(msgspec.Struct, frozen=True):
    """The fields of a report; the last two are empty in TDX 1.0."""

    tee_tcb_svn: bytes
    mr_seam: bytes
    mrsigner_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes = b""
    mr_servicetd: bytes = b""

    @property
    def debug(self) -> bool:
        """Whether any "TD under debug" attribute is set (bits 7:0, of which bit 0 is DEBUG)."""
        return self.td_attributes[0] != 0

    @property
    def migratable(self) -> bool:
        """Whether the domain may be moved to another platform by a migration TD."""
        return bool(self._attributes & _MIGRATABLE)

    @property
    def faults_hidden(self) -> bool:
        """Whether the host cannot raise #VE in the domain by taking its pages away (SEPT_VE_DISABLE)."""
        return bool(self._attributes & _SEPT_VE_DISABLE)

    @property
    def unknown_attributes(self) -> int:
        """Attributes that are set and have no meaning here, bits 7:0 aside, which are ``debug``."""
        return self._attributes & ~(_SEPT_VE_DISABLE | _MIGRATABLE | _FEATURES | 0xFF)

    @property
    def _attributes(self) -> int:
        return int.from_bytes(self.td_attributes, "little")


def parse(data: bytes) -> TdxReport:
    """Return the report of exactly 584 or 648 bytes.

    Raises:
        RejectedError: ``evidence.truncated`` or ``evidence.malformed``.
    """
    at = Cursor(data)
    svn, mr_seam, mrsigner_seam = at.take(16), at.take(48), at.take(48)
    seam_attributes, td_attributes, xfam = at.take(8), at.take(8), at.take(8)
    mr_td, mr_config_id, mr_owner, mr_owner_config = at.take(48), at.take(48), at.take(48), at.take(48)
    rtmr = (at.take(48), at.take(48), at.take(48), at.take(48))
    report_data = at.take(64)
    svn2, mr_servicetd = (at.take(16), at.take(48)) if at.remaining else (b"", b"")
    at.end("the TD report")
    return TdxReport(
        svn, mr_seam, mrsigner_seam, seam_attributes, td_attributes, xfam, mr_td, mr_config_id, mr_owner,
        mr_owner_config, rtmr, report_data, svn2, mr_servicetd,
    )  # fmt: skip
