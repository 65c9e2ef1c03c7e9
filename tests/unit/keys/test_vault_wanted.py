"""What a policy wants of a Vault, without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstore.errors import SettingsError
from vaultstore.keys import VaultKeys
from vaultstore.keys.vault_access import role_of, wanted
from vaultstore.keys.vault_names import VaultNames, networks
from vaultstore.keys.vault_resource import Look, PublicKeys, Resource, same
from vaultstore.policy.access import KeyAccess, PurposeKeys

NAMES = VaultNames("transit", "vs-", "jwt")
SALES = PurposeKeys("sha256:s", frozenset({"card"}), frozenset(), frozenset({"Member.phone"}), ttl=60)
ACCESS = KeyAccess("us", frozenset({"card", "contact"}), ("Member.phone",), {"sales": SALES})


def things(access: KeyAccess = ACCESS, **settings: object) -> list[str]:
    return [resource.thing for resource in wanted(NAMES, access, **{"ttl": 900, **settings})]  # type: ignore[arg-type]


def test_everything_is_wanted_in_an_order_in_which_it_can_be_made() -> None:
    assert things(hmac_rate=5) == [
        "mount transit",
        "settings of mount transit",
        "audit settings of mount transit",
        "audited header x-vaultstore-request-id",
        "key vs-cat-card",
        "key vs-cat-contact",
        "key vs-idx-Member.phone",
        "key vs-sig-audit",
        "key vs-sig-tokens",
        "mount auth/jwt",
        "audit settings of mount auth/jwt",
        "trust of auth mount jwt",
        "rate quota vs-idx-Member.phone",
        "ACL policy vs-sales",
        "JWT role sales",
    ]


def test_a_namespace_has_no_audited_header_and_no_quota() -> None:
    assert "audited header x-vaultstore-request-id" not in things(namespaced=True)
    with pytest.raises(SettingsError, match="root namespace"):
        things(namespaced=True, hmac_rate=1)


def test_no_quota_is_wanted_without_a_rate() -> None:
    assert not [thing for thing in things() if thing.startswith("rate quota")]


def test_every_key_is_one_that_cannot_leave() -> None:
    for resource in wanted(NAMES, ACCESS, ttl=900):
        if resource.kind == "key":
            never = {name: resource.fixed[name] for name in ("exportable", "allow_plaintext_backup", "imported_key")}
            assert set(never.values()) == {False}
            assert resource.settings == {"deletion_allowed": False}


@pytest.mark.parametrize(("own", "most", "life"), [(60, 900, 60), (3600, 900, 900), (None, 900, 900), (900, 1, 1)])
def test_a_login_lives_as_long_as_both_allow(own: int | None, most: int, life: int) -> None:
    role = role_of(NAMES, "sales", replace(SALES, ttl=own), ttl=most)
    assert {role[name] for name in ("token_ttl", "token_max_ttl", "token_explicit_max_ttl")} == {life}


def test_a_purpose_that_vault_would_rename_is_refused() -> None:
    with pytest.raises(SettingsError, match="lower case"):
        things(replace(ACCESS, purposes={"Sales": SALES}))


def test_networks_are_written_as_vault_shows_them() -> None:
    given = ["192.0.2.7/32", " 10.1.2.3/8", "::1/128", "2001:db8::/32", "10.0.0.0/8"]
    assert networks(given) == ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1")
    for wrong in ("", "everywhere", "10.0.0.0/33"):
        with pytest.raises(SettingsError, match="not a network"):
            networks([wrong])


@pytest.mark.parametrize("settings", [{"login_ttl": 0}, {"hmac_rate": -1}, {"bound_cidrs": ["x"]}])
def test_settings_that_would_open_something_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        VaultKeys("https://vault.example", **settings)  # type: ignore[arg-type]


def test_settings_mean_the_same_in_whatever_way_servers_show_them() -> None:
    assert same(None, []) and same("", None) and same({}, None) and same(0, False) and same(["b", "a"], ("a", "b"))
    assert not same(0, -1) and not same(None, True) and not same(["a"], ["a", "b"]) and not same({"a": 1}, {"a": 2})


def test_a_look_tells_what_can_be_changed_from_what_cannot() -> None:
    key = Resource("key", "k", "p", {"deletion_allowed": False}, {"type": "hmac", "exportable": False})
    assert Look(key, None, key.settings).missing
    seen = Look(key, {"type": "aes", "exportable": False, "deletion_allowed": True}, key.settings)
    assert (seen.differing, seen.immovable) == (("deletion_allowed",), ("type",))
    # A setting that the server does not know can't be wrong.
    assert Look(key, {"type": "hmac"}, key.settings).immovable == ()


def test_public_keys_are_named_where_no_server_is_asked() -> None:
    trust = next(resource for resource in wanted(NAMES, ACCESS, ttl=900) if resource.kind == "trust")
    assert isinstance(trust.settings["jwt_validation_pubkeys"], PublicKeys)
    assert str(trust.settings["jwt_validation_pubkeys"]) == "<the public keys of transit/keys/vs-sig-tokens>"
