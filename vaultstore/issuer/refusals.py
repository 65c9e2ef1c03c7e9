"""What the issuer answers when it says no: HTTP status, OAuth error, and a reason that tells which error to raise.

RFC 6749 (section 5.2) gives the errors' names; `reason` is a member of ours beside them. The server writes these and
the client reads them, so both stand here.
"""

from __future__ import annotations

from dataclasses import dataclass

from vaultstore.errors import (
    AccessDenied,
    IssueDenied,
    KeyServiceRefused,
    KeyServiceUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    VaultstoreError,
)

__all__ = ["REFUSALS", "Refusal", "Refused", "error_of", "refusal_of"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way to say no."""

    status: int
    error: str
    """The OAuth error code."""
    raised: type[VaultstoreError]
    """What the client raises for it."""


REFUSALS = {
    "issue.denied": Refusal(400, "invalid_scope", IssueDenied),
    "token.expired": Refusal(400, "invalid_grant", TokenExpired),
    "token.invalid": Refusal(400, "invalid_grant", TokenInvalid),
    "token.revoked": Refusal(400, "invalid_grant", TokenRevoked),
    "access.denied": Refusal(400, "invalid_grant", AccessDenied),
    "service.unknown": Refusal(401, "invalid_client", KeyServiceRefused),
    "service.not_served": Refusal(403, "unauthorized_client", KeyServiceRefused),
    "request.invalid": Refusal(400, "invalid_request", KeyServiceRefused),
    "request.grant_type": Refusal(400, "unsupported_grant_type", KeyServiceRefused),
    "request.too_long": Refusal(413, "invalid_request", KeyServiceRefused),
    "request.too_many": Refusal(429, "temporarily_unavailable", KeyServiceUnavailable),
    "request.no_such_path": Refusal(404, "invalid_request", KeyServiceRefused),
    "request.method": Refusal(405, "invalid_request", KeyServiceRefused),
    "keys.refused": Refusal(500, "server_error", KeyServiceRefused),
    "keys.unavailable": Refusal(503, "temporarily_unavailable", KeyServiceUnavailable),
    "defect": Refusal(500, "server_error", KeyServiceUnavailable),
}
"""Reason -> refusal."""


class Refused(KeyServiceRefused):
    """The issuer refuses for a reason of its own, one of REFUSALS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_BY_TYPE: dict[type[VaultstoreError], str] = {
    IssueDenied: "issue.denied",
    TokenExpired: "token.expired",
    TokenRevoked: "token.revoked",
    TokenInvalid: "token.invalid",
    AccessDenied: "access.denied",
    KeyServiceUnavailable: "keys.unavailable",
    KeyServiceRefused: "keys.refused",
}


def refusal_of(error: VaultstoreError) -> str:
    """The reason that says `error`."""
    if isinstance(error, Refused):
        return error.reason
    return next((reason for kind, reason in _BY_TYPE.items() if isinstance(error, kind)), "defect")


def error_of(status: int, reason: object, message: str) -> VaultstoreError:
    """The error to raise for an answer that is a refusal: by its reason, else by its status."""
    known = REFUSALS.get(reason) if isinstance(reason, str) else None
    if known is not None:
        return known.raised(message)
    return KeyServiceUnavailable(message) if status >= 500 or status in (408, 429) else KeyServiceRefused(message)
