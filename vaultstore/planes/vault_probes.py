"""Try what each purpose can do at a live Vault: with real login tokens, logins, wraps and digests."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from vaultstore.errors import KeyServiceRefused
from vaultstore.grants import Actor, Grant
from vaultstore.keys.login import SIGNING_KEYS, TOKEN_KEY
from vaultstore.keys.protocols import KeyKind
from vaultstore.keys.vault import VaultKeys
from vaultstore.keys.vault_service import VaultKeyService
from vaultstore.planes.plan import Cell, Probe
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.policy.bound import BoundPolicy
from vaultstore.tokens.exchange import login_token
from vaultstore.tokens.signing import TokenSigner

__all__ = ["ACTOR", "probes"]

ACTOR = "vaultstore-verify"
"""The actor of probes, as Vault's audit log shows it. Vault keeps an identity entity for it, as for every actor."""

_KEY_BYTES = 32
_KINDS: tuple[KeyKind, ...] = ("category", "index")
_CONTEXT = base64.b64encode(b"vaultstore/probe").decode()
_OFTEN = {  # what hardly any purpose may do with a key, asked and not tried: it would rotate or hand out a live key
    "rotate": "keys/{}/rotate",
    "config": "keys/{}/config",
    "trim": "keys/{}/trim",
    "read the key": "keys/{}",
    "export": "export/encryption-key/{}",
    "backup": "backup/{}",
    "datakey": "datakey/plaintext/{}",
    "wrapped datakey": "datakey/wrapped/{}",
}


def probes(keys: VaultKeys, bound: BoundPolicy, access: KeyAccess, now: Callable[[], datetime]) -> Iterator[Probe]:
    """Every purpose's cells. One login a purpose, revoked at the end; nothing of a live key is changed or shown.

    Raises KeyServiceError, naming the path, where the operator's token may not encrypt, sign or ask.
    """
    signer = TokenSigner(keys)
    wraps = {category: _wrap(keys, category) for category in sorted(access.categories)}

    signing = f"{keys.names.mount}/keys/{keys.names.signing(TOKEN_KEY)}"
    signs = keys.request("GET", signing, expect=(400, 404)).status < 300

    def token(grant: Grant, at: datetime) -> str:
        return login_token(signer, access.issuer, grant, at) if signs else ""

    for name, rights in sorted(access.purposes.items()):
        grant = _grant(bound, name, now())
        yield from _refused_logins(keys, grant, token, now())
        service = _enter(keys, token(grant, now()), role=name)
        try:
            yield Probe(Cell(name, f"JWT role {name}", "log in"), True, service is not None)
            yield from _tried(keys, name, rights, access, wraps, service)
            yield from _asked(keys, name, rights, access, service)
        finally:
            if service is not None:
                service.close()


def _refused_logins(
    keys: VaultKeys, grant: Grant, token: Callable[[Grant, datetime], str], now: datetime
) -> Iterator[Probe]:
    """Login tokens that no role may take."""
    other_purpose = replace(grant, purpose=replace(grant.purpose, name=f"{grant.purpose.name}-other"))
    minute = timedelta(seconds=60)
    bad = {
        "log in for another version": token(replace(grant, digest="sha256:" + "0" * 64), now),
        "log in for another purpose": token(other_purpose, now),
        "log in with an expired token": token(grant, now - 1.5 * minute),
        "log in before its time": token(replace(grant, expires_at=grant.expires_at + minute), now + minute / 2),
    }
    for operation, text in bad.items():
        service = _enter(keys, text, grant.purpose.name)
        if service is not None:
            service.close()
        yield Probe(Cell(grant.purpose.name, f"JWT role {grant.purpose.name}", operation), False, service is not None)


