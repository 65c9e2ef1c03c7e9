"""Merkle trees against RFC 6962's own, recursive definition."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.merkle import leaf_hash, node_hash, root


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_is_the_one_rfc_6962_defines(leaves: list[bytes]) -> None:
    assert root([leaf_hash(leaf) for leaf in leaves]) == mth(leaves)


def test_every_size_up_to_300_gives_the_tree_rfc_6962_defines() -> None:
    leaves = [b"%d" % n for n in range(300)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    assert [root(hashes[:n]) for n in range(301)] == [mth(leaves[:n]) for n in range(301)]


# The roots that certificate-transparency's reference implementation gives for its own test leaves.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("count", CT_ROOTS)
def test_the_roots_are_those_of_the_reference_implementation(count: int) -> None:
    assert root([leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES[:count]]).hex() == CT_ROOTS[count]


@given(st.binary(max_size=80))
def test_a_leaf_never_hashes_like_a_node(data: bytes) -> None:
    left, right = data[:32].ljust(32, b"\0"), data[32:64].ljust(32, b"\0")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.data())
def test_another_leaf_gives_another_root(leaves: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:at], bytes(b ^ 1 for b in leaves[at]), *leaves[at + 1 :]]
    assert root(changed) != root(leaves)


def test_the_given_hashes_are_left_as_they_are() -> None:
    hashes = [leaf_hash(b"%d" % n) for n in range(5)]
    given_ones = list(hashes)
    root(hashes)
    assert hashes == given_ones
    assert root(tuple(hashes)) == root(hashes)


@pytest.mark.parametrize("wrong", [b"", b"a" * 31, b"a" * 33])
def test_a_leaf_hash_of_another_length_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        root([leaf_hash(b"a"), wrong])
