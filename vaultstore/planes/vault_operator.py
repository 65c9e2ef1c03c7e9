"""ACL policies for the tokens that people and the issuer need: the least that the Vault plane works with."""

from __future__ import annotations

from collections.abc import Iterator

from vaultstore.keys.login import AUDIT_KEY, SIGNING_KEYS, TOKEN_KEY
from vaultstore.keys.vault_client import AUDITED_HEADER
from vaultstore.keys.vault_names import VaultNames

__all__ = ["issuer_acl", "operator_acl"]

_EDIT = ("create", "read", "update")
_KEEP = (*_EDIT, "delete")


def operator_acl(names: VaultNames) -> str:
    """HCL for the token of `policy apply` and `policy verify`. Whoever holds it can give themselves any purpose."""
    return "".join(_blocks(_operator(names)))


def issuer_acl(names: VaultNames) -> str:
    """HCL for the token of the process that issues tokens and signs checkpoints."""
    paths = [(f"{names.mount}/sign/{names.signing(name)}", ("update",)) for name in SIGNING_KEYS]
    paths += [(f"{names.mount}/keys/{names.signing(name)}", ("read",)) for name in (AUDIT_KEY, TOKEN_KEY)]
    return "".join(_blocks(iter(paths)))


def _operator(names: VaultNames) -> Iterator[tuple[str, tuple[str, ...]]]:
    mount, auth, prefix = names.mount, names.auth_mount, names.prefix
    yield f"sys/mounts/{mount}", _EDIT
    yield f"sys/mounts/{mount}/tune", _EDIT
    yield f"{mount}/config/keys", _EDIT
    yield f"sys/config/auditing/request-headers/{AUDITED_HEADER}", (*_EDIT, "sudo")
    yield f"{mount}/keys/{prefix}*", _EDIT
    yield f"sys/auth/{auth}", (*_EDIT, "sudo")
    yield f"sys/auth/{auth}/tune", (*_EDIT, "sudo")
    yield f"auth/{auth}/config", _EDIT
    yield f"auth/{auth}/role", ("list",)
    yield f"auth/{auth}/role/*", _KEEP
    yield "sys/policies/acl", ("list",)
    yield f"sys/policies/acl/{prefix}*", _KEEP
    yield "sys/quotas/rate-limit", ("list", "sudo")
    yield f"sys/quotas/rate-limit/{prefix}idx-*", (*_KEEP, "sudo")
    # What only `policy verify` needs: to look at what others have, and to try.
    yield "sys/policies/acl/*", ("read",)
    yield "sys/auth", ("read",)
    for place in ("certs", "groups", "role", "roles", "users"):
        yield f"auth/+/{place}/*", ("list", "read")  # a LIST goes to the name with a slash
    yield "identity/group/id", ("list",)
    yield "identity/group/id/+", ("read",)
    yield "sys/capabilities", ("update",)
    yield f"{mount}/encrypt/{prefix}cat-*", ("update",)
    yield f"{mount}/sign/{names.signing(TOKEN_KEY)}", ("update",)


def _blocks(paths: Iterator[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    for path, capabilities in paths:
        listed = ", ".join(f'"{capability}"' for capability in capabilities)
        yield f'path "{path}" {{\n  capabilities = [{listed}]\n}}\n'
