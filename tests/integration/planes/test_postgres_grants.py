"""Raw SQL under a service's login: the columns, tables and functions that a purpose has, and no others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.postgres_login import PRIVILEGE, connected, engine_of, running, state_of
from tests.support.postgres_plane import MODELS, PostgresWorld, bind
from tests.support.postgres_store import ME, OTHER, applied_store
from vaultstore import errors
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.grants import Actor
from vaultstore.lifecycle import Approvals, Cases, Consents, Revocations, Subjects
from vaultstore.members.models import Base
from vaultstore.orm.types import BlindIndexType, SealedType
from vaultstore.planes.postgres_grants import KEPT, KEPT_BY
from vaultstore.policy.model import KEEPS
from vaultstore.records import canaries, jobs
from vaultstore.records.base import tables_of
from vaultstore.records.canaries import Canary
from vaultstore.records.plane import RolePlane, fetch
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

POLICY = bind()
PURPOSES = sorted(POLICY.purposes)
SERVICES = sorted(POLICY.services)
OURS = tables_of("postgresql")
TABLES = sorted(Base.metadata.tables.values(), key=lambda table: table.name)
SERVICE_OF = {purpose: service.name for service in POLICY.services.values() for purpose in service.purposes}


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=False) as world:
        yield world


FIXED = {
    "chat_messages": {"id", "sender_id", "conversation_id"},
    "complaints": {"id", "member_id"},
    "consent_notices": {"kind", "version"},
    "contact_requests": {"id", "member_id"},
    "leads": {"id", "member_id"},
    "member_blocks": {"id", "member_id"},
    "members": {"id"},
    "profile_views": {"id", "viewer_id"},
    "safety_warnings": {"id", "recipient_id"},
    "suppressed_members": {"member_id"},
    "suppressions": {"id"},
    "verification_counts": {"tag"},
    "verified_badges": {"member_id"},
}
"""What a row keeps: its key, its subject and its scope."""


def expected(purpose: str, table: sa.Table) -> dict[str, tuple[bool, bool, bool]]:
    """Column -> may be (selected, inserted, updated), by the policy and the naming rules of columns alone."""
    model = next(m for m in POLICY.catalogue if m.table == table.name)
    rules, found = POLICY.purpose(purpose), {}
    writes, sources = model.name in rules.write, rules.writes(model.name)
    listed = writes or model.name in rules.read or model.name in rules.search
    for column in table.columns:
        found[column.name] = (listed, writes, writes and column.name not in FIXED[table.name])
    for field in model.fields:
        decision = POLICY.decision(purpose, model.name, field.name)
        written = field.category in sources
        found[field.name] = (decision.kind == "clear", writes, written)
        for projection in field.projections:
            shown = projection.category in rules.reads(model.name)
            found[f"{field.name}_{projection.category}"] = (shown, writes, written)
        if field.index is not None:
            found[f"{field.name}_bidx"] = (field.name in rules.searches(model.name), writes, written)
    return found


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_purpose_has_each_column_as_the_policy_says(store: PostgresWorld, purpose: str) -> None:
    differ = []
    with running(store, SERVICE_OF[purpose], purpose) as connection:
        for table in TABLES:
            for column, wanted in expected(purpose, table).items():
                statements = (
                    f'SELECT "{column}" FROM {table.name}',
                    f'INSERT INTO {table.name} ("{column}") SELECT NULL WHERE false',
                    f'UPDATE {table.name} SET "{column}" = DEFAULT WHERE false',
                )
                states = [state_of(connection, statement) for statement in statements]
                assert set(states) <= {None, PRIVILEGE}
                found = tuple(state is None for state in states)
                if found != wanted:
                    differ.append((table.name, column, wanted, found))
    assert differ == []


@pytest.mark.parametrize("purpose", PURPOSES)
def test_rows_are_deleted_where_the_model_is_written(store: PostgresWorld, purpose: str) -> None:
    with running(store, SERVICE_OF[purpose], purpose) as connection:
        for table in TABLES:
            model = next(m.name for m in POLICY.catalogue if m.table == table.name)
            refused = state_of(connection, f"DELETE FROM {table.name} WHERE false") == PRIVILEGE
            assert refused == (model not in POLICY.purpose(purpose).write)
            assert state_of(connection, f"TRUNCATE {table.name}") == PRIVILEGE


@pytest.mark.parametrize("service", SERVICES)
def test_a_login_has_no_table_of_a_model_without_a_purposes_role(store: PostgresWorld, service: str) -> None:
    with running(store, service) as connection:
        for table in TABLES:
            for column in table.columns:
                assert state_of(connection, f'SELECT "{column.name}" FROM {table.name}') == PRIVILEGE


def test_no_purpose_reaches_a_table_of_ours(store: PostgresWorld) -> None:
    for purpose in PURPOSES:
        with running(store, SERVICE_OF[purpose], purpose) as connection:
            for table in (each.name for each in OURS):
                for statement in (
                    f"SELECT FROM {table}",
                    f"SELECT count(*) FROM {table}",
                    f"DELETE FROM {table}",
                    f"INSERT INTO {table} DEFAULT VALUES",
                    f"COPY {table} TO STDOUT",
                ):
                    assert state_of(connection, statement) == PRIVILEGE, (purpose, statement)


@pytest.mark.parametrize("service", SERVICES)
def test_a_login_has_the_records_it_keeps_and_never_a_wrap(store: PostgresWorld, service: str) -> None:
    kept: dict[str, tuple[set[str], set[str], set[str]]] = {}
    for record in POLICY.services[service].keeps:
        for table, rights in KEPT[record].items():
            select, insert, update = kept.setdefault(table, (set(), set(), set()))
            select |= rights.select
            insert |= rights.insert
            update |= rights.update
    with running(store, service) as connection:
        for table in OURS:
            select, insert, update = kept.get(table.name, (set(), set(), set()))
            for column in table.columns:
                name = f'"{column.name}"'
                assert (state_of(connection, f"SELECT {name} FROM {table}") is None) == (column.name in select)
                tried = state_of(connection, f"INSERT INTO {table} ({name}) SELECT NULL WHERE false")
                assert (tried is None) == (column.name in insert)
                tried = state_of(connection, f"UPDATE {table} SET {name} = NULL WHERE false")
                assert (tried is None) == (column.name in update)
        for query in ("SELECT wrapped FROM vs_keyring", "DELETE FROM vs_keyring RETURNING wrapped"):
            assert state_of(connection, query) == PRIVILEGE
        assert state_of(connection, "SELECT secret FROM vs_ticket_keys") == PRIVILEGE


def _a_job(ledger: PostgresLedger) -> None:
    """What `vaultstore.lifecycle.jobs` asks of its tables."""
    with ledger.gate() as connection:
        jobs.start(connection, "j-1", "toy", "toys", [(None, None, 2)], ledger.now)
        assert jobs.unfinished(connection, "toy", "toys") == "j-1"
        [found] = jobs.open_ranges(connection, "j-1")
        jobs.hold(connection, "j-1", 0, "me", ledger.now)
        assert jobs.lock(connection, found)
        jobs.fail(connection, "j-1", [("row", "why")], ledger.now)
        jobs.advance(connection, found, None, 1, 1, "me", ledger.now)
        assert jobs.finish(connection, "j-1", ledger.now)
        assert [job.done for job in jobs.jobs(connection)] == [1]
        assert list(jobs.failed_rows(connection, "j-1")) == [("row", "why")]


FACADES = {
    "approvals": lambda ledger: Approvals(ledger, None).request_access(  # type: ignore[arg-type]
        Actor("u-1", "safety_analyst"), "safety.investigation", case="c-1", subjects=[ME]
    ),
    "canaries": lambda ledger: _a_canary(ledger),
    "cases": lambda ledger: [
        Cases(ledger).open("complaint", assigned_to="u-1", subjects=[ME, OTHER], case_id="c-facade"),
        Cases(ledger).get("c-facade"),
        Cases(ledger).close("c-facade"),
    ],
    "consents": lambda ledger: [
        Consents(ledger).grant(ME, "matchmaking", notice_version="1"),
        Consents(ledger).take_over("photos", {OTHER: ledger.now}, notice_version="1"),
        Consents(ledger).withdraw(ME, "matchmaking"),
        Consents(ledger).history(ME),
    ],
    "jobs": lambda ledger: _a_job(ledger),
    "revocations": lambda ledger: [
        Revocations(ledger).revoke(jti="t-1"),
        Revocations(ledger).revoke(actor="u-nobody"),
    ],
    "states": lambda ledger: [
        Subjects(ledger).register(OTHER),
        Subjects(ledger).restrict(OTHER, reason="asked"),
        Subjects(ledger).lift(OTHER, reason="asked"),
        Subjects(ledger).history(OTHER),
        Subjects(ledger).state(OTHER),
    ],
}


@pytest.mark.parametrize("record", KEEPS)
def test_a_login_that_keeps_one_record_runs_that_facade_and_no_other(store: PostgresWorld, record: str) -> None:
    keeper = f"{store.prefix}keeper"
    grants = []
    for table, rights in KEPT[record].items():
        for verb, columns in (("SELECT", rights.select), ("INSERT", rights.insert), ("UPDATE", rights.update)):
            grants += [f'GRANT {verb} ("{column}") ON {table} TO {keeper}' for column in sorted(columns)]
        grants += [f"GRANT DELETE ON {table} TO {keeper}"] if rights.delete else []
    grants += [f"GRANT EXECUTE ON FUNCTION {function} TO {keeper}" for function in KEPT_BY.get(record, ())]
    store.execute(f"CREATE ROLE {keeper} LOGIN", *grants)
    try:
        with engine_of(store, keeper) as engine:
            ledger = PostgresLedger(engine)
            FACADES[record](ledger)
            for other in set(KEEPS) - {record}:
                with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                    FACADES[other](ledger)
    finally:
        store.execute(f"DROP OWNED BY {keeper}", f"DROP ROLE {keeper}")


def _a_canary(ledger: PostgresLedger) -> None:
    with ledger.gate() as connection:
        canaries.add(connection, [Canary(uuid.uuid4().bytes, "u-1", "sh-01", ledger.now)])


MINTS = {"vs_mint", "vs_mint_indexed", "vs_index_taken"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_login_calls_the_functions_of_its_purposes_verbs(store: PostgresWorld, service: str) -> None:
    context = {"vs_plane", "vs_context", "vs_role", "vs_actor", "vs_actor_uuid", "vs_actor_role", "vs_attribute"}
    wanted = {*context, "vs_attribute_uuid", "vs_check", "vs_standing", "vs_journal_hold", "vs_journal_done"}
    for purpose in (POLICY.purpose(name) for name in POLICY.services[service].purposes):
        wanted |= {"vs_admit", "vs_wraps"} if purpose.read else set()
        wanted |= {"vs_seal", *MINTS, "vs_withhold", "vs_collide"} if purpose.write else set()
        wanted |= {"vs_search", "vs_found"} if purpose.search else set()
        wanted |= {"vs_approve"} if purpose.approves else set()
        wanted |= {"vs_charge"} if {"claim", "assign", "contact"} & purpose.limits.keys() else set()
        wanted |= {"vs_erase"} if purpose.name == "privacy.erasure" or purpose.requires.subjects == "self" else set()
        wanted |= {"vs_key_state", "vs_index_state"} if purpose.keeps_keys else set()
        wanted |= {"vs_rotate", "vs_index_rotate"} if "rotate" in purpose.keeps_keys else set()
        wanted |= {"vs_retire", "vs_index_finish"} if "retire" in purpose.keeps_keys else set()
        wanted |= {"vs_reindex", "vs_index_settle"} if purpose.name == "maintenance.index" else set()
        if purpose.name == "privacy.request" or purpose.requires.subjects == "self":
            wanted |= {"vs_report", "vs_report_lines", "vs_report_nodes"}
        if "rewrap" in purpose.keeps_keys:
            wanted |= {"vs_rewrap", "vs_rewrap_ranges", "vs_rewrap_page", "vs_rewrapped"}
    wanted |= {"vs_restrict"} if "states" in POLICY.services[service].keeps else set()
    wanted |= {"vs_close_case"} if "cases" in POLICY.services[service].keeps else set()
    with running(store, service) as connection:
        assert _callable(connection) == wanted
    for name in POLICY.services[service].purposes:
        with running(store, service, name) as connection:
            mint = MINTS if POLICY.purpose(name).write else set()
            rekey = {"vs_rekey_scopes", "vs_rekeyed"} if POLICY.purpose(name).replaces_keys else set()
            assert _callable(connection) == {*context, "vs_attribute_uuid", *mint, *rekey}


def test_the_issuer_has_tickets_made_and_nothing_else(store: PostgresWorld) -> None:
    with connected(store, RolePlane(store.prefix).issuer) as connection:
        assert _callable(connection) == {"vs_plane", "vs_ticket"}
        for table in (*TABLES, *OURS):
            assert state_of(connection, f"SELECT FROM {table.name}") == PRIVILEGE


def test_a_stranger_has_nothing(store: PostgresWorld) -> None:
    stranger = f"x{store.prefix}stranger"
    store.execute(f"CREATE ROLE {stranger} LOGIN")
    with connected(store, stranger) as connection:
        assert _callable(connection) == set()
        assert state_of(connection, "CREATE TABLE t ()") == PRIVILEGE
        for table in (*TABLES, *OURS):
            assert state_of(connection, f"SELECT FROM {table.name}") == PRIVILEGE
    refused = pytest.raises(errors.SettingsError, match="may not call vs_plane")
    with engine_of(store, stranger) as engine, engine.connect() as connection, refused:
        fetch(connection)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT members FROM members",
        "SELECT * FROM members",
        "SELECT to_jsonb(m) FROM members m",
        "SELECT m::text FROM members m",
        "SELECT ctid FROM members",
        "SELECT tableoid FROM members",
        "SELECT xmin FROM members",
        "SELECT id FROM members WHERE phone IS NOT NULL",
        "SELECT id FROM members ORDER BY phone",
        "SELECT id FROM members WHERE phone_bidx = sha256('x')",
        "SELECT count(phone) FROM members",
        "SELECT id FROM members JOIN (SELECT id AS i, wants FROM members) x ON x.i = id",
        "TABLE members",
        "COPY members TO STDOUT",
        "COPY members (id, phone) TO STDOUT",
        "COPY (SELECT id, phone FROM members) TO STDOUT",
        "COPY members FROM STDIN",
        "COPY (SELECT id FROM members) TO PROGRAM 'cat'",
        "SELECT id FROM members FOR UPDATE",
        "SELECT id FROM members FOR KEY SHARE",
        "WITH gone AS (DELETE FROM members RETURNING phone) SELECT * FROM gone",
        "WITH new AS (UPDATE members SET city = 'x' RETURNING id) SELECT * FROM new",
        "WITH new AS (INSERT INTO leads (id) VALUES (gen_random_uuid()) RETURNING id) SELECT * FROM new",
        "MERGE INTO members m USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET city = 'x'",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE stolen AS SELECT id FROM members",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE RULE r AS ON SELECT TO members DO INSTEAD NOTHING",
        "CREATE TRIGGER t BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE POLICY p ON members USING (true)",
        "ALTER TABLE members DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE members NO FORCE ROW LEVEL SECURITY",
        "GRANT SELECT ON members TO PUBLIC",
        "CREATE STATISTICS s ON city, store FROM members",
        "CREATE INDEX ON members (city)",
        "COMMENT ON TABLE members IS 'x'",
        "ALTER FUNCTION vs_actor() OWNER TO CURRENT_USER",
        "CREATE OR REPLACE FUNCTION vs_actor() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "ANALYZE members; SELECT FROM pg_statistic",
    ],
)
def test_a_sales_session_is_refused(store: PostgresWorld, statement: str) -> None:
    with running(store, "crm", "sales.outreach") as connection:
        assert state_of(connection, statement) == PRIVILEGE


def test_roles_lead_nowhere_else(store: PostgresWorld) -> None:
    plane = RolePlane(store.prefix)
    with running(store, "crm") as connection:
        for role in (plane.owner, plane.scopes, plane.issuer, plane.login("relay"), "postgres", "pg_read_all_data"):
            assert state_of(connection, f'SET ROLE "{role}"') == PRIVILEGE
        for purpose in PURPOSES:
            allowed = state_of(connection, f'SET ROLE "{plane.role(purpose)}"') is None
            assert allowed == (purpose in POLICY.services["crm"].purposes)
        assert state_of(connection, f'GRANT "{plane.role("sales.pool")}" TO "{plane.login("relay")}"') == PRIVILEGE
        assert state_of(connection, "SET SESSION AUTHORIZATION postgres") == PRIVILEGE


def test_statistics_tell_a_purpose_nothing(store: PostgresWorld) -> None:
    store.execute("ANALYZE")
    with running(store, "crm", "sales.outreach") as connection:
        query = "SELECT count(*) FROM pg_stats WHERE tablename IN ('members', 'leads', 'vs_keyring')"
        assert connection.execute(query).fetchone() == (0,)


def test_every_table_and_function_belongs_to_the_owner_and_no_login_to_anything(store: PostgresWorld) -> None:
    owner = RolePlane(store.prefix).owner
    query = (
        "SELECT relname, pg_get_userbyid(relowner), relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    with connected(store, "postgres") as connection:
        tables = connection.execute(query).fetchall()
        owners = connection.execute(
            "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
        members = connection.execute(
            "SELECT count(*) FROM pg_auth_members WHERE pg_get_userbyid(roleid) = ANY (%s)",
            [[owner, RolePlane(store.prefix).scopes]],
        ).fetchone()
    mapped = {table.name for table in TABLES}
    assert {row[0] for row in tables} == mapped | {table.name for table in OURS}
    assert {row[1] for row in tables} == {owner}
    assert {row[0]: row[2:] for row in tables if row[0] in mapped} == dict.fromkeys(mapped, (True, True))
    assert owners == [(owner,)]
    assert members == (0,)


def test_the_owner_itself_sees_no_row(store: PostgresWorld) -> None:
    with connected(store, "postgres") as connection:
        connection.execute(f"SET ROLE {RolePlane(store.prefix).owner}")
        for table in TABLES:
            assert connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,)


def _callable(connection: psycopg.Connection[object]) -> set[str]:
    query = (
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(oid, 'EXECUTE')"
    )
    return {str(row[0]) for row in connection.execute(query)}  # type: ignore[index]


def test_every_column_of_the_models_is_looked_at() -> None:
    sealed = [c for t in TABLES for c in t.columns if isinstance(c.type, SealedType | BlindIndexType)]
    assert len(sealed) > 40
    assert {info.table for info in MODELS} == {table.name for table in TABLES}
