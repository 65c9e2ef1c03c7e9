"""The claims of a client token: their names, types and bounds.

RFC 7519 names the registered ones, RFC 8693 `act`; the others are ours. A claim that this version does not know is
refused, not ignored: it may be a restriction. docs/formats/tokens.md.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from vaultstore.errors import TokenInvalid
from vaultstore.grants import Actor, Grant, Ticket
from vaultstore.policy.model import Purpose

__all__ = [
    "ALGORITHM",
    "AUDIENCE",
    "LOGIN_AUDIENCE",
    "LOGIN_TYPE",
    "MAX_LOGINS",
    "MAX_SUBJECTS",
    "SIGNING_KEY",
    "TYPE",
    "Claims",
    "Purposes",
    "grant_of",
    "own_subject",
    "read_claims",
]

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
AUDIENCE = "vaultstore"
LOGIN_TYPE = "JWT"
LOGIN_AUDIENCE = "vault"
SIGNING_KEY = "tokens"
"""Name of the signing key in the key service."""

MAX_SUBJECTS = 100
"""Subjects that a token can name: as many as fit in its 8 KiB with room for attributes."""
MAX_TEXT = 256
"""Characters of an actor's id, a role, a purpose, a case, a value of an attribute."""
MAX_ATTRIBUTES = 32
MAX_LOGINS = 32
"""Database logins that a ticket can name."""
_MAX_LOGIN = 63  # PostgreSQL's NAMEDATALEN - 1
_MAX_KID = 36

_REQUIRED = ("iss", "aud", "sub", "iat", "nbf", "exp", "jti", "purpose", "role", "pol", "attrs")
_KNOWN = frozenset((*_REQUIRED, "subjects", "case", "act", "ticket"))
_MAC = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_END_OF_TIME = 253_402_300_800  # the year 10000, which datetime can't hold


class Purposes(Protocol):
    """What issuing and verifying need of a bound policy."""

    @property
    def purposes(self) -> Mapping[str, Purpose]: ...

    def purpose(self, name: str) -> Purpose:
        """The purpose called `name`. Raises PolicyError."""

    def digest(self, name: str) -> str:
        """Digest of that purpose's compiled closure, a token's ``pol``."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A token's claims, each of the right type and within its bounds. Times are seconds since 1970."""

    iss: str
    sub: str
    iat: int
    nbf: int
    exp: int
    jti: str
    purpose: str
    role: str
    pol: str
    attrs: Mapping[str, str]
    subjects: tuple[uuid.UUID, ...] | None
    case: str | None
    act: str | None
    """Name of the service that asked on the actor's behalf."""
    ticket: Ticket | None

    def __repr__(self) -> str:
        return f"<Claims {self.jti}>"


def read_claims(claims: Mapping[str, Any]) -> Claims:
    """Check names, types and bounds of a client token's claims.

    Raises TokenInvalid naming the claim, never its value.
    """
    for name in _REQUIRED:
        if name not in claims:
            raise TokenInvalid(f"the token lacks the claim {name!r}")
    if claims.keys() - _KNOWN:
        raise TokenInvalid("the token has a claim that this version does not know")
    if claims["aud"] != AUDIENCE:  # a list, which RFC 7519 would allow, equals no string
        raise TokenInvalid("the token is meant for another audience")
    return Claims(
        iss=_text(claims, "iss"),
        sub=_text(claims, "sub"),
        iat=_time(claims, "iat"),
        nbf=_time(claims, "nbf"),
        exp=_time(claims, "exp"),
        jti=str(_uuid(claims["jti"], "jti")),
        purpose=_text(claims, "purpose"),
        role=_text(claims, "role"),
        pol=_text(claims, "pol"),
        attrs=_attributes(claims["attrs"]),
        subjects=_subjects(claims["subjects"]) if "subjects" in claims else None,
        case=_text(claims, "case") if "case" in claims else None,
        act=_act(claims["act"]) if "act" in claims else None,
        ticket=_ticket(claims["ticket"]) if "ticket" in claims else None,
    )


