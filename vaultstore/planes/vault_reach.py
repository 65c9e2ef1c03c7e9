"""Which paths of a Vault open what is ours, and whether somebody's path pattern reaches one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vaultstore.keys.vault_acl import Rights
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_resource import Resource

__all__ = ["overlap", "protected", "reaching"]

_ANY = frozenset({"create", "read", "update", "delete", "list", "patch", "sudo", "scan"})
_CHANGING = _ANY - {"read", "list", "scan"}
_KEY_VERBS = (
    "encrypt", "decrypt", "rewrap", "hmac", "sign", "backup", "datakey/+", "export/+", "restore", "byok-export/+",
)  # fmt: skip


def protected(names: VaultNames, wanted: Sequence[Resource]) -> dict[str, frozenset[str]]:
    """Path pattern -> the capabilities that open something there: keys, trust, roles and ACL policies of ours.

    To read a key's description, a role or an ACL policy opens nothing.
    """
    mount, auth = names.mount, f"auth/{names.auth_mount}"
    found = {f"{mount}/config/*": _CHANGING, f"{mount}/restore": _CHANGING, f"{auth}/config": _CHANGING}
    for resource in wanted:
        if resource.kind == "key":
            for verb in _KEY_VERBS:
                found |= {f"{mount}/{verb}/{resource.name}": _ANY, f"{mount}/{verb}/{resource.name}/*": _ANY}
            found |= {resource.path: _CHANGING, f"{resource.path}/*": _CHANGING}
        elif resource.kind == "acl":
            found |= {resource.path: _CHANGING, f"sys/policy/{resource.name}": _CHANGING}
        elif resource.kind == "role":
            found[resource.path] = _CHANGING
    return found


def reaching(rights: Rights, guarded: Iterable[tuple[str, frozenset[str]]]) -> Iterator[tuple[str, frozenset[str]]]:
    """Those of `rights` that overlap a guarded path with a capability that opens something there."""
    places = list(guarded)
    for pattern, capabilities in rights.items():
        opens = frozenset().union(
            *(capabilities & opening for path, opening in places if capabilities & opening and overlap(pattern, path))
        )
        if opens:
            yield pattern, opens


def overlap(one: str, other: str) -> bool:
    """Whether some path matches both patterns of Vault's kind: ``+`` is a segment, ``*`` at the end anything."""
    left, right = _segments(one), _segments(other)
    for place in range(max(len(left), len(right))):
        if place >= len(left) or place >= len(right):
            return False
        a, b = left[place], right[place]
        a_open, b_open = (a.endswith("*"), b.endswith("*"))
        if a_open or b_open:
            a, b = a.removesuffix("*"), b.removesuffix("*")
            begun = (a_open and b_open and a.startswith(b)) or (a_open and b.startswith(a))
            return begun or (b_open and a.startswith(b)) or "+" in (a, b)
        if a != b and "+" not in (a, b):
            return False
    return True


def _segments(pattern: str) -> list[str]:
    """Segments of a pattern; only the last may end in ``*``. What a template would fill in may be anything."""
    glob = pattern.endswith("*")
    segments = ["+" if "{{" in segment else segment for segment in pattern.removesuffix("*").split("/")]
    if glob:
        segments[-1] = ("" if segments[-1] == "+" else segments[-1]) + "*"
    return segments
