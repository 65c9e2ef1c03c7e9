"""The id that every request carries into Vault's audit log, and what is said where a rate quota refuses one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from vaultstore.errors import KeyServiceUnavailable
from vaultstore.keys.vault_client import AUDITED_HEADER, VaultClient
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_service import VaultKeyService


def client(url: str, **changes: Any) -> VaultClient:
    return VaultClient(url, **{"timeout": (1.0, 5.0), **changes})


def ids(scripted: Any) -> list[str]:
    return [
        {name.lower(): value for name, value in headers.items()}[AUDITED_HEADER] for _, _, headers, _ in scripted.seen
    ]


def test_every_attempt_of_a_request_carries_the_same_id(scripted: Any) -> None:
    scripted.will(503).will(200)
    client(scripted.url).request("GET", "a", request_id="entry-1")
    assert ids(scripted) == ["entry-1", "entry-1"]


def test_a_request_without_an_id_gets_a_fresh_one(scripted: Any) -> None:
    scripted.will(200)
    for _ in range(2):
        client(scripted.url).request("GET", "a")
    assert len({uuid.UUID(each) for each in ids(scripted)}) == 2


@pytest.mark.parametrize("bad", ["", "a\r\nX-Vault-Token: b", "中", "x" * 129, " ", "a b"])
def test_what_fits_no_header_is_not_put_into_one(scripted: Any, bad: str) -> None:
    scripted.will(200)
    client(scripted.url).request("GET", "a", request_id=bad)
    (sent,) = ids(scripted)
    assert str(uuid.UUID(sent)) == sent


def test_an_unwrap_carries_its_reference(scripted: Any) -> None:
    scripted.will(200, {"data": {"batch_results": [{"plaintext": "", "reference": "entry-9"}]}})
    service = VaultKeyService(client(scripted.url), VaultNames(), purpose="sales", token="t", batch=9)
    service.unwrap("contact", [(b"context", "vault:v1:AAAA")], reference="entry-9")
    assert ids(scripted) == ["entry-9"]


def test_a_rate_quota_is_named_and_waited_for_longer_than_an_overload(scripted: Any) -> None:
    scripted.will(429)
    with pytest.raises(KeyServiceUnavailable, match=r"POST a \(status 429: it is over a rate quota, so ask for less"):
        client(scripted.url, retries=0).request("POST", "a", {})
    assert len(scripted.seen) == 1
