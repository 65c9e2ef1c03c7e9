"""The client: the error for each refusal, attempts again where there is no answer, and no token in any text."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from vaultstore.errors import (
    IssueDenied,
    KeyServiceRefused,
    KeyServiceUnavailable,
    SettingsError,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    VaultstoreError,
)
from vaultstore.issuer import IssuerClient
from vaultstore.issuer.app import PEER
from vaultstore.issuer.peers import Peer
from vaultstore.issuer.refusals import REFUSALS, Refused, error_of, refusal_of

from .support import ANNA, assertion
from .test_app import Caller

CRM = Peer(frozenset({"dns:crm.internal"}))


@contextmanager
def listening(folder: Path, handle: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            handle(self)

        def do_POST(self) -> None:
            handle(self)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: object) -> None:
            pass

    path = folder / "s"
    server = ThreadingUnixStreamServer(str(path), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"unix:{path}"
    finally:
        server.shutdown()
        server.server_close()


def through(app: Any) -> Any:
    """Hands requests to the application, as its server would."""

    def handle(handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        environ = {
            "REQUEST_METHOD": handler.command,
            "PATH_INFO": handler.path,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            PEER: CRM,
        }

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            handler.send_response_only(int(status[:3]))
            for name, value in headers:
                handler.send_header(name, value)
            handler.end_headers()

        handler.wfile.write(b"".join(app(environ, start)))

    return handle


def answering(status: int, body: bytes) -> Any:
    def handle(handler: Any) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        handler.send_response_only(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return handle


def test_a_service_gets_tokens_login_tokens_and_keys(tmp_path: Path) -> None:
    call = Caller()
    with listening(tmp_path, through(call.app)) as url, IssuerClient(url) as client:
        token = client.issue(assertion(), "sales.outreach", [ANNA], "c-1", role="matchmaker")
        grant = call.office.verifier.verify(token)
        assert (grant.subjects, grant.case) == ((ANNA,), "c-1")
        assert client.exchange(token).count(".") == 2
        assert client.public_keys().keys() == {"tokens:1"}
        with pytest.raises(IssueDenied, match="opens nothing"):
            client.issue(assertion(), "sales.outreach", [])
        with pytest.raises(IssueDenied, match="may not act for"):
            client.issue(assertion(role="clerk"), "sales.pool")
        with pytest.raises(TokenExpired):
            client.issue(assertion(exp=1), "sales.pool")
        with pytest.raises(TokenInvalid):
            client.issue(assertion(aud="another"), "sales.pool")
        with pytest.raises(KeyServiceRefused, match="does not ask tokens"):
            client.issue(assertion(), "relay.telephony")
        with pytest.raises(TokenInvalid):
            client.exchange("x.y.z")


def test_every_refusal_is_raised_as_its_error() -> None:
    for reason, refusal in REFUSALS.items():
        raised = error_of(refusal.status, reason, "why")
        assert type(raised) is refusal.raised
        assert str(raised) == "why"
    for error in (IssueDenied, TokenExpired, TokenInvalid, TokenRevoked, KeyServiceUnavailable, KeyServiceRefused):
        assert REFUSALS[refusal_of(error("x"))].raised is error
    assert refusal_of(Refused("service.not_served", "x")) == "service.not_served"
    assert refusal_of(VaultstoreError("x")) == "defect"


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (500, b"<html>secret</html>", KeyServiceUnavailable),
        (503, b"", KeyServiceUnavailable),
        (408, b"", KeyServiceUnavailable),
        (404, b"", KeyServiceRefused),
        (413, b"Too Large", KeyServiceRefused),
        (302, b"{}", KeyServiceRefused),
        (400, b'{"reason": "no.such", "error_description": 1}', KeyServiceRefused),
        (400, b'{"reason": {"a": 1}}', KeyServiceRefused),
        (200, b"", KeyServiceUnavailable),
        (200, b"[]", KeyServiceUnavailable),
        (200, b'{"access_token": 1}', KeyServiceUnavailable),
        (200, b'{"access_token": ""}', KeyServiceUnavailable),
    ],
)
def test_an_answer_from_something_else_is_a_typed_error(
    tmp_path: Path, status: int, body: bytes, raised: type[Exception]
) -> None:
    with listening(tmp_path, answering(status, body)) as url, IssuerClient(url, retries=0) as client:
        with pytest.raises(raised) as failed:
            client.exchange("secret-client-token")
        assert "secret" not in str(failed.value)


def test_a_description_is_cut_to_something_printable(tmp_path: Path) -> None:
    body = b'{"reason": "token.invalid", "error_description": "a\\u0000b\\n' + b"x" * 5000 + b'"}'
    with listening(tmp_path, answering(400, body)) as url, IssuerClient(url) as client:
        with pytest.raises(TokenInvalid) as failed:
            client.exchange("t")
        assert str(failed.value).startswith("abxxx")
        assert len(str(failed.value)) == 500


def test_attempts_are_made_again_until_there_is_an_answer(tmp_path: Path) -> None:
    call, asked = Caller(), []

    def handle(handler: Any) -> None:
        asked.append(handler.path)
        if len(asked) < 3:
            answering(503, b"")(handler)
        else:
            through(call.app)(handler)

    with listening(tmp_path, handle) as url, IssuerClient(url) as client:
        assert client.issue(assertion(), "sales.pool")
    assert len(asked) == 3


def test_a_no_is_not_asked_again(tmp_path: Path) -> None:
    asked = []

    def handle(handler: Any) -> None:
        asked.append(1)
        answering(400, b'{"reason": "issue.denied", "error_description": "no"}')(handler)

    with listening(tmp_path, handle) as url, IssuerClient(url) as client, pytest.raises(IssueDenied, match=r"^no$"):
        client.issue("a", "p")
    assert asked == [1]


def test_threads_share_a_client(tmp_path: Path) -> None:
    call = Caller()
    found: list[str] = []
    with listening(tmp_path, through(call.app)) as url, IssuerClient(url) as client:
        threads = [
            threading.Thread(target=lambda n=n: found.append(  # type: ignore[misc]
                call.office.verifier.verify(client.issue(assertion(sub=f"u-{n}"), "sales.pool")).actor.id + f"/u-{n}"
            ))
            for n in range(12)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == sorted(f"u-{n}/u-{n}" for n in range(12))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:80", {}),
        ("https://issuer.example", {}),
        ("https://issuer.example", {"cert": "a.pem"}),
        ("https://issuer.example", {"cert": "/none.pem", "key": "/none.key"}),
        ("unix:issuer.sock", {}),
        ("issuer.example:443", {}),
    ],
)
def test_a_client_without_a_channel_that_is_authenticated_is_not_made(url: str, options: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        IssuerClient(url, **options)  # type: ignore[arg-type]


def test_an_issuer_that_is_down_is_unavailable(tmp_path: Path) -> None:
    with IssuerClient(f"unix:{tmp_path / 'none'}", retries=1) as client:
        for ask in (lambda: client.issue("a", "p"), lambda: client.exchange("t"), client.public_keys):
            with pytest.raises(KeyServiceUnavailable, match="no answer from unix:"):
                ask()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        client = IssuerClient(f"unix:{tmp_path / 'silent'}", retries=0, timeout=0.2)
        with pytest.raises(KeyServiceUnavailable, match="TimeoutError"):
            client.exchange("t")


def test_its_repr_shows_the_url_only(tmp_path: Path) -> None:
    with IssuerClient("unix:/run/issuer.sock") as client:
        assert repr(client) == "<IssuerClient unix:/run/issuer.sock>"
