"""The PostgreSQL plane on a real server: planned, applied whole or not at all, and tried cell by cell."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tests.support.postgres_family import Base as Family
from tests.support.postgres_family import bound_family
from tests.support.postgres_plane import FEWER, MODELS, POLICY, PostgresWorld, bind, postgres_world
from vaultstore import records
from vaultstore.canonical import canonical_json
from vaultstore.errors import SettingsError
from vaultstore.members.models import Base
from vaultstore.planes import Change, Probe
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.policy import BoundPolicy
from vaultstore.records.base import tables_of
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

STATE = """SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (
    SELECT 'class' || oid || ':' || xmin AS t FROM pg_class UNION ALL
    SELECT 'attribute' || attrelid || ':' || attnum || ':' || xmin FROM pg_attribute UNION ALL
    SELECT 'proc' || oid || ':' || xmin FROM pg_proc UNION ALL
    SELECT 'policy' || oid || ':' || xmin FROM pg_policy UNION ALL
    SELECT 'namespace' || oid || ':' || xmin FROM pg_namespace UNION ALL
    SELECT 'role' || oid || ':' || xmin FROM pg_authid WHERE rolname ~ '^x?{p}' UNION ALL
    SELECT 'member' || roleid || ':' || member || ':' || xmin FROM pg_auth_members
) s"""
"""A digest of every row of the catalogs that DDL writes, with the transaction that wrote it."""


@pytest.fixture
def world(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with postgres_world(postgres) as made:
        yield made


def _publisher(bound: BoundPolicy) -> object:
    def publish(connection: sa.Connection) -> None:
        named = {n: (bound.digest(n), canonical_json(bound.closure(n)).decode()) for n in bound.purposes}
        records.purposes.publish(connection, named, datetime.now(UTC))

    return publish


def _fill(world: PostgresWorld) -> uuid.UUID:
    """One member and one notice, written as a superuser."""
    id_ = uuid.uuid4()
    sealed = {c.name: b"\x01" + bytes(40) for c in Base.metadata.tables["members"].columns if "phone" in c.name}
    sealed["phone_bidx"] = bytes(32)
    members = Base.metadata.tables["members"]
    values: dict[str, object] = {"id": id_, "nickname": "n", "gender": "f", "city": "c", "store": "s", "grade": "A"}
    values |= {"created_at": datetime.now(UTC), "name": b"\x01" + bytes(40)}
    raw = {k: v for k, v in (values | sealed).items() if k in members.columns}
    names = ", ".join(f'"{name}"' for name in raw)
    marks = ", ".join(f"%({name})s" for name in raw)
    with world.engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL search_path = {world.schema}")
        connection.exec_driver_sql(f"INSERT INTO members ({names}) VALUES ({marks})", raw)
    return id_


def _disagreeing(probes: Iterator[Probe]) -> list[str]:
    return [f"{p.cell}: expected {p.expected}, found {p.found}" for p in probes if not p.agrees]


# ---------------------------------------------------------------------------------------------------- apply


def test_the_plan_of_a_fresh_database_can_be_read(world: PostgresWorld) -> None:
    lines = [world.name(str(change)).replace(world.prefix, "") for change in world.plane(bind(POLICY)).plan()]
    assert "+ role p_sales.outreach: NOLOGIN NOINHERIT" in lines
    assert "+ role s_crm: LOGIN NOINHERIT" in lines
    assert "+ membership of s_crm: p_sales.outreach" in lines
    [policies] = [line for line in lines if line.startswith("+ policies on public.members: ")]
    assert "care.complaint/select" in policies
    assert "registration/delete" in policies
    assert any(line.startswith("+ grant SELECT (") and line.endswith(" to p_sales.outreach") for line in lines)
    assert any(line.startswith("+ grant EXECUTE to s_crm: vs_actor(), ") for line in lines)
    assert any(line.startswith("~ row security on: public.chat_messages, ") for line in lines)
    assert lines[-1] == "+ plane in vs_plane: prefix , not strict: the database believes its logins"
    assert len(lines) < 60


def test_a_second_apply_changes_nothing_in_any_catalog(world: PostgresWorld) -> None:
    plane = world.plane(bind(POLICY))
    planned = plane.plan()
    assert plane.apply() == planned
    state = world.value(STATE)
    assert plane.apply() == []
    assert plane.plan() == []
    assert plane.differences() == []
    assert world.value(STATE) == state
    assert world.value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'vs\\_scratch%'") == 0


def test_the_shipped_policy_is_what_apply_makes(world: PostgresWorld) -> None:
    plane = world.plane()
    plane.apply()
    assert plane.differences() == []
    assert _disagreeing(plane.probes()) == []


def test_a_schema_of_another_name_is_as_good(postgres: PostgresServer) -> None:
    with postgres_world(postgres, "vault") as world:
        plane = world.plane(bind(POLICY))
        plane.apply()
        assert plane.differences() == []
        assert plane.apply() == []
        _fill(world)
        assert _disagreeing(plane.probes()) == []


def test_models_that_share_tables_and_names_that_take_quotes_are_no_hindrance(
    postgres: PostgresServer, pg_database: str
) -> None:
    world = PostgresWorld(postgres, pg_database, "family")
    bound, models = bound_family()
    roles = RolePlane(world.prefix, strict=True)
    plane = PostgresPlane(world.engine, compile_postgres(bound, models, roles), models, schema="family")
    try:
        with world.engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA family")
            connection.exec_driver_sql("SET LOCAL search_path = family")
            Family.metadata.create_all(connection)
            records.metadata.create_all(connection, tables=tables_of("postgresql"))
            for statement in records.postgres_functions("family"):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        planned = plane.plan()
        assert plane.apply() == planned
        assert plane.apply() == []
        assert plane.differences() == []
        assert _disagreeing(plane.probes()) == []

        world.execute(
            'GRANT SELECT ON family."Visits of ""ours""" TO PUBLIC', "ALTER TABLE family.staff OWNER TO postgres"
        )
        assert len(plane.differences()) == 2
        assert plane.apply() != []
        assert plane.differences() == []
    finally:
        world.close()


