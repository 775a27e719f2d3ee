"""Certificates of vendors of our own, for what no real vector shows: one hierarchy per vendor, one knob per lie."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloister.attest.tee import x509 as own

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG = (NOW - timedelta(days=100), NOW + timedelta(days=1000))


class Authority(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def own(self) -> own.Certificate:
        return own.parse(self.der)


@functools.cache
def p384(role: str) -> ec.EllipticCurvePrivateKey:
    """Return the P-384 key of a role, the same within a run."""
    return ec.generate_private_key(ec.SECP384R1())


@functools.cache
def rsa2048(role: str) -> rsa.RSAPrivateKey:
    """Return the RSA key of a role, the same within a run."""
    return rsa.generate_private_key(65537, 2048)


def issue(
    name: str,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    issuer: Authority | None = None,
    *,
    authority: bool = False,
    validity: tuple[datetime, datetime] = LONG,
    extensions: Iterable[tuple[str, bytes]] = (),
    path_length: int | None = None,
    serial: int | None = None,
) -> Authority:
    """Return a certificate; without an issuer it signs itself. RSA issuers sign as AMD does (PSS, SHA-384)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False,
        )  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False)
    signer = issuer.key if issuer else key
    if isinstance(signer, rsa.RSAPrivateKey):
        scheme = padding.PSS(padding.MGF1(SHA384()), 48)
        return Authority(builder.sign(signer, SHA384(), rsa_padding=scheme), key)
    return Authority(builder.sign(signer, SHA384()), key)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return ECDSA P-384 SHA-384 as ``r || s``, big-endian."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")
