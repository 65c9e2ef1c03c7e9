"""Random sessions under random purposes, against a plain model of what each purpose may see."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import insert, inspect, select

from vaultstore import masks
from vaultstore.errors import NotDisclosed, SearchDenied, WriteDenied
from vaultstore.masks import Masked
from vaultstore.orm import PurposeSession, uuid7

from .models import Member
from .world import SOURCES, World

Values = dict[str, Any]

KINDS: dict[str, dict[str, Any]] = {
    "admin": {"read": SOURCES, "search": ("phone",), "write": SOURCES},
    "clerk": {"read": ("sales_card",), "search": (), "write": ("contact", "profile")},
    "sales": {"read": ("sales_card",), "search": (), "write": ()},
    "reader": {"read": ("contact",), "search": ("phone",), "write": ()},
}
MASKS = {"phone": masks.keep(last=4), "birth_date": masks.age_band(5)}
CATEGORY = {"phone": "contact", "birth_date": "profile"}

phones = st.sampled_from(["", "1", "13812345678", "13987654321", "٣٤", "x" * 40])
births = st.sampled_from([None, date(1990, 1, 1), date(2001, 12, 31)])
kinds = st.sampled_from(sorted(KINDS))
which = st.integers(0, 1000)


class Sessions(RuleBasedStateMachine):
    """One session at a time; `working` is what it should see, `committed` what the next one will."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        self.committed: dict[UUID, Values] = {}
        self.working: dict[UUID, Values] = {}
        self.savepoints: list[tuple[Any, dict[UUID, Values]]] = []
        self.own: set[tuple[UUID, str]] = set()
        self.grants = {kind: self.world.grant(self.world.purpose(**r)) for kind, r in KINDS.items()}
        opened = {k: self.world.gate.gate.open(g, lambda: self.world.service) for k, g in self.grants.items()}
        self.opened = opened  # shared by the sessions of one token, with its keys
        self.session: PurposeSession | None = None
        self.held: list[Member] = []
        self.open("admin")

    def teardown(self) -> None:
        if getattr(self, "session", None) is not None:
            assert self.session is not None
            self.session.close()
            self.world.close()
            self.folder.cleanup()

    @rule(kind=kinds)
    def open(self, kind: str) -> None:
        if self.session is not None:
            self.session.close()
            for member in self.held:
                for field in MASKS:
                    if inspect(member).detached:
                        with pytest.raises(NotDisclosed):
                            getattr(member, field)
        self.kind, self.rights = kind, KINDS[kind]
        self.session = PurposeSession(
            self.world.engine,
            opened=self.opened[kind],
            gate=self.world.gate,
            models=self.world.models,
            clock=self.world.clock,
        )
        self.working, self.savepoints, self.own = deepcopy(self.committed), [], set()
        self.held = []

    @property
    def s(self) -> PurposeSession:
        assert self.session is not None
        return self.session

    def member(self, position: int) -> Member:
        key = sorted(self.working)[position % len(self.working)]
        member = self.s.get_one(Member, key)
        if member not in self.held:
            self.held.append(member)
        return member

    # ---- writing

    @rule(phone=phones, birth=births, bulk=st.booleans())
    def add(self, phone: str, birth: date | None, bulk: bool) -> None:
        key = uuid7()
        values = {"id": key, "city": "x", "phone": phone, "birth_date": birth}
        with self.s.begin_nested() as savepoint:
            try:
                if bulk:
                    self.s.execute(insert(Member), [values])
                else:
                    self.s.add(Member(**values))
                    self.s.flush()
            except WriteDenied:
                assert not self.rights["write"]
                savepoint.rollback()
                return
        assert self.rights["write"]
        self.working[key] = values
        if not bulk:
            self.own |= {(key, field) for field in MASKS}

    @precondition(lambda self: self.working)
    @rule(position=which, field=st.sampled_from(sorted(MASKS)), phone=phones, birth=births, flush=st.booleans())
    def assign(self, position: int, field: str, phone: str, birth: date | None, flush: bool) -> None:
        member = self.member(position)
        key, value = member.id, phone if field == "phone" else birth
        if not flush:  # nothing of it may stay
            setattr(member, field, value)
            self.s.expire(member)
            self.own -= {(key, f) for f in MASKS}
            return
        if CATEGORY[field] not in self.rights["write"]:
            with self.s.begin_nested() as savepoint:
                setattr(member, field, value)
                if self.s.is_modified(member):
                    with pytest.raises(WriteDenied):
                        self.s.flush()
                savepoint.rollback()
            self.s.expire(member)
            return
        setattr(member, field, value)
        self.s.flush()
        self.working[key][field] = value
        self.own.add((key, field))

    @precondition(lambda self: self.working and self.kind == "admin")
    @rule(position=which)
    def delete(self, position: int) -> None:
        member = self.member(position)
        key = member.id
        self.s.delete(member)
        self.s.flush()
        del self.working[key]
        self.held = []

    # ---- transactions

    @rule()
    def commit(self) -> None:
        self.s.commit()
        self.committed = deepcopy(self.working)
        self.savepoints, self.own = [], set()

    @rule()
    def rollback(self) -> None:
        self.s.rollback()
        while self.s.in_nested_transaction():
            self.s.rollback()
        self.s.rollback()
        self.working = deepcopy(self.committed)
        self.savepoints, self.own, self.held = [], set(), []

    @precondition(lambda self: len(self.savepoints) < 3)
    @rule()
    def begin_nested(self) -> None:
        self.savepoints.append((self.s.begin_nested(), deepcopy(self.working)))

    @precondition(lambda self: self.savepoints)
    @rule(back=st.booleans())
    def end_nested(self, back: bool) -> None:
        savepoint, before = self.savepoints.pop()
        if back:
            savepoint.rollback()
            self.working, self.held = before, []
        else:
            savepoint.commit()

    # ---- dropping and reading again

    @precondition(lambda self: self.working)
    @rule(position=which, how=st.sampled_from(["expire", "refresh", "expunge", "field"]))
    def drop(self, position: int, how: str) -> None:
        member = self.member(position)
        key = member.id
        if how == "field":
            self.s.expire(member, ["phone"])
            self.own.discard((key, "phone"))
            return
        getattr(self.s, how)(member)
        self.own -= {(key, f) for f in MASKS}
        if how == "expunge":
            self.held.remove(member)
            for field in MASKS:
                with pytest.raises(NotDisclosed):
                    getattr(member, field)

    @rule()
    def expire_all(self) -> None:
        self.s.expire_all()
        self.own = set()

    @precondition(lambda self: self.working)
    @rule(position=which, field=st.sampled_from([*MASKS, "email", "wishes"]))
    def read(self, position: int, field: str) -> None:
        self.check(self.member(position), field)

    @rule(by_hand=st.booleans())
    def read_all(self, by_hand: bool) -> None:
        members = self.s.scalars(select(Member)).all()
        assert {m.id for m in members} == set(self.working)
        if by_hand:
            self.s.disclose(members)
        for member in members:
            for field in (*MASKS, "email", "wishes"):
                self.check(member, field)

    @rule(phone=phones)
    def search(self, phone: str) -> None:
        statement = select(Member).where(Member.phone == phone)
        if not self.rights["search"]:
            with pytest.raises(SearchDenied):
                self.s.scalars(statement)
            return
        expected = {key for key, values in self.working.items() if values["phone"] == phone}
        assert {m.id for m in self.s.scalars(statement)} == expected

    def check(self, member: Member, field: str) -> None:
        read = self.rights["read"]
        if field in ("email", "wishes"):
            category = "contact" if field == "email" else "preference"
            self.expect(member, field, None if category in read else NotDisclosed)
            return
        value = self.working[member.id][field]
        if CATEGORY[field] in read:
            self.expect(member, field, value)
        elif "sales_card" not in read:
            self.expect(member, field, NotDisclosed)
        elif value is None:
            self.expect(member, field, None)
        elif (member.id, field) in self.own and not isinstance(seen := getattr(member, field), Masked):
            assert seen == value  # what this session wrote itself, until it expires
        else:
            self.expect(member, field, Masked.of(MASKS[field].mask(value)))

    @staticmethod
    def expect(member: Member, field: str, expected: Any) -> None:
        if expected is NotDisclosed:
            with pytest.raises(NotDisclosed):
                getattr(member, field)
        else:
            seen = getattr(member, field)
            assert seen == expected
            assert type(seen) is type(expected)

    @invariant()
    def what_is_held_shows_no_value(self) -> None:
        for member in getattr(self, "held", ()):
            assert "13812345678" not in repr(vars(member))


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    settings(),
    max_examples=max(8, settings().max_examples // 8),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
