"""Where a report's lines are read: the log's tables, or the database's functions for who may not read those."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from vaultstore.errors import AuditError
from vaultstore.gate.claims import Claims
from vaultstore.orm.role import NOT_PRIVILEGED, sqlstate
from vaultstore.records import log as stored
from vaultstore.records import subject_lines
from vaultstore.records.entries import vs_entries
from vaultstore.records.log import vs_log

__all__ = ["FunctionSource", "OwnEntry", "Reported", "Source", "TableSource", "ask_report"]

_AT_ONCE = 500
_HASH = 32


class OwnEntry(NamedTuple):
    """An entry with a line of the subject; others' lines may be reduced to their hashes."""

    leaf: str
    lines: bytes
    outcomes: str
    """A JSON list that the lines' outcome bytes point into."""
    position: int | None
    """Place in the log's tree; None where it waits."""


class Source(Protocol):
    """One subject's part of the log."""

    def entries(self) -> Iterator[OwnEntry]:
        """The subject's own entries, in order of insertion."""

    def nodes(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Hashes of perfect nodes (level, index) of the log's tree; one that is not there is left out."""


class TableSource:
    """The tables themselves, for whoever may read them."""

    def __init__(self, connection: sa.Connection, subject: bytes) -> None:
        self._connection, self._subject = connection, subject

    def entries(self) -> Iterator[OwnEntry]:
        """See Source."""
        # What waits is looked for first: an entry that is put into the tree meanwhile is found twice, not never.
        waiting = subject_lines.waiting_of(self._connection, self._subject)
        entries = sorted({*waiting, *subject_lines.entries_of(self._connection, self._subject)})
        query = (
            sa.select(vs_entries.c.leaf, vs_entries.c.lines, vs_entries.c.outcomes, vs_log.c.position)
            .join(vs_log, vs_log.c.entry == vs_entries.c.seq, isouter=True)
            .where(vs_entries.c.seq.in_(sa.bindparam("entries", expanding=True)))
            .order_by(vs_entries.c.seq)
        )
        for start in range(0, len(entries), _AT_ONCE):
            for row in self._connection.execute(query, {"entries": entries[start : start + _AT_ONCE]}).all():
                yield OwnEntry(*row)

    def nodes(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """See Source."""
        return stored.nodes(self._connection, wanted)


@dataclass(frozen=True, slots=True)
class Reported:
    """What the database answered to who asked for a report."""

    entry: str
    code: str | None
    last: int
    checkpoint: str | None


def ask_report(engine: sa.Engine, claims: Claims, subject: uuid.UUID) -> Reported:
    """Have the database admit and audit a report. Raises AuditError where it fails."""
    try:
        found = _call(engine, "SELECT vs_report(%s::jsonb, %s::uuid)::text", claims.json, str(subject))
    except _NotServedError:
        return Reported("", "login.not_served", 0, None)
    return Reported(found["entry"], found.get("code"), found.get("last") or 0, found.get("checkpoint"))


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """The database's functions, for a login that serves reports: they believe the grant's claims and one entry."""

    engine: sa.Engine
    claims: Claims = field(repr=False)
    entry: str
    """The committed entry that says that the report was made."""

    def entries(self) -> Iterator[OwnEntry]:
        """See Source."""
        after, query = -1, "SELECT vs_report_lines(%s::jsonb, %s::text, %s::bigint)::text"
        while rows := _call(self.engine, query, self.claims.json, self.entry, after):
            for after, leaf, lines, outcomes, position in rows:  # noqa: B007 - the last one is where to go on
                yield OwnEntry(leaf, bytes.fromhex(lines), outcomes, position)

    def nodes(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """See Source."""
        places = {node: ((node[1] + 1) << node[0]) - 1 for node in wanted}
        query = "SELECT vs_report_nodes(%s::jsonb, %s::text, %s::bigint[])::text"
        asked = sorted({*places.values()})
        found = dict(_call(self.engine, query, self.claims.json, self.entry, asked)) if asked else {}
        rows = {place: bytes.fromhex(text) for place, text in found.items()}
        return {
            (level, index): rows[place][level * _HASH : (level + 1) * _HASH]
            for (level, index), place in places.items()
            if len(rows.get(place, b"")) >= (level + 1) * _HASH
        }


class _NotServedError(Exception):
    """This login may not call the function."""


def _call(engine: sa.Engine, query: str, *parameters: object) -> Any:
    try:
        with engine.connect() as connection:
            autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
            text = autocommit.exec_driver_sql(query, parameters).scalar_one()
    except sa.exc.SQLAlchemyError as error:
        state = sqlstate(error) if isinstance(error, sa.exc.DBAPIError) else None
    else:
        state = ""
    if state == NOT_PRIVILEGED:
        raise _NotServedError
    if state != "":
        raise AuditError(f"the gate's database failed ({state}), so there is no report")
    if text is None:
        raise AuditError("the database does not take the report's entry any more: ask for the report again")
    return json.loads(text)
