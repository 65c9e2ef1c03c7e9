"""What somebody changes by hand in a deployed database is found, and named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.postgres_plane import POLICY, PostgresWorld, bind, postgres_world
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

OUTREACH, CRM, DESK = '"{p}p_sales.outreach"', '"{p}s_crm"', '"{p}s_desk"'


@dataclass(frozen=True)
class Drift:
    """A deed, the line that tells of it, and how it is undone."""

    name: str
    plant: tuple[str, ...]
    line: str
    """A regular expression that one line of the differences matches."""
    undo: tuple[str, ...] | None = None
    """None: `apply` undoes it. Otherwise it leaves it alone, for it is not ours."""
    lines: int | None = 1
    """How many lines it takes in all; None: that depends on the version."""


def _policy(deed: str) -> str:
    """Do something to the policy on members that is for sales.outreach and reads."""
    return f"""DO $$ DECLARE p name; BEGIN
    SELECT polname INTO STRICT p FROM pg_policy WHERE polrelid = 'members'::regclass AND polpermissive
        AND polroles = ARRAY['{OUTREACH}'::regrole::oid] AND polcmd IN ('r', '*');
    EXECUTE format({deed}, p); END $$"""


def _definer(name: str) -> str:
    reads = "SELECT string_agg(wrapped, ',') FROM public.vs_keyring"
    return f"CREATE FUNCTION {name}() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ {reads} $$"


ACTOR = (
    "CREATE OR REPLACE FUNCTION vs_actor() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE"
    " SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN 'u-1'; END $$"
)

_CHECK = (
    "ALTER TABLE members ADD CONSTRAINT ck_members_phone_sealed CHECK"
    " (CASE WHEN octet_length(phone) >= 33 THEN get_byte(phone, 0) = 1 ELSE phone IS NULL END)"
)

DRIFTS = [
    # ---- rights
    Drift(
        "a grant on a column",
        (f"GRANT SELECT (phone) ON members TO {OUTREACH}",),
        r"grant SELECT \(phone\) on public\.members to {p}p_sales\.outreach is too open: expected none, found granted",
    ),
    Drift(
        "a grant on a table",
        (f"GRANT SELECT ON members TO {OUTREACH}",),
        r"grant SELECT on public\.members to {p}p_sales\.outreach is too open",
    ),
    Drift(
        "a grant to everybody",
        ("GRANT SELECT (nickname) ON members TO PUBLIC",),
        r"grant SELECT \(nickname\) on public\.members to PUBLIC is too open",
    ),
    Drift(
        "a grant that may be passed on",
        (f"GRANT SELECT (nickname) ON members TO {OUTREACH} WITH GRANT OPTION",),
        r"grant SELECT \(nickname\) WITH GRANT OPTION on public\.members to {p}p_sales\.outreach is too open",
    ),
    Drift(
        "a grant that was passed on",
        (
            'CREATE ROLE "{x}report"',
            f"GRANT SELECT (nickname) ON members TO {OUTREACH} WITH GRANT OPTION",
            f'SET SESSION AUTHORIZATION {OUTREACH}; GRANT SELECT (nickname) ON public.members TO "{{x}}report"',
        ),
        r"grant SELECT \(nickname\) on public\.members to {x}report is too open",
        lines=2,
    ),
    Drift(
        "a grant to somebody else's role",
        ('CREATE ROLE "{x}bi" LOGIN', 'GRANT SELECT, TRUNCATE ON members TO "{x}bi"'),
        r"grant SELECT, TRUNCATE on public\.members to {x}bi is too open",
    ),
    Drift(
        "a revoked grant",
        (f"REVOKE SELECT (phone_sales_card) ON members FROM {OUTREACH}",),
        r"grant SELECT \(phone_sales_card\) on public\.members to {p}p_sales\.outreach is too closed: expected granted,"
        r" found none",
    ),
    Drift(
        "a grant on the keyring",
        (f"GRANT SELECT ON vs_keyring TO {CRM}",),
        r"grant SELECT on public\.vs_keyring to {p}s_crm is too open",
    ),
    Drift(
        "a grant on a sequence",
        (f"GRANT USAGE ON SEQUENCE vs_entries_seq_seq TO {CRM}",),
        r"grant USAGE on public\.vs_entries_seq_seq to {p}s_crm is too open",
    ),
    Drift(
        "a gate function for everybody",
        ("GRANT EXECUTE ON FUNCTION vs_ticket(jsonb, text[]) TO PUBLIC",),
        r"grant EXECUTE on function public\.vs_ticket\(jsonb,text\[\]\) to PUBLIC is too open",
    ),
    Drift(
        "a gate function that a service lost",
        (f"REVOKE EXECUTE ON FUNCTION vs_check(jsonb) FROM {CRM}",),
        r"grant EXECUTE on function public\.vs_check\(jsonb\) to {p}s_crm is too closed",
    ),
    Drift(
        "the right to create in the schema",
        (f"GRANT CREATE ON SCHEMA public TO {CRM}",),
        r"grant CREATE on schema public to {p}s_crm is too open",
    ),
    Drift(
        "everybody may create in the schema",
        ("GRANT CREATE ON SCHEMA public TO PUBLIC",),
        r"grant CREATE on schema public to PUBLIC is too open",
    ),
    Drift(
        "the right to create in the database",
        (f'GRANT CREATE ON DATABASE "{{db}}" TO {CRM}',),
        r"grant CREATE on database {db} to {p}s_crm is too open",
        (f'REVOKE CREATE ON DATABASE "{{db}}" FROM {CRM}',),
    ),
    Drift(
        "nobody may connect",
        ('REVOKE CONNECT ON DATABASE "{db}" FROM PUBLIC',),
        r"CONNECT on database {db} by .*{p}s_crm.* is too closed",
        ('GRANT CONNECT ON DATABASE "{db}" TO PUBLIC',),
    ),
    Drift(
        "a copy of a table",
        ("CREATE TABLE members_copy AS SELECT * FROM members", f"GRANT SELECT ON members_copy TO {OUTREACH}"),
        r"grant SELECT on public\.members_copy to {p}p_sales\.outreach is too open",
        ("DROP TABLE members_copy",),
    ),
    Drift(
        "default privileges",
        (f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {OUTREACH}",),
        r"default grant SELECT on tables, objects that postgres creates in schema public, to {p}p_sales\.outreach is",
        (f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM {OUTREACH}",),
    ),
    Drift(
        "a parameter of superusers",
        (f"GRANT SET ON PARAMETER session_replication_role TO {CRM}",),
        r"grant SET on parameter session_replication_role to {p}s_crm is too open",
        (f"REVOKE SET ON PARAMETER session_replication_role FROM {CRM}",),
    ),
    # ---- rows
    Drift(
        "row security off",
        ("ALTER TABLE members DISABLE ROW LEVEL SECURITY",),
        r"^row security on public\.members is too open: expected on, found off",
    ),
    Drift(
        "row security not forced",
        ("ALTER TABLE members NO FORCE ROW LEVEL SECURITY",),
        r"forced row security on public\.members is too open: expected on, found off",
    ),
    Drift(
        "an altered policy",
        (_policy("'ALTER POLICY %I ON members USING (true)'"),),
        r"policy .* on public\.members is different: expected PERMISSIVE .*, found PERMISSIVE .* USING \(true\)",
    ),
    Drift(
        "an added policy",
        (f"CREATE POLICY everything ON members FOR SELECT TO {OUTREACH} USING (true)",),
        r"policy everything on public\.members is too open: expected none, found PERMISSIVE FOR SELECT",
    ),
    Drift(
        "a dropped policy",
        (_policy("'DROP POLICY %I ON members'"),),
        r"policy .* on public\.members is too closed: expected PERMISSIVE .*, found none",
    ),
    # ---- what reads a table with another's rights
    Drift(
        "a superuser's view",
        ("CREATE VIEW all_members AS SELECT * FROM members",),
        r"view public\.all_members is too open: expected none, found owner postgres \(superuser\)",
        ("DROP VIEW all_members",),
    ),
    Drift(
        "a view over a view in another schema",
        (
            "CREATE SCHEMA reporting",
            "CREATE VIEW reporting.one AS SELECT id, phone FROM members",
            "CREATE MATERIALIZED VIEW reporting.two AS SELECT phone FROM reporting.one",
        ),
        r"view reporting\.two is too open: expected none, found owner postgres \(superuser\) materialized",
        ("DROP SCHEMA reporting CASCADE",),
        lines=2,
    ),
    Drift(
        "a definer function that reads the keyring",
        ("CREATE SCHEMA tools", _definer("tools.wraps")),
        r"SECURITY DEFINER function tools\.wraps\(\) is too open: expected none, found owner postgres \(superuser\)"
        r" no search_path sha256:\w+ called by PUBLIC",
        ("DROP SCHEMA tools CASCADE",),
    ),
    Drift(
        "a definer function beside the gate's",
        (_definer("wraps"),),
        r"function public\.wraps\(\) is too open: expected none, found .*security definer",
        ("DROP FUNCTION wraps()",),
        lines=2,
    ),
    Drift(
        "a function with a name like the gate's",
        (_definer("vs_wraps_all"),),
        r"function public\.vs_wraps_all\(\) is too open",
        ("DROP FUNCTION vs_wraps_all()",),
        lines=2,
    ),
    Drift(
        "a rule that copies what is written",
        (
            "CREATE TABLE copies (id uuid)",
            "CREATE RULE copy AS ON INSERT TO members DO ALSO INSERT INTO copies VALUES (NEW.id)",
        ),
        r"rule copy on public\.members is too open",
        ("DROP RULE copy ON members", "DROP TABLE copies"),
    ),
    Drift(
        "an event trigger",
        (
            "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
            "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch()",
        ),
        r"event trigger watch is too open: expected none, found on ddl_command_end runs public\.watch\(\)",
        ("DROP EVENT TRIGGER watch", "DROP FUNCTION watch()"),
    ),
    Drift(
        "a publication",
        ("CREATE PUBLICATION everything FOR TABLE members",),
        r"publication everything is too open: expected none, found public\.members",
        ("DROP PUBLICATION everything",),
    ),
    Drift(
        "a publication of all tables",
        ("CREATE PUBLICATION everything FOR ALL TABLES",),
        r"publication everything is too open: expected none, found public\.chat_messages, .* more",
        ("DROP PUBLICATION everything",),
    ),
    # ---- the gate's functions
    Drift("an altered function", (ACTOR,), r"body of function public\.vs_actor\(\) is different"),
    Drift(
        "a function with another owner",
        ("ALTER FUNCTION vs_actor() OWNER TO postgres",),
        r"owner of function public\.vs_actor\(\) is different: expected {p}owner, found postgres",
    ),
    Drift(
        "a function with another search_path",
        ("ALTER FUNCTION vs_actor() SET search_path = public",),
        r"settings of function public\.vs_actor\(\) is different: expected search_path=pg_catalog, pg_temp, found"
        r" search_path=public",
    ),
    Drift(
        "a function that lost its owner's rights",
        ("ALTER FUNCTION vs_check(jsonb) SECURITY INVOKER",),
        r"security of function public\.vs_check\(jsonb\) is different: expected definer plpgsql volatile, found inv",
    ),
    Drift(
        "a missing function",
        ("DROP FUNCTION vs_check(jsonb)",),
        r"function public\.vs_check\(jsonb\) is too closed: expected as this version makes it, found none",
    ),
    # ---- tables
    Drift(
        "a disabled trigger",
        ("ALTER TABLE vs_entries DISABLE TRIGGER vs_entries_rows",),
        r"trigger \w+ on public\.vs_entries is too open: expected always, found disabled$",
    ),
    Drift(
        "foreign keys switched off",
        ("ALTER TABLE chat_messages DISABLE TRIGGER ALL",),
        r"trigger RI_ConstraintTrigger_\w+ on public\.chat_messages is too open: expected none, found disabled",
        ("ALTER TABLE chat_messages ENABLE TRIGGER ALL",),
        lines=2,
    ),
    Drift(
        "a trigger of somebody else",
        (
            "CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            "CREATE TRIGGER spy BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION spy()",
        ),
        r"trigger spy on public\.members is too open: expected none, found enabled",
        ("DROP TRIGGER spy ON members", "DROP FUNCTION spy()"),
    ),
    Drift(
        "a table with another owner",
        ("ALTER TABLE members OWNER TO postgres",),
        r"owner of public\.members is different: expected {p}owner, found postgres",
    ),
    Drift(
        "an added column",
        ("ALTER TABLE members ADD COLUMN phone_plain text",),
        r"column public\.members\.phone_plain is different: expected none, found text",
        ("ALTER TABLE members DROP COLUMN phone_plain",),
    ),
    Drift(
        "a dropped check",
        ("ALTER TABLE members DROP CONSTRAINT ck_members_phone_sealed",),
        r"constraint ck_members_phone_sealed on public\.members is too open",
        (_CHECK,),
    ),
    Drift(
        "a child table",
        ("CREATE TABLE members_too () INHERITS (members)",),
        r"table public\.members_too below public\.members is too open",
        ("DROP TABLE members_too",),
    ),
    # ---- roles
    Drift(
        "a purpose's role that can log in",
        (f"ALTER ROLE {OUTREACH} LOGIN",),
        r"role {p}p_sales\.outreach is too open: expected NOLOGIN NOINHERIT, found LOGIN NOINHERIT",
    ),
    Drift(
        "a superuser",
        (f"ALTER ROLE {CRM} SUPERUSER",),
        r"role {p}s_crm is too open: .* found SUPERUSER LOGIN NOINHERIT",
    ),
    Drift(
        "a role that row security does not hold",
        (f"ALTER ROLE {OUTREACH} BYPASSRLS",),
        r"role {p}p_sales\.outreach is too open: .* found BYPASSRLS NOLOGIN NOINHERIT",
    ),
    Drift(
        "a login that inherits",
        (f"ALTER ROLE {CRM} INHERIT",),
        r"role {p}s_crm is too open: expected LOGIN NOINHERIT, found LOGIN INHERIT",
        lines=None,
    ),
    Drift("a login that can't log in", (f"ALTER ROLE {CRM} NOLOGIN",), r"role {p}s_crm is too closed"),
    Drift(
        "a purpose's role for another login",
        (f"GRANT {OUTREACH} TO {DESK}",),
        r"membership of {p}s_desk in {p}p_sales\.outreach is too open: expected none, found member",
    ),
    Drift(
        "a login that may pass its role on",
        (f"GRANT {OUTREACH} TO {CRM} WITH ADMIN OPTION",),
        r"membership of {p}s_crm in {p}p_sales\.outreach is too open: expected member, found member ADMIN",
    ),
    Drift(
        "a chain of groups",
        (
            'CREATE ROLE "{x}all"; CREATE ROLE "{x}more"',
            f'GRANT {OUTREACH} TO "{{x}}all"; GRANT "{{x}}all" TO "{{x}}more"; GRANT "{{x}}more" TO {DESK}',
        ),
        r"membership of {p}s_desk in {x}more is too open",
        lines=2,
    ),
    Drift(
        "a login that lost a purpose",
        (f"REVOKE {OUTREACH} FROM {CRM}",),
        r"membership of {p}s_crm in {p}p_sales\.outreach is too closed",
    ),
    Drift(
        "one of ours that reads all data",
        (f"GRANT pg_read_all_data TO {CRM}",),
        r"membership of {p}s_crm in pg_read_all_data is too open",
    ),
    Drift(
        "another who reads all data",
        ('CREATE ROLE "{x}dump" LOGIN', 'GRANT pg_read_all_data TO "{x}dump"'),
        r"membership of {x}dump in pg_read_all_data is too open",
        ('DROP ROLE "{x}dump"',),
    ),
    Drift(
        "another superuser",
        ('CREATE ROLE "{x}dba" SUPERUSER',),
        r"role {x}dba is too open: expected none, found SUPERUSER",
        ('DROP ROLE "{x}dba"',),
    ),
    Drift(
        "another that row security does not hold",
        ('CREATE ROLE "{x}etl" BYPASSRLS',),
        r"role {x}etl is too open: expected none, found BYPASSRLS",
        ('DROP ROLE "{x}etl"',),
    ),
    Drift(
        "another role with our prefix",
        ('CREATE ROLE "{p}backup" LOGIN',),
        r"role {p}backup is too open: expected none, found LOGIN INHERIT",
        ('DROP ROLE "{p}backup"',),
    ),
    Drift(
        "a role's setting",
        (f'ALTER ROLE {CRM} SET role = "{{p}}p_sales.outreach"',),
        r"setting role of role {p}s_crm is too open: expected none, found role={p}p_sales\.outreach",
    ),
    Drift(
        "a role's setting in this database",
        (f"ALTER ROLE {CRM} IN DATABASE \"{{db}}\" SET vaultstore.claims = '{{}}'",),
        r"setting vaultstore\.claims of role {p}s_crm is too open: .* in this database",
    ),
    Drift(
        "a database's setting",
        ('ALTER DATABASE "{db}" SET search_path = reporting, public',),
        r"setting search_path of database {db} is too open",
        ('ALTER DATABASE "{db}" RESET search_path',),
    ),
    Drift(
        "a plane that was taken away",
        ("DELETE FROM vs_plane",),
        r"plane in vs_plane is too closed: expected prefix {p}, not strict.*, found none",
    ),
]


@pytest.fixture(scope="module")
def world(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    """A world with its plane applied; each test leaves it as it was, or the next one fails."""
    with postgres_world(postgres) as made:
        made.plane(bind(POLICY)).apply()
        yield made


@pytest.mark.parametrize("drift", [pytest.param(d, id=d.name.replace(" ", "-")) for d in DRIFTS])
def test_a_planted_drift_is_named_and_undone_if_it_is_ours(world: PostgresWorld, drift: Drift) -> None:
    plane = world.plane(bind(POLICY))
    world.execute(*drift.plant)

    found = list(map(str, plane.differences()))
    done = plane.apply()
    if drift.undo is not None:
        world.execute(*drift.undo)

    pattern = re.compile(world.name(drift.line))
    assert any(pattern.search(line) for line in found), found
    assert drift.lines is None or len(found) == drift.lines, found
    assert (done == []) == (drift.undo is not None)
    if drift.undo is None:
        assert plane.differences() == []


def test_what_an_operator_vouches_for_is_no_difference(world: PostgresWorld) -> None:
    world.execute("CREATE VIEW vouched_view AS SELECT * FROM members", 'CREATE ROLE "{x}vouched" SUPERUSER')
    try:
        assert len(world.plane(bind(POLICY)).differences()) == 2
        assert world.plane(bind(POLICY), vouched=["public.vouched_view", world.name("{x}vouched")]).differences() == []
    finally:
        world.execute("DROP VIEW vouched_view", 'DROP ROLE "{x}vouched"')


def test_differences_leave_nothing_behind(world: PostgresWorld) -> None:
    everything = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (SELECT oid, xmin FROM {}) t"
    before = [world.value(everything.format(table)) for table in ("pg_class", "pg_namespace", "pg_authid", "pg_proc")]
    world.plane(bind(POLICY)).differences()
    world.plane(bind(POLICY)).plan()
    assert world.plane(bind(POLICY)).apply() == []
    after = [world.value(everything.format(table)) for table in ("pg_class", "pg_namespace", "pg_authid", "pg_proc")]
    assert before == after
