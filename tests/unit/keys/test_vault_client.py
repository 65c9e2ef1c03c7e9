"""One request to Vault: what is tried again and for how long, what is never followed, and what errors say."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vaultstore.errors import KeyServiceError, KeyServiceRefused, KeyServiceUnavailable, SettingsError
from vaultstore.keys import VaultKeys
from vaultstore.keys.vault_client import Answer, VaultClient
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_service import VaultKeyService

CANARY = "canary-8d1f0c"
AT_MOST = 20
"""Seconds, for a busy machine. What is not given up takes for ever."""
ITEMS = [(b"context-1", "vault:v1:AAAA"), (b"context-2", "vault:v1:BBBB")]


def client(url: str, **changes: Any) -> VaultClient:
    return VaultClient(url, **{"timeout": (1.0, 2.0), **changes})


def service(url: str) -> VaultKeyService:
    return VaultKeyService(client(url), VaultNames(), purpose="registration", token=CANARY, batch=150)


def assert_bare(error: BaseException) -> None:
    """The error carries no request, response or other exception that could hold secrets."""
    assert CANARY not in repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_overloaded_server_is_asked_again(scripted: Any, status: int) -> None:
    scripted.will(status).will(200, {"data": {"fine": True}})
    attempts: list[tuple[str, str, int]] = []
    answer = client(scripted.url, on_request=lambda *seen: attempts.append(seen)).request("POST", "a/b", {}, items=3)
    assert answer.data == {"fine": True}
    assert attempts == [("POST", "a/b", 3)] * 2


def test_asking_again_ends(scripted: Any) -> None:
    scripted.will(503, {"errors": [CANARY]})
    with pytest.raises(KeyServiceUnavailable, match=r"POST a/b \(status 503\)") as caught:
        client(scripted.url, retries=2).request("POST", "a/b")
    assert len(scripted.seen) == 3
    assert_bare(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 412])
def test_a_refusal_is_not_asked_again(scripted: Any, status: int) -> None:
    scripted.will(status, {"errors": [CANARY]})
    with pytest.raises(KeyServiceRefused, match="POST a/b") as caught:
        client(scripted.url).request("POST", "a/b", {"plaintext": CANARY})
    assert len(scripted.seen) == 1
    assert_bare(caught.value)


def test_retry_after_is_waited_for(scripted: Any) -> None:
    scripted.will(429, Retry_After="1").will(200)
    begun = time.monotonic()
    client(scripted.url, timeout=(1, 5)).request("GET", "a")
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("wait", ["3600", "1e300", "inf", "Wed, 21 Oct 2099 07:28:00 GMT", "nonsense", "-5"])
def test_no_wait_that_the_server_asks_for_is_longer_than_the_timeout(scripted: Any, wait: str) -> None:
    scripted.will(503, Retry_After=wait)
    begun = time.monotonic()
    with pytest.raises(KeyServiceUnavailable):
        client(scripted.url).request("GET", "a")
    assert time.monotonic() - begun < AT_MOST


def test_a_connection_that_broke_off_is_tried_again(scripted: Any) -> None:
    scripted.will(0).will(200)
    client(scripted.url).request("GET", "a")
    assert len(scripted.seen) == 2


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(scripted: Any, other: Any) -> None:
    scripted.will(307, Location=f"{other.url}/v1/a")
    with pytest.raises(KeyServiceRefused, match="redirects, which is not followed"):
        client(scripted.url).request("POST", "a", {"plaintext": CANARY}, token=CANARY)
    assert other.seen == []


@pytest.mark.parametrize("body", [b"<html>captive portal</html>", b"[1]", b'"text"', b"\xff"])
def test_an_answer_that_is_not_a_key_service_is_unavailable(scripted: Any, body: bytes) -> None:
    scripted.will(200, body)
    with pytest.raises(KeyServiceUnavailable, match="not a key service") as caught:
        client(scripted.url).request("GET", "a")
    assert_bare(caught.value)


def test_nobody_listening_is_unavailable_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        with pytest.raises(KeyServiceUnavailable, match="no connection") as caught:
            client(f"http://127.0.0.1:{taken.getsockname()[1]}").request("POST", "a", {"x": CANARY}, token=CANARY)
        assert time.monotonic() - begun < AT_MOST
    assert_bare(caught.value)


@pytest.mark.parametrize("first_words", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"])
def test_a_server_that_stalls_is_given_up_after_the_read_timeout_and_not_asked_again(first_words: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].sendall(first_words)

        thread = threading.Thread(target=accept)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(KeyServiceUnavailable, match="no answer in time") as caught:
            client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=(1, 0.4)).request(
                "POST", "a", {"x": CANARY}
            )
        assert 0.4 <= time.monotonic() - begun < AT_MOST
        thread.join()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        for connection in accepted:
            connection.close()
    assert_bare(caught.value)


def certificate(path: Path) -> Path:
    """A PEM file with a new key and a certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(hours=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + signed.public_bytes(Encoding.PEM))
    return path


