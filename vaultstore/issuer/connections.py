"""What is added to cheroot's connections: TLS in a worker, a deadline for each request, and the name of the peer.

Left to itself cheroot shakes hands in the thread that accepts, so that one silent client stalls all others, and times
each read of a socket, so that a client that sends a byte now and then keeps a worker for good.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cheroot.makefile import StreamReader, StreamWriter
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl import Adapter

from vaultstore.errors import SettingsError
from vaultstore.issuer.app import PEER
from vaultstore.issuer.peers import certificate_peer, socket_peer
from vaultstore.tokens.transport import private_file

__all__ = ["Connection", "Deadlines", "TlsAdapter", "server_context"]


_LINGER = 0.5  # seconds


class Request(HTTPRequest):
    """A request whose body has a length that is told beforehand."""

    def read_request_headers(self) -> bool:
        """Read the headers; False, with an answer sent, where they are not ours."""
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        length = self.inheaders.get(b"Content-Length", b"0")
        if self.chunked_read or not length.isdigit():  # int() takes a sign, spaces and underscores, too
            self.close_connection = True
            self.simple_response("411 Length Required")
            return False
        return True


class Connection(HTTPConnection):
    """A connection that knows its peer before it reads a request."""

    RequestHandlerClass = Request
    greeted = False
    waited = False
    """Whether it lay with the idle ones until something came: a silent client costs no worker."""

    def communicate(self) -> bool:
        """Serve one request within the server's deadline. True where the connection may stay open."""
        with self.server.deadlines.over(self.socket):
            if not self.greeted:
                try:
                    self.ssl_env = {PEER: self._peer()}
                except OSError as error:  # ssl.SSLError is one
                    reason = getattr(error, "reason", None) or type(error).__name__
                    self.server.error_log(f"connection from {self.remote_addr or 'the socket'} refused: {reason}")
                    self._linger()
                    return False
                self.greeted = True
            return bool(super().communicate())  # type: ignore[no-untyped-call]

    def _linger(self) -> None:
        """Let a client that sent more read why it was refused: closing on unread data would reset the connection."""
        with suppress(OSError):
            self.socket.settimeout(_LINGER)
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
            for _ in range(16):
                if not socket.socket.recv(self.socket, 4096):
                    break

    def _peer(self) -> Any:
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.do_handshake()
            return certificate_peer(self.socket.getpeercert(binary_form=True))
        return socket_peer(self.socket)


class TlsAdapter(Adapter):
    """Wraps sockets without shaking hands: that is the worker's."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        """The listening socket stays as it is."""
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        """A TLS socket that has not shaken hands."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}

    def get_environ(self) -> dict[str, Any]:
        """Nothing: `Connection` says who the peer is."""
        return {}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
        """The socket as a file."""
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


class Deadlines:
    """Shuts sockets down whose time is over. One thread watches them all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def over(self, sock: socket.socket) -> _Watch:
        """A context in which `sock` has the deadline."""
        return _Watch(self, sock)

    def begin(self, sock: socket.socket) -> None:
        """Start the time of `sock`."""
        with self._lock:
            self._ends[sock] = time.monotonic() + self._seconds

    def end(self, sock: socket.socket) -> None:
        """Its request is served."""
        with self._lock:
            self._ends.pop(sock, None)

    def _watch(self) -> None:
        while not self._stopped.wait(min(0.25, self._seconds / 4)):
            with self._lock:
                now = time.monotonic()
                for sock in [sock for sock, end in self._ends.items() if end <= now]:
                    del self._ends[sock]
                    with suppress(OSError):  # the client may have been faster
                        # Not SSLSocket's own, which would turn what the worker writes next into clear text.
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Watch:
    def __init__(self, deadlines: Deadlines, sock: socket.socket) -> None:
        self._deadlines, self._sock = deadlines, sock

    def __enter__(self) -> None:
        self._deadlines.begin(self._sock)

    def __exit__(self, *raised: object) -> None:
        self._deadlines.end(self._sock)


def server_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS 1.3 with a client certificate that `client_ca` signed, asked for at each connection. Raises SettingsError."""
    private_file(key, "the private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # a resumed session would skip the certificate, which may have ended since
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except OSError:
        raise SettingsError(f"{cert} and {key} are not a certificate and its key, without a password") from None
    try:
        context.load_verify_locations(client_ca)
    except OSError:
        raise SettingsError(f"{client_ca} can't be read, or is no bundle of CA certificates") from None
    return context


def _no_password() -> str:
    raise OSError("a password is asked for")  # in place of OpenSSL's own prompt on the terminal
