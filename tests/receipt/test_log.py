"""The account's log against RFC 9162: published vectors, a literal reference, and every small tree."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.errors import MalformedError, TrustError
from cloister.receipt import log

# Leaves and roots of the Certificate Transparency reference tests (google/certificate-transparency, RFC 6962 trees).
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]  # fmt: skip
LEAVES = [log.leaf_hash(data) for data in INPUTS]


def reference_root(data: list[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, written as the RFC writes it."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return hashlib.sha256(b"\1" + reference_root(data[:k]) + reference_root(data[k:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size):
    assert log.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_empty_log():
    assert log.root([]) == hashlib.sha256(b"").digest() == log.EMPTY_ROOT


def test_published_audit_path():
    path = log.inclusion_proof(LEAVES, 5)
    assert [node.hex() for node in path] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=6), max_size=40))
def test_root_and_frontier_equal_the_reference(data):
    leaves = [log.leaf_hash(item) for item in data]
    frontier = log.Frontier()
    for count, leaf in enumerate(leaves, 1):
        frontier = frontier.append(leaf)
        assert frontier.size == count
    assert frontier.root() == log.root(leaves) == reference_root(data)


SIZES = range(1, 34)


def tree(size):
    return [log.leaf_hash(bytes([index])) for index in range(size)]


@pytest.mark.parametrize("size", SIZES)
def test_every_inclusion_proof_holds_for_its_entry_only(size):
    leaves = tree(size)
    root = log.root(leaves)
    for index in range(size):
        proof = log.inclusion_proof(leaves, index)
        log.verify_inclusion(leaves[index], index, size, proof, root)
        for other in range(size):
            if other != index:
                with pytest.raises(TrustError):
                    log.verify_inclusion(leaves[other], index, size, proof, root)
        for wrong in (proof[:-1], (*proof, root), (*proof[:-1], root)) if proof else ((root,),):
            with pytest.raises(TrustError):
                log.verify_inclusion(leaves[index], index, size, wrong, root)
        with pytest.raises(TrustError):
            log.verify_inclusion(leaves[index], index, size, proof, log.leaf_hash(b"other"))
    for index in (-1, size):
        with pytest.raises(TrustError):
            log.verify_inclusion(leaves[0], index, size, (), root)


@pytest.mark.parametrize("size", SIZES)
def test_every_consistency_proof_holds_and_a_changed_history_does_not(size):
    leaves = tree(size)
    root = log.root(leaves)
    for old in range(size + 1):
        proof = log.consistency_proof(leaves, old)
        log.verify_consistency(old, log.root(leaves[:old]), size, root, proof)
        if old:
            rewritten = [log.leaf_hash(b"rewritten"), *leaves[1:]]
            with pytest.raises(TrustError):
                log.verify_consistency(old, log.root(rewritten[:old]), size, root, proof)
        if 0 < old < size:
            for wrong in (proof[:-1], (*proof, root), (root, *proof[1:])):
                with pytest.raises(TrustError):
                    log.verify_consistency(old, log.root(leaves[:old]), size, root, wrong)
            with pytest.raises(TrustError):  # a shorter log never extends a longer one
                log.verify_consistency(size, root, old, log.root(leaves[:old]), proof)


def test_a_proof_holds_for_its_own_size_only():
    """The root of a smaller log cannot pass for that of a larger one, nor the other way round."""
    for size in range(1, 17):
        leaves = tree(size)
        root, proof = log.root(leaves), log.inclusion_proof(leaves, 0)
        for claimed in range(1, 40):
            if claimed.bit_length() - (claimed & (claimed - 1) == 0) == size.bit_length() - (size & (size - 1) == 0):
                continue  # the path of entry 0 is equally long: the root alone decides
            with pytest.raises(TrustError):
                log.verify_inclusion(leaves[0], 0, claimed, proof, root)


def test_no_proof_of_what_is_not_there():
    for index in (-1, 3):
        with pytest.raises(MalformedError):
            log.inclusion_proof(tree(3), index)
    for size in (-1, 4):
        with pytest.raises(MalformedError):
            log.consistency_proof(tree(3), size)


def test_a_leaf_is_never_a_node():
    left, right = tree(2)
    assert log.leaf_hash(left + right) != log.node_hash(left, right)
