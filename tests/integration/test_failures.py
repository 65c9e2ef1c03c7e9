"""What breaks, breaks closed: a typed error, nothing half-written, nothing disclosed, and work goes on afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.support.profiles import MATCHMAKER, REGISTRAR, Profile, member, standard
from vaultstore import errors, is_masked
from vaultstore.members.models import Member
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture
def bao() -> Iterator[OpenBaoServer]:
    """A server of the test's own, that it may stop."""
    with OpenBaoServer("raft") as server:
        yield server


@pytest.fixture
def breakable(bao: OpenBaoServer, pg_database: str, tmp_path: Path) -> Iterator[Profile]:
    """The standard profile on a server that may break, with short time-outs."""
    with standard(tmp_path, bao, pg_database, timeout=(1.0, 1.0)) as profile:
        yield profile


def counts(profile: Profile) -> tuple[int, int]:
    """Members and wraps that are stored."""
    with Session(profile.store.engine) as session:
        members = session.connection().execute(text("SELECT count(*) FROM members")).scalar_one()
        wraps = session.connection().execute(text("SELECT count(*) FROM vs_keyring")).scalar_one()
    return members, wraps


def entries(profile: Profile) -> int:
    """Audit entries that are stored."""
    with profile.store._gate_engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM vs_entries")).scalar_one()


def read_fails(profile: Profile, token: str, error: type[Exception]) -> None:
    with profile.store.session(token) as session:
        loaded = session.scalars(select(Member)).all()
        for m in loaded:
            with pytest.raises(error) as caught:
                m.phone
            assert "138" not in "".join(traceback.format_exception(caught.value))
        assert len(loaded) == 3


def write_fails(profile: Profile, token: str, error: type[Exception]) -> None:
    before = counts(profile)
    with pytest.raises(error) as caught, profile.store.begin(token) as session:
        session.add(member(77))
    assert "13800000077" not in "".join(traceback.format_exception(caught.value))
    assert counts(profile) == before


def works(profile: Profile) -> None:
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        assert all(is_masked(m.phone) for m in session.scalars(select(Member)))


def stop(server: OpenBaoServer) -> Callable[[], None]:
    server.stop()
    return server.start


def seal(server: OpenBaoServer) -> Callable[[], None]:
    server.seal()
    return server.unseal


def stall(server: OpenBaoServer) -> Callable[[], None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    return lambda: os.kill(server.pid or 0, signal.SIGCONT)


@pytest.mark.parametrize("breaks", [stop, seal, stall])
def test_without_its_key_service_a_store_neither_shows_nor_writes(
    breakable: Profile, bao: OpenBaoServer, breaks: Callable[[OpenBaoServer], Callable[[], None]]
) -> None:
    breakable.claim(breakable.add_members(3))
    reads, writes = breakable.token(MATCHMAKER, "sales.outreach"), breakable.token(REGISTRAR, "registration")
    breakable.store.verify(reads)  # the public keys are known by now, as in a process that has been at work
    mend = breaks(bao)
    try:
        read_fails(breakable, reads, errors.KeyServiceUnavailable)
        write_fails(breakable, writes, errors.KeyServiceUnavailable)
    finally:
        mend()
    works(breakable)


def break_audit(profile: Profile) -> None:
    """Make the table of audit entries refuse every insert, as a full disk or a revoked right would."""
    with profile.store._gate_engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(
                text("CREATE TRIGGER full BEFORE INSERT ON vs_entries BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
            )
        else:
            connection.execute(
                text(
                    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'disk is full'; END $$"
                )
            )
            connection.execute(
                text("CREATE TRIGGER full_disk BEFORE INSERT ON vs_entries EXECUTE FUNCTION full_disk()")
            )


def test_what_cannot_be_audited_is_not_disclosed(profile: Profile) -> None:
    profile.claim(profile.add_members(3))
    profile.forget()
    before = entries(profile)
    token = profile.token(MATCHMAKER, "sales.outreach")
    break_audit(profile)
    read_fails(profile, token, errors.AuditError)
    assert not [r for r in profile.requests if r.startswith("decrypt")], "the key service was asked all the same"
    assert entries(profile) == before


def test_a_database_that_goes_away_in_mid_flush_leaves_nothing_half_written(
    pg_database: str, openbao: OpenBaoServer, tmp_path: Path
) -> None:
    with standard(tmp_path, openbao, pg_database) as profile:
        ids = profile.add_members(2)
        before = counts(profile)

        def cut(conn, cursor, statement, parameters, context, many):  # type: ignore[no-untyped-def]
            if statement.startswith("INSERT INTO members"):
                with profile.store._gate_engine.begin() as other:
                    other.execute(
                        text("SELECT pg_terminate_backend(:pid)"),
                        {"pid": conn.connection.dbapi_connection.info.backend_pid},
                    )

        event.listen(profile.store.engine, "before_cursor_execute", cut)
        try:
            with (
                pytest.raises(DBAPIError) as caught,
                profile.store.begin(profile.token(REGISTRAR, "registration")) as session,
            ):
                session.add_all(member(i + 50) for i in range(3))
        finally:
            event.remove(profile.store.engine, "before_cursor_execute", cut)
        assert "13800000050" not in "".join(traceback.format_exception(caught.value))
        assert counts(profile) == before
        with profile.store.session(profile.token(REGISTRAR, "registration")) as session:
            assert session.scalar(select(func.count()).select_from(Member)) == len(ids)


def test_a_gate_whose_database_is_gone_discloses_nothing(
    postgres: PostgresServer, pg_database: str, openbao: OpenBaoServer, tmp_path: Path
) -> None:
    with standard(tmp_path, openbao, pg_database) as profile:
        profile.claim(profile.add_members(1))
        token = profile.token(MATCHMAKER, "sales.outreach")
        # Closing the session rolls back on a connection that is gone: SQLAlchemy's error, as in any application.
        with contextlib.suppress(DBAPIError), profile.store.session(token) as session:
            loaded = session.scalars(select(Member)).one()
            profile.forget()
            postgres.stop()
            try:
                with pytest.raises(errors.AuditError):
                    loaded.phone
            finally:
                postgres.start()
            assert not profile.requests
        works(profile)


def test_an_erased_subject_does_not_block_the_page(profile: Profile) -> None:
    ids = profile.add_members(3)
    profile.claim(ids)
    profile.store.subjects.erase(ids[1], reason="asked for")
    with profile.store.session(profile.token(MATCHMAKER, "sales.pool")) as session:
        page = {m.id: m for m in session.scalars(select(Member))}
        assert is_masked(page[ids[0]].education)
        assert is_masked(page[ids[2]].education)
        with pytest.raises(errors.SubjectErased):
            page[ids[1]].education
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        assert set(session.scalars(select(Member.id))) == {ids[0], ids[2]}  # nobody's lead any more
