"""Checkpoints: a broker's signed statement of where all of its logs stand, and proofs that one extends another.

A checkpoint that left the broker (a file elsewhere, another broker) is what a restored or forked broker is told from
an honest one by: from then on every later state must extend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from cloister.errors import MalformedError, TrustError
from cloister.receipt import log
from cloister.receipt.events import AccountTip
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, open_envelope, seal, unverified_payload
from cloister.wire.identity import SigningKey

CHECKPOINT_TYPE = "application/vnd.cloister.checkpoint.v1+json"
ANCHOR_TYPE = "application/vnd.cloister.anchor.v1+json"
EVENTS = "events"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and root of the event log, and the tip of every account, at the broker's time."""

    broker: str
    time: str
    events: int
    root: str
    accounts: tuple[AccountTip, ...]
    version: Literal[1] = 1

    def account(self, population: str) -> AccountTip | None:
        """Return the tip of an account, if there is one."""
        return next((tip for tip in self.accounts if tip.population == population), None)

    def logs(self) -> dict[str, tuple[int, str]]:
        """Return size and root of every log: the events' under ``""``, the accounts' by population."""
        return {"": (self.events, self.root), **{tip.population: (tip.size, tip.root) for tip in self.accounts}}


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A consistency proof of one log (hex hashes); ``population`` is empty for the event log."""

    population: str
    old_size: int
    proof: tuple[str, ...]


class Included(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account entry (its canonical text), its index and its audit path in the log of a checkpoint."""

    population: str
    entry: str
    index: int
    path: tuple[str, ...]


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint as it is filed: proofs that it extends an ``earlier`` one, and entries proven to be in it."""

    checkpoint: Envelope
    earlier: str = ""
    extends: tuple[Extension, ...] = ()
    entries: tuple[Included, ...] = ()
    version: Literal[1] = 1


class Anchored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another broker's signed word that it has seen a checkpoint, at its own time."""

    broker: str
    of: str
    checkpoint: str
    events: int
    root: str
    time: str
    version: Literal[1] = 1


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Envelope:
    """Return the checkpoint signed by its broker."""
    return seal(CHECKPOINT_TYPE, canonical.encode(checkpoint), key)


def open_checkpoint(document: Envelope, *, broker: str = "") -> Checkpoint:
    """Return a checkpoint that the broker it names has signed.

    Args:
        document: The envelope.
        broker: The did it must name; without it any (the caller says what the name is worth).

    Raises:
        TrustError: ``checkpoint.broker``, or a signature that is missing or wrong.
        MalformedError: Not a checkpoint.
    """
    named = documents.decode(unverified_payload(document), Checkpoint)
    if broker and named.broker != broker:
        raise TrustError("checkpoint.broker", f"a checkpoint of {named.broker}, not of {broker}")
    open_envelope(document, CHECKPOINT_TYPE, named.broker)
    sizes = [named.events, *(tip.size for tip in named.accounts)]
    names = {tip.population for tip in named.accounts}
    # The empty name is the event log's among the logs: an account under it would stand in its place.
    if min(sizes) < 0 or len(names) != len(named.accounts) or "" in names:
        raise MalformedError("checkpoint.malformed", "a checkpoint with a negative size, an account twice or unnamed")
    return named


def digest_of(document: Envelope) -> str:
    """Return the digest of a checkpoint's payload."""
    return canonical.digest_bytes(unverified_payload(document))


def raw_root(text: str) -> bytes:
    """Return the 32 bytes of a root written ``sha256:<hex>``.

    Raises:
        MalformedError: ``log.root``.
    """
    try:
        root = bytes.fromhex(text.removeprefix("sha256:"))
    except ValueError as error:
        raise MalformedError("log.root", "a root is written sha256:<hex>") from error
    if len(root) != 32 or not text.startswith("sha256:"):
        raise MalformedError("log.root", "a root is written sha256:<hex>")
    return root


