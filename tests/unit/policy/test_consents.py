"""A consent of a sensitive category's own: how it is written, whom it concerns, and whose digest changes."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from vaultstore.canonical import canonical_json
from vaultstore.catalogue import Catalogue, Field, Model, Projection
from vaultstore.errors import PolicyError
from vaultstore.gate.closure import parse_closure
from vaultstore.policy import Policy, diff
from vaultstore.policy.remarks import remarks
from vaultstore.policy.schema import schema

CATALOGUE = Catalogue(
    {
        "Member": Model(
            "Member",
            "members",
            (
                Field(
                    "phone", "contact", "members.phone", "text", None, (Projection("card", "m", "members.phone_card"),)
                ),
                Field("name", "identity", "members.name", "text", None, ()),
            ),
        )
    },
    frozenset(),
)

TEXT = """
version: 1
categories:
  contact: {sensitive: true%s}
  identity: {sensitive: true}
  card: {projection: true}
purposes:
  dial: {roles: [a], basis: consent, read: {Member: {categories: [contact]}}, requires: {consent: marketing}}
  take: {roles: [a], basis: separate_consent, write: {Member: [contact]}}
  cards: {roles: [a], basis: consent, read: {Member: {categories: [card]}}, requires: {consent: marketing}}
  care: {roles: [a], basis: contract, read: {Member: {categories: [contact, identity]}}}
"""
WITH, WITHOUT = TEXT % ", consent: phone_consent", TEXT % ""


def test_it_concerns_purposes_that_rest_on_consent_and_open_or_write_the_category() -> None:
    bound = Policy.parse(WITH).bind(CATALOGUE)
    asked = {name: bound.closure(name)["requires"].get("consents") for name in bound.purposes}
    assert asked == {
        "dial": {"contact": "phone_consent"},
        "take": {"contact": "phone_consent"},
        "cards": None,
        "care": None,
    }
    assert bound.consents("dial") == ("marketing", "phone_consent")
    assert bound.consents("dial", "identity") == ("marketing",)
    assert bound.consents("care") == ()


def test_every_other_digest_is_what_it_was() -> None:
    before, after = (Policy.parse(text).bind(CATALOGUE) for text in (WITHOUT, WITH))
    changed = {name for name in before.purposes if before.digest(name) != after.digest(name)}
    assert changed == {"dial", "take"}
    assert "consents" not in before.closure("dial")["requires"]


def test_the_gate_reads_which_consents_a_request_takes() -> None:
    bound = Policy.parse(WITH).bind(CATALOGUE)
    closure = parse_closure(canonical_json(bound.closure("dial")).decode(), bound.digest("dial"))
    assert closure is not None
    assert closure.kinds(["contact"]) == ("marketing", "phone_consent")
    assert closure.kinds(["card"]) == ("marketing",)


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        ("{consent: phone_consent}", "is for a sensitive category"),
        ("{projection: true, consent: phone_consent}", "is for a sensitive category"),
        ("{sensitive: true, consent: Phone consent}", "consent"),
        ("{sensitive: true, consent: 7}", "consent"),
        ("{sensitive: true, consents: x}", "consents"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_loader_and_by_the_schema(category: str, reason: str) -> None:
    text = f"version: 1\ncategories: {{contact: {category}}}\n"
    with pytest.raises(PolicyError, match=reason):
        Policy.parse(text)
    with pytest.raises(jsonschema.ValidationError):
        _validate(category)


def _validate(category: str) -> None:
    words = re.sub(r"([A-Za-z_][A-Za-z_ ]*)", lambda m: json.dumps(m[0]) if m[0] != "true" else m[0], category)
    jsonschema.validate({"version": 1, "categories": {"contact": json.loads(words)}}, schema())


def test_a_difference_says_who_becomes_wider_and_narrower() -> None:
    before, after = (Policy.parse(text).bind(CATALOGUE) for text in (WITHOUT, WITH))
    told = {(f.subject, f.direction) for f in diff(before, after).findings}
    assert told == {("purpose dial", "narrower"), ("purpose take", "narrower"), ("category contact", "note")}
    back = diff(after, before)
    assert back.widens
    assert {f.what for f in back.findings if f.direction == "wider"} == {
        "requires consent for contact: phone_consent -> none"
    }
    contract = Policy.parse(WITH.replace("dial: {roles: [a], basis: consent", "dial: {roles: [a], basis: contract"))
    assert diff(after, contract.bind(CATALOGUE)).widens


def test_check_warns_of_one_consent_for_everything() -> None:
    def told(text: str) -> list[str]:
        policy = Policy.parse(text).bind(CATALOGUE)
        return [r.reason for r in remarks(policy.rules, CATALOGUE) if "consent of its own" in r.reason]

    [warning] = told(WITHOUT)
    assert warning.startswith("dial rests on consent and reads contact")
    assert told(WITH) == []
    named = WITHOUT.replace(
        "requires: {consent: marketing}}\n  take", "requires: {consent: marketing, subjects: named}}\n  take"
    )
    assert told(named) == []