def test_apply_publishes_in_its_own_transaction(world: PostgresWorld) -> None:
    bound = bind(POLICY)
    plane = world.plane(bound, publish=_publisher(bound))
    changes = plane.apply()
    digest = bound.digest("registration")
    assert Change("create", "purpose registration", f"published as {digest[7:19]}") in changes
    assert world.value("SELECT digest FROM vs_purposes WHERE name = 'registration'") == digest
    assert plane.apply() == []

    fewer = bind(FEWER)
    changes = world.plane(fewer, publish=_publisher(fewer)).apply()
    assert Change("remove", "purpose care.complaint", "published") in changes
    assert world.value("SELECT count(*) FROM vs_purposes") == 2


def test_a_failure_half_way_changes_nothing(world: PostgresWorld) -> None:
    def fail(connection: sa.Connection) -> None:
        if connection.exec_driver_sql("SELECT EXISTS (SELECT FROM vs_plane)").scalar_one():
            raise RuntimeError("the power went")

    before = world.value(STATE)
    with pytest.raises(RuntimeError):
        world.plane(bind(POLICY), publish=fail).apply()
    assert world.value(STATE) == before
    assert world.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{p}%'") == 0
    assert world.plane(bind(POLICY)).apply()


def test_a_connection_that_ends_half_way_changes_nothing(world: PostgresWorld) -> None:
    def die(connection: sa.Connection) -> None:
        if connection.exec_driver_sql("SELECT EXISTS (SELECT FROM vs_plane)").scalar_one():
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            world.execute(f"SELECT pg_terminate_backend({backend}, 5000)")
            connection.exec_driver_sql("SELECT 1")

    before = world.value(STATE)
    with pytest.raises(SettingsError, match="PostgreSQL refused"):
        world.plane(bind(POLICY), publish=die).apply()
    world.engine.dispose()
    assert world.value(STATE) == before
    assert world.plane(bind(POLICY)).apply()
    assert world.plane(bind(POLICY)).differences() == []


def test_two_operators_at_once_do_it_once(world: PostgresWorld) -> None:
    done: list[int] = []

    def apply() -> None:
        done.append(len(world.plane(bind(POLICY), lock_timeout=60).apply()))

    threads = [threading.Thread(target=apply) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done)[:2] == [0, 0]
    assert sorted(done)[2] > 0
    assert world.plane(bind(POLICY)).differences() == []


def test_apply_does_not_wait_behind_a_session_for_ever(world: PostgresWorld) -> None:
    with world.engine.begin() as holder:
        holder.exec_driver_sql("LOCK TABLE members IN ACCESS SHARE MODE")
        with pytest.raises(SettingsError, match="another session holds what it takes; nothing was changed"):
            world.plane(bind(POLICY), lock_timeout=0.2).apply()
    assert world.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{p}%'") == 0


