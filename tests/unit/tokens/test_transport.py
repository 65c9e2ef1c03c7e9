"""Requests to the issuer or a provider: where they may go, how they end, and public keys that come that way."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vaultstore.errors import KeyServiceRefused, KeyServiceUnavailable, SettingsError
from vaultstore.tokens import JwksKeys, Verifier, jwks
from vaultstore.tokens.jwks import GRACE, PAUSE
from vaultstore.tokens.transport import Transport, private_file

from .support import World


@contextmanager
def http(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def say(body: bytes, status: int = 200, **headers: str) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def raw(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection at a time that does what `script` does with it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    made, _ = listening.accept()
                except TimeoutError:
                    continue
                with made:
                    script(made)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example",
        "http://10.0.0.1:80",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "ftp://localhost",
        "localhost:80",
        "https://",
        "https://host:99999",
        "https://host:x",
        "https://[::1",
        "https://user:secret-word@host",
        "https://host/#part",
        "https://host/a b",
        "unix:relative",
        "unix:",
        "unix:/a\0b",
        "",
    ],
)
def test_a_url_that_leaves_the_machine_in_clear_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Transport(url)
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "unix:/nowhere/s"])
def test_nobody_at_home_is_unavailable(url: str) -> None:
    with pytest.raises(KeyServiceUnavailable, match="no answer from"):
        Transport(url).request("GET", "/")


def test_a_connection_is_used_again() -> None:
    ports: set[int] = set()

    def answer(handler: Any) -> None:
        ports.add(handler.client_address[1])
        say(b"{}")(handler)

    with http(answer) as url:
        transport = Transport(url)
        for _ in range(5):
            assert transport.request("POST", "/", b"x", "text/plain").status == 200
        transport.close()
        transport.request("GET", "/")
        transport.close()
    assert len(ports) == 2


def test_a_connection_that_went_stale_costs_nothing() -> None:
    answered: list[int] = []

    def script(made: socket.socket) -> None:
        made.recv(65536)
        made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        answered.append(1)  # and closes, without having said so

    with raw(script) as url:
        transport = Transport(url)
        for _ in range(3):
            assert transport.request("GET", "/").body == b"{}"
            time.sleep(0.05)
        transport.close()
    assert len(answered) == 3


def test_a_forked_process_opens_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int] = []

    def answer(handler: Any) -> None:
        ports.append(handler.client_address[1])
        say(b"{}")(handler)

    with http(answer) as url:
        transport = Transport(url)
        transport.request("GET", "/")
        monkeypatch.setattr(os, "getpid", lambda: 1)
        transport.request("GET", "/")
        transport.close()
    assert len(set(ports)) == 2


def test_an_answer_that_is_too_long_is_not_read() -> None:
    with http(say(b"x" * 2000)) as url, pytest.raises(KeyServiceUnavailable, match="too long an answer"):
        Transport(url, limit=1000).request("GET", "/")


def test_an_answer_that_is_cut_off_is_none() -> None:
    def script(made: socket.socket) -> None:
        made.recv(65536)
        made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}")

    with raw(script) as url, pytest.raises(KeyServiceUnavailable, match="IncompleteRead"):
        Transport(url).request("GET", "/")


@pytest.mark.parametrize("pause", [30.0, 0.1])
def test_a_slow_server_does_not_hold_a_caller(pause: float) -> None:
    over = threading.Event()

    def script(made: socket.socket) -> None:
        made.recv(65536)
        made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while not over.wait(pause):
                made.sendall(b"x")
        except OSError:
            pass

    with raw(script) as url:
        with pytest.raises(KeyServiceUnavailable, match="TimeoutError"):
            Transport(url, timeout=0.5).request("GET", "/")
        over.set()


def test_no_redirect_is_followed() -> None:
    asked: list[str] = []

    def answer(handler: Any) -> None:
        asked.append(handler.path)
        say(b"", 302, Location="/elsewhere")(handler)

    with http(answer) as url:
        assert Transport(url).request("GET", "/jwks").status == 302
    assert asked == ["/jwks"]


def test_what_was_sent_stands_in_no_error() -> None:
    def script(made: socket.socket) -> None:
        made.sendall(made.recv(65536))  # echoes

    with raw(script) as url, pytest.raises(KeyServiceUnavailable) as failed:
        Transport(url).request("POST", "/", b"secret-token", "text/plain")
    assert "secret-token" not in repr(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o666, 0o601])
def test_a_private_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    path.write_text("x")
    path.chmod(mode)
    with pytest.raises(SettingsError, match="is open to others"):
        private_file(path, "the private key")


def test_a_private_key_may_be_a_groups_to_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("x")
    for mode in (0o600, 0o400, 0o640):
        path.chmod(mode)
        assert private_file(path, "the private key") == path
    with pytest.raises(SettingsError, match="not a regular file"):
        private_file(tmp_path, "the private key")
    with pytest.raises(SettingsError, match="can't be read"):
        private_file(tmp_path / "none", "the private key")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://host", {"cert": "a"}),
        ("https://host", {"ca": "/nowhere.pem"}),
        ("http://localhost", {"ca": "a"}),
        ("unix:/s", {"cert": "a", "key": "b"}),
    ],
)
def test_files_that_can_not_be_used_are_settings_errors(url: str, options: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        Transport(url, **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ JWKS from a URL


class Published:
    """Serves the JWKS of a world, and can break."""

    def __init__(self, world: World) -> None:
        self.world, self.asked = world, 0
        self.body: bytes | None = None
        self.status = 200

    def __call__(self, handler: Any) -> None:
        self.asked += 1
        say(json.dumps(jwks(self.world.keys)).encode() if self.body is None else self.body, self.status)(handler)


def test_a_reader_verifies_with_a_url_alone(world: World) -> None:
    published = Published(world)
    with http(published) as url:
        reader = Verifier(JwksKeys.from_url(url + "/keys"), world.policy, "vaultstore", world.clock)
        for _ in range(10):
            reader.verify(world.token())
        assert published.asked == 1


def test_a_new_key_is_read_when_it_is_needed_but_made_up_ones_are_no_load(world: World) -> None:
    published = Published(world)
    with http(published) as url:
        reader = Verifier(JwksKeys.from_url(url), world.policy, "vaultstore", world.clock)
        reader.verify(world.token())
        world.keys.rotate()
        world.later(seconds=10)
        reader.verify(world.token())
        for n in range(20):
            with pytest.raises(Exception, match="a key that is not known"):
                reader.verify(world.forge(header={"kid": f"made-up:{n}"}))
        assert published.asked == 2


def test_nothing_is_asked_before_the_keys_are() -> None:
    assert repr(JwksKeys.from_url("http://127.0.0.1:1/keys")) == "<JwksKeys http://127.0.0.1:1/keys>"


class Source:
    """A JWKS and a clock that a test moves."""

    def __init__(self, world: World) -> None:
        self.world, self.now, self.down, self.asked = world, 5000.0, False, 0
        self.keys = JwksKeys("the issuer", self.fetch, seconds=lambda: self.now)

    def fetch(self) -> bytes:
        self.asked += 1
        if self.down:
            raise KeyServiceUnavailable("no answer from the issuer")
        return json.dumps(jwks(self.world.keys)).encode()


def test_the_last_keys_serve_for_an_hour_without_the_issuer(world: World) -> None:
    source = Source(world)
    known = source.keys()
    source.down = True
    source.now += GRACE - 1
    assert source.keys() == known
    source.now += PAUSE
    with pytest.raises(KeyServiceUnavailable, match="no answer from the issuer"):
        source.keys()
    source.down = False
    source.now += PAUSE
    assert source.keys() == known


def test_an_issuer_that_is_down_is_not_asked_at_every_token(world: World) -> None:
    source = Source(world)
    source.down = True
    for _ in range(20):
        with pytest.raises(KeyServiceUnavailable):
            source.keys()
    assert source.asked == 1
    source.now += PAUSE
    source.down = False
    assert source.keys()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),
        (b"", 200),
        (b"<html>", 200),
        (b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AA", "d": "AA"}]}', 200),
        (b'{"keys": []}', 500),
        (b'{"keys": []}', 302),
    ],
)
def test_what_is_no_jwks_of_public_keys_never_replaces_one(world: World, body: bytes, status: int) -> None:
    published = Published(world)
    with http(published) as url:
        keys = JwksKeys.from_url(url)
        known = keys()
        published.body, published.status = body, status
        assert keys() == known
        with pytest.raises(KeyServiceUnavailable):
            JwksKeys.from_url(url)()


def test_a_server_that_refuses_tls_is_no_keys(world: World) -> None:
    with http(Published(world)) as url, pytest.raises((KeyServiceUnavailable, KeyServiceRefused)):
        JwksKeys.from_url(url.replace("http:", "https:"))()
