"""The binding value: one hash over everything the two ends must agree on before a key is used.

``binding = SHA-384("cloister/attest/v2" || LP(hello as sent) || LP(version) || LP(suite) || LP(role) || LP(kex_pub) ||
LP(kem_ct) || LP(vault_id) || LP(contract) || LP(env_digest) || prev_binding or 48 zero bytes)`` with ``LP`` = u32
length and bytes (docs/protocol.md section 3). The hello's own bytes are hashed, not a re-encoding, so stripping a
version or a suite from it on the way changes the binding. 48 bytes fit every evidence carrier but the GPU nonce
(reference/attestation.md 3.3).
"""

from __future__ import annotations

import hashlib
import struct

from cloister.errors import MalformedError

LABEL = b"cloister/attest/v2"
BINDING_BYTES = 48
REPORT_DATA_BYTES = 64


def lp(data: bytes) -> bytes:
    """Return ``data`` behind its length as a big-endian u32."""
    return struct.pack(">I", len(data)) + data


def transcript(
    hello: bytes,
    *,
    version: str,
    suite: str,
    role: str,
    kex_pub: bytes,
    vault_id: str,
    contract: str,
    env_digest: str,
    kem_ct: bytes = b"",
    prev_binding: bytes = b"",
) -> bytes:
    """Return the bytes that ``binding`` hashes.

    ``hello`` is taken as it was sent; ``prev_binding`` is empty for a first attestation.

    Raises:
        MalformedError: ``prev_binding`` has a wrong length.
    """
    if len(prev_binding) not in (0, BINDING_BYTES):
        raise MalformedError("binding.previous", "a previous binding has 48 bytes")
    fields = (
        hello,
        version.encode(),
        suite.encode(),
        role.encode(),
        kex_pub,
        kem_ct,
        vault_id.encode(),
        contract.encode(),
        env_digest.encode(),
    )
    return LABEL + b"".join(map(lp, fields)) + (prev_binding or bytes(BINDING_BYTES))


def binding(
    hello: bytes,
    *,
    version: str,
    suite: str,
    role: str,
    kex_pub: bytes,
    vault_id: str,
    contract: str,
    env_digest: str,
    kem_ct: bytes = b"",
    prev_binding: bytes = b"",
) -> bytes:
    """Return the 48-byte binding value of an attestation (arguments as for ``transcript``)."""
    message = transcript(
        hello,
        version=version,
        suite=suite,
        role=role,
        kex_pub=kex_pub,
        vault_id=vault_id,
        contract=contract,
        env_digest=env_digest,
        kem_ct=kem_ct,
        prev_binding=prev_binding,
    )
    return hashlib.sha384(message).digest()


def report_data(value: bytes) -> bytes:
    """Return the 64 bytes a CPU attester is asked to report: the binding and zeros."""
    return value.ljust(REPORT_DATA_BYTES, b"\x00")
