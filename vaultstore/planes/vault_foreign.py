"""What others put into a Vault that opens what is ours: roles and groups with our ACL policies, ACLs on our paths."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from vaultstore.keys.vault_acl import marked, parse_acl, written
from vaultstore.keys.vault_change import former, listed
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_resource import Request, Resource
from vaultstore.planes.plan import Difference
from vaultstore.planes.vault_reach import protected, reaching

__all__ = ["strays"]

_ROLES = {
    "approle": ("role",), "cert": ("certs",), "jwt": ("role",), "kerberos": ("groups",), "kubernetes": ("role",),
    "ldap": ("groups", "users"), "oidc": ("role",), "radius": ("users",), "token": ("roles",), "userpass": ("users",),
}  # fmt: skip
"""Kind of auth mount -> where it lists what hands out policies."""


def strays(
    request: Request, names: VaultNames, wanted: Sequence[Resource], admin_policies: Collection[str]
) -> Iterator[Difference]:
    """What opens ours and is not the policy's. `admin_policies` are ACL policies that may reach our paths.

    Policies that hang on single identity entities are not looked for: there is one for each actor. Raises
    KeyServiceError, naming the path, where the operator's token may not look.
    """
    over = former(request, names, wanted)
    for resource in over:
        yield Difference("too open", resource.thing, "nothing of that name", "what a former policy left")
    ours = {resource.name for resource in wanted if resource.kind == "acl"}
    ours |= {resource.name for resource in over if resource.kind == "acl"}
    yield from _acls(request, names, wanted, ours, admin_policies)
    gone = {resource.path for resource in over}
    own = {resource.path for resource in wanted if resource.kind == "role"} | gone
    yield from _roles(request, ours, own)
    yield from _groups(request, ours)


def _acls(
    request: Request, names: VaultNames, wanted: Sequence[Resource], ours: set[str], admin_policies: Collection[str]
) -> Iterator[Difference]:
    guarded = protected(names, wanted).items()
    for name in listed(request, "sys/policies/acl"):
        if name == "root" or name in ours or name in admin_policies:
            continue
        text = str(request("GET", names.acl_path(name), expect=(404,)).data.get("policy", ""))
        rights, mark = parse_acl(text), marked(text)
        thing = f"ACL policy {name}"
        if rights is None:
            yield Difference("too open", thing, "a text that can be read", "one that may reach our keys")
            continue
        reached = dict(reaching(rights, guarded))
        if reached:
            yield Difference(
                "too open", thing, "no path that reaches our keys, roles or ACL policies", written(reached)
            )
        elif name.startswith(names.prefix) and (mark is None or mark[0] == names.prefix):
            yield Difference(
                "too open", thing, f"nothing else that begins with {names.prefix}", "one that we did not write"
            )


def _roles(request: Request, ours: set[str], own: set[str]) -> Iterator[Difference]:
    mounts: dict[str, Any] = request("GET", "sys/auth").data
    for mount, about in sorted(mounts.items()):
        for place in _ROLES.get(about.get("type", ""), ()):
            folder = f"auth/{mount.rstrip('/')}/{place}"
            for name in listed(request, folder):
                path = f"{folder}/{name}"
                if path not in own:
                    role = request("GET", path, expect=(404,)).data
                    yield from _handed(f"{about['type']} role {path}", _policies(role, ours))


def _groups(request: Request, ours: set[str]) -> Iterator[Difference]:
    for group in listed(request, "identity/group/id"):
        data = request("GET", f"identity/group/id/{group}", expect=(404,)).data
        yield from _handed(f"identity group {data.get('name', group)}", _policies(data, ours))


def _handed(thing: str, policies: list[str]) -> Iterator[Difference]:
    if policies:
        yield Difference("too open", thing, "none of our ACL policies", f"hands out {', '.join(policies)}")


def _policies(data: dict[str, Any], ours: set[str]) -> list[str]:
    """Those of our ACL policies that a role, user or group gives."""
    named = {name for field in ("token_policies", "policies", "allowed_policies") for name in _list(data.get(field))}
    globs = _list(data.get("allowed_policies_glob"))
    return sorted(name for name in ours if name in named or any(fnmatchcase(name, glob) for glob in globs))


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [str(item) for item in value or ()]
