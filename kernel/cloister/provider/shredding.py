"""Crypto-shredding: destroying the data keys of capsules, for good, with a record of when and why.

A key is destroyed on request of its provider, when he leaves (every key, and every contract that needs one ends), when
the work under a contract is completed or a contract has expired and obliges to it (``obligations``), and when the time
is over until which the capsule was to be kept. The capsule is ciphertext for ever then, wherever it was copied to.

What is destroyed is what this broker holds. A backup made before holds the key as long as it exists; a vault that was
given keys before holds them until it ends, but no broker signs a release of it any more.
"""

from __future__ import annotations

from typing import NamedTuple

from cloister.contract.states import Decision
from cloister.errors import RefusedError, UnavailableError
from cloister.provider import obligations
from cloister.provider.data_keys import Gone
from cloister.provider.home import BrokerHome
from cloister.receipt.events import Event

_LIVING = frozenset({"signed", "active", "suspended"})


class Shredded(NamedTuple):
    """What was done: capsules whose keys are gone, and contracts that ended because of it."""

    gone: tuple[str, ...]
    ended: tuple[str, ...] = ()


def shred(home: BrokerHome, manifest: str, *, now: str, reason: str, end_contracts: bool = False) -> Shredded:
    """Destroy the key of one capsule.

    Args:
        home: The broker's directory.
        manifest: Digest of the capsule's manifest.
        now: The time that is recorded (RFC 3339 in UTC).
        reason: Shown to analysts, and recorded.
        end_contracts: Revoke the living contracts that need it.

    Raises:
        UnavailableError: ``keys.none``: there is no such key here.
        RefusedError: ``shred.needed``: a living contract needs it, and it was not said that contracts end.
    """
    if home.data_keys.gone(manifest) is None and not home.data_keys.holds(manifest):
        raise UnavailableError(
            "keys.none",
            f"this broker holds no key of {manifest}",
            next_step="`cloister capsule list` shows what it has",
        )
    needing = tuple(digest for digest, manifests in living(home, now) if manifest in manifests)
    if needing and not end_contracts:
        raise RefusedError(
            "shred.needed",
            f"{len(needing)} living contract(s) need the key: {', '.join(needing)}",
            next_step="let them end first, or say --end-contracts: they are revoked, for good",
        )
    return _destroy(home, (manifest,), needing, now=now, cause="request", reason=reason)


def leave(home: BrokerHome, *, now: str, reason: str) -> Shredded:
    """Destroy every key of this broker and revoke every living contract: the provider leaves."""
    return _destroy(
        home, home.data_keys.manifests(), tuple(digest for digest, _ in living(home, now)),
        now=now, cause="exit", reason=reason,
    )  # fmt: skip


def sweep(home: BrokerHome, *, now: str) -> Shredded:
    """Destroy the keys whose time is over: of contracts that expired and oblige to it, of capsules past their time."""
    gone = [manifest for done in obligations.sweep(home, now=now) for manifest in done.gone]
    for manifest in home.data_keys.manifests():
        until = home.data_keys.retain_until(manifest)
        if until and now >= until:
            home.data_keys.wipe(manifest, Gone(now, "retention", f"it was to be kept until {until}"))
            gone.append(manifest)
    for manifest, mark in home.data_keys.destroyed():
        home.data_keys.wipe(manifest, mark)  # a file that came back with a copy of the directory
    tell(home)
    return Shredded(tuple(gone))


def tell(home: BrokerHome) -> None:
    """Record in the event log what was destroyed and is not recorded yet.

    Destroyed first, told afterwards: a log that cannot be written must not keep a key alive. What could not be told is
    told the next time.

    Raises:
        UnavailableError: ``ledger.unavailable``.
    """
    for manifest, gone in home.data_keys.untold():
        home.record(
            Event(
                "key", gone.time, actor="owner", contract=gone.contract, op="wipe", subject=manifest,
                status=gone.cause, reason=gone.reason[:200],
            )
        )  # fmt: skip
        home.data_keys.told(manifest)


def living(home: BrokerHome, now: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return the contracts under which something can still be released, with the manifests they pin."""
    found = []
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        if known is not None and known.state(now) in _LIVING:
            found.append((digest, frozenset(table.manifest for table in known.contract.tables)))
    return tuple(found)


def _destroy(
    home: BrokerHome, manifests: tuple[str, ...], contracts: tuple[str, ...], *, now: str, cause: str, reason: str
) -> Shredded:
    for digest in contracts:
        home.contracts.decide(digest, Decision("revoked", now, f"the keys were destroyed. {reason}".strip()))
    gone = tuple(name for name in manifests if home.data_keys.wipe(name, Gone(now, cause, reason)))
    for digest in contracts:
        home.record(
            Event(
                "decision", now, actor="owner", contract=digest, op="contract.decide", status="revoked",
                reason=reason[:200],
            )
        )  # fmt: skip
    tell(home)
    return Shredded(gone, contracts)
