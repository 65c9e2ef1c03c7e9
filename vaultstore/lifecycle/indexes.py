"""Upkeep of blind indexes' keys: a new version, digests made anew under it, the old one given up for good."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from vaultstore.errors import UnsupportedOperation
from vaultstore.gate import OpenGrant
from vaultstore.gate.ledger import Admission
from vaultstore.gate.refusals import refusal
from vaultstore.lifecycle.jobs import Jobs, OnProgress, Summary
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.reindexing import Reindex
from vaultstore.lifecycle.rewrapping import grant_of
from vaultstore.lifecycle.rights import require
from vaultstore.orm.registry import FieldInfo, ModelInfo
from vaultstore.orm.role import operators_only
from vaultstore.policy.model import Purpose
from vaultstore.policy.rights import entry_of
from vaultstore.policy.words import hint, shown
from vaultstore.records import index_versions
from vaultstore.records.index_versions import FIRST, Place, Versions

__all__ = ["IndexState", "Indexes"]


@dataclass(frozen=True, slots=True)
class IndexState:
    """How the key of a blind index stands. Versions count from 1."""

    index: str
    model: str
    field: str
    current: int
    """Rows may have digests of it."""
    next: int | None
    """While the key is being rotated: rows are written with digests of it."""
    settled: bool
    """Whether every row has a digest of `next`, or of `current` where the key is not being rotated."""


class Indexes:
    """`store.indexes`: rotates the keys of blind indexes. Sessions go on meanwhile, and searches find every row.

    An index is called as its field's context is, ``members.phone``. Each method raises AccessDenied and TokenError as
    the gate does, UnsupportedOperation for a name that no index has, and KeyServiceError.
    """

    def __init__(self, parts: Parts, jobs: Jobs) -> None:
        self._parts, self._jobs = parts, jobs

    def __repr__(self) -> str:
        return "<Indexes>"

    def rotate(self, index: str, token: Token) -> int:
        """Add a version to the index's key and write rows with digests of it from now on; returns its number.

        `token` is for a purpose that keeps keys (``rotate``). Raises AccessDenied (``index.busy``) where writers do not
        let it in between: try again.

        An index whose versions are kept (``blind_index(forever=True)``) stays at two from then on: what its tags were
        made of is nowhere, so both are looked up for good, and a third is refused with UnsupportedOperation.
        """
        info, found = self._known(index)
        opened = grant_of(self._parts, token)
        place = _place(info, found)
        versions = self._told(opened, index)
        if versions.next is not None:
            if _kept(found):
                raise UnsupportedOperation(
                    f"the key of {index} was rotated, and both of its versions are kept for good"
                )
            return versions.next  # it had begun
        newest = opened.ask(lambda service: service.versions(index, "index")).newest
        if newest <= versions.current:
            newest = opened.ask(lambda service: service.rotate(index, "index"))
        answer = self._parts.ledger.rotate_index(opened.claims, index, place, newest)
        self._refuse(answer, opened, "rotate", index)
        return newest

    def backfill(
        self,
        index: str,
        token: Token,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Make the digests of all rows anew under the version that the index is being rotated to.

        `token` is for a purpose that reads and writes the field's category in every row, such as
        ``maintenance.index``, or a function that returns one. It can run while the store is in use, can be stopped at
        any point and goes on where it was; rows that can't be done are in the summary. Once none of them is left the
        rotation can be finished. `executor` of other processes takes an `opener`.
        """
        info, found = self._known(index)
        if executor is not None and opener is None and not isinstance(executor, ThreadPoolExecutor):
            raise UnsupportedOperation("an executor of other processes takes an opener, which opens the store there")
        self._refuse_kept(index, found)
        grant = self._parts.verify(token_of(token))
        require(self._parts, grant, (info.name, *info.bases), [found.category], write=True)
        _require_whole(grant.purpose, info)
        version = self._settle(info, index, token, settled=False)
        parts = None if opener and executor else self._parts
        work = Reindex(f"{index} v{version}", info.name, found.name, token, opener, parts)
        summary = self._jobs.run(work, workers=workers, executor=executor, on_progress=on_progress)
        if not summary.failed:
            self._settle(info, index, token, settled=True)
        return summary

    def finish(self, index: str, token: Token) -> int:
        """Look rows up by digests of the new version only, and give the old one up for good; the version that is left.

        Raises AccessDenied (``index.unsettled``) while a row may have a digest of the old one. Whoever has a copy of
        the index column from before can't compare it with anything any more. Stopped half-way, run it again.
        """
        _, found = self._known(index)
        self._refuse_kept(index, found)
        opened = grant_of(self._parts, token)
        answer = self._parts.ledger.finish_index(opened.claims, index)
        self._refuse(answer, opened, "finish rotating", index)
        current = answer.versions.get(index, FIRST).current
        opened.ask(lambda service: service.retire(index, current, "index"))
        return current

    def status(self) -> list[IndexState]:
        """How the key of every index stands, by name. For operators: raises UnsupportedOperation for other logins."""
        with operators_only("look at the indexes' keys"), self._parts.gate_engine.connect() as connection:
            known = index_versions.read(connection)
            unsettled = index_versions.unsettled(connection)
        return [
            IndexState(name, info.name, found.name, *known.get(name, FIRST), name not in unsettled)
            for name, (info, found) in sorted(self._every().items())
        ]

    def _told(self, opened: OpenGrant, index: str) -> Versions:
        answer = self._parts.ledger.index_state(opened.claims)
        self._refuse(answer, opened, "rotate", index)
        return answer.versions.get(index, FIRST)

    def _settle(self, info: ModelInfo, index: str, token: Token, *, settled: bool) -> int:
        opened = grant_of(self._parts, token)
        answer = self._parts.ledger.settle_index(opened.claims, info.name, index, settled=settled)
        self._refuse(answer, opened, "write", index)
        return answer.versions.get(index, FIRST).written

    @staticmethod
    def _refuse_kept(index: str, found: FieldInfo) -> None:
        if _kept(found):
            raise UnsupportedOperation(
                f"{index} keeps every version of its key: what its tags were made of is nowhere, so none can be made"
                " anew, and a version that went would take its tags along"
            )

    @staticmethod
    def _refuse(answer: Admission, opened: OpenGrant, verb: str, index: str) -> None:
        if answer.code is not None:
            raise refusal(answer.code, opened.claims, verb, f"the key of the index {index}")

    def _every(self) -> Mapping[str, tuple[ModelInfo, FieldInfo]]:
        found: dict[str, tuple[ModelInfo, FieldInfo]] = {}
        for info in self._parts.models:  # bases come first
            for each in info.fields:
                if each.index is not None:
                    found.setdefault(each.context, (info, each))
        return found

    def _known(self, index: str) -> tuple[ModelInfo, FieldInfo]:
        every = self._every()
        if index not in every:
            raise UnsupportedOperation(f"there is no blind index {shown(index)}{hint(index, every)}")
        return every[index]


