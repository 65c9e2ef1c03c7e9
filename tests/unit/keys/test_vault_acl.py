"""Reading ACL policies, ours and other people's, in both of the languages that Vault takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.keys.vault_acl import acl_text, common, marked, parse_acl, render_acl, rights_of, written
from vaultstore.keys.vault_names import VaultNames
from vaultstore.policy.access import PurposeKeys

NAMES = VaultNames("transit", "vs-", "jwt")
capabilities = st.frozensets(st.sampled_from(["create", "read", "update", "delete", "list", "sudo", "deny"]))
rights = st.dictionaries(st.from_regex(r"[a-z+*/.{}-]{1,20}", fullmatch=True), capabilities)


@given(rights, st.sampled_from(["sales.outreach", "a"]))
def test_what_is_rendered_reads_back(some: dict[str, frozenset[str]], purpose: str) -> None:
    text = render_acl(NAMES, purpose, some)
    assert parse_acl(text) == some
    assert marked(text) == ("vs-", purpose)


@given(rights)
def test_the_same_rights_read_the_same_in_json(some: dict[str, frozenset[str]]) -> None:
    text = json.dumps({"path": {path: {"capabilities": sorted(each)} for path, each in some.items()}})
    assert parse_acl(text) == some


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    parse_acl(text)
    parse_acl(f"path {text}")


@given(rights, rights)
def test_what_two_policies_have_in_common_is_within_both(
    one: dict[str, frozenset[str]], other: dict[str, frozenset[str]]
) -> None:
    both = common(one, other)
    assert all(both[path] <= one[path] and both[path] <= other[path] for path in both)
    assert common(one, one) == {path: each for path, each in one.items() if each}


def test_words_that_people_write_are_understood() -> None:
    text = """
    # a comment with path "x/*" { in it
    name = "ops"  // another
    path "secret/*" { capabilities = ["read", "list",] }
    /* path "never" {
       capabilities = ["sudo"] } */
    path "a/b" {
      policy = "write"
      required_parameters = ["context"]
      allowed_parameters = { "ciphertext" = [] "context" = ["QQ=="] }
      max_wrapping_ttl = "1h"
    }
    "path" "a/c" { capabilities = ["deny"] }
    path "secret/*" { capabilities = ["delete"] }
    """
    found = parse_acl(text.replace('"path" "a/c"', 'path "a/c"'))
    assert found == {
        "secret/*": {"read", "list", "delete"},
        "a/b": {"create", "read", "update", "delete", "list"},
        "a/c": {"deny"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "path",
        "}",
        "{",
        "= 1",
        'path "x" {',
        'path "x" { capabilities = [ }',
        'path "x" { capabilities = "update" ',
        'path "x" { capabilities = <<EOT\n',
        'path "x" { policy = "all" }',
        '"a" "b" "c"',
        '{"path": 1}',
        '{"path": {"x": []}}',
    ],
)
def test_what_is_not_understood_is_not_guessed_at(text: str) -> None:
    assert parse_acl(text) is None


def test_rights_come_with_the_tokens_own_end_and_who_opens_and_seals_rewraps_nothing() -> None:
    keys = PurposeKeys("d", frozenset({"contact"}), frozenset({"contact", "card"}), frozenset({"Member.phone"}))
    assert written(rights_of(NAMES, keys)) == (
        "read auth/token/lookup-self, update auth/token/revoke-self, update transit/decrypt/vs-cat-contact, "
        "update transit/encrypt/vs-cat-card, update transit/encrypt/vs-cat-contact, "
        "update transit/hmac/vs-idx-Member.phone"
    )


def test_who_keeps_keys_sets_versions_and_nothing_else_of_a_key() -> None:
    none, one = frozenset[str](), frozenset({"contact"})
    keys = PurposeKeys("d", none, none, none, rotate=one, rewrap=one, retire=one)
    assert written(rights_of(NAMES, keys)) == (
        "read auth/token/lookup-self, update auth/token/revoke-self, read transit/keys/vs-cat-contact, "
        "update(min_decryption_version,min_encryption_version) transit/keys/vs-cat-contact/config, "
        "update transit/keys/vs-cat-contact/rotate, update(min_available_version) transit/keys/vs-cat-contact/trim, "
        "update transit/rewrap/vs-cat-contact"
    )
    text = acl_text(NAMES, "maintenance.keys", keys)
    assert parse_acl(text, limits=True) == rights_of(NAMES, keys)
    assert 'allowed_parameters = { "min_decryption_version" = [], "min_encryption_version" = [] }' in text
    assert "exportable" not in text
    plain = parse_acl(text)
    assert plain is not None
    assert plain["transit/keys/vs-cat-contact/config"] == {"update"}


@pytest.mark.parametrize(
    "text",
    [
        'path "x" { capabilities = ["update"] }',
        'path "x" { capabilities = ["update"] allowed_parameters = {} }',
        'path "x" { capabilities = ["update"] allowed_parameters = { "*" = [] "a" = [] } }',
        'path "x" { capabilities = ["update"] allowed_parameters = {"a" = []} } path "x" { capabilities = ["update"] }',
        '{"path": {"x": {"capabilities": ["update"], "allowed_parameters": {"*": []}}}}',
    ],
)
def test_a_limit_that_limits_nothing_is_none(text: str) -> None:
    assert parse_acl(text, limits=True) == {"x": {"update"}}


def test_limits_are_of_requests_that_have_parameters() -> None:
    text = 'path "x" { capabilities = ["read", "update"] allowed_parameters = { "b" = [], "a" = ["1"] } }'
    assert parse_acl(text, limits=True) == {"x": {"read", "update(a=['1'],b)"}}


def test_the_first_line_says_whose_an_acl_is() -> None:
    text = acl_text(NAMES, "sales.outreach", PurposeKeys("d", frozenset(), frozenset(), frozenset()))
    assert text.splitlines()[0] == "# vaultstore: prefix vs-, purpose sales.outreach"
    assert marked('path "x" {}\n' + text) is None
    assert marked("") is None
