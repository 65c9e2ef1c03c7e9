"""The member store: models, row scopes, import and demo of a dating platform's member profiles.

It uses only documented public modules of vaultstore and has no privileges.
"""

from __future__ import annotations

from vaultstore.members import scopes, suppression
from vaultstore.members.models import Base, ChatMessage, ConsentNotice, Lead, Member, ProfileView

__all__ = ["Base", "ChatMessage", "ConsentNotice", "Lead", "Member", "ProfileView", "scopes", "suppression"]