def test_tables_that_are_not_there_are_named(postgres: PostgresServer, pg_database: str) -> None:
    world = PostgresWorld(postgres, pg_database)
    plane = world.plane(bind(POLICY))
    try:
        for look in (plane.plan, plane.apply):
            with pytest.raises(SettingsError, match=r"tables are missing: make the schema first .*public\.members"):
                look()
        assert any(str(d).startswith("public.members is too closed") for d in plane.differences())
    finally:
        world.engine.dispose()


def test_a_database_has_one_prefix(world: PostgresWorld) -> None:
    world.plane(bind(POLICY)).apply()
    world.execute("UPDATE vs_plane SET prefix = 'other_'")
    with pytest.raises(SettingsError, match=r"this database's plane has the prefix other_, not "):
        world.plane(bind(POLICY)).apply()


# ---------------------------------------------------------------------------------------------------- what is gone


def test_roles_of_purposes_that_are_gone_are_dropped(world: PostgresWorld) -> None:
    world.plane(bind(POLICY)).apply()
    changes = world.plane(bind(FEWER)).apply()
    assert Change("remove", f"role {world.prefix}p_care.complaint") in changes
    assert Change("remove", f"role {world.prefix}s_desk") in changes
    left = world.value("SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE '{p}%'")
    assert left.replace(world.prefix, "") == "issuer owner p_registration p_sales.outreach s_crm s_signup scopes"
    assert world.plane(bind(FEWER)).differences() == []
    assert world.plane(bind(FEWER)).apply() == []


def test_a_role_that_another_database_uses_stays_and_is_reported(world: PostgresWorld, pg_database: str) -> None:
    world.plane(bind(POLICY)).apply()
    other = sa.create_engine(pg_database)
    with other.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id int)")
        connection.exec_driver_sql(f'GRANT SELECT ON notes TO "{world.prefix}s_desk"')

    plane = world.plane(bind(FEWER))
    changes = plane.apply()
    assert Change("remove", f"role {world.prefix}s_desk") not in changes
    (left,) = plane.differences()
    assert str(left).startswith(
        f"role {world.prefix}s_desk is too open: expected none, found LOGIN NOINHERIT: it stays,"
    )
    assert str(left).endswith(f"for database {other.url.database} still uses it")
    assert plane.apply() == []

    with other.begin() as connection:
        connection.exec_driver_sql("DROP TABLE notes")
    other.dispose()
    assert plane.apply() == [Change("remove", f"role {world.prefix}s_desk")]
    assert plane.differences() == []


def test_a_role_that_owns_something_keeps_it_and_loses_its_rights(world: PostgresWorld) -> None:
    world.plane(bind(POLICY)).apply()
    world.execute("CREATE TABLE mine (id int)", 'ALTER TABLE mine OWNER TO "{p}s_desk"')
    plane = world.plane(bind(FEWER))
    plane.apply()
    (left,) = plane.differences()
    assert str(left).endswith("it stays, for it owns table public.mine")
    assert world.value("SELECT has_function_privilege('{p}s_desk', 'vs_check(jsonb)', 'EXECUTE')") is False
    assert plane.apply() == []


def test_a_purpose_that_reads_less_has_less(world: PostgresWorld) -> None:
    world.plane(bind(POLICY)).apply()
    less = bind(POLICY.replace("categories: [care_card]", "categories: []"))
    lines = [str(change) for change in world.plane(less).apply()]
    assert any(line.startswith("- grant SELECT (address_care_card, ") for line in lines), lines
    assert world.plane(less).differences() == []
    assert (
        world.value("SELECT has_column_privilege('{p}p_care.complaint', 'members', 'name_care_card', 'SELECT')")
        is False
    )


# ---------------------------------------------------------------------------------------------------- probes


