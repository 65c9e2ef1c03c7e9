"""The abuses, each tried for real: what was attempted, and which error stopped it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from vaultstore import errors
from vaultstore.members.demo.dump import search_dump
from vaultstore.members.demo.investigation import INVESTIGATOR
from vaultstore.members.demo.stage import Stage
from vaultstore.members.demo.views import raw_cell
from vaultstore.members.models import ChatMessage, Member

__all__ = ["ABUSES", "Attempt", "attempt"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One abuse: who tried what; the error class that refused it, or None where it got through; what was said."""

    who: str
    what: str
    refused_by: str | None
    message: str
    held: bool
    """Whether what refused it is what should."""


class GotThrough(Exception):
    """An abuse worked. The text says what was gained, never the value."""


@dataclass(frozen=True, slots=True)
class Abuse:
    """An abuse to try, and the error that must refuse it. `act` returns text where there was nothing to refuse."""

    who: str
    what: str
    act: Callable[[Stage], str | None]
    by: type[errors.VaultstoreError] | None
    needs: Callable[[Stage], bool] = lambda stage: True


def attempt(stage: Stage, abuse: Abuse) -> Attempt:
    """Try one abuse. It is held where the error that should refuse it did; a foreign error comes out as one."""
    try:
        outcome = abuse.act(stage)
    except errors.VaultstoreError as error:
        held = abuse.by is not None and isinstance(error, abuse.by)
        return Attempt(abuse.who, abuse.what, type(error).__name__, str(error), held)
    except GotThrough as gain:
        return Attempt(abuse.who, abuse.what, None, str(gain), held=False)
    if outcome is None or abuse.by is not None:
        return Attempt(abuse.who, abuse.what, None, outcome or "nothing stopped it", held=False)
    return Attempt(abuse.who, abuse.what, "nothing found", outcome, held=True)


def asks_for_the_phone(stage: Stage) -> None:
    """A matchmaker asks for the purpose that opens phone numbers."""
    stage.token(stage.matchmaker, "relay.telephony")


def reads_the_identity(stage: Stage) -> None:
    """A matchmaker reads the identity number of a claimed lead."""
    with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
        member = session.get_one(Member, stage.hero)
        _ = member.id_number


def looks_a_phone_up(stage: Stage) -> None:
    """A matchmaker looks for the member behind a phone number."""
    with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
        session.scalars(sa.select(Member).where(Member.phone == "138 1234 5678")).all()


def opens_the_chats(stage: Stage) -> None:
    """A matchmaker lists the messages that a lead wrote."""
    with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
        for message in session.scalars(sa.select(ChatMessage).where(ChatMessage.sender_id == stage.hero)):
            _ = message.body


def reads_on_past_the_limit(stage: Stage) -> None:
    """A script turns every page that there is."""
    with stage.store.session(stage.token(stage.scraper, "sales.outreach")) as session:
        for member in session.scalars(sa.select(Member).order_by(Member.id)):
            try:
                _ = member.phone
            except errors.ConsentMissing:
                continue


def goes_on_after_withdrawal(stage: Stage) -> None:
    """A matchmaker opens the card of a member who has just withdrawn consent."""
    stage.store.consents.withdraw(stage.hero, "matchmaking")
    try:
        with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
            _ = session.get_one(Member, stage.hero).phone
    finally:
        stage.store.consents.grant(stage.hero, "matchmaking", notice_version="2021-11")


def reads_without_approval(stage: Stage) -> None:
    """An investigator opens a case on another member and reads on, without asking anyone."""
    case = stage.store.cases.open("fraud", assigned_to=INVESTIGATOR.id, subjects=[stage.other])
    token = stage.store.issue(INVESTIGATOR, "safety.investigation", case=case, subjects=[stage.other])
    with stage.store.session(token) as session:
        for message in session.scalars(sa.select(ChatMessage).where(ChatMessage.sender_id == stage.other)):
            _ = message.body


