"""Attacks on key files and logins: links, modes, changes behind our back, and what a login keeps."""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.errors import carried
from vaultstore.errors import KeyServiceError, KeyServiceRefused, SettingsError, VaultstoreError
from vaultstore.keys import KeyService, LocalKeys, LoginEnded
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.tokens.compact import b64url, signing_input


def rights(digest: str = "d1", *, unwrap: str = "card", wrap: str = "", hmac: str = "") -> PurposeKeys:
    return PurposeKeys(digest, frozenset(unwrap.split()), frozenset(wrap.split()), frozenset(hmac.split()))


def access(**purposes: PurposeKeys) -> KeyAccess:
    return KeyAccess("vaultstore", frozenset({"card", "contact"}), ("phone",), purposes)


def login(keys: LocalKeys, purpose: str = "sales", digest: str = "d1", **changes: Any) -> KeyService:
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": "vaultstore", "aud": "vault", "sub": "u-1", "iat": now - 5, "nbf": now - 5, "exp": now + 55}
    claims |= {"jti": "j", "purpose": purpose, "pol": digest} | changes
    content = signing_input({"alg": "EdDSA", "kid": "tokens:1", "typ": "JWT"}, claims)
    return keys.login(f"{content.decode()}.{b64url(keys.sign('tokens', content).value)}")


# ------------------------------------------------------------------------------------------------------- the file


def test_a_linked_key_file_is_changed_where_it_lies_and_stays_one_file(tmp_path: Path) -> None:
    vault, store = tmp_path / "vault", tmp_path / "store"
    vault.mkdir()
    store.mkdir()
    (store / "keys.json").symlink_to(vault / "real.json")
    with LocalKeys.open(store / "keys.json") as keys:
        keys.provision(access(sales=rights()))
        public = keys.public_keys("tokens")
    assert (store / "keys.json").is_symlink()
    assert [path.name for path in store.iterdir()] == ["keys.json"]
    assert stat.S_IMODE((vault / "real.json").stat().st_mode) == 0o600
    with LocalKeys.open(vault / "real.json") as keys:
        assert keys.public_keys("tokens") == public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_link_does_not_hide_that_others_can_touch_the_file(tmp_path: Path, mode: int) -> None:
    real = tmp_path / "real.json"
    LocalKeys.open(real).close()
    real.chmod(mode)
    (tmp_path / "keys.json").symlink_to(real)
    with pytest.raises(SettingsError, match="read by others"):
        LocalKeys.open(tmp_path / "keys.json")


def test_a_file_that_becomes_readable_by_others_while_it_is_open_logs_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with LocalKeys.open(path) as keys:
        keys.provision(access(sales=rights()))
        other = tmp_path / "other.json"
        other.write_bytes(path.read_bytes())
        other.chmod(0o644)
        other.replace(path)
        with pytest.raises(SettingsError, match="read by others"):
            login(keys)
        with pytest.raises(SettingsError, match="read by others"):
            keys.provision(access(sales=rights()))


def test_links_in_a_circle_and_leftovers_that_cannot_go_are_settings_errors(tmp_path: Path) -> None:
    circle = tmp_path / "circle.json"
    circle.symlink_to(circle)
    with pytest.raises(SettingsError, match="loop"):
        LocalKeys.open(circle)
    path = tmp_path / "keys.json"
    LocalKeys.open(path).close()
    (tmp_path / ".keys.json.stuck.tmp").mkdir()
    with LocalKeys.open(path) as keys, pytest.raises(SettingsError):
        keys.provision(access())


def test_a_name_with_wildcards_clears_up_after_nobody_else(tmp_path: Path) -> None:
    foreign = tmp_path / ".keys1.json.0.tmp"
    foreign.write_text("somebody else's")
    with LocalKeys.open(tmp_path / "keys[0-9].json") as keys:
        keys.provision(access())
    assert foreign.exists()


