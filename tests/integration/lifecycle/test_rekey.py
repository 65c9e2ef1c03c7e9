"""New data keys for one subject: everything opens as before, nothing old opens any more, and nobody's write is lost."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.support.profiles import MATCHMAKER, Profile, embedded
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, ApprovalMissing, DecryptionError, SubjectErased, SubjectRestricted
from vaultstore.gate.claims import Claims
from vaultstore.members.ids import conversation_id
from vaultstore.members.models import ChatMessage, Member, ProfileView
from vaultstore.records.entries import vs_entries
from vaultstore.records.keyring import vs_keyring

OFFICER = Actor("po-1", role="privacy_officer")
AUDITORS = (Actor("au-1", role="auditor"), Actor("au-2", role="auditor"))
COURIER, MATCHER = Actor("courier-1", role="courier"), Actor("matcher-1", role="matcher")
NOW = datetime(2021, 11, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Profile]:
    with embedded(tmp_path) as made:
        yield made


def rekey_token(store: Store, *named: uuid.UUID, approvals: int = 2) -> str:
    case = store.cases.open("incident", assigned_to=OFFICER.id, subjects=named)
    request = store.request_access(OFFICER, "privacy.rekey", case=case, subjects=named)
    for auditor in AUDITORS[:approvals]:
        store.approve(request, store.issue(auditor, "audit.review"))
    return store.issue(OFFICER, "privacy.rekey", subjects=named, case=case)


def own_token(store: Store, who: uuid.UUID) -> str:
    return store.issue(Actor(str(who), role="member"), "member.self", subjects=[who])


def chat(profile: Profile, sender: uuid.UUID, recipient: uuid.UUID, *bodies: str) -> None:
    with profile.store.begin(profile.token(COURIER, "chat.delivery")) as session:
        session.add_all(
            ChatMessage(
                sender_id=sender,
                recipient_id=recipient,
                conversation_id=conversation_id(sender, recipient),
                sent_at=NOW,
                body=body,
            )
            for body in bodies
        )


def view(profile: Profile, viewer: uuid.UUID, viewed: uuid.UUID) -> None:
    with profile.store.begin(profile.token(MATCHER, "matching")) as session:
        session.add(ProfileView(viewer_id=viewer, viewed_id=viewed, viewed_at=NOW, event=f"{viewer}|{viewed}"))


def keys(store: Store, who: uuid.UUID) -> set[tuple[str, bytes, int]]:
    c = vs_keyring.c
    with store.engine.connect() as connection:
        query = sa.select(c.category, c.scope, c.key_id).where(c.subject == who.bytes)
        return {(row[0], bytes(row[1]), row[2]) for row in connection.execute(query)}


def copy_of(store: Store, who: uuid.UUID) -> Any:
    return store.portability.export(who, own_token(store, who)).read().rows


def card(store: Store, who: uuid.UUID) -> tuple[str, ...]:
    with store.session(store.issue(MATCHMAKER, "sales.outreach")) as session:
        found = session.get(Member, who)
        return tuple(str(getattr(found, name)) for name in ("name", "phone", "birth_date", "wechat", "house"))


def test_everything_opens_as_before_under_keys_that_are_all_new(profile: Profile) -> None:
    store = profile.store
    mine, other, third = profile.add_members(3)
    profile.claim([mine])
    chat(profile, mine, other, "one", "two")
    chat(profile, mine, third, "three")
    chat(profile, other, mine, "hello")
    view(profile, mine, other)
    before, shown, old, others = copy_of(store, mine), card(store, mine), keys(store, mine), keys(store, other)
    done = store.subject_keys.rotate(mine, rekey_token(store, mine))
    new = keys(store, mine)
    assert not old & new
    assert {key[:2] for key in new} == {key[:2] for key in old}
    assert (done.keys, done.destroyed, done.scopes, done.left) == (len(new), len(old), 3, {})
    assert done.rows == {"Member": 1, "ProfileView": 1, "ChatMessage": 3}
    assert copy_of(store, mine) == before
    assert card(store, mine) == shown
    assert keys(store, other) == others
    with store.session(store.issue(Actor("r", role="registrar"), "registration")) as session:
        assert session.scalars(select(Member.id).where(Member.phone == "13800000000")).all() == [mine]
    with store.parts.gate_engine.connect() as connection:
        kinds = [json.loads(leaf) for leaf in connection.scalars(select(vs_entries.c.leaf))]
    rekeyed = [leaf for leaf in kinds if leaf["kind"] == "rekey"]
    assert sum(leaf["counts"]["destroyed"] for leaf in rekeyed) == len(old)
    assert {leaf["purpose"] for leaf in rekeyed} == {"privacy.rekey"}


def test_old_copies_of_ciphertext_open_no_more(profile: Profile) -> None:
    store = profile.store
    [mine] = profile.add_members(1)
    table: Any = Member.__table__
    sealed = [c for c in table.c if c.name in ("phone", "phone_sales_card", "name")]
    names = ", ".join(c.name for c in sealed)
    with store.engine.connect() as connection:
        old = connection.exec_driver_sql(f"SELECT {names} FROM members").one()
    store.subject_keys.rotate(mine, rekey_token(store, mine))
    with store.engine.begin() as connection:
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        sets = ", ".join(f"{c.name} = {mark}" for c in sealed)
        connection.exec_driver_sql(f"UPDATE members SET {sets}", tuple(old))
    with store.session(own_token(store, mine)) as session:
        found = session.get(Member, mine)
        assert found.email == "user0@example.com"
        for name in ("phone", "name"):
            with pytest.raises(DecryptionError):
                getattr(found, name)


def test_keys_without_a_row_go_too(small: Profile) -> None:
    store = small.store
    mine, other = small.add_members(2)
    chat(small, mine, other, "gone")
    with store.engine.begin() as connection:
        connection.execute(sa.delete(ChatMessage.__table__))
    old = keys(store, mine)
    store.subject_keys.rotate(mine, rekey_token(store, mine))
    assert not old & keys(store, mine)


def test_writers_meanwhile_lose_nothing(profile: Profile) -> None:
    store = profile.store
    mine, other = profile.add_members(2)
    chat(profile, mine, other, "first")
    token, stop, sent, failed = rekey_token(store, mine), threading.Event(), ["first"], []

    def write() -> None:
        try:
            delivery = profile.token(COURIER, "chat.delivery")
            for n in range(400):
                if stop.is_set():
                    return
                with store.begin(delivery) as session:
                    session.add(
                        ChatMessage(
                            sender_id=mine,
                            recipient_id=other,
                            conversation_id=conversation_id(mine, other),
                            sent_at=NOW,
                            body=f"m {n}",
                        )
                    )
                sent.append(f"m {n}")
        except Exception as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    done = [store.subject_keys.rotate(mine, token) for _ in range(3)]
    stop.set()
    writer.join()
    assert failed == []
    assert all(not one.left for one in done)
    assert sorted(m["body"] for m in copy_of(store, mine)["ChatMessage"]) == sorted(sent)


def test_a_key_that_came_in_between_begins_the_scope_anew(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaultstore.lifecycle import rekey

    store = profile.store
    [mine] = profile.add_members(1)
    prepare, done = rekey.prepare, []

    def and_then_somebody_writes(*args: Any) -> Any:
        if not done:
            done.append(True)
            with store.begin(own_token(store, mine)) as session:
                session.get(Member, mine).email = "new@example.com"
        return prepare(*args)

    monkeypatch.setattr(rekey, "prepare", and_then_somebody_writes)
    token, old = rekey_token(store, mine), keys(store, mine)
    result = store.subject_keys.rotate(mine, token)
    assert result.left == {}
    assert not old & keys(store, mine)
    assert copy_of(store, mine)["Member"][0]["email"] == "new@example.com"


def test_a_stop_between_scopes_loses_nothing_and_the_next_run_does_the_rest(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaultstore.lifecycle.rekey_rows import ScopeRows

    store = profile.store
    mine, other, third = profile.add_members(3)
    chat(profile, mine, other, "one")
    chat(profile, mine, third, "two")
    before, old = copy_of(store, mine), keys(store, mine)
    token, seal, calls = rekey_token(store, mine), ScopeRows.seal, []

    def stopped(rows: Any, connection: Any, info: Any, sealings: Any) -> int:
        count = seal(rows, connection, info, sealings)
        calls.append(info.name)
        if calls.count("ChatMessage") == 2:
            raise KeyboardInterrupt
        return count

    with monkeypatch.context() as patch:
        patch.setattr(ScopeRows, "seal", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.subject_keys.rotate(mine, token)
    half = keys(store, mine)
    assert old & half
    assert old - half
    assert copy_of(store, mine) == before
    store.subject_keys.rotate(mine, token)
    assert not old & keys(store, mine)
    assert copy_of(store, mine) == before


def test_the_destroyed_wraps_are_in_no_file(small: Profile) -> None:
    store = small.store
    mine, other = small.add_members(2)
    query = sa.select(vs_keyring.c.wrapped).where(vs_keyring.c.subject == mine.bytes)
    with store.engine.connect() as connection:
        wraps = [wrap.encode() for wrap in connection.scalars(query)]
    store.subject_keys.rotate(mine, rekey_token(store, mine))
    files = [path.read_bytes() for path in small.folder.iterdir() if path.is_file()]
    assert len(wraps) > 5
    assert not any(wrap in data for wrap in wraps for data in files)
    assert len(keys(store, other)) > 5


def test_a_reader_with_warm_keys_goes_on(small: Profile) -> None:
    store = small.store
    [mine] = small.add_members(1)
    token = own_token(store, mine)
    with store.session(token) as session:
        found = session.get(Member, mine)
        assert found.phone == "13800000000"
        store.subject_keys.rotate(mine, rekey_token(store, mine))
        assert found.name == "欧阳晨秀"
        session.expire_all()
        assert found.phone == "13800000000"


def test_a_scope_that_is_not_whole_is_left_and_listed_and_the_others_are_done(small: Profile) -> None:
    store = small.store
    mine, other, third = small.add_members(3)
    chat(small, mine, other, "good")
    chat(small, mine, third, "bad")
    bad = conversation_id(mine, third)
    with store.engine.begin() as connection:
        moved = connection.exec_driver_sql("SELECT phone FROM members LIMIT 1").scalar_one()
        where = "WHERE conversation_id = ?"
        connection.exec_driver_sql(f"UPDATE chat_messages SET body = ? {where}", (moved, bad.hex))
    old = keys(store, mine)
    done = store.subject_keys.rotate(mine, rekey_token(store, mine))
    [(what, why)] = done.left.items()
    assert what == f"chat_flags, conversation of {bad}"
    assert why.startswith("ChatMessage.body of row ")
    assert why.endswith(" does not open")
    assert {key[1] for key in old & keys(store, mine)} == {bad.bytes}


@pytest.mark.parametrize("purpose", ["member.self", "privacy.request"])
def test_no_other_purpose_replaces_keys(profile: Profile, purpose: str) -> None:
    store = profile.store
    [mine] = profile.add_members(1)
    case = store.cases.open("privacy", assigned_to=OFFICER.id, subjects=[mine])
    token = own_token(store, mine)
    if purpose == "privacy.request":
        token = store.issue(OFFICER, purpose, subjects=[mine], case=case)
    old = keys(store, mine)
    with pytest.raises(AccessDenied) as refused:
        store.subject_keys.rotate(mine, token)
    assert refused.value.reason == "not.granted"
    assert keys(store, mine) == old
    with store.parts.gate_engine.connect() as connection:
        leaves = [json.loads(leaf) for leaf in connection.scalars(select(vs_entries.c.leaf))]
    assert (purpose, "refused:not.granted") in [(leaf["purpose"], leaf["outcome"]) for leaf in leaves]


def test_it_takes_two_approvals_and_the_very_subject(profile: Profile) -> None:
    store = profile.store
    mine, other = profile.add_members(2)
    old = keys(store, mine) | keys(store, other)
    with pytest.raises(ApprovalMissing):
        store.subject_keys.rotate(mine, rekey_token(store, mine, approvals=1))
    with pytest.raises(AccessDenied) as refused:
        store.subject_keys.rotate(other, rekey_token(store, mine))
    assert refused.value.reason == "subject.not_named"
    assert keys(store, mine) | keys(store, other) == old


def test_erased_and_restricted_members_are_refused(small: Profile) -> None:
    store = small.store
    gone, resting = small.add_members(2)
    for who in (gone, resting):
        token = rekey_token(store, who)
        old = keys(store, who)
        if who == gone:
            store.subjects.erase(gone, reason="asked for")
            old = set()
        else:
            store.subjects.restrict(resting, reason="in dispute")
        with pytest.raises(SubjectErased if who == gone else SubjectRestricted):
            store.subject_keys.rotate(who, token)
        assert keys(store, who) == old


# What a process can try that has taken over a service's login and one of its tokens.


def _call(connection: sa.Connection, claims: str, entry: str, subject: bytes, category: str) -> Any:
    text = connection.exec_driver_sql(
        "SELECT vs_rekeyed(%s::jsonb, %s, %s, ''::bytea, %s::text[], %s::bigint[], %s::text[])::text",
        (claims, entry, subject, [category], [77], ["vault:v1:AAAA"]),
    ).scalar_one()
    return json.loads(text)


@pytest.mark.integration
def test_keys_are_destroyed_for_nothing_but_an_admitted_replacement(profile: Profile) -> None:
    if profile.name == "embedded":
        return  # a process that holds the files needs no function
    store = profile.store
    mine, other = profile.add_members(2)
    old = keys(store, mine) | keys(store, other)
    claims = Claims.of(store.verify(rekey_token(store, mine)))
    foreign = Claims.of(store.verify(own_token(store, mine)))
    with store.engine.connect() as connection:
        entries = connection.execute(select(vs_entries.c.id, vs_entries.c.kind)).all()
        connection.rollback()
        sealed = next(row.id for row in entries if row.kind == "seal")
        tries = [
            (claims.json, sealed, mine.bytes),  # somebody else's admission
            (claims.json, "no-such-entry", mine.bytes),
            (claims.json, sealed, other.bytes),
            (foreign.json, sealed, mine.bytes),
            (claims.json.replace("privacy.rekey", "registration"), sealed, mine.bytes),
        ]
        codes = []
        for one in tries:
            with connection.begin():
                codes.append(_call(connection, *one, "contact").get("code"))
    assert codes == ["not.granted", "not.granted", "subject.not_named", "not.granted", "policy.changed"]
    assert keys(store, mine) | keys(store, other) == old
