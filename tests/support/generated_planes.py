"""Generated worlds on a real Vault and a real PostgreSQL, each with names of its own, gone afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from vaultstore import VaultKeys
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy import BoundPolicy
from vaultstore.testing import OpenBaoServer

__all__ = ["ISSUER", "vault"]

ISSUER = "generated"


@contextmanager
def vault(openbao: OpenBaoServer, bound: BoundPolicy) -> Iterator[tuple[VaultKeys, VaultPlane]]:
    """Keys under a prefix and mounts of their own on a shared server, and the plane over them; nothing applied yet."""
    prefix = f"g{uuid.uuid4().hex[:8]}-"
    keys = VaultKeys(
        openbao.url, token=openbao.root_token, mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt"
    )
    try:
        yield keys, VaultPlane(keys, bound, ISSUER)
    finally:
        keys.close()
        openbao.request("DELETE", f"sys/mounts/{prefix}transit")
        openbao.request("DELETE", f"sys/auth/{prefix}jwt")
        _, listed = openbao.request("LIST", "sys/policies/acl")
        for name in listed.get("data", {}).get("keys", ()):
            if name.startswith(prefix):
                openbao.request("DELETE", f"sys/policies/acl/{name}")
