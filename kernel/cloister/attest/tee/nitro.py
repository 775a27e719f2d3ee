"""AWS Nitro Enclaves attestation documents: COSE_Sign1 with ES384 under a chain to AWS's root G1.

Format and checks: AWS, "Verifying the Root of Trust" (aws-nitro-enclaves-nsm-api, docs/attestation_process.md). The
document carries its own chain; nothing else is needed. A leaf lives three hours. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, cbor, cose, signatures, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size

TEE = "nitro"
FORMAT = "cose_sign1_es384_untagged"
VENDORS = ("aws",)
MAX_DOCUMENT = 16 * 1024
# The clocks of the Nitro hypervisor and of the relying party may differ by this much.
CLOCK_SKEW = timedelta(minutes=5)
_OPTIONAL = {"public_key": 1024, "user_data": 512, "nonce": 512}
_REQUIRED = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
_MAX_CERTIFICATE = 1024
_PCR_BYTES = 48
_MAX_PCR = 31


class Document(NamedTuple):
    """The payload of an attestation document; optional fields are empty where the document has none."""

    module_id: str
    timestamp: datetime
    pcrs: dict[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes
    user_data: bytes
    nonce: bytes


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a document whose nonce is ``binding`` (64 bytes, or the 48 they are padded from).

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    blob = blob_of(evidence, TEE, (FORMAT,), MAX_DOCUMENT)
    examined = examine(blob, endorsements, packaged.of("aws"), now)
    return carriers.conclude_carried(examined, binding, binding, carriers.value_of(binding))


def examine(blob: bytes, _endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what a document says. ``roots`` holds the root; the chain is in the document.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size, CBOR, and the fields the format demands.
    check_size(blob, MAX_DOCUMENT)
    signed = cose.read(blob)
    document = parse(signed.payload)
    # 2. The chain: leaf, then the bundle backwards (it starts with the root), ends at a pinned root, valid now.
    leaf = x509.parse(document.certificate)
    chain = [leaf, *(x509.parse(each) for each in reversed(document.cabundle))]
    window = x509.check_chain(chain, roots, now)
    # 3. The document is signed by the leaf's key, with the one algorithm of its curve.
    key = signatures.ec_key(leaf.spki)
    if key.curve.name != signatures.P384.name:
        raise rejected("evidence.algorithm", "a document not signed on P-384")
    cose.verify(signed, key)
    # 4. It was made while its leaf was valid, and not in the future.
    if document.timestamp > now + CLOCK_SKEW:
        raise rejected("evidence.not_yet_valid", "the document says it was made in the future")
    if not leaf.not_before - CLOCK_SKEW <= document.timestamp <= leaf.not_after:
        raise rejected("evidence.claims", "the document was made outside the validity of its certificate")
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="verified",
        debug=not any(document.pcrs[0]),
        report_data=document.nonce.hex(),
        launch={f"pcr{index}": value.hex() for index, value in sorted(document.pcrs.items())},
        signer=f"module:{document.module_id}",
        details=_details(document),
        warnings=("revocation: unchecked",),
        not_before=max(window.not_before, document.timestamp - CLOCK_SKEW),
        not_after=window.not_after,
    )


def parse(payload: bytes) -> Document:
    """Return the fields of a document's payload.

    Raises:
        RejectedError: ``evidence.malformed`` or ``evidence.truncated``.
    """
    fields = cbor.decode(payload)
    if not isinstance(fields, dict) or not set(fields) >= _REQUIRED or set(fields) - _REQUIRED - set(_OPTIONAL):
        raise rejected("evidence.malformed", "not the fields of an attestation document")
    module, stamp, pcrs, bundle = (fields[name] for name in ("module_id", "timestamp", "pcrs", "cabundle"))
    if fields["digest"] != "SHA384":
        raise rejected("evidence.algorithm", "measurements that are not of SHA-384")
    if not isinstance(module, str) or not 0 < len(module) <= 256 or not module.isprintable():
        raise rejected("evidence.malformed", "a module without a name")
    if not isinstance(bundle, list) or not 0 < len(bundle) < x509.MAX_CHAIN:
        raise rejected("evidence.malformed", "a bundle without certificates, or with too many")
    certificates = [_bytes(each, _MAX_CERTIFICATE) for each in (fields["certificate"], *bundle)]
    optional = dict.fromkeys(_OPTIONAL, b"")
    for name, limit in _OPTIONAL.items():
        if fields.get(name) is not None:
            optional[name] = _bytes(fields[name], limit, empty=True)
    return Document(module, _time(stamp), _pcrs(pcrs), certificates[0], tuple(certificates[1:]), **optional)


def _pcrs(value: Any) -> dict[int, bytes]:
    if (
        not isinstance(value, dict)
        or 0 not in value
        or not all(isinstance(index, int) and 0 <= index <= _MAX_PCR for index in value)
        or not all(isinstance(pcr, bytes) and len(pcr) == _PCR_BYTES for pcr in value.values())
    ):
        raise rejected("evidence.malformed", "not platform configuration registers of SHA-384, or none numbered 0")
    return value


def _bytes(value: Any, limit: int, *, empty: bool = False) -> bytes:
    if not isinstance(value, bytes) or len(value) > limit or not (value or empty):
        raise rejected("evidence.malformed", f"a field that is not at most {limit} bytes")
    return value


def _time(milliseconds: Any) -> datetime:
    # Up to the year 9999, which is as far as a calendar goes.
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool) or not 0 < milliseconds < 253402300800000:
        raise rejected("evidence.malformed", "a timestamp that is no time")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _details(document: Document) -> dict[str, Any]:
    return {
        "module_id": document.module_id,
        "timestamp": document.timestamp.isoformat(),
        "pcrs": {str(index): value.hex() for index, value in sorted(document.pcrs.items())},
        "nonce": document.nonce.hex(),
        "user_data": document.user_data.hex(),
        "public_key": document.public_key.hex(),
    }