def test_only_a_server_that_the_given_ca_vouches_for_is_talked_to(
    scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, foreign = certificate(tmp_path / "own.pem"), certificate(tmp_path / "foreign.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own))  # never read
    scripted.will(200).speak_tls(own)
    client(scripted.url, ca=str(own)).request("GET", "a")
    for ca in (str(foreign), None):
        with pytest.raises(KeyServiceUnavailable, match="no trusted TLS connection") as caught:
            client(scripted.url, ca=ca).request("POST", "a", {"x": CANARY}, token=CANARY)
        assert_bare(caught.value)
    assert len(scripted.seen) == 1


def test_a_ca_file_that_is_not_there_is_no_traceback_of_requests(tmp_path: Path) -> None:
    with pytest.raises(KeyServiceError) as caught:
        client("https://127.0.0.1:9", ca=str(tmp_path / "missing.pem")).request(
            "POST", "a", {"x": CANARY}, token=CANARY
        )
    assert_bare(caught.value)


@pytest.mark.parametrize(
    "answer", [{"data": {"type": "aes256-gcm96", "keys": {"1": 5}}}, {"data": {"type": "ed25519"}}, {}]
)
def test_a_key_that_does_not_sign_has_no_public_keys(scripted: Any, answer: Any) -> None:
    scripted.will(200, answer)
    with pytest.raises(KeyServiceRefused, match="does not sign with Ed25519"):
        VaultKeys(scripted.url, token="t").public_keys("tokens")


def test_the_environment_is_never_read(
    scripted: Any, other: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login x password {CANARY}")
    (tmp_path / ".vault-token").write_text(CANARY)
    for name, value in {
        "HOME": str(tmp_path),
        "VAULT_TOKEN": CANARY,
        "BAO_TOKEN": CANARY,
        "VAULT_ADDR": other.url,
        "VAULT_NAMESPACE": CANARY,
        "HTTP_PROXY": other.url,
        "http_proxy": other.url,
        "ALL_PROXY": other.url,
    }.items():
        monkeypatch.setenv(name, value)
    scripted.will(200, {"auth": {"client_token": "t"}})
    body = "eyJwdXJwb3NlIjoiYS5iIn0"  # {"purpose":"a.b"}
    VaultKeys(scripted.url).login(f"x.{body}.y")
    with pytest.raises(KeyServiceRefused, match="without a token"):
        VaultKeys(scripted.url).sign("tokens", b"")
    assert other.seen == []
    ((_, path, headers, _),) = scripted.seen
    assert path == "/v1/auth/jwt/login"
    assert CANARY not in repr(headers)
    assert "X-Vault-Token" not in headers


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example:8200",
        "http://10.0.0.7:8200",
        "ftp://127.0.0.1",
        "127.0.0.1:8200",
        "https://",
        "https://user:pass@vault.example",
        "https://vault.example/?x=1",
        "",
    ],
)
def test_a_url_that_would_leak_or_mislead_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        VaultKeys(url, token=CANARY)
    assert "user:pass" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://vault.example:8200", "http://127.0.0.1:8200", "http://localhost:8200/"])
def test_https_and_loopback_are_taken(url: str) -> None:
    VaultKeys(url, token=CANARY).close()


def test_a_forked_child_takes_connections_of_its_own(scripted: Any) -> None:
    scripted.will(200)
    shared = client(scripted.url)
    shared.request("GET", "a")
    before = shared._own_session()
    child = os.fork()
    if child == 0:
        os._exit(0 if shared._own_session() is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared._own_session() is before


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [{"plaintext": "", "reference": "r"}],
        [{"plaintext": "", "reference": "r"}] * 3,
        [{"plaintext": "", "reference": "other"}] * 2,
        [{"plaintext": "", "reference": "r"}, {"plaintext": ""}],
        ["text", "text"],
        {"0": {}},
    ],
)
def test_an_answer_for_other_items_than_were_sent_is_refused(scripted: Any, results: Any) -> None:
    scripted.will(200, {"data": {"batch_results": results}})
    with pytest.raises(KeyServiceRefused):
        service(scripted.url).unwrap("contact", ITEMS, reference="r")


