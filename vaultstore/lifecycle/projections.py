"""Projections: which of them show masks that are no longer the declared ones, and making those anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from vaultstore.canonical import canonical_json
from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.jobs import Jobs, OnProgress, Summary
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.rebuild import KIND, Rebuild
from vaultstore.lifecycle.rights import require
from vaultstore.orm.registry import FieldInfo, ModelInfo, ProjectionInfo
from vaultstore.orm.role import NOT_PRIVILEGED, operators_only, sqlstate
from vaultstore.records import projections as records
from vaultstore.records.projections import Made, Place
from vaultstore.records.subjects import RESTRICTED, vs_subjects

__all__ = ["ProjectionState", "Projections"]


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """One projection of one field: the mask that its values were made with, and the one that is declared."""

    model: str
    field: str
    projection: str
    category: str
    """Source category of the field: what a rebuild opens."""
    recorded: str | None
    """Fingerprint of the mask that its values were made with; None: nobody wrote it down."""
    declared: str
    left_out: int
    """Rows that the last rebuild left as they were."""
    missing: int
    """Rows that have a value and no mask of it."""

    @property
    def state(self) -> str:
        """``current``, ``stale`` (another mask), ``unknown`` (no record) or ``incomplete`` (rows were left out)."""
        if self.recorded is None:
            return "unknown"
        if self.recorded != self.declared:
            return "stale"
        return "incomplete" if self.left_out or self.missing else "current"


class Projections:
    """`store.projections`: what masks show, beside what they should."""

    def __init__(self, parts: Parts, jobs: Jobs) -> None:
        self._parts, self._jobs = parts, jobs

    def __repr__(self) -> str:
        return "<Projections>"

    def note(self) -> None:
        """Write down what nothing is recorded of: empty tables start with the declared masks, others are unknown."""
        now, models = self._parts.now, list(self._parts.models)
        with self._parts.engine.begin() as connection:
            known = records.fetch(connection)
            new: dict[Place, str | None] = {}
            for info in models:
                places = {place: p.mask.fingerprint for _, p, place in _places(info) if place not in known}
                if places:
                    some = sa.select(sa.literal(1)).select_from(info.mapper.local_table).limit(1)
                    empty = connection.execute(some).first() is None
                    new.update(places if empty else dict.fromkeys(places))
            records.add(connection, new, now)

    def status(self) -> list[ProjectionState]:
        """Every projection, in order of declaration. For operators: it counts rows of every member.

        Raises UnsupportedOperation where the database login may not.
        """
        with operators_only("look at every projection"):
            self.note()
            found = []
            with self._parts.engine.connect() as connection:
                known = records.fetch(connection)
                for info in self._parts.models:
                    missing = _missing(connection, info)
                    for f, p, place in _places(info):
                        made = known.get(place, Made(None, 0))
                        found.append(_state(info, f, p, made, missing.get(p.key, 0)))
        return found

    def rebuild(
        self,
        model: str | type[Any],
        category: str,
        token: Token,
        *,
        every: bool = False,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Make the masks of `category` (a source category) of `model` anew where they are not the declared ones.

        `every` makes all of them anew. `token` is for a purpose that reads and writes the category, such as
        ``maintenance.projection``, or a function that returns one. It can run while the store is in use, can be
        stopped at any point, and goes on where it was; rows that can't be done are in the summary. `executor` of
        other processes takes an `opener`.

        Raises UnsupportedOperation for a model or category without projections, AccessDenied and its kinds,
        BudgetExhausted where a limit ends it for now.
        """
        info = self._info(model)
        fields = [f for f in info.fields if f.category == category and f.projections]
        if not fields:
            raise UnsupportedOperation(self._no_such(info, category))
        if executor is not None and opener is None and not isinstance(executor, ThreadPoolExecutor):
            raise UnsupportedOperation("an executor of other processes takes an opener, which opens the store there")
        grant = self._parts.verify(token_of(token))
        require(self._parts, grant, (info.name, *info.bases), [category], write=True)
        with self._parts.engine.connect() as connection:
            known = records.fetch(connection)
            missing = {} if every else self._missing(connection, info)
        targets = {}
        for f, p, place in _places(info):
            if f.category == category:
                found = _state(info, f, p, known.get(place, Made(None, 0)), missing.get(p.key, 0))
                if every or found.state != "current":
                    targets[place] = found.declared
        about = f"{info.name} {category} {_digest(targets)}"
        if not targets:
            return Summary("", KIND, about, 0, 0, 0, (), False, 0.0)
        names = tuple((field, projection) for _, field, projection in targets)
        work = Rebuild(about, info.name, category, names, token, opener, None if opener and executor else self._parts)
        summary = self._jobs.run(work, workers=workers, executor=executor, on_progress=on_progress)
        left_out = summary.failed + self._hidden(info, token)
        with self._parts.engine.begin() as connection:
            records.record(connection, targets, left_out, self._parts.now)
        return summary

    def _info(self, model: str | type[Any]) -> ModelInfo:
        name = model if isinstance(model, str) else model.__name__
        found = next((info for info in self._parts.models if info.name == name), None)
        if found is None:
            raise UnsupportedOperation(f"there is no model {name}")
        return found

    def _no_such(self, info: ModelInfo, category: str) -> str:
        sources = sorted({f.category for f in info.fields if f.projections})
        of = sorted({f.category for f in info.fields if any(p.category == category for p in f.projections)})
        if of:
            return f"{category} is a projection: name the category that its masks are made from, {' or '.join(of)}"
        return f"{info.name} has no projections of {category}; of these it has: {', '.join(sources) or 'none'}"

    def _missing(self, connection: sa.Connection, info: ModelInfo) -> Mapping[str, int]:
        """As `_missing`, or nothing where this login may not count."""
        try:
            with connection.begin_nested():
                return _missing(connection, info)
        except ProgrammingError as error:
            if sqlstate(error) != NOT_PRIVILEGED:
                raise
            return {}

    def _hidden(self, info: ModelInfo, token: Token) -> int:
        """How many rows the job did not see: those of restricted members, as far as this login can tell."""
        rows = sa.select(sa.func.count()).select_from(info.mapper.local_table)
        held = sa.select(sa.func.count()).where(vs_subjects.c.state == RESTRICTED)
        for engine, query in ((self._parts.engine, rows), (self._parts.gate_engine, held)):
            try:
                with engine.connect() as connection:
                    found: int = connection.execute(query).scalar_one()
            except ProgrammingError as error:
                if sqlstate(error) != NOT_PRIVILEGED:
                    raise
                continue
            if query is held:
                return found
            with self._parts.session(token_of(token)) as session:
                seen: int = session.execute(sa.select(sa.func.count()).select_from(info.mapper.class_)).scalar_one()
            return max(0, found - seen)
        return 0


