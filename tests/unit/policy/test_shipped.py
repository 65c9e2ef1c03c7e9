"""The shipped policy keeps what was promised: stated here once more, in code, so that one slip is not enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from vaultstore.catalogue import Catalogue
from vaultstore.members import scopes
from vaultstore.members.models import Base
from vaultstore.orm import catalogue_of
from vaultstore.orm.scopes import scope_named
from vaultstore.policy import BoundPolicy, ModelRead, Policy, check, matrix

from .catalogue import shipped

assert scopes  # importing them registers the row scopes
FOLDER = Path(__file__).parents[3] / "policies"
SALES = ("matchmaker", "store_manager")
SOURCES = {"identity", "contact", "profile", "preference", "conversation", "browsing"}
PURPOSES = [
    "registration",
    "member.self",
    "member.inbox",
    "chat.delivery",
    "matching",
    "sales.pool",
    "sales.city",
    "sales.outreach",
    "sales.manage",
    "sales.desk",
    "suppression.desk",
    "relay.desk",
    "relay.telephony",
    "care.complaint",
    "care.intake",
    "safety.triage",
    "safety.investigation",
    "safety.desk",
    "identity.verification",
    "identity.lookup",
    "privacy.request",
    "privacy.erasure",
    "privacy.rekey",
    "maintenance.projection",
    "maintenance.index",
    "maintenance.keys",
    "audit.review",
    "audit.trace",
]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(FOLDER)


@pytest.fixture(scope="module")
def bound(policy: Policy) -> BoundPolicy:
    return policy.bind(shipped())


def open_to(bound: BoundPolicy, *roles: str) -> list[str]:
    return [name for name, purpose in bound.purposes.items() if purpose.roles.intersection(roles)]


def test_it_has_neither_errors_nor_warnings(policy: Policy) -> None:
    report = check(policy, shipped())
    assert [str(e) for e in report.errors] == []
    assert [str(w) for w in report.warnings] == []
    assert report.tests >= 100


def test_it_has_the_purposes_of_the_design(policy: Policy) -> None:
    assert sorted(policy.purposes) == sorted(PURPOSES)


def test_every_purpose_has_tests_of_its_own(policy: Policy) -> None:
    for name in PURPOSES:
        assert sum(test.purpose == name for test in policy.tests) >= 3, name
        assert any(test.purpose == name and test.expect == "denied" for test in policy.tests), name


def test_no_seller_reads_a_sensitive_category_in_clear(bound: BoundPolicy) -> None:
    names = open_to(bound, *SALES)
    assert names == ["sales.pool", "sales.city", "sales.outreach", "sales.manage"]
    for cell in matrix(bound):
        if cell.purpose in names:
            assert cell.read != "clear", cell
            assert not cell.search, cell
            assert not cell.write, cell


def test_no_seller_sees_chats_views_or_wishes_in_any_form(bound: BoundPolicy) -> None:
    for cell in matrix(bound):
        if cell.purpose.startswith("sales.") and cell.category in ("conversation", "browsing", "preference"):
            assert cell.read == "denied", cell


def test_of_identity_and_contact_a_seller_sees_three_masks(bound: BoundPolicy) -> None:
    seen = {
        cell.field
        for cell in matrix(bound)
        if cell.purpose.startswith("sales.") and cell.category in ("identity", "contact") and cell.read != "denied"
    }
    assert seen == {"name", "phone", "wechat"}


@pytest.mark.parametrize("category", sorted(SOURCES))
@pytest.mark.parametrize("purpose", ["sales.pool", "sales.outreach", "sales.manage"])
def test_granting_a_source_to_sales_is_barred(policy: Policy, purpose: str, category: str) -> None:
    """The bar holds whatever a later edit grants."""
    model = {"conversation": "ChatMessage", "browsing": "ProfileView"}.get(category, "Member")
    sales = policy.purposes[purpose]
    granted = replace(sales, read={**sales.read, model: ModelRead(frozenset({category}))})
    rules = replace(policy.rules, purposes={**policy.purposes, purpose: granted})
    errors = [str(e) for e in check(Policy(rules), shipped()).errors]
    assert any(f"reads {category} of {model}, which the rule at" in error for error in errors)


def test_outreach_needs_consent_and_is_counted(bound: BoundPolicy) -> None:
    for name in ("sales.pool", "sales.city", "sales.outreach", "sales.manage", "relay.telephony"):
        purpose = bound.purpose(name)
        assert purpose.requires.consent == "matchmaking"
        assert purpose.limits["disclose"]
    outreach = bound.closure("sales.outreach")["limits"]
    assert {"max": 100, "per": "day", "by": "actor"} in outreach["disclose"]
    assert {"max": 1, "per": "day", "by": "subject"} in outreach["contact"]
    assert {"max": 3, "per": "30d", "by": "subject"} in outreach["contact"]


def test_the_relay_opens_one_number_for_a_minute(bound: BoundPolicy) -> None:
    relay = bound.purpose("relay.telephony")
    assert (relay.batch, relay.ttl, relay.requires.subjects) == (1, timedelta(seconds=60), "named")
    assert bound.key_access("i").purposes["relay.telephony"].unwrap == {"contact"}


def test_reading_chats_takes_a_case_names_and_two_others(bound: BoundPolicy) -> None:
    investigation = bound.purpose("safety.investigation")
    requires = investigation.requires
    assert (requires.case, requires.approvals, requires.subjects) == (True, 2, "named")
    assert investigation.report_after == timedelta(days=90)
    assert [n for n, p in bound.purposes.items() if "safety.investigation" in p.approves] == ["safety.triage"]


def test_conversations_open_to_members_and_to_purposes_with_a_case_or_approvals(bound: BoundPolicy) -> None:
    for name, keys in bound.key_access("i").purposes.items():
        if "conversation" in keys.unwrap and not name.startswith("member."):
            requires = bound.purpose(name).requires
            assert requires.case or requires.approvals >= 2, name


def test_members_read_their_own_rows_only(bound: BoundPolicy) -> None:
    assert bound.purpose("member.self").requires.subjects == "self"
    assert set(bound.closure("member.self")["rows"].values()) == {"own_rows"}
    inbox = dict.fromkeys(("ChatMessage", "SafetyWarning"), "addressed_to_actor")
    assert bound.closure("member.inbox")["rows"] == inbox
    assert bound.purpose("member.inbox").requires.subjects is None
    assert bound.purpose("member.inbox").limits["disclose"]


def test_writers_of_mail_and_registrations_read_nothing(bound: BoundPolicy) -> None:
    access = bound.key_access("i").purposes
    for name in (
        "registration",
        "chat.delivery",
        "identity.verification",
        "privacy.erasure",
        "maintenance.keys",
        "audit.review",
    ):
        assert access[name].unwrap == frozenset(), name
    assert access["chat.delivery"].wrap == {"conversation", "chat_flags"}


def test_one_purpose_replaces_keys_behind_two_approvals_and_its_service_does_nothing_else(bound: BoundPolicy) -> None:
    [found] = [purpose for purpose in bound.purposes.values() if purpose.replaces_keys]
    assert found.name == "privacy.rekey"
    assert (found.requires.case, found.requires.approvals, found.requires.subjects) == (True, 2, "named")
    [service] = [service for service in bound.services.values() if found.name in service.purposes]
    assert service.purposes == {found.name}
    assert [n for n, p in bound.purposes.items() if found.name in p.approves] == ["audit.review"]
    assert not found.roles & bound.purpose("audit.review").roles


def test_privacy_purposes_name_their_members_and_see_restricted_ones(bound: BoundPolicy) -> None:
    for name in ("privacy.request", "privacy.erasure"):
        requires = bound.purpose(name).requires
        assert (requires.case, requires.subjects, requires.sees_restricted) == (True, "named", True)
    others = [p for n, p in bound.purposes.items() if p.requires.sees_restricted and not n.startswith("privacy.")]
    # Who asked for rest may still complain, and a digest that is not made anew would hide a member for good.
    index = next(p for p in others if p.name == "maintenance.index")
    assert index.requires.approvals == 2
    # The desks write down ids and times, of members at rest too: no category of theirs is read.
    for desk in (p for p in others if p not in (index, bound.purpose("suppression.desk"))):
        assert not desk.search, desk.name
        assert not any(read.categories for read in desk.read.values()), desk.name


def test_whoever_searches_is_limited(bound: BoundPolicy) -> None:
    for name, purpose in bound.purposes.items():
        assert bool(purpose.search) == bool(purpose.limits.get("search")), name


def test_the_member_store_is_what_the_shipped_policy_was_reviewed_with() -> None:
    """Where this fails, a field or a mask has changed: review what people see, then `vaultstore policy lock`."""
    report = check(Policy.load(FOLDER), catalogue_of(Base), FOLDER / "fields.lock")
    assert [str(e) for e in report.errors] == []


def test_these_tests_speak_of_the_member_stores_models() -> None:
    """Parameters of masks and indexes apart, the catalogue that is written by hand is the real one."""

    def shape(catalogue: Catalogue) -> dict[str, list[str]]:
        return {
            f"{model.name}.{f.name}": [
                *(f.category, f.type, f.context, f.index.name if f.index else "-"),
                *sorted(f"{p.category} {p.context} {p.mask.partition('(')[0]}" for p in f.projections),
            ]
            for model in catalogue
            for f in model.fields
        }

    assert shape(shipped()) == shape(catalogue_of(Base))
    # Other tests register scopes of models of their own.
    ours = {name for name in catalogue_of(Base).scopes if scope_named(name).__module__ == "vaultstore.members.scopes"}
    assert shipped().scopes == ours
