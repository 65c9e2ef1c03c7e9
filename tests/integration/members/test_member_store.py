"""The member store end to end: import, migrations and demo, on both profiles."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.support.members import DATA
from tests.support.profiles import Profile, standard
from tests.support.schema import schema_of
from vaultstore import records
from vaultstore.cli import main
from vaultstore.members import Base, ChatMessage, Member, ProfileView, schema
from vaultstore.members.generate import as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.testing import OpenBaoServer

pytestmark = pytest.mark.integration

BATCH = 150


def test_the_three_files_are_imported_and_again_without_doubling(profile: Profile) -> None:
    for expected in ((60, 0), (0, 60)):
        for kind in ("members", "chats", "views"):
            report = Importer(profile.store).file(DATA / f"{kind}.csv")
            assert (report.written, report.already, report.refused) == (*expected, [])
    with Session(profile.store.engine) as session:
        for model in (Member, ChatMessage, ProfileView):
            assert session.scalar(select(func.count()).select_from(model.__table__)) == 60


def test_requests_go_with_the_chunks_and_not_with_the_rows(
    tmp_path: Path, openbao: OpenBaoServer, pg_database: str
) -> None:
    with standard(tmp_path, openbao, pg_database) as profile:
        importer = Importer(profile.store, chunk=BATCH)
        profile.forget()
        report = importer.stream(io.BytesIO(as_csv(town(2 * BATCH).members)), "members.csv")
        assert report.written == 2 * BATCH
        encrypt = {path: n for path, n in profile.requests.items() if path.startswith(("encrypt/", "hmac/"))}
    assert encrypt
    assert set(encrypt.values()) == {2}, encrypt


def test_the_migrations_build_the_very_schema_of_the_models_on_postgresql(pg_database: str) -> None:
    with schema.targets_of(pg_database) as targets:
        [target] = targets
        Base.metadata.create_all(target.engine)
        records.create_all(target.engine, target.engine)
        wanted = schema_of(target.engine)
        with target.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        schema.upgrade(targets)
        schema.check(targets)
        found = schema_of(target.engine)
        assert found.pop("functions") == wanted.pop("functions") != {}
        assert found == wanted
        schema.upgrade(targets)
        schema.downgrade(targets, "base")
        assert schema_of(target.engine) == {"functions": {}}
        schema.upgrade(targets)
        schema.check(targets)


def test_the_demo_plays_on_postgresql_with_an_openbao_of_its_own(pg_database: str) -> None:
    result = CliRunner().invoke(main, ["demo", "--members", "240", "--vault", "--database", pg_database])
    assert result.exit_code == 0, result.output
    assert "50 cards: 1 unwrap request, counted in OpenBao's own audit log" in result.output
    assert "12 abuses tried, 12 refused." in result.output
    again = CliRunner().invoke(main, ["demo", "--database", pg_database])
    assert again.exit_code == 1
    assert "wants an empty one" in again.output
