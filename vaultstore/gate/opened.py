"""A grant in use: its login at the key service, made when first needed, and the data keys it has open."""

from __future__ import annotations

import _thread
import contextlib
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

__all__ = ["Lease", "OpenGrant"]

T = TypeVar("T")


class OpenGrant(SecretHandle):
    """What the sessions of one token share. Made by `Gate.open`; safe to use from several threads.

    Each session holds a lease. With the last of them the login is given back, and the next session logs in anew if
    its keys are not open any more; `close` also forgets the keys, for good.
    """

    __slots__ = ("_closed", "_leases", "_lock", "_login", "_service", "cache", "claims", "grant")

    def __init__(self, grant: Grant, login: Callable[[], KeyService]) -> None:
        self.grant = grant
        self.claims = Claims.of(grant)
        self.cache = KeyCache(grant.expires_at)
        self._login = login
        self._lock = threading.Lock()
        self._service: KeyService | None = None
        self._leases = 0
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

    def lease(self) -> Lease:
        """A session's share in the login."""
        return Lease(self)

    def give_back(self) -> None:
        """The grant is over, or refused for now: forget the keys and end the login. Harmless when repeated."""
        with self._lock:
            service, self._service = self._service, None
        self.cache.clear()
        if service is not None:
            service.close()

    def close(self) -> None:
        """Forget the keys and give the login back; there will be no other. Harmless when repeated."""
        with self._lock:
            self._closed = True
        self.cache.close()
        self.give_back()

    def _count(self, change: int) -> None:
        with self._lock:
            self._leases += change
            service = None
            if self._leases == 0:
                service, self._service = self._service, None
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


class Lease:
    """One session's share in the login of an OpenGrant, from its making until it is given back."""

    __slots__ = ("_held", "_opened")

    def __init__(self, opened: OpenGrant) -> None:
        self._opened = opened
        self._held = False
        self.take()

    def take(self) -> None:
        """Hold it again, after it was given back. Harmless when repeated."""
        if not self._held:
            self._held = True
            self._opened._count(1)

    def give(self) -> None:
        """Give it back; the last one ends the login. Harmless when repeated."""
        if self._held:
            self._held = False
            self._opened._count(-1)

    def drop(self) -> None:
        """Give it back from a finalizer.

        In a thread of its own: the garbage collector may run while this one holds the very locks that it takes.
        """
        if self._held:
            with contextlib.suppress(RuntimeError):  # at the interpreter's end there are no new threads
                _thread.start_new_thread(self.give, ())
