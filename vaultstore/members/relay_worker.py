"""The relay's worker: takes contacts from the outbox, opens one number for one minute, and hands it to a carrier.

A contact is marked before the carrier is asked and after it answered. Who is killed in between leaves it marked, and
the next worker asks the carrier again with the same idempotency key: none is lost, and none is placed twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update

from vaultstore import Store
from vaultstore.errors import AccessDenied, DecryptionError, TokenError
from vaultstore.members.carriers import Carrier, CarrierDown, CarrierRefused, Contact
from vaultstore.members.models import ContactRequest, Member, Suppression
from vaultstore.members.relay import ContactRules

__all__ = ["RelayWorker", "Worked"]

_ABANDONED = timedelta(seconds=90)
"""After so long a contact that is being sent counts as left behind: a token for it has been over for half a minute."""
_MOST_ATTEMPTS = 10
_CANARY = "subject.canary"


@dataclass(frozen=True, slots=True)
class _Taken:
    id: uuid.UUID
    member: uuid.UUID
    channel: str
    text: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of one contact: ``sent``, ``refused``, ``failed``, or ``queued`` again."""

    id: uuid.UUID
    state: str
    reason: str | None = None


class RelayWorker:
    """Sends what is queued. Several may run at once.

    `desk` gives a token of ``relay.desk``; `number` one of ``relay.telephony`` that names the given member, and lives
    a minute.
    """

    def __init__(
        self,
        store: Store,
        carrier: Carrier,
        *,
        desk: Callable[[], str],
        number: Callable[[uuid.UUID], str],
        rules: ContactRules | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._carrier, self._desk, self._number = store, carrier, desk, number
        self._rules, self._clock = rules or ContactRules(), clock

    def __repr__(self) -> str:
        return "<RelayWorker>"

    def run(self, most: int = 100) -> list[Worked]:
        """Send up to `most` contacts; what became of each. In quiet hours none is."""
        done: list[Worked] = []
        while len(done) < most and not self._rules.quiet(self._clock()):
            taken = self._take()
            if taken is None:
                break
            worked = self._send(taken)
            done.append(worked)
            if worked.state == "queued":  # the carrier is down: no use in asking on
                break
        return done

    def _take(self) -> _Taken | None:
        """Mark the oldest contact that waits, or that was left behind, as being sent; None where there is none."""
        now = self._clock()
        waits = or_(
            ContactRequest.state == "queued",
            (ContactRequest.state == "sending") & (ContactRequest.taken_at <= now - _ABANDONED),
        )
        query = select(ContactRequest).where(waits).order_by(ContactRequest.requested_at, ContactRequest.id).limit(10)
        while True:
            with self._store.session(self._desk()) as session:
                found = [
                    (_Taken(r.id, r.member_id, r.channel, r.text, r.attempts + 1), r.attempts)
                    for r in session.scalars(query)
                ]
            if not found:
                return None
            for taken, before in found:
                mark = update(ContactRequest).where(
                    ContactRequest.id == taken.id, ContactRequest.attempts == before, waits
                )
                with self._store.begin(self._desk()) as session:
                    marked = session.execute(
                        mark.values(state="sending", taken_at=now, attempts=ContactRequest.attempts + 1)
                    )
                    if cast("CursorResult[Any]", marked).rowcount:
                        return taken

    def _send(self, taken: _Taken) -> Worked:
        try:
            contact = self._opened(taken)
        except AccessDenied as refused:
            # A canary's contact ends like any other's, and nobody is called: whoever asked must not be able to tell.
            if refused.reason == _CANARY:
                return self._end(taken, "sent")
            return self._end(taken, "refused", refused.reason)
        except DecryptionError:
            return self._end(taken, "failed", "number.unreadable")
        except TokenError:
            return self._end(taken, "queued", "token")
        try:
            self._carrier.place(contact)
        except CarrierDown:
            state = "failed" if taken.attempts >= _MOST_ATTEMPTS else "queued"
            return self._end(taken, state, "carrier.down")
        except CarrierRefused:
            return self._end(taken, "failed", "carrier.refused")
        return self._end(taken, "sent")

    def _opened(self, taken: _Taken) -> Contact:
        """The contact with its number, after every ground to refuse was looked at once more. Raises AccessDenied."""
        token = self._number(taken.member)
        with self._store.session(token) as session:
            member = session.get(Member, taken.member)
            if member is None:
                raise AccessDenied(f"member {taken.member} is not there", reason="member.missing")
            number = member.phone
            [tags] = session.tags(Suppression.phone, [number])
            if session.scalars(select(Suppression.id).where(Suppression.tag.in_(tags))).first() is not None:
                raise AccessDenied(f"member {taken.member} is not to be contacted", reason="contact.suppressed")
            # The oldest tag: it stays the same when the key gets another version, and so does the count.
            self._store.gate.charge(
                self._store.verify(token),
                "contact",
                "Member",
                taken.member.bytes,
                unit=taken.id.bytes,
                whose=tags[-1],
            )
            return Contact(str(taken.id), "text" if taken.channel == "text" else "call", number, taken.text)

    def _end(self, taken: _Taken, state: str, reason: str | None = None) -> Worked:
        ended = None if state == "queued" else self._clock()
        with self._store.begin(self._desk()) as session:
            session.execute(
                update(ContactRequest)
                .where(ContactRequest.id == taken.id, ContactRequest.state == "sending")
                .values(state=state, reason=reason, ended_at=ended)
            )
        return Worked(taken.id, state, reason)
