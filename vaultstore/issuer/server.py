"""Runs the issuer's application: a cheroot server on mutual TLS or on a Unix socket, and on nothing else."""

from __future__ import annotations

import errno
import logging
import os
import queue
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cheroot.wsgi import Server

from vaultstore.errors import SettingsError
from vaultstore.issuer.config import Listen
from vaultstore.issuer.connections import Connection, Deadlines, TlsAdapter, server_context

__all__ = ["IssuerServer"]

_WORKERS = 16
_WAITING = 64  # requests that wait for a worker; more are turned away
_IDLE = 256  # connections that lie idle
_IDLE_SECONDS = 30
_REQUEST_SECONDS = 10.0
_HEADER_BYTES = 8 * 1024
_BODY_BYTES = 64 * 1024  # the application allows less, and says so in JSON

_log = logging.getLogger("vaultstore.issuer")


class IssuerServer:
    """A server that is started and stopped once.

    `request_seconds` is what one request may take, TLS included. Raises SettingsError where it can't listen as told.
    """

    def __init__(self, app: Callable[..., Any], listen: Listen, *, request_seconds: float = _REQUEST_SECONDS) -> None:
        if "LISTEN_PID" in os.environ:  # cheroot would serve that socket in clear, whatever it was told
            raise SettingsError("socket activation (LISTEN_PID) is not supported: name the socket in issuer.toml")
        self._listen = listen
        self._server = _Server(app, listen, request_seconds)
        self._thread = threading.Thread(target=self._serve, name="issuer")

    def __repr__(self) -> str:
        return f"<IssuerServer {self._listen.socket or self._listen.host}>"

    def start(self) -> str:
        """Listen and serve in a thread; the URL where it does."""
        try:
            self._server.prepare()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error.__cause__ or error)
            raise SettingsError(f"the issuer can't listen: {reason}") from None
        self._server.deadlines.start()
        self._thread.start()
        if self._listen.socket is not None:
            return f"unix:{self._listen.socket}"
        host, port = self._server.bind_addr
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the requests that have begun, then close everything."""
        self._server.stop()
        self._thread.join()
        self._server.deadlines.stop()
        self._server.unlink()

    def _serve(self) -> None:
        try:
            self._server.serve()
        except Exception as error:  # noqa: BLE001 - the thread ends; its owner sees that by `alive`
            _log.critical("the server ended", extra={"fields": {"defect": type(error).__name__}})


class _Server(Server):
    ConnectionClass = Connection
    max_request_header_size = _HEADER_BYTES
    max_request_body_size = _BODY_BYTES
    keep_alive_conn_limit = _IDLE

    def __init__(self, app: Callable[..., Any], listen: Listen, request_seconds: float) -> None:
        super().__init__(
            str(listen.socket) if listen.socket is not None else (listen.host, listen.port),
            app,
            numthreads=_WORKERS,
            max=_WORKERS,
            server_name="vaultstore",
            request_queue_size=128,
            timeout=_IDLE_SECONDS,
            accepted_queue_size=_WAITING,
            accepted_queue_timeout=0,
        )
        self.software = "vaultstore"
        self.deadlines = Deadlines(request_seconds)
        self._socket_path, self._socket_mode = listen.socket, listen.mode
        self._socket_inode = 0
        if listen.socket is None:
            assert listen.cert is not None
            assert listen.key is not None
            assert listen.client_ca is not None
            self.ssl_adapter = TlsAdapter(server_context(listen.cert, listen.key, listen.client_ca))

    def process_conn(self, conn: Connection) -> None:
        """Give a connection that has something to read to a worker; a new one waits until it has."""
        if not conn.waited:
            conn.waited = True
            if self.can_add_keepalive_connection:
                self.put_conn(conn)
            else:
                conn.close()
            return
        try:
            self.requests.put(conn)
        except queue.Full:
            conn.close()  # an answer would take a worker, for the handshake if for nothing else

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """To our log, without tracebacks: they would show what was sent."""
        if msg == f"socket.error {ssl.SSL_ERROR_EOF}":
            return  # a client that went without saying so
        _log.log(level, "connection", extra={"fields": {"detail": msg}})

    def bind_unix_socket(self, bind_addr: str) -> socket.socket:
        """Bind with the mode that was asked for from the first moment. Raises OSError or SettingsError."""
        path = Path(bind_addr)
        _remove_stale(path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(made.fileno(), self._socket_mode)  # Linux makes the file with the socket's own mode
            made.bind(bind_addr)
            path.chmod(self._socket_mode)  # the umask may have taken the group's part
            self._socket_inode = path.stat().st_ino
        except BaseException:
            made.close()
            raise
        self.bind_addr, self.socket = bind_addr, made
        return made

    def unlink(self) -> None:
        """Remove the Unix socket, if it is still this server's."""
        if self._socket_path is not None and self._socket_inode:
            try:
                if self._socket_path.stat().st_ino == self._socket_inode:
                    self._socket_path.unlink()
            except OSError:
                pass  # gone already


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed. Raises SettingsError where `path` is anything else, or in use."""
    folder = path.parent.stat()
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        raise SettingsError(
            f"{path.parent} can be written by everybody: another socket could be put in this one's place"
        )
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingsError(f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
        else:
            raise SettingsError(f"another process listens on {path}")
    path.unlink()
