"""A field that replaces a plaintext column: both are written, one is read, and no statement speaks of the other."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, load_only, mapped_column, undefer, with_loader_criteria

from vaultstore import masks, normalize
from vaultstore.blindindex import blind_index
from vaultstore.errors import (
    BudgetExhausted,
    DecryptionError,
    ModelError,
    NotDisclosed,
    UnsupportedOperation,
    VaultstoreError,
    WriteDenied,
)
from vaultstore.orm import Encrypted, EncryptedModel, PurposeSession, encrypted_column, uuid7
from vaultstore.policy.model import Limit
from vaultstore.records import subjects

from .world import World

PHONE = "13812340000"


class Base(EncryptedModel, DeclarativeBase):
    """The models of these tests."""


class Kind(Enum):
    NEW = "new"
    OLD = "old"


class Client(Base):
    __tablename__ = "clients"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str] = mapped_column(default="x")
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        name="phone_sealed",
        replaces="phone",
        index=blind_index(normalize=normalize.text()),
        projections={"sales_card": masks.keep(last=4)},
    )
    wishes: Encrypted[dict[str, Any] | None] = encrypted_column(
        category="preference", name="wishes_sealed", replaces="wishes"
    )
    born: Encrypted[date | None] = encrypted_column(category="profile", name="born_sealed", replaces="born")
    income: Encrypted[Decimal | None] = encrypted_column(
        category="profile", name="income_sealed", replaces=sa.Column("income", sa.Numeric(12, 2))
    )
    kind: Encrypted[Kind | None] = encrypted_column(category="profile", name="kind_sealed", replaces="kind")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, Base)
    yield made
    made.close()


def old_rows(world: World, count: int = 5) -> list[uuid.UUID]:
    """Rows as old code writes them, of subjects that the gate knows."""
    ids = [uuid7() for _ in range(count)]
    for i, each in enumerate(ids):
        world.raw("INSERT INTO clients (id, city, phone) VALUES (:i, 'x', :p)", i=each.hex, p=f"1381234{i:04d}")
    with world.ledger.gate() as gate:
        subjects.ensure(gate, [each.bytes for each in ids], world.now)
    world.clear()
    return ids


def clerk(world: World, **kw: Any) -> PurposeSession:
    all_of_it = ("contact", "preference", "profile")
    return world.session(all_of_it, ("phone",), all_of_it, **kw)


def clients(session: PurposeSession) -> list[Client]:
    return list(session.scalars(sa.select(Client).order_by(Client.id)))


def test_rows_that_are_not_sealed_are_disclosed_together_and_their_column_is_read_after_that(world: World) -> None:
    ids = old_rows(world)
    with clerk(world) as session:
        loaded = clients(session)
        [statement] = world.statements("clients")
        assert "clients.phone," not in statement.replace(" ", "")
        assert [c.phone for c in loaded] == [f"1381234{i:04d}" for i in range(5)]
        assert world.gate.disclosed() == [("Client", 5)]
        assert len(world.statements("clients")) == 2
        assert [c.phone for c in loaded] == [f"1381234{i:04d}" for i in range(5)]
        assert world.gate.disclosed() == [("Client", 5)]
        assert [c.id for c in loaded] == ids


def test_sealed_and_unsealed_rows_are_one_question(world: World) -> None:
    ids = old_rows(world)
    with clerk(world) as session:
        session.get_one(Client, ids[2]).phone = "13700000000"
        session.commit()
    world.clear()
    with clerk(world) as session:
        assert [c.phone for c in clients(session)][2] == "13700000000"
        assert world.gate.disclosed() == [("Client", 5)]


def test_a_purpose_is_limited_in_rows_that_are_not_sealed_as_in_sealed_ones(world: World) -> None:
    old_rows(world)
    limits = {"disclose": (Limit(2, "day", "actor"),)}
    with clerk(world, limits=limits) as session:
        loaded = clients(session)
        assert loaded[0].phone == PHONE
        with pytest.raises(BudgetExhausted):
            loaded[4].phone


def test_who_reads_the_mask_only_gets_no_mask_of_what_it_may_not_read(world: World) -> None:
    old_rows(world, 1)
    with world.sales() as session:
        [client] = clients(session)
        with pytest.raises(NotDisclosed, match="has not been moved yet") as refused:
            client.phone
        assert refused.value.reason == "not.moved"
        assert not any("clients.phone " in s or "clients.phone," in s for s in world.statements("clients"))


def test_a_write_goes_to_both_columns_and_a_read_comes_from_the_sealed_one(world: World) -> None:
    values = {"wishes": {"a": [1, {"b": None}]}, "born": date(1990, 2, 3), "income": Decimal("12.50"), "kind": Kind.OLD}
    with clerk(world) as session:
        session.add(client := Client(phone=PHONE, **values))
        session.commit()
        who = client.id
    [row] = world.raw("SELECT phone, wishes, born, income, kind, length(phone_sealed) FROM clients")
    assert tuple(row) == (PHONE, '{"a": [1, {"b": null}]}', "1990-02-03", 12.5, "OLD", 49)
    world.raw("UPDATE clients SET phone = 'other'")
    with clerk(world) as session:
        client = session.get_one(Client, who)
        assert {"phone": client.phone} | {k: getattr(client, k) for k in values} == {"phone": PHONE} | values
        client.phone = client.wishes = None
        session.commit()
        assert client.phone is None
    assert tuple(world.raw("SELECT phone, wishes, phone_sealed FROM clients")[0]) == (None, None, None)


def test_every_type_is_read_from_its_plaintext_column(world: World) -> None:
    [who] = old_rows(world, 1)
    world.raw("UPDATE clients SET born='1990-02-03', income=12.5, kind='NEW', wishes=:w", w='{"a": [1]}')
    with clerk(world) as session:
        client = session.get_one(Client, who)
        assert (client.born, client.income, client.kind) == (date(1990, 2, 3), Decimal("12.50"), Kind.NEW)
        assert client.wishes == {"a": [1]}
        with pytest.raises(UnsupportedOperation):
            client.wishes["b"] = 1  # frozen, as a disclosed one is


def test_bulk_inserts_write_both_columns(world: World) -> None:
    with clerk(world) as session:
        session.execute(sa.insert(Client), [{"phone": PHONE}, {"phone": "13812340001", "born": date(2000, 1, 1)}])
        session.commit()
        with pytest.raises(WriteDenied, match="written by the store"):
            session.execute(sa.insert(Client), [{"phone": PHONE, "phone_replaced": "other"}])
    rows = world.raw("SELECT phone, born, length(phone_sealed), length(born_sealed) FROM clients ORDER BY phone")
    assert [tuple(r) for r in rows] == [(PHONE, None, 49, None), ("13812340001", "2000-01-01", 49, 49)]


def test_an_open_value_closes_with_its_session_and_goes_into_no_copy(world: World) -> None:
    [who] = old_rows(world, 1)
    with clerk(world) as session:
        client = session.get_one(Client, who)
        assert client.phone == PHONE
        assert PHONE.encode() not in pickle.dumps(client)
        assert PHONE not in repr(vars(client))
        other = copy.copy(client)
    for closed in (client, other):
        with pytest.raises(NotDisclosed):
            closed.phone
    with clerk(world) as session:
        again = session.merge(pickle.loads(pickle.dumps(client)), load=True)
        assert again.phone == PHONE  # asked anew


def test_a_written_value_goes_into_no_copy(world: World) -> None:
    purpose = world.purpose(("contact",), (), ("contact",))
    with world.session_of(world.grant(purpose), expire_on_commit=False) as session:
        session.add(client := Client(phone=PHONE))
        session.commit()
        assert PHONE.encode() not in pickle.dumps(client)
    assert PHONE not in repr(vars(client))
    assert PHONE.encode() not in pickle.dumps(client)


def test_a_row_that_was_sealed_meanwhile_is_read_from_there(world: World) -> None:
    [who] = old_rows(world, 1)
    purpose = world.purpose(("contact",))
    with world.session_of(world.grant(purpose), expire_on_commit=False) as reader, clerk(world) as writer:
        client = reader.get_one(Client, who)
        reader.commit()
        writer.get_one(Client, who).phone = "13700000000"
        writer.commit()
        world.raw("UPDATE clients SET phone = NULL")  # cut over
        assert client.phone == "13700000000"


def test_what_the_field_can_not_hold_is_told_without_its_value(world: World) -> None:
    [who] = old_rows(world, 1)
    world.raw("UPDATE clients SET income = 'much', born = 'then'")
    with clerk(world) as session:
        client = session.get_one(Client, who)
        for field in ("income", "born"):
            with pytest.raises(DecryptionError, match="not been moved yet, and what it holds is no value") as refused:
                getattr(client, field)
            assert not {"much", "then"} & set(str(refused.value).split())
        assert client.phone == PHONE


T = Client.__table__


@pytest.mark.parametrize(
    "build",
    [
        lambda: sa.select(T.c.phone),
        lambda: sa.select(T),
        lambda: sa.select(T.alias()),
        lambda: sa.select(T.alias().c.phone),
        lambda: sa.select(sa.select(T).subquery()),
        lambda: sa.select(sa.select(T.c.phone.label("x")).subquery().c.x),
        lambda: sa.select(sa.select(T).cte("c")),
        lambda: sa.select(sa.func.substr(T.c.phone, 1, 3)),
        lambda: sa.select(sa.func.max(T.c.phone)),
        lambda: sa.select(sa.cast(T.c.phone, sa.String)),
        lambda: sa.select(sa.type_coerce(T.c.phone, sa.String)),
        lambda: sa.select(T.c.phone + "x"),
        lambda: sa.select(sa.case((T.c.phone > "1", 1), else_=0)),
        lambda: sa.select(Client.id).where(T.c.phone == PHONE),
        lambda: sa.select(Client.id).where(T.c.phone.startswith("138")),
        lambda: sa.select(Client.id).where(sa.exists().where(sa.func.length(T.c.phone) > 1)),
        lambda: sa.select(Client.id).order_by(T.c.phone),
        lambda: sa.select(sa.func.count()).group_by(T.c.phone),
        lambda: sa.select(Client.id).join(T.alias("o"), sa.literal_column("o.phone") == "x"),
        lambda: sa.select(sa.literal_column("phone")).select_from(T),
        lambda: sa.select(sa.literal_column("*")).select_from(T),
        lambda: sa.select(sa.text("*")).select_from(T),
        lambda: sa.select(sa.column("phone")).select_from(T),
        lambda: sa.text("SELECT phone FROM clients"),
        lambda: sa.text("SELECT * FROM clients"),
        lambda: sa.text("SELECT c.* FROM clients c"),
        lambda: sa.select(Client).from_statement(sa.text("SELECT id, phone AS city FROM clients")),
        lambda: sa.select(Client).options(with_loader_criteria(Client, sa.func.substr(T.c.phone, 1, 1) == "1")),
        lambda: sa.select(Client.__mapper__.columns["phone_replaced"]),
        lambda: sa.select(Client.phone_replaced),
        lambda: sa.select(Client).where(Client.phone_replaced == PHONE),
        lambda: sa.select(aliased(Client).phone_replaced),
        lambda: sa.select(Client).order_by(Client.phone_replaced),
        lambda: sa.update(Client).values(city=T.c.phone),
        lambda: sa.update(T).values(phone="x"),
        lambda: sa.update(T).values(city=sa.select(T.c.phone).scalar_subquery()),
        lambda: sa.delete(Client).returning(T.c.phone),
        lambda: sa.insert(T).values(phone="x", city="y"),
        lambda: sa.lambda_stmt(lambda: sa.select(T.c.phone)),
        lambda: sa.union_all(sa.select(T.c.city), sa.select(T.c.phone)),
        lambda: sa.select(sa.lateral(sa.select(T.c.phone))),
        lambda: sa.select(sa.func.count().over(partition_by=T.c.phone)),
    ],
)
def test_no_statement_of_a_session_speaks_of_the_plaintext_column(world: World, build: Callable[[], Any]) -> None:
    old_rows(world)
    everything = ("contact", "sales_card", "preference", "profile")
    for rights in (("sales_card",), everything):
        with (
            world.session(rights, ("phone",), everything) as session,
            pytest.raises((UnsupportedOperation, WriteDenied, VaultstoreError)) as refused,
        ):
            session.execute(build()).all()
        assert PHONE not in str(refused.value)


def test_no_loader_option_refresh_or_inspection_brings_the_plaintext(world: World) -> None:
    [who] = old_rows(world, 1)
    with world.sales() as session:
        for option in (lambda: undefer(Client.phone_replaced), lambda: load_only(Client.phone_replaced)):
            try:
                session.scalars(sa.select(Client).options(option())).all()
            except (VaultstoreError, AssertionError):  # SQLAlchemy asserts that something is loaded
                continue
        client = session.get_one(Client, who)
        for look in (
            lambda: client.phone_replaced,
            lambda: sa.inspect(client).attrs.phone_replaced.value,
            lambda: session.refresh(client, ["phone_replaced"]),
            lambda: setattr(client, "phone_replaced", "x"),
        ):
            try:
                assert look() is None
            except (VaultstoreError, AssertionError) as error:
                assert PHONE not in str(error)  # noqa: PT017 - none of them has to raise
        assert sa.inspect(client).attrs.phone_replaced.loaded_value is not PHONE
        assert PHONE not in repr({k: v for k, v in vars(client).items() if isinstance(v, str)})
    assert not any("clients.phone " in s or "clients.phone," in s for s in world.statements("clients"))


def test_a_plain_session_neither_reads_nor_writes_it(world: World) -> None:
    from sqlalchemy.orm import Session

    [who] = old_rows(world, 1)
    with Session(world.engine) as session:
        client = session.get_one(Client, who)
        with pytest.raises(UnsupportedOperation):
            client.phone
        with pytest.raises(VaultstoreError):
            session.execute(sa.select(T.c.phone)).all()
        with pytest.raises(VaultstoreError):
            session.execute(sa.insert(T).values(id=uuid7(), city="x", phone="13800000000"))


def test_a_null_test_is_refused_while_rows_are_sealed_one_by_one() -> None:
    for test in (lambda: Client.phone.is_(None), lambda: Client.phone != None, lambda: Client.wishes.is_not(None)):  # noqa: E711
        with pytest.raises(UnsupportedOperation, match="test for NULL"):
            test()


def _declare(**options: Any) -> None:
    class Other(EncryptedModel, DeclarativeBase):
        """A base of its own."""

    class Thing(Other):
        __tablename__ = "things"
        __subject__ = "id"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        phone: Encrypted[str] = encrypted_column(category="contact", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replaces": "phone"}, "name of its own"),
        ({"replaces": "phone", "name": "sealed", "nullable": False}, "takes NULL"),
        ({"replaces": sa.Column(sa.String), "name": "sealed"}, "a Column with its name"),
        ({"replaces": sa.Column("id", sa.Uuid, primary_key=True), "name": "sealed"}, "key of the table"),
    ],
)
def test_a_wrong_declaration_is_refused_when_the_class_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        _declare(**options)
