"""The issuer as a process of its own, over a Unix socket and over mutual TLS."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from vaultstore.cli import main
from vaultstore.errors import KeyServiceError, KeyServiceUnavailable, TokenRevoked
from vaultstore.issuer import IssuerClient
from vaultstore.tokens import JwksKeys

from .conftest import CALLERS, Clients, tls_config
from .support import COMMAND, Authority, Provider, Serving, claims, config, serving

pytestmark = pytest.mark.integration


def test_an_account_gets_tokens_over_the_socket(unix: Serving, provider: Provider) -> None:
    with IssuerClient(unix.url) as client:
        token = client.issue(provider.assertion(), "sales.pool")
        login = client.exchange(token)
        assert client.public_keys().keys() == JwksKeys.from_url(unix.url)().keys()
    assert claims(token)["act"] == {"sub": "crm"}
    assert claims(token)["attrs"] == {"store": "sh-01"}
    assert (claims(login)["aud"], claims(login)["jti"]) == ("vault", claims(token)["jti"])


def test_the_socket_is_open_to_its_account_alone(unix: Serving) -> None:
    assert stat.S_IMODE(Path(unix.url.removeprefix("unix:")).stat().st_mode) == 0o600


def test_a_certificate_gets_tokens_over_tls(crm: IssuerClient, provider: Provider) -> None:
    for kid in provider.keys:
        token = crm.issue(provider.assertion(kid), "sales.pool")
    assert claims(crm.exchange(token))["purpose"] == "sales.pool"


def test_a_front_desk_asks_for_what_another_service_uses(
    clients: Clients, crm: IssuerClient, provider: Provider
) -> None:
    desk = clients("desk", x509.DNSName("desk.internal"))
    token = desk.issue(provider.assertion(), "sales.pool")
    with pytest.raises(KeyServiceError, match="does not serve"):
        desk.exchange(token)
    assert claims(crm.exchange(token))["jti"] == claims(token)["jti"]


def test_many_threads_get_their_own_tokens(crm: IssuerClient, provider: Provider) -> None:
    wrong: list[str] = []

    def work(n: int) -> None:
        for _ in range(5):
            token = crm.issue(provider.assertion(sub=f"u-{n}"), "sales.pool")
            login = crm.exchange(token)
            if (claims(token)["sub"], claims(login)["sub"], claims(login)["jti"]) != (
                f"u-{n}",
                f"u-{n}",
                claims(token)["jti"],
            ):
                wrong.append(token)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_command_line_asks_the_issuer(unix: Serving, shop: Path, provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "assertion"
    file.write_text(provider.assertion(role=["matchmaker", "registrar"]) + "\n")
    env = {"VAULTSTORE_ISSUER_URL": unix.url}
    common = ["token", "issue", "--dir", str(shop), "--purpose", "sales.pool", "--assertion", str(file)]
    made = CliRunner().invoke(main, [*common, "--role", "matchmaker", "--ttl", "1m"], env=env)
    assert made.exit_code == 0, made.output
    found = claims(made.stdout.strip())
    assert (found["sub"], found["role"], found["exp"] - found["iat"]) == ("u-17", "matchmaker", 60)
    refused = CliRunner().invoke(main, common, env=env)
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: the assertion holds several roles: name the one to act in\n",
    )
    assert CliRunner().invoke(main, common).exit_code == 2  # no issuer is set
    assert CliRunner().invoke(main, [*common, "--actor", "u-18"], env=env).exit_code == 2


def test_a_revoked_token_is_not_exchanged(unix: Serving, shop: Path, provider: Provider) -> None:
    from vaultstore.cli.store import open_store

    with IssuerClient(unix.url) as client:
        token = client.issue(provider.assertion(), "sales.pool")
        client.exchange(token)
        with open_store(shop) as store:
            store.revoke(jti=claims(token)["jti"])
        with pytest.raises(TokenRevoked):
            client.exchange(token)


def test_a_rotated_key_of_the_provider_is_found(unix: Serving, provider: Provider) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    with IssuerClient(unix.url) as client:
        client.issue(provider.assertion(), "sales.pool")
        time.sleep(0.1)
        provider.keys["ed-2"] = ("EdDSA", ed25519.Ed25519PrivateKey.generate())
        deadline = time.monotonic() + 30
        while True:  # an unknown key is looked for once in ten seconds
            try:
                assert client.issue(provider.assertion("ed-2"), "sales.pool")
                break
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.5)


def test_the_log_has_a_line_a_request_and_no_token(tls: Serving, crm: IssuerClient, provider: Provider) -> None:
    said = provider.assertion(sub="u-logged")
    token = crm.issue(said, "sales.pool")
    login = crm.exchange(token)
    deadline = time.monotonic() + 10
    while not (found := [line for line in tls.logged() if line.get("jti") == claims(token)["jti"]])[1:]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [(line["path"], line["service"], line["actor"], line["status"]) for line in found] == [
        ("/token", "crm", "u-logged", 200),
        ("/exchange", "crm", "u-logged", 200),
    ]
    text = tls.log.read_text()
    for secret in (said, token, login):
        assert secret.rpartition(".")[2] not in text


def test_health_tells_a_monitor(tls: Serving, authority: Authority) -> None:
    cert, key = authority.leaf("monitor")
    context = ssl.create_default_context(cafile=str(authority.path))
    context.load_cert_chain(cert, key)
    connection = http.client.HTTPSConnection("localhost", int(tls.url.rpartition(":")[2]), context=context, timeout=10)
    connection.request("GET", "/health")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"status": "ok"})
    assert connection.sock.version() == "TLSv1.3"  # type: ignore[union-attr]
    connection.close()


# ------------------------------------------------------------------------------------------------ start and stop


def test_clients_get_through_a_kill_and_a_restart(shop: Path, provider: Provider, tmp_path: Path) -> None:
    listen = f'url = "unix:{tmp_path / "s"}"'
    server = Serving(shop, config(listen, provider, CALLERS.format(uid=os.getuid())), name="killed").start()
    over, failures, gone = threading.Event(), list[BaseException](), list[str]()
    done = [0] * 4

    def work(n: int) -> None:
        with IssuerClient(server.url, retries=0) as client:
            while not over.is_set():
                try:
                    token = client.issue(provider.assertion(sub=f"u-{n}"), "sales.pool")
                    assert claims(client.exchange(token))["sub"] == f"u-{n}"
                    done[n] += 1
                except KeyServiceUnavailable as error:
                    gone.append(str(error))
                    time.sleep(0.05)
                except BaseException as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            wait_for(lambda: all(done))
            assert server.kill(signal.SIGKILL) == -signal.SIGKILL
            assert (tmp_path / "s").exists()  # what a killed server leaves behind
            wait_for(lambda: len(gone) > 4)
            done[:] = [0] * 4
            server.start()
        wait_for(lambda: all(done))
    finally:
        over.set()
        for thread in threads:
            thread.join()
        server.kill(signal.SIGTERM)
    assert failures == []


def wait_for(reached: object) -> None:
    deadline = time.monotonic() + 60
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_finishes_what_has_begun(shop: Path, provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = Serving(
        shop, config(f'url = "unix:{path}"', provider, CALLERS.format(uid=os.getuid())), name="stopped"
    ).start()
    body = json.dumps({"grant_type": "x"}).encode()
    head = f"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as begun:
        begun.settimeout(20)
        begun.connect(str(path))
        begun.sendall(head.encode() + body[:5])
        time.sleep(0.3)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        begun.sendall(body[5:])
        answer = b""
        while part := begun.recv(65536):  # the head and the body may come apart
            answer += part
        assert b"unsupported_grant_type" in answer
    assert server.kill(signal.SIGTERM) == 0
    assert not path.exists()


def refusal(folder: Path, content: str, **env: str) -> str:
    file = folder / "refused.toml"
    file.write_text(content)
    made = subprocess.run(
        [*COMMAND, "--dir", str(folder), "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
        check=False,
    )
    assert (made.returncode, made.stdout) == (1, "")
    return made.stderr


def test_it_does_not_start_with_a_key_that_everybody_can_read(
    shop: Path, authority: Authority, provider: Provider
) -> None:
    content = tls_config(authority, provider)
    key = Path(content.partition('key = "')[2].partition('"')[0])
    key.chmod(0o644)
    assert "is open to others (mode 0644)" in refusal(shop, content)


def test_it_does_not_take_over_a_socket_that_is_served(shop: Path, unix: Serving, provider: Provider) -> None:
    listen = f'url = "{unix.url}"'
    assert "another process listens" in refusal(shop, config(listen, provider, CALLERS.format(uid=1)))
    with IssuerClient(unix.url) as client:
        assert client.public_keys()


def test_it_removes_no_file_to_listen(shop: Path, provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    assert "is no socket" in refusal(shop, config(f'url = "unix:{tmp_path / "s"}"', provider, CALLERS.format(uid=1)))
    assert (tmp_path / "s").read_text() == "precious"


def test_it_takes_no_socket_from_its_parent(shop: Path, provider: Provider, tmp_path: Path) -> None:
    content = config(f'url = "unix:{tmp_path / "s"}"', provider, CALLERS.format(uid=1))
    assert "LISTEN_PID" in refusal(shop, content, LISTEN_PID="1")


def test_a_group_gets_in_where_the_mode_says_so(shop: Path, provider: Provider, tmp_path: Path) -> None:
    listen = f'url = "unix:{tmp_path / "s"}"\nmode = "0660"'
    with serving(shop, config(listen, provider, CALLERS.format(uid=os.getuid())), name="grouped"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
