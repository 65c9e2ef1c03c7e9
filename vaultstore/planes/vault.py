"""The Vault plane: what a policy makes of Vault or OpenBao, and whether a live one is that."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from vaultstore.keys.vault import VaultKeys
from vaultstore.keys.vault_change import VaultChange
from vaultstore.keys.vault_resource import Resource, look
from vaultstore.planes.plan import Change, Difference, Probe
from vaultstore.planes.vault_facts import facts_of
from vaultstore.planes.vault_foreign import strays
from vaultstore.planes.vault_operator import issuer_acl, operator_acl
from vaultstore.planes.vault_probes import probes
from vaultstore.policy.bound import BoundPolicy

__all__ = ["VaultPlane"]


class VaultPlane:
    """The policy `bound` at the Vault of `keys`, whose own token is the operator's.

    `issuer` is the ``iss`` of login tokens; `admin_policies` are the names of ACL policies that may reach our keys,
    roles and ACL policies (the operator's, the issuer's), which are otherwise reported; `clock` gives the time as an
    aware datetime.
    """

    name = "vault"

    def __init__(
        self,
        keys: VaultKeys,
        bound: BoundPolicy,
        issuer: str,
        *,
        admin_policies: Collection[str] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._keys, self._bound, self._access = keys, bound, bound.key_access(issuer)
        self._admin_policies, self._clock = frozenset(admin_policies), clock or _now

    def __repr__(self) -> str:
        return f"<VaultPlane of {len(self._bound.purposes)} purposes>"

    def compile(self) -> str:
        """Every request that `apply` sends to a fresh Vault: ACL policies as HCL, the rest as JSON. Asks no server.

        Before them the ACL policies of the operator's and the issuer's tokens, as comments. Raises SettingsError for
        what Vault could not keep.
        """
        names = self._keys.names
        sections = [
            "# The operator's token (policy apply, policy verify) takes an ACL policy such as:\n"
            + _commented(operator_acl(names)),
            "# The issuer's token (vaultstore issuer serve) takes:\n" + _commented(issuer_acl(names)),
            *(self._section(resource) for resource in self._keys.wanted(self._access)),
        ]
        return "\n".join(sections)

    def plan(self) -> Sequence[Change]:
        """What `apply` would do now, in its order: what closes before what opens. Reads only.

        Raises SettingsError where something is there that can't be made ours, and KeyServiceError, naming the path,
        where the operator's token may not read.
        """
        return [_change(change) for change in self._keys.changes(self._access)]

    def apply(self) -> Sequence[Change]:
        """Make Vault match. A failure half-way leaves nothing open that neither policy opens; repeating goes on."""
        done = []
        for change in self._keys.changes(self._access):
            self._keys.make(change)
            done.append(_change(change))
        return done

    def differences(self) -> Sequence[Difference]:
        """Every setting of ours that is not as wanted, and what others have that reaches ours. Reads only."""
        wanted = self._keys.wanted(self._access)
        found = [fact for resource in wanted for fact in facts_of(look(self._keys.request, resource))]
        return [*found, *strays(self._keys.request, self._keys.names, wanted, self._admin_policies)]

    def probes(self) -> Iterator[Probe]:
        """Log in for every purpose and try every category and index, and ask Vault about every other verb."""
        return probes(self._keys, self._bound, self._access, self._clock)

    def _section(self, resource: Resource) -> str:
        about = [f"# {resource.thing}"]
        if resource.kind in ("acl", "role"):
            described = self._bound.purpose(resource.purpose).description
            about += [f"# {resource.purpose}: {' '.join(described.split())}"] if described else []
        about.append(f"# POST {resource.path}")
        if resource.kind == "acl":
            return "\n".join([*about, str(resource.settings["policy"])])
        body = resource.settings if resource.create is None else resource.create
        return "\n".join([*about, json.dumps(body, indent=2, default=str, ensure_ascii=False), ""])


def _change(change: VaultChange) -> Change:
    return Change(change.action, change.thing, change.detail)


def _commented(text: str) -> str:
    return "".join(f"#   {line}\n" for line in text.splitlines())


def _now() -> datetime:
    return datetime.now(UTC)
