"""`diff` tells wider from narrower, and calls what it can't put in order changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.errors import PolicyError
from vaultstore.policy import BoundPolicy, Lock, Policy, PolicyDiff, catalogue_in, diff, lattice, vault_cells

from .catalogue import members, with_field, with_mask
from .samples import SMALL, changed

SALES, CARE = "purpose sales.outreach", "purpose care.complaint"


def bound(text: str = SMALL, catalogue: Catalogue | None = None, file: str = "policy.yaml") -> BoundPolicy:
    return Policy.parse(text, file).bind(catalogue or members())


def lines(found: PolicyDiff) -> list[str]:
    return [f"{finding.direction}: {finding}" for finding in found.findings]


def between(old: str, new: str) -> list[str]:
    """What the one edit of the sample does."""
    return lines(diff(bound(), bound(changed(old, new))))


# An edit, what it does, and what undoing it does. One that can't be put in order is "changed" both ways.
EDITS = [
    (
        ("categories: [sales_card], rows", "categories: [sales_card, profile], rows"),
        "Member.monthly_income, Member.house, Member.car: masked:sales_card -> clear",
    ),
    (
        ("search: {Member: [phone]}", "search: {Member: [phone, email]}"),
        "search Member.email: denied -> allowed",
    ),
    (
        ("write: {Member: [contact]}", "write: {Member: [contact, preference]}"),
        "write Member.wants: denied -> allowed",
    ),
    ((", rows: claimed_by_actor", ""), "rows of Member: claimed_by_actor -> all"),
    (
        (
            "write: {Member: [contact]}",
            "write: {Member: [contact]}\n    read: {Lead: {categories: [], rows: own_store}}",
        ),
        "rows of Lead: none -> own_store",
    ),
    (("roles: [care_agent]", "roles: [care_agent, registrar]"), "is now open to registrar"),
    (("approves: [sales.outreach]", "approves: [sales.outreach, registration]"), "now approves registration"),
    (("requires: {consent: matchmaking}", "requires: {}"), "requires consent: matchmaking -> none"),
    (("case: true", "case: false"), "case: true -> false"),
    (("subjects: named", "subjects: named, sees_restricted: true"), "sees_restricted: false -> true"),
    (("subjects: named", "subjects: self"), "subjects: named -> self"),
    ((", subjects: named", ""), "subjects: named -> any"),
    (("approvals: 0", "approvals: 2"), "approvals: 0 -> 2"),
    (("max: 100, per: day", "max: 1000, per: day"), "limit on disclose per day by actor: 100 -> 1,000"),
    ((", search: [{max: 9, per: day, by: purpose}]", ""), "limit on search per day by purpose: 9 -> none"),
    (("batch: 50", "batch: 51"), "batch: 50 -> 51"),
    (("ttl: 15m", "ttl: 1h"), "ttl: 15m -> 1h"),
    (("report_after: 0d", "report_after: 90d"), "report_after: 0s -> 90d"),
    (
        ("categories: [contact, identity]", "categories: [contact, identity, browsing]"),
        "role matchmaker: is now barred from browsing",
    ),
    (("purposes: [sales.outreach]", "purposes: [sales.outreach, care.complaint]"), "now serves care.complaint"),
    (("keeps: [revocations]", "keeps: [revocations, states]"), "now keeps states"),
    (
        (
            "requires: {case: true, approvals: 0, subjects: named}",
            "replaces_keys: true\n    requires: {subjects: named, case: true, approvals: 0}",
        ),
        "may now replace a subject's data keys",
    ),
    (("{categories: [sales_card], rows", "{categories: [match_card], rows"), "masked:sales_card -> masked:match_card"),
    (("rows: claimed_by_actor", "rows: own_store"), "rows of Member: claimed_by_actor -> own_store"),
    (("{consent: matchmaking}", "{consent: calls}"), "requires consent: matchmaking -> calls"),
    (("timezone: Asia/Shanghai", "timezone: UTC"), "timezone: Asia/Shanghai -> UTC"),
]
NARROWER = ("subjects: named -> self", "approvals: 0", "is now barred")
CHANGED = (
    "masked:sales_card -> masked:match_card",
    "claimed_by_actor -> own_store",
    "matchmaking -> calls",
    "timezone",
)


@pytest.mark.parametrize(("edit", "says"), EDITS, ids=[says for _, says in EDITS])
def test_an_edit_and_its_undoing_go_opposite_ways(edit: tuple[str, str], says: str) -> None:
    there = diff(bound(), bound(changed(*edit)))
    back = diff(bound(changed(*edit)), bound())
    found = [finding.direction for finding in there.findings if says in str(finding)]
    if any(word in says for word in CHANGED):
        expected, opposite = "changed", "changed"
    else:
        expected, opposite = ("narrower", "wider") if any(w in says for w in NARROWER) else ("wider", "narrower")
    assert found == [expected], lines(there)
    assert opposite in [finding.direction for finding in back.findings], lines(back)
    assert there.widens == (expected != "narrower")


def edited(chosen: list[int]) -> BoundPolicy:
    """The sample with several of the edits; one whose place another took is left out."""
    text = SMALL
    for old, new in (EDITS[number][0] for number in chosen):
        text = text.replace(old, new) if text.count(old) == 1 else text
    return bound(text)


@given(*[st.lists(st.integers(0, len(EDITS) - 1), max_size=6, unique=True)] * 2)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_wherever_two_policies_differ_the_way_back_is_the_opposite(before: list[int], after: list[int]) -> None:
    old, new = edited(before), edited(after)
    there, back = diff(old, new), diff(new, old)
    assert there.count("wider") == back.count("narrower")
    assert there.count("narrower") == back.count("wider")
    assert there.count("changed") == back.count("changed")
    assert bool(there.findings) == any(old.digest(name) != new.digest(name) for name in old.purposes) or (
        old.rules.services != new.rules.services
    )


@given(*[st.lists(st.integers(0, len(EDITS) - 1), max_size=6, unique=True)] * 2)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_cell_and_no_key_opens_without_being_told(before: list[int], after: list[int]) -> None:
    old, new = edited(before), edited(after)
    ranks = {"denied": 0, "masked": 1, "clear": 2, "allowed": 2}

    def rank(said: str) -> int:
        return ranks[said.partition(":")[0]]

    cells, keys = lattice(old), vault_cells(old)
    opened = [key for key, now in lattice(new).items() if rank(now) > rank(cells[key])]
    opened_keys = [key for key, now in vault_cells(new).items() if now and not keys[key]]
    if opened or opened_keys:
        assert diff(old, new).widens


def test_a_policy_is_as_wide_as_itself() -> None:
    assert diff(bound(), bound()) == PolicyDiff(())
    assert not diff(bound(), bound()).widens


def test_what_changes_nothing_enforced_is_a_note() -> None:
    for old, new, says in [
        ("basis: consent", "basis: contract", "basis: consent -> contract"),
        ("description: call members", "description: ring members", "another description"),
        ("contact: {description: phones, sensitive: true}", "contact: {description: phones}", "no longer sensitive"),
        (
            '  - {purpose: care.complaint, model: Member, field: phone, expect: "masked:care_card"}\n',
            "",
            "a test is gone: care.complaint, read Member.phone: masked:care_card",
        ),
    ]:
        found = diff(bound(), bound(changed(old, new)))
        assert [f.direction for f in found.findings] == ["note"]
        assert says in str(found.findings[0])
        assert not found.widens
    assert between("because: numbers stay in", "because: numbers do not leave") == []
    assert between("version: 1\n", "# a comment\n\nversion: 1\n") == []


def test_a_card_beside_its_source_shows_nothing_more_and_is_noted() -> None:
    text = changed("read: {Member: {categories: [care_card]}}", "read: {Member: {categories: [contact, identity]}}")
    both = text.replace("[contact, identity]}}\n    search", "[contact, identity, care_card]}}\n    search")
    assert lines(diff(bound(text), bound(both))) == [
        (
            "note: purpose care.complaint: reads contact, identity -> care_card, contact, identity of Member, "
            "which shows the same"
        )
    ]
    assert not diff(bound(text), bound(both)).widens


def test_a_finding_points_at_the_line_that_says_it() -> None:
    new = bound(changed("search: {Member: [phone]}", "search: {Member: [phone, email]}"), file="new.yaml")
    [finding] = diff(bound(file="old.yaml"), new).findings
    assert finding.place == "new.yaml:36:14"
    fewer = changed("    categories: [contact, identity]", "    categories: [contact]")
    fewer = changed(" Member.name: [sales_card],", "", fewer)
    [lost] = diff(bound(file="old.yaml"), bound(fewer, file="new.yaml")).findings
    assert (str(lost), lost.place) == ("role matchmaker: is no longer barred from identity", "old.yaml:47:5")


def test_a_new_purpose_is_wider_and_says_what_it_reaches() -> None:
    start = SMALL.index("  care.complaint:\n")
    without = SMALL[:start] + SMALL[SMALL.index("  registration:\n") :]
    without = without.replace("[care.complaint, registration]", "[registration]")
    without = "\n".join(line for line in without.split("\n") if "purpose: care" not in line)
    there = diff(bound(without), bound())
    assert (
        "wider: purpose care.complaint: is new: open to care_agent; reads care_card of Member, rows: all; "
        "searches Member.phone; approves sales.outreach"
    ) in lines(there)
    back = diff(bound(), bound(without))
    assert any(line.startswith("narrower: purpose care.complaint: is gone: it was open to") for line in lines(back))
    assert not back.widens


def test_a_rule_that_is_split_in_two_changes_nothing() -> None:
    split = changed(
        "    categories: [contact, identity]\n"
        "    except: {Member.phone: [sales_card], Member.name: [sales_card], Member.wechat: [sales_card]}\n",
        "    categories: [contact]\n"
        "    except: {Member.phone: [sales_card], Member.wechat: [sales_card]}\n"
        "    because: numbers\n"
        "  - roles: [matchmaker]\n"
        "    categories: [identity]\n"
        "    except: {Member.name: [sales_card]}\n",
    )
    assert lines(diff(bound(), bound(split))) == []


def test_a_new_exception_is_wider() -> None:
    assert between("{Member.phone: [sales_card]", "{Member.phone: [sales_card, care_card]") == [
        "wider: role matchmaker: is no longer barred from Member.phone as care_card"
    ]


def test_a_lost_rule_is_told_by_its_categories() -> None:
    start, end = SMALL.index("never:\n"), SMALL.index("tests:\n")
    assert lines(diff(bound(), bound(SMALL[:start] + SMALL[end:]))) == [
        "wider: role matchmaker: is no longer barred from contact, identity"
    ]


def test_services_that_are_declared_divide_what_was_one() -> None:
    alone = SMALL.partition("services:")[0]
    assert lines(diff(bound(alone), bound())) == [
        "narrower: services: are declared: until now, one program serves every purpose and keeps every record"
    ]
    assert diff(bound(), bound(alone)).widens


def test_a_new_service_is_wider_and_a_lost_one_narrower() -> None:
    more = changed("services:\n", "services:\n  relay: {purposes: [registration], keeps: [cases]}\n")
    assert lines(diff(bound(), bound(more))) == [
        "wider: service relay: is new",
        "wider: service relay: now serves registration",
        "wider: service relay: now keeps cases",
    ]
    assert lines(diff(bound(more), bound())) == ["narrower: service relay: is gone"]


def locked(catalogue: Catalogue, text: str = SMALL) -> BoundPolicy:
    """The sample with fields as a lock of `catalogue` has them."""
    rules = Policy.parse(text).rules
    return BoundPolicy(rules, catalogue_in(Lock.parse(Lock.of(catalogue).text()), rules))


def test_a_changed_mask_is_told_with_those_who_see_it() -> None:
    new = with_mask(members(), "Member", "phone", "sales_card", "keep(first=3,last=4)")
    assert lines(diff(locked(members()), locked(new))) == [
        (
            "changed: field Member.phone: mask sales_card: keep(first=0,last=4) -> keep(first=3,last=4); "
            "seen by sales.outreach"
        )
    ]


def test_a_field_that_moves_to_another_category_is_changed_and_its_cells_are_told() -> None:
    email = members().models["Member"].field("email")
    assert email is not None
    new = with_field(members(), "Member", replace(email, category="preference", index=None))
    assert lines(diff(locked(members()), locked(new))) == [
        "narrower: purpose registration: write Member.email: allowed -> denied",
        "wider: role matchmaker: is no longer barred from Member.email as care_card",
        "changed: field Member.email: category: contact -> preference",
        "narrower: field Member.email: index: email() -> none",
    ]


def test_a_new_field_is_wider_for_whoever_reads_its_category() -> None:
    new = with_field(
        members(), "Member", Field("qq", "contact", "c", "str", None, (Projection("care_card", "m()", "x"),))
    )
    assert lines(diff(locked(members()), locked(new))) == [
        "wider: purpose care.complaint: read Member.qq: denied -> masked:care_card",
        "wider: purpose registration: write Member.qq: denied -> allowed",
        "note: field Member.qq: is new, in contact",
    ]


def test_another_index_or_type_is_changed() -> None:
    phone = members().models["Member"].field("phone")
    assert phone is not None and phone.index is not None
    new = with_field(members(), "Member", replace(phone, type="bytes", index=Index("members.phone", "text()", True)))
    assert [line for line in lines(diff(locked(members()), locked(new))) if "Member.phone" in line] == [
        "changed: field Member.phone: type: str -> bytes",
        "changed: field Member.phone: index: phone_e164(region=CN) -> text() unique",
    ]


def test_a_category_that_spreads_to_another_model_is_wider_in_vault() -> None:
    catalogue = members()
    order = Model("Order", "orders", (Field("ship_to", "contact", "orders.ship_to", "str"),))
    new = replace(catalogue, models={**catalogue.models, "Order": order})
    assert lines(diff(locked(catalogue), locked(new))) == [
        "note: field Order.ship_to: is new, in contact",
        "wider: purpose registration: Vault has to let it encrypt contact of Order as well as of Member",
    ]


def test_a_lock_gives_the_catalogue_back() -> None:
    """All of it that decisions rest on: context names apart."""
    again = catalogue_in(Lock.parse(Lock.of(members()).text()), Policy.parse(SMALL).rules, members())
    assert Lock.of(again) == Lock.of(members())
    assert set(again.models) == {"Member", "ChatMessage", "ProfileView"}  # no purpose lists the others
    assert again.scopes == {"claimed_by_actor"}


def test_models_give_the_inheritance_that_a_lock_leaves_out() -> None:
    catalogue = members()
    vip = replace(catalogue.models["Member"], name="VipMember", bases=("Member", "Nobody"))
    more = replace(catalogue, models={**catalogue.models, "VipMember": vip})
    lock, rules = Lock.of(more), Policy.parse(SMALL).rules
    assert catalogue_in(lock, rules).models["VipMember"].bases == ()
    assert catalogue_in(lock, rules, more).models["VipMember"].bases == ("Member",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("colour red", "has a line that no lock has: 'colour'"),
        ("category a\n  category b", "no lock has"),
        ("type str", "has no category"),
    ],
)
def test_a_lock_that_is_none_is_refused_with_its_line(line: str, reason: str) -> None:
    lock = Lock.parse(f"lock 1\n\nMember.phone\n  {line}\n", Path("fields.lock"))
    with pytest.raises(PolicyError, match=reason) as caught:
        catalogue_in(lock, Policy.parse(SMALL).rules)
    assert (caught.value.file, caught.value.line) == (Path("fields.lock"), 3)
    with pytest.raises(PolicyError, match=r"is not Model\.field"):
        catalogue_in(Lock.parse("lock 1\nphone\n  category contact\n"), Policy.parse(SMALL).rules)
