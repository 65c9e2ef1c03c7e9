"""A rule of `never` bars reading and searching, through every projection that it does not except."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaultstore.catalogue import Catalogue, Field, Projection
from vaultstore.errors import PolicyError
from vaultstore.policy import Policy

from .catalogue import members, with_field
from .samples import SMALL, changed


def bars(text: str, catalogue: Catalogue | None = None) -> list[str]:
    """What `text` does that a rule bars."""
    return [e.reason for e in Policy.parse(text).check(catalogue or members()).errors if "bars" in e.reason]


def test_reading_a_barred_category_is_an_error() -> None:
    [reason] = bars(changed("{categories: [sales_card], rows", "{categories: [sales_card, contact], rows"))
    assert reason == (
        "sales.outreach is open to matchmaker and reads contact of Member, "
        "which the rule at policy.yaml:47:5 bars: numbers stay in"
    )


def test_a_projection_of_a_barred_category_is_an_error_field_by_field() -> None:
    text = changed(
        "    except: {Member.phone: [sales_card], Member.name: [sales_card], Member.wechat: [sales_card]}\n", ""
    )
    assert [reason.split(" as ")[0].rsplit(" ", 1)[1] for reason in bars(text)] == [
        "Member.name",
        "Member.phone",
        "Member.wechat",
    ]


def test_a_new_mask_of_a_barred_field_is_barred_until_it_is_excepted() -> None:
    email = members().models["Member"].field("email")
    assert email is not None
    masked = replace(email, projections=(*email.projections, Projection("sales_card", "initial()", "members.email_s")))
    catalogue = with_field(members(), "Member", masked)
    assert len(bars(SMALL, catalogue)) == 1
    assert (
        bars(
            changed("Member.phone: [sales_card],", "Member.phone: [sales_card], Member.email: [sales_card],"), catalogue
        )
        == []
    )


def test_searching_a_barred_field_is_an_error() -> None:
    """Whoever may ask "is it this one?" often enough has read it."""
    [reason] = bars(changed("    batch: 50", "    search: {Member: [phone]}\n    batch: 50"))
    assert "sales.outreach is open to matchmaker and searches Member.phone" in reason


def test_writing_a_barred_category_is_allowed_and_remarked_where_an_index_can_be_guessed_at() -> None:
    text = changed("    batch: 50", "    write: {Member: [contact]}\n    batch: 50")
    assert bars(text) == []
    warnings = [str(w) for w in Policy.parse(text).check(members()).warnings]
    assert (
        "policy.yaml:27:22: matchmaker may not read contact, but writes Member.phone and so holds its index key, "
        "which tests guesses"
    ) in warnings


def test_a_role_among_others_is_enough() -> None:
    assert bars(changed("roles: [care_agent]", "roles: [care_agent, matchmaker]"))


def test_a_rule_that_lists_a_projection_bars_it_as_a_category() -> None:
    [reason] = bars(changed("categories: [contact, identity]", "categories: [contact, identity, sales_card]"))
    assert "reads sales_card of Member" in reason


def test_a_field_that_a_model_inherits_is_barred_and_excepted_with_its_base() -> None:
    catalogue = members()
    vip = replace(catalogue.models["Member"], name="VipMember", bases=("Member",))
    catalogue = replace(catalogue, models={**catalogue.models, "VipMember": vip})
    assert bars(SMALL, catalogue) == []
    assert len(bars(changed("Member.phone: [sales_card], ", ""), catalogue)) == 1


def test_a_field_that_a_subclass_adds_is_barred() -> None:
    catalogue = members()
    desk = Field(
        "desk", "contact", "vips.desk", "str", projections=(Projection("sales_card", "keep()", "vips.desk_s"),)
    )
    base = catalogue.models["Member"]
    vip = replace(base, name="VipMember", bases=("Member",), fields=(*base.fields, desk))
    [reason] = bars(SMALL, replace(catalogue, models={**catalogue.models, "VipMember": vip}))
    assert "reads VipMember.desk as sales_card" in reason


def test_a_store_does_not_open_with_a_policy_that_crosses_a_bar() -> None:
    policy = Policy.parse(changed("Member.phone: [sales_card], ", ""))
    with pytest.raises(PolicyError, match="bars: numbers stay in"):
        policy.bind(members())
