"""Alembic's operations on encrypted columns: what autogenerate writes, and what the operations do to real tables."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import DowngradeOps, UpgradeOps
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import vaultstore.alembic
from vaultstore import masks, records
from vaultstore.blindindex import blind_index
from vaultstore.errors import UnsupportedOperation
from vaultstore.orm import Encrypted, EncryptedModel, encrypted_column

OLD = """
CREATE TABLE things (
    id CHAR(32) NOT NULL PRIMARY KEY,
    phone VARCHAR(40) UNIQUE,
    email VARCHAR,
    city VARCHAR NOT NULL,
    CHECK (length(city) > 0),
    CONSTRAINT some_city CHECK (city <> 'nowhere')
)
"""
TRIGGER = "CREATE TRIGGER watch AFTER UPDATE OF city ON things BEGIN SELECT 1; END"


def models(replaces: bool = True) -> type[Any]:
    """Models of the table, while it moves and after that."""
    given: dict[str, Any] = {"name": "phone_sealed"}
    other: dict[str, Any] = {"name": "email_sealed"}
    if replaces:
        given["replaces"] = sa.Column("phone", sa.String(40))
        other["replaces"] = "email"

    class Base(EncryptedModel, DeclarativeBase):
        """A base of its own."""

    class Thing(Base):
        __tablename__ = "things"
        __subject__ = "id"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        city: Mapped[str]
        phone: Encrypted[str | None] = encrypted_column(
            category="contact",
            index=blind_index(unique=True),
            projections={"sales_card": masks.keep(last=4), "care_card": masks.keep(first=3)},
            **given,
        )
        email: Encrypted[str | None] = encrypted_column(category="profile", index=blind_index(), **other)

    return Base


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.connect() as made:
        made.exec_driver_sql(OLD)
        made.exec_driver_sql(TRIGGER)
        made.exec_driver_sql("INSERT INTO things (id, phone, city) VALUES ('aa', '138', 'x')")
        made.commit()
        yield made
    engine.dispose()


def context(connection: sa.Connection) -> MigrationContext:
    options = {"render_item": vaultstore.alembic.render_item, "compare_type": True, "target_metadata": None}
    return MigrationContext.configure(connection, opts=options)


def generated(connection: sa.Connection, base: type[Any]) -> tuple[str, str]:
    """The upgrade and the downgrade that autogenerate writes."""
    made = produce_migrations(context(connection), base.metadata)
    assert isinstance(made.upgrade_ops, UpgradeOps)
    assert isinstance(made.downgrade_ops, DowngradeOps)
    options: dict[str, Any] = {"render_item": vaultstore.alembic.render_item, "migration_context": context(connection)}
    return tuple(render_python_code(o, **options) for o in (made.upgrade_ops, made.downgrade_ops))  # type: ignore[return-value]


def run(connection: sa.Connection, code: str) -> None:
    lines = [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    exec("\n".join(lines), {"op": Operations(context(connection)), "sa": sa})
    connection.commit()


def checks(connection: sa.Connection) -> set[str]:
    return {c["sqltext"] for c in sa.inspect(connection).get_check_constraints("things")}


def test_autogenerate_writes_one_operation_a_field_and_no_word_of_the_models(connection: sa.Connection) -> None:
    upgrade, downgrade = generated(connection, models())
    lines = [line.strip() for line in upgrade.splitlines() if line.strip().startswith("op.")]
    assert sorted(lines) == [
        "op.add_encrypted_column('things', 'email_sealed', index=True)",
        (
            "op.add_encrypted_column('things', 'phone_sealed', projections=['sales_card', 'care_card'], index=True,"
            " unique=True)"
        ),
    ]
    assert "op.drop_encrypted_column('things', 'email_sealed', index=True)" in downgrade
    assert not {"keep", "models", "orm", "Encrypted("} & set(upgrade.replace("(", " ").split())
    made = produce_migrations(context(connection), models().metadata)
    assert isinstance(made.upgrade_ops, UpgradeOps)
    autogen = AutogenContext(context(connection))
    for each in made.upgrade_ops.ops:
        render_op(autogen, each)
    assert autogen.imports == {"import vaultstore.alembic  # registers the operations on encrypted columns"}


def test_the_script_makes_the_very_table_of_the_models_and_goes_back(connection: sa.Connection) -> None:
    before = checks(connection)
    upgrade, downgrade = generated(connection, models())
    run(connection, upgrade)
    assert compare_metadata(context(connection), models().metadata) == []
    made = sa.create_engine("sqlite://")
    with made.connect() as other:
        models().metadata.create_all(other)
        sealed = {c["name"]: c["sqltext"] for c in sa.inspect(other).get_check_constraints("things")}
    found = {c["name"]: c["sqltext"] for c in sa.inspect(connection).get_check_constraints("things") if c["name"]}
    assert {name: found[name] for name in sealed} == sealed
    assert before <= checks(connection)  # those without a name too
    with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
        connection.exec_driver_sql("UPDATE things SET phone_sealed = '13812345678'")
    run(connection, downgrade)
    assert {c["name"] for c in sa.inspect(connection).get_columns("things")} == {"id", "phone", "email", "city"}
    assert checks(connection) == before
    assert connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'trigger'").scalars().all() == [
        TRIGGER
    ]
    assert connection.exec_driver_sql("SELECT phone FROM things").scalar_one() == "138"


def test_a_plaintext_column_goes_once_its_move_says_so_and_nothing_else_goes_with_it(connection: sa.Connection) -> None:
    run(connection, generated(connection, models())[0])
    before = checks(connection)
    op = Operations(context(connection))
    with pytest.raises(UnsupportedOperation, match="1 rows hold a plaintext that was not moved"):
        op.drop_plaintext_column("things", "phone")
    records.metadata.create_all(connection, tables=records.tables("members"))
    move(connection, "verified")
    with pytest.raises(UnsupportedOperation, match=r"Thing\.phone is verified"):
        op.drop_plaintext_column("things", "phone")
    connection.execute(records.moves.vs_moves.update().values(state="dropped"))
    with pytest.raises(UnsupportedOperation, match="1 rows hold a plaintext that was written past its triggers"):
        op.drop_plaintext_column("things", "phone")
    connection.exec_driver_sql("UPDATE things SET phone = NULL")
    connection.commit()
    upgrade, downgrade = generated(connection, models(replaces=False))
    assert "op.drop_plaintext_column('things', 'phone')" in upgrade
    assert "op.add_column('things', sa.Column('phone', sa.VARCHAR(length=40)" in downgrade
    op.drop_plaintext_column("things", "phone")
    connection.commit()
    assert "phone" not in {c["name"] for c in sa.inspect(connection).get_columns("things")}
    assert checks(connection) == before
    assert TRIGGER in connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'trigger'").scalars().all()


def move(connection: sa.Connection, state: str) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    made = records.moves.Move("Thing", "phone", "things", "phone", "phone_sealed", (), state, False, True, now, now)
    records.moves.start(connection, made)
    records.moves.change(connection, made, now, state=state)


def test_an_empty_column_that_never_moved_may_go(connection: sa.Connection) -> None:
    Operations(context(connection)).drop_plaintext_column("things", "email")
    assert "email" not in {c["name"] for c in sa.inspect(connection).get_columns("things")}


def test_a_new_projection_of_an_older_field_is_a_sealed_column_with_its_check(connection: sa.Connection) -> None:
    op = Operations(context(connection))
    op.add_encrypted_column("things", "phone_sealed", projections=["sales_card"], index=True, unique=True)
    op.add_encrypted_column("things", "email_sealed", index=True)
    upgrade, _ = generated(connection, models())
    assert "op.add_encrypted_column('things', 'phone_sealed_care_card')" in upgrade


def test_as_a_script_of_sql_the_check_is_a_statement() -> None:
    text = io.StringIO()
    made = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text, "literal_binds": True}
    )
    op = Operations(made)
    op.add_encrypted_column("things", "phone_sealed", projections=["sales_card"], index=True, nullable=False)
    op.drop_plaintext_column("things", "phone")
    sql = text.getvalue()
    assert "ALTER TABLE things ADD COLUMN phone_sealed BYTEA NOT NULL CONSTRAINT ck_things_phone_sealed_sealed" in sql
    assert "CREATE INDEX ix_things_phone_sealed_bidx ON things (phone_sealed_bidx)" in sql
    assert sql.index("RAISE EXCEPTION 'the plaintext column has not been moved") < sql.index("DROP COLUMN phone")
    assert "table_name = 'things' AND plain = 'phone' AND state <> 'dropped'" in sql
