"""Statements that look before they act: roles and memberships as they should be, and rights taken back."""

from __future__ import annotations

from collections.abc import Iterable

from vaultstore.planes.postgres_text import SCHEMA, literal, name
from vaultstore.records.plane import RolePlane

__all__ = ["functions_to", "memberships_sql", "reset_block", "role_sql", "sequence_grant"]


def _texts(items: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(map(literal, items)) + "]::text[]"


def role_sql(role: str, *, login: bool, comment: str) -> list[str]:
    """Make a role where it is missing, and take from it what it must not have. Passwords are left alone."""
    wanted = "LOGIN" if login else "NOLOGIN"
    powerful = "rolsuper OR rolbypassrls OR rolreplication"
    wrong = f"rolcanlogin <> {str(login).lower()} OR rolinherit OR rolcreaterole OR rolcreatedb"
    # Only what is wrong is altered: to say NOSUPERUSER of a role takes a superuser, even where it is none.
    return [
        f"""DO $vs$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN
        CREATE ROLE {name(role)} {wanted} NOINHERIT;
    ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)} AND ({powerful})) THEN
        ALTER ROLE {name(role)} {wanted} NOINHERIT NOCREATEROLE NOCREATEDB NOSUPERUSER NOBYPASSRLS NOREPLICATION;
    ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)} AND ({wrong})) THEN
        ALTER ROLE {name(role)} {wanted} NOINHERIT NOCREATEROLE NOCREATEDB;
    END IF;
END
$vs$""",  # noqa: S608 - names are quoted
        f"COMMENT ON ROLE {name(role)} IS {literal(comment)}",
    ]


def memberships_sql(
    roles: Iterable[str], memberships: Iterable[tuple[str, str]], keep: Iterable[str] = ()
) -> list[str]:
    """Make exactly these (role, member) pairs, of all that any of `roles` is part of.

    From PostgreSQL 16 on a membership says for itself whether it is inherited, and stands once a grantor. Whoever
    runs this keeps what it has, and so do roles in `keep`.
    """
    pairs = sorted(memberships)
    revoke = f"""DO $vs$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT r.rolname AS role, m.rolname AS member, pg_get_userbyid(a.grantor) AS grantor
        FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
        WHERE (r.rolname::text = ANY ({_texts(roles)}) OR m.rolname::text = ANY ({_texts(roles)}))
            AND m.rolname <> current_user
            AND NOT ARRAY[r.rolname::text, m.rolname::text] && {_texts(keep)}
            AND NOT EXISTS (
                SELECT FROM unnest(
                    {_texts(role for role, _ in pairs)},
                    {_texts(member for _, member in pairs)}
                ) AS w (role, member)
                WHERE w.role = r.rolname::text AND w.member = m.rolname::text
            )
    LOOP
        EXECUTE 'REVOKE ' || quote_ident(found.role) || ' FROM ' || quote_ident(found.member)
            || CASE WHEN current_setting('server_version_num')::int >= 160000
                THEN ' GRANTED BY ' || quote_ident(found.grantor) || ' CASCADE' ELSE '' END;
    END LOOP;
END
$vs$"""  # noqa: S608 - names are quoted
    return [revoke, *(_member(role, member) for role, member in pairs)]


def _member(role: str, member: str) -> str:
    grant = f"GRANT {name(role)} TO {name(member)}"
    return f"""DO $vs$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE {literal(f"{grant} WITH ADMIN FALSE, INHERIT FALSE, SET TRUE")};
    ELSIF NOT EXISTS (
        SELECT FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
        WHERE r.rolname = {literal(role)} AND m.rolname = {literal(member)} AND NOT a.admin_option
    ) THEN
        REVOKE {name(role)} FROM {name(member)};
        {grant};
    END IF;
END
$vs$"""  # noqa: S608 - names are quoted


def reset_block(plane: RolePlane, tables: Iterable[str], keep: Iterable[str] = ()) -> str:
    """Template: take back policies, scope views and rights, of anybody on `tables` and our functions, of our roles on
    everything in the schema. Roles and policies called as in `keep` are left alone.
    """
    ours = (
        f"(starts_with(rolname, {literal(plane.prefix + 'p_')}) OR starts_with(rolname, {literal(plane.prefix + 's_')})"
        f" OR rolname IN ({literal(plane.owner)}, {literal(plane.scopes)}, {literal(plane.issuer)}))"
    )
    return f"""DO $vs$
DECLARE
    home oid := {literal(SCHEMA)}::regnamespace;
    ours oid[] := ARRAY(SELECT oid FROM pg_roles WHERE {ours});
    tables text[] := {_texts(tables)};
    keep text[] := {_texts(keep)};
    kept oid[] := ARRAY(SELECT oid FROM pg_roles WHERE rolname::text = ANY (keep));
    found record;
BEGIN
    FOR found IN
        SELECT p.polname, c.oid::regclass AS relation FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE c.relnamespace = home AND (c.relname::text = ANY (tables) OR p.polroles && ours)
            AND p.polname::text <> ALL (keep)
    LOOP
        EXECUTE 'DROP POLICY ' || quote_ident(found.polname) || ' ON ' || found.relation;
    END LOOP;
    FOR found IN
        SELECT c.oid::regclass AS relation FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.relnamespace = home AND c.relkind = 'v'
            AND (o.rolname = {literal(plane.scopes)} OR starts_with(c.relname, {literal(plane.prefix + "scope_")}))
    LOOP
        EXECUTE 'DROP VIEW ' || found.relation;
    END LOOP;
    FOR found IN
        SELECT DISTINCT c.oid::regclass AS relation, c.relkind, a.grantee
        FROM pg_class c
        CROSS JOIN LATERAL (
            SELECT grantee FROM aclexplode(c.relacl)
            UNION SELECT x.grantee FROM pg_attribute t, aclexplode(t.attacl) x WHERE t.attrelid = c.oid
        ) a
        WHERE c.relnamespace = home AND a.grantee <> c.relowner AND a.grantee <> ALL (kept) AND (
            a.grantee = ANY (ours) OR c.relname::text = ANY (tables) OR EXISTS (
                SELECT FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                    AND d.deptype IN ('a', 'i') AND c.relkind = 'S' AND o.relname::text = ANY (tables)
            )
        )
    LOOP
        EXECUTE 'REVOKE ALL ON ' || CASE found.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || found.relation
            || ' FROM ' || CASE found.grantee WHEN 0 THEN 'PUBLIC' ELSE found.grantee::regrole::text END || ' CASCADE';
    END LOOP;
    FOR found IN
        SELECT DISTINCT p.oid::regprocedure AS routine, a.grantee
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
        WHERE p.pronamespace = home AND p.prokind = 'f' AND a.grantee <> p.proowner AND a.grantee <> ALL (kept)
            AND (a.grantee = ANY (ours) OR p.proname ~ '^vsx?_')
    LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION ' || found.routine
            || ' FROM ' || CASE found.grantee WHEN 0 THEN 'PUBLIC' ELSE found.grantee::regrole::text END || ' CASCADE';
    END LOOP;
    FOR found IN
        SELECT DISTINCT a.grantee FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.oid = home AND a.grantee <> n.nspowner AND a.grantee = ANY (ours)
    LOOP
        EXECUTE 'REVOKE ALL ON SCHEMA ' || home::regnamespace || ' FROM ' || found.grantee::regrole || ' CASCADE';
    END LOOP;
END
$vs$"""  # noqa: S608 - names are quoted


def functions_to(owner: str) -> str:
    """Template: the functions of ours belong to `owner`, who may call them, and PUBLIC may not."""
    return f"""DO $vs$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = {literal(SCHEMA)}::regnamespace AND p.proname ~ '^vsx?_'
    LOOP
        EXECUTE 'ALTER FUNCTION ' || found || ' OWNER TO {name(owner)}';
        EXECUTE 'REVOKE ALL ON FUNCTION ' || found || ' FROM PUBLIC';
        EXECUTE 'GRANT ALL ON FUNCTION ' || found || ' TO {name(owner)}';
    END LOOP;
END
$vs$"""  # noqa: S608 - names are quoted


def sequence_grant(table: str, column: str, sequence: str | None, roles: Iterable[str]) -> str:
    """Template: `roles` take numbers for a column: from its own sequence, or the one called `sequence`."""
    if sequence is None:
        found = f"pg_get_serial_sequence({literal(f'{SCHEMA}.{name(table)}')}, {literal(column)})"
    else:
        found = f"to_regclass({literal(f'{SCHEMA}.{name(sequence)}')})::text"
    return f"""DO $vs$
DECLARE
    found text := {found};
BEGIN
    IF found IS NOT NULL THEN
        EXECUTE 'GRANT USAGE ON SEQUENCE ' || found || ' TO {", ".join(map(name, roles))}';
    END IF;
END
$vs$"""
