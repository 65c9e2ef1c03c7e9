"""A sealed value opens in the one cell it was sealed for, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from vaultstore import envelope
from vaultstore.canonical import pae
from vaultstore.envelope import (
    AadTemplate,
    key_id_of,
    new_data_key,
    new_key_id,
    new_nonces,
    open_sealed,
    seal,
    wrap_context,
)
from vaultstore.errors import DecryptionError, UnsupportedOperation

KEY = AESGCM(bytes(range(32)))
NONCE = bytes(range(12))
KEY_ID = 0x5EED0001

uuids = st.uuids().map(lambda value: value.bytes)
scopes = st.just(b"") | uuids
names = st.text(min_size=1, max_size=12)
cells = st.tuples(names, names, uuids, uuids, scopes)
Cell = tuple[str, str, bytes, bytes, bytes]


def aad_of(cell: Cell) -> bytes:
    context, category, row, subject, scope = cell
    return AadTemplate(context, category).of(row, subject, scope)


@given(cells)
def test_the_aad_is_the_pae_of_its_six_parts(cell: Cell) -> None:
    context, category, row, subject, scope = cell
    expected = pae(b"vaultstore/v1", context.encode(), row, subject, category.encode(), scope)
    template = AadTemplate(context, category)
    assert template.of(row, subject, scope) == expected
    assert template.head + template.middle(row, subject) + template.tail(scope) == expected


@given(cells, cells, st.binary(max_size=40))
def test_a_moved_value_does_not_open(one: Cell, other: Cell, plaintext: bytes) -> None:
    sealed = seal(KEY, KEY_ID, NONCE, plaintext, aad_of(one))
    assert open_sealed(KEY, sealed, aad_of(one)) == plaintext
    for at in range(5):  # each part moved alone, then all of them
        moved: Any = (*one[:at], other[at], *one[at + 1 :])
        if moved != one:
            with pytest.raises(DecryptionError):
                open_sealed(KEY, sealed, aad_of(moved))
    assume(one != other)
    with pytest.raises(DecryptionError):
        open_sealed(KEY, sealed, aad_of(other))


@given(uuids, uuids)
def test_row_and_subject_do_not_change_places(row: bytes, subject: bytes) -> None:
    assume(row != subject)
    sealed = seal(KEY, KEY_ID, NONCE, b"a", aad_of(("t.c", "contact", row, subject, b"")))
    with pytest.raises(DecryptionError):
        open_sealed(KEY, sealed, aad_of(("t.c", "contact", subject, row, b"")))


def opened(ring: dict[int, AESGCM], ciphertext: bytes, aad: bytes) -> bytes:
    """Open as a reader does: the header says which key to take, and there may be none."""
    key = ring.get(key_id_of(ciphertext))
    if key is None:
        raise DecryptionError("no such key")
    return open_sealed(key, ciphertext, aad)


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_a_ciphertext_with_any_one_bit_flipped_does_not_open() -> None:
    # Every key that a flip of the key id's bits may name is there, each a key of its own.
    ring = {KEY_ID ^ 1 << bit: AESGCM(os.urandom(32)) for bit in range(32)} | {KEY_ID: KEY}
    aad = aad_of(("members.phone", "contact", bytes(16), bytes(16), b""))
    sealed = seal(KEY, KEY_ID, NONCE, b"\x0113812345678\x80\0\0\0", aad)
    assert opened(ring, sealed, aad) == b"\x0113812345678\x80\0\0\0"
    count = 0
    for flipped in flips(sealed):
        count += 1
        with pytest.raises(DecryptionError):
            opened(ring, flipped, aad)
        with pytest.raises(DecryptionError):
            opened({KEY_ID: KEY}, flipped, aad)
    assert count == 8 * (33 + 16)


def test_an_aad_with_any_one_bit_flipped_does_not_open() -> None:
    aad = aad_of(("members.phone", "contact", bytes(16), bytes(16), bytes(16)))
    sealed = seal(KEY, KEY_ID, NONCE, b"a", aad)
    for flipped in flips(aad):
        with pytest.raises(DecryptionError):
            open_sealed(KEY, sealed, flipped)


@given(st.binary(max_size=60), st.binary(min_size=32, max_size=32))
def test_another_data_key_does_not_open(plaintext: bytes, other: bytes) -> None:
    assume(other != bytes(range(32)))
    with pytest.raises(DecryptionError):
        open_sealed(AESGCM(other), seal(KEY, KEY_ID, NONCE, plaintext, b""), b"")


@given(st.binary(max_size=80))
def test_garbage_raises_nothing_but_decryption_error(garbage: bytes) -> None:
    for data in (garbage, b"\x01\0\0\0\x07" + garbage):
        with pytest.raises(DecryptionError) as caught:
            open_sealed(KEY, data, b"")
        assert caught.value.__context__ is None


def sealed_empty() -> bytes:
    return seal(KEY, KEY_ID, NONCE, b"", b"")


NOT_OURS: dict[str, Any] = {
    "nothing": b"",
    "32 bytes": sealed_empty()[:32],
    "version 0": b"\0" + sealed_empty()[1:],
    "version 2": b"\2" + sealed_empty()[1:],
    "key id 0": b"\1\0\0\0\0" + sealed_empty()[5:],
    "plaintext": b"my secret is that I am no ciphertext",
    "text": "my secret is that I am no ciphertext",
    "None": None,
    "a number": 13812345678,
}


@pytest.mark.parametrize("data", NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_no_ciphertext_is_refused_without_showing_it(data: Any) -> None:
    for refuse in (key_id_of, lambda data: open_sealed(KEY, data, b"")):
        with pytest.raises(DecryptionError, match="not a ciphertext of this version") as caught:
            refuse(data)
        assert "secret" not in str(caught.value)
        assert "138" not in str(caught.value)


def test_the_shortest_ciphertext_is_what_a_check_on_the_column_expects() -> None:
    assert len(sealed_empty()) == envelope.CIPHERTEXT_MINIMUM == 33
    assert sealed_empty()[:1] == envelope.CIPHERTEXT_VERSION == b"\x01"


@given(st.integers(1, 2**32 - 1), st.binary(max_size=40))
def test_a_ciphertext_is_33_bytes_longer_and_names_its_key(key_id: int, plaintext: bytes) -> None:
    sealed = seal(KEY, key_id, NONCE, plaintext, b"")
    assert len(sealed) == len(plaintext) + 33
    assert key_id_of(sealed) == key_id
    assert sealed[5:17] == NONCE


@pytest.mark.parametrize(
    ("key_id", "nonce"), [(0, NONCE), (2**32, NONCE), (-1, NONCE), (1, b""), (1, bytes(11)), (1, bytes(16))]
)
def test_a_key_id_or_nonce_outside_the_format_is_not_sealed(key_id: int, nonce: bytes) -> None:
    with pytest.raises(UnsupportedOperation):
        seal(KEY, key_id, nonce, b"", b"")


@given(uuids, names, scopes, uuids, names, scopes)
def test_two_data_keys_share_no_wrap_context(s1: bytes, c1: str, k1: bytes, s2: bytes, c2: str, k2: bytes) -> None:
    assert (wrap_context(s1, c1, k1) == wrap_context(s2, c2, k2)) == ((s1, c1, k1) == (s2, c2, k2))
    assert wrap_context(s1, c1, k1) == pae(b"vaultstore/wrap/v1", s1, c1.encode(), k1)


@pytest.mark.parametrize("wrong", [b"a", bytes(15), bytes(17), bytes(32)])
def test_an_id_of_another_length_is_refused(wrong: bytes) -> None:
    template, right = AadTemplate("members.phone", "contact"), bytes(16)
    refusals: list[Callable[[], bytes]] = [
        lambda: template.of(wrong, right),
        lambda: template.of(right, wrong),
        lambda: template.of(right, right, wrong),
        lambda: wrap_context(wrong, "contact"),
        lambda: wrap_context(right, "contact", wrong),
    ]
    for refused in refusals:
        with pytest.raises(UnsupportedOperation, match="16 bytes"):
            refused()


def test_a_row_or_subject_is_never_empty() -> None:
    for row, subject in ((b"", bytes(16)), (bytes(16), b"")):
        with pytest.raises(UnsupportedOperation):
            AadTemplate.middle(row, subject)
    with pytest.raises(UnsupportedOperation):
        wrap_context(b"", "contact")


def test_templates_of_one_column_are_equal() -> None:
    assert AadTemplate("members.phone", "contact") == AadTemplate("members.phone", "contact")
    assert AadTemplate("members.phone", "contact") != AadTemplate("members.phone", "identity")


def test_a_key_id_is_never_0() -> None:
    draws = iter([bytes(4), bytes(4), b"\0\0\0\x05"])
    assert new_key_id(lambda size: next(draws)) == 5
    assert all(0 < new_key_id() < 2**32 for _ in range(100))


def test_a_data_key_has_256_bits_and_nonces_96() -> None:
    assert new_data_key(lambda size: bytes(range(size))) == bytes(range(32))
    assert new_nonces(3, lambda size: bytes(range(size))) == [bytes(range(n, n + 12)) for n in (0, 12, 24)]
    assert new_nonces(0) == []


def test_randomness_does_not_repeat() -> None:
    assert len(set(new_nonces(1000))) == 1000
    assert len({new_data_key() for _ in range(100)}) == 100
