"""The abuses, numbered as they were exposed, each attempted the way it was done."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from vaultstore import Actor, errors, is_masked
from vaultstore.audit.log import note_keys
from vaultstore.audit.verify import verify_log
from vaultstore.members.demo.dump import search_dump
from vaultstore.members.models import ChatMessage, Member, ProfileView
from vaultstore.members.relay import ContactRules, Relay
from vaultstore.members.scenario.scene import Scene
from vaultstore.members.scenario.tries import Abuse, GotThrough, Try
from vaultstore.members.suppression import suppress_new

__all__ = ["ABUSES"]

_DENIED = (errors.AccessDenied,)
_SQL = (DBAPIError,)
_MORE_THAN_A_LIMIT = 150


def unlocks_the_phone(scene: Scene) -> str:
    """Claims a lead, and looks at the phone number that the claim once unlocked."""
    member = scene.claimed()
    with scene.store.session(scene.outreach()) as session:
        phone = session.get_one(Member, member).phone
    digits = "".join(c for c in scene.row(member)["phone"] if c.isdigit())[-11:]
    if not is_masked(phone) or digits in str(phone):
        raise GotThrough("the claim shows a phone number")
    return f"the claim gives {phone}: a mask that was sealed when the number was written"


def asks_for_a_number(scene: Scene) -> None:
    """Asks for the token that opens numbers."""
    scene.store.issue(scene.seller(), "relay.telephony", subjects=[scene.claimed()])


def asks_the_gate(scene: Scene) -> None:
    """A compromised sales process skips the library and asks the gate for the key of a lead's contact data."""
    member, opened = scene.claimed(), scene.store.parts.opened(scene.outreach())
    scene.store.gate.disclose(opened, "Member", ["contact"], [("contact", member.bytes, b"", 1)])


def asks_the_key_service(scene: Scene) -> None:
    """It hands a wrap of a contact key, stolen from a dump, to the key service under its own login."""
    member = scene.claimed()
    with scene.store.engine.connect() as connection:
        query = sa.text("SELECT wrapped FROM vs_keyring WHERE category = 'contact' LIMIT 1")
        wrapped = connection.execute(query).scalar_one()
    opened = scene.store.parts.opened(scene.outreach())
    opened.ask(lambda service: service.unwrap("contact", [(member.bytes, wrapped)], reference="none"))


def raw(statement: str, purpose: str = "sales.outreach") -> Callable[[Scene], None]:
    """A try with raw SQL, in the transaction of a seller's own session."""

    def act(scene: Scene) -> None:
        with scene.store.session(scene.store.issue(scene.seller(), purpose)) as session:
            session.connection().execute(sa.text(statement)).all()

    return act


def reads_model(model: type[Any], field: str) -> Callable[[Scene], None]:
    """A try that lists rows of a model and reads a field."""

    def act(scene: Scene) -> None:
        with scene.store.session(scene.outreach()) as session:
            for row in session.scalars(sa.select(model).limit(20)):
                getattr(row, field)

    return act


def texts_by_macro(scene: Scene) -> None:
    """A macro asks for a text to every lead, one after the other."""
    token = scene.outreach("u-macro")
    values = {"salutation": "您", "store": "本店", "day": "周六"}
    for _ in range(12):
        scene.relay.request(token, scene.claimed("u-macro"), "text", template="event", values=values)


def texts_a_number(scene: Scene) -> None:
    """Writes a number of one's own into a text."""
    values = {"salutation": "您好", "store": "本店", "day": "加我 138 1234 5678"}
    scene.relay.request(scene.outreach(), scene.claimed(), "text", template="event", values=values)


def calls_at_night(scene: Scene) -> None:
    """Calls at whatever hour it is, in a house where every hour is quiet."""
    always = ContactRules(quiet_from=datetime.min.time(), quiet_until=datetime.max.time())
    desk = Relay(scene.store, scene.relay._desk, rules=always)
    desk.request(scene.outreach(), scene.claimed(), "call")


def claims_a_refuser(scene: Scene) -> None:
    """Claims a member who told another matchmaker to delete the number."""
    member = scene.claimed()
    scene.suppressions.suppress(scene.outreach(), member)
    scene.claim("u-18", member)


def calls_a_refuser(scene: Scene) -> str:
    """A call that was asked for just before the member said no."""
    member = scene.claimed()
    request = scene.relay.request(scene.outreach(), member, "call").id
    scene.suppressions.suppress(scene.member(member), member)
    worked = {each.id: each for each in scene.worker.run()}
    if str(request) in scene.carrier.asked or worked[request].state != "refused":
        raise GotThrough("the member was called")
    return f"the worker looked again before it dialled: {worked[request].reason}"


