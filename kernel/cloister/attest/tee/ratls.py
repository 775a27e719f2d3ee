"""SGX evidence in a certificate, as the CCC's interoperable RA-TLS writes it: examined only, never a channel.

The extension 2.23.133.5.4.9 holds CBOR tag 60000 over [quote, claims buffer]; the quote reports SHA-256 of the buffer,
and the buffer names the SHA-256 of the certificate's own key. A certificate can be replayed and diverted, so nothing
here makes claims for an exchange (``docs/evidence.md``): the channel of Cloister asks for evidence of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from cloister.attest.tee import cbor, sgx, signatures, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.der import Der
from cloister.attest.tee.examined import Examined, Roots, check_size
from cloister.attest.tee.x509 import Certificate

FORMAT = "CCC interoperable RA-TLS X.509 (OID 2.23.133.5.4.9, CBOR tag 60000)"
MAX_PEM = 64 * 1024
_EVIDENCE, _TAG = "2.23.133.5.4.9", 60000
# SHA-256 in the IANA registry of named information hash algorithms.
_SHA256 = 1
_HASHES = {x509.ECDSA_SHA256: SHA256(), x509.ECDSA_SHA384: SHA384()}


def examine(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what the SGX quote in a PEM certificate says, if the quote vouches for the certificate's key.

    Raises:
        RejectedError: As ``sgx.examine``, or ``evidence.key``: the quote vouches for another key.
    """
    check_size(blob, MAX_PEM)
    found = x509.parse_pem(blob)
    if len(found) != 1:
        raise rejected("evidence.malformed", "an RA-TLS certificate stands alone")
    certificate = found[0]
    _check_own_signature(certificate)
    x509.check_validity(certificate, now)
    quote, buffer = _evidence(certificate)
    examined = sgx.examine(quote, endorsements, roots, now)
    if examined.report_data != (hashlib.sha256(buffer).digest() + bytes(32)).hex():
        raise rejected("evidence.key", "the quote reports another claims buffer")
    claims = cbor.decode(buffer)
    named = claims.get("pubkey-hash") if isinstance(claims, dict) else None
    # The entry is itself CBOR in a byte string: [algorithm, hash].
    if not isinstance(named, bytes) or cbor.decode(named) != [_SHA256, hashlib.sha256(certificate.spki).digest()]:
        raise rejected("evidence.key", "the quote vouches for another key than the certificate's")
    return msgspec.structs.replace(
        examined,
        format=FORMAT,
        details={**examined.details, "spki_sha256": hashlib.sha256(certificate.spki).hexdigest()},
        not_before=max(certificate.not_before, examined.not_before or certificate.not_before),
        not_after=min(certificate.not_after, examined.not_after or certificate.not_after),
    )


def _check_own_signature(certificate: Certificate) -> None:
    """Check that the certificate is signed by its own key, so that nothing in it was exchanged since."""
    key = signatures.ec_key(certificate.spki)
    header = Der(certificate.algorithm).enter()
    digest = _HASHES.get(header.oid())
    header.end()
    if digest is None or key.curve.name not in (signatures.P256.name, signatures.P384.name):
        raise rejected("evidence.algorithm", "an RA-TLS certificate is signed with ECDSA on P-256 or P-384")
    signatures.ecdsa_der(key, certificate.signature, certificate.tbs, digest, key.curve)


def _evidence(certificate: Certificate) -> tuple[bytes, bytes]:
    if _EVIDENCE not in certificate.extensions:
        raise rejected("evidence.format", "a certificate without evidence")
    item = cbor.decode(certificate.extensions[_EVIDENCE][1])
    if not isinstance(item, cbor.Tag) or item.number != _TAG or not isinstance(item.value, list):
        raise rejected("evidence.format", f"evidence that is not CBOR tag {_TAG} over an array")
    if len(item.value) != 2 or not all(isinstance(part, bytes) for part in item.value):
        raise rejected("evidence.malformed", "evidence that is not a quote and a claims buffer")
    return item.value[0], item.value[1]