@pytest.mark.parametrize("strict", [False, True], ids=["by-login", "strict"])
def test_every_cell_is_as_the_policy_says(world: PostgresWorld, strict: bool) -> None:
    plane = world.plane(bind(POLICY), strict=strict)
    plane.apply()
    _fill(world)
    probes = list(plane.probes())
    assert _disagreeing(iter(probes)) == []

    cells = {str(p.cell): p.found for p in probes}
    assert cells["sales.outreach: SELECT members.phone_sales_card"] is True
    assert cells["sales.outreach: SELECT members.phone"] is False
    assert cells["care.complaint: SELECT members.phone_bidx"] is True
    assert cells["registration: UPDATE members.id"] is False
    assert cells["registration: INSERT members.phone"] is True
    assert cells["care.complaint: SELECT rows of members"] is True
    assert cells["sales.outreach: SELECT rows of members"] is False
    assert cells["sales.outreach: SELECT vs_keyring"] is False
    assert cells["service crm: SELECT members"] is False
    assert cells["service signup: SELECT vs_keyring.wrapped"] is False
    assert cells.get("care.complaint: SELECT without a ticket rows of members") is (False if strict else None)
    executes = [name for name in cells if ": EXECUTE vs_ticket(" in name]
    assert executes
    assert not any(cells[name] for name in executes)


def test_probes_leave_nothing_behind(world: PostgresWorld) -> None:
    plane = world.plane(bind(POLICY), strict=True)
    plane.apply()
    _fill(world)
    before = [
        world.value(STATE),
        world.value("SELECT count(*) FROM vs_entries"),
        world.value("SELECT count(*) FROM members"),
    ]
    assert len(list(plane.probes())) > 500
    after = [
        world.value(STATE),
        world.value("SELECT count(*) FROM vs_entries"),
        world.value("SELECT count(*) FROM members"),
    ]
    assert before == after
    with world.engine.connect() as connection:
        assert (
            connection.exec_driver_sql("SELECT session_user || ' ' || current_user").scalar_one() == "postgres postgres"
        )


OPENED = [
    ('GRANT SELECT (phone) ON members TO "{p}p_sales.outreach"', "sales.outreach: SELECT members.phone: .* found True"),
    ("GRANT SELECT ON vs_keyring TO PUBLIC", "care.complaint: SELECT vs_keyring: .* found True"),
    ('GRANT UPDATE (id) ON members TO "{p}p_registration"', "registration: UPDATE members.id: .* found True"),
    ('GRANT DELETE ON members TO "{p}p_care.complaint"', "care.complaint: DELETE members: .* found True"),
    ("GRANT EXECUTE ON FUNCTION vs_ticket(jsonb, text[]) TO PUBLIC", r"service crm: EXECUTE vs_ticket\(.* found True"),
    ("ALTER TABLE members DISABLE ROW LEVEL SECURITY", "sales.outreach: SELECT rows of members: .* found True"),
    ('ALTER ROLE "{p}s_crm" SUPERUSER', "service crm: SELECT members: .* found True"),
    ('ALTER ROLE "{p}p_sales.outreach" BYPASSRLS', "sales.outreach: SELECT rows of members: .* found True"),
    (
        'REVOKE SELECT (city) ON members FROM "{p}p_care.complaint"',
        "care.complaint: SELECT members.city: .* found False",
    ),
]
"""What somebody does, and the probe that finds it."""


@pytest.mark.parametrize(("deed", "cell"), OPENED)
def test_a_probe_finds_what_was_opened_or_closed(world: PostgresWorld, deed: str, cell: str) -> None:
    plane = world.plane(bind(POLICY))
    plane.apply()
    _fill(world)
    world.execute(deed)
    found = _disagreeing(plane.probes())
    assert any(re.match(cell, line) for line in found), found


SPY = """CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RESET SESSION AUTHORIZATION; ALTER ROLE "{p}s_crm" SUPERUSER; RETURN NULL;
END $$"""


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        ((SPY, "CREATE TRIGGER spy BEFORE UPDATE ON members EXECUTE FUNCTION spy()"), "trigger spy on public.members"),
        (("ALTER FUNCTION vs_ticket(jsonb, text[]) SECURITY INVOKER",), "security of function public.vs_ticket("),
        (
            (
                "CREATE FUNCTION yes() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
                'CREATE POLICY yes ON members FOR SELECT TO "{p}p_sales.outreach" USING (public.yes())',
            ),
            "policy yes on public.members",
        ),
    ],
    ids=["a-trigger", "a-function", "a-policy"],
)
def test_no_code_of_others_runs_in_an_operators_session(
    world: PostgresWorld, plant: tuple[str, ...], named: str
) -> None:
    plane = world.plane(bind(POLICY), strict=True)
    plane.apply()
    _fill(world)
    world.execute(*plant)
    (probe,) = plane.probes()
    assert str(probe.cell).startswith(f"every purpose: run {named}")
    assert not probe.agrees
    assert world.value("SELECT rolsuper FROM pg_roles WHERE rolname = '{p}s_crm'") is False


