"""What the rest of the library asks of a bound policy."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from vaultstore.errors import PolicyError
from vaultstore.policy import BoundPolicy, Decision, Policy, Service, explain, matrix
from vaultstore.policy.model import KEEPS
from vaultstore.policy.places import Places

from .catalogue import members
from .samples import SMALL, changed


@pytest.fixture(scope="module")
def bound() -> BoundPolicy:
    return Policy.parse(SMALL).bind(members())


def test_a_granted_source_is_clear() -> None:
    text = changed("read: {Member: {categories: [care_card]}}", "read: {Member: {categories: [care_card, contact]}}")
    decision = Policy.parse(text).bind(members()).decision("care.complaint", "Member", "phone")
    assert decision == Decision("clear", "contact", "care.complaint reads contact", "policy.yaml:35:45")
    assert str(decision) == "clear"


def test_a_granted_projection_is_masked(bound: BoundPolicy) -> None:
    decision = bound.decision("sales.outreach", "Member", "phone")
    assert decision == Decision(
        "masked", "sales_card", "sales.outreach reads sales_card, a mask of contact", "policy.yaml:23:29"
    )
    assert str(decision) == "masked:sales_card"


def test_a_denial_says_what_is_read_instead_and_which_rule_bars_it(bound: BoundPolicy) -> None:
    decision = bound.decision("sales.outreach", "Member", "email")
    assert (decision.kind, decision.category, decision.place) == ("denied", None, "policy.yaml:23:7")
    assert decision.because == (
        "sales.outreach reads sales_card of Member; email is contact (projections: care_card); "
        "barred by policy.yaml:47:5: numbers stay in"
    )


def test_a_model_that_is_not_listed_is_denied_with_its_rows(bound: BoundPolicy) -> None:
    decision = bound.decision("sales.outreach", "ChatMessage", "body")
    assert str(decision) == "denied"
    assert decision.because == "sales.outreach lists ChatMessage in none of read, search and write"
    assert decision.place == "policy.yaml:17:3"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("sales.outreech", "Member", "phone"), "unknown purpose 'sales.outreech'; did you mean 'sales.outreach'?"),
        (("sales.outreach", "Members", "phone"), "unknown model 'Members'; did you mean 'Member'?"),
        (("sales.outreach", "Member", "fone"), "unknown field 'fone' of Member; did you mean 'phone'?"),
    ],
)
def test_a_name_that_is_not_one_is_answered_with_the_nearest(
    bound: BoundPolicy, names: tuple[str, str, str], expected: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        bound.decision(*names)
    assert str(caught.value) == expected


def test_key_access_gives_each_purpose_its_categories_and_no_more(bound: BoundPolicy) -> None:
    access = bound.key_access("issuer-1")
    assert access.issuer == "issuer-1"
    assert access.categories == members().categories
    assert access.indexes == ("members.email", "members.id_number", "members.phone", "profile_views.event")
    sales, care, registration = (access.purposes[n] for n in ("sales.outreach", "care.complaint", "registration"))
    assert (sales.unwrap, sales.wrap, sales.hmac) == ({"sales_card"}, frozenset(), frozenset())
    assert (care.unwrap, care.wrap, care.hmac) == ({"care_card"}, frozenset(), {"members.phone"})
    assert registration.unwrap == frozenset()
    assert registration.wrap == {"contact", "care_card", "sales_card"}
    assert registration.hmac == {"members.phone", "members.email"}
    assert sales.digest == bound.digest("sales.outreach")


def test_the_matrix_has_a_cell_for_every_purpose_and_field(bound: BoundPolicy) -> None:
    cells = matrix(bound)
    assert len(cells) == 3 * sum(len(model.fields) for model in members())
    phone = {c.purpose: asdict(c) for c in cells if (c.model, c.field) == ("Member", "phone")}
    assert phone["sales.outreach"] | {} == {
        "purpose": "sales.outreach",
        "model": "Member",
        "field": "phone",
        "category": "contact",
        "read": "masked:sales_card",
        "search": False,
        "write": False,
    }
    assert (phone["care.complaint"]["search"], phone["registration"]["write"]) == (True, True)


def test_an_explanation_shows_the_line_behind_the_decision(bound: BoundPolicy) -> None:
    explanation = explain(bound, "sales.outreach", "Member", "phone")
    assert explanation.line == "Member: {categories: [sales_card], rows: claimed_by_actor}"
    assert (explanation.rows, explanation.cell.read) == ("claimed_by_actor", "masked:sales_card")
    assert explanation.purpose.requires.consent == "matchmaking"
    denied = explain(bound, "sales.outreach", "ChatMessage", "body")
    assert (denied.line, denied.rows) == ("sales.outreach:", None)


def test_a_category_may_not_be_a_source_here_and_a_mask_there() -> None:
    catalogue = members()
    chat = catalogue.models["ChatMessage"]
    mixed = replace(chat, fields=(replace(chat.fields[0], category="sales_card"),))
    with pytest.raises(PolicyError, match=r"sales_card is a source \(ChatMessage\.body\) and a projection \(Member\."):
        Policy.parse(SMALL).bind(replace(catalogue, models={**catalogue.models, "ChatMessage": mixed}))


def test_rules_that_were_made_by_hand_have_no_place_in_a_file() -> None:
    rules = Policy.parse(SMALL).rules
    bare = Policy(replace(rules, places=Places()))
    assert bare.bind(members()).decision("sales.outreach", "Member", "phone").place == "<policy>:1:1"


def test_a_bound_policy_hands_out_its_categories_and_purposes(bound: BoundPolicy) -> None:
    assert bound.categories["contact"].sensitive
    assert bound.purpose("sales.outreach") is bound.purposes["sales.outreach"]


def test_reprs_are_short(bound: BoundPolicy) -> None:
    assert repr(bound) == "<BoundPolicy of 3 purposes over 6 models>"
    assert repr(Policy.parse(SMALL)) == "<Policy of 3 purposes from 1 files>"


def test_a_service_has_its_purposes_and_what_it_keeps() -> None:
    services = Policy.parse(SMALL).bind(members()).services
    assert services == {
        "crm": Service("crm", "the sales page", frozenset({"sales.outreach"}), frozenset({"revocations"})),
        "care-desk": Service(
            "care-desk", "", frozenset({"care.complaint", "registration"}), frozenset({"cases", "consents"})
        ),
    }


def test_where_no_service_is_declared_one_serves_everything() -> None:
    [app] = Policy.parse(SMALL.partition("services:")[0]).bind(members()).services.values()
    assert (app.name, set(app.purposes), app.keeps) == ("app", {*Policy.parse(SMALL).purposes}, frozenset(KEEPS))


def test_services_change_no_digest() -> None:
    with_services = Policy.parse(SMALL).bind(members())
    without = Policy.parse(SMALL.partition("services:")[0]).bind(members())
    for name in with_services.purposes:
        assert without.digest(name) == with_services.digest(name)


def test_a_model_without_encrypted_fields_is_listed_with_empty_lists() -> None:
    text = changed("    write: {Member: [contact]}", "    read: {Lead: {categories: []}}\n    write: {Lead: []}")
    policy = Policy.parse(text).bind(members())
    closure = policy.closure("registration")
    assert (closure["read"], closure["write"], closure["seals"]) == ({"Lead": []}, {"Lead": []}, {"Lead": []})
    assert (closure["search"], closure["fields"]) == ({}, {})
    keys = policy.key_access("i").purposes["registration"]
    assert (keys.unwrap, keys.wrap, keys.hmac) == (frozenset(), frozenset(), frozenset())
