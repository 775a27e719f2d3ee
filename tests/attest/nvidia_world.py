"""An NVIDIA of our own: a device and its chain, signed measurements, and signed manifests of reference values."""

from __future__ import annotations

import base64
import functools
import hashlib
import struct

import vendor_pki as pki
from cryptography.hazmat.primitives.serialization import Encoding

from cloister.attest.tee import nvidia
from cloister.attest.tee.examined import Examined, Roots

NONCE = bytes(range(32))
DRIVER, VBIOS = "550.90.07", "96.00.9F.00.01"
FWID = bytes(range(100, 148))
VALUES = {index: bytes([index]) * 48 for index in range(1, 9)}
DSIG = "http://www.w3.org/2000/09/xmldsig#"
_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_HASHES = "http://www.w3.org/2001/04/xmlenc#sha384"
_TRANSFORMS = (DSIG + "enveloped-signature", _C14N)


@functools.cache
def device_root() -> pki.Authority:
    return pki.issue(nvidia.ROOT_NAME, pki.p384("device root"), authority=True)


@functools.cache
def rim_root() -> pki.Authority:
    return pki.issue("NVIDIA CoRIM signing Root CA", pki.p384("rim root"), authority=True)


def roots() -> Roots:
    return device_root().own, rim_root().own


@functools.cache
def device(root: pki.Authority | None = None, fwid: bytes = FWID) -> tuple[pki.Authority, ...]:
    """Return the chain of a device, leaf first."""
    root = root or device_root()
    above = pki.issue("GH100 BROM", pki.p384("brom"), root, authority=True, serial=0x41431D)
    leaf = pki.issue("GH100 FMC", pki.p384("fmc"), above, extensions=[(nvidia._TCB_INFO, b"0\x82" + fwid)])
    return leaf, above, root


def chain(*certificates: pki.Authority) -> bytes:
    return b"".join(each.certificate.public_bytes(Encoding.PEM) for each in certificates or device())


def opaque(**fields: bytes) -> bytes:
    found = {
        3: DRIVER.encode() + b"\0", 6: bytes.fromhex("009f0096 01000000"), 11: b"\xaa", 20: FWID,
    } | {int(name[1:]): value for name, value in fields.items()}  # fmt: skip
    return b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in found.items())


def report(
    values: dict[int, bytes] = VALUES, *, nonce: bytes = NONCE, key: str = "fmc",
    fields: dict[str, bytes] | None = None,
    head: bytes = b"\x11\xe0\x01\xff", reply: bytes = b"\x11\x60\0\0", tail: bytes = b"", count: int | None = None,
    block_tail: bytes = b"", opaque_tail: bytes = b"",
) -> bytes:  # fmt: skip
    """Return request and signed response in hex; each argument is one thing they may say."""
    blocks = b"".join(
        struct.pack("<BBHBH", index, 1, 3 + len(value + block_tail), 1, len(value)) + value + block_tail
        for index, value in values.items()
    )
    data = opaque(**(fields or {})) + opaque_tail
    signed = head + nonce + b"\0" + reply + bytes([len(values) if count is None else count])
    signed += len(blocks).to_bytes(3, "little") + blocks + bytes(32) + struct.pack("<H", len(data)) + data
    return (signed + pki.raw_signature(pki.p384(key), signed) + tail).hex().encode()


def resource(index: int, *values: bytes, active: bool = True) -> str:
    hashes = "".join(f' h:Hash{number}="{value.hex()}"' for number, value in enumerate(values))
    return (
        f'<Resource active="{active}" alternatives="{len(values)}" index="{index}" size="48" type="Measurement"'
        f"{hashes}></Resource>"
    )


def manifest(
    version: str, resources: list[str], *, key: str = "rim", issuer: pki.Authority | None = None,
    method: str = _MORE + "ecdsa-sha384", uri: str = ' URI=""', transforms: tuple[str, ...] = _TRANSFORMS,
    edit: tuple[str, str] = ("", ""), inside: str = "", name: str = "SoftwareIdentity",
) -> bytes:  # fmt: skip
    """Return a signed manifest. It is written in canonical form, so that what is signed is the text itself."""
    spaces = f'xmlns="{_SWID}" xmlns:h="{_HASHES}"'
    begin = f'<{name} {spaces} name="GH100">\n  <Meta colloquialVersion="{version}"></Meta>'
    begin += f"<Payload>{''.join(resources)}</Payload>{inside}"
    end = f"\n</{name}>"
    digest = base64.b64encode(hashlib.sha384((begin + end).encode()).digest()).decode()
    steps = "".join(f'<ds:Transform Algorithm="{each}"></ds:Transform>' for each in transforms)
    info = (
        f'<ds:CanonicalizationMethod Algorithm="{_C14N}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>'
        f"<ds:Reference{uri}><ds:Transforms>{steps}</ds:Transforms>"
        f'<ds:DigestMethod Algorithm="{_MORE}sha384"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue>'
        "</ds:Reference></ds:SignedInfo>"
    )
    signed = f'<ds:SignedInfo xmlns="{_SWID}" xmlns:ds="{DSIG}" xmlns:h="{_HASHES}">' + info
    value = base64.b64encode(pki.raw_signature(pki.p384(key), signed.encode())).decode()
    leaf = pki.issue("RIM signer", pki.p384("rim"), issuer or rim_root())
    certificates = "".join(
        f"<ds:X509Certificate>{base64.b64encode(each.der).decode()}</ds:X509Certificate>"
        for each in (leaf, issuer or rim_root())
    )
    signature = (
        f'<ds:Signature xmlns:ds="{DSIG}"><ds:SignedInfo>{info}<ds:SignatureValue>{value}</ds:SignatureValue>'
        f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )
    return (begin + signature + end).replace(*edit).encode() if edit[0] else (begin + signature + end).encode()


def rims(driver: dict[int, bytes] | None = None, vbios: dict[int, bytes] | None = None) -> dict[str, bytes]:
    """Return both manifests, together listing every measurement."""
    driver = {index: VALUES[index + 1] for index in range(4)} if driver is None else driver
    vbios = {index: VALUES[index + 1] for index in range(4, 8)} if vbios is None else vbios
    return {
        nvidia.DRIVER_RIM: manifest(DRIVER, [resource(index, b"\xee" * 48, value) for index, value in driver.items()]),
        nvidia.VBIOS_RIM: manifest(VBIOS, [resource(index, value) for index, value in vbios.items()]),
    }


def examine(blob: bytes, certificates: bytes | None = None, **endorsements: bytes) -> Examined:
    given = {nvidia.CHAIN: chain() if certificates is None else certificates, **endorsements}
    return nvidia.examine(blob, given, roots(), pki.NOW)
