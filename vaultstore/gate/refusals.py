"""Refusal codes, and the error that each is raised as."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vaultstore.errors import (
    AccessDenied,
    ApprovalMissing,
    BudgetExhausted,
    ConsentMissing,
    NotDisclosed,
    SearchDenied,
    SubjectErased,
    SubjectRestricted,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    VaultstoreError,
    WriteDenied,
)
from vaultstore.gate.claims import Claims

if TYPE_CHECKING:
    from vaultstore.gate.opened import OpenGrant

__all__ = ["ENDED", "denial", "deny_first", "refusal", "refuse"]

_TOKEN: dict[str, tuple[type[VaultstoreError], str]] = {
    "token.expired": (TokenExpired, "the token has expired"),
    "token.revoked": (TokenRevoked, "the token was revoked"),
    "policy.changed": (
        TokenInvalid,
        "the purpose {purpose} is not the published one: get a new token, or publish this policy",
    ),
    "ticket.invalid": (
        TokenInvalid,
        "the token has no ticket that this database takes from this login: let the issuer make tickets, for {purpose}",
    ),
}

ENDED = frozenset((*_TOKEN, "login.not_served"))
"""Codes of a grant that is over, of another version of its purpose, or not for this database login."""

_ACCESS: dict[str, tuple[type[AccessDenied] | None, str]] = {
    "login.not_served": (
        AccessDenied,
        "this database login does not serve {purpose}: use that of a service that does, or list it there and apply",
    ),
    "not.granted": (None, "the purpose {purpose} does not {verb} {what}"),
    "not.admitted": (None, "of subject {subject}, more was asked for than had been admitted"),
    "subject.unknown": (None, "subject {subject} is not registered"),
    "subject.not_named": (None, "subject {subject} is not one that the token names"),
    "subject.canary": (None, "subject {subject} is not open to {purpose}"),
    "subject.restricted": (SubjectRestricted, "processing of subject {subject} is restricted"),
    "subject.erased": (SubjectErased, "the data keys of subject {subject} were destroyed"),
    "consent.missing": (ConsentMissing, "subject {subject} has not given the consent that {purpose} requires"),
    "case.missing": (ApprovalMissing, "{purpose} requires an open case of this actor that names {subject}"),
    "approval.missing": (ApprovalMissing, "{purpose} requires approvals by other people for exactly this"),
    "request.missing": (ApprovalMissing, "there is no such access request, or it has expired"),
    "request.own": (ApprovalMissing, "nobody approves an access request of their own"),
    "log.unwitnessed": (
        AccessDenied,
        "no witness has signed the audit log lately enough, so nothing is disclosed: run `vaultstore audit checkpoint`",
    ),
    "index.rotating": (AccessDenied, "{what} is being rotated already, or has that version"),
    "index.settled": (AccessDenied, "{what} is not being rotated"),
    "index.busy": (AccessDenied, "rows with {what} are being written all the time: try again"),
    "index.unsettled": (
        AccessDenied,
        "rows with digests of the former version may remain in {what}: run the backfill until none fails",
    ),
    "budget.exhausted": (BudgetExhausted, "a limit of {purpose} is used up for now"),
}

_BY_VERB: dict[str, type[AccessDenied]] = {
    "read": NotDisclosed,
    "write": WriteDenied,
    "search": SearchDenied,
    "approve": AccessDenied,
    "use": AccessDenied,
    "claim": AccessDenied,
    "assign": AccessDenied,
    "contact": AccessDenied,
}


def denial(code: str, claims: Claims, verb: str, what: str, subject: bytes | None = None) -> AccessDenied:
    """The AccessDenied that a subject's refusal is raised as; `verb` is what was asked for, as in ``read``."""
    kind, text = _ACCESS[code]
    named = uuid.UUID(bytes=subject) if subject is not None else None
    message = text.format(purpose=claims.purpose, verb=verb, what=what, subject=named or "the subjects")
    return (kind or _BY_VERB.get(verb, AccessDenied))(message, reason=code, subject=named)


def refusal(code: str, claims: Claims, verb: str, what: str) -> VaultstoreError:
    """The error that the refusal of a whole request is raised as."""
    if code in _TOKEN:
        error, text = _TOKEN[code]
        return error(text.format(purpose=claims.purpose))
    return denial(code, claims, verb, what)


def refuse(code: str | None, claims: Claims, verb: str, what: str, opened: OpenGrant | None = None) -> None:
    """Raise the refusal of a whole request, where there is one."""
    if code is None:
        return
    if opened is not None and code in ENDED:
        opened.give_back()  # nothing will be asked under it any more
    raise refusal(code, claims, verb, what)


def deny_first(refused: Mapping[bytes, str], claims: Claims, what: str) -> None:
    """Raise the first subject's refusal to be written, where there is one."""
    for subject, code in refused.items():
        raise denial(code, claims, "write", what, subject)
