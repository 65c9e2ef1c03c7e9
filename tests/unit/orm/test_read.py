"""Reading: forms, batches, refusals, and what makes an open value close."""

from __future__ import annotations

import copy
import gc
import pickle
from datetime import date, timedelta
from uuid import UUID

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.orm import Session, defer, joinedload, load_only, make_transient

from vaultstore.errors import (
    BudgetExhausted,
    DecryptionError,
    NotDisclosed,
    TokenExpired,
    UnsupportedOperation,
    WriteDenied,
)
from vaultstore.masks import Masked
from vaultstore.orm import Clear, Denied
from vaultstore.policy.model import Limit

from .models import Colour, Lead, Member, Message, Sample
from .world import World


def all_members(session: Session) -> list[Member]:
    return list(session.scalars(select(Member).order_by(Member.id)))


def test_a_granted_source_reads_as_plaintext_of_its_type(world: World) -> None:
    world.fill(1)
    with world.admin() as session:
        member = all_members(session)[0]
        assert (member.phone, member.birth_date, member.wishes) == ("13812340000", date(1990, 1, 1), {"n": 0})
        assert type(member.phone) is str


def test_a_granted_projection_reads_as_masked(world: World) -> None:
    world.fill(1)
    with world.sales() as session:
        member = all_members(session)[0]
        assert isinstance(member.phone, Masked)
        assert member.phone == "*******0000"
        assert isinstance(member.birth_date, Masked)


def test_what_is_granted_in_no_form_is_not_disclosed(world: World) -> None:
    world.fill(1)
    with world.sales() as session:
        member = all_members(session)[0]
        with pytest.raises(NotDisclosed, match=r"Member\.email"):
            _ = member.email
        assert world.gate.calls == []


def test_null_reads_none_for_those_who_may_read_it_in_either_form_and_no_other(world: World) -> None:
    with world.admin() as session:
        session.add(Member(city="x", phone="1"))
        session.commit()
    for rights in (("profile",), ("sales_card",)):
        with world.session(rights) as session:
            assert all_members(session)[0].birth_date is None
    with world.session(("contact",)) as session, pytest.raises(NotDisclosed):
        _ = all_members(session)[0].birth_date


def test_the_first_access_discloses_every_granted_category_of_the_load_in_one_question(world: World) -> None:
    ids = world.fill(4)
    with world.admin() as session:
        members = all_members(session)
        assert world.gate.calls == []
        _ = members[2].phone
        [(_, model, categories, subjects)] = world.gate.calls
        assert (model, categories) == ("Member", ("contact", "preference", "profile"))
        order = [ids[2], ids[0], ids[1], ids[3]]
        assert subjects == [i.bytes for i in order]
        for member in members:
            assert all([member.phone, member.email, member.birth_date, member.wishes])
        assert len(world.gate.calls) == 1


def test_a_batch_is_never_larger_than_the_purpose_says(world: World) -> None:
    world.fill(7, messages=0)
    with world.session(("contact",), batch=3) as session:
        assert [m.phone[-1] for m in all_members(session)] == list("0123456")
        assert world.gate.disclosed() == [("Member", 3), ("Member", 3), ("Member", 1)]


def test_a_batch_holds_one_model_and_one_load(world: World) -> None:
    world.fill(3, messages=1)
    with world.admin() as session:
        first = all_members(session)
        other = session.scalars(select(Message).options(joinedload(Message.member))).all()
        _ = first[0].phone
        assert world.gate.disclosed() == [("Member", 3)]
        _ = other[0].body
        assert world.gate.disclosed() == [("Member", 3), ("Message", 3)]


def test_disclose_by_hand_takes_the_objects_in_their_order(world: World) -> None:
    ids = world.fill(5, messages=0)
    with world.session(("contact",), batch=2) as session:
        members = all_members(session)
        session.disclose(reversed(members))
        assert [c[3] for c in world.gate.calls] == [
            [ids[4].bytes, ids[3].bytes],
            [ids[2].bytes, ids[1].bytes],
            [ids[0].bytes],
        ]
        world.clear()
        assert [m.phone for m in members]
        session.disclose(members)
        assert world.gate.calls == []


def test_what_load_only_left_out_is_fetched_for_the_batch_in_one_statement(world: World) -> None:
    world.fill(4, messages=0)
    with world.admin() as session:
        for option in (load_only(Member.city), load_only(Member.city, raiseload=True), defer(Member.phone)):
            session.expunge_all()
            members = session.scalars(select(Member).options(option)).all()
            world.clear()
            assert sorted(m.phone[-1] for m in members) == list("0123")
            assert len(world.statements("members")) == 1
            assert world.gate.disclosed() == [("Member", 4)]


