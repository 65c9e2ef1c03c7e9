"""How the safety team reads a message: a case, two approvals by other people, and exactly the members they named."""

from __future__ import annotations

from vaultstore import Actor
from vaultstore.members.demo.stage import Stage
from vaultstore.members.models import ChatMessage

__all__ = ["INVESTIGATOR", "investigate"]

INVESTIGATOR = Actor("s-1", role="safety_analyst")
_COLLEAGUES = (Actor("s-2", role="safety_analyst"), Actor("s-9", role="safety_lead"))


def investigate(stage: Stage) -> str:
    """Open a case, have it approved, and read the member's message."""
    case = stage.store.cases.open("fraud", assigned_to=INVESTIGATOR.id, subjects=[stage.hero])
    request = stage.store.request_access(INVESTIGATOR, "safety.investigation", case=case, subjects=[stage.hero])
    for colleague in _COLLEAGUES:
        stage.store.approve(request, stage.token(colleague, "safety.triage"))
    token = stage.store.issue(INVESTIGATOR, "safety.investigation", case=case, subjects=[stage.hero])
    with stage.store.session(token) as session:
        return session.get_one(ChatMessage, stage.message).body
