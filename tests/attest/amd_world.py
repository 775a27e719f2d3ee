"""An AMD of our own: products with ARK, ASK and ASVK, VCEKs and VLEKs, and reports signed with them."""

from __future__ import annotations

import functools
import struct
from datetime import datetime

import vendor_pki as pki
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from cloister.attest.tee import snp
from cloister.attest.tee.examined import Examined, Roots

ARC = "1.3.6.1.4.1.3704.1."
CHIP = {"Milan": bytes(range(64)), "Genoa": bytes(range(64)), "Turin": bytes(range(8))}
CPUID = {"Milan": (0x19, 0x01, 1), "Genoa": (0x19, 0x11, 1), "Turin": (0x1A, 0x02, 1)}
TCB = {"bl": 3, "tee": 1, "snp": 8, "ucode": 115, "fmc": 2}
OPERATOR = "CN=operator.example"
REPORT_DATA = bytes(range(48)) + bytes(16)
DEBUG, MIGRATION = 1 << 19, 1 << 18


@functools.cache
def ark(product: str) -> pki.Authority:
    return pki.issue(f"ARK-{product}", pki.rsa2048(f"ark {product}"), authority=True)


@functools.cache
def intermediate(product: str, kind: str) -> pki.Authority:
    name = f"SEV-{product}" if kind == "VCEK" else f"SEV-VLEK-{product}"
    return pki.issue(name, pki.rsa2048(f"{kind} {product}"), ark(product), authority=True)


@functools.cache
def roots(*products: str) -> Roots:
    return tuple(
        each.own
        for product in products or ("Milan", "Genoa", "Turin")
        for each in (intermediate(product, "VCEK"), ark(product), intermediate(product, "VLEK"))
    )


def der_integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(data)]) + data


def tcb_bytes(product: str, tcb: dict[str, int] = TCB) -> bytes:
    """Return TCB_VERSION of a product, lowest byte first."""
    if product == "Turin":
        return bytes([tcb["fmc"], tcb["bl"], tcb["tee"], tcb["snp"], 0, 0, 0, tcb["ucode"]])
    return bytes([tcb["bl"], tcb["tee"], 0, 0, 0, 0, tcb["snp"], tcb["ucode"]])


def vek(
    product: str = "Milan",
    kind: str = "VCEK",
    *,
    issuer: pki.Authority | None = None,
    says: str = "",
    tcb: dict[str, int] = TCB,
    chip: bytes | None = None,
    name: str = "",
    validity: tuple[datetime, datetime] = pki.LONG,
    raw: dict[str, bytes | None] | None = None,
) -> bytes:
    """Return the DER certificate of a key; each argument is one thing it may say wrongly.

    ``raw`` replaces extensions by the end of their OID under AMD's arc; None leaves one out.
    """
    levels = {1: tcb["bl"], 2: tcb["tee"], 3: tcb["snp"], 8: tcb["ucode"]}
    levels |= {9: tcb["fmc"]} if product == "Turin" else dict.fromkeys((4, 5, 6, 7), 0)
    text = (says or f"{product}-B0").encode()
    extensions = [(ARC + "2", bytes([0x16, len(text)]) + text)]
    extensions += [(f"{ARC}3.{number}", der_integer(level)) for number, level in levels.items()]
    if kind == "VCEK":
        extensions.append((ARC + "4", CHIP[product] if chip is None else chip))
    else:
        extensions.append((ARC + "5", bytes([0x16, len(OPERATOR)]) + OPERATOR.encode()))
    replaced = {ARC + end: value for end, value in (raw or {}).items()}
    given = [(oid, replaced.get(oid, value)) for oid, value in extensions]
    extensions = [(oid, value) for oid, value in given if value is not None]
    made = pki.issue(
        name or f"SEV-{kind}", pki.p384("vek"), issuer or intermediate(product, kind),
        extensions=extensions, validity=validity,
    )  # fmt: skip
    return made.der


def report(
    product: str = "Milan",
    kind: str = "VCEK",
    *,
    version: int = 3,
    policy: int = 0x30000,
    vmpl: int = 0,
    algorithm: int = 1,
    key_info: int | None = None,
    tcb: dict[str, int] = TCB,
    chip: bytes | None = None,
    cpuid: tuple[int, int, int] | None = None,
    tail: bytes = bytes(368),
    report_data: bytes = REPORT_DATA,
    key: ec.EllipticCurvePrivateKey | None = None,
    committed: dict[str, int] | None = None,
    launch: dict[str, int] | None = None,
) -> bytes:
    """Return a signed report; each argument is one thing it may say."""
    own_chip = (CHIP[product] if kind == "VCEK" else b"").ljust(64, b"\0")
    signing = (0 if kind == "VCEK" else 1) << 2 if key_info is None else key_info
    body = struct.pack("<IIQ16s16sII8sQII", version, 1, policy, b"", b"", vmpl, algorithm, tcb_bytes(product, tcb),
                       1, signing, 0)  # fmt: skip
    body += report_data + bytes(range(48)) + bytes(32) + bytes(48) + bytes(48) + bytes(32) + bytes(32)
    body += tcb_bytes(product, tcb) + bytes(cpuid or CPUID[product] if version > 2 else (0, 0, 0)) + bytes(21)
    body += (own_chip if chip is None else chip) + tcb_bytes(product, committed or tcb) + bytes(8)
    body += tcb_bytes(product, launch or tcb)
    body = body.ljust(snp.SIGNED_BYTES, b"\0")
    r, s = decode_dss_signature((key or pki.p384("vek")).sign(body, ec.ECDSA(SHA384())))
    return body + r.to_bytes(72, "little") + s.to_bytes(72, "little") + tail


def examine(blob: bytes, certificate: bytes, trusted: Roots | None = None, now: datetime = pki.NOW) -> Examined:
    return snp.examine(blob, {snp.ENDORSEMENT: certificate}, roots() if trusted is None else trusted, now)
