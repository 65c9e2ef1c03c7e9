"""The promises that were made, each with the evidence that a program keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from vaultstore import Actor, errors, is_masked
from vaultstore.audit.log import note_keys
from vaultstore.audit.verify import verify_log
from vaultstore.evidence.check_report import check_report
from vaultstore.lifecycle.certificate_check import check_certificate
from vaultstore.members.models import Member
from vaultstore.members.safety import Safety
from vaultstore.members.scenario.scene import NOTICE, Scene
from vaultstore.members.scenario.tries import GotThrough, Promise
from vaultstore.members.verification import Verification
from vaultstore.policy.matrix import matrix

__all__ = ["PROMISES"]

_SALES = ("matchmaker", "store_manager")
_HIDDEN = ("conversation", "browsing")
_AGENT = Actor("care-1", role="care_agent")


def no_back_office_view(scene: Scene) -> str:
    """1: no purpose open to sales reaches chats or browsing, in any form."""
    bound = scene.store.policy
    sales = {name for name, purpose in bound.purposes.items() if purpose.roles & set(_SALES)}
    cells = [cell for cell in matrix(bound) if cell.purpose in sales and cell.category in _HIDDEN]
    open_ = [cell for cell in cells if cell.read != "denied" or cell.search or cell.write]
    if open_ or not cells:
        raise GotThrough(f"{len(open_)} cells are open to sales")
    return f"{len(cells)} cells of {len(sales)} sales purposes over chats and browsing, every one of them denied"


def numbers_are_sealed(scene: Scene) -> str:
    """2: phone numbers are encrypted, and nothing goes to third parties without consent."""
    member = scene.claimed()
    with scene.store.engine.connect() as connection:
        cell = connection.execute(select(Member.__table__.c.phone).where(Member.__table__.c.id == member)).scalar_one()
    request = scene.relay.request(scene.outreach(), member, "call").id
    scene.store.consents.withdraw(member, "matchmaking")
    worked = {each.id: each for each in scene.worker.run()}
    if str(request) in scene.carrier.asked or worked[request].state != "refused":
        raise GotThrough("the carrier got a number without consent")
    return f"at rest {len(cell)} bytes of AES-256-GCM; a call whose consent was taken back: {worked[request].reason}"


def consent_comes_first(scene: Scene) -> str:
    """3: a commercial message takes consent, given under a notice that says what it contains."""
    member = scene.claimed()
    [consent] = [c for c in scene.store.consents.history(member) if c.kind == "matchmaking"]
    scene.store.consents.withdraw(member, "matchmaking")
    try:
        scene.relay.request(scene.outreach(), member, "call")
    except errors.ConsentMissing:
        scene.me.consent(scene.member(member), "matchmaking", notice_version=NOTICE)
        scene.relay.request(scene.outreach(), member, "call")
        return f"consent under notice {consent.notice_version}; refused without, and taken with it"
    raise GotThrough("a call without consent was queued")


def deletion_destroys(scene: Scene) -> str:
    """4: a deleted account's data is destroyed, with a certificate."""
    member = scene.take()
    scene.me.delete(scene.member(member))
    certificate = scene.store.subjects.certificate(member)
    parts = scene.store.parts
    checked = check_certificate(certificate.data, note_keys(parts.keys, parts.origin))
    with scene.store.session(scene.member(member)) as session:
        row = session.get(Member, member)
        try:
            _ = row.phone if row is not None else None
        except errors.SubjectErased:
            pass
        else:
            if row is not None:
                raise GotThrough("the erased member still opens")
    size = len(certificate.data)
    return f"every data key is destroyed; a signed certificate ({size:,} bytes, {_of(checked)}) checks out offline"


def _of(checked: object) -> str:
    acts = getattr(checked, "acts", ())
    return f"{len(acts)} act{'s' * (len(acts) != 1)}"


def silence_is_isolated(scene: Scene) -> str:
    """5: the data of members who stay silent can't be retrieved."""
    member = scene.claimed()
    scene.store.subjects.restrict(member, reason="silent for a year")
    with scene.store.session(scene.outreach()) as session:
        listed = session.scalars(select(Member.id).where(Member.id == member)).all()
    if listed:
        raise GotThrough("a restricted member is still listed")
    scene.store.subjects.lift(member, reason="came back")
    with scene.store.session(scene.outreach()) as session:
        back = session.scalars(select(Member.id).where(Member.id == member)).all()
    return f"restricted: in no list and no search; lifted: there again ({len(back)} row)"