def prove_extension(earlier: Checkpoint, leaves: Mapping[str, Sequence[bytes]]) -> tuple[Extension, ...]:
    """Return the proofs that the logs of these leaf hashes extend an earlier checkpoint of the same broker.

    Args:
        earlier: The earlier checkpoint.
        leaves: Leaf hashes of every log as it stands now: the events' under ``""``, the accounts' by population.

    Raises:
        MalformedError: ``log.size``: a log is shorter now than it was.
    """
    return tuple(
        Extension(name, size, tuple(node.hex() for node in log.consistency_proof(leaves.get(name, ()), size)))
        for name, (size, _) in sorted(earlier.logs().items())
    )


def check_extension(earlier: Checkpoint, later: Checkpoint, proofs: Iterable[Extension]) -> None:
    """Check that every log of ``later`` extends the one of ``earlier``: nothing changed, vanished or was reordered.

    Raises:
        TrustError: ``checkpoint.broker``, ``checkpoint.missing`` (a log or its proof is not there),
            ``log.consistency``, ``checkpoint.time``, ``checkpoint.spent`` (an account was counted back).
    """
    if earlier.broker != later.broker:
        raise TrustError("checkpoint.broker", "checkpoints of two brokers; each has logs of its own")
    by_log = {proof.population: proof for proof in proofs}
    after = later.logs()
    for name, (size, root) in earlier.logs().items():
        found = by_log.get(name)
        if name not in after or found is None or found.old_size != size:
            raise TrustError("checkpoint.missing", f"no proof that {name or 'the event log'} extends what it was")
        nodes = _nodes(found.proof)
        log.verify_consistency(size, raw_root(root), after[name][0], raw_root(after[name][1]), nodes)
    if later.time < earlier.time:
        raise TrustError("checkpoint.time", "the later checkpoint is dated before the earlier one")
    check_grown(earlier, later)


def check_grown(earlier: Checkpoint, later: Checkpoint) -> None:
    """Check that no account's size or sums went back.

    Raises:
        TrustError: ``checkpoint.spent``.
    """
    for tip in earlier.accounts:
        now = later.account(tip.population)
        if now is None or now.size < tip.size or log.less(now.spent, tip.spent) or log.less(now.delta, tip.delta):
            raise TrustError("checkpoint.spent", f"the account of {tip.population} went back")


def check_included(one: Included, checkpoint: Checkpoint) -> None:
    """Check that an entry is in the account's log as the checkpoint states it.

    Raises:
        TrustError: ``checkpoint.missing``: no such account; ``log.inclusion``.
    """
    tip = checkpoint.account(one.population)
    if tip is None:
        raise TrustError("checkpoint.missing", f"the checkpoint knows no account of {one.population}")
    leaf = log.leaf_hash(one.entry.encode())
    log.verify_inclusion(leaf, one.index, tip.size, _nodes(one.path), raw_root(tip.root))


def _nodes(texts: Sequence[str]) -> list[bytes]:
    try:
        nodes = [bytes.fromhex(text) for text in texts]
    except ValueError as error:
        raise MalformedError("log.proof", "a proof is made of hashes in hexadecimal") from error
    if any(len(node) != 32 for node in nodes):
        raise MalformedError("log.proof", "a proof is made of hashes of 32 bytes")
    return nodes


def sign_anchored(statement: Anchored, key: SigningKey) -> Envelope:
    """Return the statement signed by the broker that has seen the checkpoint."""
    return seal(ANCHOR_TYPE, canonical.encode(statement), key)


def open_anchored(document: Envelope, *, broker: str, checkpoint: Envelope) -> Anchored:
    """Return another broker's statement about this checkpoint.

    Raises:
        TrustError: ``anchor.foreign``: it is about another checkpoint, or a signature is missing or wrong.
        MalformedError: Not such a statement.
    """
    said = documents.decode(open_envelope(document, ANCHOR_TYPE, broker), Anchored)
    stated = open_checkpoint(checkpoint)
    expected = (broker, stated.broker, digest_of(checkpoint), stated.events, stated.root)
    if (said.broker, said.of, said.checkpoint, said.events, said.root) != expected:
        raise TrustError("anchor.foreign", "the statement is about another checkpoint")
    return said
