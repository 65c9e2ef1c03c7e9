"""Shows what a token says without believing it: for people who debug one."""

from __future__ import annotations

from typing import Any

from vaultstore.tokens.compact import parse_object, split

__all__ = ["inspect"]


def inspect(token: object) -> dict[str, Any]:
    """``{"verified": False, "header": {...}, "claims": {...}}`` of a token, without its signature.

    Nothing is verified, and nothing may be decided on it. Raises TokenInvalid where it can't be taken apart.
    """
    parts = split(token)
    return {"verified": False, "header": dict(parts.header), "claims": parse_object(parts.payload, "payload")}
