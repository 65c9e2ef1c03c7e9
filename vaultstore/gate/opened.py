"""A grant in use: its login at the key service, made when first needed, and the data keys it has open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from vaultstore.errors import KeyServiceRefused
from vaultstore.gate.cache import KeyCache
from vaultstore.gate.claims import Claims
from vaultstore.gate.protocol import KeyRef
from vaultstore.grants import Grant
from vaultstore.keys import KeyService, LoginEnded
from vaultstore.keys.handle import SecretHandle

__all__ = ["OpenGrant"]

T = TypeVar("T")


class OpenGrant(SecretHandle):
    """What the sessions of one token share. Made by `Gate.open`; safe to use from several threads.

    Close it when the last session is done: its keys are forgotten and its login is given back.
    """

    __slots__ = ("_closed", "_lock", "_login", "_service", "cache", "claims", "grant")

    def __init__(self, grant: Grant, login: Callable[[], KeyService]) -> None:
        self.grant = grant
        self.claims = Claims.of(grant)
        self.cache = KeyCache(grant.expires_at)
        self._login = login
        self._lock = threading.Lock()
        self._service: KeyService | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<OpenGrant {self.grant.jti} {self.grant.purpose.name}>"

    def ask(self, request: Callable[[KeyService], T]) -> T:
        """Run a request at the key service under this grant's login, logging in where there is none.

        A login that ended by itself is made anew, once. Raises KeyServiceUnavailable or KeyServiceRefused.
        """
        service = self._logged_in(None)
        try:
            return request(service)
        except LoginEnded:
            service = self._logged_in(service)
        return request(service)

    def committed(self, minted: Iterable[KeyRef]) -> None:
        """The transaction that these keys were minted in is committed: this grant may seal under them again."""
        self.cache.allow_reuse(minted)

    def rolled_back(self, minted: Iterable[KeyRef]) -> None:
        """The transaction that these keys were minted in, or a savepoint of it, is undone: they don't exist."""
        self.cache.drop(minted)

    def close(self) -> None:
        """Forget the keys and give the login back. Harmless when repeated."""
        with self._lock:
            self._closed = True
            service, self._service = self._service, None
        self.cache.close()
        if service is not None:
            service.close()

    def _logged_in(self, ended: KeyService | None) -> KeyService:
        """The current login; a new one where there is none, or where the current one is `ended`."""
        with self._lock:
            if self._closed:
                raise KeyServiceRefused("this grant was closed")
            if self._service is None or self._service is ended:
                self._service = self._login()
            return self._service
