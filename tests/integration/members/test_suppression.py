"""Suppression: a no that outlives the account it was said with."""

from __future__ import annotations

import io
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.support.profiles import MATCHMAKER, REGISTRAR, SHIPPED_POLICY, Profile, member
from vaultstore import Actor, LocalKeys, Policy, Store
from vaultstore.errors import AccessDenied, NotDisclosed, SearchDenied, SettingsError
from vaultstore.members.claims import Claims
from vaultstore.members.generate import as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.members.models import Base, Lead, Member, SuppressedMember, Suppression
from vaultstore.members.pools import Pools
from vaultstore.members.suppression import Suppressions, suppress_new, suppressed_among
from vaultstore.records.entries import vs_entries

pytestmark = pytest.mark.integration

DESK = Actor("suppressions", role="suppression_desk")
ID_NUMBER = "110101199003078515"


def desk(profile: Profile, claims: Claims | None = None) -> Suppressions:
    return Suppressions(
        profile.store,
        lambda one: profile.token(DESK, "suppression.desk", subjects=[one]),
        closed=None if claims is None else claims.close,
    )


def leads(profile: Profile) -> Claims:
    token = profile.token(Actor("desk-1", role="lead_desk"), "sales.desk")
    return Claims(profile.store, lambda: token)


def mine(profile: Profile, one: uuid.UUID) -> str:
    return profile.token(Actor(str(one), role="member"), "member.self")


def register(profile: Profile, *members: Member) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """As the sign-up service does: (everybody, those who said no under another account)."""
    ids = [one.id for one in members]
    with profile.store.begin(profile.token(REGISTRAR, "registration")) as session:
        session.add_all(members)
        return ids, suppress_new(session, members)


def marked(profile: Profile) -> set[uuid.UUID]:
    with profile.store.engine.connect() as connection:
        return set(connection.execute(select(SuppressedMember.__table__.c.member_id)).scalars())


def test_a_no_to_the_seller_closes_the_lead_and_leaves_the_pools(profile: Profile) -> None:
    *others, refuser = profile.add_members(9)
    profile.claim([refuser])
    claims = leads(profile)
    for one in others:
        profile.store.consents.grant(one, "matchmaking", notice_version="1")
    desk(profile, claims).suppress(profile.token(MATCHMAKER, "sales.outreach"), refuser)
    assert marked(profile) == {refuser}
    with profile.store.engine.connect() as connection:
        assert connection.execute(select(Lead.__table__.c.state)).scalars().all() == ["refused"]

    def out(ids: object) -> set[uuid.UUID]:
        with profile.store.session(profile.token(Actor("r", role="relay_desk"), "relay.desk")) as session:
            return suppressed_among(session, ids)  # type: ignore[arg-type]

    page = Pools(profile.store, claims.free, out=out).page(profile.token(MATCHMAKER, "sales.pool"))
    assert {card.member for card in page.cards} == set(others)


def test_deleting_the_account_and_registering_anew_changes_nothing(profile: Profile) -> None:
    [old], known = register(profile, member(1, id_number=ID_NUMBER))
    assert known == []
    desk(profile).suppress(mine(profile, old), old)
    profile.store.subjects.erase(old, reason="the member asked")
    assert marked(profile) == set()
    same_phone, same_person = member(1, phone="+86 138-0000-0001"), member(2, id_number=ID_NUMBER)
    ids, known = register(profile, same_phone, same_person, member(3))
    assert sorted(known) == sorted(ids[:2])
    assert marked(profile) == set(ids[:2])


def test_a_file_that_brings_the_person_back_is_looked_through(profile: Profile) -> None:
    old, back, other, same = people = town(4, seed=11).members
    back.update(phone=f"+86 {old['phone'][-11:]}")
    same.update({name: old[name] for name in ("id_number", "birth_date", "gender")})

    def taken_in(*rows: dict[str, str]) -> int:
        report = Importer(profile.store).stream(io.BytesIO(as_csv(list(rows))), "members.csv", "members")
        assert (report.written, report.refused) == (len(rows), [])
        return report.suppressed

    assert taken_in(old) == 0
    assert searches(profile) == 0  # nobody said no: nothing is looked for
    refuser = uuid.UUID(old["member_id"])
    desk(profile).suppress(mine(profile, refuser), refuser)
    profile.store.subjects.erase(refuser, reason="the member asked")
    before = searches(profile)
    assert taken_in(*people[1:]) == 2
    assert marked(profile) == {uuid.UUID(back["member_id"]), uuid.UUID(same["member_id"])}
    assert searches(profile) == before + 2  # one for phones, one for ID numbers, whatever their number
    assert other["phone"] not in (old["phone"], back["phone"])


def searches(profile: Profile) -> int:
    with profile.store.parts.ledger.gate() as connection:
        kinds = connection.scalars(select(vs_entries.c.kind)).all()
    return kinds.count("search")


