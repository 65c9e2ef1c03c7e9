"""From what a Vault holds to what it should: an ordered list of changes, and how one is made.

What closes comes before what opens, so whenever this stops half-way, nothing is allowed that neither the old nor the
new policy allows; doing it again goes on. Keys are made and never removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vaultstore.errors import SettingsError
from vaultstore.keys.vault_acl import Rights, common, marked, parse_acl, render_acl, written
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_resource import Look, Request, Resource, look, resolved

__all__ = ["VaultChange", "changes", "former", "listed", "make", "problem"]


@dataclass(frozen=True, slots=True)
class VaultChange:
    """One request that brings a Vault nearer to what it should be. Making it again does no harm."""

    action: Literal["create", "change", "remove"]
    thing: str
    detail: str
    path: str
    body: Mapping[str, Any] | None
    """What is written there; None: it is deleted. PublicKeys in it are read when it is made."""
    resource: Resource | None = None
    """What it makes or changes."""


def changes(request: Request, names: VaultNames, wanted: Sequence[Resource]) -> list[VaultChange]:
    """What would make a Vault hold what is wanted, in the order in which to do it. Reads only.

    Raises SettingsError where something is there that can't be changed to it, before anything was changed, and
    KeyServiceError, naming the path, where the operator's token may not read it.
    """
    looks = [look(request, resource) for resource in wanted]
    for seen in looks:
        wrong = problem(seen)
        if wrong:
            raise SettingsError(wrong)
    first: list[VaultChange] = []
    over = former(request, names, wanted)
    closing = [_removal(resource) for resource in over if resource.kind != "quota"]
    opening: list[VaultChange] = []
    last = [_removal(resource) for resource in over if resource.kind == "quota"]
    for seen in looks:
        resource = seen.resource
        if resource.kind == "mount" and seen.missing:
            first.append(_creation(resource))
        elif resource.kind in ("setting", "audit", "header", "quota"):
            relaxes = resource.kind == "quota" and not seen.missing and _relaxes(seen)
            (last if relaxes else closing).extend(_written(seen))
        elif seen.missing:
            opening.append(_creation(resource))
        elif resource.kind == "acl":
            narrowed, opened = _acl(names, seen)
            closing.extend(narrowed)
            opening.extend(opened)
        elif seen.differing:
            later = resource.kind == "trust" and not seen.wanted["jwt_validation_pubkeys"]  # their key is still to come
            (opening if later else closing).extend(_written(seen))
    return [*first, *closing, *opening, *last]


def make(request: Request, change: VaultChange) -> None:
    """Make one change. Raises KeyServiceError, or SettingsError where another made something else meanwhile."""
    if change.body is None:
        request("DELETE", change.path, expect=(404,))
        return
    body = {name: resolved(request, value) for name, value in change.body.items()}
    created = change.resource is not None and change.action == "create"
    mount = created and change.resource is not None and change.resource.kind == "mount"
    # Another process may have made the mount meanwhile: what counts is what is there afterwards.
    request("POST", change.path, body, expect=(400,) if mount else ())
    if created and change.resource is not None and change.resource.fixed:
        seen = look(request, change.resource)
        wrong = f"{change.thing} could not be made" if seen.missing else problem(seen)
        if wrong:
            raise SettingsError(wrong)


def problem(seen: Look) -> str:
    """Why what was found can't be made into what is wanted; "" where it can."""
    resource, wrong = seen.resource, seen.immovable
    if seen.found is None or not wrong:
        return ""
    if resource.kind == "trust":
        return f"the auth mount {resource.name} serves another issuer: give vaultstore one of its own"
    if resource.kind == "mount":
        return f"the mount {resource.path} is of type {seen.found.get('type')}, not {resource.fixed['type']}"
    return (
        f"the key {resource.name} is there, but its {wrong[0]} is not {resource.fixed[wrong[0]]!r}: make another prefix"
    )