def comes_back_under_a_new_account(scene: Scene) -> None:
    """The refuser deletes the account and registers anew; a matchmaker claims the newcomer."""
    old = scene.claimed()
    row, (shop, city) = scene.row(old), scene.homes[old]
    scene.suppressions.suppress(scene.member(old), old)
    scene.me.delete(scene.member(old))
    fresh = uuid.uuid4()
    with scene.store.begin(scene.store.issue(Actor("web", role="registrar"), "registration")) as session:
        again = Member(id=fresh, nickname="new", gender=row["gender"], city=city, store=shop, grade="B",
                       name=row["real_name"], phone=row["phone"])  # fmt: skip
        session.add(again)
        suppress_new(session, [again])
    scene.store.consents.grant(fresh, "matchmaking", notice_version="2021-11")
    scene.claims.claim(scene.store.issue(scene.seller("u-19", old), "sales.pool"), fresh)


def steals_the_database(scene: Scene) -> str:
    """Searches a dump of everything for every plaintext of every member."""
    search = search_dump(scene)
    if search.found:
        raise GotThrough(f"found in the dump: {', '.join(sorted(search.found))}")
    return f"{search.looked_for:,} plaintexts looked for in {search.bytes:,} bytes: none there"


def edits_the_log(scene: Scene) -> None:
    """Edits an entry of the audit log."""
    with scene.gate.begin() as connection:
        connection.execute(sa.text("UPDATE vs_entries SET leaf = replace(leaf, 'sales', 'audit')"))


def edits_past_the_triggers(scene: Scene) -> str:
    """An administrator takes the triggers away first, edits, and puts everything back as it looked."""
    with scene.store.session(scene.outreach()) as session:
        _ = session.get_one(Member, scene.claimed()).phone
    parts = scene.store.parts
    log = parts.log()
    kept = log.checkpoint(parts.keys, datetime.now(UTC))
    with scene.gate.begin() as connection:
        changed = _unguarded(connection, scene)
    try:
        verified = verify_log(scene.gate, parts.origin, note_keys(parts.keys, parts.origin), [kept])
    finally:
        with scene.gate.begin() as connection:
            _restored(connection, scene, *changed)
    if verified.whole:
        raise GotThrough("the edit was not found")
    return f"`audit verify`: {verified.findings[0]}"


def _unguarded(connection: sa.Connection, scene: Scene) -> tuple[int, str]:
    seq, leaf = connection.execute(
        sa.text("SELECT e.seq, e.leaf FROM vs_entries e JOIN vs_log l ON l.entry = e.seq WHERE e.kind = 'disclose'"
                " ORDER BY e.seq DESC LIMIT 1")
    ).one()  # fmt: skip
    _set_leaf(connection, seq, leaf.replace('"outcome":"', '"outcome":"not '))
    return seq, leaf


def _restored(connection: sa.Connection, scene: Scene, seq: int, leaf: str) -> None:
    _set_leaf(connection, seq, leaf)


def _set_leaf(connection: sa.Connection, seq: int, leaf: str) -> None:
    """With the triggers that guard the log out of the way, as only an owner can have them."""
    change = sa.text("UPDATE vs_entries SET leaf = :leaf WHERE seq = :seq")
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER TABLE vs_entries DISABLE TRIGGER USER"))
        connection.execute(change, {"leaf": leaf, "seq": seq})
        connection.execute(sa.text("ALTER TABLE vs_entries ENABLE ALWAYS TRIGGER vs_entries_rows"))
        connection.execute(sa.text("ALTER TABLE vs_entries ENABLE ALWAYS TRIGGER vs_entries_table"))
        return
    guards = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'vs_entries'"
    found = connection.execute(sa.text(guards)).all()
    for name, _ in found:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    connection.execute(change, {"leaf": leaf, "seq": seq})
    for _, text in found:
        connection.exec_driver_sql(text)


def uses_a_stolen_token(scene: Scene) -> None:
    """Uses a token that its owner reported."""
    member, token = scene.claimed(), scene.outreach()
    scene.store.revoke(jti=scene.store.verify(token).jti)
    with scene.store.session(token) as session:
        _ = session.get_one(Member, member).phone


def logs_in_with_it(scene: Scene) -> None:
    """Takes a stolen client token straight to the key service."""
    scene.store.parts.keys.login(scene.outreach())


