"""The ACL policy and the JWT role of a purpose: its categories, its own digest, and nothing else."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vaultstore.keys.vault_access import role_of
from vaultstore.keys.vault_acl import acl_text
from vaultstore.keys.vault_names import VaultNames
from vaultstore.policy.access import PurposeKeys

NAMES = VaultNames("transit", "vs-", "jwt")
some = st.frozensets(st.sampled_from(["contact", "identity", "sales_card", "browsing"]))
rights = st.builds(
    PurposeKeys,
    st.just("sha256:1"),
    some,
    some,
    st.frozensets(st.sampled_from(["Member.phone", "A.b"])),
    rotate=some,
    rewrap=some,
    retire=some,
)


@given(rights)
def test_an_acl_allows_exactly_what_the_purpose_may(given_rights: PurposeKeys) -> None:
    text = acl_text(NAMES, "sales.outreach", given_rights)
    block = r'path "([^"]+)" \{\n  capabilities = \["(\w+)"\]\n(?:  allowed_parameters = .*\n)?\}\n'
    allowed = dict(re.findall(block, text))
    expected = {f"transit/decrypt/vs-cat-{name}": "update" for name in given_rights.unwrap}
    expected |= {f"transit/encrypt/vs-cat-{name}": "update" for name in given_rights.wrap}
    expected |= {f"transit/rewrap/vs-cat-{name}": "update" for name in given_rights.rewrap}
    expected |= {f"transit/keys/vs-cat-{name}/rotate": "update" for name in given_rights.rotate}
    expected |= {f"transit/keys/vs-cat-{name}": "read" for name in given_rights.kept}
    for verb in ("config", "trim"):
        expected |= {f"transit/keys/vs-cat-{name}/{verb}": "update" for name in given_rights.retire}
    expected |= {f"transit/hmac/vs-idx-{name}": "update" for name in given_rights.hmac}
    assert allowed == expected | {"auth/token/lookup-self": "read", "auth/token/revoke-self": "update"}
    assert text.count("path ") == len(allowed)
    assert "*" not in text


def test_a_role_binds_purpose_digest_and_audience_and_knows_no_leeway() -> None:
    role = role_of(NAMES, "sales.outreach", PurposeKeys("sha256:9", frozenset(), frozenset(), frozenset()), ttl=60)
    assert role["bound_claims"] == {"purpose": "sales.outreach", "pol": "sha256:9"}
    assert role["bound_audiences"] == ["vault"]
    assert {role[f"{name}_leeway"] for name in ("clock_skew", "expiration", "not_before")} == {-1}
    assert role["token_policies"] == ["vs-sales.outreach"]
    assert role["token_no_default_policy"] is True
    assert role["token_max_ttl"] == 60
