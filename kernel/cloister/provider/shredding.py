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
from cloister.provider import obligations, restored
from cloister.provider.data_keys import Gone
from cloister.provider.home import BrokerHome
from cloister.receipt.events import Event

_LIVING = frozenset({"signed", "active", "suspended"})


class Shredded(NamedTuple):
    """What was done: capsules whose keys are gone, and contracts that ended because of it.

    ``damaged``: capsules whose keys cannot be read, with no time known at which they go; nobody is given them.
    """

    gone: tuple[str, ...]
    ended: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def shred(
    home: BrokerHome, manifest: str, *, now: str, reason: str, end_contracts: bool = False, actor: str = "owner"
) -> Shredded:
    """Destroy the key of one capsule.

    Args:
        home: The broker's directory.
        manifest: Digest of the capsule's manifest.
        now: The time that is recorded (RFC 3339 in UTC).
        reason: Shown to analysts, and recorded.
        end_contracts: Revoke the living contracts that need it.
        actor: Who says so, for the record: ``owner`` or a did.

    Raises:
        UnavailableError: ``keys.none``: there is no such key here; ``keys.wipe``.
        RefusedError: ``shred.needed``: a living contract needs it, and it was not said that contracts end.
    """
    needing = check(home, manifest, now=now, end_contracts=end_contracts)
    _end(home, needing, now=now, reason=reason)
    gone = (manifest,) if home.data_keys.wipe(manifest, Gone(now, "request", reason, actor=actor)) else ()
    return _recorded(home, gone, needing, now=now, reason=reason, actor=actor)


def check(home: BrokerHome, manifest: str, *, now: str, end_contracts: bool) -> tuple[str, ...]:
    """Check that a key can be destroyed; return the living contracts that would end with it.

    Raises:
        UnavailableError: ``keys.none``.
        RefusedError: ``shred.needed``.
    """
    if home.data_keys.gone(manifest) is None and not home.data_keys.holds(manifest):
        raise _none(manifest)
    needing = tuple(digest for digest, manifests in living(home, now) if manifest in manifests)
    if needing and not end_contracts:
        raise RefusedError(
            "shred.needed",
            f"{len(needing)} living contract(s) need the key: {', '.join(needing)}",
            next_step="let them end first, or say --end-contracts: they are revoked, for good",
        )
    return needing


def leave(home: BrokerHome, *, now: str, reason: str) -> Shredded:
    """Destroy every key of this broker and revoke every living contract: the provider leaves.

    Raises:
        UnavailableError: ``keys.wipe``.
    """
    contracts = tuple(digest for digest, _ in living(home, now))
    _end(home, contracts, now=now, reason=reason)
    gone = home.data_keys.wipe_all(Gone(now, "exit", reason))
    return _recorded(home, gone, contracts, now=now, reason=reason, actor="owner")


def keep(home: BrokerHome, manifest: str, *, now: str, reason: str = "") -> None:
    """Give out again a key that was withheld after a recovery: its owner says that it was not to be destroyed.

    Said first, done afterwards: what is not in the event log is not given out.

    Raises:
        UnavailableError: ``keys.none``: there is no such key here; ``ledger.unavailable``.
        RefusedError: ``keep.nothing``: it is not withheld; ``broker.restored``.
    """
    if (mark := restored.read_mark(home)) is not None:
        raise RefusedError("broker.restored", mark.reason, next_step=restored.NEXT_STEP)
    if not home.data_keys.holds(manifest):
        raise _none(manifest)
    if home.data_keys.withheld(manifest) is None:
        raise RefusedError("keep.nothing", "the key is not withheld", next_step="cloister capsule list")
    home.record(Event("key", now, actor="owner", op="keep", subject=manifest, reason=reason[:200]))
    home.data_keys.keep(manifest)


def sweep(home: BrokerHome, *, now: str) -> Shredded:
    """Destroy the keys whose time is over: of contracts that expired and oblige to it, of capsules past their time.

    One key that cannot be destroyed does not keep the others.

    Raises:
        UnavailableError: ``keys.wipe``, when all others were dealt with; ``ledger.unavailable``.
    """
    keys = home.data_keys
    gone: list[str] = []
    failed: list[UnavailableError] = []
    keys.clear_leftovers()
    try:
        gone += [manifest for done in obligations.sweep(home, now=now) for manifest in done.gone]
    except UnavailableError as error:
        failed.append(error)
    due = [
        (manifest, Gone(now, "retention", f"it was to be kept until {until}"))
        for manifest in keys.manifests()
        if (until := keys.retain_until(manifest)) and now >= until
    ]
    # And files that came back with a copy of the directory.
    for manifest, mark in (*due, *keys.destroyed()):
        try:
            found = keys.wipe(manifest, mark)
            gone += [manifest] if found and mark.cause == "retention" and mark.time == now else []
        except UnavailableError as error:
            failed.append(error)
    tell(home)
    if failed:
        raise failed[0]
    return Shredded(tuple(dict.fromkeys(gone)), damaged=keys.damaged())


def tell(home: BrokerHome) -> None:
    """Record in the event log what was destroyed and is not recorded yet.

    Destroyed first, told afterwards: a log that cannot be written must not keep a key alive. What could not be told is
    told the next time; the log of a restored broker takes nothing, so what it destroyed is told once it was recovered.

    Raises:
        UnavailableError: ``ledger.unavailable``.
    """
    if restored.read_mark(home) is not None:
        return
    for manifest, gone in home.data_keys.untold():
        home.record(
            Event(
                "key", gone.time, actor=gone.actor, contract=gone.contract, op="wipe", subject=manifest,
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


def _none(manifest: str) -> UnavailableError:
    return UnavailableError(
        "keys.none", f"this broker holds no key of {manifest}", next_step="`cloister capsule list` shows what it has"
    )


def _end(home: BrokerHome, contracts: tuple[str, ...], *, now: str, reason: str) -> None:
    for digest in contracts:
        home.contracts.decide(digest, Decision("revoked", now, f"the keys were destroyed. {reason}".strip()))


def _recorded(
    home: BrokerHome, gone: tuple[str, ...], contracts: tuple[str, ...], *, now: str, reason: str, actor: str
) -> Shredded:
    for digest in contracts:
        home.record(
            Event(
                "decision", now, actor=actor, contract=digest, op="contract.decide", status="revoked",
                reason=reason[:200],
            )
        )  # fmt: skip
    tell(home)
    return Shredded(gone, contracts)
