"""What the Vault plane prints, and what it makes of each setting that differs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.vault_plane import ISSUER, POLICY, bind
from vaultstore.keys import VaultKeys
from vaultstore.keys.vault_acl import parse_acl
from vaultstore.keys.vault_resource import Look, Resource
from vaultstore.planes.vault import VaultPlane
from vaultstore.planes.vault_facts import facts_of


@pytest.fixture
def plane(tmp_path: Path) -> VaultPlane:
    return VaultPlane(VaultKeys("http://127.0.0.1:9", hmac_rate=7), bind(POLICY, tmp_path), ISSUER)


def test_compiling_asks_no_server_and_prints_every_request(plane: VaultPlane) -> None:
    text = plane.compile()
    assert text == plane.compile()
    paths = re.findall(r"^# POST (\S+)$", text, re.MULTILINE)
    assert len(paths) == len(set(paths))
    assert {path for path in paths if "acl" in path} == {
        f"sys/policies/acl/vs-{name}" for name in ("care.complaint", "registration", "sales.outreach")
    }
    for section in text.split("\n# POST ")[1:]:
        path, _, body = section.partition("\n")
        body = re.split(r"\n\n#", body)[0]
        if path.startswith("sys/policies/acl"):
            assert parse_acl(body)
        else:
            json.loads(body)


def test_every_acl_says_what_its_purpose_is_for(plane: VaultPlane) -> None:
    text = plane.compile()
    assert "# ACL policy vs-sales.outreach\n# sales.outreach: call members\n# POST sys/policies/acl/" in text
    assert '"bound_claims": {\n    "purpose": "sales.outreach",\n    "pol": "sha256:' in text
    assert "<the public keys of transit/keys/vs-sig-tokens>" in text


def test_a_description_is_a_comment_whatever_it_holds(tmp_path: Path) -> None:
    tricky = POLICY.replace("description: call members", 'description: "call\\npath \\"*\\" { capabilities = [] }"')
    text = VaultPlane(VaultKeys("http://127.0.0.1:9"), bind(tricky, tmp_path), ISSUER).compile()
    assert 'path "*"' not in [line[: len('path "*"')] for line in text.splitlines()]


def test_the_policies_for_people_are_readable_hcl(plane: VaultPlane) -> None:
    comments = "\n".join(line[4:] for line in plane.compile().splitlines() if line.startswith("#   "))
    rights = parse_acl(comments)
    assert rights is not None
    assert rights["transit/sign/vs-sig-tokens"] == {"update"}
    assert "transit/decrypt/vs-cat-contact" not in rights


@pytest.mark.parametrize(
    ("name", "wanted", "found", "verdict"),
    [
        ("token_bound_cidrs", [], ["10.0.0.0/8"], "too closed"),
        ("token_bound_cidrs", ["10.0.0.0/8"], ["10.1.0.0/16"], "too closed"),
        ("token_bound_cidrs", ["10.0.0.0/8"], ["10.1.0.0/16", "::1"], "too open"),
        ("token_bound_cidrs", ["10.0.0.0/8"], [], "too open"),
        ("token_ttl", 900, 0, "too open"),
        ("token_ttl", 900, 60, "too closed"),
        ("rate", 5, 50, "too open"),
        ("bound_claims", {"purpose": "a", "pol": "b"}, {"purpose": "a"}, "too open"),
        ("bound_claims", {"purpose": "a", "pol": "b"}, {"purpose": "a", "pol": ["b", "c"]}, "too open"),
        ("bound_claims", {"purpose": "a", "pol": "b"}, {"purpose": "a", "pol": "c"}, "different"),
        ("bound_claims", {"purpose": "a", "pol": "b"}, {"purpose": "a", "pol": "b", "x": "y"}, "too closed"),
        ("bound_audiences", ["vault"], [], "too open"),
        ("token_policies", ["a"], ["a", "b"], "too open"),
        ("token_policies", ["a"], ["b"], "too open"),
        ("jwt_validation_pubkeys", ["one"], [], "too closed"),
        ("jwt_validation_pubkeys", ["one"], ["one", "two"], "too open"),
        ("token_num_uses", 0, 3, "too closed"),
        ("user_claim", "sub", "jti", "different"),
        ("bound_issuer", "us", "", "too open"),
        ("bound_issuer", "us", "them", "different"),
    ],
)
def test_what_a_setting_that_differs_means(name: str, wanted: Any, found: Any, verdict: str) -> None:
    role = Resource("role", "sales", "p", {name: wanted})
    (fact,) = facts_of(Look(role, {name: found}, role.settings))
    assert fact.verdict == verdict
    assert name in fact.expected


def test_an_acl_that_has_more_and_less_is_named_twice() -> None:
    acl = Resource("acl", "a", "p", {"policy": 'path "x" { capabilities = ["read"] }'})
    facts = facts_of(Look(acl, {"policy": 'path "y" { capabilities = ["read"] }'}, acl.settings))
    assert [str(fact) for fact in facts] == [
        "ACL policy a is too open: expected no more than the policy's, found read y",
        "ACL policy a is too closed: expected read x, found nothing of it",
    ]


def test_an_acl_that_only_reads_otherwise_is_different() -> None:
    acl = Resource("acl", "a", "p", {"policy": 'path "x" { capabilities = ["read"] }'})
    (fact,) = facts_of(Look(acl, {"policy": 'path "x" { policy = "read" }'}, acl.settings))
    assert fact.verdict == "too open"  # the old word allows lists too
    (fact,) = facts_of(Look(acl, {"policy": 'path   "x" { capabilities = ["read"] }'}, acl.settings))
    assert fact.verdict == "different"
