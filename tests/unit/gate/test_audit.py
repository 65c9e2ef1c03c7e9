"""The entry: the same bytes from Python and from PostgreSQL, whatever the claims hold."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.gate.world import World
from vaultstore.errors import TokenInvalid, VaultstoreError

AWKWARD = {
    "quote": 'a "b" \\ c / d',
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x80",
    "lines": "\u2028\u2029\ufeff\ufffd",
    "name": "林黛玉 ｆｕｌｌ　width",
    "beyond": "𠮷😀\U0010ffff",
    "": "",
    "\r": "name with a control character",
    "\u20ac": "1",
    "\u0080": "2",
    "\u00f6": "3",
    "\ue000": "sorts after every surrogate",
    "\uffff": "and so does this",
    "\U00010000": "by UTF-16 code units, not by code points",
    "\U0010ffff": "last of all characters",
    "\U0010ffff\ue000x": "mixed",
    "\ue000\U0010ffff": "mixed the other way",
}

VARYING = [
    (r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID"),
    (r"UUID\.[0-9a-f]{8}", "UUID.HEX"),
    (r'"subjects_root":"[0-9a-f]{64}"', '"subjects_root":""'),
    (r'"time":"[^"]*"', '"time":""'),
    (r'"actor":"p-[0-9a-f]{32}"', '"actor":""'),
]


def test_awkward_attributes_give_a_canonical_leaf(world: World) -> None:
    member = world.member("contact")
    opened = world.open("care", 'an"n\\', attributes=AWKWARD, jti="\x1f😀")
    world.disclose(opened, [member], "contact")
    content = world.last().content  # verified: canonical JSON, and the root over its lines
    assert content["attributes"] == AWKWARD
    assert (world.last().actor, content["jti"]) == ('an"n\\', "\x1f😀")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attributes=st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=4))
def test_any_attributes_give_a_canonical_leaf_or_no_grant(world: World, attributes: dict[str, str]) -> None:
    member = os.urandom(16)
    world.refs[member, "contact"] = ("contact", member, b"", 1)
    awkward = any("\0" in text for item in attributes.items() for text in item)
    try:
        opened = world.open("care", attributes=attributes)
    except TokenInvalid:
        assert awkward
        return
    assert not awkward
    world.disclose(opened, [member], "contact")
    assert world.last().content["attributes"] == attributes


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x\udfff"])
def test_claims_that_no_audit_log_can_carry_make_no_grant(world: World, text: str) -> None:
    with pytest.raises(TokenInvalid, match="can't carry"):
        world.open("care", attributes={"store": text})
    assert world.open("care", attributes={"store": "\\u0000"})  # a backslash and text: fine


def test_each_act_leaves_its_entry(world: World) -> None:
    told = _acts(world)
    assert [(entry["kind"], entry["outcome"]) for entry in told] == [
        ("seal", "sealed"),
        ("seal", "sealed"),
        ("restrict", "restricted"),
        ("disclose", "partial"),
        ("disclose", "refused:not.granted"),
        ("search", "searched"),
        ("found", "found"),
        ("search", "refused:budget.exhausted"),
        ("approve", "approved"),
        ("approve", "refused:request.own"),
        ("check", "refused:token.revoked"),
    ]


@pytest.mark.integration
def test_both_gates_write_the_same_leaves(sqlite: World, pg: World) -> None:
    assert _acts(sqlite) == _acts(pg)


def _acts(world: World) -> list[dict[str, object]]:
    """One of each act, as leaves without what is random or the time."""
    subjects = [bytes([at]) * 16 for at in range(1, 4)]
    needs = [("contact", subject, b"") for subject in subjects]
    refs = world.seal(world.open("import", attributes=AWKWARD), needs[:2]).minted
    world.seal(world.open("import"), needs[2:])
    world.subjects.restrict(subjects[1], reason="silent")
    world.gate.disclose(world.open("care"), "Member", ["contact"], [*refs, (*needs[2], 1)])
    _refused(lambda: world.gate.disclose(world.open("cards"), "Member", ["contact"], refs))
    opened = world.open("lookup")
    searched = world.gate.search(opened, "Member", "phone", [b"1", b"2"])
    world.gate.found(opened, searched.entry, 2, subjects)
    _refused(lambda: world.gate.search(opened, "Member", "phone", [b"3"] * 3))
    request = world.approvals.request_access(world.grant("probe", "sam"), "probe")
    world.approvals.approve(request, world.grant("lead", "lea", "lead"))
    _refused(lambda: world.approvals.approve(request, world.grant("lead", "sam", "safety")))
    world.revocations.revoke(jti="stolen")
    _refused(lambda: world.gate.check(world.grant("care", jti="stolen")))
    told = []
    for entry in world.entries():
        leaf = entry.leaf
        for varying, what in VARYING:
            leaf = re.sub(varying, what, leaf)
        told.append({**json.loads(leaf), "leaf": leaf, "lines": entry.lines})
    return told


def _refused(act: Callable[[], object]) -> None:
    with pytest.raises(VaultstoreError):
        act()
