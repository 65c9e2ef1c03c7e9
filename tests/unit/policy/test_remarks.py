"""`check` warns of what is allowed and yet reaches further than it looks, or reaches nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.policy import Policy, check

from .catalogue import members, with_field
from .samples import SMALL, changed


def told(text: str, catalogue: Catalogue | None = None) -> list[str]:
    """The remarks, but for those about categories that the sample leaves unread."""
    warnings = check(Policy.parse(text), catalogue or members()).warnings
    return [str(w).removeprefix("policy.yaml:") for w in warnings if not w.reason.startswith("no purpose reads")]


# ------------------------------------------------------------------------------------------------ services


def test_a_purpose_that_no_service_serves_is_told() -> None:
    text = changed("[care.complaint, registration]", "[care.complaint]")
    assert told(text) == ["40:3: no service serves registration: nobody can use it"]


def test_where_no_service_is_declared_nothing_is_said_of_them() -> None:
    assert told(SMALL.partition("services:")[0]) == []


@pytest.mark.parametrize(("kept", "line"), [("consents", "24:5: sales.outreach"), ("cases", "37:5: care.complaint")])
def test_a_requirement_that_no_service_can_meet_is_told(kept: str, line: str) -> None:
    text = changed("keeps: [cases, consents]", f"keeps: [{'cases' if kept == 'consents' else 'consents'}]")
    requirement = kept.removesuffix("s")
    assert told(text) == [f"{line} requires {requirement}, but no service keeps {kept}: nobody will ever get in"]


def test_approvals_take_a_service_that_files_requests_and_one_that_serves_approvers() -> None:
    text = changed("{consent: matchmaking}", "{consent: matchmaking, approvals: 1}")
    says = "24:5: sales.outreach requires approvals, but no service keeps approvals: nobody will ever get in"
    assert told(text) == [says]
    text = changed("keeps: [revocations]", "keeps: [approvals]", text)
    assert told(text) == []
    lost = changed("purposes: [care.complaint, registration]", "purposes: [registration]", text)
    assert "24:5: sales.outreach is approved under care.complaint alone, which no service serves" in told(lost)


def test_a_service_that_keeps_the_consents_it_needs_is_told() -> None:
    assert told(changed("keeps: [revocations]", "keeps: [consents]")) == [
        "56:74: crm keeps consents and serves sales.outreach, which requires one: it could make it up"
    ]


def test_a_service_on_both_sides_of_a_bar_is_told() -> None:
    text = changed("purposes: [sales.outreach]", "purposes: [sales.outreach, care.complaint]")
    assert told(text) == [
        (
            "56:65: crm serves sales.outreach, open to matchmaker, and care.complaint, which reads Member.name as "
            "care_card: policy.yaml:47:5 keeps those apart"
        )
    ]
    assert told(changed("purposes: [sales.outreach]", "purposes: [sales.outreach, registration]")) == []  # it writes


# ------------------------------------------------------------------------------------------------ reach


def test_what_vault_can_not_tell_apart_is_told() -> None:
    order = Model("Order", "orders", (Field("ship_to", "contact", "orders.ship_to", "str"),))
    catalogue = replace(members(), models={**members().models, "Order": order})
    assert told(SMALL, catalogue) == [
        (
            "45:22: in Vault registration may encrypt contact of Order as well, which is not listed: "
            "only the other planes refuse it"
        )
    ]


def test_two_purposes_that_add_up_are_told() -> None:
    text = changed(
        "roles: [registrar]\n    write",
        "roles: [care_agent]\n    read: {ChatMessage: {categories: [chat_flags]}}\n    write",
    )
    assert [line for line in told(text) if "role registrar" not in line] == [
        (
            "44:5: care_agent reaches more through care.complaint and registration than through either: "
            "registration adds ChatMessage.body (chat_flags)"
        )
    ]


def test_purposes_of_which_one_shows_all_the_others_do_are_no_matter() -> None:
    """As a pool card with the same masks beside the sales card: the desk sees nothing by joining them."""
    more = "    read: {Member: {categories: [%s]}}\n    write: {Member: [contact]}"
    for category in ("care_card", "contact, identity"):
        text = changed("roles: [registrar]\n    write: {Member: [contact]}", f"roles: [care_agent]\n{more % category}")
        assert [line for line in told(text) if "reaches more" in line] == []
    pool = changed("    write: {Member: [contact]}", "    read: {Member: {categories: [pool_card]}}")
    pool = changed("roles: [registrar]\n    read", "roles: [matchmaker]\n    read", pool)
    assert [line for line in told(pool) if "reaches more" in line] == []


def test_two_masks_of_one_field_add_up_over_two_purposes() -> None:
    text = changed(
        "  - roles: [matchmaker]\n    categories: [contact, identity]\n    except: {Member.phone: [sales_card], "
        "Member.name: [sales_card], Member.wechat: [sales_card]}\n",
        "  - roles: [registrar]\n    categories: [browsing]\n",
    )
    text = changed("roles: [care_agent]\n", "roles: [matchmaker]\n", text)
    [line] = [line for line in told(text) if "reaches more" in line]
    assert "sales.outreach adds" in line or "care.complaint adds" in line
    assert "Member.phone (care_card)" in line or "Member.phone (sales_card)" in line


def masked(residuals: dict[str, int | None]) -> Catalogue:
    """The members' models, where the masks of care_card leave so many candidates."""
    catalogue = members()
    for name, residual in residuals.items():
        field = catalogue.models["Member"].field(name)
        assert field is not None
        others = tuple(p for p in field.projections if p.category != "care_card")
        card = Projection("care_card", "m()", f"members.{name}_care_card", residual)
        catalogue = with_field(catalogue, "Member", replace(field, projections=(*others, card)))
    return catalogue


