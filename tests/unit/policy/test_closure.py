"""The closure is everything that enforcement rests on, and its digest moves with that and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from vaultstore.canonical import canonical_json
from vaultstore.catalogue import Catalogue, Field, Index, Model
from vaultstore.policy import BoundPolicy, Policy

from .catalogue import members, with_field, with_mask
from .samples import SMALL, changed

NAME = "sales.outreach"


def bound(text: str = SMALL, catalogue: Catalogue | None = None) -> BoundPolicy:
    return Policy.parse(text).bind(catalogue or members())


def test_the_closure_has_the_fixed_form() -> None:
    closure = bound().closure(NAME)
    fields = closure.pop("fields")
    assert closure == {
        "version": 1,
        "purpose": NAME,
        "roles": ["matchmaker"],
        "read": {"Member": ["sales_card"]},
        "rows": {"Member": "claimed_by_actor"},
        "search": {},
        "write": {},
        "seals": {},
        "approves": [],
        "requires": {
            "consent": "matchmaking",
            "case": False,
            "approvals": 0,
            "subjects": None,
            "sees_restricted": False,
            "sees_canaries": False,
        },
        "limits": {"disclose": [{"max": 100, "per": "day", "by": "actor"}]},
        "timezone": "Asia/Shanghai",
        "batch": 50,
        "ttl": 900,
        "report_after": 0,
        "never": [
            {
                "roles": ["matchmaker"],
                "categories": ["contact", "identity"],
                "except": {
                    "Member.name": ["sales_card"],
                    "Member.phone": ["sales_card"],
                    "Member.wechat": ["sales_card"],
                },
            }
        ],
    }
    assert list(fields) == ["sales_card"]
    assert fields["sales_card"][-2:] == [
        {
            "model": "Member",
            "field": "phone",
            "context": "members.phone_sales_card",
            "type": "str",
            "mask": "keep(first=0,last=4)",
            "index": None,
        },
        {
            "model": "Member",
            "field": "wechat",
            "context": "members.wechat_sales_card",
            "type": "str",
            "mask": "present()",
            "index": None,
        },
    ]


def test_a_writer_seals_its_source_categories_and_their_projections() -> None:
    closure = bound().closure("registration")
    assert closure["write"] == {"Member": ["contact"]}
    assert closure["seals"] == {"Member": ["care_card", "contact", "sales_card"]}
    assert list(closure["fields"]) == ["care_card", "contact", "sales_card"]


def test_a_searched_field_brings_its_index_into_the_closure() -> None:
    phone = next(f for f in bound().closure("care.complaint")["fields"]["contact"] if f["field"] == "phone")
    assert phone["index"] == {"name": "members.phone", "normalizer": "phone_e164(region=CN)", "unique": False}


def test_the_digest_is_sha256_over_the_canonical_closure() -> None:
    policy = bound()
    text = canonical_json(policy.closure(NAME))
    assert policy.digest(NAME) == "sha256:" + hashlib.sha256(text).hexdigest()
    assert json.loads(text) == policy.closure(NAME)


SAME = [
    ("label: marketing.communications", "label: sales"),
    ("description: call members", "description: ring members"),
    ("because: numbers stay in", "because: numbers do not leave"),
    ("write: {Member: [contact]}", "write: {Member: [contact, identity]}"),
    ("search: {Member: [phone]}", "search: {Member: [email]}"),
    ("roles: [care_agent]", "roles: [care_agent, registrar]"),
    ("roles: [matchmaker]\n    categories", "roles: [matchmaker, registrar]\n    categories"),
    ("categories: [contact, identity]", "categories: [identity, contact]"),
    ("Member.phone: [sales_card], Member.name: [sales_card]", "Member.name: [sales_card], Member.phone: [sales_card]"),
    ("{max: 9, per: 1h, by: actor}", "{max: 8, per: 1h, by: actor}"),
    ("version: 1\n", "# a comment moves every line\n\nversion: 1\n"),
    (
        "tests:\n",
        "  - {roles: [registrar], categories: [browsing], because: not needed}\ntests:\n",
    ),
]

OTHER = [
    ("Asia/Shanghai", "UTC"),
    ("roles: [matchmaker]\n    read", "roles: [matchmaker, registrar]\n    read"),
    ("{categories: [sales_card], rows", "{categories: [pool_card], rows"),
    (", rows: claimed_by_actor", ", rows: own_store"),
    (", rows: claimed_by_actor", ""),
    ("{consent: matchmaking}", "{consent: calls}"),
    ("{consent: matchmaking}", "{consent: matchmaking, case: true}"),
    ("{consent: matchmaking}", "{consent: matchmaking, approvals: 1}"),
    ("{consent: matchmaking}", "{consent: matchmaking, subjects: named}"),
    ("{consent: matchmaking}", "{consent: matchmaking, subjects: self}"),
    ("{consent: matchmaking}", "{consent: matchmaking, sees_restricted: true}"),
    ("max: 100, per: day, by: actor", "max: 101, per: day, by: actor"),
    ("max: 100, per: day, by: actor", "max: 100, per: 1d, by: actor"),
    ("max: 100, per: day, by: actor", "max: 100, per: day, by: purpose"),
    ("batch: 50", "batch: 51"),
    ("ttl: 15m", "ttl: 16m"),
    ("report_after: 0d", "report_after: 1d"),
    ("categories: [contact, identity]", "categories: [contact, identity, browsing]"),
    ("Member.phone: [sales_card], ", "Member.phone: [sales_card, care_card], "),
    (
        "tests:\n",
        "  - {roles: [matchmaker], categories: [browsing], because: not theirs}\ntests:\n",
    ),
    ("    batch: 50", "    approves: [registration]\n    batch: 50"),
    ("    batch: 50", "    search: {ProfileView: [event]}\n    batch: 50"),
    ("    batch: 50", "    write: {Member: [preference]}\n    batch: 50"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_an_edit_elsewhere_leaves_the_digest(old: str, new: str) -> None:
    assert bound(changed(old, new)).digest(NAME) == bound().digest(NAME)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_an_edit_of_what_a_purpose_may_do_changes_the_digest(old: str, new: str) -> None:
    assert bound(changed(old, new)).digest(NAME) != bound().digest(NAME)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_only_the_time_zone_concerns_every_purpose(old: str, new: str) -> None:
    same = bound(changed(old, new)).digest("registration") == bound().digest("registration")
    assert same == (old != "Asia/Shanghai")


def test_the_order_of_the_sections_does_not_matter() -> None:
    head, _, rest = SMALL.partition("  care.complaint:\n")
    care, _, tail = rest.partition("  registration:\n")
    top, _, sales = head.partition("purposes:\n")
    moved = f"{top}purposes:\n  care.complaint:\n{care}{sales}  registration:\n{tail}"
    for name in bound().purposes:
        assert bound(moved).digest(name) == bound().digest(name)


def test_a_changed_mask_changes_the_digest_of_those_who_see_it() -> None:
    other = bound(catalogue=with_mask(members(), "Member", "phone", "sales_card", "keep(first=3,last=4)"))
    assert other.digest(NAME) != bound().digest(NAME)
    assert other.digest("registration") != bound().digest("registration")  # it seals that mask
    assert other.digest("care.complaint") == bound().digest("care.complaint")


def test_a_changed_index_changes_the_digest_of_those_who_search_it() -> None:
    phone = members().models["Member"].field("phone")
    assert phone is not None
    changed_index = replace(phone, index=Index("members.phone", "phone_e164(region=SG)"))
    other = bound(catalogue=with_field(members(), "Member", changed_index))
    assert other.digest("care.complaint") != bound().digest("care.complaint")
    assert other.digest(NAME) == bound().digest(NAME)


def test_a_new_field_in_a_category_changes_the_digest_even_in_another_model() -> None:
    """The key of a category opens all of its fields of that member, wherever they stand."""
    order = Model("Order", "orders", (Field("ship_to", "contact", "orders.ship_to", "str"),))
    catalogue = members()
    other = bound(catalogue=replace(catalogue, models={**catalogue.models, "Order": order}))
    assert other.digest("registration") != bound().digest("registration")
    assert other.digest(NAME) == bound().digest(NAME)


def test_the_order_of_models_and_fields_does_not_matter() -> None:
    catalogue = members()
    turned = {
        name: replace(model, fields=tuple(reversed(model.fields)))
        for name, model in reversed(list(catalogue.models.items()))
    }
    other = bound(catalogue=replace(catalogue, models=turned))
    for name in bound().purposes:
        assert other.digest(name) == bound().digest(name)


def test_rights_on_a_base_cover_the_models_that_inherit_from_it() -> None:
    catalogue = members()
    base = catalogue.models["Member"]
    vip = replace(
        base, name="VipMember", bases=("Member",), fields=(*base.fields, Field("desk", "contact", "vips.desk", "str"))
    )
    policy = bound(catalogue=replace(catalogue, models={**catalogue.models, "VipMember": vip}))
    closure = policy.closure(NAME)
    assert closure["read"] == {"Member": ["sales_card"], "VipMember": ["sales_card"]}
    assert closure["rows"] == {"Member": "claimed_by_actor", "VipMember": "claimed_by_actor"}
    assert policy.closure("care.complaint")["search"] == {"Member": ["phone"], "VipMember": ["phone"]}
    assert policy.closure("registration")["seals"]["VipMember"] == ["care_card", "contact", "sales_card"]
    assert policy.decision(NAME, "VipMember", "phone").kind == "masked"


def test_an_entry_of_its_own_wins_over_the_base() -> None:
    catalogue = members()
    vip = replace(catalogue.models["Member"], name="VipMember", bases=("Member",))
    text = changed(
        "      Member: {categories: [sales_card]",
        "      VipMember: {categories: []}\n      Member: {categories: [sales_card]",
    )
    policy = bound(text, replace(catalogue, models={**catalogue.models, "VipMember": vip}))
    assert policy.closure(NAME)["read"] == {"Member": ["sales_card"], "VipMember": []}
    assert policy.closure(NAME)["rows"] == {"Member": "claimed_by_actor"}
    assert policy.decision(NAME, "VipMember", "phone").kind == "denied"


def test_a_caller_can_not_change_the_closure() -> None:
    policy = bound()
    policy.closure(NAME)["read"]["Member"].append("contact")
    assert policy.closure(NAME)["read"] == {"Member": ["sales_card"]}
