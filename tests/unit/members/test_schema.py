from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql

import vaultstore
from tests.support.members import DATA
from tests.support.schema import schema_of
from vaultstore import LocalKeys, Policy, Store, records
from vaultstore.errors import SettingsError
from vaultstore.members import Base, schema
from vaultstore.members.importer import Importer
from vaultstore.members.resources import migrations, policies


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[tuple[schema.Target, ...]]:
    with schema.targets_of(f"sqlite:///{tmp_path / 'members.db'}") as opened:
        yield opened


def test_the_migrations_build_the_very_schema_of_the_models(targets: tuple[schema.Target, ...], tmp_path: Path) -> None:
    schema.upgrade(targets)
    schema.check(targets)
    (tmp_path / "made").mkdir()
    with schema.targets_of(f"sqlite:///{tmp_path / 'made' / 'members.db'}") as made:
        Base.metadata.create_all(made[0].engine)
        records.create_all(made[0].engine, made[1].engine)
        for migrated, created in zip(targets, made, strict=True):
            assert schema_of(migrated.engine) == schema_of(created.engine)


def test_each_file_holds_its_own_tables(targets: tuple[schema.Target, ...]) -> None:
    schema.upgrade(targets)
    members, gate = (set(schema_of(target.engine)) for target in targets)
    assert "vs_keyring" in members and "members" in members
    assert "vs_entries" in gate and "vs_subjects" in gate
    assert not members & gate


def test_migrating_twice_and_all_the_way_back_leaves_nothing(targets: tuple[schema.Target, ...]) -> None:
    schema.upgrade(targets)
    schema.upgrade(targets)
    schema.downgrade(targets, "base")
    assert [schema_of(target.engine) for target in targets] == [{}, {}]
    schema.upgrade(targets)
    schema.check(targets)


def test_one_step_back_takes_the_member_store_and_leaves_the_gate(targets: tuple[schema.Target, ...]) -> None:
    schema.upgrade(targets)
    schema.downgrade(targets, "0001")
    assert set(schema_of(targets[0].engine)) == {"vs_keyring"}
    assert "vs_entries" in schema_of(targets[1].engine)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (0, "ALTER TABLE members DROP COLUMN nickname"),
        (0, "DROP INDEX ix_members_phone_bidx"),
        (0, "ALTER TABLE members ADD COLUMN phone_plain TEXT"),
        (1, "DROP TABLE vs_charges"),
        (1, "CREATE TABLE vs_shadow (id INTEGER PRIMARY KEY)"),
    ],
)
def test_the_comparison_sees_a_schema_that_drifted(targets: tuple[schema.Target, ...], file: int, change: str) -> None:
    schema.upgrade(targets)
    with targets[file].engine.begin() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(SettingsError, match="not that of the models"):
        schema.check(targets)


def test_a_migration_that_breaks_leaves_its_file_as_it_was(
    targets: tuple[schema.Target, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with targets[0].engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE chat_messages (id INTEGER PRIMARY KEY)")
    with pytest.raises(sa.exc.OperationalError, match="already exists"):
        schema.upgrade(targets)
    assert set(schema_of(targets[0].engine)) == {"chat_messages"}


def test_a_migrated_store_works(targets: tuple[schema.Target, ...], tmp_path: Path) -> None:
    schema.upgrade(targets)
    url = str(targets[0].engine.url)
    with Store.open(url, keys=LocalKeys.memory(), policy=Policy.load(policies()), models=Base) as store:
        store.publish()
        assert Importer(store).file(DATA / "members.csv").written == 60


def test_the_scripts_know_none_of_the_types_of_the_library() -> None:
    scripts = sorted((migrations() / "versions").glob("*.py"))
    assert scripts
    for script in scripts:
        imports = [line for line in script.read_text().splitlines() if "import" in line and "vaultstore" in line]
        assert all(line.startswith("from vaultstore.records import ") for line in imports)


def test_a_new_script_would_hold_plain_types(targets: tuple[schema.Target, ...]) -> None:
    context = AutogenContext(MigrationContext.configure(dialect_name="sqlite"))
    for table in (*Base.metadata.sorted_tables, *vaultstore.metadata.sorted_tables):
        for column in table.columns:
            written = targets[0].render("type", column.type, context) or f"sa.{column.type!r}"
            assert eval(written, {"sa": sa, "postgresql": postgresql}), written


def test_migrations_run_on_files_and_postgresql_only() -> None:
    for url in ("sqlite://", "mysql://localhost/x"):
        with pytest.raises(SettingsError), schema.targets_of(url):
            pass
