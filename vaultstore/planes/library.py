"""The plane of this library: what its sessions load under each purpose, and the closures that its gate decides by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa

from vaultstore.canonical import canonical_json
from vaultstore.catalogue import Field, Model
from vaultstore.errors import SettingsError
from vaultstore.gate.closure import Closure, parse_closure
from vaultstore.orm.access import Access
from vaultstore.orm.erasing import ErasurePlan, plan_of
from vaultstore.orm.registry import ModelInfo, ModelRegistry
from vaultstore.planes.plan import Cell, Change, Difference, Probe
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.policy.closure import seals_of
from vaultstore.policy.lattice import lattice, row_cells
from vaultstore.records import erasures
from vaultstore.records import purposes as published
from vaultstore.records.sqlite import IMMEDIATE

__all__ = ["LibraryPlane"]


@dataclass(frozen=True, slots=True)
class _Row:
    """A purpose as the database has it."""

    digest: str
    closure: str
    published_at: datetime

    def __str__(self) -> str:
        return f"{_short(self.digest)} of {self.published_at:%Y-%m-%d %H:%M} UTC"


class LibraryPlane:
    """The closures in the database of `engine` (the gate's), and what sessions over `models` make of `bound`.

    Publishing is the last step of a roll-out: until then the gate decides by the policy before. `provision` is called
    first where keys have no plane of their own (a key file).
    """

    name = "library"

    def __init__(
        self,
        engine: sa.Engine,
        bound: BoundPolicy,
        models: ModelRegistry,
        *,
        provision: Callable[[], None] | None = None,
    ) -> None:
        self._engine, self._bound, self._models, self._provision = engine, bound, models, provision

    def __repr__(self) -> str:
        return f"<LibraryPlane of {len(self._bound.purposes)} purposes>"

    @cached_property
    def _wanted(self) -> Mapping[str, tuple[str, str]]:
        """Purpose -> digest and closure of this policy."""
        bound = self._bound
        return {n: (bound.digest(n), canonical_json(bound.closure(n)).decode()) for n in sorted(bound.purposes)}

    def compile(self) -> str:
        """Each purpose's digest and closure, a line each: ``digest  closure``, as the database holds them."""
        return "".join(f"{digest}  {closure}\n" for digest, closure in self._wanted.values())

    def plan(self) -> Sequence[Change]:
        """Which purposes would be published anew."""
        return self._plan(self._rows())

    def _plan(self, rows: Mapping[str, _Row]) -> list[Change]:
        changes = []
        for name, (digest, closure) in self._wanted.items():
            row = rows.get(name)
            if row is None:
                changes.append(Change("create", f"purpose {name}", _short(digest)))
            elif row.digest == digest and row.closure != closure:
                changes.append(Change("change", f"purpose {name}", "its closure was edited: back to the version's own"))
            elif row.digest != digest:
                detail = f"{_short(row.digest)} -> {_short(digest)}: its tokens have to be issued anew"
                changes.append(Change("change", f"purpose {name}", detail))
        if self._rules_differ():
            changes.append(Change("change", "rules of erasure", "what the models declare"))
        gone = sorted(rows.keys() - self._wanted.keys())
        return changes + [Change("remove", f"purpose {name}", "its tokens stop working") for name in gone]

    def apply(self) -> Sequence[Change]:
        """Publish: the gate decides by this policy from now on, in one transaction for all purposes."""
        if self._provision is not None:
            self._provision()
        changes = self._plan(self._rows())
        if changes:
            with self._engine.execution_options(**{IMMEDIATE: True}).begin() as connection:
                published.publish(connection, self._wanted, datetime.now(UTC))
                if self._engine.dialect.name == "postgresql":
                    erasures.publish_rules(connection, self._erasing.digest, self._erasing.rules())
        return changes

    def _rules_differ(self) -> bool:
        """Whether PostgreSQL would erase by other rules than the models declare. SQLite asks the models themselves."""
        if self._engine.dialect.name != "postgresql":
            return False
        with self._engine.connect() as connection:
            found = erasures.published_rules(connection)
        return found != (self._erasing.digest, self._erasing.rules())

    @cached_property
    def _erasing(self) -> ErasurePlan:
        return plan_of(self._models)

    def differences(self) -> Sequence[Difference]:
        """Purposes that the database knows in another version, doesn't know, or knows and this policy doesn't."""
        rows, found = self._rows(), []
        for name, (digest, closure) in self._wanted.items():
            row, thing, expected = rows.get(name), f"purpose {name}", f"version {_short(digest)}"
            if row is None:
                found.append(Difference("too closed", thing, expected, "nothing published: its tokens are refused"))
            elif row.digest != digest:
                other = f"version {row}: tokens of this policy are refused until it is published"
                found.append(Difference("different", thing, expected, other))
            elif row.closure != closure:
                edited = "a closure that the version does not name: the gate refuses its tokens"
                found.append(Difference("too closed", thing, expected, edited))
        if self._rules_differ():
            other = "others, or none: members' data could outlive their erasure"
            found.append(Difference("different", "rules of erasure", "what the models declare", other))
        for name in sorted(rows.keys() - self._wanted.keys()):
            still = f"version {rows[name]}: its tokens go on working"
            found.append(Difference("too open", f"purpose {name}", "no such purpose", still))
        return found

    def probes(self) -> Iterator[Probe]:
        """Every purpose against every model and field: as a session would load it, and as the gate would decide."""
        rows, verdicts, shown = self._rows(), lattice(self._bound), row_cells(self._bound)
        for name, purpose in self._bound.purposes.items():
            row = rows.get(name)
            closure = None if row is None else parse_closure(row.closure, row.digest)
            access = Access(purpose, self._models)
            for info in self._models:
                cells = _Cells(purpose, info, verdicts, shown)
                yield from cells.of_sessions(access)
                yield from cells.of_gate(closure)

    def _rows(self) -> dict[str, _Row]:
        table = published.vs_purposes
        if not sa.inspect(self._engine).has_table(table.name):
            raise SettingsError(f"the table {table.name} is missing: make the schema first (migrations, or create_all)")
        with self._engine.connect() as connection:
            return {
                row.name: _Row(row.digest, row.closure, row.published_at.astimezone(UTC))
                for row in connection.execute(table.select())
            }


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of one purpose and one model."""

    purpose: Purpose
    info: ModelInfo
    verdicts: Mapping[tuple[str, str, str, str], str]
    shown: Mapping[tuple[str, str, str], bool]

    def of_sessions(self, access: Access) -> Iterator[Probe]:
        """Which rows a session shows and writes, and which column it reads a field from."""
        plan, purpose, model = access.plan(self.info.mapper), self.purpose.name, self.info.name
        for verb, found in (("read", plan.listed), ("write", plan.writes)):
            yield self._probe(f"rows of {model}", verb, self.shown[purpose, model, verb], found)
        for field in self.info.model.fields:
            verdict, readable = self.verdicts[purpose, model, field.name, "read"], plan.fields[field.name]
            for category in field.categories:
                clear = category == field.category
                where = f"{model}.{field.name}" + ("" if clear else f" as {category}")
                expected = verdict == ("clear" if clear else f"masked:{category}")
                yield self._probe(where, "read", expected, readable is not None and readable.category == category)

    def of_gate(self, closure: Closure | None) -> Iterator[Probe]:
        """What the gate admits by the published closure; nothing where there is none that its digest names."""
        model = self.info.model
        granted = self.purpose.reads(model.name, *model.bases)
        for category in sorted(model.categories):
            admitted = closure is not None and closure.may_read(model.name, [category])
            yield self._probe(f"{category} of {model.name}", "disclose", category in granted, admitted)
        for field in model.fields:
            searched = closure is not None and closure.may_search(model.name, field.name)
            sealed = closure is not None and _seals(closure, model, field)
            for verb, found in (("search", searched), ("write", sealed)):
                expected = self.verdicts[self.purpose.name, model.name, field.name, verb] == "allowed"
                yield self._probe(f"{model.name}.{field.name}", verb, expected, found)

    def _probe(self, where: str, operation: str, expected: bool, found: bool) -> Probe:
        return Probe(Cell(self.purpose.name, where, operation), expected, found)


def _seals(closure: Closure, model: Model, field: Field) -> bool:
    index = [field.index.name] if field.index is not None else []
    return closure.may_seal(model.name, [field.category], seals_of(model, [field.category]), index)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