ALL = ("name", "id_number", "phone", "email", "address")


def test_masks_that_leave_few_candidates_together_are_told() -> None:
    few = masked({**dict.fromkeys(ALL, 1), "phone": 9, "email": 100})
    warnings = told(changed("search: {Member: [phone]}", "search: {Member: [id_number]}"), few)
    assert [line for line in warnings if "leave" in line] == [
        (
            "35:12: the masks of Member that care.complaint sees (name, id_number, phone, email, address) leave 900 "
            "candidates at the least: they show nearly what they mask"
        )
    ]
    assert [line for line in told(SMALL, masked({**dict.fromkeys(ALL, 1), "phone": 1000})) if "leave" in line] == []


def test_a_mask_that_can_not_tell_is_taken_to_leave_many() -> None:
    assert [line for line in told(SMALL, masked({**dict.fromkeys(ALL, 1), "name": None})) if "leave" in line] == []


def test_a_value_that_can_be_tried_out_within_days_is_told() -> None:
    """Nine searches a day, by limits `per: day`."""
    warned = [line for line in told(SMALL, masked({"phone": 100})) if "tries them out" in line]
    assert warned == [
        (
            "36:23: care_agent sees Member.phone in care.complaint but for 100 candidates at the least, "
            "and tries them out by searching within 11 days"
        )
    ]
    assert [line for line in told(SMALL, masked({"phone": 10_000})) if "tries them out" in line] == []
    hourly = changed("search: [{max: 9, per: day, by: purpose}]", "search: [{max: 100, per: 1h, by: purpose}]")
    assert "within 4 days" in "".join(told(hourly, masked({"phone": 10_000})))


def test_searching_in_one_purpose_what_another_masks_is_told() -> None:
    text = changed("    search: {Member: [phone]}\n", "")
    text = changed(", search: [{max: 9, per: day, by: purpose}]", "", text)
    text = changed(
        "roles: [registrar]\n",
        "roles: [care_agent]\n    search: {Member: [phone]}\n    limits: {search: [{max: 50, per: day, by: actor}]}\n",
        text,
    )
    [line] = [line for line in told(text, masked({"phone": 100})) if "tries them out" in line]
    assert "in care.complaint" in line
    assert "within 2 days" in line


def test_a_category_that_is_only_searched_is_not_kept_for_nobody() -> None:
    text = changed(
        "    write: {Member: [contact]}", "    search: {ProfileView: [event]}\n    write: {Member: [contact]}"
    )
    unread = [
        w.reason for w in check(Policy.parse(text), members()).warnings if w.reason.startswith("no purpose reads")
    ]
    assert not [reason for reason in unread if "browsing" in reason]


def test_warnings_come_in_the_order_of_the_lines() -> None:
    lines = [w.place.line for w in check(Policy.parse(SMALL), masked({"phone": 100})).warnings]
    assert lines == sorted(lines)
    assert len(lines) > 6


def test_an_index_of_an_unmasked_field_is_no_matter() -> None:
    order = Model("Order", "orders", (Field("code", "contact", "orders.code", "str", Index("orders.code", "text()")),))
    catalogue = replace(members(), models={**members().models, "Order": order})
    text = changed("search: {Member: [phone]}", "search: {Member: [phone], Order: [code]}")
    assert [line for line in told(text, catalogue) if "tries" in line] == []
