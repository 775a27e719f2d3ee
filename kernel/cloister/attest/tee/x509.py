"""X.509 certificates as the vendors of TEEs write them, read with our own DER reader, and chains to a pinned root.

RFC 5280, the part that these hierarchies need: names compare byte for byte, every critical extension must be known,
an issuer must be a certificate authority with the right key usage, and paths have a length limit. One rule is relaxed:
a serial number may be 0 (AMD VCEK). Revocation lists: ``crl``.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from cloister.attest.tee import der, signatures
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.der import Der, Node

ECDSA_SHA256, ECDSA_SHA384 = "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"
RSA_PSS, RSA_SHA256, RSA_SHA384 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12"
BASIC_CONSTRAINTS, KEY_USAGE, COMMON_NAME = "2.5.29.19", "2.5.29.15", "2.5.4.3"
_PROCESSED = {BASIC_CONSTRAINTS, KEY_USAGE}
# The parameters of RSASSA-PSS with SHA-384, MGF1 of SHA-384 and 48 bytes of salt, as AMD writes them; trailer 0xBC.
_PSS_SHA384 = bytes.fromhex(
    "3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
_PSS_SHA384_TRAILER = bytes.fromhex("3039") + _PSS_SHA384[2:] + bytes.fromhex("a303020101")
MAX_CERTIFICATE = 16 * 1024
MAX_CHAIN = 8
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)\n-----END CERTIFICATE-----")


class Certificate(msgspec.Struct, frozen=True):
    """One certificate; names, key (SPKI) and ``tbs`` are their DER bytes, extensions map OID to (critical, value)."""

    raw: bytes
    tbs: bytes
    serial: int
    algorithm: bytes
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: dict[str, tuple[bool, bytes]]
    signature: bytes


def parse(data: bytes, area: str = "evidence") -> Certificate:
    """Return the certificate of exactly these DER bytes.

    Raises:
        RejectedError: ``<area>.malformed`` or ``<area>.oversize``.
    """
    if len(data) > MAX_CERTIFICATE:
        raise rejected(f"{area}.oversize", f"a certificate of {len(data)} bytes")
    outer = Der(data, area)
    whole = outer.enter()
    outer.end()
    tbs, algorithm, signature = whole.next(der.SEQUENCE), whole.next(der.SEQUENCE), whole.bits()
    whole.end()
    body = Der(tbs.value, area)
    if body.next(0xA0).value != b"\x02\x01\x02":
        raise body.fail("not a certificate of version 3")
    serial = body.integer()
    if serial < 0 or body.next(der.SEQUENCE).raw != algorithm.raw:
        raise body.fail("a negative serial number, or two different signature algorithms")
    issuer = body.next(der.SEQUENCE).raw
    validity = body.enter()
    not_before, not_after = validity.time(), validity.time()
    validity.end()
    subject, spki = body.next(der.SEQUENCE).raw, body.next(der.SEQUENCE).raw
    extensions = read_extensions(body.enter(0xA3)) if body.peek() == 0xA3 else {}
    body.end()
    return Certificate(
        data, tbs.raw, serial, algorithm.raw, issuer, subject, not_before, not_after, spki, extensions, signature
    )


def read_extensions(wrapped: Der) -> dict[str, tuple[bool, bytes]]:
    """Return the extensions of a certificate or list, none of them twice."""
    found: dict[str, tuple[bool, bytes]] = {}
    listed = wrapped.enter()
    wrapped.end()
    while listed.more:
        entry = listed.enter()
        name = entry.oid()
        critical = entry.peek() == der.BOOLEAN and entry.boolean()
        value = entry.next(der.OCTET_STRING).value
        entry.end()
        if name in found:
            raise entry.fail(f"the extension {name} stands there twice")
        found[name] = (critical, value)
    return found


def parse_pem(text: bytes, area: str = "evidence") -> tuple[Certificate, ...]:
    """Return the certificates of PEM text in its one spelling and nothing else, at most ``MAX_CHAIN``.

    The spelling is RFC 7468's strict one: lines of 64 characters, all ended by LF or all by CR LF (the last may lack
    it). Chains inside quotes are C strings: zeros at the end (and only there) belong to their buffer.

    Raises:
        RejectedError: ``<area>.malformed``.
    """
    characters = text.rstrip(b"\0").decode("latin-1")
    if "\r\n" in characters and characters.count("\r\n") == characters.count("\n"):
        characters = characters.replace("\r\n", "\n")
    characters = characters.rstrip("\n")
    blocks = _PEM.findall(characters)
    if not 1 <= len(blocks) <= MAX_CHAIN:
        raise rejected(f"{area}.malformed", "not a chain of PEM certificates, or too long a one")
    try:
        found = tuple(parse(base64.b64decode(block.replace("\n", "")), area) for block in blocks)
    except binascii.Error as error:
        raise rejected(f"{area}.malformed", "a PEM certificate that is not base64") from error
    if "\n".join(map(to_pem, found)) != characters:
        raise rejected(f"{area}.malformed", "PEM text with more than certificates in it, or spelled in another way")
    return found


def to_pem(certificate: Certificate) -> str:
    """Return a certificate as PEM, without the last line end."""
    text = base64.b64encode(certificate.raw).decode()
    lines = (text[at : at + 64] for at in range(0, len(text), 64))
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"))


def common_name(name: bytes, area: str = "evidence") -> str:
    """Return the one common name (CN) of a distinguished name.

    Raises:
        RejectedError: ``<area>.malformed``: it has none, or several.
    """
    found: list[str] = []
    relative = Der(name, area).enter()
    while relative.more:
        attributes = relative.enter(der.SET)
        while attributes.more:
            attribute = attributes.enter()
            kind, value = attribute.oid(), attribute.next()
            attribute.end()
            if kind == COMMON_NAME:
                found.append(value.value.decode("latin-1"))
    if len(found) != 1:
        raise rejected(f"{area}.malformed", "a name without a common name, or with several")
    return found[0]


def check_signature(issuer: Certificate, algorithm: bytes, tbs: bytes, signature: bytes, code: str) -> None:
    """Check that ``issuer``'s key signed ``tbs`` (a certificate's or list's), with the algorithm both agree on.

    Raises:
        RejectedError: ``code``, or ``evidence.algorithm``.
    """
    header = Der(algorithm).enter()
    name = header.oid()
    rest = header.next() if header.more else Node(0, b"", b"")
    header.end()
    if name in (ECDSA_SHA256, ECDSA_SHA384) and not rest.raw:
        ec_key = signatures.ec_key(issuer.spki)
        curve, ec_hash = (signatures.P256, SHA256()) if name == ECDSA_SHA256 else (signatures.P384, SHA384())
        signatures.ecdsa_der(ec_key, signature, tbs, ec_hash, curve, code=code)
    elif name == RSA_PSS and rest.raw in (_PSS_SHA384, _PSS_SHA384_TRAILER):
        signatures.rsa_pss(signatures.rsa_key(issuer.spki), signature, tbs, SHA384(), code)
    elif name in (RSA_SHA256, RSA_SHA384) and rest.raw == b"\x05\x00":
        rsa_hash = SHA256() if name == RSA_SHA256 else SHA384()
        signatures.rsa_pkcs1(signatures.rsa_key(issuer.spki), signature, tbs, rsa_hash, code)
    else:
        raise rejected("evidence.algorithm", f"certificates are not signed with {name} and these parameters here")


class Window(msgspec.Struct, frozen=True):
    """From when to when, both included, everything looked at so far is valid."""

    not_before: datetime
    not_after: datetime

    def narrow(self, other: Window) -> Window:
        """Return the overlap (which is empty if the ends cross)."""
        return Window(max(self.not_before, other.not_before), min(self.not_after, other.not_after))


def check_validity(certificate: Certificate, now: datetime, area: str = "evidence") -> None:
    """Check that ``now`` lies within the certificate's validity, both ends included (RFC 5280 section 4.1.2.5)."""
    if now < certificate.not_before:
        raise rejected(f"{area}.not_yet_valid", f"a certificate is valid only from {certificate.not_before:%Y-%m-%d}")
    if now > certificate.not_after:
        raise rejected(f"{area}.expired", f"a certificate expired on {certificate.not_after:%Y-%m-%d}")