def grant_of(claims: Claims, purpose: Purpose) -> Grant:
    """The grant that these claims stand for. It trusts them: the caller has verified or made them."""
    return Grant(
        jti=claims.jti,
        actor=Actor(claims.sub, claims.role, claims.attrs),
        purpose=purpose,
        digest=claims.pol,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
        subjects=claims.subjects,
        case=claims.case,
        ticket=claims.ticket,
    )


def own_subject(actor_id: str) -> tuple[uuid.UUID, ...] | None:
    """The actor's own subject as the tuple a token names, or None where the actor's id is no canonical UUID."""
    try:
        subject = uuid.UUID(actor_id)
    except ValueError:
        return None
    return (subject,) if str(subject) == actor_id else None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims[name]
    if not _is_text(value):
        raise TokenInvalid(f"the token's {name!r} is not 1 to {MAX_TEXT} printable characters")
    return str(value)


def _is_text(value: object, longest: int = MAX_TEXT) -> bool:
    # Not printable: control characters (PostgreSQL takes no NUL), lone surrogates (UTF-8 takes none), line separators.
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 <= value < _END_OF_TIME:  # bool is an int
        raise TokenInvalid(f"the token's {name!r} is not a whole number of seconds")
    return value


def _uuid(value: object, name: str) -> uuid.UUID:
    try:
        parsed = uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != value:
        raise TokenInvalid(f"the token's {name!r} holds what is not a UUID in its canonical form")
    return parsed


def _attributes(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_ATTRIBUTES:
        raise TokenInvalid(f"the token's 'attrs' is not an object of at most {MAX_ATTRIBUTES} members")
    for key, text in value.items():
        if not _ATTRIBUTE.fullmatch(key):
            raise TokenInvalid("the token's 'attrs' has a name that is not an ASCII identifier")
        if not _is_text(text):
            raise TokenInvalid(f"the token's 'attrs' has a value that is not 1 to {MAX_TEXT} printable characters")
    return value


def _subjects(value: object) -> tuple[uuid.UUID, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_SUBJECTS:
        raise TokenInvalid(f"the token's 'subjects' is not a list of 1 to {MAX_SUBJECTS}")
    subjects = tuple(_uuid(item, "subjects") for item in value)
    if len(set(subjects)) != len(subjects):
        raise TokenInvalid("the token's 'subjects' names one twice")
    return subjects


def _act(value: object) -> str:
    if not isinstance(value, dict) or value.keys() != {"sub"} or not _is_text(value["sub"]):
        raise TokenInvalid("the token's 'act' is not an object with a service's name as 'sub', and nothing else")
    return str(value["sub"])


def _ticket(value: object) -> Ticket:
    if not isinstance(value, dict) or value.keys() != {"kid", "logins", "mac"}:
        raise TokenInvalid("the token's 'ticket' is not an object of kid, logins and mac, and nothing else")
    kid, logins, mac = value["kid"], value["logins"], value["mac"]
    if not _is_text(kid, _MAX_KID):
        raise TokenInvalid(f"the 'kid' of the token's 'ticket' is not 1 to {_MAX_KID} printable characters")
    if not isinstance(mac, str) or not _MAC.fullmatch(mac):
        raise TokenInvalid("the 'mac' of the token's 'ticket' is not 64 digits of lower-case hex")
    if not isinstance(logins, list) or not 0 < len(logins) <= MAX_LOGINS:
        raise TokenInvalid(f"the 'logins' of the token's 'ticket' are not a list of 1 to {MAX_LOGINS}")
    if not all(_is_text(login, _MAX_LOGIN) for login in logins) or len(set(logins)) != len(logins):
        raise TokenInvalid(f"the 'logins' of the token's 'ticket' are not names of at most {_MAX_LOGIN}, each once")
    return Ticket(kid, tuple(logins), mac)
