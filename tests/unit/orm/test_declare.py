"""Declarations: what a class may say, and what is a ModelError before anything is stored."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Optional

import pytest
from sqlalchemy import (
    ForeignKey,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    create_engine,
    inspect,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, registry

import vaultstore.orm as vs
from vaultstore import masks, normalize
from vaultstore.blindindex import blind_index
from vaultstore.errors import ModelError, VaultstoreError
from vaultstore.orm import Encrypted, EncryptedModel, ModelRegistry, catalogue_of, encrypted_column, uuid7
from vaultstore.orm.types import BlindIndexType, SealedType

from .models import Base, CallNote, Member, Message, Note, Sample


def fresh() -> Any:
    class Fresh(EncryptedModel, DeclarativeBase):
        pass

    return Fresh


def declare(base: Any = None, subject: str | None = "id", **body: Any) -> Any:
    """A class with an id and what else is given: name=(annotation, value)."""
    annotations = {"id": Mapped[uuid.UUID]} | {k: v[0] for k, v in body.items() if isinstance(v, tuple)}
    members: dict[str, Any] = {
        "__tablename__": "things",
        "__module__": __name__,
        "__annotations__": annotations,
        "id": mapped_column(primary_key=True, default=uuid7),
    }
    if subject is not None:
        members["__subject__"] = subject
    for key, value in body.items():
        if not isinstance(value, tuple):
            members[key] = value
        elif len(value) == 2:
            members[key] = value[1]
    return type("Thing", (base or fresh(),), members)


def column(**kw: Any) -> Any:
    return encrypted_column(**({"category": "contact"} | kw))


ERRORS: dict[str, tuple[str, Callable[[], Any]]] = {
    "no encrypted_column()": ("encrypted_column", lambda: declare(x=(Encrypted[str],))),
    "no encrypted_column(), as text": ("encrypted_column", lambda: declare(x=("Encrypted[str]",))),
    "no encrypted_column(), as dotted text": ("encrypted_column", lambda: declare(x=("vs.Encrypted[str]",))),
    "mapped_column()": ("encrypted_column", lambda: declare(x=(Encrypted[str], mapped_column()))),
    "mapped_column(type)": ("encrypted_column", lambda: declare(x=("Encrypted[str]", mapped_column(String)))),
    "a sealed type by hand": ("encrypted_column", lambda: declare(x=(Mapped[bytes], mapped_column(SealedType())))),
    "an index type by hand": ("encrypted_column", lambda: declare(x=(Mapped[bytes], mapped_column(BlindIndexType())))),
    "no annotation": ("annotate", lambda: declare(x=column())),
    "no subject": ("__subject__", lambda: declare(subject=None, x=(Encrypted[str], column()))),
    "an unknown subject": ("names no mapped column", lambda: declare(subject="owner", x=(Encrypted[str], column()))),
    "a sealed subject": ("UUID", lambda: declare(subject="x", x=(Encrypted[str], column()))),
    "a subject that is no UUID": (
        "UUID",
        lambda: declare(subject="n", n=(Mapped[int],), x=(Encrypted[str], column())),
    ),
    "a primary key that is no UUID": ("UUID", lambda: _numbered()),
    "a composite primary key": ("__row_key__", lambda: _composite()),
    "a row key that is no UUID": (
        "UUID",
        lambda: declare(__row_key__="n", n=(Mapped[int], mapped_column(unique=True)), x=(Encrypted[str], column())),
    ),
    "a row key that is not unique": (
        "unique",
        lambda: declare(__row_key__="row", row=(Mapped[uuid.UUID],), x=(Encrypted[str], column())),
    ),
    "an unknown row key": ("names no", lambda: declare(__row_key__="row", x=(Encrypted[str], column()))),
    "a scope that is no UUID": (
        "UUID",
        lambda: declare(__key_scope__="n", n=(Mapped[int],), x=(Encrypted[str], column())),
    ),
    "an index on a date": ("too few", lambda: declare(x=(Encrypted[date], column(index=blind_index())))),
    "an index on a bool": ("too few", lambda: declare(x=(Encrypted[bool], column(index=blind_index())))),
    "an index on an enum": ("too few", lambda: declare(x=(Encrypted[Shade], column(index=blind_index())))),
    "an index on JSON": ("indexed", lambda: declare(x=(Encrypted[dict], column(index=blind_index())))),
    "a normaliser of text on a number": (
        "indexed",
        lambda: declare(x=(Encrypted[int], column(index=blind_index(normalize=normalize.text())))),
    ),
    "a mask of another type": (
        "masks",
        lambda: declare(x=(Encrypted[str], column(projections={"card": masks.age_band(5)}))),
    ),
    "a projection into its own category": (
        "of its own",
        lambda: declare(x=(Encrypted[str], column(projections={"contact": masks.keep(last=1)}))),
    ),
    "a name that a projection takes": (
        "taken",
        lambda: declare(
            x_card=(Mapped[str], mapped_column()), x=(Encrypted[str], column(projections={"card": masks.keep(last=1)}))
        ),
    ),
    "a name that an index takes": (
        "taken",
        lambda: declare(x=(Encrypted[str], column(index=blind_index())), x_bidx=(Mapped[str], mapped_column())),
    ),
    "float": ("Decimal", lambda: declare(x=(Encrypted[float], column()))),
    "a type without a codec": ("no encrypted field", lambda: declare(x=(Encrypted[complex], column()))),
    "two types": ("one type", lambda: declare(x=(Encrypted[int | str], column()))),
    "a padding of nothing": ("pad", lambda: declare(x=(Encrypted[str], column(pad=0)))),
}


class Shade(Enum):
    DARK = 1


def _numbered() -> Any:
    class Numbered(fresh()):  # type: ignore[misc] # a base made for this test
        __tablename__ = "numbered"
        __subject__ = "owner"
        number: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[uuid.UUID]
        x: Encrypted[str] = encrypted_column(category="contact")

    return Numbered


def _composite() -> Any:
    class Pair(fresh()):  # type: ignore[misc] # a base made for this test
        __tablename__ = "pairs"
        __subject__ = "a"
        __table_args__ = (PrimaryKeyConstraint("a", "b"),)
        a: Mapped[uuid.UUID]
        b: Mapped[uuid.UUID]
        x: Encrypted[str] = encrypted_column(category="contact")

    return Pair


@pytest.mark.parametrize("what", ERRORS)
def test_a_declaration_that_would_store_or_lose_something_silently_is_a_model_error(what: str) -> None:
    words, make = ERRORS[what]
    with pytest.raises(ModelError, match=words):
        make()


def test_a_local_alias_of_encrypted_is_not_mapped_silently() -> None:
    base = fresh()
    with pytest.raises(Exception) as caught:
        declare(base, x=("elsewhere.Encrypted[str]",))
    assert isinstance(caught.value, ModelError) or "Could not" in str(caught.value)


def test_mapping_by_a_registry_is_checked_too() -> None:
    mapper_registry = registry()

    with pytest.raises(ModelError, match="encrypted_column"):

        @mapper_registry.mapped
        class Thing(EncryptedModel):
            __tablename__ = "things"
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
            x: Encrypted[str]


def test_a_field_brings_its_columns_and_no_plain_one() -> None:
    columns = Member.__table__.c
    assert [c.name for c in columns if c.name.startswith("phone")] == [
        "phone",
        "phone_bidx",
        "phone_sales_card",
        "phone_care_card",
    ]
    assert all(isinstance(c.type, SealedType | BlindIndexType) for c in columns if c.name.startswith("phone"))
    assert (columns.phone.nullable, columns.email.nullable, columns.phone_sales_card.nullable) == (False, True, True)
    assert columns.phone_bidx.index
    assert columns.email_bidx.unique
    assert "a_text" in Sample.__table__.c


def test_the_catalogue_says_what_the_models_do() -> None:
    catalogue = catalogue_of(Base)
    assert set(catalogue.models) == {"Member", "Message", "Note", "CallNote", "Sample", "Lead"}
    assert catalogue.models["Lead"].fields == ()
    phone = catalogue.models["Member"].field("phone")
    assert phone is not None
    assert (phone.context, phone.type, phone.category) == ("members.phone", "str", "contact")
    assert phone.index is not None
    assert (phone.index.name, phone.index.unique) == ("members.phone", False)
    assert [(p.category, p.context, p.mask) for p in phone.projections] == [
        ("sales_card", "members.phone_sales_card", masks.keep(last=4).fingerprint),
        ("care_card", "members.phone_care_card", masks.keep(first=3, last=4).fingerprint),
    ]
    assert catalogue.models["CallNote"].bases == ("Note",)
    assert [f.name for f in catalogue.models["CallNote"].fields] == ["number", "text"] or {
        f.name for f in catalogue.models["CallNote"].fields
    } == {"text", "number"}
    inherited = catalogue.models["CallNote"].field("text")
    assert inherited is not None
    assert inherited.context == "notes.text"
    pinned = catalogue.models["Sample"].field("a_str")
    assert pinned is not None
    assert pinned.context == "samples.pinned"
    assert "orm_tests.city_of_actor" in catalogue.scopes


def test_two_models_of_one_name_are_a_model_error() -> None:
    one, two = fresh(), fresh()
    held = [declare(base, x=(Encrypted[str], column())) for base in (one, two)]
    assert len(held) == 2
    assert set(catalogue_of(one).models) == {"Thing"}
    with pytest.raises(ModelError, match="Thing"):
        catalogue_of(one, two)


def test_two_columns_of_one_context_are_a_model_error() -> None:
    base = fresh()
    held = declare(base, x=(Encrypted[str], column(context="same")), y=(Encrypted[str], column(context="same")))
    assert held
    with pytest.raises(ModelError, match="same"):
        ModelRegistry(base)


class Mixed:
    """A mixin with a field."""

    phone: Encrypted[str] = encrypted_column(category="contact", projections={"card": masks.keep(last=2)})


class MixBase(EncryptedModel, DeclarativeBase):
    pass


class Stamped(Mixed, MixBase):
    __abstract__ = True
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)


class First(Stamped):
    __tablename__ = "firsts"
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "first"}  # noqa: RUF012 - SQLAlchemy's form


class Second(Stamped):
    __tablename__ = "seconds"


class OneOfTwo(First):
    shared: Encrypted[Optional[int]] = encrypted_column(  # noqa: UP045 - the old spelling works too
        category="profile", use_existing_column=True, index=blind_index()
    )
    __mapper_args__ = {"polymorphic_identity": "one"}  # noqa: RUF012 - SQLAlchemy's form


class OtherOfTwo(First):
    shared: Encrypted[Optional[int]] = encrypted_column(  # noqa: UP045 - as above
        category="profile", use_existing_column=True, index=blind_index()
    )
    __mapper_args__ = {"polymorphic_identity": "other"}  # noqa: RUF012 - SQLAlchemy's form


def test_mixins_abstract_bases_and_single_tables_work() -> None:
    catalogue = catalogue_of(MixBase)
    contexts = {name: [f.context for f in m.fields] for name, m in catalogue.models.items()}
    assert contexts["First"] == ["firsts.phone"]
    assert contexts["Second"] == ["seconds.phone"]
    assert set(contexts["OneOfTwo"]) == set(contexts["OtherOfTwo"]) == {"firsts.phone", "firsts.shared"}
    assert [c.name for c in First.__table__.c].count("shared_bidx") == 1
    checks = [c.name for c in First.__table__.constraints if "sealed" in str(c.name)]
    assert {str(name) for name in checks} == {
        f"ck_firsts_{c}_sealed" for c in ("phone", "phone_card", "shared", "shared_bidx")
    }


class DataBase(EncryptedModel, MappedAsDataclass, DeclarativeBase):
    pass


class Data(DataBase):
    __tablename__ = "data"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default_factory=uuid7, init=False)
    name: Encrypted[str] = encrypted_column(category="identity")
    age: Encrypted[int] = encrypted_column(category="profile", default=7, kw_only=True)
    tags: Encrypted[list[str]] = encrypted_column(category="profile", default_factory=list, kw_only=True)


def test_mapped_dataclasses_keep_values_out_of_repr_and_comparison() -> None:
    data = Data("Li Lei")
    assert "Li Lei" not in repr(data)
    assert "name" not in {f.name for f in dataclasses.fields(Data) if f.repr or f.compare}
    assert (data.name, data.tags, Data("x", age=3).age) == ("Li Lei", [], 3)


def test_row_keys_may_be_unique_in_any_way() -> None:
    class Paired(fresh()):  # type: ignore[misc] # a base made for this test
        __tablename__ = "paired"
        __subject__ = "a"
        __row_key__ = "row"
        __table_args__ = (PrimaryKeyConstraint("a", "b"), UniqueConstraint("row"))
        a: Mapped[uuid.UUID]
        b: Mapped[uuid.UUID]
        row: Mapped[uuid.UUID] = mapped_column(default=uuid7)
        x: Encrypted[str] = encrypted_column(category="contact")

    assert Paired.__table__.c.x is not None


def test_uuid7_is_the_standard_librarys_uuid_and_grows_with_time() -> None:
    made = [uuid7() for _ in range(100)]
    assert {type(u) for u in made} == {uuid.UUID}
    assert {u.version for u in made} == {7}
    assert made == sorted(made)


def test_names_that_others_build_on_are_there() -> None:
    assert {"Encrypted", "EncryptedModel", "encrypted_column", "row_scope", "uuid7"} <= set(vs.__all__)
    assert all(hasattr(vs, name) for name in vs.__all__)


def test_a_column_outside_a_class_body_is_refused() -> None:
    with pytest.raises((VaultstoreError, AttributeError)):
        _ = column().mapper_property_to_assign


def test_models_without_fields_need_no_subject() -> None:
    class Plain(fresh()):  # type: ignore[misc] # a base made for this test
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent: Mapped[int | None] = mapped_column(ForeignKey("plain.id"))
        data: Mapped[bytes] = mapped_column(LargeBinary)
        price: Mapped[Decimal]

    engine = create_engine("sqlite://")
    Plain.metadata.create_all(engine)
    assert inspect(engine).get_check_constraints("plain") == []
    engine.dispose()


def test_note_and_message_share_nothing_but_the_base() -> None:
    assert {Note.__subject__, Message.__subject__} == {"member_id"}
    assert CallNote.__subject__ == "member_id"
    assert isinstance(Base.metadata, MetaData)
