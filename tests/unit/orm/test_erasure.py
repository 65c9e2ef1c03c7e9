"""What a model declares of its subject's erasure: what is a ModelError, and what it makes of rows."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, UniqueConstraint, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vaultstore import (
    Actor,
    Encrypted,
    EncryptedModel,
    LocalKeys,
    OnErasure,
    Policy,
    Store,
    blind_index,
    encrypted_column,
    uuid7,
)
from vaultstore.errors import ModelError
from vaultstore.orm.erasing import plan_of
from vaultstore.orm.registry import ModelRegistry


def declare(erasure: Any, subject: str | None = "id", **columns: Any) -> type[Any]:
    """A model with a few columns of each kind."""

    class Base(EncryptedModel, DeclarativeBase):
        pass

    body: dict[str, Any] = {
        "__tablename__": "things",
        "__annotations__": {
            "id": Mapped[uuid.UUID],
            "nick": Mapped[str],
            "seen": Mapped[date | None],
            "handle": Mapped[str],
            "phone": Encrypted[str],
            "scope": Mapped[uuid.UUID],
        },
        "__module__": __name__,
        "__erasure__": erasure,
        "__key_scope__": "scope",
        "id": mapped_column(primary_key=True, default=uuid7),
        "handle": mapped_column(unique=True),
        "phone": encrypted_column(category="contact", index=blind_index()),
        **columns,
    }
    if subject is not None:
        body["__subject__"] = subject
    return type("Thing", (Base,), body)


WRONG: dict[str, tuple[Any, str]] = {
    "no such column": (
        OnErasure(clear={"city": ""}),
        "Thing.city is to be cleared by an erasure, and is no mapped col",
    ),
    "a sealed column": (OnErasure(clear={"phone": None}), "Thing.phone: sealed values and indexes go with their keys"),
    "an index": (OnErasure(keep={"phone_bidx": "x"}), "Thing.phone_bidx: sealed values and indexes go with their keys"),
    "NOT NULL to None": (OnErasure(clear={"nick": None}), "Thing.nick is NOT NULL"),
    "another type": (OnErasure(clear={"nick": 0}), "Thing.nick: an erasure clears it to one str, not to int"),
    "a function": (OnErasure(clear={"nick": str}), "Thing.nick: an erasure clears it to one str"),
    "the key": (OnErasure(clear={"id": uuid.UUID(int=0)}), "Thing.id: a row keeps its key, its subject and its scope"),
    "the scope": (OnErasure(clear={"scope": uuid.UUID(int=0)}), "Thing.scope: a row keeps its key"),
    "kept without a reason": (OnErasure(keep={"nick": " "}), "Thing.nick: say why an erasure keeps it"),
    "both": (
        OnErasure(clear={"nick": ""}, keep={"nick": "x"}),
        "Thing.nick: an erasure clears it or keeps it, not both",
    ),
    "deleted and cleared": (OnErasure(clear={"nick": ""}, delete=True), "deletes have nothing to clear or to keep"),
    "a constant in a unique column": (
        OnErasure(clear={"handle": ""}),
        "Thing.handle is unique: clear it to None or to",
    ),
    "random dates": (OnErasure(clear={"seen": OnErasure.RANDOM}), "Thing.seen: a random value is a UUID, or text"),
    "something else": ({"nick": ""}, r"__erasure__ is an OnErasure\("),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cant_be_done_is_a_model_error(name: str) -> None:
    erasure, message = WRONG[name]
    with pytest.raises(ModelError, match=message):
        declare(erasure)


def test_a_random_text_needs_room() -> None:
    with pytest.raises(ModelError, match="text of 39 characters"):
        declare(OnErasure(clear={"handle": OnErasure.RANDOM}), handle=mapped_column(String(20), unique=True))


def test_a_unique_constraint_of_several_columns_needs_one_that_differs() -> None:
    pair = UniqueConstraint("nick", "seen")
    with pytest.raises(ModelError, match="is unique"):
        declare(OnErasure(clear={"nick": ""}), __table_args__=(pair,))
    declare(OnErasure(clear={"nick": "", "seen": None}), __table_args__=(UniqueConstraint("nick", "seen"),))


def test_an_erasure_is_declared_where_a_subject_is() -> None:
    class Base(EncryptedModel, DeclarativeBase):
        pass

    with pytest.raises(ModelError, match="__erasure__ needs __subject__"):
        type("Plain", (Base,), {
            "__tablename__": "plain", "__annotations__": {"id": Mapped[uuid.UUID]}, "__module__": __name__,
            "id": mapped_column(primary_key=True), "__erasure__": OnErasure(delete=True),
        })  # fmt: skip


def test_a_plain_models_subject_is_a_uuid_column() -> None:
    class Base(EncryptedModel, DeclarativeBase):
        pass

    with pytest.raises(ModelError, match="is not a UUID column"):
        type("Plain", (Base,), {
            "__tablename__": "plain", "__annotations__": {"id": Mapped[uuid.UUID], "who": Mapped[str]},
            "__module__": __name__, "id": mapped_column(primary_key=True), "__subject__": "who",
        })  # fmt: skip


def test_declarations_do_not_change_later() -> None:
    given = {"nick": ""}
    declared = OnErasure(clear=given)
    given["seen"] = "x"
    assert dict(declared.clear) == {"nick": ""}
    with pytest.raises(TypeError):
        declared.clear["nick"] = "x"  # type: ignore[index]


# ------------------------------------------------------------------------------------------------------- on rows


class Base(EncryptedModel, DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    __erasure__ = OnErasure(
        clear={"handle": OnErasure.RANDOM, "invite": OnErasure.RANDOM, "nick": "it's 100% gone \\ "}
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    handle: Mapped[str] = mapped_column(unique=True)
    invite: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid7)
    nick: Mapped[str]
    town: Mapped[str]
    phone: Encrypted[str] = encrypted_column(category="contact", index=blind_index(unique=True))


class Note(Base):
    __tablename__ = "notes"
    __subject__ = "person_id"
    __erasure__ = OnErasure(clear={"title": ""})

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    kind: Mapped[str]
    title: Mapped[str]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "note"}  # noqa: RUF012 - SQLAlchemy's form


class Visit(Note):
    __tablename__ = "visits"
    __erasure__ = OnErasure(clear={"title": "a visit", "place": ""})

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("notes.id"), primary_key=True)
    place: Mapped[str]
    by: Mapped[str]

    __mapper_args__ = {"polymorphic_identity": "visit"}  # noqa: RUF012 - SQLAlchemy's form


class Draft(Note):
    __erasure__ = OnErasure(delete=True)
    __mapper_args__ = {"polymorphic_identity": "draft"}  # noqa: RUF012 - SQLAlchemy's form


class Call(Note):
    __tablename__ = "calls"
    __erasure__ = OnErasure(delete=True)

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("notes.id"), primary_key=True)
    number: Mapped[str]

    __mapper_args__ = {"polymorphic_identity": "call"}  # noqa: RUF012 - SQLAlchemy's form


POLICY = """
version: 1
categories: {contact: {description: phone, sensitive: true}}
purposes:
  enter:
    {description: take in, label: essential.service, basis: contract, roles: [clerk],
     write: {Person: [contact], Note: [], Visit: [], Draft: [], Call: []}}
