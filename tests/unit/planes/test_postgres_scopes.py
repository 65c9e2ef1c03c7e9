"""Row scopes as SQL: what becomes of each form, and what is refused with a word on how to write it."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    MetaData,
    String,
    Table,
    and_,
    any_,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)  # fmt: skip
from sqlalchemy.orm import aliased

from vaultstore.grants import Actor
from vaultstore.members import scopes
from vaultstore.members.models import Base, ChatMessage, Lead, Member, ProfileView
from vaultstore.planes.postgres_scopes import Condition, ScopeRefused, compile_condition

KNOWN = {table.name: table for table in Base.metadata.tables.values()}
VIEW = r'"@schema@"\."vs_scope_here_[0-9a-f]{8}"'
HELD = select(Lead.member_id)
ELSEWHERE = Table("elsewhere", MetaData(), Column("id", String))


def compiled(scope: Callable[[Actor, Any], Any], model: type[Any] = Member) -> Condition:
    return compile_condition("here", lambda actor: scope(actor, model), model.__table__, KNOWN, "vs_")


def plain(template: str) -> str:
    """A template on one line, without its schema and with views called V."""
    return re.sub(r'"vs_scope_here_[0-9a-f]{8}"', "V", " ".join(template.split()).replace('"@schema@".', ""))


SHIPPED = {
    "claimed_by_actor": (
        Member,
        '"members".id = ANY (ARRAY(SELECT value FROM V))',
        "SELECT leads.member_id FROM leads WHERE leads.actor_id = (SELECT vs_actor())"  # noqa: ISC004
        " AND leads.state = 'open' AND leads.expires_at > CURRENT_TIMESTAMP",
    ),
    "own_store": (Member, "\"members\".store = (SELECT vs_attribute('store'))", None),
    "own_rows": (ChatMessage, '"chat_messages".sender_id = (SELECT vs_actor_uuid())', None),
    "addressed_to_actor": (ChatMessage, '"chat_messages".recipient_id = (SELECT vs_actor_uuid())', None),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_member_stores_scopes(name: str) -> None:
    model, condition, view = SHIPPED[name]
    made = compiled(getattr(scopes, name), model)
    assert plain(made.sql) == condition
    assert [plain(v.query) for v in made.views] == ([] if view is None else [view])


def test_a_view_says_what_its_owner_reads() -> None:
    (view,) = compiled(scopes.claimed_by_actor).views
    assert view.reads == (("leads", ("actor_id", "expires_at", "member_id", "state")),)


FORMS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "true": (lambda a, m: true(), "true"),
    "false": (lambda a, m: false(), "false"),
    "or": (
        lambda a, m: or_(m.store == a.attributes["store"], m.city == a.attributes.get("city")),
        "\"members\".store = (SELECT vs_attribute('store')) OR \"members\".city = (SELECT vs_attribute('city'))",
    ),
    "and, not": (
        lambda a, m: and_(m.store == a.attributes["store"], not_(m.grade == "C")),
        "\"members\".store = (SELECT vs_attribute('store')) AND \"members\".grade != 'C'",
    ),
    "an attribute against a word": (
        lambda a, m: or_(literal(a.attributes["level"]) == "hq", m.store == a.attributes["store"]),
        "(SELECT vs_attribute('level')) = 'hq' OR \"members\".store = (SELECT vs_attribute('store'))",
    ),
    "a role against a word": (
        lambda a, m: literal(a.role) == "manager",
        "(SELECT vs_actor_role()) = 'manager'",
    ),
    "an attribute's name with a quote": (
        lambda a, m: m.store == a.attributes["it's"],
        "\"members\".store = (SELECT vs_attribute('it''s'))",
    ),
    "a UUID attribute": (
        lambda a, m: m.id == uuid.UUID(a.attributes["member"]),
        "\"members\".id = (SELECT vs_attribute_uuid('member'))",
    ),
    "an id that is given as text": (lambda a, m: m.id == a.id, '"members".id = (SELECT vs_actor_uuid())'),
    "words": (lambda a, m: m.store.in_(["a%", "x'", "b\\"]), "\"members\".store IN ('a%', 'x''', 'b\\')"),
    "a date": (lambda a, m: m.last_login >= date(2021, 1, 2), "\"members\".last_login >= '2021-01-02'"),
    "a time": (
        lambda a, m: m.created_at < datetime(2021, 1, 2, tzinfo=UTC),
        "\"members\".created_at < '2021-01-02 00:00:00+00:00'",
    ),
    "null": (lambda a, m: m.last_login.is_(None), '"members".last_login IS NULL'),
    "a fixed UUID": (
        lambda a, m: m.id == uuid.UUID(int=1),
        "\"members\".id = '00000000-0000-0000-0000-000000000001'",
    ),
    "a prefix": (
        lambda a, m: m.store.startswith(a.attributes["region"]),
        "\"members\".store LIKE (SELECT vs_attribute('region')) || '%'",
    ),
    "in": (lambda a, m: m.id.in_(HELD.where(Lead.actor_id == a.id)), '"members".id = ANY (ARRAY(SELECT value FROM V))'),
    "not in": (
        lambda a, m: m.id.not_in(HELD.where(Lead.actor_id == a.id)),
        '"members".id != ALL (ARRAY(SELECT value FROM V))',
    ),
    "exists": (
        lambda a, m: HELD.where(Lead.actor_id == a.id).exists(),
        "EXISTS (SELECT FROM V)",
    ),
    "not exists": (
        lambda a, m: ~exists().where(Lead.actor_id == a.id),
        "NOT (EXISTS (SELECT FROM V))",
    ),
    "a value that is looked up": (
        lambda a, m: m.store == select(func.max(Lead.store)).where(Lead.actor_id == a.id).scalar_subquery(),
        '"members".store = (SELECT value FROM V)',
    ),
    "any": (
        lambda a, m: m.id == any_(HELD.where(Lead.actor_id == a.id).scalar_subquery()),
        '"members".id = ANY (SELECT value FROM V)',
    ),
    "a union": (
        lambda a, m: m.id.in_(HELD.where(Lead.actor_id == a.id).union(HELD.where(Lead.store == a.attributes["store"]))),
        '"members".id = ANY (ARRAY(SELECT value FROM V))',
    ),
    "a join": (
        lambda a, m: m.id.in_(HELD.join(Member, Member.id == Lead.member_id).where(Member.grade == "A")),
        '"members".id = ANY (ARRAY(SELECT value FROM V))',
    ),
    "the table itself": (
        lambda a, m: m.id.in_(select(Member.id).where(Member.grade == "A")),
        '"members".id = ANY (ARRAY(SELECT value FROM V))',
    ),
    "an alias within": (
        lambda a, m: m.id.in_(select((x := aliased(Lead)).member_id).where(x.actor_id == a.id)),
        '"members".id = ANY (ARRAY(SELECT value FROM V))',
    ),
    "a count": (lambda a, m: select(func.count()).select_from(Lead).scalar_subquery() > 3, "(SELECT value FROM V) > 3"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_can_be_written(form: str) -> None:
    scope, expected = FORMS[form]
    assert plain(compiled(scope).sql) == expected


@pytest.mark.parametrize("form", ["exists", "a count", "an alias within", "the table itself", "a join", "a union"])
def test_what_a_view_reads_is_known_whatever_its_form(form: str) -> None:
    (view,) = compiled(FORMS[form][0]).views
    reads = dict(view.reads)
    assert set(reads) == {"exists": {"leads"}, "a join": {"leads", "members"}, "the table itself": {"members"}}.get(
        form, {"leads"}
    )
    assert all(reads.values())


def test_two_subqueries_are_two_views_and_the_same_one_is_one() -> None:
    def scope(actor: Actor, model: Any) -> Any:
        return or_(
            model.id.in_(HELD.where(Lead.actor_id == actor.id)),
            model.id.in_(HELD.where(Lead.state == "open")),
            model.id.not_in(HELD.where(Lead.actor_id == actor.id)),
        )

    assert len({view.name for view in compiled(scope).views}) == len(compiled(scope).views) == 2


def test_views_are_named_after_what_they_say_and_whose_they_are() -> None:
    def name(form: str, prefix: str, label: str = "here") -> str:
        made = compile_condition(label, lambda a: FORMS[form][0](a, Member), Member.__table__, KNOWN, prefix)
        return made.views[0].name

    assert len({name(form, prefix) for form in ("in", "exists") for prefix in ("vs_", "b_")}) == 4
    assert len(name("in", "vs_", "x" * 100)) == 63


def _table(actor: Actor) -> str:
    return {"manager": "hq"}.get(actor.role, "none")


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a comparison in Python": (
        lambda a, m: true() if a.role == "manager" else false(),
        "compares a value of the actor",
    ),
    "a comparison from the other side": (lambda a, m: true() if a.id == "u-1" else false(), "compares a value"),
    "a set": (lambda a, m: true() if a.id in {"u-1"} else false(), "compares a value of the actor"),
    "a list": (lambda a, m: true() if a.id in ["u-1"] else false(), "compares a value of the actor"),
    "a table of words": (lambda a, m: m.store == _table(a), "compares a value of the actor"),
    "an order": (lambda a, m: true() if a.attributes["level"] > "3" else false(), "compares a value of the actor"),
    "a beginning": (lambda a, m: true() if a.id.startswith("u-") else false(), "compares a value of the actor"),
    "a part in Python": (lambda a, m: m.store == a.attributes["store"][:2], "depends on the actor's values"),
    "a text made in Python": (lambda a, m: m.store == f"{a.id}-1", "depends on the actor's values"),
    "upper case": (lambda a, m: m.store == a.attributes["store"].upper(), "depends on the actor's values"),
    "the time in Python": (lambda a, m: m.created_at < datetime.now(UTC), r"current_timestamp\(\)"),
    "chance": (lambda a, m: m.store == str(random.random()), "or on the moment"),
    "every attribute": (lambda a, m: m.store.in_(list(a.attributes)), "goes through the actor's attributes"),
    "attributes counted": (lambda a, m: true() if len(a.attributes) else false(), "counts the actor's attributes"),
    "a list with an attribute": (lambda a, m: m.store.in_([a.attributes["store"], "x"]), r"== *, and join with or_"),
    "a date of an attribute": (lambda a, m: m.last_login == a.attributes["day"], "compared as Date"),
    "a correlated exists": (
        lambda a, m: exists().where(Lead.member_id == m.id, Lead.actor_id == a.id),
        r"refers to the row of members that it decides about: write it as column\.in_\(select",
    ),
    "a correlated select": (
        lambda a, m: m.store.in_(select(Lead.store).where(Lead.member_id == m.id)),
        "refers to the row of members",
    ),
    "a correlated select within a select": (
        lambda a, m: m.id.in_(HELD.where(Lead.id.in_(select(ProfileView.id).where(ProfileView.id == m.id)))),
        "refers to the row of members",
    ),
    "two columns": (lambda a, m: tuple_(m.id, m.store).in_(select(Lead.member_id, Lead.store)), "more than one column"),
    "a sealed column": (lambda a, m: m.__table__.c.phone.is_not(None), "members.phone is sealed"),
    "a blind index": (lambda a, m: m.__table__.c.phone_bidx.is_not(None), "members.phone_bidx is sealed"),
    "a sealed column within": (
        lambda a, m: m.id.in_(select(ProfileView.viewer_id).where(ProfileView.__table__.c.viewed_id.is_not(None))),
        "profile_views.viewed_id is sealed",
    ),
    "another table's column": (lambda a, m: Lead.actor_id == a.id, "uses leads.actor_id beside members"),
    "an alias": (lambda a, m: aliased(m).store == "x", "of an alias"),
    "a table that no model maps": (
        lambda a, m: m.store.in_(select(ELSEWHERE.c.id)),
        "selects from elsewhere, which no",
    ),
    "a value without a literal": (lambda a, m: m.last_login == object(), "no SQL literal"),
    "bytes": (lambda a, m: func.sha256(m.store) == b"\0", "bytes in it have no SQL literal"),
    "no condition": (lambda a, m: None, "returns NoneType"),
    "yes": (lambda a, m: True, "returns bool"),
    "SQL text": (lambda a, m: "store = 'x'", "returns str"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_form_that_cannot_be_written_is_refused(form: str) -> None:
    scope, reason = REFUSED[form]
    with pytest.raises(ScopeRefused, match=reason):
        compiled(scope)


def test_a_word_may_look_like_anything() -> None:
    made = compiled(lambda a, m: m.store == "' OR true --")
    assert made.sql == "\"members\".store = ''' OR true --'"


def test_equal_scopes_compile_to_equal_conditions() -> None:
    for scope, _ in FORMS.values():
        assert compiled(scope) == compiled(scope)
