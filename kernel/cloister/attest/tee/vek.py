"""AMD's versioned endorsement keys: what a VCEK or VLEK certificate says, and its path to the product's root.

Source: AMD 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", tables 8 to 10
(extensions), and 56860, "SEV Secure Nested Paging Firmware ABI", TCB_VERSION. The certificates have serial number 0.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from cloister.attest.tee import signatures, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.der import INTEGER, Der
from cloister.attest.tee.examined import Roots

PRODUCTS = ("Milan", "Genoa", "Turin")
_ARC = "1.3.6.1.4.1.3704.1."
_PRODUCT, _HARDWARE_ID, _CSP_ID = _ARC + "2", _ARC + "4", _ARC + "5"
_SPL = _ARC + "3."
_IA5_STRING = 0x16
# Extension of each byte of TCB_VERSION, lowest byte first (None: reserved). Turin put the boot loader of the flash
# controller first; its certificates have one more extension (9).
_LAYOUT: dict[str, tuple[tuple[str, str | None], ...]] = {
    "Milan": (("bl", "1"), ("tee", "2"), ("spl4", "4"), ("spl5", "5"), ("spl6", "6"), ("spl7", "7"), ("snp", "3"),
              ("ucode", "8")),
    "Turin": (("fmc", "9"), ("bl", "1"), ("tee", "2"), ("snp", "3"), ("reserved4", None), ("reserved5", None),
              ("reserved6", None), ("ucode", "8")),
}  # fmt: skip
_LAYOUT["Genoa"] = _LAYOUT["Milan"]
_REPORTED = ("fmc", "bl", "tee", "snp", "ucode")
_HARDWARE_ID_BYTES = {"Milan": 64, "Genoa": 64, "Turin": 8}


class Vek(NamedTuple):
    """A VCEK or VLEK whose path to a root holds: product, kind, key, what it is versioned by, and when it is valid.

    ``tcb`` holds the eight bytes of TCB_VERSION it was derived for; ``hardware_id`` is a VCEK's chip (as long as the
    product has it), ``operator`` a VLEK's cloud provider.
    """

    product: str
    kind: str
    key: ec.EllipticCurvePublicKey
    tcb: bytes
    hardware_id: bytes
    operator: str
    window: x509.Window


def check(data: bytes, roots: Roots, now: datetime) -> Vek:
    """Return the key of a DER certificate after checking its path: itself, ASK or ASVK, ARK, all of one product.

    ``roots`` holds self-issued ARKs (where paths end) and the ASK and ASVK that AMD publishes beside them.

    Raises:
        RejectedError: ``evidence.*``, or ``endorsements.mismatch`` (the certificate of another product).
    """
    certificate = x509.parse(data)
    between = [root for root in roots if root.subject == certificate.issuer and root.subject != root.issuer]
    anchors = tuple(root for root in roots if root.subject == root.issuer)
    window = x509.check_chain([certificate, *between[:1]], anchors, now)
    kind, product = _hierarchy(certificate, between)
    extensions = {name: value for name, (_, value) in certificate.extensions.items()}
    if _text(extensions, _PRODUCT).partition("-")[0] != product:
        raise rejected("endorsements.mismatch", f"a certificate of another product under the root of {product}")
    return Vek(
        product=product,
        kind=kind,
        key=signatures.ec_key(certificate.spki),
        tcb=bytes(_level(extensions, oid) for _, oid in _LAYOUT[product]),
        hardware_id=_hardware_id(extensions, product) if kind == "VCEK" else b"",
        operator=_text(extensions, _CSP_ID) if kind == "VLEK" else "",
        window=window,
    )


def tcb_parts(tcb: bytes, product: str) -> dict[str, int]:
    """Return the security versions of the components that TCB_VERSION names."""
    named = {name: level for (name, _), level in zip(_LAYOUT[product], tcb, strict=True)}
    return {name: named[name] for name in _REPORTED if name in named}


def _hierarchy(certificate: x509.Certificate, between: list[x509.Certificate]) -> tuple[str, str]:
    """Return kind and product; a VCEK is issued by the product's ASK and a VLEK by its ASVK, never the other way."""
    names = (x509.common_name(certificate.subject), x509.common_name(between[0].subject) if between else "")
    for product in PRODUCTS:
        if names == ("SEV-VCEK", f"SEV-{product}"):
            return "VCEK", product
        if names == ("SEV-VLEK", f"SEV-VLEK-{product}"):
            return "VLEK", product
    raise rejected("evidence.chain", "neither a VCEK under an ASK nor a VLEK under an ASVK")


def _level(extensions: dict[str, bytes], oid: str | None) -> int:
    if oid is None:
        return 0
    value = Der(_required(extensions, _SPL + oid))
    level = value.integer() if value.peek() == INTEGER else -1
    value.end()
    if not 0 <= level <= 255:
        raise rejected("evidence.malformed", "a security version that is no byte")
    return level


def _hardware_id(extensions: dict[str, bytes], product: str) -> bytes:
    # AMD writes the chip's identifier as the bare bytes, without a DER element around them.
    value = _required(extensions, _HARDWARE_ID)
    if len(value) != _HARDWARE_ID_BYTES[product]:
        raise rejected("evidence.malformed", f"a hardware id of {len(value)} bytes")
    return value


def _text(extensions: dict[str, bytes], oid: str) -> str:
    value = Der(_required(extensions, oid))
    text = value.next(_IA5_STRING).value
    value.end()
    if not text.isascii():
        raise rejected("evidence.malformed", "an IA5String that is not ASCII")
    return text.decode("ascii")


def _required(extensions: dict[str, bytes], oid: str) -> bytes:
    if oid not in extensions:
        raise rejected("evidence.malformed", f"the certificate has no extension {oid}")
    return extensions[oid]
