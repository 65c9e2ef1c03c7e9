"""A small policy over the member store's models, to be broken in one place at a time."""

from __future__ import annotations

__all__ = ["SMALL", "changed"]

SMALL = """\
version: 1
timezone: Asia/Shanghai
roles: {matchmaker: sells, care_agent: cares, registrar: signs people up}
categories:
  identity: {description: names, sensitive: true}
  contact: {description: phones, sensitive: true}
  profile: {sensitive: true}
  preference: {sensitive: true}
  conversation: {sensitive: true}
  browsing: {sensitive: true}
  pool_card: {projection: true}
  sales_card: {projection: true}
  care_card: {projection: true}
  match_card: {projection: true}
  chat_flags: {projection: true}
purposes:
  sales.outreach:
    description: call members
    label: marketing.communications
    basis: consent
    roles: [matchmaker]
    read:
      Member: {categories: [sales_card], rows: claimed_by_actor}
    requires: {consent: matchmaking}
    limits:
      disclose: [{max: 100, per: day, by: actor}]
    batch: 50
    ttl: 15m
    report_after: 0d
  care.complaint:
    description: settle complaints
    label: essential.service
    basis: contract
    roles: [care_agent]
    read: {Member: {categories: [care_card]}}
    search: {Member: [phone]}
    requires: {case: true, approvals: 0, subjects: named}
    limits: {disclose: [{max: 9, per: 1h, by: actor}], search: [{max: 9, per: day, by: purpose}]}
    approves: [sales.outreach]
  registration:
    description: sign up
    label: essential.service
    basis: contract
    roles: [registrar]
    write: {Member: [contact]}
never:
  - roles: [matchmaker]
    categories: [contact, identity]
    except: {Member.phone: [sales_card], Member.name: [sales_card], Member.wechat: [sales_card]}
    because: numbers stay in
tests:
  - {purpose: sales.outreach, model: Member, field: phone, expect: "masked:sales_card"}
  - {purpose: care.complaint, model: Member, field: phone, expect: "masked:care_card"}
  - {purpose: registration, verb: write, model: Member, field: phone, expect: allowed}
services:
  crm: {description: the sales page, purposes: [sales.outreach], keeps: [revocations]}
  care-desk:
    purposes: [care.complaint, registration]
    keeps: [cases, consents]
"""


def changed(old: str, new: str, text: str = SMALL) -> str:
    """`text` with the one place where `old` stands replaced."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)
