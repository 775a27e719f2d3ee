"""The report body of an SGX enclave: 384 bytes (Intel SDM vol. 3D, REPORT; also the quoting enclave's own)."""

from __future__ import annotations

import msgspec

from cloister.attest.tee.bytes import Cursor

SIZE = 384
_DEBUG = 0x02


class SgxReport(msgspec.Struct, frozen=True):
    """The fields of a report; byte strings as they stand there."""

    cpu_svn: bytes
    misc_select: bytes
    isv_ext_prod_id: bytes
    attributes: bytes
    mr_enclave: bytes
    mr_signer: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes

    @property
    def debug(self) -> bool:
        """Whether the enclave was started for debugging (ATTRIBUTES.DEBUG)."""
        return bool(self.attributes[0] & _DEBUG)


def parse(data: bytes) -> SgxReport:
    """Return the report of exactly 384 bytes.

    Raises:
        RejectedError: ``evidence.truncated`` or ``evidence.malformed``: too short or long, or reserved bytes in use.
    """
    at = Cursor(data)
    cpu_svn, misc_select = at.take(16), at.take(4)
    at.zeros(12, "reserved bytes of the SGX report")
    isv_ext_prod_id, attributes, mr_enclave = at.take(16), at.take(16), at.take(32)
    at.zeros(32, "reserved bytes of the SGX report")
    mr_signer = at.take(32)
    at.zeros(32, "reserved bytes of the SGX report")
    config_id, isv_prod_id, isv_svn, config_svn = at.take(64), at.u16(), at.u16(), at.u16()
    at.zeros(42, "reserved bytes of the SGX report")
    isv_family_id, report_data = at.take(16), at.take(64)
    at.end("the SGX report")
    return SgxReport(
        cpu_svn, misc_select, isv_ext_prod_id, attributes, mr_enclave, mr_signer, config_id, isv_prod_id, isv_svn,
        config_svn, isv_family_id, report_data,
    )  # fmt: skip
