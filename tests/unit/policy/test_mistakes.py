"""Each mistake a writer can make: the exact place, what is wrong, and the nearest word."""

from __future__ import annotations

import pytest

from vaultstore.errors import PolicyError
from vaultstore.policy import Policy

from .catalogue import members
from .samples import SMALL, changed

IN_FILES = [
    # ---- the top level
    ("version: 1\n", "version: 2\n", "1:10: version: 2 is not from 1 to 1"),
    ("version: 1\n", 'version: "1"\n', "1:10: version: expected a whole number, found the text '1'"),
    ("version: 1\n", "", "1:1: policy: version is missing"),
    ("purposes:\n", "purpose:\n", "16:1: policy: unknown key 'purpose'; did you mean 'purposes'?"),
    ("Asia/Shanghai", "Asia/Shangai", "2:11: timezone: unknown 'Asia/Shangai'; did you mean 'Asia/Shanghai'?"),
    ("Asia/Shanghai", "localtime", "2:11: timezone: unknown 'localtime'; use a name such as Asia/Shanghai"),
    ("never:\n", "never:\n  a:\n", "47:3: never: expected a list, found a mapping"),
    # ---- categories and roles
    ("  profile: {", "  profil e: {", "7:3: categories: 'profil e' is not a name; use lower-case letters, digits and _, at most 48"),
    ("{description: names, sensitive", "{descripton: names, sensitive", "5:14: category identity: unknown key 'descripton'; did you mean 'description'?"),
    ("names, sensitive: true", "names, sensitive: yes", "5:45: category identity, sensitive: expected true or false, found the text 'yes'"),
    ("pool_card: {projection: true", "pool_card: {sensitive: true, projection: true", "11:15: category pool_card: sensitivity belongs to the source; a projection is its mask"),
    ("  profile: {", "  contact: {", "7:3: duplicate key 'contact'; the first is at policy.yaml:6:3"),
    ("roles: [matchmaker]\n    read", "roles: [matchmakr]\n    read", "21:13: purpose sales.outreach, roles: unknown role 'matchmakr'; did you mean 'matchmaker'?"),
    ("roles: [matchmaker]\n    read", "roles: []\n    read", "21:12: purpose sales.outreach, roles: the list is empty"),
    ("    roles: [matchmaker]\n    read", "    read", "18:5: purpose sales.outreach: roles is missing"),
    ("roles: [matchmaker]\n    read", "roles: [matchmaker, matchmaker]\n    read", "21:25: purpose sales.outreach, roles: 'matchmaker' stands here twice"),
    ("roles: [matchmaker]\n    read", "roles: matchmaker\n    read", "21:12: purpose sales.outreach, roles: expected a list, found the text 'matchmaker'"),
    # ---- a purpose
    ("  sales.outreach:\n", "  Sales.Outreach:\n", "17:3: purposes: 'Sales.Outreach' is not a name; use lower-case words joined by dots, at most 64"),
    ("    batch: 50", "    bach: 50", "27:5: purpose sales.outreach: unknown key 'bach'; did you mean 'batch'?"),
    ("batch: 50", "batch: 1001", "27:12: purpose sales.outreach, batch: 1001 is not from 1 to 1000"),
    ("batch: 50", "batch: 0", "27:12: purpose sales.outreach, batch: 0 is not from 1 to 1000"),
    ("batch: 50", "batch: true", "27:12: purpose sales.outreach, batch: expected a whole number, found true"),
    ("batch: 50", "batch:", "27:11: purpose sales.outreach, batch: expected a whole number, found nothing"),
    ("ttl: 15m", "ttl: 15min", "28:10: purpose sales.outreach, ttl: expected a time such as 60s, 15m, 1h or 90d, found the text '15min'"),
    ("ttl: 15m", "ttl: 0s", "28:10: purpose sales.outreach, ttl: 0s is not from 1s to 1d"),
    ("ttl: 15m", "ttl: 15", "28:10: purpose sales.outreach, ttl: expected a time such as 60s, 15m, 1h or 90d, found 15"),
    ("report_after: 0d", "report_after: 9999d", "29:19: purpose sales.outreach, report_after: 9999d is not from 0s to 3650d"),
    ("marketing.communications", "marketing.comunications", "19:12: purpose sales.outreach, label: unknown 'marketing.comunications'; did you mean 'marketing.communications'?"),
    ("basis: consent", "basis: NO", "20:12: purpose sales.outreach, basis: unknown 'NO'; choose from consent, contract, legal_obligation, legitimate_interests, public_interest, separate_consent, vital_interests"),
    ("{categories: [sales_card], rows", "{categories: [sale_card], rows", "23:29: purpose sales.outreach, read Member: unknown category 'sale_card'; did you mean 'sales_card'?"),
    ("{categories: [sales_card], rows", "{category: [sales_card], rows", "23:16: purpose sales.outreach, read Member: unknown key 'category'; did you mean 'categories'?"),
    ("{categories: [sales_card], rows: claimed_by_actor}", "[sales_card]", "23:15: purpose sales.outreach, read Member: expected a mapping, found a list"),
    ("write: {Member: [contact]}", "write: {Member: [care_card]}", "45:22: purpose registration, write Member: care_card is a projection; it is written along with its source category"),
    ("{consent: matchmaking}", "{concent: matchmaking}", "24:16: purpose sales.outreach, requires: unknown key 'concent'; did you mean 'consent'?"),
    ("subjects: named", "subjects: names", "37:52: purpose care.complaint, requires, subjects: unknown 'names'; did you mean 'named'?"),
    ("approvals: 0", "approvals: -1", "37:39: purpose care.complaint, requires, approvals: -1 is not from 0 to 9"),
    ("case: true", "case: on", "37:22: purpose care.complaint, requires, case: expected true or false, found the text 'on'"),
    ("disclose: [{max: 100,", "disclosed: [{max: 100,", "26:7: purpose sales.outreach, limits: unknown key 'disclosed'; did you mean 'disclose'?"),
    ("{max: 100, per: day, by: actor}", "{max: 100, per: day}", "26:18: purpose sales.outreach, limits disclose: by is missing"),
    ("{max: 100, per: day, by: actor}", "{max: 100, per: week, by: actor}", "26:34: purpose sales.outreach, limits disclose, per: expected day, or a time such as 1h or 30d, found the text 'week'"),
    ("{max: 100, per: day, by: actor}", "{max: 100, per: day, by: subject}", "26:43: purpose sales.outreach, limits disclose, by: unknown 'subject'; choose from actor, purpose"),
    ("{max: 100, per: day, by: actor}", "{max: 0, per: day, by: actor}", "26:24: purpose sales.outreach, limits disclose, max: 0 is not from 1 to 1000000000"),
    ("{max: 9, per: 1h, by: actor}", "{max: 9, per: 1h, by: actor}, {max: 3, per: 1h, by: actor}", "38:55: purpose care.complaint, limits disclose: a second limit per 1h by actor"),
    ("approves: [sales.outreach]", "approves: [outreach]", "39:16: purpose care.complaint, approves: unknown purpose 'outreach'; did you mean 'sales.outreach'?"),
    # ---- never and tests
    ("    because: numbers stay in\n", "", "47:5: never: because is missing"),
    ("    because: numbers stay in\n", "    because: ' '\n", "50:14: never, because: the text is empty"),
    ("categories: [contact, identity]", "categories: [contacts, identity]", "48:18: never: unknown category 'contacts'; did you mean 'contact'?"),
    ("{Member.phone: [sales_card]", "{phone: [sales_card]", "49:14: never, except 'phone': name a field, as Model.field"),
    ("{Member.phone: [sales_card]", "{Member.phone: [contact]", "49:29: never, except 'Member.phone': contact is no projection; only a masked form can be excepted"),
    ('"masked:sales_card"', "maksed", "52:68: test, expect: 'maksed' is not clear, denied or masked:CATEGORY"),
    ('"masked:sales_card"', "masked:contact", "52:68: test, expect: contact is no projection"),
    ("verb: write", "verb: wirte", "54:35: test, verb: unknown 'wirte'; did you mean 'write'?"),
    ("expect: allowed", "expect: clear", "54:79: test, expect: unknown 'clear'; choose from allowed, denied"),
    ("{purpose: care.complaint, model", "{purpose: care.complant, model", "53:15: test: unknown purpose 'care.complant'; did you mean 'care.complaint'?"),
    # ---- YAML
    ("{consent: matchmaking}", "&a {consent: matchmaking}", "24:15: YAML anchors and aliases are not allowed: write it out"),
    ("{consent: matchmaking}", "*a", "24:15: YAML anchors and aliases are not allowed: write it out"),
    ("{consent: matchmaking}", "{<<: {consent: matchmaking}}", "24:16: YAML merge keys (<<) are not allowed: write it out"),
    ("batch: 50", "batch: !!int 50", "27:12: YAML tags are not allowed: 'tag:yaml.org,2002:int'"),
    ("version: 1\n", "%YAML 1.1\n---\nversion: 1\n", "1:1: YAML directives (%YAML, %TAG) are not allowed"),
    ("tests:\n", "---\ntests:\n", "51:1: a second YAML document is not allowed: use a second file"),
    ("roles: [matchmaker]\n    read", "roles: [matchmaker\n    read", "22:9: not YAML: did not find expected ',' or ']'"),
    ("numbers stay in", "numbers \x07stay in", "50:22: not YAML: a control character"),
]  # fmt: skip

