"""What Intel's PCK certificate says of a platform: the SGX extension (PCK certificate profile, 1.3.5)."""

from __future__ import annotations

import msgspec

from cloister.attest.tee import der
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.der import Der
from cloister.attest.tee.x509 import Certificate

SGX_EXTENSION = "1.2.840.113741.1.13.1"
_PPID, _TCB, _PCEID, _FMSPC = (f"{SGX_EXTENSION}.{n}" for n in (1, 2, 3, 4))
_SGX_TYPES = ("standard", "scalable", "scalable with integrity")


class Platform(msgspec.Struct, frozen=True):
    """One platform at the TCB its certificate was issued for; sixteen component SVNs and the PCE's."""

    ppid: bytes
    fmspc: bytes
    pce_id: bytes
    cpu_svn: bytes
    components: tuple[int, ...]
    pce_svn: int
    sgx_type: str


def platform_of(certificate: Certificate) -> Platform:
    """Return the platform of a PCK certificate.

    Raises:
        RejectedError: ``evidence.malformed``: no such extension, or a broken one.
    """
    extension = certificate.extensions.get(SGX_EXTENSION)
    if extension is None:
        raise rejected("evidence.malformed", "the PCK certificate describes no platform")
    outer = Der(extension[1])
    fields = _fields(outer.enter())
    outer.end()
    tcb = _fields(_only(fields, _TCB, der.SEQUENCE))
    components = tuple(_svn(tcb, f"{_TCB}.{n}", 0xFF) for n in range(1, 17))
    kind = fields.get(f"{SGX_EXTENSION}.5")
    return Platform(
        ppid=_octets(fields, _PPID, 16),
        fmspc=_octets(fields, _FMSPC, 6),
        pce_id=_octets(fields, _PCEID, 2),
        cpu_svn=_octets(tcb, f"{_TCB}.18", 16),
        components=components,
        pce_svn=_svn(tcb, f"{_TCB}.17", 0xFFFF),
        sgx_type=_sgx_type(kind),
    )


def _fields(listed: Der) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while listed.more:
        entry = listed.enter()
        name, value = entry.oid(), entry.next()
        entry.end()
        if name in found:
            raise entry.fail("a field of the PCK certificate stands there twice")
        found[name] = value.raw
    return found


def _only(fields: dict[str, bytes], name: str, tag: int) -> Der:
    return Der(fields.get(name, b"")).enter(tag)


def _octets(fields: dict[str, bytes], name: str, size: int) -> bytes:
    value = Der(fields.get(name, b"")).next(der.OCTET_STRING).value
    if len(value) != size:
        raise rejected("evidence.malformed", f"field {name} of the PCK certificate has {len(value)} bytes")
    return value


def _svn(fields: dict[str, bytes], name: str, largest: int) -> int:
    value = Der(fields.get(name, b"")).integer()
    if not 0 <= value <= largest:
        raise rejected("evidence.malformed", f"field {name} of the PCK certificate is no version number")
    return value


def _sgx_type(raw: bytes | None) -> str:
    if raw is None:
        return "unknown"
    value = Der(raw).enumerated()
    return _SGX_TYPES[value] if 0 <= value < len(_SGX_TYPES) else "unknown"
