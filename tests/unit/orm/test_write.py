"""Writing through the unit of work: what is sealed, what is refused, and keys that a rollback takes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, event, func, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, attributes, mapped_column, synonym, validates
from sqlalchemy.orm.exc import StaleDataError

from vaultstore.errors import TokenRevoked, UnsupportedOperation, WriteDenied
from vaultstore.lifecycle import Revocations
from vaultstore.masks import Masked
from vaultstore.orm import Encrypted, EncryptedModel, PurposeSession, encrypted_column, uuid7

from .models import SECRET, CallNote, Member, Message, Sample
from .world import SOURCES, World

OWNER = UUID(int=5)


def first(session: PurposeSession) -> Member:
    return session.scalars(select(Member).order_by(Member.id)).first()  # type: ignore[return-value] # it is filled


def stored(world: World, column: str, member_id: UUID) -> Any:
    return world.raw(f"SELECT {column} FROM members WHERE id = :i", i=member_id.hex)[0][0]


def test_nothing_readable_reaches_the_file(world: World) -> None:
    with world.admin() as session:
        session.add(Member(city="x", phone=SECRET, wishes={"k": SECRET}, messages=[Message(body=SECRET)]))
        session.commit()
    assert SECRET.encode() not in world.stored()


def test_one_flush_asks_the_gate_once_for_a_model(world: World) -> None:
    world.fill(2)
    with world.admin() as session:
        for member in session.scalars(select(Member)):
            member.phone = "1"
        session.add_all([Member(id=uuid7(), city="x", phone=str(i)) for i in range(3)])
        world.clear()
        session.flush()
        assert [c[:3] for c in world.gate.calls] == [("seal", "Member", ("contact",))]
        assert sorted(c[:2] for c in world.service.calls if c[0] != "wrap") == [("hmac", "members.phone")]
        assert len([c for c in world.service.calls if c[0] == "wrap"]) == 3  # contact and its two projections


def test_children_whose_subject_comes_by_the_relationship_are_sealed_together(world: World) -> None:
    with world.admin() as session:
        parent = Member(city="x", phone="1", messages=[Message(body="a"), Message(body="b")])
        session.add(parent)
        session.add(Message(body="c", member=Member(city="x", phone="2")))
        session.commit()
        assert world.gate.names().count("seal") == 2
        assert sorted(m.body for m in session.scalars(select(Message))) == ["a", "b", "c"]


def test_a_child_of_a_stored_parent_is_sealed(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = first(session)
        member.messages.append(Message(body="new"))
        session.commit()
        assert first(session).messages[0].body == "new"


@pytest.mark.parametrize("clear", [lambda m: setattr(m, "birth_date", None), lambda m: delattr(m, "birth_date")])
def test_clearing_a_field_clears_its_projections(world: World, clear: Callable[[Member], None]) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.admin() as session:
        member = first(session)
        assert member.birth_date
        clear(member)
        session.commit()
        assert (member.birth_date, stored(world, "birth_date_sales_card", member_id)) == (None, None)
    assert stored(world, "birth_date", member_id) is None


def test_clearing_a_field_clears_its_index_also_where_nothing_of_it_was_loaded(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.session(write=("contact",)) as session:
        member = first(session)
        member.email = None
        session.commit()
    assert (stored(world, "email", member_id), stored(world, "email_bidx", member_id)) == (None, None)


def test_a_changed_field_changes_its_projections_and_index(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.admin() as session:
        first(session).phone = "13900009999"
        session.commit()
        assert session.scalars(select(Member).where(Member.phone == "13900009999")).one().id == member_id
    with world.sales() as session:
        assert first(session).phone == "*******9999"


def test_assigning_the_value_that_is_there_writes_nothing(world: World) -> None:
    world.fill(1, messages=0)
    with world.admin() as session:
        member = first(session)
        member.phone, member.wishes = member.phone, dict(member.wishes or {})
        member.birth_date = date(2000, 1, 1)
        member.birth_date = date(1990, 1, 1)
        assert not session.is_modified(member)
        world.clear()
        session.flush()
        assert world.statements("members") == []
        assert world.gate.calls == []


def test_equal_numbers_of_another_type_or_scale_are_another_value(world: World) -> None:
    from decimal import Decimal

    with world.admin() as session:
        sample = Sample(number=1, owner=OWNER, a_decimal=Decimal("1.0"))
        session.add(sample)
        session.commit()
        assert sample.a_decimal == Decimal("1.00")
        sample.a_decimal = Decimal("1.00")
        session.commit()
        assert str(sample.a_decimal) == "1.00"


def test_a_purpose_that_may_not_write_a_category_writes_nothing(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    before = stored(world, "phone", member_id)
    for rights in ((), ("profile",)):
        with world.session(SOURCES, write=rights) as session:
            first(session).phone = "1"
            with pytest.raises(WriteDenied):
                session.flush()
            session.rollback()
            session.add(Member(city="x", phone="1"))
            with pytest.raises(WriteDenied):
                session.flush()
            session.rollback()
            first(session).birth_date = None
            with pytest.raises(WriteDenied) if not rights else _fine():
                session.flush()
    assert stored(world, "phone", member_id) == before


def _fine() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_a_writer_needs_no_right_to_read(world: World) -> None:
    with world.session(write=("contact",)) as session:
        member = Member(city="x", phone=SECRET)
        session.add(member)
        session.commit()
        assert member.city == "x"
    with world.admin() as session:
        assert first(session).phone == SECRET


def test_clear_columns_are_written_as_ever(world: World) -> None:
    world.fill(1, messages=0)
    with world.session(("sales_card",), (), ("contact",)) as session:
        member = first(session)
        assert member.phone
        member.city = "Beijing"
        world.clear()
        session.commit()
        [written] = [s for s in world.sql if s.startswith("UPDATE")]
        assert written.partition("=")[0] == "UPDATE members SET city"


CLEAR_WRITES: dict[str, Callable[[PurposeSession, Member], Any]] = {
    "an assignment": lambda s, m: (setattr(m, "city", "Beijing"), s.flush()),
    "a new row": lambda s, m: (s.add(Member(city="x")), s.flush()),
    "a deletion": lambda s, m: (s.delete(m), s.flush()),
    "an update statement": lambda s, m: s.execute(update(Member).values(city="x")),
    "a delete statement": lambda s, m: s.execute(delete(Member)),
    "an insert statement": lambda s, m: s.execute(insert(Member), [{"city": "x"}]),
    "a table's update": lambda s, m: s.execute(Member.__table__.update().values(city="x")),
}


@pytest.mark.parametrize("way", CLEAR_WRITES)
def test_a_purpose_that_writes_nothing_of_a_model_writes_no_clear_column_either(world: World, way: str) -> None:
    world.fill(1, messages=0)
    with world.sales() as session, pytest.raises(WriteDenied, match="does not write Member"):
        CLEAR_WRITES[way](session, first(session))
    assert world.raw("SELECT city FROM members") == [("Shanghai",)]


@pytest.mark.parametrize("way", [way for way in CLEAR_WRITES if way != "a new row"])
def test_clear_columns_take_a_live_grant(world: World, way: str) -> None:
    world.fill(1, messages=0)
    purpose = world.purpose(("sales_card",), (), ("contact",))
    grant = world.grant(purpose)
    with world.session_of(grant) as session:
        member = first(session)
        Revocations(world.ledger).revoke(jti=grant.jti)
        with pytest.raises(TokenRevoked):
            CLEAR_WRITES[way](session, member)
    assert world.raw("SELECT city FROM members") == [("Shanghai",)]


MASKED = Masked.of("***")

MASKED_WRITES: dict[str, Callable[[PurposeSession, Member], Any]] = {
    "assigned": lambda s, m: setattr(m, "phone", MASKED),
    "in the constructor": lambda s, m: Member(city="x", phone=MASKED),
    "by set_attribute": lambda s, m: attributes.set_attribute(m, "phone", MASKED),
    "merged": lambda s, m: s.merge(Member(city="x", phone=MASKED)),
    "its own mask": lambda s, m: setattr(m, "phone", MASKED),
    "in a bulk insert": lambda s, m: s.execute(insert(Member), [{"city": "x", "phone": MASKED}]),
    "into a clear column": lambda s, m: (setattr(m, "city", MASKED), s.flush()),
    "into a Core insert": lambda s, m: s.execute(insert(Member.__table__).values(id=uuid7(), city=MASKED)),
    "in a WHERE": lambda s, m: s.execute(select(Member).where(Member.city == MASKED)).all(),
    "in text()": lambda s, m: s.execute(text("SELECT :x"), {"x": MASKED}).all(),
}


@pytest.mark.parametrize("way", MASKED_WRITES)
def test_a_masked_value_is_refused_on_every_way_in(world: World, way: str) -> None:
    world.fill(1, messages=0)
    with world.admin() as session, pytest.raises(WriteDenied):
        MASKED_WRITES[way](session, first(session))


def test_what_a_mask_shows_can_be_cut_into_plain_text_and_nothing_here_stops_that() -> None:
    assert type(MASKED[1:]) is type(f"{MASKED}") is str


def test_ciphertext_of_another_row_is_no_value(world: World) -> None:
    world.fill(2, messages=0)
    with world.admin() as session:
        a, b = session.scalars(select(Member)).all()
        assert a.phone
        with pytest.raises(UnsupportedOperation):
            b.phone = vars(a)["phone"]


SEALED_WRITES: dict[str, Callable[[PurposeSession, Member, Member], Any]] = {
    "into the dictionary": lambda s, a, b: (
        vars(a).__setitem__("phone", SECRET),
        attributes.flag_modified(a, "phone"),
        s.flush(),
    ),
    "a projection": lambda s, a, b: setattr(a, "phone_sales_card", SECRET),
    "clearing a projection": lambda s, a, b: setattr(a, "phone_sales_card", None),
    "an index": lambda s, a, b: setattr(a, "phone_bidx", SECRET.encode()),
    "a projection of a new object": lambda s, a, b: Member(city="x", phone_sales_card=SECRET),
}


@pytest.mark.parametrize("way", SEALED_WRITES)
def test_nothing_that_is_not_plaintext_of_the_field_is_written(world: World, way: str) -> None:
    world.fill(2, messages=0)
    with world.admin() as session, pytest.raises(WriteDenied) as caught:
        SEALED_WRITES[way](session, *session.scalars(select(Member).order_by(Member.id)))
    assert SECRET not in str(caught.value)


def test_a_value_of_the_wrong_type_is_refused_where_it_is_assigned(world: World) -> None:
    for wrong in (13812345678, b"x", ["x"]):
        with pytest.raises(UnsupportedOperation, match=r"Member\.phone: expected a str") as caught:
            Member(city="x", phone=wrong)
        assert "1381234" not in str(caught.value)


def test_json_is_frozen_when_it_is_assigned(world: World) -> None:
    wishes: dict[str, Any] = {"n": [1]}
    with world.admin() as session:
        member = Member(city="x", phone="1", wishes=wishes)
        wishes["n"].append(2)
        session.add(member)
        session.commit()
        assert member.wishes == {"n": [1]}
        for change in (
            lambda w: w.__setitem__("z", 1),
            lambda w: w["n"].append(3),
        ):
            with pytest.raises(UnsupportedOperation):
                change(member.wishes)


@pytest.mark.parametrize("key", ["id", "messages.member_id", "messages.room_id", "messages.member"])
@pytest.mark.parametrize("expired", [False, True])
def test_what_a_row_is_bound_to_does_not_change(world: World, key: str, expired: bool) -> None:
    ids = world.fill(2)
    with world.admin() as session:
        member = session.get_one(Member, ids[0])
        other = session.get_one(Member, ids[1])
        message = member.messages[0]
        if expired:
            session.commit()
        if key == "id":
            member.id = uuid7()
        elif key == "messages.member":
            message.member = other
        else:
            setattr(message, key.split(".")[1], other.id)
        with pytest.raises(WriteDenied, match="can't change"):
            session.flush()
    with world.admin() as session:
        assert session.scalars(select(Message).where(Message.member_id == ids[0])).one().body == "hello 0 0"


def test_a_row_without_a_subject_is_not_sealed(world: World) -> None:
    with world.admin() as session:
        session.add(Sample(number=1, a_str="x"))
        with pytest.raises(WriteDenied, match="owner"):
            session.flush()
    with world.admin() as session:
        session.add(Message(body="x"))
        with pytest.raises((WriteDenied, IntegrityError)):
            session.flush()


def test_ids_have_to_be_uuids(world: World) -> None:
    with world.admin() as session:
        session.add(Member(id="6f6b6f6b-0000-0000-0000-000000000000", city="x", phone="1"))
        with pytest.raises(UnsupportedOperation, match=r"Member\.id"):
            session.flush()


def test_a_failed_flush_can_be_tried_again(world: World) -> None:
    with world.admin() as session:
        session.add(Member(city="x", phone="1", email="taken"))
        session.commit()
        member = Member(city="x", phone="2", email="taken")
        session.add(member)
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
        assert inspect(member).transient
        member.email = "free"
        session.add(member)
        session.commit()
    with world.admin() as session:
        assert session.scalars(select(Member).where(Member.email == "free")).one().phone == "2"


def test_keys_of_a_savepoint_that_was_rolled_back_seal_nothing_later(world: World) -> None:
    with world.admin() as session:
        member = Member(city="x", phone="1")
        with session.begin_nested() as savepoint:
            session.add(member)
            session.flush()
            savepoint.rollback()
        session.add(member)
        session.commit()
        member_id = member.id
    with world.admin() as session:
        assert session.get_one(Member, member_id).phone == "1"


def test_keys_of_a_transaction_that_was_rolled_back_seal_nothing_later(world: World) -> None:
    grant = world.grant(world.purpose(SOURCES, (), SOURCES))
    opened = world.gate.gate.open(grant, lambda: world.service)
    member_id = uuid7()

    def session() -> PurposeSession:
        return PurposeSession(world.engine, opened=opened, gate=world.gate, models=world.models, clock=world.clock)

    with session() as one:
        one.add(Member(id=member_id, city="x", phone="1"))
        one.flush()
        one.rollback()
    with session() as two:
        two.add(Member(id=member_id, city="x", phone="2"))
        two.commit()
    with world.admin() as admin:
        assert admin.get_one(Member, member_id).phone == "2"


def test_a_committed_key_is_used_again_and_a_pending_one_is_not(world: World) -> None:
    with world.admin() as session:
        member = Member(city="x", phone="1")
        session.add(member)
        session.flush()
        wraps = [c for c in world.service.calls if c[0] == "wrap"]
        member.phone = "2"
        session.flush()
        assert len([c for c in world.service.calls if c[0] == "wrap"]) == 2 * len(wraps)
        session.commit()
        world.clear()
        member.phone = "3"
        session.commit()
        assert [c for c in world.service.calls if c[0] == "wrap"] == []
        assert member.phone == "3"


def test_a_released_savepoints_keys_are_committed_with_the_transaction(world: World) -> None:
    with world.admin() as session:
        member = Member(city="x", phone="1")
        with session.begin_nested():
            session.add(member)
        session.commit()
        world.clear()
        member.phone = "3"
        session.commit()
        assert [c for c in world.service.calls if c[0] == "wrap"] == []


def test_in_somebody_elses_transaction_no_key_counts_as_committed(world: World) -> None:
    grant = world.grant(world.purpose(SOURCES, (), SOURCES))
    opened = world.gate.gate.open(grant, lambda: world.service)
    member_id = uuid7()
    with world.engine.connect() as connection:
        outer = connection.begin()
        with PurposeSession(connection, opened=opened, gate=world.gate, models=world.models, clock=world.clock) as s:
            s.add(Member(id=member_id, city="x", phone="1"))
            s.commit()
        outer.rollback()
    with PurposeSession(world.engine, opened=opened, gate=world.gate, models=world.models, clock=world.clock) as s:
        s.add(Member(id=member_id, city="x", phone="2"))
        s.commit()
    with world.admin() as admin:
        assert admin.get_one(Member, member_id).phone == "2"


def test_a_taken_value_of_a_unique_index_is_audited_as_a_search(world: World) -> None:
    with world.session(SOURCES, write=SOURCES) as session:
        session.add(Member(city="x", phone="1", email="taken"))
        session.commit()
        session.add(Member(city="x", phone="2", email="taken"))
        with pytest.raises(IntegrityError) as caught:
            session.flush()
        assert caught.value.params is None
        session.rollback()
        with pytest.raises(IntegrityError):
            session.execute(insert(Member), [{"city": "x", "phone": "2", "email": "taken"}])
        assert world.gate.calls.count(("collision", "Member", "email")) == 2
        session.rollback()
        world.clear()
        session.add(Member(city=None, phone="3"))  # type: ignore[arg-type] # what is tested
        with pytest.raises(IntegrityError):
            session.flush()
        assert "collision" not in world.gate.names()


def test_a_stale_version_is_seen_and_can_be_tried_again(world: World) -> None:
    with world.admin() as session:
        sample = Sample(number=1, owner=OWNER, a_str="x1")
        session.add(sample)
        session.commit()
        assert sample.version == 1
        session.commit()
        world.raw("UPDATE samples SET version = 2")
        assert sample.version == 2
        attributes.set_committed_value(sample, "version", 1)
        sample.a_str = "x2"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
        assert sample.a_str == "x1"
        sample.a_str = "x3"
        session.commit()
        assert sample.a_str == "x3"


def test_listeners_may_read_and_assign_during_a_flush(world: World) -> None:
    world.fill(2, messages=0)
    with world.admin() as session:
        member = first(session)

        @event.listens_for(session, "before_flush")
        def read_and_assign(s: Any, *_: Any) -> None:
            for item in s.dirty:
                assert item.phone
                item.wishes = {"late": 1}

        member.city = "e1"
        session.commit()
        assert member.wishes == {"late": 1}


def test_a_mapper_listener_may_assign_before_the_update(world: World) -> None:
    world.fill(1, messages=0)

    def assign(mapper: Any, connection: Any, target: Member) -> None:
        target.wishes = {"late": 2}

    event.listen(Member, "before_update", assign)
    try:
        with world.admin() as session:
            member = first(session)
            member.city = "e2"
            with pytest.raises(WriteDenied):  # too late to be sealed: refused, never written in clear
                session.flush()
    finally:
        event.remove(Member, "before_update", assign)


def test_a_deleted_and_readded_row_is_sealed_anew(world: World) -> None:
    with world.admin() as session:
        session.add(Sample(number=1, row=UUID(int=1), owner=OWNER, a_str="one", a_int=1))
        session.commit()
        session.delete(session.get_one(Sample, 1))
        session.add(Sample(number=1, row=UUID(int=1), owner=OWNER, a_str="two"))
        session.commit()
    with world.admin() as session:
        sample = session.get_one(Sample, 1)
        assert (sample.a_str, sample.a_int) == ("two", 1)  # SQLAlchemy updates what the new object sets


def test_deleting_works_as_ever(world: World) -> None:
    world.fill(2)
    with world.admin() as session:
        session.delete(first(session))
        session.commit()
        assert session.scalar(select(func.count(Member.id))) == 1
        assert session.scalar(select(func.count(Message.id))) == 1


def test_a_subclass_is_sealed_over_its_tables(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.admin() as session:
        session.add(CallNote(member_id=member_id, text="t", number="5551234", place="here"))
        session.commit()
        note = session.scalars(select(CallNote)).one()
        assert (note.text, note.number) == ("t", "5551234")
        note.number = "777"
        session.commit()
        assert note.number == "777"


class Own(EncryptedModel, DeclarativeBase):
    pass


class Checked(Own):
    __tablename__ = "checked"
    __subject__ = "id"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    phone: Encrypted[str] = encrypted_column(category="contact")
    tel = synonym("phone")

    @validates("phone")
    def upper(self, key: str, value: str) -> str:
        return value.upper()


def test_validators_see_the_plain_value() -> None:
    checked = Checked(tel="abc")
    assert (checked.phone, checked.tel) == ("ABC", "ABC")
    assert "ABC" not in repr(vars(checked))


# ------------------------------------------------------------------------------------------------ bulk and Core


def test_a_bulk_insert_is_sealed_with_one_question(world: World) -> None:
    rows = [
        {"city": "x", "phone": f"1390000{i:04d}", "email": None if i % 2 else f"e{i}", "birth_date": date(1990, 1, 1)}
        for i in range(10)
    ]
    with world.admin() as session:
        session.execute(insert(Member), rows)
        session.execute(insert(Member), {"city": "y", "phone": "1"})
        session.commit()
        assert world.gate.names() == ["seal", "seal"]
        found = session.scalars(select(Member).where(Member.phone == "13900000003")).one()
        assert (found.email, found.birth_date, found.wishes) == (None, date(1990, 1, 1), None)
    with world.sales() as session:
        assert sorted(session.scalars(select(Member.city).distinct())) == ["x", "y"]
    assert "phone" in rows[0]  # the caller's rows are not touched
    assert rows[0]["phone"] == "13900000000"


def test_a_bulk_insert_keeps_to_the_rights_and_rules_of_a_flush(world: World) -> None:
    for session, row, error in (
        (world.session(), {"city": "x", "phone": "1"}, WriteDenied),
        (world.admin(), {"city": "x", "phone": 1}, UnsupportedOperation),
        (world.admin(), {"city": "x", "phone": "1", "phone_sales_card": "1"}, WriteDenied),
        (world.admin(), {"city": "x", "phone": "1", "phone_bidx": bytes(32)}, WriteDenied),
    ):
        with session, pytest.raises(error):
            session.execute(insert(Member), [row])


def test_a_bulk_insert_into_joined_tables_is_sealed(world: World) -> None:
    [member_id] = world.fill(1, messages=0)
    with world.admin() as session:
        session.execute(insert(CallNote), [{"member_id": member_id, "text": "t", "number": "5", "kind": "call"}])
        assert session.scalars(select(CallNote)).one().number == "5"


T = Member.__table__


def _upsert(**kw: Any) -> Any:
    from sqlalchemy.dialects.sqlite import insert as upsert

    return upsert(Member).on_conflict_do_update(index_elements=["id"], set_=kw)


RAW_WRITES: dict[str, Callable[[PurposeSession], Any]] = {
    "ORM insert().values()": lambda s: s.execute(insert(Member).values(id=uuid7(), city="X", phone=SECRET)),
    "insert().values([...])": lambda s: s.execute(insert(Member).values([{"city": "X", "phone": SECRET}])),
    "insert().from_select()": lambda s: s.execute(
        insert(Member).from_select(["id", "city", "phone"], select(T.c.id, T.c.city, T.c.phone))
    ),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(Member, [{"city": "X", "phone": SECRET}]),
    "bulk_save_objects": lambda s: s.bulk_save_objects([Member(city="X", phone=SECRET)]),
    "bulk_update_mappings": lambda s: s.bulk_update_mappings(Member, [{"id": uuid7(), "phone": SECRET}]),
    "bulk update by key": lambda s: s.execute(_update(), [{"id": uuid7(), "phone": SECRET}]),
    "bulk update by key of a subject": lambda s: s.execute(_update(Message), [{"id": uuid7(), "member_id": uuid7()}]),
    "update().values()": lambda s: s.execute(_update().values(phone=SECRET)),
    "update().values({attribute})": lambda s: s.execute(_update().values({Member.phone: SECRET})),
    "update().values(None)": lambda s: s.execute(_update().values(birth_date=None)),
    "update().values(column)": lambda s: s.execute(_update().values(birth_date=T.c.phone)),
    "update().values({column: None})": lambda s: s.execute(_update().values({T.c.phone: None})),
    "update().values(field)": lambda s: s.execute(_update().values(city=Member.phone)),
    "update() of a subject": lambda s: s.execute(_update(Message).values(member_id=uuid7())),
    "update() of a projection": lambda s: s.execute(_update().values(phone_sales_card=None)),
    "legacy update": lambda s: s.query(Member).update({"phone": SECRET}),
    "legacy update by attribute": lambda s: s.query(Member).update({Member.phone: SECRET}),
    "upsert": lambda s: s.execute(_upsert(city="z"), [{"city": "X", "phone": "1"}]),
    "upsert of the field": lambda s: s.execute(_upsert(phone=SECRET), [{"city": "X", "phone": "1"}]),
    "Core insert": lambda s: s.execute(insert(T).values(id=uuid7(), city="X", phone=SECRET)),
    "Core insert of bytes": lambda s: s.execute(insert(T).values(id=uuid7(), city="X", phone=SECRET.encode())),
    "Core insert list": lambda s: s.execute(insert(T), [{"id": uuid7(), "city": "X", "phone": SECRET}] * 2),
    "Core insert literal()": lambda s: s.execute(insert(T).values(id=uuid7(), city="X", phone=_literal(SECRET))),
    "Core insert typed literal": lambda s: s.execute(insert(T).values(id=uuid7(), city="X", phone=_literal(SECRET, 1))),
    "Core insert function": lambda s: s.execute(insert(T).values(id=uuid7(), city="X", phone=func.lower(SECRET))),
    "Core update": lambda s: s.execute(_update(T).values(phone=SECRET)),
    "Core update to NULL": lambda s: s.execute(_update(T).values(birth_date=None)),
    "text()": lambda s: s.execute(
        text("INSERT INTO members (id, city, phone) VALUES ('00000000-0000-0000-0000-000000000001', 'X', :p)"),
        {"p": SECRET},
    ),
    "text() of bytes": lambda s: s.execute(text("UPDATE members SET phone = :p"), {"p": b"\x01" + SECRET.encode()}),
    "text() of an index": lambda s: s.execute(text("UPDATE members SET phone_bidx = :p"), {"p": b"short"}),
    "text() of a projection": lambda s: s.execute(text("UPDATE members SET phone_sales_card = :p"), {"p": SECRET}),
}


def _update(what: Any = Member) -> Any:
    from sqlalchemy import update

    return update(what)


def _literal(value: str, typed: int = 0) -> Any:
    from sqlalchemy import String, literal

    return literal(value, String()) if typed else literal(value)


@pytest.mark.parametrize("way", RAW_WRITES)
def test_plaintext_past_the_sealing_is_refused_here_or_by_the_database(world: World, way: str) -> None:
    world.fill(1)
    with world.admin() as session:
        with pytest.raises((UnsupportedOperation, WriteDenied, IntegrityError, ProgrammingError)) as caught:
            RAW_WRITES[way](session)
            session.commit()
        session.rollback()
    if not way.startswith(("Core", "text")):
        assert isinstance(caught.value, UnsupportedOperation), type(caught.value)
    assert SECRET not in f"{caught.value} {caught.value!r} {getattr(caught.value, 'params', None)}"
    assert SECRET.encode() not in world.stored()
    with world.admin() as session:
        assert first(session).phone == "13812340000"


def test_ciphertext_that_is_copied_elsewhere_by_sql_does_not_open(world: World) -> None:
    ids = world.fill(2, messages=0)
    with world.admin() as session:
        session.execute(text("UPDATE members SET birth_date = phone"))
        session.execute(text("UPDATE members SET email = (SELECT email FROM members LIMIT 1 OFFSET 1)"))
        session.commit()
        seen = session.view(session.get_one(Member, ids[0]))
        assert {type(seen[k]).__name__ for k in ("birth_date", "email")} == {"Denied"}


def test_a_plain_session_writes_no_field(world: World) -> None:
    from sqlalchemy.orm import Session

    world.fill(1, messages=0)
    with Session(world.engine) as session:
        session.add(Member(city="x", phone=SECRET))
        with pytest.raises((WriteDenied, StatementError)) as caught:
            session.flush()
        assert SECRET not in str(caught.value)
        session.rollback()
        member = session.scalars(select(Member)).one()
        member.phone = SECRET
        with pytest.raises(WriteDenied):
            session.flush()
