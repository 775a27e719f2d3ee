"""What a broker does at the end of a contract: destroy the data keys that nobody needs any more.

Keys of capsules are destroyed where an obligation of the contract says so: when the provider says the work is completed
(``cloister broker complete``), and once the contract has expired (``shredding.sweep``: at every start of the broker,
every minute while it runs, and on command). The capsule is then ciphertext for ever; what was released, and the
account, stay. A key that another living contract needs is kept, and is destroyed with that one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloister.contract.states import Decision
from cloister.contract.terms import Contract
from cloister.errors import ContractError
from cloister.provider.data_keys import Gone
from cloister.provider.home import BrokerHome

Event = Literal["completion", "expiry"]


class Destroyed(msgspec.Struct, frozen=True):
    """What was done for a contract: manifests whose keys are gone, and those kept for another contract."""

    contract: str
    gone: tuple[str, ...]
    kept: tuple[str, ...]


def complete(home: BrokerHome, digest: str, *, now: str, reason: str = "") -> Destroyed:
    """End a contract as completed, and do what it obliges to.

    Raises:
        ContractError: ``contract.unknown``; ``contract.state``: it has ended otherwise.
    """
    home.contracts.decide(digest, Decision("revoked", now, f"completed. {reason}".strip()))
    return _destroy(home, digest, "completion", now, reason)


def sweep(home: BrokerHome, *, now: str) -> tuple[Destroyed, ...]:
    """Do what contracts that have expired oblige to; what was done before is not done again."""
    found = []
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        if known is not None and now >= known.contract.not_after and _obliged(known.contract, "expiry"):
            done = _destroy(home, digest, "expiry", now, f"the contract ended on {known.contract.not_after}")
            if done.gone:
                found.append(done)
    return tuple(found)


def _destroy(home: BrokerHome, digest: str, event: Event, now: str, reason: str) -> Destroyed:
    known = home.contracts.get(digest)
    if known is None:
        raise ContractError("contract.unknown", f"this broker has no contract {digest}")
    if not _obliged(known.contract, event):
        return Destroyed(digest, (), ())
    needed = {
        table.manifest
        for other in home.contracts.digests()
        if other != digest and (one := home.contracts.get(other)) is not None
        if one.state(now) in {"signed", "active", "suspended"}
        for table in one.contract.tables
    }
    mine = list(dict.fromkeys(table.manifest for table in known.contract.tables))
    why = Gone(now, event, reason, digest)
    gone = [manifest for manifest in mine if manifest not in needed and home.data_keys.wipe(manifest, why)]
    return Destroyed(digest, tuple(gone), tuple(manifest for manifest in mine if manifest in needed))


def _obliged(contract: Contract, event: Event) -> bool:
    return any((duty.on, duty.do) == (event, "destroy-keys") for duty in contract.duties)
