"""A small witness of transparency logs (c2sp.org/tlog-witness), for tests and for trying things out.

It remembers the largest checkpoint it has signed of each log, in a file, and signs only what continues it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstore import merkle
from vaultstore.audit.checkpoint import Checkpoint, decode, encode, number
from vaultstore.errors import ProofError
from vaultstore.signed_note import COSIGNATURE, Note, NoteKey, cosign

__all__ = ["WitnessServer"]

_LARGEST = 1024 * 1024
_EMPTY = encode(merkle.root([]))


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, body: str = "", kind: str = "text/plain") -> None:
        super().__init__(status)
        self.status, self.body, self.kind = status, body, kind


class WitnessServer:
    """A witness on a free loopback port. `logs` are the keys it trusts for each origin; `state` is its file.

    `clock` gives POSIX seconds. Use it with ``with``, or `start()` and `close()`.
    """

    def __init__(self, name: str, logs: Mapping[str, Sequence[NoteKey]], state: Path, clock: Any = time.time) -> None:
        self._secret = Ed25519PrivateKey.generate()
        self.key = NoteKey(name, self._secret.public_key().public_bytes_raw(), COSIGNATURE)
        self._logs, self._state, self._clock = dict(logs), state, clock
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __repr__(self) -> str:
        return f"<WitnessServer {self.key.name}>"

    @property
    def url(self) -> str:
        """Prefix of ``/add-checkpoint``."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __str__(self) -> str:
        """``KEY@URL``, as settings take it."""
        return f"{self.key}@{self.url}"

    def start(self) -> Self:
        """Begin to serve, in a thread."""
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                try:
                    length = int(self.headers.get("Content-Length", 0))
                    if self.path != "/add-checkpoint" or not 0 < length <= _LARGEST:
                        raise _Refused(HTTPStatus.NOT_FOUND)
                    status, body, kind = HTTPStatus.OK, witness.sign(self.rfile.read(length)), "text/plain"
                except _Refused as refused:
                    status, body, kind = refused.status, refused.body, refused.kind
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base names it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def close(self) -> None:
        """Stop serving. Harmless when repeated."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def sign(self, request: bytes) -> str:
        """The signature line for a request body; raises what refuses it."""
        try:
            old, proof, note = _parse(request)
            checkpoint = Checkpoint.parse(note.text)
        except ProofError as flaw:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(flaw)) from None
        if checkpoint.origin not in self._logs:
            raise _Refused(HTTPStatus.NOT_FOUND)
        try:
            note.verify(self._logs[checkpoint.origin])
        except ProofError:
            raise _Refused(HTTPStatus.FORBIDDEN) from None
        if old > checkpoint.size:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        with self._lock:
            states: dict[str, Any] = json.loads(self._state.read_text()) if self._state.exists() else {}
            known = states.get(checkpoint.origin, {"size": 0, "root": _EMPTY})
            if old != known["size"] or (old == checkpoint.size and old and encode(checkpoint.root) != known["root"]):
                raise _Refused(HTTPStatus.CONFLICT, f"{known['size']}\n", "text/x.tlog.size")
            try:
                root = decode(known["root"], "the root on record")
                merkle.verify_consistency(old, checkpoint.size, proof, root, checkpoint.root)
            except ProofError:
                raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY) from None
            states[checkpoint.origin] = {"size": checkpoint.size, "root": encode(checkpoint.root)}
            part = self._state.with_suffix(".part")
            part.write_text(json.dumps(states))
            part.replace(self._state)  # before the signature leaves
        return str(cosign(note.text, self.key, self._secret.sign, int(self._clock())))


def _parse(request: bytes) -> tuple[int, list[bytes], Note]:
    try:
        head, blank, rest = request.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ProofError("a request is text") from None
    first, *hashes = head.split("\n")
    if not blank or not first.startswith("old ") or len(hashes) > 63:
        raise ProofError("a request is an old size, at most 63 hashes, an empty line and a checkpoint")
    return number(first.removeprefix("old "), "the old size"), [decode(h, "a hash") for h in hashes], Note.parse(rest)