def test_a_strict_plane_that_lost_its_ticket_policies_is_found(world: PostgresWorld) -> None:
    plane = world.plane(bind(POLICY), strict=True)
    plane.apply()
    _fill(world)
    world.execute(
        """DO $$ DECLARE p name; BEGIN
        FOR p IN SELECT polname FROM pg_policy WHERE polrelid = 'members'::regclass AND NOT polpermissive LOOP
            EXECUTE format('DROP POLICY %I ON members', p);
        END LOOP; END $$""",
        "UPDATE vs_plane SET strict = false",
    )
    found = _disagreeing(plane.probes())
    assert "care.complaint: SELECT without a ticket rows of members: expected False, found True" in found
    lines = [str(d) for d in plane.differences()]
    assert any(re.match(r"policy \S+ on public\.members is too open: expected RESTRICTIVE", line) for line in lines)
    assert any(line.startswith("plane in vs_plane is too open: expected prefix") for line in lines)
    plane.apply()
    assert plane.differences() == []
    assert _disagreeing(plane.probes()) == []


# ---------------------------------------------------------------------------------------------------- the operator


def test_an_operator_who_owns_the_database_needs_no_superuser(postgres: PostgresServer, pg_database: str) -> None:
    world = PostgresWorld(postgres, pg_database)
    world.execute('CREATE ROLE "{x}op" LOGIN CREATEROLE', 'ALTER DATABASE "{db}" OWNER TO "{x}op"')
    engine = sa.create_engine(postgres.url(world.database, user=f"x{world.prefix}op"))
    try:
        world.make_schema(engine)
        bound = bind(POLICY)
        plane = world.plane(bound, engine=engine, publish=_publisher(bound))
        assert len(plane.differences()) > 100
        assert plane.apply() != []
        assert plane.differences() == []
        assert plane.apply() == []
        assert world.value("SELECT pg_has_role('{x}op', '{p}owner', 'USAGE')") is False
        with pytest.raises(SettingsError, match="probes take a superuser"):
            next(plane.probes())

        fewer = world.plane(bind(FEWER), engine=engine)
        assert fewer.apply() != []
        assert fewer.differences() == []

        others = [str(difference) for difference in world.plane(bind(FEWER)).differences()]
        assert others
        assert all(f" x{world.prefix}op " in line for line in others)
        assert world.plane(bind(FEWER), vouched=[f"x{world.prefix}op"]).differences() == []
        assert _disagreeing(world.plane(bind(FEWER)).probes()) == []
    finally:
        engine.dispose()
        world.close()


def test_what_is_vouched_for_outlives_an_apply(world: PostgresWorld) -> None:
    vouched = {"vouched": ["x" + world.prefix + "dump", "dump"]}
    world.plane(bind(POLICY)).apply()
    world.execute(
        'CREATE ROLE "{x}dump" LOGIN',
        'GRANT SELECT ON members TO "{x}dump"',
        'GRANT "{p}p_sales.outreach" TO "{x}dump"',
        'CREATE POLICY dump ON members FOR SELECT TO "{x}dump" USING (true)',
    )
    assert len(world.plane(bind(POLICY)).differences()) == 3
    assert world.plane(bind(POLICY), **vouched).differences() == []

    assert world.plane(bind(FEWER), **vouched).apply() != []
    assert world.plane(bind(FEWER), **vouched).differences() == []
    assert len(world.plane(bind(FEWER)).differences()) == 3

    assert len(world.plane(bind(FEWER)).apply()) == 3
    assert world.plane(bind(FEWER)).differences() == []


def test_an_operator_without_rights_is_told_so(world: PostgresWorld) -> None:
    world.execute('CREATE ROLE "{x}op" LOGIN')
    engine = sa.create_engine(world.server.url(world.database, user=f"x{world.prefix}op"))
    try:
        with pytest.raises(
            SettingsError, match=r"permission denied .*: run it as a superuser, or as a role with CREATEROLE"
        ):
            world.plane(bind(POLICY), engine=engine).plan()
    finally:
        engine.dispose()


def test_another_database_is_refused() -> None:
    bound = bind(POLICY)
    with pytest.raises(SettingsError, match="needs PostgreSQL, not sqlite"):
        PostgresPlane(sa.create_engine("sqlite://"), compile_postgres(bound, MODELS, RolePlane()), MODELS)