def test_other_accounts_of_the_person_are_suppressed_too(profile: Profile) -> None:
    ids, _ = register(profile, member(1), member(1), member(2))
    desk(profile).suppress(mine(profile, ids[0]), ids[0])
    assert marked(profile) == set(ids[:2])


def test_only_the_member_opts_in_again(profile: Profile) -> None:
    [one] = profile.add_members(1)
    profile.claim([one])
    suppressions, seller = desk(profile), profile.token(MATCHMAKER, "sales.outreach")
    suppressions.suppress(seller, one)
    with pytest.raises(AccessDenied):
        suppressions.opt_in(seller)
    suppressions.opt_in(mine(profile, one))
    assert marked(profile) == set()
    assert register(profile, member(0))[1] == []


def test_what_is_kept_is_a_keyed_tag_and_nothing_else(profile: Profile) -> None:
    [one], _ = register(profile, member(1, id_number=ID_NUMBER))
    desk(profile).suppress(mine(profile, one), one)
    desk(profile).suppress(mine(profile, one), one)  # harmless
    with profile.store.engine.connect() as connection:
        rows = connection.execute(sa.select(Suppression.__table__)).mappings().all()
    assert sorted(row["kind"] for row in rows) == ["id_number", "phone"]
    for row in rows:
        assert {key for key, value in row.items() if value is not None} == {"id", "tag", "kind", "reason", "since"}
        assert len(row["tag"]) == 64
        assert str(one) not in str(dict(row))
    with profile.store.engine.connect() as connection:
        bidx = connection.execute(sa.select(Member.__table__.c.phone_bidx)).scalar_one()
    assert bidx.hex() not in {row["tag"] for row in rows}


def test_nobody_else_suppresses_or_looks(profile: Profile) -> None:
    mine_, other = profile.add_members(2)
    suppressions = desk(profile)
    seller = profile.token(MATCHMAKER, "sales.outreach")  # holds no lead
    for token in (seller, mine(profile, other), profile.token(MATCHMAKER, "sales.pool")):
        with pytest.raises(AccessDenied):
            suppressions.suppress(token, mine_)
    case = profile.store.cases.open("complaint", assigned_to="care-1", subjects=[other])
    agent = Actor("care-1", role="care_agent")
    with pytest.raises(AccessDenied):
        suppressions.suppress(profile.token(agent, "care.complaint", case=case), mine_)
    suppressions.suppress(profile.token(agent, "care.complaint", case=case), other)
    assert marked(profile) == {other}
    for purpose in ("sales.outreach", "sales.pool"):
        with profile.store.session(profile.token(MATCHMAKER, purpose)) as session:
            with pytest.raises(SearchDenied):
                session.tags(Suppression.phone, ["13800000001"])
            with pytest.raises(AccessDenied):
                session.scalars(select(Suppression)).all()


def test_the_desk_opens_the_one_member_its_token_names(profile: Profile) -> None:
    one, other = profile.add_members(2)
    with profile.store.session(profile.token(DESK, "suppression.desk", subjects=[one])) as session:
        stranger = session.get(Member, other)
        assert stranger is not None
        with pytest.raises((AccessDenied, NotDisclosed)):
            _ = stranger.phone


def open_at(folder: Path, **options: Any) -> Store:
    """The store in a folder, with its journal elsewhere."""
    return Store.open(
        f"sqlite:///{folder / 'members.db'}", keys=LocalKeys.open(folder / "keys.json"),
        policy=Policy.load(SHIPPED_POLICY), models=Base, journal=folder.parent / "journal.jsonl", **options,
    )  # fmt: skip


def test_a_restored_store_has_the_no_again_and_what_was_taken_back(tmp_path: Path) -> None:
    live, backup = tmp_path / "live", tmp_path / "backup"
    live.mkdir()
    with open_at(live) as store:
        store.create_all()
        profile = Profile("embedded", store, store.parts.keys, "", live)
        refuser, waverer = profile.add_members(2)
        desk(profile).suppress(mine(profile, waverer), waverer)
    shutil.copytree(live, backup)
    with open_at(live) as store:
        profile = Profile("embedded", store, store.parts.keys, "", live)
        desk(profile).suppress(mine(profile, refuser), refuser)
        desk(profile).opt_in(mine(profile, waverer))
        kept = marked(profile)
    assert kept == {refuser}
    shutil.rmtree(live)
    shutil.copytree(backup, live)
    with pytest.raises(SettingsError, match="journal replay"):
        open_at(live)
    with open_at(live, replaying=True) as store:
        for _ in range(2):  # harmless when repeated
            store.journal.replay(operator="chen")
    with open_at(live) as store:
        profile = Profile("embedded", store, store.parts.keys, "", live)
        assert marked(profile) == {refuser}
        assert register(profile, member(0), member(1))[1]
        with store.engine.connect() as connection:
            reasons = connection.execute(sa.select(Suppression.__table__.c.reason)).scalars().all()
        assert reasons == ["replayed from the journal"]
    text = (tmp_path / "journal.jsonl").read_text()
    assert "138" not in re.sub(r'"[0-9a-f]{64}"', "", text)