def forges_one(scene: Scene) -> None:
    """Changes a character of a token's claims."""
    head, claims, signature = scene.outreach().split(".")
    at = len(claims) // 2
    scene.store.verify(f"{head}.{claims[:at]}{'B' if claims[at] == 'A' else 'A'}{claims[at + 1 :]}.{signature}")


def harvests_as_members(scene: Scene) -> str:
    """A competitor's sellers log in as members and list whom they can see."""
    seen = 0
    for spy in [scene.take() for _ in range(5)]:
        with scene.store.session(scene.member(spy)) as session:
            seen += len([one for one in session.scalars(sa.select(Member.id)) if one != spy])
    if seen:
        raise GotThrough(f"{seen} profiles of others were listed")
    return "five accounts list nobody but themselves"


def harvests_the_pool(scene: Scene) -> None:
    """One account turns every page of every pool that it can name: a city at a time."""
    if len(scene.homes) <= _MORE_THAN_A_LIMIT:
        raise errors.SettingsError("these files have too few members who consented: give larger ones")
    for city in dict.fromkeys(city for _, city in scene.homes.values()):
        spy = Actor("u-spy", role="matchmaker", attributes={"store": scene.shop, "city": city, "rank": "X"})
        with scene.store.session(scene.store.issue(spy, "sales.city")) as session:
            for one in session.scalars(sa.select(Member).order_by(Member.id)):
                with suppress(errors.ConsentMissing):
                    _ = one.education


ABUSES: Sequence[Abuse] = (
    Abuse(1, "claims a lead, and with it the phone number", (
        Try("library", "looks at the claimed lead's phone", unlocks_the_phone),
        Try("issuer", "asks for the token that opens numbers", asks_for_a_number, (errors.IssueDenied,)),
        Try("gate", "skips the library and asks the gate for the key", asks_the_gate, _DENIED, "not.granted"),
        Try("key service", "hands a stolen wrap to the key service", asks_the_key_service, (errors.KeyServiceRefused,)),
        Try("PostgreSQL", "reads the column with raw SQL", raw("SELECT phone FROM members"), _SQL, planes=True),
        Try("PostgreSQL", "reads the keyring", raw("SELECT wrapped FROM vs_keyring"), _SQL, planes=True),
    )),
    Abuse(2, "reads every message that the member sent", (
        Try("library", "lists messages", reads_model(ChatMessage, "body"), _DENIED),
        Try("PostgreSQL", "reads them with raw SQL", raw("SELECT body FROM chat_messages"), _SQL, planes=True),
    )),
    Abuse(3, "lists the last profiles that the member viewed", (
        Try("library", "lists views", reads_model(ProfileView, "viewed_id"), _DENIED),
        Try("PostgreSQL", "reads them with raw SQL", raw("SELECT viewed_id FROM profile_views"), _SQL, planes=True),
    )),
    Abuse(4, "drives mass texting with a macro", (
        Try("gate", "a text to every lead, one after the other", texts_by_macro, (errors.BudgetExhausted,)),
        Try("desk", "a number in the text", texts_a_number, (errors.UnsupportedOperation,)),
        Try("desk", "at any hour", calls_at_night, _DENIED, "contact.quiet"),
    )),
    Abuse(5, "claims again a member who said no", (
        Try("desk", "another matchmaker claims the refuser", claims_a_refuser, _DENIED, "pool.missing"),
        Try("gate", "the call that was already queued", calls_a_refuser),
    )),
    Abuse(6, "calls on after the account was deleted and made anew", (
        Try("desk", "claims the newcomer", comes_back_under_a_new_account, _DENIED, "pool.missing"),
    )),
    Abuse(7, "dumps the database", (Try("key service", "searches it for every plaintext", steals_the_database),)),
    Abuse(8, "edits the audit log afterwards", (
        Try("audit log", "changes an entry", edits_the_log, _SQL),
        Try("audit log", "takes the triggers away first", edits_past_the_triggers),
    )),
    Abuse(9, "comes with a stolen token", (
        Try("gate", "one that was reported", uses_a_stolen_token, (errors.TokenRevoked,)),
        Try("key service", "takes it to the key service", logs_in_with_it, (errors.KeyServiceRefused,)),
        Try("library", "changes what it says", forges_one, (errors.TokenInvalid,)),
    )),
    Abuse(10, "harvests members through many accounts", (
        Try("library", "as members", harvests_as_members),
        Try("gate", "page by page of every pool", harvests_the_pool, (errors.BudgetExhausted,)),
    )),
)  # fmt: skip
