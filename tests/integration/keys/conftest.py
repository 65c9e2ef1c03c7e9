"""Key services to test against: each test module takes mounts and a prefix of its own on the shared OpenBao."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vaultstore.keys import VaultKeys
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.testing import OpenBaoServer

ACCESS = KeyAccess(
    issuer="vaultstore",
    categories=frozenset({"contact", "identity", "sales_card"}),
    indexes=("Member.email", "Member.phone"),
    purposes={
        "registration": PurposeKeys(
            "sha256:r1",
            unwrap=frozenset({"contact", "identity"}),
            wrap=frozenset({"contact", "identity", "sales_card"}),
            hmac=frozenset({"Member.phone", "Member.email"}),
        ),
        "sales.outreach": PurposeKeys("sha256:s1", frozenset({"sales_card"}), frozenset(), frozenset()),
        "care.complaint": PurposeKeys("sha256:c1", frozenset({"contact"}), frozenset(), frozenset({"Member.phone"})),
        "maintenance.keys": PurposeKeys(
            "sha256:m1",
            frozenset(),
            frozenset(),
            frozenset(),
            rotate=frozenset({"contact", "identity"}),
            rewrap=frozenset({"contact", "identity"}),
            retire=frozenset({"contact"}),
        ),
    },
)

VaultMaker = Callable[..., VaultKeys]


@pytest.fixture(scope="session")
def access() -> KeyAccess:
    return ACCESS


def vault_keys(server: OpenBaoServer, **changes: Any) -> VaultKeys:
    """Keys on mounts and under a prefix that nobody else uses; nothing is provisioned yet."""
    name = uuid.uuid4().hex[:10]
    settings = {
        "token": server.root_token,
        "mount": f"transit-{name}",
        "prefix": f"t{name}-",
        "auth_mount": f"jwt-{name}",
    }
    return VaultKeys(server.url, **{**settings, **changes})


@pytest.fixture
def make_vault(openbao: OpenBaoServer) -> Iterator[VaultMaker]:
    made: list[VaultKeys] = []

    def make(**changes: Any) -> VaultKeys:
        made.append(vault_keys(openbao, **changes))
        return made[-1]

    yield make
    for keys in made:
        keys.close()


@pytest.fixture
def vault(make_vault: VaultMaker) -> VaultKeys:
    """Vault keys, provisioned with ACCESS."""
    keys = make_vault()
    keys.provision(ACCESS)
    return keys