def names_are_checked_unseen(scene: Scene) -> str:
    """6: real names are checked, and no ID number is shown for it."""
    service, verifier = Verification(scene.store, secret=os.urandom(32)), Actor("v-1", role="verifier")
    token = scene.store.issue(verifier, "identity.verification")
    for _ in range(20):
        member = scene.take()
        row = scene.row(member)
        number, name = row["id_number"].strip(), row["real_name"].strip()
        if not number:
            continue
        wrong = service.check(token, member, number[:-2] + ("3" if number[-2] != "3" else "5") + number[-1], name)
        right = service.check(token, member, number, name)
        if wrong.matched:
            raise GotThrough("a wrong ID number matched")
        if right.matched:
            badge = service.badge(token, member)
            with scene.store.session(token) as session, suppress(errors.AccessDenied):
                if session.get_one(Member, member).id_number:
                    raise GotThrough("the check shows the number on file")
            return (
                f"a wrong number: no match; the right one: match, and a badge of {badge.verified_at:%Y-%m-%d}"
                if badge
                else ""
            )
    raise GotThrough("no member's own number matched")


def chats_are_watched_unread(scene: Scene) -> str:
    """7: money talk is flagged, and the likely victim warned, without anybody reading the chat."""
    desk = scene.store.issue(Actor("safety-desk", role="safety_desk"), "safety.desk")
    safety = Safety(scene.store, lambda: desk, secret=os.urandom(32))
    token = scene.store.issue(Actor("s-1", role="safety_analyst"), "safety.triage")
    page = safety.triage(token, since=datetime(2000, 1, 1, tzinfo=UTC), size=200)
    if not page.conversations:
        raise GotThrough("nothing was flagged")
    worst = page.conversations[0]
    texts = {chat["body"] for chat in scene.town.chats}
    if any(len(text) > 3 and text in repr(page) for text in texts):
        raise GotThrough("triage shows what was written")
    warned = safety.warn(token, worst.conversation)
    told = f"{len(page.conversations)} of {page.looked_at} conversations flagged, by pseudonyms and counts"
    return f"{told}; warning {warned} given to the likely victim"


def complaints_are_taken(scene: Scene) -> str:
    """8: complaints at once, contact within 24 hours, a plan within 48, and stores that are late are seen."""
    member, token = scene.take(), scene.store.issue(_AGENT, "care.intake")
    opened = scene.complaints.open(token, member, kind="calls")
    with scene.store.session(scene.store.issue(_AGENT, "care.complaint", case=opened.case)) as session:
        card = session.get_one(Member, member).phone
    late = scene.complaints.overdue(token, datetime.now(UTC) + timedelta(hours=49))
    due = [each.what for each in late.get(opened.store, ()) if each.case == opened.case]
    if due != ["contact", "plan"] or not is_masked(card):
        raise GotThrough("what is overdue is not seen")
    return f"the case opens the care card at once ({card}); 49 hours on, store {opened.store} shows {' and '.join(due)}"


def who_looked_is_provable(scene: Scene) -> str:
    """9: who saw what, when and why can be proved, to the member and to an inspector."""
    member = scene.claimed()
    with scene.store.session(scene.outreach()) as session:
        _ = session.get_one(Member, member).phone
    parts = scene.store.parts
    log = parts.log()
    kept = log.checkpoint(parts.keys, datetime.now(UTC))
    keys = note_keys(parts.keys, parts.origin)
    report = scene.me.looked_at_me(scene.member(member))
    check_report(report.data, keys)
    verified = verify_log(scene.gate, parts.origin, keys, [kept])
    lines = len(json.loads(report.data).get("lines", ()))
    if not verified.whole:
        raise GotThrough(f"the log does not verify: {verified.findings[0]}")
    return f"a report of {lines} lines with proofs checks out offline; `audit verify`: the log is whole"


PROMISES: Sequence[Promise] = (
    Promise(1, "no back-office view of chats and browsing", no_back_office_view),
    Promise(2, "phone numbers encrypted; nothing to third parties without consent", numbers_are_sealed),
    Promise(3, "say what a message contains, and get consent first", consent_comes_first),
    Promise(4, "destroy the data of a deleted account", deletion_destroys),
    Promise(5, "isolate the data of members who stay silent", silence_is_isolated),
    Promise(6, "check real names against the document", names_are_checked_unseen),
    Promise(7, "warn about money talk without reading chats", chats_are_watched_unread),
    Promise(8, "take complaints at once: contact in 24 h, a plan in 48 h", complaints_are_taken),
    Promise(9, "inspect stores: who saw what, when and why", who_looked_is_provable),
)
