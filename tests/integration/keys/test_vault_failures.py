"""A real OpenBao that is gone, sealed or silent, and that nothing of it leaks into errors or logs."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest

from vaultstore.errors import KeyServiceError, KeyServiceRefused, KeyServiceUnavailable
from vaultstore.keys import VaultKeys
from vaultstore.policy.access import KeyAccess
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

DATA_KEY = b"canary-data-key-0123456789abcdef"
CONTEXT = b"context-0"
NEEDLE = b"canary-needle"
AT_MOST = 20
"""Seconds, for a busy machine. What is not given up takes for ever."""


@pytest.fixture
def own_server() -> Iterator[OpenBaoServer]:
    """A server that this test may seal and stop."""
    with OpenBaoServer() as server:
        yield server


class Proxy:
    """A TCP proxy on loopback that passes everything on until it is told to hold the server's answers back."""

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.flows = threading.Event()
        self.flows.set()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while chunk := source.recv(65536):
                if answers:
                    self.flows.wait()
                sink.sendall(chunk)
        except OSError:
            pass
        finally:
            sink.close()

    def close(self) -> None:
        self.flows.set()
        for each in (self._listener, *self._sockets):
            each.close()


@pytest.fixture
def proxy(openbao: OpenBaoServer) -> Iterator[Proxy]:
    made = Proxy(openbao.url)
    yield made
    made.close()


def every_call(keys: VaultKeys, access: KeyAccess, token: str) -> list[Callable[[], object]]:
    service = keys.login(token)
    (wrapped,) = service.wrap("contact", [(CONTEXT, DATA_KEY)])
    upkeep = keys.login(login_token(keys, access, "maintenance.keys"))
    return [
        lambda: upkeep.rewrap("contact", [(CONTEXT, wrapped)]),
        lambda: upkeep.rotate("contact"),
        lambda: upkeep.versions("contact"),
        lambda: upkeep.retire("contact", 1),
        lambda: service.wrap("contact", [(CONTEXT, DATA_KEY)]),
        lambda: service.unwrap("contact", [(CONTEXT, wrapped)], reference="r"),
        lambda: service.hmac("Member.phone", [NEEDLE]),
        lambda: keys.sign("tokens", NEEDLE),
        lambda: keys.public_keys("tokens"),
        lambda: keys.login(token),
        lambda: keys.provision(access),
    ]


def test_a_stopped_server_is_unavailable_for_every_call_and_comes_back(
    own_server: OpenBaoServer, access: KeyAccess
) -> None:
    with VaultKeys(own_server.url, token=own_server.root_token, timeout=(1, 2)) as keys:
        keys.provision(access)
        calls = every_call(keys, access, login_token(keys, access, "registration"))
        own_server.stop()
        for action in calls:
            begun = time.monotonic()
            with pytest.raises(KeyServiceUnavailable):
                action()
            assert time.monotonic() - begun < AT_MOST
        own_server.start()
        keys.provision(access)
        keys.login(login_token(keys, access, "registration")).close()


def test_a_sealed_server_is_unavailable_for_every_call_and_comes_back(
    own_server: OpenBaoServer, access: KeyAccess
) -> None:
    with VaultKeys(own_server.url, token=own_server.root_token, timeout=(1, 2)) as keys:
        keys.provision(access)
        calls = every_call(keys, access, login_token(keys, access, "registration"))
        own_server.seal()
        for action in calls:
            begun = time.monotonic()
            with pytest.raises(KeyServiceUnavailable, match="503"):
                action()
            assert time.monotonic() - begun < AT_MOST
        own_server.unseal()
        for action in calls:
            action()


def test_a_restarted_server_costs_a_pooled_connection_not_an_error(
    openbao_raft: OpenBaoServer, access: KeyAccess
) -> None:
    settings = {"mount": "t-restart", "prefix": "restart-", "auth_mount": "j-restart"}
    with VaultKeys(openbao_raft.url, token=openbao_raft.root_token, **settings) as keys:
        keys.provision(access)
        before = keys.public_keys("tokens")
        openbao_raft.restart()
        assert keys.public_keys("tokens") == before


def test_a_silent_server_is_given_up_within_the_timeout(
    proxy: Proxy, openbao: OpenBaoServer, access: KeyAccess
) -> None:
    settings = {"mount": "t-silent", "prefix": "silent-", "auth_mount": "j-silent"}
    with VaultKeys(proxy.url, token=openbao.root_token, timeout=(1, 0.5), **settings) as keys:
        keys.provision(access)
        calls = every_call(keys, access, login_token(keys, access, "registration"))
        proxy.flows.clear()
        for action in calls:
            begun = time.monotonic()
            with pytest.raises(KeyServiceUnavailable, match="no answer in time"):
                action()
            assert 0.5 <= time.monotonic() - begun < AT_MOST
        proxy.flows.set()
        assert keys.public_keys("tokens")


def test_closing_a_login_does_not_fail_when_the_server_is_gone(own_server: OpenBaoServer, access: KeyAccess) -> None:
    with VaultKeys(own_server.url, token=own_server.root_token, timeout=(1, 1)) as keys:
        keys.provision(access)
        service = keys.login(login_token(keys, access, "registration"))
        own_server.stop()
        service.close()


def test_no_log_line_and_no_error_holds_a_secret(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = login_token(vault, access, "registration")
    service = vault.login(token)
    sales = vault.login(login_token(vault, access, "sales.outreach"))
    wraps = service.wrap("contact", [(CONTEXT, DATA_KEY), (CONTEXT, DATA_KEY)])
    # A batch that fails in part: this is where hvac's exceptions would hold the item that opened.
    found = service.unwrap("contact", [(CONTEXT, wraps[0]), (b"another", wraps[1])], reference="r")
    assert found == [DATA_KEY, None]
    service.hmac("Member.phone", [NEEDLE])
    errors: list[KeyServiceError] = []
    for action in (
        lambda: sales.unwrap("contact", [(CONTEXT, wraps[0])], reference="r"),
        lambda: sales.wrap("contact", [(CONTEXT, DATA_KEY)]),
        lambda: sales.hmac("Member.phone", [NEEDLE]),
        lambda: vault.login(token[:-8] + "AAAAAAAA"),
        lambda: vault.sign("unknown", NEEDLE),
        lambda: VaultKeys("http://127.0.0.1:9", token=openbao.root_token, timeout=(0.2, 0.2)).sign("tokens", NEEDLE),
    ):
        with pytest.raises(KeyServiceError) as caught:
            action()
        errors.append(caught.value)
    secrets = [token, token[:-8], token.split(".")[1], service._token, sales._token, openbao.root_token]
    secrets += [text for raw in (DATA_KEY, NEEDLE) for text in (raw.decode(), base64.b64encode(raw).decode())]
    logs = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "transit" in logs  # the loggers of urllib3 are heard
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None
    said = "\n".join(f"{error!r} {''.join(traceback.format_exception(error))}" for error in errors)
    for secret in secrets:
        assert secret not in logs
        assert secret not in said


def test_the_issuers_own_token_is_refused_when_it_may_not(openbao: OpenBaoServer, access: KeyAccess) -> None:
    with VaultKeys(openbao.url, token="s.not-a-token") as keys:
        for action in (lambda: keys.sign("tokens", b""), lambda: keys.provision(access)):
            with pytest.raises(KeyServiceRefused, match="not permitted"):
                action()
