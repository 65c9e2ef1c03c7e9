"""What members do about themselves: their data, their mail, who looked at it, what they agreed to, a copy, an end.

Every act takes the member's own token (``member.self``, for their mail ``member.inbox``), and reaches the member whom
the token was issued to: an id is never an argument.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from vaultstore import Store
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.members.models import ChatMessage, ConsentNotice, Member

if TYPE_CHECKING:
    from vaultstore.evidence.report import Report
    from vaultstore.grants import Grant
    from vaultstore.lifecycle.portability import Export
    from vaultstore.orm.view import FieldView
    from vaultstore.records.consents import Consent

__all__ = ["Letter", "SelfService"]

SELF = "member.self"
INBOX = "member.inbox"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was sent to the member."""

    id: uuid.UUID
    sender: uuid.UUID
    sent_at: datetime
    text: FieldView
    """Its text, or why it is not shown."""


class SelfService:
    """A member's own rights (PIPL Art. 44 to 47)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return "<SelfService>"

    def profile(self, token: str) -> dict[str, FieldView]:
        """Field name -> the member's own data, in clear. Raises what the gate refuses as a whole."""
        me = self._me(token)
        with self._store.session(token) as session:
            member = session.get(Member, me)
            if member is None:
                raise AccessDenied("there is no such member, or their data rests", reason="member.missing", subject=me)
            return session.view(member)

    def correct(self, token: str, **values: Any) -> None:
        """Change one's own contact data, profile or wishes; names and ID numbers take a request to the privacy desk.

        Raises UnsupportedOperation for what is no such field, and WriteDenied.
        """
        me = self._me(token)
        known = {field.name for field in self._store.policy.catalogue.models["Member"].fields}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise UnsupportedOperation(f"a member has no field {unknown[0]!r} to correct")
        with self._store.begin(token) as session:
            member = session.get(Member, me)
            if member is None:
                raise AccessDenied("there is no such member, or their data rests", reason="member.missing", subject=me)
            for name, value in values.items():
                setattr(member, name, value)

    def inbox(self, token: str, *, before: datetime | None = None, size: int = 50) -> list[Letter]:
        """The latest messages to the holder of a token of ``member.inbox``, newest first.

        A message whose sender's data may not be processed any more is there, and its text is not.
        """
        if not 1 <= size <= 200:
            raise UnsupportedOperation("a page of letters has 1 to 200")
        self._me(token, INBOX)
        query = select(ChatMessage).order_by(ChatMessage.sent_at.desc(), ChatMessage.id.desc()).limit(size)
        with self._store.session(token) as session:
            found = session.scalars(query if before is None else query.where(ChatMessage.sent_at < before)).all()
            session.disclose(found)
            return [Letter(m.id, m.sender_id, m.sent_at, session.view(m)["body"]) for m in found]

    def looked_at_me(self, token: str) -> Report:
        """Who did what with the member's data, with proofs. That it was asked for stands in the next one."""
        return self._store.report(self._me(token), token)

    def consents(self, token: str) -> list[Consent]:
        """Everything that the member ever agreed to, and took back; oldest first."""
        return self._store.consents.history(self._me(token))

    def consent(self, token: str, kind: str, *, notice_version: str) -> None:
        """Agree to a kind of processing, having been shown that version of its notice.

        Raises UnsupportedOperation where there is no such notice.
        """
        me = self._me(token)
        with self._store.session(token) as session:
            if session.get(ConsentNotice, (kind, notice_version)) is None:
                raise UnsupportedOperation(f"there is no notice {kind!r} of version {notice_version!r} to agree to")
        self._store.consents.grant(me, kind, notice_version=notice_version, evidence="the member, signed in")

    def withdraw(self, token: str, kind: str) -> None:
        """Take a consent back: it stops the very next disclosure that rests on it. Harmless when repeated."""
        self._store.consents.withdraw(self._me(token), kind)

    def export(self, token: str) -> Export:
        """A copy of everything, to read and to take elsewhere."""
        return self._store.portability.export(self._me(token), token)

    def delete(self, token: str, *, reason: str = "the member asked") -> Mapping[str, object]:
        """Erase the member, for ever. What it did stands in the certificate that the privacy desk gives out."""
        erased = self._store.subjects.erase(self._me(token), reason=reason, token=token)
        return {"subject": str(erased.subject), "keys": erased.keys}

    def _me(self, token: str, purpose: str = SELF) -> uuid.UUID:
        """The member who holds the token, which is live. Raises AccessDenied for a token of another purpose."""
        grant: Grant = self._store.verify(token)
        if grant.purpose.name != purpose:
            raise AccessDenied(f"{grant.purpose.name} is not {purpose}", reason="not.granted")
        self._store.gate.check(grant)
        try:
            return uuid.UUID(grant.actor.id)
        except ValueError:
            raise AccessDenied("the holder of this token is no member", reason="member.missing") from None
