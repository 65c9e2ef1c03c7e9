"""The library's plane of a generated world: real rows, and what sessions under each purpose do with them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from tests.oracle.cedar import Cedar
from tests.support.generated_data import PEOPLE, STORES, Row, instance, masked, number_of, rows, scope_of, shows, value
from tests.support.generated_models import Built
from tests.support.generated_policy import LOADER
from vaultstore import Actor, Store, is_masked
from vaultstore.errors import AccessDenied, SearchDenied, WriteDenied
from vaultstore.orm import PurposeSession

__all__ = ["Library", "actor_in"]


def actor_in(role: str, at: int = 0) -> Actor:
    """Somebody of the generated data in this role."""
    return Actor(str(PEOPLE[at]), role, {"store": STORES[at]})


@dataclass
class Library:
    """A generated world in one store or in a store for each service, and Cedar's word on it."""

    made: Built
    issuing: Store
    store_of: Callable[[str], Store]
    """The store that serves a purpose."""
    cedar: Cedar
    bases_hold: bool = False
    """Whether a base's row scope also holds for subclasses that have an entry of their own. The ORM alone does so where
    no database decides about rows; the policy asks for less.
    """

    def load(self) -> None:
        """Write every row under the purpose that may, through sessions."""
        data = rows(self.made.spec)
        token = self.issuing.issue(Actor("loader-1", "loader"), LOADER)
        for model in self.made.spec.models:  # in the order of foreign keys
            with self.store_of(LOADER).begin(token) as session:
                session.add_all([instance(self.made, row, data) for row in data[model.name]])

    def session(self, purpose: str, actor: Actor) -> PurposeSession:
        """A session of somebody under a purpose."""
        return self.store_of(purpose).session(self.issuing.issue(actor, purpose))

    def sessions(self) -> Iterator[tuple[str, Actor, PurposeSession]]:
        """A session for each purpose, of an actor in each of its roles."""
        for name, purpose in self.made.spec.policy["purposes"].items():
            for at, role in enumerate(purpose["roles"]):
                actor = actor_in(role, at % 2)
                with self.session(name, actor) as session:
                    yield name, actor, session

    # -------------------------------------------------------------------------------------------------- reading

    def visible(self, purpose: str, actor: Actor, model: str) -> dict[uuid.UUID, Row]:
        """The rows of a model, those of its subclasses too, that a purpose shows to an actor."""
        data, found = rows(self.made.spec), {}
        for spec in self.made.spec.models:
            if model in (spec.name, spec.base) and self.cedar.sees(purpose, actor.role, spec.name):
                scope = scope_of(self.made, purpose, spec.name)
                bases = [scope_of(self.made, purpose, spec.base)] if spec.base and self.bases_hold else []
                for row in data[spec.name]:
                    if all(shows(s, row, data, actor) for s in [scope, *bases]):
                        found[row.id] = row
        return found

    def reading_agrees(self, purpose: str, actor: Actor, session: PurposeSession) -> int:
        """Every field of every row is Clear, Masked or denied as Cedar says; how many were looked at."""
        seen = 0
        for model in self.made.spec.models:
            if not self.cedar.sees(purpose, actor.role, model.name):
                with contextlib.suppress(AccessDenied):
                    raise AssertionError(f"{purpose} sees {len(self._all(session, model.name))} rows of {model.name}")
                continue
            expected = self.visible(purpose, actor, model.name)
            found = {obj.id: obj for obj in self._all(session, model.name)}
            assert found.keys() == expected.keys(), f"{purpose} sees other rows of {model.name}"
            for id_, obj in found.items():
                seen += self._fields_agree(purpose, actor, expected[id_], obj)
        return seen

    def _all(self, session: PurposeSession, model: str) -> list[Any]:
        return list(session.scalars(select(self.made.classes[model])))

    def _fields_agree(self, purpose: str, actor: Actor, row: Row, obj: Any) -> int:
        fields = self.made.spec.fields(self.made.spec.model(row.model))
        for field in fields:
            form = self.cedar.read(purpose, actor.role, row.model, field.name)
            number = number_of(self.made.spec, row, field)
            where = f"{purpose}: {row.model}.{field.name} is {form}"
            if form == "denied":
                with contextlib.suppress(AccessDenied):
                    got = getattr(obj, field.name)
                    raise AssertionError(f"{where}, and reads {type(got).__name__}")
                continue
            got = getattr(obj, field.name)
            expected = value(field, number) if form == "clear" else masked(field, form.partition(":")[2], number)
            assert is_masked(got) == (is_masked(expected)), where
            assert got == expected, where
        return len(fields)

    # ------------------------------------------------------------------------------------------------ searching

    def searching_agrees(self, purpose: str, actor: Actor, session: PurposeSession) -> int:
        """A search finds the visible rows of that value where the policy lists the field, and is denied elsewhere."""
        tried = 0
        for model in self.made.spec.models:
            class_ = self.made.classes[model.name]
            shown = self.visible(purpose, actor, model.name)
            for field in self.made.spec.fields(model):
                if not field.index:
                    continue
                row = rows(self.made.spec)[model.name][1]
                needle = value(field, number_of(self.made.spec, row, field))
                query = select(class_).where(getattr(class_, field.name) == needle)
                tried += 1
                if not self.cedar.searches(purpose, actor.role, model.name, field.name):
                    with contextlib.suppress(SearchDenied, AccessDenied):
                        session.scalars(query).all()
                        raise AssertionError(f"{purpose} searches {model.name}.{field.name}")
                    continue
                found = {obj.id for obj in session.scalars(query)}
                alike = {
                    id_
                    for id_, other in shown.items()
                    if field in self.made.spec.fields(self.made.spec.model(other.model))
                    and value(field, number_of(self.made.spec, other, field)) == needle
                }
                assert found == alike, f"{purpose} finds other rows by {model.name}.{field.name}"
        return tried

    # -------------------------------------------------------------------------------------------------- writing

    def writing_agrees(self, purpose: str, actor: Actor) -> int:
        """A clear column and each encrypted one is written exactly where the policy lists it. Nothing stays."""
        tried = 0
        for model in self.made.spec.models:
            for id_, row in self.visible(purpose, actor, model.name).items():
                if row.model != model.name:
                    continue
                spec, names = self.made.spec, [actor.role, model.name]
                allowed = self.cedar.changes(purpose, *names)
                tried += self._write(purpose, actor, id_, model.name, "remark", "changed", allowed)
                for field in spec.fields(model):
                    allowed = self.cedar.writes(purpose, *names, field.name)
                    new = value(field, number_of(spec, row, field) + 50)
                    tried += self._write(purpose, actor, id_, model.name, field.name, new, allowed)
                break
        return tried

    def _write(self, purpose: str, actor: Actor, id_: uuid.UUID, model: str, name: str, new: Any, allowed: bool) -> int:
        with self.session(purpose, actor) as session:
            obj = session.get(self.made.classes[model], id_)
            assert obj is not None, f"{purpose} does not get {model}"
            try:
                setattr(obj, name, new)
                session.flush()
            except (WriteDenied, AccessDenied):
                assert not allowed, f"{purpose} may write {model}.{name}, and was denied"
            except sa.exc.ProgrammingError as error:
                raise AssertionError(f"{purpose} writes {model}.{name}: {error.orig}") from None
            else:
                assert allowed, f"{purpose} wrote {model}.{name}"
            finally:
                session.rollback()
        return 1