@pytest.mark.parametrize("plaintext", ["", "AAAA", "not base64!", None, 7])
def test_a_plaintext_that_is_no_data_key_is_none(scripted: Any, plaintext: Any) -> None:
    scripted.will(207, {"data": {"batch_results": [{"plaintext": plaintext, "reference": "r"}] * 2}})
    assert service(scripted.url).unwrap("contact", ITEMS, reference="r") == [None, None]


@pytest.mark.parametrize("result", [{"hmac": "vault:v2:" + "A" * 43 + "="}, {"hmac": ""}, {"error": CANARY}, {}])
def test_a_digest_that_is_missing_or_of_another_key_version_is_refused(scripted: Any, result: Any) -> None:
    scripted.will(200, {"data": {"batch_results": [result]}})
    with pytest.raises(KeyServiceRefused) as caught:
        service(scripted.url).hmac("Member.phone", [b"x"])
    assert_bare(caught.value)


def test_a_wrap_that_failed_for_one_item_fails_for_all(scripted: Any) -> None:
    scripted.will(200, {"data": {"batch_results": [{"ciphertext": "vault:v1:AAAA"}, {"error": CANARY}]}})
    with pytest.raises(KeyServiceRefused) as caught:
        service(scripted.url).wrap("contact", [(b"a", bytes(32)), (b"b", bytes(32))])
    assert_bare(caught.value)


@pytest.mark.parametrize(
    "answer", [{}, {"data": {"signature": 7}}, {"data": {"signature": "vault:v1:AAAA"}}, {"data": 1}]
)
def test_a_signature_that_is_none_is_refused(scripted: Any, answer: Any) -> None:
    scripted.will(200, answer)
    with pytest.raises(KeyServiceRefused):
        VaultKeys(scripted.url, token="t").sign("tokens", b"")


@pytest.mark.parametrize("name", ["", "../sys/seal", "a/b", "a?b", "a b", ".", "联系", "-a", "a\n"])
def test_a_name_that_could_change_the_path_is_refused_before_it_is_sent(scripted: Any, name: str) -> None:
    for action in (
        lambda: service(scripted.url).unwrap(name, ITEMS, reference="r"),
        lambda: service(scripted.url).hmac(name, [b""]),
        lambda: VaultKeys(scripted.url, token="t").public_keys(name),
    ):
        with pytest.raises(KeyServiceError):
            action()
    assert scripted.seen == []


@pytest.mark.parametrize(
    "names", [{"mount": "a b"}, {"mount": ""}, {"auth_mount": "../x"}, {"prefix": "Vs-"}, {"prefix": ""}]
)
def test_mounts_and_prefixes_must_be_plain(names: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        VaultKeys("https://vault.example", **names)


@pytest.mark.parametrize("batch", [0, -1, 10_001])
def test_a_batch_must_hold_something(batch: int) -> None:
    with pytest.raises(SettingsError, match="batch"):
        VaultKeys("https://vault.example", batch=batch)


def test_nothing_that_holds_a_token_or_an_answer_shows_or_copies_it() -> None:
    for thing in (
        VaultKeys("https://vault.example", token=CANARY),
        service("https://vault.example"),
        client("https://vault.example"),
        Answer(200, {"data": CANARY}),
    ):
        assert repr(thing) == f"<{type(thing).__name__}>"
        for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="holds secrets"):
                duplicate(thing)
