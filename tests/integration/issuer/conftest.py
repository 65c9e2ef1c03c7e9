"""A store, an identity provider and a certificate authority, shared by the tests of a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from vaultstore.cli import main
from vaultstore.issuer import IssuerClient

from .support import Authority, Provider, Serving, config, serving

CALLERS = """\
[services.crm]
certificates = ["dns:crm.internal"]
uids = [{uid}]

[services.relay]
certificates = ["cn:relay", "uri:spiffe://example/relay"]

[services.desk]
certificates = ["dns:desk.internal"]
issues = ["*"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded store's folder."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    made = CliRunner().invoke(main, ["init", "--dir", str(folder)])
    assert made.exit_code == 0, made.output
    return folder


@pytest.fixture(scope="module")
def unix(shop: Path, provider: Provider) -> Iterator[Serving]:
    """An issuer on a Unix socket, where this account is the service crm."""
    listen = f'url = "unix:{shop / "issuer.sock"}"'
    with serving(shop, config(listen, provider, CALLERS.format(uid=os.getuid())), name="unix") as made:
        yield made


def tls_config(authority: Authority, provider: Provider, more: str = "") -> str:
    cert, key = authority.leaf("localhost", x509.DNSName("localhost"), server=True)
    listen = f'url = "https://localhost:0"\ncert = "{cert}"\nkey = "{key}"\nclient_ca = "{authority.path}"'
    return config(listen, provider, CALLERS.format(uid=4_000_000), more)


@pytest.fixture(scope="module")
def tls(shop: Path, authority: Authority, provider: Provider) -> Iterator[Serving]:
    """An issuer on mutual TLS."""
    with serving(shop, tls_config(authority, provider), name="tls") as made:
        made.url = f"https://localhost:{made.url.rpartition(':')[2]}"
        yield made


class Clients:
    """Makes clients of the TLS issuer, each with a certificate of its own, and closes them."""

    def __init__(self, url: str, authority: Authority) -> None:
        self.url, self.authority, self.made = url, authority, list[IssuerClient]()

    def __call__(
        self, name: str, *names: x509.GeneralName, by: Authority | None = None, **leaf: object
    ) -> IssuerClient:
        cert, key = (by or self.authority).leaf(name, *names, **leaf)  # type: ignore[arg-type]
        client = IssuerClient(
            self.url, cert=str(cert), key=str(key), ca=str(self.authority.path), timeout=15, retries=0
        )
        self.made.append(client)
        return client


@pytest.fixture
def clients(tls: Serving, authority: Authority) -> Iterator[Clients]:
    made = Clients(tls.url, authority)
    yield made
    for client in made.made:
        client.close()


@pytest.fixture
def crm(clients: Clients) -> IssuerClient:
    return clients("crm", x509.DNSName("crm.internal"))
