"""The two names of a release: its key and its charge id (docs/protocol.md section 6).

Both are digests of public facts, so vault, broker, proxy and reviewer compute the same text, a retry after a
crash meets its own charge, and the same question on the same data has one answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from cloister.wire import canonical, documents

_RELEASE = "cloister/release/v1"
_CHARGE = "cloister/charge/v1"
_COMMITMENT = "cloister/commitment/v1"


def release_key(
    *,
    plan: str,
    rho: Fraction,
    manifests: Iterable[str],
    cards: Iterable[str],
    env_digest: str,
    contract: str,
    analyst: str,
) -> str:
    """Return the name of one answer.

    Args:
        plan: Digest of the plan.
        rho: The price asked (zCDP).
        manifests: Manifest digests of the capsules the plan reads.
        cards: Digests of the cards the plan reads.
        env_digest: Digest of the code that answers.
        contract: Digest of the contract.
        analyst: The asker's did, or ``""`` where the contract shares releases between its analysts.
    """
    return canonical.digest(
        [
            _RELEASE,
            plan,
            str(rho),
            sorted(set(manifests)),
            sorted(set(cards)),
            env_digest,
            contract,
            analyst,
        ]
    )


def charge_id(key: str) -> str:
    """Return the id under which brokers book the release called ``key``."""
    return canonical.digest([_CHARGE, key])


def commitment(salt: bytes, plan: bytes) -> str:
    """Return the commitment by which receipts and entries of an exit name its plan.

    Args:
        salt: 32 bytes that only the asker gets to see; who has salt and plan can show what was asked, and nobody else
            can tell.
        plan: The canonical bytes of the plan.
    """
    return "sha256:" + documents.hash_fields(_COMMITMENT, salt, plan).hex()
