"""JWS in compact form (RFC 7515), read strictly: what is not exactly our form is no token.

Nothing here trusts or checks a signature; nothing here looks at a claim.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from vaultstore.canonical import canonical_json
from vaultstore.errors import TokenInvalid

__all__ = ["MAX_TOKEN_SIZE", "Parts", "b64url", "parse_object", "signing_input", "split", "unb64url"]

MAX_TOKEN_SIZE = 8 * 1024
"""Characters; longer tokens are refused unread."""

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart. Unverified."""

    header: Mapping[str, Any]
    payload: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "<Parts of a token>"


def split(token: object, limit: int = MAX_TOKEN_SIZE) -> Parts:
    """Take a compact JWS apart. Raises TokenInvalid unless it is three base64url parts led by a JSON object."""
    if not isinstance(token, str):
        raise TokenInvalid("a token is a string")
    if len(token) > limit:
        raise TokenInvalid(f"the token is longer than {limit} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenInvalid("a token has three parts with dots between them")
    header, payload, signature = (unb64url(part) for part in parts)
    return Parts(parse_object(header, "header"), payload, signature)


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises TokenInvalid where it is none, or any object in it has a member twice."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise TokenInvalid(f"the token's {what} is not JSON, or has a member twice") from None
    if not isinstance(value, dict):
        raise TokenInvalid(f"the token's {what} is not a JSON object")
    return value


def signing_input(header: Mapping[str, Any], claims: Mapping[str, Any]) -> bytes:
    """What is signed: both objects as RFC 8785 JSON in base64url, with a dot between (RFC 7515, section 5.1)."""
    return f"{b64url(canonical_json(dict(header)))}.{b64url(canonical_json(dict(claims)))}".encode()


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Decode base64url without padding. Raises TokenInvalid for any spelling but the one `b64url` gives."""
    try:
        if not _PART.fullmatch(text):
            raise TokenInvalid("a part of the token is not base64url")
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise TokenInvalid("a part of the token is not base64url") from None
    if b64url(data) != text:  # stray bits in the last character: another spelling of the same bytes
        raise TokenInvalid("a part of the token is not base64url in its only spelling")
    return data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