def _places(info: ModelInfo) -> Iterator[tuple[FieldInfo, ProjectionInfo, Place]]:
    for f in info.fields:
        for p in f.projections:
            yield f, p, (info.name, f.name, p.category)


def _state(info: ModelInfo, f: FieldInfo, p: ProjectionInfo, made: Made, missing: int) -> ProjectionState:
    return ProjectionState(
        info.name, f.name, p.category, f.category, made.fingerprint, p.mask.fingerprint, made.left_out, missing
    )


def _missing(connection: sa.Connection, info: ModelInfo) -> Mapping[str, int]:
    """Attribute key of each projection -> rows with a value and no mask of it. One pass over the table."""
    columns = []
    for f, p, _ in _places(info):
        source: Any = f.prop.columns[0]
        masked: Any = info.mapper.attrs[p.key].columns[0]
        gap = sa.case((source.is_not(None) & masked.is_(None), 1), else_=0)
        columns.append(sa.func.coalesce(sa.func.sum(gap), 0).label(p.key))
    if not columns:
        return {}
    row = connection.execute(sa.select(*columns)).one()
    return {key: int(value) for key, value in row._mapping.items()}


def _digest(targets: Mapping[Place, str]) -> str:
    """Names what is to be made: with other masks it is another job."""
    listed = [[*place, fingerprint] for place, fingerprint in sorted(targets.items())]
    return hashlib.sha256(canonical_json(listed)).hexdigest()[:12]
