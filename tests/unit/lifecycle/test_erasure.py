"""Erasing a member of a whole store: what goes, what stays, who may, and what is written down of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.support.erasing import OFFICER, chat, everything_of, on_postgres, shop_in, verified, view
from tests.support.profiles import MATCHMAKER, Profile
from vaultstore import Actor
from vaultstore.errors import AccessDenied, ApprovalMissing, SubjectErased, UnsupportedOperation
from vaultstore.lifecycle.retention import Retention
from vaultstore.members.models import ChatMessage, Lead, Member, ProfileView
from vaultstore.testing import PostgresServer

CARE = Actor("care-1", role="care_agent")


@pytest.fixture(params=["sqlite", pytest.param("pg", marks=pytest.mark.integration)])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    if request.param == "sqlite":
        with shop_in(tmp_path) as made:
            yield made
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        with on_postgres(tmp_path, postgres) as made:
            yield made


def plain(shop: Profile) -> Session:
    """A session past the gate: what the database itself holds."""
    return Session(shop.store.engine)


def test_everything_that_is_theirs_goes_and_everybody_elses_stays(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    shop.claim([anna, ben])
    chat(shop, anna, ben)
    chat(shop, ben, anna)
    view(shop, anna, ben)
    view(shop, ben, anna)
    with plain(shop) as session:
        before = session.execute(sa.text("SELECT * FROM members")).mappings().all()
    erased = shop.store.subjects.erase(anna, reason="asked for it")
    assert erased.new
    assert erased.keys == 8 + 2 + 1  # a profile's categories and masks, a conversation's two, what was looked at
    with plain(shop) as session:
        rows = {uuid.UUID(str(row["id"])): row for row in session.execute(sa.text("SELECT * FROM members")).mappings()}
        assert dict(rows[ben]) in [dict(row) for row in before]
        hers = rows[anna]
        assert {hers[name] for name in ("nickname", "gender", "city", "grade")} == {""}
        assert (hers["last_login"], hers["store"]) == (None, "sh-01")
        assert {hers[name] for name in hers if name.endswith("_bidx")} == {None}
        assert session.scalar(select(func.count()).select_from(Lead).where(Lead.member_id == anna)) == 0
        assert session.scalar(select(func.count()).select_from(Lead)) == 1
        assert session.scalars(select(ProfileView.viewer_id)).all() == [ben]
        assert session.scalar(select(func.count()).select_from(ChatMessage)) == 2
        keyring = session.execute(sa.text("SELECT DISTINCT subject FROM vs_keyring")).scalars().all()
        assert [uuid.UUID(bytes=k) if isinstance(k, bytes) else k for k in keyring] == [ben]


def test_the_row_reads_as_erased_and_counts_all_the_same(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    shop.store.subjects.erase(anna, reason="asked for it")
    token = shop.token(Actor("m-1", role="matcher"), "matching")
    with shop.store.session(token) as session:
        members = {m.id: m for m in session.scalars(select(Member))}
        assert members[anna].store == "sh-01"
        with pytest.raises(SubjectErased):
            _ = members[anna].wants
        assert members[ben].wants == "长头发"
        assert session.scalar(select(func.count()).select_from(Member)) == 2
        by_store = session.execute(select(Member.store, func.count()).group_by(Member.store)).all()
        assert [tuple(row) for row in by_store] == [("sh-01", 2)]


def test_it_is_out_of_every_table_but_those_that_say_why(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    shop.claim([anna, ben])
    chat(shop, ben, anna)
    with shop.store.session(shop.token(MATCHMAKER, "sales.outreach")) as session:
        assert len([m.phone for m in session.scalars(select(Member))]) == 2
    shop.store.parts.log().sequence()  # some entries stand in the tree, the next ones wait
    with shop.store.session(shop.token(Actor(str(anna), role="member"), "member.self", subjects=[anna])) as session:
        assert [m.wants for m in session.scalars(select(Member))] == ["长头发"]
    shop.store.subjects.erase(anna, reason="asked for it")
    names = {str(anna).encode(), anna.hex.encode(), anna.bytes}
    found = {
        table
        for table, rows in everything_of(shop).items()
        for row in rows
        for value in row
        if any(name in (value if isinstance(value, bytes) else str(value).encode()) for name in names)
    }
    # Rows that stay are hers by their ids; consents say that what was done was allowed; the rest is the erasure.
    assert found == {"members", "chat_messages", "vs_subjects", "vs_states", "vs_consents", "vs_erasures"}


def test_the_log_is_whole_and_accounts_for_what_was_taken_out(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    shop.claim([anna, ben])
    token = shop.token(Actor(str(anna), role="member"), "member.self", subjects=[anna])
    for _ in range(3):
        with shop.store.session(token) as session:
            session.scalars(select(Member)).one().wants
    erased = shop.store.subjects.erase(anna, reason="asked for it")
    log = erased.bodies[0]["log"]
    assert log["lines"] == log["last"] == 4
    assert log["acts"] == 3
    result = verified(shop)
    assert result.findings == []
    assert (result.erased_lines, result.erased_actors) == (4, 3)


def test_repeating_it_gives_the_same_and_changes_nothing(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    first = shop.store.subjects.erase(anna, reason="asked for it")
    before = everything_of(shop)
    second = shop.store.subjects.erase(anna, reason="asked twice")
    assert (first.new, second.new) == (True, False)
    assert second.acts == first.acts
    assert everything_of(shop) == before


def test_repeating_it_takes_what_came_since_and_says_so(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    shop.store.subjects.erase(anna, reason="asked for it")
    now = datetime.now(UTC)
    with plain(shop) as session, session.begin():
        session.add(Lead(member_id=anna, actor_id="u-1", store="s", expires_at=now + timedelta(days=1)))
    again = shop.store.subjects.erase(anna, reason="a lead came in")
    assert again.new
    assert [(b["act"], [d["rows"] for d in b["deleted"] if d["model"] == "Lead"]) for b in again.bodies] == [
        ("erased", [0]),
        ("again", [1]),
    ]
    with plain(shop) as session:
        assert session.scalar(select(func.count()).select_from(Lead)) == 0


def test_two_at_once_are_one_erasure(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: shop.store.subjects.erase(anna, reason=f"asked {n}"), range(4)))
    assert sorted(each.new for each in done) == [False, False, False, True]
    assert len({each.entry for each in done}) == 1
    assert {len(each.acts) for each in done} == {1}


def test_a_restricted_member_is_erased_and_no_longer_out_of_sight(shop: Profile) -> None:
    anna, _ = shop.add_members(2)
    shop.store.subjects.restrict(anna, reason="silent")
    shop.store.subjects.erase(anna, reason="asked for it")
    assert [change.state for change in shop.store.subjects.history(anna)] == ["active", "restricted", "erased"]
    with shop.store.session(shop.token(Actor("m-1", role="matcher"), "matching")) as session:
        assert session.scalar(select(func.count()).select_from(Member)) == 2


def test_no_search_finds_an_erased_member_and_their_number_is_free_again(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    shop.store.subjects.erase(anna, reason="asked for it")
    token = shop.token(Actor("registrar-1", role="registrar"), "registration")
    with shop.store.session(token) as session:
        query = select(func.count()).select_from(Member).where(Member.phone == "13800000000")
        assert session.scalar(query) == 0


def test_it_says_why(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    with pytest.raises(UnsupportedOperation, match="says why"):
        shop.store.subjects.erase(anna, reason="  ")


def test_the_horizon_is_that_of_the_settings(shop: Profile) -> None:
    from dataclasses import replace

    from vaultstore.lifecycle import Subjects

    (anna,) = shop.add_members(1)
    parts = replace(
        shop.store.parts, retention=Retention(vault_snapshots=timedelta(days=30), wal_archives=timedelta(0))
    )
    erased = Subjects(parts.ledger, parts).erase(anna, reason="asked for it")
    horizon = erased.bodies[0]["horizon"]
    assert datetime.fromisoformat(horizon["vault_snapshots"]) == erased.at + timedelta(days=30)
    assert datetime.fromisoformat(horizon["wal_archives"]) == erased.at
    assert (horizon["keyring_backups"], horizon["data_backups"]) == (None, None)


def test_the_journal_is_told_before_it_commits(shop: Profile) -> None:
    from dataclasses import replace

    from vaultstore.lifecycle import Subjects

    told: list[str] = []

    class Failing:
        def append(self, kind: str, **facts: object) -> None:
            told.append(kind)
            raise OSError("the journal's disk is full")

    (anna,) = shop.add_members(1)
    before = everything_of(shop)
    parts = replace(shop.store.parts, journal=Failing())
    with pytest.raises(OSError, match="full"):
        Subjects(parts.ledger, parts).erase(anna, reason="asked for it")
    assert told == ["erase"]
    assert everything_of(shop) == before


# ------------------------------------------------------------------------------------------------------- under tokens


def desk(shop: Profile, subject: uuid.UUID, purpose: str = "privacy.erasure") -> str:
    """A token of the privacy officer, on a case of their own."""
    case = shop.store.cases.open("erasure", assigned_to=OFFICER.id, subjects=[subject])
    return shop.token(OFFICER, purpose, subjects=[subject], case=case)


def test_the_privacy_desk_erases_whom_its_case_and_token_name(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    token = desk(shop, anna)
    erased = shop.store.subjects.erase(anna, reason="asked for it", token=token)
    assert erased.new
    assert not shop.store.subjects.erase(anna, reason="again", token=token).new
    with pytest.raises(AccessDenied, match=f"subject {ben} is not one that the token names"):
        shop.store.subjects.erase(ben, reason="not asked", token=token)
    assert shop.store.subjects.state(ben) == "active"


def test_members_erase_themselves_and_nobody_else(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    token = shop.token(Actor(str(anna), role="member"), "member.self", subjects=[anna])
    with pytest.raises(AccessDenied, match=f"subject {ben} is not one that the token names"):
        shop.store.subjects.erase(ben, reason="a grudge", token=token)
    assert shop.store.subjects.erase(anna, reason="I leave", token=token).new
    assert not shop.store.subjects.erase(anna, reason="I leave", token=token).bodies[1:2]
    assert verified(shop).findings == []
    leaf = _leaf(shop, shop.store.subjects.erase(anna, reason="x").entry)
    assert (leaf["role"], leaf["purpose"]) == ("member", "member.self")
    assert _actor(shop, leaf["id"]) == ""


def test_a_restricted_member_does_not_erase_themselves(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    shop.store.subjects.restrict(anna, reason="silent")
    token = shop.token(Actor(str(anna), role="member"), "member.self", subjects=[anna])
    with pytest.raises(AccessDenied) as refused:
        shop.store.subjects.erase(anna, reason="I leave", token=token)
    assert refused.value.reason == "subject.restricted"
    assert shop.store.subjects.erase(anna, reason="asked the desk", token=desk(shop, anna)).new


def test_no_other_purpose_erases_and_the_attempt_is_audited(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    case = shop.store.cases.open("complaint", assigned_to=OFFICER.id, subjects=[anna])
    before = everything_of(shop)["members"]
    for token in (
        shop.token(MATCHMAKER, "sales.pool"),
        shop.token(OFFICER, "privacy.request", subjects=[anna], case=case),
    ):
        with pytest.raises(AccessDenied) as refused:
            shop.store.subjects.erase(anna, reason="to harm", token=token)
        assert refused.value.reason == "not.granted"
    assert shop.store.subjects.state(anna) == "active"
    assert everything_of(shop)["members"] == before
    refusals = [row for row in _entries(shop) if row["kind"] == "erase"]
    assert [row["outcome"] for row in refusals] == ["refused:not.granted"] * 2


def test_the_desk_needs_an_open_case_of_its_own_that_names_the_member(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    closed = shop.store.cases.open("erasure", assigned_to=OFFICER.id, subjects=[anna])
    shop.store.cases.close(closed)
    others = shop.store.cases.open("erasure", assigned_to="officer-2", subjects=[anna])
    of_ben = shop.store.cases.open("erasure", assigned_to=OFFICER.id, subjects=[ben])
    for case in (closed, others, of_ben):
        token = shop.token(OFFICER, "privacy.erasure", subjects=[anna], case=case)
        with pytest.raises(ApprovalMissing):
            shop.store.subjects.erase(anna, reason="asked", token=token)
    assert shop.store.subjects.state(anna) == "active"


def test_a_revoked_token_erases_nobody(shop: Profile) -> None:
    from vaultstore.errors import TokenRevoked

    (anna,) = shop.add_members(1)
    token = desk(shop, anna)
    shop.store.revoke(actor=OFFICER.id)
    with pytest.raises(TokenRevoked):
        shop.store.subjects.erase(anna, reason="asked", token=token)
    assert shop.store.subjects.state(anna) == "active"


# ------------------------------------------------------------------------------------------------------- afterwards


def test_a_line_that_speaks_of_an_erased_member_is_proof_of_a_breach(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    shop.store.parts.log().sequence()
    with shop.store.parts.gate_engine.connect() as connection:
        seq = connection.execute(sa.text("SELECT max(seq) FROM vs_entries")).scalar_one()
    shop.store.subjects.erase(anna, reason="asked for it")
    assert verified(shop).findings == []
    with shop.store.parts.gate_engine.begin() as connection:  # as somebody who went past the gate would leave it
        from vaultstore.records.subject_lines import vs_subject_entries

        connection.execute(vs_subject_entries.insert().values(subject=anna.bytes, entry=seq))
    (finding,) = verified(shop).findings
    assert f"speaks of subject {anna}, who was erased" in finding.what


def test_an_act_that_was_edited_is_found(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    shop.store.subjects.erase(anna, reason="asked for it")
    with shop.store.parts.gate_engine.begin() as connection:
        connection.execute(sa.text("UPDATE vs_erasures SET body = replace(body, 'asked for it', 'was told to')"))
    assert "is not the one that was logged" in verified(shop).findings[0].what


def _entries(shop: Profile) -> list[dict[str, object]]:
    with shop.store.parts.gate_engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT leaf FROM vs_entries ORDER BY seq")).scalars()
        return [json.loads(row) for row in rows]


def _leaf(shop: Profile, entry: str) -> dict[str, object]:
    return next(leaf for leaf in _entries(shop) if leaf["id"] == entry)


def _actor(shop: Profile, entry: object) -> str:
    with shop.store.parts.gate_engine.connect() as connection:
        query = sa.text("SELECT actor FROM vs_entries WHERE id = :id")
        actor: str = connection.execute(query, {"id": entry}).scalar_one()
        return actor
