"""Proofs over Merkle trees: what is made verifies, what is touched does not, and others agree."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from vaultstore import merkle
from vaultstore.errors import ProofError

LEAVES = [merkle.leaf_hash(b"leaf %d" % i) for i in range(130)]


def nodes_of(size: int) -> dict[merkle.Node, bytes]:
    """Every perfect node of the tree over the first `size` leaves."""
    nodes = {(0, i): leaf for i, leaf in enumerate(LEAVES[:size])}
    level, count = 0, size
    while count > 1:
        for i in range(count // 2):
            nodes[level + 1, i] = merkle.node_hash(nodes[level, 2 * i], nodes[level, 2 * i + 1])
        level, count = level + 1, count // 2
    return nodes


def sizes(most: int = 130) -> st.SearchStrategy[int]:
    return st.integers(1, most)


def oracle(size: int) -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for i in range(size):
        tree.append_entry(b"leaf %d" % i)
    return tree


@pytest.mark.parametrize("size", range(66))
def test_the_peaks_of_a_tree_fold_to_its_root(size: int) -> None:
    nodes = nodes_of(size)
    assert merkle.root_of_peaks([nodes[peak] for peak in merkle.peaks(size)]) == merkle.root(LEAVES[:size])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 65, 100])
def test_every_leaf_is_proved_and_no_other_position_is(size: int) -> None:
    nodes, root = nodes_of(size), merkle.root(LEAVES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, nodes)
        merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
        for other in {(index + 1) % size, size - 1 - index} - {index}:
            with pytest.raises(ProofError):
                merkle.verify_inclusion(LEAVES[index], other, size, proof, root)


@pytest.mark.parametrize("size2", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 31, 33, 64, 66])
def test_every_earlier_tree_is_proved_to_begin_a_later_one(size2: int) -> None:
    nodes, root2 = nodes_of(size2), merkle.root(LEAVES[:size2])
    for size1 in range(size2 + 1):
        proof = merkle.consistency_proof(size1, size2, nodes)
        root1 = merkle.root(LEAVES[:size1])
        merkle.verify_consistency(size1, size2, proof, root1, root2)
        if 0 < size1 < size2:
            other = merkle.root([*LEAVES[: size1 - 1], merkle.leaf_hash(b"edited")])
            with pytest.raises(ProofError, match="its past was changed"):
                merkle.verify_consistency(size1, size2, proof, other, root2)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_another_implementation_gives_the_same_roots_and_proofs(size: int) -> None:
    tree, nodes = oracle(size), nodes_of(size)
    assert tree.get_root() == merkle.root(LEAVES[:size])
    for index in range(size):
        path = tree.prove_inclusion(index + 1).path
        assert path == [LEAVES[index], *merkle.inclusion_proof(index, size, nodes)]


def test_the_example_of_rfc_6962_section_2_1_3() -> None:
    nodes = nodes_of(7)
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = (merkle.node_hash(*pair) for pair in ((a, b), (c, d), (e, f)))
    k, level2 = merkle.node_hash(g, h), merkle.node_hash(i, j)
    assert merkle.inclusion_proof(0, 7, nodes) == [b, h, level2]
    assert merkle.inclusion_proof(3, 7, nodes) == [c, g, level2]
    assert merkle.inclusion_proof(4, 7, nodes) == [f, j, k]
    assert merkle.inclusion_proof(6, 7, nodes) == [i, k]
    assert merkle.consistency_proof(3, 7, nodes) == [c, d, g, level2]
    assert merkle.consistency_proof(4, 7, nodes) == [level2]
    assert merkle.consistency_proof(6, 7, nodes) == [i, j, k]


@given(sizes(), st.data())
def test_a_proof_with_one_bit_turned_does_not_hold(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, nodes_of(size))
    parts = [LEAVES[index], *proof, merkle.root(LEAVES[:size])]
    at, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[at] = (int.from_bytes(parts[at], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofError):
        merkle.verify_inclusion(parts[0], index, size, parts[1:-1], parts[-1])


@given(sizes(), sizes(), st.data())
def test_a_consistency_proof_with_one_bit_turned_does_not_hold(one: int, two: int, data: st.DataObject) -> None:
    size1, size2 = min(one, two), max(one, two)
    proof = merkle.consistency_proof(size1, size2, nodes_of(size2))
    parts = [merkle.root(LEAVES[:size1]), *proof, merkle.root(LEAVES[:size2])]
    at, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[at] = (int.from_bytes(parts[at], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofError):
        merkle.verify_consistency(size1, size2, parts[1:-1], parts[0], parts[-1])


@given(sizes(), st.data())
def test_a_proof_is_as_long_as_position_and_size_say(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(index, size, nodes_of(size)), merkle.root(LEAVES[:size])
    assert len(proof) <= (size - 1).bit_length()
    for wrong in (proof[:-1] if proof else [bytes(32)], [*proof, bytes(32)], [bytes(32), *proof]):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(LEAVES[index], index, size, wrong, root)


def test_a_proof_needs_no_more_nodes_than_the_logarithm_of_the_tree() -> None:
    for size in (2**40, 2**40 - 1, 2**40 + 12345, 3 * 2**39):
        for index in (0, 1, size // 3, size // 2, size - 2, size - 1):
            assert sum(map(len, merkle.inclusion_nodes(index, size))) <= 2 * size.bit_length()
            assert sum(map(len, merkle.consistency_nodes(index or 1, size))) <= 3 * size.bit_length()


WRONG: list[Any] = [None, -1, 1.0, True, "1", b"1", 2**63, 2**200, [], {}]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_whatever_comes_in_the_answer_is_none_or_a_proof_error(wrong: Any) -> None:
    for size, index in ((wrong, 0), (1, wrong), (wrong, wrong)):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    for one, two in ((wrong, 2), (1, wrong)):
        with pytest.raises(ProofError):
            merkle.verify_consistency(one, two, [], LEAVES[0], LEAVES[0])


@pytest.mark.parametrize("wrong", [None, "x" * 32, b"", b"x" * 31, b"x" * 33, bytearray(32), 32], ids=repr)
def test_what_is_no_hash_is_refused(wrong: Any) -> None:
    for leaf, proof, root in ((wrong, [], LEAVES[0]), (LEAVES[0], [], wrong), (LEAVES[0], wrong, LEAVES[0])):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, 0, 1, proof, root)
        with pytest.raises(ProofError):
            merkle.verify_consistency(1, 1, proof, leaf, root)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(LEAVES[0], 0, 2, [wrong], LEAVES[0])


def test_the_empty_tree_begins_every_tree_and_has_one_root() -> None:
    nothing = hashlib.sha256().digest()
    merkle.verify_consistency(0, 5, [], nothing, merkle.root(LEAVES[:5]))
    with pytest.raises(ProofError, match="SHA-256 of nothing"):
        merkle.verify_consistency(0, 5, [], LEAVES[0], merkle.root(LEAVES[:5]))
    with pytest.raises(ProofError, match="one history was replaced by another"):
        merkle.verify_consistency(5, 5, [], merkle.root(LEAVES[:5]), merkle.root(LEAVES[1:6]))