def test_no_error_about_a_key_file_carries_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with LocalKeys.open(path) as keys:
        keys.provision(access(sales=rights()))
    text = path.read_text()
    document = json.loads(text)
    secrets = [
        key
        for section in ("categories", "indexes", "signing")
        for v in document[section].values()
        for key in v.values()
    ]
    for damaged in (
        text[:-20],
        text.replace('"version": 1', '"version": 2'),
        text.replace(secrets[0], secrets[0][:-8]),
        text.replace('"card"', "card", 1),
        text + "x",
    ):
        path.write_text(damaged)
        with pytest.raises(SettingsError) as caught:
            LocalKeys.open(path)
        told = carried(caught.value)
        for secret in secrets:
            assert secret.encode() not in told
            assert base64.b64decode(secret) not in told


# ------------------------------------------------------------------------------------------------------- the login


def test_a_login_keeps_no_right_that_its_purpose_lost() -> None:
    with LocalKeys.memory() as keys:
        keys.provision(access(sales=rights(wrap="card contact", hmac="phone")))
        service = login(keys)
        (wrapped,) = service.wrap("card", [(b"context", bytes(32))])
        assert service.unwrap("card", [(b"context", wrapped)], reference="x") == [bytes(32)]
        for changed in (access(sales=rights(hmac="phone")), access(other=rights())):
            keys.provision(changed)
            for use in (
                lambda: service.wrap("contact", [(b"context", bytes(32))]),
                lambda: service.unwrap("card", [(b"context", wrapped)], reference="x"),
                lambda: service.rewrap("card", [(b"context", wrapped)]),
                lambda: service.hmac("phone", [b"1"]),
            ):
                with pytest.raises(LoginEnded):
                    use()


def test_a_login_goes_on_over_an_edit_of_another_purpose() -> None:
    with LocalKeys.memory() as keys:
        keys.provision(access(sales=rights(hmac="phone")))
        service = login(keys)
        digest = service.hmac("phone", [b"1"])
        keys.provision(access(sales=rights(hmac="phone"), care=rights("d2", unwrap="contact")))
        assert service.hmac("phone", [b"1"]) == digest


def test_digests_and_wraps_take_their_own_right_each() -> None:
    with LocalKeys.memory() as keys:
        keys.provision(access(reader=rights(unwrap="contact"), writer=rights(unwrap="", wrap="contact")))
        reader, writer = login(keys, "reader"), login(keys, "writer")
        (wrapped,) = writer.wrap("contact", [(b"context", bytes(32))])
        for refused in (
            lambda: writer.unwrap("contact", [(b"context", wrapped)], reference="x"),
            lambda: writer.rewrap("contact", [(b"context", wrapped)]),
            lambda: reader.wrap("contact", [(b"context", bytes(32))]),
            lambda: reader.rewrap("contact", [(b"context", wrapped)]),
            lambda: reader.hmac("phone", [b"1"]),
            lambda: reader.unwrap("phone", [(b"context", wrapped)], reference="x"),
            lambda: reader.unwrap("tokens", [(b"context", wrapped)], reference="x"),
        ):
            with pytest.raises(KeyServiceRefused):
                refused()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "purpose": st.sampled_from(["other", "", None, ["sales"], {"sales": 1}, 1]),
            "pol": st.sampled_from(["d2", "", None, ["d1"], True]),
            "aud": st.sampled_from(["vaultstore", "", None, ["vault"], ["vault", "vaultstore"]]),
            "iss": st.sampled_from(["", None, "vaultstore/", ["vaultstore"]]),
            "exp": st.sampled_from([0, -1, None, "9999999999", 2**53 - 1, True, 1e308]),
            "nbf": st.sampled_from([2**40, None, "0", False, [0]]),
            "iat": st.sampled_from([0, None, "0", [], True]),
        },
    ).filter(bool)
)
def test_no_claim_of_a_login_token_can_be_anything_else(changes: dict[str, Any]) -> None:
    with LocalKeys.memory() as keys:
        keys.provision(access(sales=rights()))
        with pytest.raises(KeyServiceError):
            login(keys, **changes)


def test_what_a_refused_login_says_carries_nothing_of_it() -> None:
    secret = os.urandom(8).hex()
    with LocalKeys.memory() as keys:
        keys.provision(access(sales=rights()))
        for changes in (
            {"sub": secret, "exp": 0},
            {"jti": secret, "aud": secret},
            {"iss": secret},
            {"extra": secret, "pol": secret},
        ):
            with pytest.raises(VaultstoreError) as caught:
                login(keys, **changes)
            assert secret.encode() not in carried(caught.value)
