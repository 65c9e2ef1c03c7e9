"""What an attacker tries against a running issuer: borrowed certificates, forged assertions, endless requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from vaultstore.errors import (
    IssueDenied,
    KeyServiceError,
    KeyServiceRefused,
    KeyServiceUnavailable,
    TokenExpired,
    TokenInvalid,
)
from vaultstore.issuer import IssuerClient

from .conftest import Clients
from .support import Authority, Provider, Serving, claims

pytestmark = pytest.mark.integration


@contextmanager
def connected(serving: Serving, authority: Authority, cert: tuple[Path, Path] | None = None) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(authority.path))
    if cert:
        context.load_cert_chain(*cert)
    with (
        socket.create_connection(("localhost", int(serving.url.rpartition(":")[2])), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as made,
    ):
        yield made


def everything(made: socket.socket) -> bytes:
    found = b""
    with suppress(OSError):
        while part := made.recv(65536):
            found += part
    return found


# ------------------------------------------------------------------------------------------------ who asks


def test_nobody_gets_in_without_a_certificate(tls: Serving, authority: Authority) -> None:
    with connected(tls, authority) as made:
        # With TLS 1.3 the server says so after the client's own part of the handshake.
        with suppress(OSError):
            made.sendall(b"GET /jwks HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in everything(made)


def test_a_certificate_of_another_authority_is_refused(clients: Clients, provider: Provider, tmp_path: Path) -> None:
    stranger = clients("crm", x509.DNSName("crm.internal"), by=Authority(tmp_path / "other"))
    with pytest.raises(KeyServiceError):
        stranger.issue(provider.assertion(), "sales.pool")


def test_a_certificate_that_has_ended_is_refused(clients: Clients, provider: Provider) -> None:
    with pytest.raises(KeyServiceError):
        clients("crm", x509.DNSName("crm.internal"), ends=-timedelta(hours=1)).issue(provider.assertion(), "sales.pool")


def test_a_servers_certificate_is_no_clients(clients: Clients, provider: Provider) -> None:
    with pytest.raises(KeyServiceError):
        clients("crm", x509.DNSName("crm.internal"), server=True).issue(provider.assertion(), "sales.pool")


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("evil.internal")],
        [x509.DNSName("crm.internal.evil")],
        [x509.DNSName("*.internal")],
        [x509.DNSName("crm.internal"), x509.DNSName("desk.internal")],
        [],
    ],
)
def test_a_sound_certificate_of_nobody_gets_no_token(
    clients: Clients, provider: Provider, names: list[x509.GeneralName]
) -> None:
    with pytest.raises(KeyServiceRefused, match="is no service's"):
        clients("crm.internal", *names).issue(provider.assertion(), "sales.pool")


def test_another_service_exchanges_nothing_and_asks_for_nothing(
    clients: Clients, crm: IssuerClient, provider: Provider
) -> None:
    token = crm.issue(provider.assertion(), "sales.pool")
    for relay in (clients("relay"), clients("x", x509.UniformResourceIdentifier("spiffe://example/relay"))):
        with pytest.raises(KeyServiceRefused, match=r"service relay does not serve sales\.pool"):
            relay.exchange(token)
        with pytest.raises(KeyServiceRefused, match="does not ask tokens"):
            relay.issue(provider.assertion(), "sales.pool")


def test_a_server_that_the_client_does_not_trust_gets_no_token(
    tls: Serving, authority: Authority, provider: Provider, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    cert, key = authority.leaf("crm", x509.DNSName("crm.internal"))
    there = tls.url.replace("localhost", "127.0.0.1")  # the certificate is localhost's
    for url, ca in ((tls.url, other.path), (there, authority.path)):
        client = IssuerClient(url, cert=str(cert), key=str(key), ca=str(ca))
        with pytest.raises(KeyServiceRefused, match="does not verify"):
            client.issue(provider.assertion(), "sales.pool")


def test_clear_text_gets_nothing_on_the_tls_port(tls: Serving) -> None:
    with socket.create_connection(("localhost", int(tls.url.rpartition(":")[2])), timeout=30) as plain:
        plain.sendall(b"GET /jwks HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in everything(plain)


# ------------------------------------------------------------------------------------------------ what they bring


def segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def test_forged_assertions_are_refused(crm: IssuerClient, provider: Provider) -> None:
    sound = provider.assertion()
    _, body, signature = sound.split(".")
    other = ed25519.Ed25519PrivateKey.generate()
    own = segment({"alg": "EdDSA", "kid": "ed"}) + "." + body
    public = provider.keys["rsa"][1].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    mac = segment({"alg": "HS256", "kid": "rsa"}) + "." + body
    forged = {
        "alg none": segment({"alg": "none", "kid": "ed"}) + "." + body + ".AA",
        "alg none without signature": segment({"alg": "none"}) + "." + body + ".",
        "another key": own + "." + base64.urlsafe_b64encode(other.sign(own.encode())).rstrip(b"=").decode(),
        "the public key as a secret": mac
        + "."
        + base64.urlsafe_b64encode(hmac.new(pem, mac.encode(), hashlib.sha256).digest()).rstrip(b"=").decode(),
        "another algorithm's header": segment({"alg": "ES256", "kid": "ed"}) + "." + body + "." + signature,
        "another audience": provider.assertion(aud="another-app"),
        "several audiences": provider.assertion(aud=["vaultstore-issuer", "another-app"]),
        "another issuer": provider.assertion(iss="https://id.evil"),
        "a logout token": provider.assertion(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
        "an access token": provider.assertion(header={"typ": "at+jwt"}),
        "a role it does not hold": provider.assertion(role=["registrar", "clerk"]),
        "no role": provider.assertion(role=None),
    }
    for name, assertion in forged.items():
        with pytest.raises(TokenInvalid):
            pytest.fail(f"{name}: {crm.issue(assertion, 'sales.pool', role='matchmaker')}")
    assert crm.issue(sound, "sales.pool")


def test_an_assertion_out_of_its_time_is_refused(crm: IssuerClient, provider: Provider) -> None:
    now = int(time.time())
    for changed in ({"exp": now - 1}, {"iat": now - 7200, "exp": now + 60}, {"nbf": now + 600}):
        with pytest.raises(TokenExpired):
            crm.issue(provider.assertion(**changed), "sales.pool")


def test_the_policy_is_asked_whatever_the_provider_says(crm: IssuerClient, provider: Provider) -> None:
    with pytest.raises(IssueDenied, match="may not act for"):
        crm.issue(provider.assertion(role="registrar"), "sales.pool")


def test_a_token_that_is_over_is_not_exchanged(crm: IssuerClient, provider: Provider) -> None:
    token = crm.issue(provider.assertion(), "sales.pool", ttl=timedelta(seconds=5))
    assert crm.exchange(token)
    time.sleep(max(0.0, claims(token)["exp"] + 0.1 - time.time()))
    with pytest.raises(TokenExpired):
        crm.exchange(token)


def test_a_login_token_gets_no_other(crm: IssuerClient, provider: Provider) -> None:
    token = crm.issue(provider.assertion(), "sales.pool")
    for other in (crm.exchange(token), provider.assertion(), token[:-4] + "AAAA"):
        with pytest.raises(TokenInvalid):
            crm.exchange(other)
    with pytest.raises(TokenInvalid):
        crm.issue(token, "sales.pool")


# ------------------------------------------------------------------------------------------------ how they ask


def test_endless_requests_are_cut_off(tls: Serving, authority: Authority, crm: IssuerClient) -> None:
    leaf = authority.leaf("crm", x509.DNSName("crm.internal"))
    post = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for name, head, status in (
        ("a body of a gigabyte", post + b"Content-Length: 1000000000\r\n\r\n", b"413"),
        ("a body over our bound", post + b"Content-Length: 40000\r\n\r\n" + b" " * 40_000, b"413"),
        ("chunks", post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"411"),
        ("a signed length", post + b"Content-Length: -5\r\n\r\n", b"411"),
        ("a header without end", b"GET /jwks HTTP/1.1\r\nX: " + b"x" * 20_000, b"413"),
        ("an address without end", b"GET /" + b"x" * 20_000, b"414"),
    ):
        with connected(tls, authority, leaf) as made:
            with suppress(OSError):
                made.sendall(head)
            assert status in everything(made).partition(b"\r\n")[0], name
    assert crm.public_keys()


def test_silent_and_slow_clients_hold_nobody_up(
    tls: Serving, authority: Authority, crm: IssuerClient, provider: Provider
) -> None:
    """More silent connections than there are workers, some of them in the middle of the handshake or of a request."""
    port = int(tls.url.rpartition(":")[2])
    leaf = authority.leaf("crm", x509.DNSName("crm.internal"))
    silent: list[socket.socket] = []
    over = threading.Event()

    def drip() -> None:
        with connected(tls, authority, leaf) as made:
            made.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            ended = False
            while not ended and not over.wait(0.2):
                try:
                    made.sendall(b"x")
                except OSError:
                    ended = True
            outcome.append(ended)

    outcome: list[bool] = []
    drips = [threading.Thread(target=drip) for _ in range(4)]
    try:
        silent += [socket.create_connection(("localhost", port)) for _ in range(60)]
        for made in silent[:6]:
            made.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        for thread in drips:
            thread.start()
        for _ in range(10):  # each within the client's timeout
            assert crm.exchange(crm.issue(provider.assertion(), "sales.pool"))
        deadline = time.monotonic() + 60
        while len(outcome) < len(drips):  # the server ends them, though each byte came in time
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert outcome == [True] * len(drips)
    finally:
        over.set()
        for made in silent:
            made.close()
        for thread in drips:
            thread.join()


def test_more_connections_than_it_keeps_are_turned_away(tls: Serving, crm: IssuerClient, provider: Provider) -> None:
    port = int(tls.url.rpartition(":")[2])
    crm.issue(provider.assertion(), "sales.pool")
    many = [socket.create_connection(("localhost", port)) for _ in range(300)]
    try:
        deadline = time.monotonic() + 30
        while True:
            closed = 0
            for made in many:
                made.setblocking(False)
                with suppress(BlockingIOError, OSError):
                    closed += made.recv(1) == b""
            if closed:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        for made in many:
            made.close()
    deadline = time.monotonic() + 30
    while True:
        try:
            assert crm.issue(provider.assertion(), "sales.pool")
            break
        except KeyServiceUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.2)
