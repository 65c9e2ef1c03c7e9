"""A reading process: no key that signs, no Vault credential, and it reads, through the issuer, what its service may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import pytest
from cryptography import x509

from tests.support.profiles import Profile, standard
from vaultstore.keys.vault_names import VaultNames
from vaultstore.settings import Settings
from vaultstore.testing import OpenBaoServer, PostgresServer

from .support import Authority, Provider, Serving, claims, config, serving

pytestmark = pytest.mark.integration

READER = Path(__file__).with_name("reader.py")
SERVICES = """\
[services.crm]
certificates = ["dns:crm.internal"]

[services.relay]
certificates = ["dns:relay.internal"]
"""


@dataclass
class World:
    """A member store on real servers, an issuer with a minimal Vault token, and certificates of two services."""

    profile: Profile
    ids: list[uuid.UUID]
    serving: Serving
    provider: Provider
    reading: dict[str, str]
    certificates: dict[str, tuple[Path, Path]]

    def token(self) -> str:
        """A token for sales.pool that the service crm got."""
        step = {"do": "get", "assertion": self.provider.assertion(), "purpose": "sales.pool"}
        return str(self.read("crm", step)[0]["token"])

    def read(self, service: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        """What a process of `service` found, a step a line."""
        cert, key = self.certificates[service]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT", "BAO"))}
        done = subprocess.run(
            [sys.executable, str(READER)],
            input=json.dumps({**self.reading, "cert": str(cert), "key": str(key), "steps": steps}),
            capture_output=True,
            text=True,
            timeout=180,
            env={**clean, "PYTHONPATH": str(Path(__file__).parents[3])},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBaoServer, postgres: PostgresServer
) -> Iterator[World]:
    tmp_path, database = tmp_path_factory.mktemp("reading"), postgres.create_database()
    with standard(tmp_path, openbao, database) as profile, Provider() as provider:
        ids = profile.add_members(3)
        for member in ids:
            profile.store.consents.grant(member, "matchmaking", notice_version="2021-11")
        prefix, authority = profile.keys._names.prefix, Authority(tmp_path / "ca")
        folder = tmp_path / "issuer"
        folder.mkdir()
        Settings(
            folder,
            database=database,
            policy=str(Path(__file__).parents[3] / "policies"),
            keys="vault",
            vault_url=openbao.url,
            vault_mount=f"{prefix}transit",
            vault_auth_mount=f"{prefix}jwt",
            vault_prefix=prefix,
        ).save()
        cert, key = authority.leaf("localhost", x509.DNSName("localhost"), server=True)
        listen = f'url = "https://localhost:0"\ncert = "{cert}"\nkey = "{key}"\nclient_ca = "{authority.path}"'
        token = issuer_token(openbao, VaultNames(f"{prefix}transit", prefix, f"{prefix}jwt"))
        with serving(folder, config(listen, provider, SERVICES), {"VAULTSTORE_VAULT_TOKEN": token}) as made:
            yield World(
                profile,
                ids,
                made,
                provider,
                {
                    "issuer": f"https://localhost:{made.url.rpartition(':')[2]}",
                    "ca": str(authority.path),
                    "database": database,
                    "vault": openbao.url,
                    "prefix": prefix,
                },
                {name: authority.leaf(name, x509.DNSName(f"{name}.internal")) for name in ("crm", "relay")},
            )


def issuer_token(openbao: OpenBaoServer, names: VaultNames) -> str:
    """A Vault token that may sign tokens and read the key's public half, and nothing else."""
    root = hvac.Client(openbao.url, token=openbao.root_token)
    key, name = names.signing("tokens"), f"{names.prefix}issuer"
    root.sys.create_or_update_policy(
        name,
        f'path "{names.mount}/sign/{key}" {{ capabilities = ["update"] }}\n'
        f'path "{names.mount}/keys/{key}" {{ capabilities = ["read"] }}\n',
    )
    made = root.auth.token.create(policies=[name], no_default_policy=True, ttl="1h")
    return str(made["auth"]["client_token"])


def test_it_reads_through_the_issuer_and_can_do_nothing_else(world: World) -> None:
    said = world.provider.assertion()
    found = world.read(
        "crm",
        {"do": "get", "assertion": said, "purpose": "sales.pool"},
        {"do": "show", "field": "education"},
        {"do": "show", "field": "phone"},
        {"do": "issue"},
        {"do": "sign"},
        {"do": "credentials"},
    )
    token = found[0]["token"]
    assert claims(token)["act"] == {"sub": "crm"}
    assert found[1:] == [
        {"values": dict.fromkeys(map(str, world.ids), "本科")},
        {"error": "NotDisclosed"},
        {"error": "UnsupportedOperation"},
        {"error": "KeyServiceRefused"},
        {"held": []},
    ]
    exchanges = [line for line in world.serving.logged() if line.get("path") == "/exchange"]
    assert [(line["service"], line["actor"], line["jti"]) for line in exchanges] == [
        ("crm", "u-17", claims(token)["jti"])
    ]


def test_another_service_opens_nothing_with_a_stolen_token(world: World) -> None:
    token = world.token()
    found = world.read("relay", {"do": "use", "token": token}, {"do": "show", "field": "education"})
    assert found[1] == {"error": "KeyServiceRefused"}


def test_a_revoked_token_opens_nothing(world: World) -> None:
    token = world.token()
    world.profile.store.revoke(jti=claims(token)["jti"])
    found = world.read("crm", {"do": "use", "token": token}, {"do": "show", "field": "education"})
    assert found[1] == {"error": "TokenRevoked"}


def test_without_the_issuer_nothing_new_opens(world: World) -> None:
    token = world.token()
    world.serving.kill()
    try:
        found = world.read("crm", {"do": "use", "token": token}, {"do": "show", "field": "education"})
        assert found[1] == {"error": "KeyServiceUnavailable"}
    finally:
        world.reading["issuer"] = f"https://localhost:{world.serving.start().url.rpartition(':')[2]}"
