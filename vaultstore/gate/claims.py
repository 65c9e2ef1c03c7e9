"""What a grant claims, as the gate's databases take it: plain values, checked to be writable everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vaultstore.errors import TokenInvalid
from vaultstore.grants import Grant, Ticket
from vaultstore.records.approvals import subjects_digest
from vaultstore.records.base import rfc3339

__all__ = ["Claims"]


@dataclass(frozen=True, slots=True)
class Claims:
    """Who acts under which token. The gate's database decides by these and by nothing else that Python says."""

    jti: str
    actor: str
    role: str
    attributes: Mapping[str, str]
    purpose: str
    digest: str
    issued_at: datetime
    expires_at: datetime
    case: str | None
    subjects: frozenset[bytes] | None
    """The only subjects (16 bytes each) that the token may touch; None: it names none."""
    ticket: Ticket | None = field(default=None, repr=False)
    subjects_digest: str = field(init=False, repr=False)
    json: str = field(init=False, repr=False)
    """All of it as JSON text, for the functions in PostgreSQL."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subjects_digest", subjects_digest(self.subjects))
        content: dict[str, object] = {
            "jti": self.jti,
            "actor": self.actor,
            "role": self.role,
            "attributes": dict(self.attributes),
            "purpose": self.purpose,
            "pol": self.digest,
            "iat": rfc3339(self.issued_at),
            "exp": rfc3339(self.expires_at),
            "case": self.case,
            "subjects": None if self.subjects is None else [s.hex() for s in sorted(self.subjects)],
        }
        if self.ticket is not None:
            content["ticket"] = {"kid": self.ticket.kid, "logins": list(self.ticket.logins), "mac": self.ticket.mac}
        text = json.dumps(content, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            text = "\\u0000"
        # Neither audit leaves nor PostgreSQL can hold these. Two backslashes before u0000 are a backslash and text.
        if "\\u0000" in text.replace("\\\\", ""):
            raise TokenInvalid("a claim of the token holds a character that the audit log can't carry")
        object.__setattr__(self, "json", text)

    @classmethod
    def of(cls, grant: Grant) -> Claims:
        """The claims of a verified token. Raises TokenInvalid where one holds NUL or half a surrogate pair."""
        return cls(
            jti=grant.jti,
            actor=grant.actor.id,
            role=grant.actor.role,
            attributes=grant.actor.attributes,
            purpose=grant.purpose.name,
            digest=grant.digest,
            issued_at=grant.issued_at,
            expires_at=grant.expires_at,
            case=grant.case,
            subjects=None if grant.subjects is None else frozenset(s.bytes for s in grant.subjects),
            ticket=grant.ticket,
        )
