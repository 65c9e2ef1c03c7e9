"""Masked: a string that shows a mask, and that nothing stores."""

from __future__ import annotations

import copy
import json
import pickle
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.masks import Masked, is_masked, keep, present

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


class Subclass(Masked):
    """As another room may make one."""


def test_it_is_a_string_that_shows_the_mask() -> None:
    masked = Masked.of("***5678")
    assert masked == "***5678"
    assert f"{masked}" == "***5678"
    assert repr(masked) == "Masked('***5678')"
    assert masked.value == "***5678"
    assert json.dumps([masked]) == '["***5678"]'


def test_what_is_no_text_shows_as_a_person_reads_it() -> None:
    assert Masked.of(["contact", "money"]) == "contact, money"
    assert Masked.of(1987) == "1987"
    assert Masked.of(True) == "true"
    assert Masked.of([]) == ""
    assert Masked.of(None) == ""
    assert Masked.of({"b": 1, "a": "汉"}) == '{"a": "汉", "b": 1}'


@given(JSON)
def test_copies_and_pickles_are_masked_again(value: object) -> None:
    for cls in (Masked, Subclass):
        masked = cls.of(value)  # type: ignore[arg-type]  # Hypothesis types JSON as object
        for other in (
            copy.copy(masked),
            copy.deepcopy(masked),
            *(pickle.loads(pickle.dumps(masked, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        ):
            assert type(other) is cls
            assert other == masked
            assert other.value == masked.value == value


def test_its_json_cannot_be_changed_from_outside() -> None:
    masked = Masked.of({"flags": ["money"]})
    value = masked.value
    assert isinstance(value, dict)
    value["flags"] = []
    assert masked.value == {"flags": ["money"]}
    with pytest.raises(AttributeError):
        masked.extra = 1  # type: ignore[attr-defined]


def test_only_masks_are_masked() -> None:
    masked = Masked.of("***5678")
    assert is_masked(masked)
    assert is_masked(Subclass.of("x"))
    assert not is_masked("***5678")
    assert not is_masked(None)
    assert not is_masked(masked[1:]), "the docstring says that a slice is a plain string"


def test_sqlite_cannot_store_it() -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (x text)")
        masked = Masked.of("***5678")
        for write in (
            lambda: connection.execute("insert into t values (?)", (masked,)),
            lambda: connection.execute("insert into t values (:x)", {"x": masked}),
            lambda: connection.executemany("insert into t values (?)", [(masked,)]),
        ):
            with pytest.raises(WriteDenied):
                write()
        assert connection.execute("select count(*) from t").fetchone() == (0,)
    connection.close()


def test_a_mask_is_not_masked_again() -> None:
    for mask in (keep(last=4), present()):
        with pytest.raises(WriteDenied):
            mask.mask(Masked.of("13812345678"))
        with pytest.raises(UnsupportedOperation):
            mask.mask(object())
