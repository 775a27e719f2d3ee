"""The account's log: Merkle tree hashing and proofs of RFC 9162 (section 2.1), over the canonical bytes of entries.

Everything here is pure. A broker keeps a :class:`Frontier` (the roots of the full subtrees, at most 64 hashes), so
that appending and the new root cost O(log n); proofs are computed from the leaf hashes when somebody asks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from cloister.errors import MalformedError, TrustError

EMPTY_ROOT = hashlib.sha256(b"").digest()
_LEAF = b"\x00"
_NODE = b"\x01"
_SUM = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one entry: SHA-256(0x00 || data)."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(_NODE + left + right).digest()


def root_text(root: bytes) -> str:
    """Return a root as it travels: ``sha256:<hex>``."""
    return "sha256:" + root.hex()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of leaf hashes (RFC 9162 section 2.1.1)."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root()


class Frontier(msgspec.Struct, frozen=True):
    """A tree of ``size`` leaves, remembered by the roots of its full subtrees, largest first."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """Return the tree with one more leaf hash."""
        nodes, carry = list(self.nodes), self.size
        while carry & 1:
            leaf = node_hash(nodes.pop(), leaf)
            carry >>= 1
        return Frontier(self.size + 1, (*nodes, leaf))

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self.nodes:
            return EMPTY_ROOT
        value = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            value = node_hash(node, value)
        return value


class Growing:
    """A tree that grows in place, with its roots at some sizes on the way: for logs of millions of entries.

    Args:
        marks: Sizes at which the root shall be remembered (``roots``).
    """

    def __init__(self, marks: Iterable[int] = ()) -> None:
        self.size = 0
        self.roots: dict[int, bytes] = {}
        self._marks = frozenset(marks)
        self._nodes: list[bytes] = []
        if 0 in self._marks:
            self.roots[0] = EMPTY_ROOT

    def append(self, leaf: bytes) -> None:
        """Add one more leaf hash."""
        carry = self.size
        while carry & 1:
            leaf = hashlib.sha256(_NODE + self._nodes.pop() + leaf).digest()
            carry >>= 1
        self._nodes.append(leaf)
        self.size += 1
        if self.size in self._marks:
            self.roots[self.size] = self.root()

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return Frontier(self.size, tuple(self._nodes)).root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf ``index`` in the tree of all ``leaves`` (section 2.1.3.1).

    Raises:
        MalformedError: There is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise MalformedError("log.index", "the log has no such entry")
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), root(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), root(leaves[:split]))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Check that ``leaf`` is entry ``index`` of the tree of ``size`` leaves with root ``expected`` (section 2.1.3.2).

    Raises:
        TrustError: ``log.inclusion``.
    """
    node, last, value, rest = index, size - 1, leaf, list(proof)
    valid = 0 <= index < size
    while rest and valid:
        sibling = rest.pop(0)
        valid = last > 0
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if not valid or last != 0 or value != expected:
        raise TrustError("log.inclusion", "the entry is not in the log this root stands for")


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return the proof that the first ``old_size`` leaves are a prefix of ``leaves`` (section 2.1.4.1).

    Raises:
        MalformedError: ``old_size`` is not between 0 and the size of the log.
    """
    if not 0 <= old_size <= len(leaves):
        raise MalformedError("log.size", "the log never had this size")
    return () if old_size in (0, len(leaves)) else _subproof(leaves, old_size, whole=True)


def verify_consistency(old_size: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the log of ``size`` entries extends the one of ``old_size`` (section 2.1.4.2).

    Raises:
        TrustError: ``log.consistency``: entries were changed, removed or reordered.
    """
    if not _consistent(old_size, old_root, size, new_root, proof):
        raise TrustError("log.consistency", "the log does not extend the one seen before")


def _consistent(old_size: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    if old_size in (0, size):
        same = (old_root == EMPTY_ROOT) if old_size == 0 else (old_root == new_root)
        return same and not proof and (size > 0 or new_root == EMPTY_ROOT)
    if not 0 < old_size < size or not proof:
        return False
    rest = list(proof)
    if old_size & (old_size - 1) == 0:
        rest.insert(0, old_root)
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_value = new_value = rest.pop(0)
    for step in rest:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_value, new_value = node_hash(step, old_value), node_hash(step, new_value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new_value = node_hash(new_value, step)
        node, last = node >> 1, last >> 1
    return last == 0 and old_value == old_root and new_value == new_root


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> tuple[bytes, ...]:
    if old_size == len(leaves):
        return () if whole else (root(leaves),)
    split = _split(len(leaves))
    if old_size <= split:
        return (*_subproof(leaves[:split], old_size, whole=whole), root(leaves[split:]))
    return (*_subproof(leaves[split:], old_size - split, whole=False), root(leaves[:split]))


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def exact_sum(text: str) -> Fraction:
    """Return an account's sum, written ``"p"`` or ``"p/q"``.

    Raises:
        MalformedError: ``log.sum``: anything else (``Fraction`` also reads texts that take all memory).
    """
    if not _SUM.fullmatch(text):
        raise MalformedError("log.sum", "a sum is a fraction p/q")
    return Fraction(text)


def less(left: str, right: str) -> bool:
    """Whether one sum is smaller than another.

    Raises:
        MalformedError: ``log.sum``.
    """
    return exact_sum(left) < exact_sum(right)