def writes_a_mask_back(stage: Stage) -> None:
    """A developer's form saves what it showed."""
    with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
        shown = session.get_one(Member, stage.hero).phone
    with stage.store.session(stage.token(stage.member, "member.self")) as session:
        session.get_one(Member, stage.hero).phone = shown
        session.commit()


def swaps_ciphertexts(stage: Stage) -> None:
    """A database administrator puts one member's phone into another's row, to have it shown there."""
    cells = sa.table("members", sa.column("id", sa.Uuid()), sa.column("phone", sa.LargeBinary()))
    with stage.store.engine.begin() as connection:
        kept = raw_cell(connection, "members", "phone", stage.hero)
        foreign = raw_cell(connection, "members", "phone", stage.other)
        connection.execute(cells.update().where(cells.c.id == stage.hero).values(phone=foreign))
    try:
        with stage.store.session(stage.token(stage.member, "member.self")) as session:
            _ = session.get_one(Member, stage.hero).phone
    finally:
        with stage.store.engine.begin() as connection:
            connection.execute(cells.update().where(cells.c.id == stage.hero).values(phone=kept))


def comes_back_with_an_old_token(stage: Stage) -> None:
    """A former employee kept a token; this one lived a second."""
    token = stage.token(stage.matchmaker, "sales.outreach", ttl=timedelta(seconds=1))
    over = stage.store.verify(token).expires_at
    while datetime.now(UTC) <= over:
        time.sleep(0.05)
    with stage.store.session(token) as session:
        _ = session.get_one(Member, stage.hero).phone


def forges_a_token(stage: Stage) -> None:
    """Somebody changes one character of a token's claims."""
    head, claims, signature = stage.token(stage.matchmaker, "sales.outreach").split(".")
    at = len(claims) // 2
    forged = claims[:at] + ("A" if claims[at] != "A" else "B") + claims[at + 1 :]
    with stage.store.session(f"{head}.{forged}.{signature}") as session:
        _ = session.get_one(Member, stage.hero).phone


def steals_the_database(stage: Stage) -> str:
    """A thief searches a dump for every plaintext of every member."""
    search = search_dump(stage)
    if search.found:
        raise GotThrough(f"found in the dump: {', '.join(sorted(search.found))}")
    if not search.works:
        raise GotThrough("the search does not even find what is stored in clear, so it proves nothing")
    return (
        f"{search.looked_for:,} plaintexts in {search.bytes:,} bytes: none there; nicknames, stored in clear, all are"
    )


def _has_enough(stage: Stage) -> bool:
    return sum(bool(m["consent_matchmaking"]) for m in stage.town.members) - len(stage.page) > 101


ABUSES: Sequence[Abuse] = (
    Abuse("matchmaker", "asks for a token that opens phone numbers", asks_for_the_phone, errors.IssueDenied),
    Abuse("matchmaker", "reads a lead's identity number", reads_the_identity, errors.NotDisclosed),
    Abuse("matchmaker", "looks a phone number up", looks_a_phone_up, errors.SearchDenied),
    Abuse("matchmaker", "opens a lead's chats", opens_the_chats, errors.AccessDenied),
    Abuse("matchmaker", "goes on after consent was withdrawn", goes_on_after_withdrawal, errors.ConsentMissing),
    Abuse(
        "matchmaker's script",
        "turns every page of the pool",
        reads_on_past_the_limit,
        errors.BudgetExhausted,
        _has_enough,
    ),
    Abuse("investigator", "reads a member's messages without approval", reads_without_approval, errors.ApprovalMissing),
    Abuse("developer", "saves a form with the masked phone in it", writes_a_mask_back, errors.WriteDenied),
    Abuse("database administrator", "swaps two phone ciphertexts", swaps_ciphertexts, errors.DecryptionError),
    Abuse("former employee", "comes back with an expired token", comes_back_with_an_old_token, errors.TokenExpired),
    Abuse("anyone", "changes a character of a token", forges_a_token, errors.TokenInvalid),
    Abuse("thief of the database", "searches the dump for every plaintext", steals_the_database, None),
)
