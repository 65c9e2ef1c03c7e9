"""CHECK constraints, and what Alembic makes of our tables."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table, create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from vaultstore.alembic import render_item
from vaultstore.orm.ddl import constrain
from vaultstore.orm.types import BlindIndexType, SealedType

from .models import Base, Member
from .world import World

GOOD = b"\x01" + bytes(32)


@pytest.mark.parametrize("column", ["phone", "phone_sales_card", "phone_bidx"])
@pytest.mark.parametrize(
    ("value", "sealed", "digest"),
    [
        ("13812345678", False, False),
        (b"13812345678", False, False),
        (5, False, False),
        (GOOD, True, False),
        (GOOD[:-1], False, True),
        (b"\x02" + bytes(32), False, False),
        ("\x01" + "x" * 40, False, False),
        (None, True, True),
    ],
)
def test_sqlite_refuses_what_is_no_ciphertext_or_digest(
    sqlite_world: World, column: str, value: Any, sealed: bool, digest: bool
) -> None:
    accepted = digest if column.endswith("bidx") else sealed and not (column == "phone" and value is None)
    row = {"id": "0" * 32, "city": "x", "phone": GOOD, column: value}
    names = ", ".join(row)
    statement = f"INSERT INTO members ({names}) VALUES ({', '.join(':' + name for name in row)})"
    if accepted:
        sqlite_world.raw(statement, **row)
    else:
        with pytest.raises(IntegrityError):
            sqlite_world.raw(statement, **row)


def test_postgresql_is_told_in_its_own_words() -> None:
    ddl = str(CreateTable(Member.__table__).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "phone BYTEA NOT NULL" in ddl
    assert "CASE WHEN octet_length(phone) >= 33 THEN get_byte(phone, 0) = 1 ELSE phone IS NULL END" in ddl
    assert "octet_length(phone_bidx) = 32" in ddl
    assert "typeof" not in ddl


@pytest.mark.integration
def test_postgresql_refuses_what_is_no_ciphertext_or_digest(pg_database: str) -> None:
    engine = create_engine(pg_database)
    Base.metadata.create_all(engine)
    try:
        for value, digest, fine in (
            (GOOD, bytes(32), True),
            (GOOD, None, True),
            (b"13812345678", None, False),
            (b"", None, False),
            (b"\x02" + bytes(40), None, False),
            (GOOD, b"short", False),
        ):
            with engine.connect() as connection:
                statement = text(
                    "INSERT INTO members (id, city, phone, phone_bidx) VALUES (gen_random_uuid(), 'x', :p, :d)"
                )
                if fine:
                    connection.execute(statement, {"p": value, "d": digest})
                else:
                    with pytest.raises(IntegrityError):
                        connection.execute(statement, {"p": value, "d": digest})
    finally:
        engine.dispose()


def test_long_names_are_cut_and_stay_different() -> None:
    columns = [Column("c" * 50 + str(i), SealedType()) for i in range(2)] + [Column("d" * 60, BlindIndexType())]
    table = Table("t" * 40, MetaData(), *columns)
    for _ in range(2):
        constrain(table)
    names = [str(c.name) for c in table.constraints if c.name]
    assert len(names) == len(set(names)) == 3
    assert all(len(name) <= 63 for name in names)


def test_alembic_sees_no_difference_after_create_all(world: World) -> None:
    from vaultstore import records

    metadata = [Base.metadata, records.metadata]
    with world.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _ours})
        assert compare_metadata(context, metadata) == []  # type: ignore[arg-type] # Alembic takes several


def _ours(item: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    return kind != "table" or name in Base.metadata.tables


def test_migrations_say_large_binary_and_carry_the_checks() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_item": render_item})
        script = produce_migrations(context, Base.metadata)
        assert script.upgrade_ops is not None
        code = render_python_code(script.upgrade_ops, render_item=render_item, migration_context=context)
    engine.dispose()
    assert "sa.Column('phone', sa.LargeBinary(), nullable=False)" in code
    assert "sa.Column('phone_bidx', sa.LargeBinary(length=32), nullable=True)" in code
    assert "ck_members_phone_sealed" in code
    assert "vaultstore" not in code
