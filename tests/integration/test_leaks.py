"""Random canaries in every encrypted field; every purpose at work; then a search through all that is left behind."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, select, text
from sqlalchemy.orm import Session

from tests.support.canaries import Canaries
from tests.support.profiles import COURIER, MATCHER, MATCHMAKER, REGISTRAR, Profile, member
from vaultstore import Actor, errors
from vaultstore.members.ids import conversation_id
from vaultstore.members.models import ChatMessage, Member, ProfileView

pytestmark = pytest.mark.integration

MODELS = (Member, ChatMessage, ProfileView)


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Every logger at DEBUG, into one buffer."""
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    root = logging.getLogger()
    names = (
        "",
        "sqlalchemy",
        "sqlalchemy.engine",
        "sqlalchemy.orm",
        "sqlalchemy.pool",
        "urllib3",
        "hvac",
        "psycopg",
        "vaultstore",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(handler)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield buffer
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        root.removeHandler(handler)


def plant(profile: Profile, canaries: Canaries) -> list[uuid.UUID]:
    """Two members who wrote to and looked at each other; nothing but canaries in their encrypted fields."""
    ids = [uuid.uuid4(), uuid.uuid4()]
    with profile.store.begin(profile.token(REGISTRAR, "registration")) as session:
        session.add_all(member(i, id=ids[i], **canaries.member()) for i in range(2))
    with profile.store.begin(profile.token(COURIER, "chat.delivery")) as session:
        session.add_all(
            ChatMessage(
                sender_id=a,
                recipient_id=b,
                conversation_id=conversation_id(a, b),
                sent_at=_when(),
                **canaries.message(),
            )
            for a, b in (ids, ids[::-1])
        )
    with profile.store.begin(profile.token(MATCHER, "matching")) as session:
        session.add_all(ProfileView(viewer_id=i, **canaries.view()) for i in ids)
    profile.claim(ids)
    return ids


def _when() -> Any:
    from datetime import UTC, datetime

    return datetime(2021, 11, 30, tzinfo=UTC)


def tokens(profile: Profile, ids: list[uuid.UUID]) -> Iterator[tuple[str, str]]:
    """(purpose, token) for every purpose of the shipped policy, with cases and approvals where it asks for them."""
    store = profile.store
    for name, purpose in store.policy.purposes.items():
        role = sorted(purpose.roles)[0]
        actor = Actor(str(ids[0]) if role == "member" else f"{role}-1", role=role, attributes=MATCHMAKER.attributes)
        needs = purpose.requires
        more: dict[str, Any] = {}
        if needs.subjects == "named":
            more["subjects"] = ids
        if needs.case:
            more["case"] = store.cases.open("test", assigned_to=actor.id, subjects=ids)
        if needs.approvals:
            request = store.request_access(actor, name, case=more.get("case"), subjects=more.get("subjects", ()))
            approving = next(p for p in store.policy.purposes.values() if name in p.approves)
            for n in range(needs.approvals):
                approver = Actor(f"approver-{n}", role=sorted(approving.roles)[0])
                store.approve(request, store.issue(approver, approving.name))
        yield name, store.issue(actor, name, **more)


def work(session: Any, seen: list[str | bytes], values: dict[str, Any]) -> int:
    """Read, show, copy, print, search and fail, as an application would; returns how many fields came out in clear."""
    clear = 0
    for model in MODELS:
        try:
            rows = session.scalars(select(model)).all()
        except errors.AccessDenied as error:
            seen.append("".join(traceback.format_exception(error)))
            continue
        for row in rows:
            view = session.view(row)
            clear += sum(type(v).__name__ == "Clear" for v in view.values())
            seen += [repr(row), repr(vars(row)), json.dumps(vars(row), default=repr), repr(session), repr(view)]
            seen += [pickle.dumps(row), repr(vars(copy.deepcopy(row)))]
            seen.append(repr([a.history for a in row._sa_instance_state.attrs if a.key in vars(row)]))
    for field in (Member.phone, Member.id_number, Member.email, ProfileView.event):
        try:
            statement = select(field.class_.id).where(field == values[field.key])
            seen.append(repr(statement) + str(statement))
            session.scalars(statement).all()
        except errors.VaultstoreError as error:
            seen.append("".join(traceback.format_exception(error)) + repr(error.__dict__))
    for fail in (
        lambda: session.execute(text("select nothing from members where nickname = :p"), {"p": values["phone"]}),
        lambda: (session.add(Member(nickname=None, phone=values["phone"], name=values["name"])), session.flush()),
        lambda: session.execute(select(Member).where(Member.phone > values["phone"])),
    ):
        with session.no_autoflush:
            try:
                fail()
            except Exception as error:
                seen.append("".join(traceback.format_exception(error)) + repr(getattr(error, "params", None)))
            else:
                pytest.fail("this should not have worked")
            session.rollback()
    return clear


def database_texts(profile: Profile) -> Iterator[str | bytes]:
    """Everything that is stored, as its files and as each table's rows."""
    for engine in {id(e): e for e in (profile.store.engine, profile.store._gate_engine)}.values():
        yield from _rows(engine)
    for path in profile.folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def _rows(engine: Engine) -> Iterator[str]:
    metadata = MetaData()
    metadata.reflect(engine)
    with Session(engine) as session:
        for table in metadata.tables.values():
            yield from (repr(tuple(_readable(v) for v in row)) for row in session.connection().execute(_raw(table)))


def _raw(table: Table) -> Any:
    return text(f'SELECT * FROM "{table.name}"')


def _readable(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def test_no_canary_is_left_anywhere(profile: Profile, capfd: pytest.CaptureFixture[str]) -> None:
    canaries = Canaries(seed=20211101)
    seen: list[str | bytes] = []
    with everything_logged() as log:
        ids = plant(profile, canaries)
        assert set(canaries.planted) >= {"Member.phone", "ChatMessage.body", "ProfileView.viewed_id"}
        values = {"phone": "", **Canaries(seed=20211101).member()} | {"event": "x" * 12}
        clear = {}
        for purpose, token in tokens(profile, ids):
            with profile.store.session(token) as session:
                seen += [repr(profile.store), repr(profile.keys), repr(profile.store.policy)]
                clear[purpose] = work(session, seen, values)
    assert clear["privacy.request"] > 0, "nothing came out in clear, so nothing was tried"
    assert clear["sales.outreach"] == clear["sales.pool"] == clear["audit.review"] == 0
    assert canaries.found_in(log.getvalue()) == set()
    assert canaries.found_in(*capfd.readouterr()) == set()
    assert canaries.found_in(*seen) == set()
    ours = [repr(p) for sql, p in profile.parameters if "nothing" not in sql]  # that one is the test's own text()
    assert canaries.found_in(*ours) == set()
    assert canaries.found_in(*database_texts(profile)) == set()


def test_the_scan_finds_what_is_not_sealed(profile: Profile) -> None:
    canaries = Canaries(seed=7)
    ids = plant(profile, canaries)
    phone = canaries.member()["phone"]
    with Session(profile.store.engine) as session, session.begin():
        session.connection().execute(text("UPDATE members SET nickname = :p"), {"p": phone})
    assert canaries.found_in(*database_texts(profile)) == {"Member.phone"}
    assert ids
