"""fields.lock is text that people review: stable, one fact a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.errors import PolicyError
from vaultstore.policy import Lock, write_lock

from .catalogue import members, with_field, with_mask

fingerprints = st.text(min_size=1, max_size=20)
names = st.sampled_from(["a", "b", "c"])
fields = st.builds(
    Field,
    names,
    names,
    names,
    st.sampled_from(["str", "date"]),
    st.none() | st.builds(Index, names, fingerprints, st.booleans()),
    st.lists(st.builds(Projection, names, fingerprints, names), max_size=2, unique_by=lambda p: p.category).map(tuple),
)


def test_a_field_is_a_block_of_its_category_type_index_and_masks() -> None:
    text = Lock.of(members()).text()
    assert (
        "\nMember.phone\n"
        "  category contact\n"
        "  type str\n"
        "  index phone_e164(region=CN)\n"
        "  mask care_card keep(first=3,last=4)\n"
        "  mask sales_card keep(first=0,last=4)\n"
    ) in text
    assert "\nProfileView.event\n  category browsing\n  type str\n  index text() unique\n" in text


@given(st.lists(fields, max_size=3, unique_by=lambda f: f.name).map(tuple))
def test_a_lock_reads_back_as_it_was_written(drawn: tuple[Field, ...]) -> None:
    lock = Lock.of(Catalogue({"M": Model("M", "m", drawn)}))
    again = Lock.parse(lock.text())
    assert again.fields == lock.fields
    assert again.diff(lock) == ()


@given(st.lists(fields, min_size=2, max_size=2))
def test_fields_that_differ_have_different_locks(drawn: list[Field]) -> None:
    one, two = (replace(f, name="f", context="c") for f in drawn)
    locks = [Lock.of(Catalogue({"M": Model("M", "m", (field,))})) for field in (one, two)]
    masks = [{p.category: p.mask for p in field.projections} for field in (one, two)]
    indexes = [field.index and (field.index.normalizer, field.index.unique) for field in (one, two)]
    same = (one.category, one.type) == (two.category, two.type) and masks[0] == masks[1] and indexes[0] == indexes[1]
    assert (locks[0].diff(locks[1]) == ()) == same


def test_the_lock_does_not_depend_on_order() -> None:
    catalogue = members()
    turned = {
        name: replace(model, fields=tuple(replace(f, projections=f.projections[::-1]) for f in model.fields[::-1]))
        for name, model in reversed(list(catalogue.models.items()))
    }
    assert Lock.of(replace(catalogue, models=turned)).text() == Lock.of(catalogue).text()


def test_a_new_field_a_lost_field_and_a_moved_field_are_changes() -> None:
    before = Lock.of(members())
    new = Lock.of(with_field(members(), "Member", Field("shoe_size", "profile", "members.shoe_size", "int")))
    assert [str(c) for c in before.diff(new)] == [
        "Member.shoe_size: locked nothing; the models have category profile; type int"
    ]
    assert [str(c) for c in new.diff(before)] == [
        "Member.shoe_size: locked category profile; type int; the models have nothing"
    ]
    moved = Lock.of(with_field(members(), "Member", Field("wants", "profile", "members.wants", "str")))
    assert [str(c) for c in before.diff(moved)] == [
        "Member.wants: locked category preference; the models have category profile"
    ]


def test_a_changed_mask_is_one_line_of_the_diff(tmp_path: Path) -> None:
    write_lock(members(), tmp_path / "fields.lock")
    loaded = Lock.load(tmp_path / "fields.lock")
    [change] = loaded.diff(Lock.of(with_mask(members(), "Member", "name", "care_card", "initial()")))
    assert (change.locked, change.found) == (("mask care_card surname()",), ("mask care_card initial()",))
    assert change.line == loaded.lines["Member.name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the lock is empty"),
        ("lock 2\n", "1:1: not a lock of version 1"),
        ("# a\nMember.phone\n", "2:1: not a lock of version 1"),
        ("lock 1\n  mask a b\n", "2:1: a line before the first field"),
        ("lock 1\nM.a\nM.b\nM.a\n", "4:1: 'M.a' is locked twice"),
    ],
)
def test_a_lock_that_is_not_one_is_refused(text: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        Lock.parse(text, Path("fields.lock"))


def test_a_lock_that_can_not_be_read_or_written_is_a_policy_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="can not be read"):
        Lock.load(tmp_path / "binary")
    with pytest.raises(PolicyError, match="can not be written"):
        write_lock(members(), tmp_path)