def _tried(
    keys: VaultKeys,
    purpose: str,
    rights: PurposeKeys,
    access: KeyAccess,
    wraps: dict[str, str],
    service: VaultKeyService | None,
) -> Iterator[Probe]:
    names = keys.names

    def probe(where: str, verb: str, expected: bool, path: str, body: object) -> Probe:
        found = service is not None and _allowed(service, f"{names.mount}/{path}", body)
        return Probe(Cell(purpose, where, verb), expected, found)

    for category, wrap in wraps.items():
        where, key = f"category {category}", names.category(category)
        opens, seals = category in rights.unwrap, category in rights.wrap
        opening = {"ciphertext": wrap, "context": _CONTEXT}
        fresh = {"plaintext": base64.b64encode(os.urandom(_KEY_BYTES)).decode(), "context": _CONTEXT}
        yield probe(where, "decrypt", opens, f"decrypt/{key}", opening)
        yield probe(where, "encrypt", seals, f"encrypt/{key}", fresh)
        yield probe(where, "rewrap", category in rights.rewrap, f"rewrap/{key}", opening)
        if category in rights.retire:
            # What it is set to already, so that nothing changes should Vault take it.
            beyond = {"deletion_allowed": False}
            yield probe(where, "config beyond versions", False, f"keys/{key}/config", beyond)
    for index in access.indexes:
        body = {"input": base64.b64encode(b"vaultstore/probe").decode()}
        yield probe(f"index {index}", "hmac", index in rights.hmac, f"hmac/{names.index(index)}", body)
        if index in rights.retire_indexes:
            beyond = {"deletion_allowed": False}
            yield probe(f"index {index}", "config beyond versions", False, f"keys/{names.index(index)}/config", beyond)


def _asked(
    keys: VaultKeys, purpose: str, rights: PurposeKeys, access: KeyAccess, service: VaultKeyService | None
) -> Iterator[Probe]:
    """Verbs that are not tried: Vault says what the login may do at their paths. One request."""
    names = keys.names
    cells: dict[str, Cell] = {}
    expected = {
        Cell(purpose, f"{kind} {name}", verb)
        for kind in _KINDS
        for verb, found in _kept(rights, kind).items()
        for name in found
    }

    def ask(where: str, verb: str, path: str) -> None:
        cells[path] = Cell(purpose, where, verb)

    keyed = {f"category {name}": names.category(name) for name in sorted(access.categories)}
    keyed |= {f"index {name}": names.index(name) for name in access.indexes}
    keyed |= {f"signing key {name}": names.signing(name) for name in SIGNING_KEYS}
    for where, key in keyed.items():
        for verb, path in _OFTEN.items():
            ask(where, verb, f"{names.mount}/{path.format(key)}")
    for name in SIGNING_KEYS:
        ask(f"signing key {name}", "sign", f"{names.mount}/sign/{names.signing(name)}")
    ask(f"mount {names.mount}", "config", f"{names.mount}/config/keys")
    ask(f"mount {names.mount}", "restore a key", f"{names.mount}/restore")
    ask(f"auth mount {names.auth_mount}", "config", f"auth/{names.auth_mount}/config")
    for other in sorted(access.purposes):
        ask(f"JWT role {other}", "read or write", names.role_path(other))
        ask(f"ACL policy {names.acl(other)}", "read or write", names.acl_path(names.acl(other)))
    for path in ("auth/token/create", "auth/token/create-orphan", "sys/mounts", "sys/auth", "identity/entity"):
        ask(f"path {path}", "reach", path)
    allowed = {} if service is None else keys.capabilities(service, list(cells))
    for path, cell in cells.items():
        yield Probe(cell, cell in expected, bool(allowed.get(path)))


def _kept(rights: PurposeKeys, kind: KeyKind) -> dict[str, frozenset[str]]:
    """Verb -> names of the keys of that kind that a purpose may do it with for their upkeep."""
    retired = rights.retired(kind)
    return {"rotate": rights.rotated(kind), "config": retired, "trim": retired, "read the key": rights.kept_of(kind)}


def _allowed(service: VaultKeyService, path: str, body: object) -> bool:
    """Whether Vault did it. A 400 is a refusal too: it did not."""
    return service.attempt(path, body) < 300


def _enter(keys: VaultKeys, token: str, role: str) -> VaultKeyService | None:
    try:
        return keys.login(token, role=role)
    except KeyServiceRefused:
        return None


def _wrap(keys: VaultKeys, category: str) -> str:
    """A wrap of random bytes in the probe's own context, made with the operator's token; junk where there is no key."""
    path = f"{keys.names.mount}/encrypt/{keys.names.category(category)}"
    body = {"plaintext": base64.b64encode(os.urandom(_KEY_BYTES)).decode(), "context": _CONTEXT}
    answer = keys.request("POST", path, body, expect=(400, 404))
    return str(answer.data.get("ciphertext", "vault:v1:"))


def _grant(bound: BoundPolicy, name: str, now: datetime) -> Grant:
    purpose = bound.purpose(name)
    actor = Actor(ACTOR, min(purpose.roles, default="verify"))
    return Grant(str(uuid.uuid4()), actor, purpose, bound.digest(name), now, now + timedelta(minutes=5))
