"""The gate's steps on SQLite for blind indexes: searches, and keys that are being rotated."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from vaultstore.gate.ledger import Admission, Taken
from vaultstore.records import entries, index_versions
from vaultstore.records.base import chunks, marks
from vaultstore.records.index_versions import FIRST, Place, Versions

if TYPE_CHECKING:
    from vaultstore.gate.claims import Claims
    from vaultstore.gate.closure import Closure
    from vaultstore.gate.sqlite_steps import Step

__all__ = ["IndexSteps"]


class IndexSteps:
    """A part of SqliteLedger."""

    _members: sa.Engine

    def _step(self, claims: Claims, begin: str = ...) -> AbstractContextManager[Step]:  # type: ignore[empty-body]
        """SqliteLedger's."""

    def search(self, claims: Claims, model: str, field: str, needles: int) -> Admission:
        """Steps 1 to 4 of `search`: the whole of it is refused where a limit does not take every needle."""
        return self._search(claims, model, field, needles, lambda c: c.may_search(model, field), "searched")

    def collide(self, claims: Claims, model: str, field: str) -> Admission:
        """Charge and audit a uniqueness violation as the search that it amounts to."""
        return self._search(claims, model, field, 1, lambda c: c.may_collide(model, field), "collision")

    def found(self, claims: Claims, entry: str, rows: int, subjects: Sequence[bytes]) -> Admission:
        """Audit what a search found; the entry's id begins with the search's."""
        with self._step(claims) as step:
            closure, code = step.live()
            searched = entries.search_of(step.cursor, entry, claims.jti)
            counts = {"rows": rows, "subjects": len(subjects)}
            if closure is None or searched is None:
                return step.refuse("found", code or "not.granted", counts)
            model, field = searched
            numbers, odd = step.number(subjects)
            lines, salts = step.lines(subjects, numbers, odd, {}, "found")
            entry = step.write(
                "found",
                "found",
                counts,
                model=model,
                field=field,
                lines=lines,
                salts=salts,
                entry_id=entries.following(entry),
            )
            return Admission(entry, versions=step.versions())

    def _search(
        self,
        claims: Claims,
        model: str,
        field: str,
        needles: int,
        granted: Callable[[Closure], bool],
        outcome: str,
    ) -> Admission:
        with self._step(claims) as step:
            counts = {"needles": needles}
            closure, code = step.ready(granted, reads=outcome == "searched")
            entry = uuid.uuid4()
            if closure is not None and step.spend(closure, "search", [entry.bytes], needles):
                code = "budget.exhausted"
            if code is not None:
                return step.refuse("search", code, counts, model=model, field=field)
            done = step.write("search", outcome, counts, model=model, field=field, entry_id=str(entry))
            return Admission(done, versions=step.versions())

    def taken(
        self, connection: sa.Connection, claims: Claims, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]]
    ) -> Taken:
        """In the row's transaction, which holds the write lock of members.db: nobody can write a value meanwhile."""
        with self._step(claims, "BEGIN") as step:
            versions = step.versions().get(index, FIRST)
            place = index_versions.held_at(step.cursor, index)
        if versions.next is None or place is None:  # it is over: every row has a digest that the database compares
            return Taken()
        quote = connection.dialect.identifier_preparer.quote_identifier
        own = dict(rows)
        for piece in chunks(list(own)):
            query = (
                f"SELECT {quote(place.column)}, {quote(place.key)} FROM {quote(place.table)}"  # noqa: S608 - names
                f" WHERE {quote(place.column)} IN {marks(len(piece))}"
            )
            for digest, key in connection.exec_driver_sql(query, tuple(piece)):
                if _key(key) != own[digest]:
                    return Taken(place)
        return Taken()

    def reindex(self, claims: Claims, model: str, index: str, subjects: Sequence[bytes], digests: int) -> Admission:
        """Steps 1, 2 and 4: who may read and write the field may have its digests made anew."""
        with self._step(claims) as step:
            closure, code = step.ready(
                lambda c: (
                    (model, index) in c.indexes
                    and c.may_seal(model, {c.indexes[model, index]}, (), [index])
                    and c.may_read(model, {c.indexes[model, index]})
                ),
                reads=True,
            )
            counts = {"subjects": len(subjects), "digests": digests}
            if closure is None:
                return step.refuse("reindex", code, counts, model=model)
            categories = {closure.indexes[model, index]}
            numbers, odd = step.number(subjects)
            refused = step.judge(closure, subjects, odd)
            lines, salts = step.lines(subjects, numbers, odd, refused, "reindexed")
            outcome = "reindexed" if not refused else "partial"
            entry = step.write(
                "reindex", outcome, counts, model=model, categories=categories, field=index, lines=lines, salts=salts
            )
            return Admission(entry, refused=refused, versions=step.versions())

    def settle_index(self, claims: Claims, model: str, index: str, *, settled: bool) -> Admission:
        """Note that every row has a digest of the next version, or that it is to be seen anew whether it has."""
        with self._step(claims) as step:
            closure, code = step.ready(
                lambda c: (model, index) in c.indexes and c.may_seal(model, {c.indexes[model, index]}, (), [index]),
                reads=False,
            )
            if closure is None:
                return step.refuse("reindex", code, {}, model=model)
            if step.versions().get(index, FIRST).next is None:
                return step.refuse("reindex", "index.settled", {}, model=model)
            index_versions.settle(step.cursor, index, step.now if settled else None)
            outcome = "settled" if settled else "begun"
            return Admission(step.write("reindex", outcome, {}, model=model, field=index), versions=step.versions())

    def index_state(self, claims: Claims) -> Admission:
        """The versions, for who keeps keys."""
        with self._step(claims) as step:
            closure, code = step.ready(lambda c: bool(c.keeps_keys), reads=False)
            return step.refuse("rotate", code, {}) if closure is None else Admission("", versions=step.versions())

    def rotate_index(self, claims: Claims, index: str, place: Place, version: int) -> Admission:
        """Let rows be written with digests of `version` from now on. The lock waits for who writes any right now."""
        with self._members.begin(), self._step(claims) as step:
            closure, code = step.ready(lambda c: "rotate" in c.keeps_keys, reads=False)
            if closure is None:
                return step.refuse("rotate", code, {"version": version})
            versions = step.versions().get(index, FIRST)
            if versions.next is not None or version <= versions.current:
                return step.refuse("rotate", "index.rotating", {"version": version}, field=index)
            index_versions.set_versions(step.cursor, index, Versions(versions.current, version), place, step.now)
            entry = step.write("rotate", "rotating", {"version": version}, field=index)
            return Admission(entry, versions=step.versions())

    def finish_index(self, claims: Claims, index: str) -> Admission:
        """Let rows be looked up by digests of the next version only, once all have one."""
        with self._step(claims) as step:
            closure, code = step.ready(lambda c: "retire" in c.keeps_keys, reads=False)
            if closure is None:
                return step.refuse("retire", code, {})
            versions, place = step.versions().get(index, FIRST), index_versions.held_at(step.cursor, index)
            if versions.next is not None and place is not None:
                if not index_versions.settled(step.cursor, index):
                    return step.refuse("retire", "index.unsettled", {"version": versions.next}, field=index)
                index_versions.set_versions(step.cursor, index, Versions(versions.next), place, step.now)
            entry = step.write("retire", "rotated", {"version": versions.written}, field=index)
            return Admission(entry, versions=step.versions())


def _key(value: object) -> bytes:
    """A row key as SQLite keeps it: text with or without dashes, or 16 bytes."""
    return value if isinstance(value, bytes) else bytes.fromhex(str(value).replace("-", ""))
