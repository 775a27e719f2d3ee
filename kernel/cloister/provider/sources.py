"""The source of a cell that released something, read by who holds the data keys (``cloister account source``).

Where the tier rules of a contract want it kept, the vault deposits it with the receipt, sealed under a key derived from
the secrets of the tables that were read, which follow from the data keys. An auditor or the broker's machine without
those keys sees ciphertext; a provider whose broker holds all of them can open it. It was checked against the receipt's
digest before it was kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from cloister.errors import TrustError, UnavailableError
from cloister.provider.home import BrokerHome
from cloister.provider.registry import Registered
from cloister.receipt.deposit import Deposit, open_deposit, receipt_key

MOST_TABLES = 12


def source_of(sealed: str, known: Registered, charge_id: str, keys: Sequence[bytes]) -> str:
    """Return the source in a deposit.

    Args:
        sealed: The deposit.
        known: The contract it is of.
        charge_id: The charge it settles.
        keys: Secrets of tables held, in the order of their manifests' digests and names.

    Raises:
        TrustError: ``source.keys``: it takes keys that are not among these.
        UnavailableError: ``source.none``: no source was kept with it.
    """
    for some in _choices(keys):
        try:
            found = open_deposit(sealed, receipt_key(some, known.digest, charge_id), charge_id)
        except TrustError:
            continue
        return _kept(found)
    raise TrustError(
        "source.keys",
        "it does not open with the data keys held here",
        next_step="the release also read tables of another provider, who holds the missing key",
    )


def read(home: BrokerHome, sealed: str, contract: str, charge_id: str) -> str:
    """Return the source in a deposit, opened with the data keys of a broker.

    Raises:
        CloisterError: See ``source_of``; ``source.contract``, ``source.none``.
    """
    known = home.contracts.get(contract)
    if known is None:
        raise UnavailableError("source.contract", f"this broker has no contract {contract}")
    if not sealed:
        raise UnavailableError("source.none", f"nothing was deposited for the charge {charge_id}")
    tables = sorted({(table.manifest, table.name) for table in known.contract.tables})
    held = [key.secret(name) for manifest, name in tables if (key := home.data_keys.get(manifest)) is not None]
    return source_of(sealed, known, charge_id, held[:MOST_TABLES])


def _choices(keys: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Yield which tables may have been read: the deposit itself says it, but only once it is open."""
    for number in range(len(keys), 0, -1):
        yield from itertools.combinations(keys, number)


def _kept(found: Deposit) -> str:
    if isinstance(found.source, msgspec.UnsetType):
        raise UnavailableError("source.none", "no source was kept with this release: the contract's rules keep none")
    return found.source