def test_a_commit_closes_and_the_next_access_reopens_the_batch_in_one_statement(world: World) -> None:
    world.fill(4, messages=0)
    with world.admin() as session:
        members = all_members(session)
        assert [m.phone for m in members]
        session.commit()
        assert not any("v" in dir(vars(m).get("phone")) for m in members)
        world.clear()
        assert [(m.phone[-1], m.city) for m in members] == [(str(i), "Shanghai") for i in range(4)]
        assert len(world.statements("members")) == 1
        assert world.gate.disclosed() == [("Member", 4)]


def test_expiring_one_object_leaves_the_others_open(world: World) -> None:
    world.fill(3, messages=0)
    with world.admin() as session:
        members = all_members(session)
        assert [m.phone for m in members]
        world.clear()
        session.expire(members[1])
        assert [m.phone[-1] for m in members] == list("012")
        assert world.gate.disclosed() == [("Member", 1)]


@pytest.mark.parametrize("rights", [("contact",), ("sales_card",)])
def test_refreshing_and_expiring_a_field_by_name_means_the_column_that_is_read(
    world: World, rights: tuple[str, ...]
) -> None:
    ids = world.fill(1, messages=0)
    with world.session(rights) as session:
        session.expire_on_commit = False
        member = session.get_one(Member, ids[0])
        before = member.phone
        session.commit()  # SQLite shows a transaction what was there when it began
        with world.admin() as other:
            other.get_one(Member, ids[0]).phone = "13999990009"
            other.commit()
        assert member.phone == before
        session.refresh(member, ["phone"])
        assert member.phone[-4:] == "0009"
        session.expire(member, ["phone"])
        assert member.phone[-4:] == "0009"
        session.refresh(member, ["city"])
        assert member.phone[-4:] == "0009"


def test_refreshing_a_field_that_is_not_granted_loads_none_of_its_columns(world: World) -> None:
    ids = world.fill(1, messages=0)
    with world.sales() as session:
        member = session.get_one(Member, ids[0])
        world.clear()
        session.refresh(member, ["email"])
        assert "email" not in " ".join(world.sql)


def test_populate_existing_shows_what_changed_underneath(world: World) -> None:
    ids = world.fill(2, messages=0)
    with world.admin() as session:
        session.expire_on_commit = False
        members = all_members(session)
        assert members[0].phone == "13812340000"
        session.commit()
        with world.admin() as other:
            other.get_one(Member, ids[0]).phone = "999"
            other.commit()
        assert members[0].phone == "13812340000"
        again = session.scalars(select(Member).order_by(Member.id), execution_options={"populate_existing": True}).all()
        assert again[0] is members[0]
        assert members[0].phone == "999"


