"""A Vault plane with mounts and a prefix of its own on a shared OpenBao, and what is needed to look behind it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import SHIPPED_POLICY
from vaultstore import Policy, VaultKeys
from vaultstore.keys.vault_acl import parse_acl
from vaultstore.members.models import Base
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy.bound import BoundPolicy
from vaultstore.testing import OpenBaoServer

__all__ = ["FEWER", "ISSUER", "OTHER", "POLICY", "Thief", "VaultWorld", "bind", "remove_plane", "shipped"]

ISSUER = "vaultstore"

FEWER = """\
version: 1
roles: {matchmaker: sells, care_agent: cares, registrar: signs people up}
categories:
  identity: {description: names, sensitive: true}
  contact: {description: phones, sensitive: true}
  profile: {sensitive: true}
  preference: {sensitive: true}
  conversation: {sensitive: true}
  browsing: {sensitive: true}
  pool_card: {projection: true}
  sales_card: {projection: true}
  care_card: {projection: true}
  suppression: {sensitive: true}
  match_card: {projection: true}
  chat_flags: {projection: true}
purposes:
  sales.outreach:
    description: call members
    label: marketing.communications
    basis: consent
    roles: [matchmaker]
    read: {Member: {categories: [sales_card], rows: claimed_by_actor}}
    ttl: 15m
  care.complaint:
    description: settle complaints
    label: essential.service
    basis: contract
    roles: [care_agent]
    read: {Member: {categories: [care_card]}}
    search: {Member: [phone]}
"""
POLICY = (
    FEWER
    + """\
  registration:
    description: sign up
    label: essential.service
    basis: contract
    roles: [registrar]
    write: {Member: [contact]}
"""
)
OTHER = POLICY.replace("[sales_card], rows", "[pool_card], rows").replace(
    "    search: {Member: [phone]}", "    write: {Member: [profile]}"
)
"""Other rights for sales and for care, the same for registration."""


def bind(text: str, folder: Path) -> BoundPolicy:
    """A policy over the member store's models."""
    path = folder / f"{uuid.uuid4().hex}.yaml"
    path.write_text(text)
    return Policy.load(path).bind(ModelRegistry(Base).catalogue)


def shipped() -> BoundPolicy:
    """The shipped policy over the member store's models."""
    return Policy.load(SHIPPED_POLICY).bind(ModelRegistry(Base).catalogue)


class VaultWorld:
    """Mounts and names that nobody else uses. `requests` are (method, path) of what planes sent."""

    def __init__(self, server: OpenBaoServer, prefix: str = "") -> None:
        self.server = server
        self.prefix = prefix or f"t{uuid.uuid4().hex[:10]}-"
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self._opened: list[VaultKeys] = []
        self._planted: list[str] = []

    def keys(self, **changes: Any) -> VaultKeys:
        def seen(method: str, path: str, items: int) -> None:
            self.before(method, path)
            self.requests.append((method, path))

        settings: dict[str, Any] = {
            "token": self.server.root_token,
            "mount": f"{self.prefix}transit",
            "prefix": self.prefix,
            "auth_mount": f"{self.prefix}jwt",
            "on_request": seen,
        }
        self._opened.append(VaultKeys(self.server.url, **(settings | changes)))
        return self._opened[-1]

    def plane(self, bound: BoundPolicy, *, admin_policies: tuple[str, ...] = (), **changes: Any) -> VaultPlane:
        return VaultPlane(self.keys(**changes), bound, ISSUER, admin_policies=admin_policies)

    def root(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, answer = self.server.request(method, path, body)
        assert status < 300, (method, path, status, answer)
        data = answer.get("data")
        return data if isinstance(data, dict) else answer

    def plant(self, path: str, body: object) -> None:
        """Write something as root that goes again when this world does."""
        self.root("POST", path, body)
        self._planted.append(path)

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Requests that were not only reading."""
        return [(method, path) for method, path in self.requests if method not in ("GET", "LIST")]

    def rights(self) -> dict[str, set[str]]:
        """JWT role -> key paths that a login with it may use now, as the server has them."""
        found: dict[str, set[str]] = {}
        status, listed = self.server.request("LIST", f"auth/{self.prefix}jwt/role")
        for role in listed["data"]["keys"] if status == 200 else ():
            policies = self.root("GET", f"auth/{self.prefix}jwt/role/{role}")["token_policies"]
            texts = [self.server.request("GET", f"sys/policies/acl/{name}")[1].get("data", {}) for name in policies]
            paths = {path for text in texts for path in parse_acl(text.get("policy", "")) or ()}
            found[role] = {path for path in paths if path.startswith(f"{self.prefix}transit/")}
        return found

    def close(self) -> None:
        for keys in self._opened:
            keys.close()
        for path in reversed(self._planted):
            self.server.request("DELETE", path)
        remove_plane(self.server, self.prefix)


def remove_plane(server: OpenBaoServer, prefix: str) -> None:
    """Take what a deployment has at a shared Vault away: every later look at one would read its ACL policies too."""
    for path in ("sys/policies/acl", "sys/quotas/rate-limit"):
        for name in server.request("LIST", path)[1].get("data", {}).get("keys", []):
            if name.startswith(prefix):
                server.request("DELETE", f"{path}/{name}")
    for path in (f"sys/auth/{prefix}jwt", f"sys/mounts/{prefix}transit"):
        server.request("DELETE", path)


class Thief:
    """A raw client with a stolen login token of Vault's."""

    def __init__(self, url: str, token: str) -> None:
        self.token = token
        self._client = hvac.Client(url=url, token=token)

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        response = self._client.adapter.request(method, f"/v1/{path}", raise_exception=False, json=body)
        if isinstance(response, dict):
            return 200, response
        return response.status_code, response.json() if response.content else {}

    def close(self) -> None:
        self._client.adapter.close()
