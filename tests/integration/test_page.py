"""The main job: a matchmaker lists a page of cards, and what that costs."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from tests.support.profiles import MATCHMAKER, Profile
from vaultstore import errors, is_masked
from vaultstore.members.models import ChatMessage, Member, ProfileView

pytestmark = pytest.mark.integration


def test_a_page_of_fifty_cards_costs_one_unwrap_request_and_one_audit_commit(profile: Profile) -> None:
    profile.claim(profile.add_members(50))
    token = profile.token(MATCHMAKER, "sales.outreach")
    with profile.store.session(token) as session:
        page = session.scalars(select(Member).order_by(Member.id).limit(50)).all()
        profile.forget()
        cards = [(m.name, m.phone, m.birth_date, m.monthly_income) for m in page]
    assert len(cards) == 50
    assert all(is_masked(value) for card in cards for value in card)
    assert {phone[:-4] for _, phone, _, _ in cards} == {"*******"}
    if profile.name == "standard":
        assert {r: n for r, n in profile.requests.items() if r.startswith("decrypt")} == {"decrypt/sales_card": 1}
        assert len([c for c in profile.gate_statements if "vs_" in c]) == 2, profile.gate_statements
    else:
        assert profile.gate_statements.count("BEGIN IMMEDIATE") == 1
        assert len([c for c in profile.gate_statements if "INSERT INTO vs_entries" in c]) == 1
    assert not [s for s in profile.statements if s.lstrip().startswith("SELECT")], "a query per row, or any at all"


def test_a_sales_statement_names_no_column_of_a_category_it_may_not_read(profile: Profile) -> None:
    profile.claim(profile.add_members(2))
    profile.forget()
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        for m in session.scalars(select(Member)):
            assert is_masked(m.phone)
            with pytest.raises(errors.NotDisclosed):
                m.email
    selects = [s for s in profile.statements if "FROM members" in s]
    assert selects
    for statement in selects:
        columns = statement.partition("FROM members")[0]
        for barred in (
            "members.phone,",
            "members.phone ",
            "email",
            "id_number",
            "wants",
            "bidx",
            "care_card",
            "match_card",
        ):
            assert barred not in columns.replace("\n", " "), (barred, columns)


def test_sales_reach_neither_chats_nor_browsing(profile: Profile) -> None:
    profile.claim(profile.add_members(1))
    for purpose in ("sales.outreach", "sales.pool"):
        with profile.store.session(profile.token(MATCHMAKER, purpose)) as session:
            for model in (ChatMessage, ProfileView):
                with pytest.raises(errors.AccessDenied):
                    session.scalars(select(model)).all()
            with pytest.raises(errors.SearchDenied):
                session.scalars(select(Member).where(Member.phone == "138 0000 0000")).all()


def test_a_value_of_another_member_does_not_open(profile: Profile) -> None:
    a, b = profile.add_members(2)
    profile.claim([a, b])
    with profile.store.engine.begin() as connection:
        rows = dict(connection.execute(select(Member.__table__.c.id, text("phone_sales_card"))).all())
        connection.execute(
            text("UPDATE members SET phone_sales_card = :ct WHERE id = :id"),
            {"ct": rows[a], "id": b if profile.name == "standard" else b.hex},
        )
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        page = {m.id: m for m in session.scalars(select(Member))}
        assert is_masked(page[a].phone)
        assert is_masked(page[b].name), "the other values of the row are sound"
        with pytest.raises(errors.DecryptionError):
            page[b].phone
