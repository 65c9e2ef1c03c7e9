"""Access requests and approvals: four eyes, six where the policy says so."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

from vaultstore.gate import Gate
from vaultstore.grants import Actor, Grant
from vaultstore.lifecycle.records import Registry, Subject, key_of
from vaultstore.records import approvals
from vaultstore.records.approvals import AccessRequest, subjects_digest

__all__ = ["Approvals"]


class Approvals:
    """Asks for a purpose that requires approvals, and approves what others ask for."""

    def __init__(self, registry: Registry, gate: Gate) -> None:
        self._registry, self._gate = registry, gate

    def __repr__(self) -> str:
        return "<Approvals>"

    def request_access(
        self,
        who: Actor | Grant,
        purpose: str,
        *,
        case: str | None = None,
        subjects: Iterable[Subject] | None = None,
        ttl: timedelta = timedelta(hours=4),
    ) -> str:
        """Ask to use `purpose` on exactly these subjects, or on any where None; the request's id.

        It holds for `ttl`, for this actor alone, and for tokens that name exactly this case and these subjects.
        """
        actor = who.actor if isinstance(who, Grant) else who
        digest = subjects_digest(None if subjects is None else [key_of(subject) for subject in subjects])
        now = self._registry.now
        request = AccessRequest(str(uuid.uuid4()), case, purpose, digest, actor.id, now, now + ttl)
        with self._registry.gate() as connection:
            approvals.add(connection, request)
        return request.id

    def approve(self, request: str, grant: Grant) -> None:
        """Approve somebody else's request under one's own grant; once more by the same person changes nothing.

        Raises AccessDenied (``not.granted``: the grant's purpose does not list the requested one in `approves`),
        ApprovalMissing (no such request, an expired one, one's own), and what `Gate.check` raises.
        """
        self._gate.approve(grant, request)
