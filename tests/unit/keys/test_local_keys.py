"""What only local keys have: their wrap's form, their clock, and the file behind several objects."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import KeyServiceRefused
from vaultstore.keys import LocalKeys, LoginEnded
from vaultstore.keys.local import LocalKeyService
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.testing.logins import login_token

CONTACT = frozenset({"contact"})
ACCESS = KeyAccess("vaultstore", CONTACT, (), {"registration": PurposeKeys("sha256:1", CONTACT, CONTACT, frozenset())})
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def opened(keys: LocalKeys, **claims: object) -> LocalKeyService:
    return keys.login(login_token(keys, ACCESS, "registration", now=NOW.timestamp(), **claims))


@pytest.fixture(scope="module")
def service() -> LocalKeyService:
    keys = LocalKeys.memory(clock=lambda: NOW)
    keys.provision(ACCESS)
    return opened(keys)


@given(st.binary(min_size=1, max_size=80), st.binary(min_size=32, max_size=32))
def test_a_wrap_is_versioned_text_and_opens_under_its_context_only(
    service: LocalKeyService, context: bytes, data_key: bytes
) -> None:
    (wrapped,) = service.wrap("contact", [(context, data_key)])
    scheme, version, body = wrapped.split(":")
    assert (scheme, version, len(base64.b64decode(body))) == ("local", "v1", 12 + 32 + 16)
    assert service.unwrap("contact", [(context, wrapped)], reference="r") == [data_key]
    assert service.unwrap("contact", [(context + b"\0", wrapped), (context[:-1], wrapped)], reference="r") == [None] * 2


@given(st.integers(0, 59), st.integers(1, 255))
def test_a_wrap_with_any_byte_changed_does_not_open(service: LocalKeyService, place: int, change: int) -> None:
    (wrapped,) = service.wrap("contact", [(b"context", bytes(32))])
    body = bytearray(base64.b64decode(wrapped.removeprefix("local:v1:")))
    body[place] ^= change
    changed = "local:v1:" + base64.b64encode(body).decode()
    assert service.unwrap("contact", [(b"context", changed)], reference="r") == [None]


@given(st.text(max_size=100))
def test_any_text_that_is_no_wrap_is_none(service: LocalKeyService, text: str) -> None:
    items = [(b"context", prefix + text) for prefix in ("", "local:", "local:v", "local:v1:", "local:v1", "vault:v1:")]
    assert service.unwrap("contact", items, reference="r") == [None] * len(items)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (timedelta(seconds=60), "expired"),
        (timedelta(days=1), "expired"),
        (timedelta(seconds=-1), "not valid yet"),
    ],
)
def test_login_goes_by_the_clock_it_was_given(moment: timedelta, reason: str) -> None:
    keys = LocalKeys.memory(clock=lambda: NOW + moment)
    keys.provision(ACCESS)
    with pytest.raises(KeyServiceRefused, match=reason):
        opened(keys)


def test_a_login_token_of_more_than_a_minute_is_refused() -> None:
    keys = LocalKeys.memory(clock=lambda: NOW)
    keys.provision(ACCESS)
    opened(keys, exp=int(NOW.timestamp()) + 60)
    with pytest.raises(KeyServiceRefused, match="too long"):
        opened(keys, exp=int(NOW.timestamp()) + 61)


def test_nothing_is_opened_before_a_policy_gave_rights() -> None:
    keys = LocalKeys.memory()
    with pytest.raises(KeyServiceRefused, match="no purpose was given rights"):
        keys.login("x.y.z")
    with pytest.raises(KeyServiceRefused, match="no signing key"):
        keys.sign("tokens", b"")


def test_another_process_rights_and_keys_are_taken_up_at_login(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with LocalKeys.open(path, clock=lambda: NOW) as writer, LocalKeys.open(path, clock=lambda: NOW) as reader:
        writer.provision(ACCESS)
        writer.rotate("contact")
        token = login_token(writer, ACCESS, "registration", now=NOW.timestamp())
        (wrapped,) = writer.login(token).wrap("contact", [(b"context", bytes(32))])
        assert wrapped.startswith("local:v2:")
        assert reader.login(token).unwrap("contact", [(b"context", wrapped)], reference="r") == [bytes(32)]


def test_closed_keys_end_the_logins_made_from_them() -> None:
    keys = LocalKeys.memory(clock=lambda: NOW)
    keys.provision(ACCESS)
    service = opened(keys)
    keys.close()
    keys.close()
    with pytest.raises(LoginEnded):
        service.wrap("contact", [])
    with pytest.raises(KeyServiceRefused, match="closed"):
        keys.sign("tokens", b"")


@pytest.mark.parametrize("moment", ["soon", True, float("nan"), float("inf"), None])
@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
def test_a_login_tokens_times_are_finite_numbers(claim: str, moment: object) -> None:
    keys = LocalKeys.memory(clock=lambda: NOW)
    keys.provision(ACCESS)
    with pytest.raises(KeyServiceRefused):
        opened(keys, **{claim: moment})


def test_a_category_or_index_without_a_key_is_refused() -> None:
    keys = LocalKeys.memory(clock=lambda: NOW)
    rights = PurposeKeys("sha256:1", CONTACT, CONTACT, frozenset({"Member.phone"}))
    keys.provision(KeyAccess("vaultstore", frozenset(), (), {"registration": rights}))
    service = opened(keys)
    for action in (
        lambda: service.wrap("contact", [(b"context", bytes(32))]),
        lambda: service.unwrap("contact", [], reference="r"),
        lambda: service.hmac("Member.phone", [b""]),
        lambda: keys.rotate("contact"),
    ):
        with pytest.raises(KeyServiceRefused, match="there is no key for"):
            action()
