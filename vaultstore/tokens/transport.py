"""Requests to a web server that tokens depend on: the issuer, or whoever publishes public keys.

The standard library's client, held to what we need of it: TLS or nothing that leaves the machine, no proxies, no
redirects, bounded answers, connections that are used again. What is sent never stands in an error.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vaultstore.errors import KeyServiceRefused, KeyServiceUnavailable, SettingsError

__all__ = ["Answer", "Transport", "private_file"]

_IDLE = 8  # connections kept for the next request
_CHUNK = 64 * 1024
_STALE = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connection fails that the server closed while it lay idle."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body, which may hold a token."""

    status: int
    body: bytes = field(repr=False)


class Transport:
    """Connections to one server. Safe to use from several threads, and after a fork.

    `url` is ``https://host[:port]``, ``http://`` to this machine, or ``unix:/path``; `ca` the path of a CA bundle in
    place of the system's; `cert` and `key` the paths of the client's certificate and private key; `timeout` the
    seconds that one request may take; `limit` the bytes that an answer may have. Raises SettingsError.
    """

    def __init__(
        self, url: str, *, ca: str = "", cert: str = "", key: str = "", timeout: float = 5.0, limit: int = 1024 * 1024
    ) -> None:
        self._timeout, self._limit = timeout, limit
        self._scheme, self._host, self._port, self.path = _place(url)
        self.name = url
        if self._scheme != "https" and (ca or cert or key):
            raise SettingsError(f"{url}: only https takes a CA or a certificate")
        self._tls = _context(ca, cert, key) if self._scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Transport {self.name}>"

    def request(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Answer:
        """Send one request. Raises KeyServiceUnavailable (no answer) or KeyServiceRefused (TLS said no)."""
        deadline = time.monotonic() + self._timeout
        connection = self._take()
        while True:
            reused = connection is not None
            connection = connection or self._connection()
            try:
                return self._exchange(connection, method, path, body, content_type, deadline)
            except BaseException as error:
                connection.close()
                if not isinstance(error, (OSError, http.client.HTTPException)):
                    raise
                # A connection that was idle may have been closed by the server: that says nothing of the server.
                if not (reused and isinstance(error, _STALE)):
                    failure = self._failure(error)
                    break
            connection = None
        # Outside the handler: an error of http.client can hold lines of what came back.
        raise failure

    def close(self) -> None:
        """Close idle connections. Harmless when repeated; a later request opens a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str,
        deadline: float,
    ) -> Answer:
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if content_type else {})}
        connection.timeout = _left(deadline)
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        connection.request(method, path, body=body, headers=headers)
        connection.sock.settimeout(_left(deadline))
        sock = connection.sock  # getresponse forgets it where the server closes
        response = connection.getresponse()
        parts, size = [], 0
        while part := response.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise http.client.HTTPException("too long an answer")
            sock.settimeout(_left(deadline))
        if response.length:  # read1 takes an early end for the end
            raise http.client.IncompleteRead(b"")
        response.close()  # read1 does not notice the end, and the connection would wait for it
        if response.will_close or not self._give(connection):
            connection.close()
        return Answer(response.status, b"".join(parts))

    def _connection(self) -> http.client.HTTPConnection:
        if self._scheme == "unix":
            return _UnixConnection(self._host, self._timeout)
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._pid != os.getpid():
                # The parent writes to these: two processes on one connection would read each other's tokens.
                for connection in self._idle:
                    connection.close()  # our end only: nothing is sent
                self._idle, self._pid = [], os.getpid()
            return self._idle.pop() if self._idle else None

    def _give(self, connection: http.client.HTTPConnection) -> bool:
        with self._lock:
            if len(self._idle) < _IDLE and self._pid == os.getpid():
                self._idle.append(connection)
                return True
            return False

    def _failure(self, error: Exception) -> KeyServiceUnavailable | KeyServiceRefused:
        if isinstance(error, ssl.SSLCertVerificationError):
            return KeyServiceRefused(f"the certificate of {self.name} does not verify: {error.verify_message}")
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return KeyServiceRefused(f"{self.name} refused the TLS connection ({error.reason})")
        if isinstance(error, PermissionError):
            return KeyServiceRefused(f"this account may not connect to {self.name}")
        reason = "too long an answer" if str(error) == "too long an answer" else type(error).__name__
        return KeyServiceUnavailable(f"no answer from {self.name} ({reason})")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self._path)
        except BaseException:
            made.close()
            raise
        self.sock = made


def private_file(path: Path | str, what: str) -> Path:
    """`path`, a private key that nobody else can read or change. Raises SettingsError."""
    path = Path(path)
    try:
        found = path.stat()
    except OSError as error:
        raise SettingsError(f"{what} {path} can't be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{what} {path} is not a regular file")
    if found.st_mode & 0o027:  # a group may read it: keys are handed out that way
        mode = stat.S_IMODE(found.st_mode)
        raise SettingsError(f"{what} {path} is open to others (mode {mode:04o}): chmod 600 it")
    if found.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"{what} {path} belongs to another account (uid {found.st_uid})")
    return path


def _place(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host (or socket's path), port and path of a URL. Raises SettingsError."""
    if url.startswith("unix:"):
        socket_path = url.removeprefix("unix:")
        if not socket_path.startswith("/") or "\0" in socket_path:
            raise SettingsError(f"{url!r} is not unix: and an absolute path")
        return "unix", socket_path, None, "/"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"{url!r} is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError("a URL holds a user or password: leave them out")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise SettingsError(f"{url!r} is not https://host, http:// to this machine, or unix:/path")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise SettingsError(f"{url!r} leaves this machine in clear: use https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise SettingsError(f"{url!r} has a path that must be percent-encoded")
    return parts.scheme, parts.hostname, port, path


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    if bool(cert) != bool(key):
        raise SettingsError("a client certificate and its key go together: give both or neither")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError:  # ssl.SSLError is one
        raise SettingsError(f"{ca} can't be read, or is no bundle of CA certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        private_file(key, "the private key")
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except OSError:
            raise SettingsError(f"{cert} and {key} are not a certificate and its key, without a password") from None
    return context


def _no_password() -> str:
    raise OSError("a password is asked for")  # in place of OpenSSL's own prompt on the terminal


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