def test_a_savepoint_gives_the_value_before_it_back(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = all_members(session)[0]
        member.phone = "111"
        with session.begin_nested() as savepoint:
            member.phone = "222"
            session.flush()
            assert member.phone == "222"
            savepoint.rollback()
        assert member.phone == "111"
        session.rollback()
        assert member.phone == "13812340000"


def test_expire_and_rollback_drop_what_was_assigned(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = all_members(session)[0]
        member.phone = "333"
        session.expire(member)
        assert member.phone == "13812340000"
        member.phone = "444"
        session.rollback()
        assert member.phone == "13812340000"


def test_objects_stay_weakly_referenced(world: World) -> None:
    world.fill(3, messages=0)
    with world.admin() as session:
        members = all_members(session)
        assert members[0].phone
        del members
        gc.collect()
        assert len(session.identity_map) == 0


def test_pickles_and_copies_carry_no_plaintext(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = all_members(session)[0]
        assert member.phone
        assert member.wishes
        pickled = pickle.dumps(member)
        assert b"1381234" not in pickled
        for twin in (pickle.loads(pickled), copy.deepcopy(member), copy.copy(member)):
            assert type(vars(twin)["phone"]) is bytes
        with pytest.raises(NotDisclosed):
            _ = pickle.loads(pickled).phone
        assert member.phone == "13812340000"


def test_a_value_that_is_not_sealed_yet_is_neither_pickled_nor_copied() -> None:
    member = Member(city="x", phone="1")
    for act in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(UnsupportedOperation):
            act(member)


def test_detached_objects_are_closed(world: World) -> None:
    world.fill(1, messages=0)
    session = world.admin()
    member = all_members(session)[0]
    assert member.phone
    session.expunge(member)
    with pytest.raises(NotDisclosed, match="detached"):
        _ = member.phone
    assert member.city == "Shanghai"
    session.add(member)
    assert member.phone == "13812340000"
    session.close()
    with pytest.raises(NotDisclosed, match="detached"):
        _ = member.phone


def test_a_session_that_is_dropped_without_close_leaves_nothing_open(world: World) -> None:
    world.fill(1, messages=0)
    session = world.admin()
    member = all_members(session)[0]
    assert member.phone
    world._sessions.clear()
    del session
    gc.collect()
    with pytest.raises(NotDisclosed):
        _ = member.phone


def test_a_sealed_value_is_not_written_again_by_an_object_made_transient(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = all_members(session)[0]
        assert member.phone
        make_transient(member)
        with pytest.raises(NotDisclosed):
            _ = member.phone
        session.expunge_all()
        session.add(member)
        with pytest.raises(WriteDenied):
            session.flush()


def test_an_open_value_does_not_follow_its_object_into_another_session(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = all_members(session)[0]
        assert member.phone
    with world.sales() as sales:
        sales.add(member)
        assert member.phone == "*******0000"


def test_merging_carries_no_open_value(world: World) -> None:
    world.fill(1, messages=0)
    admin = world.admin()
    member = all_members(admin)[0]
    assert member.phone
    with world.sales() as sales:
        merged = sales.merge(member)
        assert merged.phone == "*******0000"
        assert not sales.is_modified(merged)
        sales.expunge_all()
        assert sales.merge(member, load=False).phone == "*******0000"


def test_merging_a_transient_object_writes_what_was_assigned(world: World) -> None:
    ids = world.fill(1, messages=0)
    with world.admin() as session:
        merged = session.merge(Member(id=ids[0], city="Beijing", phone="555"))
        session.commit()
        assert (merged.city, merged.phone) == ("Beijing", "555")


def test_a_plain_session_discloses_nothing_and_loads_no_ciphertext(world: World) -> None:
    world.fill(1, messages=0)
    with Session(world.engine) as session:
        world.clear()
        member = session.scalars(select(Member)).one()
        assert "phone" not in world.sql[-1]
        assert member.city == "Shanghai"
        with pytest.raises(UnsupportedOperation, match="plain Session"):
            _ = member.phone


def test_new_objects_read_what_was_assigned_or_none() -> None:
    assert Member(city="x").phone is None
    assert Member(phone="1").phone == "1"
    member = Member(phone="1")
    del member.phone
    assert member.phone is None


def test_rows_moved_or_tampered_with_fail_alone(world: World) -> None:
    a, b, c = world.fill(3, messages=0)
    world.raw("UPDATE members SET phone = (SELECT phone FROM members WHERE id = :b) WHERE id = :a", a=a.hex, b=b.hex)
    world.raw("UPDATE members SET email = phone WHERE id = :c", c=c.hex)
    with world.admin() as session:
        first, second, third = all_members(session)
        with pytest.raises(DecryptionError, match=r"Member\.phone"):
            _ = first.phone
        with pytest.raises(DecryptionError, match=r"Member\.email"):
            _ = third.email
        assert (first.email, second.phone, third.phone) == (first.email, "13812340001", "13812340002")
        world.clear()
        with pytest.raises(DecryptionError):
            _ = first.phone
        assert world.gate.calls == []


def test_a_flipped_bit_does_not_open(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    [(ct,)] = world.raw("SELECT phone FROM members")
    for position in (1, 6, 20, len(ct) - 1):
        bad = bytearray(ct)
        bad[position] ^= 1
        world.raw("UPDATE members SET phone = :ct WHERE id = :id", ct=bytes(bad), id=member_id.hex)
        with world.session(("contact",)) as session, pytest.raises(DecryptionError):
            _ = session.get_one(Member, member_id).phone


def test_a_refused_subject_fails_alone_until_it_is_refreshed(world: World) -> None:
    world.fill(3, messages=0)
    limits = {"disclose": (Limit(2, "1h", "actor"),)}
    with world.session(("contact",), limits=limits) as session:
        first, second, third = all_members(session)
        assert (first.phone[-1], second.phone[-1]) == ("0", "1")
        for _ in range(2):
            with pytest.raises(BudgetExhausted, match=r"Member\.phone") as caught:
                _ = third.phone
            assert caught.value.reason == "budget.exhausted"
        assert len(world.gate.calls) == 1
        world.now += timedelta(minutes=59)
        session.refresh(third)
        with pytest.raises(BudgetExhausted):
            _ = third.phone
        assert len(world.gate.calls) == 2


def test_subjects_that_the_token_does_not_name_are_not_disclosed(world: World) -> None:
    ids = world.fill(2, messages=0)
    with world.session(("contact",), subjects=[ids[1]]) as session:
        first, second = all_members(session)
        assert second.phone == "13812340001"
        with pytest.raises(NotDisclosed) as caught:
            _ = first.phone
        assert caught.value.reason == "subject.not_named"


def test_a_row_that_is_gone_is_not_disclosed(world: World) -> None:
    ids = world.fill(1, messages=0)
    with world.admin() as session:
        member = session.get_one(Member, ids[0])
        session.commit()
        world.raw("DELETE FROM members")
        with pytest.raises(NotDisclosed, match="gone"):
            _ = member.phone


def test_an_expired_grant_closes_what_is_open_at_the_next_activity(world: World) -> None:
    world.fill(2, messages=0)
    with world.session(("contact",)) as session:
        first, second = all_members(session)
        assert first.phone
        world.now += timedelta(hours=1)
        assert first.phone  # no look at the clock: documented on PurposeSession
        with pytest.raises(TokenExpired):
            session.scalars(select(Member))
        for member in (first, second):
            with pytest.raises(TokenExpired):
                _ = member.phone


def test_close_expired_closes_by_itself_and_only_when_it_is_time(world: World) -> None:
    world.fill(1, messages=0)
    with world.session(("contact",)) as session:
        [member] = all_members(session)
        assert member.phone
        twin = copy.copy(member)
        session.close_expired()
        assert member.phone
        world.now += timedelta(hours=2)
        session.close_expired()
        for held in (member, twin):
            assert type(vars(held)["phone"]) is bytes


def test_view_shows_every_field_and_never_raises(world: World) -> None:
    world.fill(1, messages=0)
    with world.sales() as session:
        [member] = all_members(session)
        seen = session.view(member)
        assert list(seen) == ["phone", "email", "birth_date", "wishes"]
        assert isinstance(seen["phone"], Masked)
        assert seen["email"] == Denied("not.granted", seen["email"].message)  # type: ignore[union-attr] # a Denied
    with world.session(("contact",)) as session:
        [member] = all_members(session)
        shown = session.view(member)["phone"]
        assert shown == Clear("13812340000")
        assert "1381234" not in repr(shown)
        world.now += timedelta(hours=1)
        session.close_expired()
        assert session.view(member)["phone"] == Denied("TokenExpired", session.view(member)["phone"].message)  # type: ignore[union-attr] # a Denied


def test_models_without_encrypted_fields_work_as_ever(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.admin() as session:
        session.add(Lead(member_id=member_id, actor="u-1"))
        session.commit()
        lead = session.scalars(select(Lead)).one()
        assert lead.member.phone == "13812340000"
        assert session.view(lead) == {}


def test_every_type_comes_back_as_it_was(world: World) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    owner = UUID(int=7)
    values = {
        "a_str": "",
        "a_bytes": b"",
        "a_int": 0,
        "a_bool": False,
        "a_decimal": Decimal("0.00"),
        "a_date": date(1, 1, 1),
        "a_time": datetime(2026, 1, 1, tzinfo=UTC),
        "a_uuid": UUID(int=0),
        "an_enum": Colour.BLUE,
        "a_list": [],
    }
    with world.admin() as session:
        session.add(Sample(number=1, owner=owner, **values))
        session.add(Sample(number=2, owner=owner))
        session.commit()
    with world.admin() as session:
        full, empty = session.scalars(select(Sample).order_by(Sample.number)).all()
        for name, value in values.items():
            assert getattr(full, name) == value
            assert type(getattr(full, name)) is type(value) or name == "a_list"
        assert (empty.a_str, empty.a_int, empty.a_list) == (None, None, [1])
        assert full.a_list == []
        with pytest.raises(UnsupportedOperation):
            empty.a_list.append(2)  # type: ignore[union-attr] # not None here


def test_the_id_that_counts_is_the_stored_one(world: World) -> None:
    a, b = world.fill(2, messages=1)
    with world.admin() as session:
        message = session.scalars(select(Message).where(Message.member_id == a)).one()
        message.member_id = b
        with session.no_autoflush:
            assert message.body == "hello 0 0"


def test_hooks_of_inspection_show_no_value(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        [member] = all_members(session)
        assert member.phone
        state = inspect(member)
        assert "1381234" not in repr((vars(member), state.attrs.phone.history, state.dict))
        assert "1381234" not in repr(session.execute(text("SELECT * FROM members")).all())
