"""Whether a path pattern of somebody's ACL policy reaches one of ours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.keys.vault_access import wanted
from vaultstore.keys.vault_names import VaultNames
from vaultstore.planes.vault_reach import overlap, protected, reaching
from vaultstore.policy.access import KeyAccess

segment = st.sampled_from(["a", "ab", "b", "+"])
segments = st.lists(segment, min_size=1, max_size=3).map("/".join)
ends = st.sampled_from(["", "*", "/*"])
patterns = st.builds("{}{}".format, segments, ends).filter(lambda text: not text.endswith("+*"))
paths = st.lists(st.sampled_from(["a", "ab", "b", "abb", "c"]), min_size=1, max_size=4).map("/".join)


def matches(pattern: str, path: str) -> bool:
    """Vault's rule, written down as a regular expression."""
    glob = pattern.endswith("*")
    parts = ["[^/]+" if part == "+" else re.escape(part) for part in pattern.removesuffix("*").split("/")]
    return re.fullmatch("/".join(parts) + (".*" if glob else ""), path) is not None


@given(patterns, patterns, paths)
def test_patterns_that_share_a_path_overlap(one: str, other: str, path: str) -> None:
    if matches(one, path) and matches(other, path):
        assert overlap(one, other)
        assert overlap(other, one)


@given(patterns, paths)
def test_a_pattern_overlaps_a_plain_path_exactly_where_it_matches_it(pattern: str, path: str) -> None:
    assert overlap(pattern, path) == overlap(path, pattern) == matches(pattern, path)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("transit/*", "transit/decrypt/vs-cat-contact", True),
        ("tran*", "transit/decrypt/x", True),
        ("*", "transit/decrypt/x", True),
        ("+/decrypt/x", "transit/decrypt/x", True),
        ("transit/+/y", "transit/decrypt/x", False),
        ("transit/decrypt", "transit/decrypt/x", False),
        ("transit/decrypt/{{identity.entity.id}}", "transit/decrypt/x", True),
        ("transit/decrypt/{{identity.entity.id}}*", "transit/decrypt/x", True),
        ("transit2/*", "transit/decrypt/x", False),
        ("transit/decrypt/x/", "transit/decrypt/x", False),
    ],
)
def test_patterns_as_people_write_them(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected


def test_reading_a_description_opens_nothing_and_exporting_does() -> None:
    names = VaultNames()
    guarded = protected(names, wanted(names, KeyAccess("us", frozenset({"contact"}), (), {}), ttl=1)).items()
    read = frozenset({"read"})
    rights = {"transit/keys/*": read, "transit/export/*": read, "transit/decrypt/*": frozenset({"deny"}), "kv/*": read}
    assert dict(reaching(rights, guarded)) == {"transit/export/*": read}