def _kept(found: FieldInfo) -> bool:
    return found.index is not None and found.index.forever


def _place(info: ModelInfo, found: FieldInfo) -> Place:
    """Where the index lies, as the database is to look for taken values in it."""
    column: Any = found.prop.index_column
    keys = [c for c in info.mapper.attrs[info.row_key].columns if isinstance(c, sa.Column) and c.table is column.table]
    if not keys:
        raise UnsupportedOperation(f"{info.name}.{found.name}: its table has no column of the row key {info.row_key}")
    return Place(column.table.schema, column.table.name, column.name, keys[0].name)


def _require_whole(purpose: Purpose, info: ModelInfo) -> None:
    """Raise UnsupportedOperation unless the purpose sees every row: one left out would never be found again."""
    requires, entry = purpose.requires, entry_of(purpose.read, info.model)
    lacking = [
        what
        for what, lacks in {
            "sees_restricted": not requires.sees_restricted,
            "sees_canaries": not requires.sees_canaries,
            "no consent": requires.consent is not None,
            "no case": requires.case,
            "no named subjects": requires.subjects is not None,
            "no row scope": entry is not None and purpose.read[entry].rows is not None,
        }.items()
        if lacks
    ]
    if lacking:
        raise UnsupportedOperation(
            f"{purpose.name} does not see every row of {info.name}, and those left out would be found no more: it takes"
            f" {', '.join(lacking)}"
        )