"""


@pytest.fixture(params=["sqlite", pytest.param("pg", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path / 'm.db'}"
    if request.param == "pg":
        url = request.getfixturevalue("pg_database")
    with Store.open(url, keys=LocalKeys.memory(), policy=Policy.parse(POLICY), models=Base) as store:
        store.create_all()
        yield store


def fill(store: Store) -> tuple[uuid.UUID, uuid.UUID]:
    anna, ben = uuid.uuid4(), uuid.uuid4()
    with store.begin(store.issue(Actor("c", role="clerk"), "enter")) as session:
        for n, who in enumerate((anna, ben)):
            session.add(Person(id=who, handle=f"h{n}", nick=f"n{n}", town="t", phone=f"138{n}"))
        session.flush()
        for who in (anna, ben):
            session.add_all([
                Note(person_id=who, title="hers"), Visit(person_id=who, title="there", place="p", by="x"),
                Draft(person_id=who, title="wip"), Call(person_id=who, title="rang", number="1"),
            ])  # fmt: skip
    return anna, ben


def test_each_row_goes_by_the_class_it_is_of(store: Store) -> None:
    anna, ben = fill(store)
    erased = store.subjects.erase(anna, reason="asked")
    with Session(store.engine) as session:
        notes = {(n.kind, n.title) for n in session.scalars(select(Note).where(Note.person_id == anna))}
        assert notes == {("note", ""), ("visit", "a visit")}
        assert session.scalar(select(func.count()).select_from(Note).where(Note.person_id == ben)) == 4
        places = dict(session.execute(select(Visit.person_id, Visit.place)).all())  # type: ignore[arg-type]
        assert places == {anna: "", ben: "p"}
        assert session.scalar(select(func.count()).select_from(Call.__table__)) == 1
    body = erased.bodies[0]
    assert {(each["model"], each["table"]): each["rows"] for each in body["blanked"]} == {
        ("Person", "people"): 1, ("Note", "notes"): 1, ("Visit", "notes"): 1, ("Visit", "visits"): 1
    }  # fmt: skip
    assert {(each["model"], each["table"]): each["rows"] for each in body["deleted"]} == {
        ("Call", "calls"): 1, ("Call", "notes"): 1, ("Draft", "notes"): 1
    }  # fmt: skip
    assert {each["model"]: each["columns"] for each in body["not_declared"]} == {"Person": ["town"], "Visit": ["by"]}


def test_unique_columns_keep_working_when_everybody_goes(store: Store) -> None:
    anna, ben = fill(store)
    for who in (anna, ben):
        store.subjects.erase(who, reason="asked")
    with Session(store.engine) as session:
        rows = session.execute(select(Person.handle, Person.invite, Person.nick)).all()
    assert len({row.handle for row in rows} | {row.invite for row in rows}) == 4
    assert all(row.handle.startswith("erased-") and len(row.handle) == 39 for row in rows)
    assert {row.nick for row in rows} == {"it's 100% gone \\ "}


def test_the_plan_is_named_by_what_is_declared() -> None:
    registry = ModelRegistry(Base)
    assert plan_of(registry).digest == plan_of(ModelRegistry(Base)).digest
    one = declare(OnErasure(clear={"nick": ""}))
    two = declare(OnErasure(clear={"nick": "-"}))
    digests = {plan_of(ModelRegistry(each.__mro__[1])).digest for each in (one, two)}
    assert len(digests) == 2
