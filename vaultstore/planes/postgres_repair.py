"""Statements that close the gaps which a target's own statements leave: what others added, changed or switched off.

A target names what should be; here is what undoes the rest. Only things of ours are touched: our tables, functions and
roles. A view, a function or a publication that somebody else made is reported, and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from vaultstore.planes.postgres_gaps import Gap
from vaultstore.planes.postgres_target import PostgresTarget
from vaultstore.planes.postgres_text import name as quoted

__all__ = ["Leaver", "closing", "is_ours", "leavers", "role_repairs"]

_OURS = frozenset({"owner", "row security", "forced row security", "policy", "grant", "function grant"})
_WHERE_EXPECTED = frozenset({"function", "trigger", "view"})
"""Kinds of which only what the target has is put right: another's trigger or function is not ours to drop."""
_ENABLE = {"enabled": "ENABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA"}


@dataclass(frozen=True, slots=True)
class Leaver:
    """A role of a purpose or a service that the policy no longer has."""

    name: str
    stays: str = ""
    """Why it can't be dropped; ``""``: it can."""
    owns: bool = False
    """Whether it owns things in this database, which must not go with it."""


def is_ours(gap: Gap, target: PostgresTarget, known: frozenset[str]) -> bool:
    """Whether `apply` answers for this gap. `known` are the objects that are expected: tables, views, functions."""
    match gap.kind:
        case "role" | "setting":
            return gap.object.removeprefix("role ") in target.roles
        case "membership":
            return gap.object in target.roles or gap.who in target.roles
        case "schema grant":
            return gap.who == "PUBLIC" or gap.who.startswith(target.plane.prefix)
    return gap.object in known and (gap.kind in _OURS or (gap.kind in _WHERE_EXPECTED and gap.expected is not None))


def role_repairs(connection: sa.Connection, found: Iterable[Gap], target: PostgresTarget) -> list[str]:
    """Attributes, settings and memberships of our roles put right, before anything is granted to them."""
    statements = []
    for gap in found:
        if gap.kind == "role" and gap.object in target.roles and gap.expected and gap.found:
            statements.append(f"ALTER ROLE {quoted(gap.object)} {_attributes(gap.expected, gap.found)}")
        elif gap.kind == "setting" and gap.object.removeprefix("role ") in target.roles:
            role = quoted(gap.object.removeprefix("role "))
            database = quoted(str(connection.exec_driver_sql("SELECT current_database()").scalar_one()))
            here = f" IN DATABASE {database}" if str(gap.found).endswith("in this database") else ""
            statements.append(f"ALTER ROLE {role}{here} RESET {quoted(gap.part)}")
        elif gap.kind == "membership" and gap.found and (gap.object in target.roles or gap.who in target.roles):
            statements += _revoked(connection, gap.object, gap.who)
    return statements


def _attributes(expected: str, found: str) -> str:
    """What ALTER ROLE says to lead from `found` to `expected`, and no more: some words take a superuser."""
    wanted, have = set(expected.split()), set(found.split())
    opposite = {word: word.removeprefix("NO") if word.startswith("NO") else f"NO{word}" for word in have}
    return " ".join(sorted({*(wanted - have), *(opposite[word] for word in have - wanted)}))


def _revoked(connection: sa.Connection, role: str, member: str) -> Iterator[str]:
    # From 16 on a membership stands once for each grantor, and is revoked in that grantor's name.
    rows = connection.execute(
        sa.text(
            "SELECT current_setting('server_version_num')::int >= 160000, pg_get_userbyid(m.grantor)"
            " FROM pg_auth_members m WHERE pg_get_userbyid(m.roleid) = :role AND pg_get_userbyid(m.member) = :member"
        ),
        {"role": role, "member": member},
    )
    for named, grantor in rows.all():
        by = f" GRANTED BY {quoted(grantor)} CASCADE" if named else ""
        yield f"REVOKE {quoted(role)} FROM {quoted(member)}{by}"


def closing(gap: Gap, relations: Mapping[str, str]) -> str | None:
    """The statement that closes a gap of a table, sequence, view or function; None where only the target's own can.

    `relations` has what each relation is (``table``, ``sequence``...).
    """
    what = "FUNCTION" if "(" in gap.object else "SEQUENCE" if relations.get(gap.object) == "sequence" else "TABLE"
    match gap.kind:
        case "owner" if gap.expected:
            return f"ALTER {what} {gap.object} OWNER TO {quoted(gap.expected)}"
        case "function" if gap.part == "owner" and gap.expected:
            return f"ALTER FUNCTION {gap.object} OWNER TO {quoted(gap.expected)}"
        case "row security" | "forced row security" if gap.expected:
            on, off = ("FORCE", "NO FORCE") if gap.kind.startswith("forced") else ("ENABLE", "DISABLE")
            return f"ALTER TABLE {gap.object} {on if gap.expected == 'on' else off} ROW LEVEL SECURITY"
        case "policy" if gap.expected is None:
            return f"DROP POLICY {quoted(gap.part)} ON {gap.object}"
        case "trigger" if gap.expected and gap.found:
            return f"ALTER TABLE {gap.object} {_ENABLE[gap.expected.split()[0]]} TRIGGER {quoted(gap.part)}"
        case "grant" | "function grant" | "schema grant" if gap.expected is None and gap.found and gap.who != "(owner)":
            option = "GRANT OPTION FOR " if gap.found.startswith("GRANT OPTION FOR ") else ""
            right = gap.found.removeprefix(option) + (f" ({quoted(gap.part)})" if gap.part else "")
            on = f"SCHEMA {quoted(gap.object)}" if gap.kind == "schema grant" else f"{what} {gap.object}"
            who = "PUBLIC" if gap.who == "PUBLIC" else quoted(gap.who)
            return f"REVOKE {option}{right} ON {on} FROM {who} CASCADE"
    return None


def leavers(connection: sa.Connection, found: Iterable[Gap], target: PostgresTarget) -> list[Leaver]:
    """Roles of purposes and services that are gone, and which of them something still holds."""
    begins = tuple(target.plane.prefix + kind for kind in ("p_", "s_"))
    names = sorted(g.object for g in found if g.kind == "role" and g.expected is None and g.object.startswith(begins))
    return [_leaver(connection, name) for name in names]


def _leaver(connection: sa.Connection, role: str) -> Leaver:
    owned = connection.execute(
        sa.text(
            "SELECT pg_describe_object(s.classid, s.objid, s.objsubid) FROM pg_shdepend s WHERE s.deptype = 'o'"
            " AND s.refclassid = 'pg_authid'::regclass AND pg_get_userbyid(s.refobjid) = :role"
            " AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY 1 LIMIT 3"
        ),
        {"role": role},
    )
    if things := [str(row[0]) for row in owned]:
        return Leaver(role, f"it stays, for it owns {', '.join(things)}", owns=True)
    elsewhere = connection.execute(
        sa.text(
            "SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE s.refclassid = 'pg_authid'::regclass AND pg_get_userbyid(s.refobjid) = :role"
            " AND d.datname <> current_database() ORDER BY 1"
        ),
        {"role": role},
    )
    if databases := [row.datname for row in elsewhere]:
        return Leaver(role, f"it stays, for database {', '.join(databases)} still uses it")
    return Leaver(role)