def former(request: Request, names: VaultNames, wanted: Sequence[Resource]) -> list[Resource]:
    """What a policy once put there and no longer wants: JWT roles, then ACL policies, then quotas.

    A role is ours where our auth mount hands out an ACL policy of a purpose with it, an ACL policy where its first line
    says so, or a former role was alone in handing it out. What else has our prefix was made by somebody.
    """
    kept = {(resource.kind, resource.name) for resource in wanted}
    acls: dict[str, str] = {}
    for name in listed(request, "sys/policies/acl"):
        if name.startswith(names.prefix) and ("acl", name) not in kept:
            mark = marked(str(request("GET", names.acl_path(name), expect=(404,)).data.get("policy", "")))
            if mark is not None and mark[0] == names.prefix and names.acl(mark[1]) == name:
                acls[name] = mark[1]
    roles = []
    handed_out = acls.keys() | {name for kind, name in kept if kind == "acl"}
    for role in listed(request, f"auth/{names.auth_mount}/role"):
        if ("role", role) in kept:
            continue
        path = f"auth/{names.auth_mount}/role/{role}"
        policies = request("GET", path, expect=(404,)).data.get("token_policies") or []
        if policies == [names.prefix + role] and ("acl", names.prefix + role) not in kept:
            acls.setdefault(names.prefix + role, role)
        elif not handed_out & set(policies):
            continue
        roles.append(Resource("role", role, path, purpose=role))
    found = [Resource("acl", name, names.acl_path(name), purpose=purpose) for name, purpose in sorted(acls.items())]
    return [*roles, *found, *_former_quotas(request, names, kept)]


def listed(request: Request, path: str) -> list[str]:
    """Names that a LIST gives, sorted; none where there is nothing."""
    return sorted(request("LIST", path, expect=(400, 404)).data.get("keys") or ())


def _former_quotas(request: Request, names: VaultNames, kept: set[tuple[Any, str]]) -> Iterator[Resource]:
    for name in listed(request, "sys/quotas/rate-limit"):
        if name.startswith(f"{names.prefix}idx-") and ("quota", name) not in kept:
            path = f"sys/quotas/rate-limit/{name}"
            if request("GET", path, expect=(404,)).data.get("path") == f"{names.mount}/hmac/{name}":
                yield Resource("quota", name, path)


def _removal(resource: Resource) -> VaultChange:
    return VaultChange("remove", resource.thing, "the policy does not have it", resource.path, None, resource)


def _creation(resource: Resource) -> VaultChange:
    body = resource.settings if resource.create is None else resource.create
    detail = written(parse_acl(body["policy"], limits=True) or {}) if resource.kind == "acl" else ""
    return VaultChange("create", resource.thing, detail, resource.path, body, resource)


def _written(seen: Look) -> Iterator[VaultChange]:
    resource = seen.resource
    if seen.missing:
        yield _creation(resource)
    elif seen.differing:
        detail = ", ".join(seen.differing)
        path = resource.change_path or resource.path
        yield VaultChange("change", resource.thing, detail, path, resource.settings, resource)


def _relaxes(seen: Look) -> bool:
    assert seen.found is not None
    return seen.differing == ("rate",) and seen.found["rate"] < seen.wanted["rate"]


def _acl(names: VaultNames, seen: Look) -> tuple[list[VaultChange], list[VaultChange]]:
    """What closes and what opens an ACL policy that is there. In between it allows what both texts allow."""
    if not seen.differing or seen.found is None:
        return [], []
    resource = seen.resource
    wanted = parse_acl(seen.wanted["policy"], limits=True) or {}
    found = parse_acl(str(seen.found.get("policy", "")), limits=True)
    if found is None:
        # Somebody wrote what we can't read: nothing of it stays while the rest is being closed.
        kept, gone = {path: wanted[path] for path in wanted if path.startswith("auth/token/")}, "what can't be read"
    else:
        kept, gone = dict(common(found, wanted)), written(_beyond(found, wanted))
    added = written(_beyond(wanted, kept))
    final = VaultChange("change", resource.thing, f"opens {added}", resource.path, resource.settings, resource)
    if not gone and added:
        return [], [final]
    text = render_acl(names, resource.purpose, kept) if added else seen.wanted["policy"]
    detail = f"closes {gone}" if gone else "its text"
    narrowing = VaultChange("change", resource.thing, detail, resource.path, {"policy": text}, resource)
    return [narrowing], [final] if added else []


def _beyond(rights: Rights, other: Rights) -> Rights:
    """What `rights` allow and `other` does not."""
    more = {path: capabilities - other.get(path, frozenset()) for path, capabilities in rights.items()}
    return {path: capabilities for path, capabilities in more.items() if capabilities}
