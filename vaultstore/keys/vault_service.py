"""One purpose's login at Vault or OpenBao: batches of wraps and digests under the ACL of its token."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

from vaultstore.errors import KeyServiceError, KeyServiceRefused
from vaultstore.keys.handle import SecretHandle
from vaultstore.keys.keyfile import KEY_BYTES
from vaultstore.keys.login import LoginEnded
from vaultstore.keys.protocols import KeyKind, KeyVersions, VersionGone
from vaultstore.keys.vault_client import Answer, VaultClient
from vaultstore.keys.vault_names import VaultNames

__all__ = ["VaultKeyService"]

_PARTIAL = 207
_DIGEST_BYTES = 32

T = TypeVar("T")
Results = list[dict[str, Any]]


class VaultKeyService(SecretHandle):
    """The rights of one purpose at Vault, as a KeyService. More than `batch` items go in several requests."""

    __slots__ = ("_batch", "_client", "_names", "_purpose", "_token")

    def __init__(self, client: VaultClient, names: VaultNames, *, purpose: str, token: str, batch: int) -> None:
        """Use `VaultKeys.login`."""
        self._client, self._names, self._purpose, self._token, self._batch = client, names, purpose, token, batch

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        """Wrap data keys, see KeyService. One request for each `batch` items."""
        if any(len(data_key) != KEY_BYTES or not context for context, data_key in items):
            raise KeyServiceRefused(f"a data key has {KEY_BYTES} bytes, and its wrap context is not empty")
        wraps: list[str] = []
        for chunk in self._chunks(items):
            batch = [{"plaintext": _b64(data_key), "context": _b64(context)} for context, data_key in chunk]
            results = self._batched("encrypt", self._names.category(category), batch)
            wraps.extend(_required(result, "ciphertext") for result in results)
        return wraps

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        """Unwrap data keys, see KeyService. One request for each `batch` items; Vault audits `reference` with each."""
        keys: list[bytes | None] = []
        for chunk in self._chunks(items):
            batch = [
                {"ciphertext": wrapped, "context": _b64(context), "reference": reference}
                for context, wrapped in chunk
                if _sendable(context, wrapped)
            ]
            # Without 207 one bad item would fail all; 400 is the answer when every item of the batch is bad.
            partial = {"partial_failure_response_code": _PARTIAL}
            results = self._batched(
                "decrypt", self._names.category(category), batch, extra=partial, expect=(400,), request_id=reference
            )
            if any(result.get("reference") != reference for result in results):
                raise KeyServiceRefused("the key service answered for another reference")
            keys.extend(_spread(chunk, [_data_key(result) for result in results]))
        return keys

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str = "") -> list[str | None]:
        """Wrap again under the newest version, see KeyService. Vault audits `reference` with each request."""
        wraps: list[str | None] = []
        for chunk in self._chunks(items):
            batch = [
                {"ciphertext": wrapped, "context": _b64(context)}
                for context, wrapped in chunk
                if _sendable(context, wrapped)
            ]
            key = self._names.category(category)
            results = self._batched("rewrap", key, batch, expect=(400,), request_id=reference)
            fresh = [None if result.get("error") else _required(result, "ciphertext") for result in results]
            wraps.extend(_spread(chunk, fresh))
        return wraps

    def hmac(self, index: str, values: Sequence[bytes], *, version: int = 1) -> list[bytes]:
        """HMAC-SHA-256 of `values`, see KeyService. One request for each `batch` values."""
        digests: list[bytes] = []
        for chunk in self._chunks(values):
            batch = [{"input": _b64(value)} for value in chunk]
            # Pinned: left to itself Vault takes the newest, and no row that is there would be found.
            extra = {"key_version": version, "algorithm": "sha2-256"}
            name = self._names.index(index)
            answer = self._sent("hmac", name, batch, extra, (400,))
            if answer.status == 400 and any("version" in error for error in answer.errors):
                raise VersionGone(f"the key for the index {index} has no version {version}")
            results = _results(answer, "hmac", name, len(batch))
            digests.extend(_digest(_required(result, "hmac"), version) for result in results)
        return digests

    def versions(self, name: str, kind: KeyKind = "category") -> KeyVersions:
        """The versions of a key, see KeyService. One request."""
        data = self._request("GET", self._key(name, kind), None, 0, (), "").data
        numbers = [data.get(f"{number}_version") for number in ("latest", "min_decryption", "min_available")]
        newest, oldest, kept = (number if isinstance(number, int) else 0 for number in numbers)
        if newest < 1:
            raise KeyServiceRefused(f"the key service says nothing of the versions of {name}")
        return KeyVersions(newest, max(1, oldest), max(1, kept))

    def rotate(self, name: str, kind: KeyKind = "category") -> int:
        """Add a version, see KeyService. Two requests."""
        self._request("POST", f"{self._key(name, kind)}/rotate", {}, 0, (), "")
        return self.versions(name, kind).newest

    def retire(self, name: str, oldest: int, kind: KeyKind = "category") -> None:
        """Close the versions before `oldest`, then trim them away, see KeyService. Two requests and one to look."""
        found, key = self.versions(name, kind), self._key(name, kind)
        if not 1 <= oldest <= found.newest:
            raise KeyServiceRefused(f"the key for the {kind} {name} has no version {oldest} to begin with")
        if found.kept >= oldest:
            return
        # Vault trims nothing that may still be used, in either direction. The numbers never go down.
        least = max(oldest, found.oldest)
        closed = {"min_decryption_version": least, "min_encryption_version": least}
        self._request("POST", f"{key}/config", closed, 0, (), "")
        self._request("POST", f"{key}/trim", {"min_available_version": oldest}, 0, (), "")

    def attempt(self, path: str, body: object) -> int:
        """The status of one POST with this login's token, for who checks what it may do; its answer is dropped."""
        if not self._token:
            raise LoginEnded("this login was closed")
        return self._client.request("POST", path, body, token=self._token, expect=(400, 403, 404, 405)).status

    def close(self) -> None:
        """Revoke the token. Harmless when repeated, and when Vault does not answer: the token ends by itself."""
        token, self._token = self._token, ""
        if token:
            with contextlib.suppress(KeyServiceError):
                self._client.request("POST", "auth/token/revoke-self", token=token)

    def _key(self, name: str, kind: KeyKind) -> str:
        key = self._names.category(name) if kind == "category" else self._names.index(name)
        return f"{self._names.mount}/keys/{key}"

    def _chunks(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        for start in range(0, len(items), self._batch):
            yield items[start : start + self._batch]

    def _batched(
        self,
        verb: str,
        key: str,
        batch: list[dict[str, str]],
        *,
        extra: dict[str, Any] | None = None,
        expect: Collection[int] = (),
        request_id: str = "",
    ) -> Results:
        """One request for a batch: as many results as items, in their order."""
        if not batch:
            return []
        return _results(self._sent(verb, key, batch, extra, expect, request_id), verb, key, len(batch))

    def _sent(
        self,
        verb: str,
        key: str,
        batch: list[dict[str, str]],
        extra: dict[str, Any] | None,
        expect: Collection[int],
        request_id: str = "",
    ) -> Answer:
        path = f"{self._names.mount}/{verb}/{key}"
        body = {"batch_input": batch, **(extra or {})}
        return self._request("POST", path, body, len(batch), expect, request_id)

    def _request(
        self, method: str, path: str, body: object, items: int, expect: Collection[int], request_id: str
    ) -> Answer:
        token = self._token
        if not token:
            raise LoginEnded("this login was closed")
        expect = (403, *expect)
        answer = self._client.request(
            method, path, body, token=token, items=items, expect=expect, request_id=request_id
        )
        if answer.status == 403:
            # Vault says the same to a token that may not and to one that is over; only the latter can't look itself up.
            probe = self._client.request("GET", "auth/token/lookup-self", token=token, expect=(403,))
            if probe.status == 403:
                raise LoginEnded(f"the login of {self._purpose} has expired or was revoked")
            raise KeyServiceRefused(f"the purpose {self._purpose} may not {method} {path}")
        return answer


def _sendable(context: bytes, wrapped: str) -> bool:
    # An empty context, or one without a prefix, makes Vault refuse or misreport the neighbours too.
    return bool(context) and wrapped.startswith("vault:v")


def _spread(chunk: Sequence[tuple[bytes, str]], results: Sequence[T]) -> list[T | None]:
    """Results back in the places of their items; None where an item was not sent."""
    found = iter(results)
    return [next(found) if _sendable(*item) else None for item in chunk]


def _results(answer: Answer, verb: str, key: str, items: int) -> Results:
    results = answer.data.get("batch_results")
    if (
        not isinstance(results, list)
        or len(results) != items
        or not all(isinstance(result, dict) for result in results)
    ):
        raise KeyServiceRefused(f"the key service refused {verb} with {key} (status {answer.status})")
    return results


def _required(result: dict[str, Any], name: str) -> str:
    value = result.get(name)
    if result.get("error") or not isinstance(value, str) or not value:
        raise KeyServiceRefused("the key service refused an item of a batch")
    return value


def _data_key(result: dict[str, Any]) -> bytes | None:
    if result.get("error"):
        return None
    data_key = _unb64(result.get("plaintext", ""))
    return data_key if data_key is not None and len(data_key) == KEY_BYTES else None


def _digest(text: str, version: int) -> bytes:
    digest = _unb64(text.removeprefix(f"vault:v{version}:"))
    if digest is None or len(digest) != _DIGEST_BYTES:
        raise KeyServiceRefused("the key service answered with something that is no HMAC-SHA-256")
    return digest


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unb64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        return None
