"""What a service may ask the issuer for, and what it gets. No I/O of its own: HTTP is app.py's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from vaultstore.errors import SettingsError
from vaultstore.grants import Actor, Grant
from vaultstore.issuer.config import ALL, Caller
from vaultstore.issuer.refusals import Refused
from vaultstore.policy.model import Purpose, Service
from vaultstore.tokens import inspect

__all__ = ["Desk", "Issued"]


class _Assertions(Protocol):
    def verify(self, assertion: object, role: str | None = None) -> Actor: ...


class _Verifier(Protocol):
    def verify(self, token: object) -> Grant: ...


class _Issuer(Protocol):
    def issue(
        self,
        actor: Actor,
        purpose: str,
        subjects: Iterable[uuid.UUID] | None = None,
        case: str | None = None,
        ttl: timedelta | None = None,
        *,
        act: str | None = None,
    ) -> str: ...

    def exchange(self, grant: Grant) -> str: ...


class _Policy(Protocol):
    @property
    def purposes(self) -> Mapping[str, Purpose]: ...

    @property
    def services(self) -> Mapping[str, Service]: ...


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was made, and what the access log says of it."""

    token: str = field(repr=False)
    expires_in: int
    """Seconds from now."""
    jti: str
    actor: str
    purpose: str


class Desk:
    """Answers services by name: who they are was found out from their connection. Safe to use from several threads.

    A service may ask client tokens for the purposes that it serves, or for those that its configuration lists, and may
    exchange tokens only of purposes that it serves. `check` raises where a grant was revoked. Raises SettingsError for
    a service that the policy does not know and the configuration gives nothing, and for purposes that don't exist.
    """

    def __init__(
        self,
        *,
        issuer: _Issuer,
        verifier: _Verifier,
        assertions: _Assertions,
        policy: _Policy,
        callers: Mapping[str, Caller],
        clock: Callable[[], datetime],
        check: Callable[[Grant], None] | None = None,
    ) -> None:
        self._issuer, self._verifier, self._assertions = issuer, verifier, assertions
        self._clock, self._check = clock, check
        self._serves = {name: service.purposes for name, service in policy.services.items()}
        self._issues: dict[str, frozenset[str]] = {}
        for name, caller in callers.items():
            served = self._serves.get(name, frozenset())
            issues = served if caller.issues is None else caller.issues
            if ALL in issues:
                issues = frozenset(policy.purposes)
            if not issues and not served:
                raise SettingsError(f"the policy has no service {name!r}, and it issues nothing: it could ask nothing")
            if unknown := sorted(issues - policy.purposes.keys()):
                raise SettingsError(f"service {name} issues {', '.join(unknown)}: not in the policy")
            self._issues[name] = issues

    def __repr__(self) -> str:
        return f"<Desk of {', '.join(sorted(self._issues))}>"

    def issue(
        self,
        service: str,
        assertion: str,
        purpose: str,
        *,
        subjects: Iterable[uuid.UUID] | None = None,
        case: str | None = None,
        ttl: timedelta | None = None,
        role: str | None = None,
    ) -> Issued:
        """A client token for whom the assertion speaks of. Raises Refused, TokenError, IssueDenied, KeyServiceError."""
        if purpose not in self._issues.get(service, frozenset()):
            raise Refused("service.not_served", f"service {service} does not ask tokens for that purpose")
        actor = self._assertions.verify(assertion, role)
        return self._issued(self._issuer.issue(actor, purpose, subjects, case, ttl, act=service))

    def exchange(self, service: str, token: str) -> Issued:
        """The login token for a client token. Raises Refused, TokenError, AccessDenied, KeyServiceError."""
        grant = self._verifier.verify(token)
        if grant.purpose.name not in self._serves.get(service, frozenset()):
            raise Refused("service.not_served", f"service {service} does not serve {grant.purpose.name}")
        if self._check is not None:
            self._check(grant)
        return self._issued(self._issuer.exchange(grant))

    def _issued(self, token: str) -> Issued:
        claims: Mapping[str, Any] = inspect(token)["claims"]  # just made: nothing to verify
        left = int(claims["exp"] - self._clock().timestamp())
        return Issued(token, max(0, left), claims["jti"], claims["sub"], claims["purpose"])