IN_MODELS = [
    ("      Member: {categories: [sales_card]", "      Membre: {categories: [sales_card]", "23:7: unknown model 'Membre'; did you mean 'Member'?"),
    ("rows: claimed_by_actor", "rows: claimed_by_acter", "23:48: unknown row scope 'claimed_by_acter'; did you mean 'claimed_by_actor'?"),
    ("{categories: [sales_card], rows", "{categories: [chat_flags], rows", "23:29: no field of Member has the category chat_flags; choose from care_card, contact, identity, match_card, pool_card, preference, profile, sales_card"),
    ("search: {Member: [phone]}", "search: {Member: [phon]}", "36:23: unknown field 'phon' of Member; did you mean 'phone'?"),
    ("search: {Member: [phone]}", "search: {Member: [wechat]}", "36:23: Member.wechat has no blind index, so it can't be searched; with one: id_number, phone, email"),
    ("write: {Member: [contact]}", "write: {Member: [browsing]}", "45:22: browsing is not the source category of any field of Member; choose from contact, identity, preference, profile"),
    ("read: {Member: {categories: [care_card]}}", "read: {Member: {categories: [care_card, sales_card]}}", "35:45: care.complaint reads Member.name through two projections, care_card and sales_card: two masks together show more than either; keep one"),
    ("  preference: {sensitive: true}\n", "", "4:1: Member.wants uses the category 'preference', which no file defines; choose from browsing, care_card, chat_flags, contact, conversation, identity, match_card, pool_card, profile, sales_card"),
    ("pool_card: {projection: true}", "pool_card: {}", "11:3: category pool_card holds masks of Member.education: mark it with `projection: true`"),
    ("  preference: {sensitive: true}", "  preference: {projection: true}", "8:3: category preference is marked as a projection, but it is the source category of Member.wants"),
    ("{Member.phone: [sales_card]", "{Member.phone: [sales_card, match_card]", "49:41: Member.phone has no projection match_card; did you mean 'care_card'?"),
    ("{Member.phone: [sales_card]", "{Member.fone: [sales_card], Member.phone: [sales_card]", "49:14: unknown field 'fone' of Member; did you mean 'phone'?"),
    ("{Member.phone: [sales_card]", "{Member.car: [sales_card], Member.phone: [sales_card]", "49:14: Member.car is profile, which this rule does not bar: nothing to except"),
    ("model: Member, field: phone, expect: allowed", "model: Member, field: fone, expect: allowed", "54:64: unknown field 'fone' of Member; did you mean 'phone'?"),
    ("{categories: [sales_card], rows", "{categories: [contact], rows", "23:29: sales.outreach is open to matchmaker and reads contact of Member, which the rule at policy.yaml:47:5 bars: numbers stay in"),
    ("Member.phone: [sales_card], ", "", "23:29: sales.outreach is open to matchmaker and reads Member.phone as sales_card, a projection of contact, which the rule at policy.yaml:47:5 bars: numbers stay in"),
    ("roles: [care_agent]", "roles: [care_agent, matchmaker]", "35:34: care.complaint is open to matchmaker and reads Member.name as care_card, a projection of identity, which the rule at policy.yaml:47:5 bars: numbers stay in"),
]  # fmt: skip


