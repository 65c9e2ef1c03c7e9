"""Asking a third party whether a name and an ID number belong together."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from vaultstore.errors import SettingsError, VaultstoreError

__all__ = ["HttpLookup", "Lookup", "LookupRequest", "LookupUnavailable", "RecordingLookup"]

_LONGEST_ANSWER = 4096


class LookupUnavailable(VaultstoreError):
    """The third party gave no answer that counts."""


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """What is asked. `reference` names the attempt, and tells nothing of the member."""

    reference: str
    name: str = field(repr=False)
    id_number: str = field(repr=False)


class Lookup(Protocol):
    """A third party. Asking twice with one reference has to be harmless."""

    timeout: float
    """Seconds after which it has answered, or raised."""

    def confirms(self, request: LookupRequest) -> bool:
        """Whether name and number belong together. Raises LookupUnavailable."""


class RecordingLookup:
    """For tests: confirms what it was told, and remembers that it was asked, by reference."""

    def __init__(self, *known: tuple[str, str], timeout: float = 0.0) -> None:
        self._known, self.timeout = frozenset(known), timeout
        self.asked: list[str] = []
        self.down = False

    def __repr__(self) -> str:
        return "<RecordingLookup>"

    def confirms(self, request: LookupRequest) -> bool:
        """Whether it was told of this pair of (name, number)."""
        self.asked.append(request.reference)
        if self.down:
            raise LookupUnavailable("the lookup is down")
        return (request.name, request.id_number) in self._known


class HttpLookup:
    """POST of ``{"reference", "name", "id_number"}`` as JSON; the answer is ``{"match": true | false}``.

    `url` is https, or http on this machine only. Raises SettingsError for any other.
    """

    def __init__(self, url: str, *, token: str = "", timeout: float = 5.0, ca: str = "") -> None:
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.hostname is None or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise SettingsError("a lookup's URL is https: names and ID numbers go over it")
        self._parts, self._token, self.timeout, self._ca = parts, token, timeout, ca

    def __repr__(self) -> str:
        return f"<HttpLookup {self._parts.hostname}>"

    def confirms(self, request: LookupRequest) -> bool:
        """Ask once; it is never redirected. Raises LookupUnavailable for whatever is no plain answer."""
        body = json.dumps(
            {"reference": request.reference, "name": request.name, "id_number": request.id_number}, ensure_ascii=False
        )
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.reference}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
            connection.request("POST", path, body.encode(), headers)
            answer = connection.getresponse()
            read = answer.read(_LONGEST_ANSWER + 1)
            told = json.loads(read) if answer.status == 200 and len(read) <= _LONGEST_ANSWER else None
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            told = None
        finally:
            connection.close()
        match = told.get("match") if isinstance(told, dict) else None
        if not isinstance(match, bool):
            raise LookupUnavailable("the lookup gave no answer")  # whatever it was may carry what was asked
        return match

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout)
        context = ssl.create_default_context(cafile=self._ca or None)
        return http.client.HTTPSConnection(host, port, timeout=self.timeout, context=context)
