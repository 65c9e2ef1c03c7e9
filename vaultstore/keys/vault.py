"""Keys in Vault or OpenBao: the token issuer's own access, provisioning, and logins of purposes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.keys.handle import SecretHandle
from vaultstore.keys.login import claimed_purpose
from vaultstore.keys.protocols import Signature
from vaultstore.keys.vault_access import wanted
from vaultstore.keys.vault_change import VaultChange, changes, make
from vaultstore.keys.vault_client import Answer, OnRequest, VaultClient
from vaultstore.keys.vault_names import VaultNames, networks
from vaultstore.keys.vault_resource import Resource
from vaultstore.keys.vault_service import VaultKeyService
from vaultstore.policy.access import KeyAccess

__all__ = ["VaultKeys"]

_SIGNATURE_BYTES = 64


class VaultKeys(SecretHandle):
    """Vault or OpenBao as a key service. Safe to use from several threads.

    `token` is the issuer's own (sign and read the key ``tokens``; what `provision` needs, if it is called): "" for a
    process that only logs purposes in. `prefix` begins the names of keys and ACLs and belongs to one store;
    `auth_mount` is a JWT auth mount of its own. `batch` is the most items in a request (150 suits a stock OpenBao,
    which counts JSON strings); `timeout` is (connect, read) in seconds; `login_ttl` the longest life of a login in
    seconds (a purpose's own may be shorter); `bound_cidrs` the only networks that logins and their tokens may come
    from; `hmac_rate` the most requests a second that one index key answers to an address (0: any number); `ca` the path
    of a CA bundle; `on_request` is called before every request. VAULT_ADDR and VAULT_TOKEN are never read.

    Raises SettingsError for a URL, name or batch that can't be used.
    """

    __slots__ = ("_batch", "_bound_cidrs", "_client", "_hmac_rate", "_login_ttl", "_names", "_namespace", "_token")

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        mount: str = "transit",
        prefix: str = "vs-",
        auth_mount: str = "jwt",
        batch: int = 150,
        timeout: tuple[float, float] = (2.0, 10.0),
        ca: str | None = None,
        namespace: str | None = None,
        login_ttl: int = 900,
        bound_cidrs: Sequence[str] = (),
        hmac_rate: int = 0,
        retries: int = 2,
        on_request: OnRequest | None = None,
    ) -> None:
        if not 1 <= batch <= 10_000:
            raise SettingsError(f"batch must be between 1 and 10000 items, not {batch}")
        self._names = VaultNames(mount, prefix, auth_mount)
        if login_ttl < 1 or hmac_rate < 0:
            raise SettingsError("login_ttl is at least 1 second, and hmac_rate no less than 0")
        self._token, self._batch, self._login_ttl, self._hmac_rate = token, batch, login_ttl, hmac_rate
        self._bound_cidrs, self._namespace = networks(bound_cidrs), namespace
        self._client = VaultClient(
            url, timeout=timeout, ca=ca, namespace=namespace, retries=retries, on_request=on_request
        )

    def sign(self, name: str, payload: bytes) -> Signature:
        """Sign `payload` with the newest version of the key called `name`, see Signer. One request."""
        path = f"{self._names.mount}/sign/{self._names.signing(name)}"
        body = {"input": base64.b64encode(payload).decode(), "marshaling_algorithm": "jws"}
        text = self.request("POST", path, body, items=1).data.get("signature")
        scheme, _, rest = str(text).partition(":v")
        version, _, encoded = rest.partition(":")
        value = _from_base64url(encoded)
        if scheme != "vault" or not version.isdecimal() or len(value) != _SIGNATURE_BYTES:
            raise KeyServiceRefused(f"the key {name} gave something that is no Ed25519 signature")
        return Signature(f"{name}:{version}", value)

    def public_keys(self, name: str) -> Mapping[str, bytes]:
        """Key id -> raw public key (32 bytes) of every version that may still verify, see Signer. One request."""
        data = self.request("GET", f"{self._names.mount}/keys/{self._names.signing(name)}").data
        keys, oldest = data.get("keys"), data.get("min_decryption_version", 1)
        if data.get("type") != "ed25519" or not isinstance(keys, dict):
            raise KeyServiceRefused(f"the key {name} does not sign with Ed25519")
        return {
            f"{name}:{number}": base64.b64decode(keys[str(number)]["public_key"])
            for number in sorted(map(int, keys))
            if number >= oldest
        }

    def login(self, login_token: str, *, role: str = "") -> VaultKeyService:
        """Log a purpose in at the JWT auth mount, see Keys. One request, without this object's own token.

        `role` is the JWT role to try; "" takes the one of the purpose that the token claims.
        """
        purpose = role or claimed_purpose(login_token)
        self._names.acl(purpose)  # refuses a name that could not be one of our roles
        answer = self._client.request(
            "POST",
            f"auth/{self._names.auth_mount}/login",
            {"role": purpose, "jwt": login_token},
            expect=(400, 401, 403, 404),
        )
        auth = answer.body.get("auth")
        token = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            raise KeyServiceRefused(
                f"the key service refused the login of {purpose} (status {answer.status}): the login token is over,"
                " not for it, or for another version of the purpose"
            )
        return VaultKeyService(self._client, self._names, purpose=purpose, token=token, batch=self._batch)

    @property
    def names(self) -> VaultNames:
        """Mounts, and the names of keys, ACL policies and JWT roles."""
        return self._names

    def provision(self, access: KeyAccess) -> None:
        """Bring Vault to what `access` says, see Keys. It takes a token that may; running it again changes nothing.

        Raises SettingsError where something of that name is there but is not ours or has another type.
        """
        for change in self.changes(access):
            self.make(change)

    def wanted(self, access: KeyAccess) -> tuple[Resource, ...]:
        """Everything that Vault must hold for `access`. No request."""
        return wanted(
            self._names,
            access,
            ttl=self._login_ttl,
            bound_cidrs=self._bound_cidrs,
            hmac_rate=self._hmac_rate,
            namespaced=self._namespace is not None,
        )

    def changes(self, access: KeyAccess) -> list[VaultChange]:
        """What `provision` would do, in its order. Reads only."""
        return changes(self.request, self._names, self.wanted(access))

    def make(self, change: VaultChange) -> None:
        """Make one of `changes`. Making it again does no harm."""
        make(self.request, change)

    def capabilities(self, service: VaultKeyService, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """What Vault says a login may do at each path; nothing there is tried. One request with this token."""
        body = {"token": service._token, "paths": list(paths)}
        data = self.request("POST", "sys/capabilities", body).data
        return {path: frozenset(data.get(path) or ()) - {"deny"} for path in paths}

    def rotate(self, category: str) -> int:
        """Add a version to a category's key; new wraps use it, old wraps still open. Returns its number."""
        path = f"{self._names.mount}/keys/{self._names.category(category)}"
        self.request("POST", f"{path}/rotate")
        return int(self.request("GET", path).data["latest_version"])

    def request(
        self, method: str, path: str, body: Any = None, *, items: int = 0, expect: Collection[int] = ()
    ) -> Answer:
        """One request with this object's own token, see VaultClient."""
        if not self._token:
            raise KeyServiceRefused("these keys were opened without a token of their own, or closed")
        return self._client.request(method, path, body, token=self._token, items=items, expect=expect)

    def close(self) -> None:
        """Close the connections and forget the token, which stays valid: it is not ours to revoke."""
        self._token = ""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _from_base64url(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