def ids(cases: list[tuple[str, str, str]]) -> list[str]:
    return [expected.split(": ", 1)[1][:60] for _, _, expected in cases]


@pytest.mark.parametrize(("old", "new", "expected"), IN_FILES, ids=ids(IN_FILES))
def test_a_mistake_in_a_file_is_shown_at_its_place(old: str, new: str, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(changed(old, new))
    assert str(caught.value) == f"policy.yaml:{expected}"


@pytest.mark.parametrize(("old", "new", "expected"), IN_MODELS, ids=ids(IN_MODELS))
def test_a_mistake_about_the_models_is_shown_at_its_place(old: str, new: str, expected: str) -> None:
    policy = Policy.parse(changed(old, new))
    with pytest.raises(PolicyError) as caught:
        policy.bind(members())
    assert str(caught.value) == f"policy.yaml:{expected}"


def test_the_sample_itself_has_no_mistake() -> None:
    report = Policy.parse(SMALL).check(members())
    assert (report.errors, report.tests) == ((), 3)


def test_words_of_the_core_schema_alone_are_not_text() -> None:
    for word in ("NO", "yes", "off", "1_000", "12:30", "2021-11-01", "0b1", "="):
        policy = Policy.parse(changed("numbers stay in", word))
        assert policy.never[0].because == word
    for word in ("null", "~", "true", "FALSE", "10", "0x1f", "0o17", "1.5", ".inf", "1e3"):
        with pytest.raises(PolicyError, match="never, because: expected text, found"):
            Policy.parse(changed("numbers stay in", word))