def check_chain(
    chain: Sequence[Certificate], roots: Sequence[Certificate], now: datetime, area: str = "evidence"
) -> Window:
    """Check a path, leaf first, to one of the pinned ``roots``, and return the window in which all of it is valid.

    The path may end with the root itself (byte for byte a pinned one) or with a certificate that a pinned root issued.
    Every certificate must be used: order matters, and nothing else may lie in between.

    Raises:
        RejectedError: ``<area>.chain``, ``<area>.expired``, ``<area>.not_yet_valid`` or ``evidence.algorithm``.
    """
    code = f"{area}.chain"
    path = list(chain)
    if not path or len(path) > MAX_CHAIN:
        raise rejected(code, "no certificates, or too many")
    anchors = [root for root in roots if root.raw == path[-1].raw]
    if anchors:
        path.pop()
    else:
        anchors = [root for root in roots if root.subject == path[-1].issuer]
    if not anchors:
        raise rejected(code, "the certificates do not lead to a pinned root")
    path.append(anchors[0])
    window = Window(path[0].not_before, path[0].not_after)
    for depth, certificate in enumerate(path):
        known = certificate.extensions
        unknown = [name for name, (critical, _) in known.items() if critical and name not in _PROCESSED]
        if unknown:
            raise rejected(code, f"a critical extension ({unknown[0]}) that is not understood here")
        if depth:
            _check_authority(certificate, depth - 1, area)
        window = window.narrow(Window(certificate.not_before, certificate.not_after))
    for subject, issuer in itertools.pairwise(path):
        if subject.issuer != issuer.subject:
            raise rejected(code, "a certificate names another issuer than the one that follows")
        check_signature(issuer, subject.algorithm, subject.tbs, subject.signature, code)
    for certificate in path:
        check_validity(certificate, now, area)
    return window


def _check_authority(certificate: Certificate, below: int, area: str) -> None:
    """Check that a certificate may issue others, with ``below`` intermediate ones under it."""
    code = f"{area}.chain"
    constraints = certificate.extensions.get(BASIC_CONSTRAINTS)
    usage = certificate.extensions.get(KEY_USAGE)
    if constraints is None or usage is None:
        raise rejected(code, "an issuer that does not say it is a certificate authority")
    outer = Der(constraints[1], area)
    inside = outer.enter()
    outer.end()
    authority = inside.peek() == der.BOOLEAN and inside.boolean()
    limit = inside.integer() if inside.more else None
    inside.end()
    if not authority or (limit is not None and below > limit):
        raise rejected(code, "an issuer that is no certificate authority, or not for a path this long")
    # KeyUsage is a BIT STRING with unused bits; keyCertSign is bit 5 of the first byte (from the left).
    bits = Der(usage[1], area).next(der.BIT_STRING).value
    if len(bits) < 2 or not bits[1] & 0x04:
        raise rejected(code, "an issuer whose key may not sign certificates")
