"""The member store's models as plain data, written by hand: what the shipped policy speaks of."""

from __future__ import annotations

from dataclasses import replace

from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection

__all__ = ["SCOPES", "members", "with_field", "with_mask"]

SCOPES = frozenset({"claimed_by_actor", "own_city", "own_store", "own_rows", "addressed_to_actor"})

_EDUCATION = "one_of(高中,大专,本科,硕士,博士)"
_HEIGHTS = "band(150,155,160,165,170,175,180,185,190,195)"


def _field(table: str, name: str, category: str, kind: str = "str", index: Index | None = None, **masks: str) -> Field:
    context = f"{table}.{name}"
    projections = tuple(Projection(c, mask, f"{context}_{c}") for c, mask in masks.items())
    return Field(name, category, context, kind, index, projections)


def _index(table: str, name: str, normalizer: str, *, unique: bool = False) -> Index:
    return Index(f"{table}.{name}", normalizer, unique)


def members() -> Catalogue:
    """Member, ChatMessage and ProfileView, and models without encrypted fields."""
    t = "members"
    member = Model(
        "Member",
        t,
        (
            _field(t, "name", "identity", sales_card="surname()", care_card="surname()"),
            _field(t, "id_number", "identity", index=_index(t, "id_number", "resident_id()"), care_card="present()"),
            _field(
                t,
                "phone",
                "contact",
                index=_index(t, "phone", "phone_e164(region=CN)"),
                sales_card="keep(first=0,last=4)",
                care_card="keep(first=3,last=4)",
            ),
            _field(t, "wechat", "contact", sales_card="present()"),
            _field(t, "email", "contact", index=_index(t, "email", "email()"), care_card="email_domain()"),
            _field(t, "address", "contact", care_card="region(level=city)"),
            _field(
                t,
                "birth_date",
                "profile",
                "date",
                pool_card="age_band(width=5)",
                sales_card="age_band(width=5)",
                match_card="age_band(width=5)",
            ),
            _field(t, "height_cm", "profile", "int", sales_card=_HEIGHTS, match_card=_HEIGHTS),
            _field(t, "education", "profile", pool_card=_EDUCATION, sales_card=_EDUCATION, match_card=_EDUCATION),
            _field(t, "marital", "profile", sales_card="one_of(未婚,离异,丧偶)", match_card="one_of(未婚,离异,丧偶)"),
            _field(
                t,
                "monthly_income",
                "profile",
                "decimal",
                sales_card="band(0,5000,10000,20000,50000,100000)",
                match_card="band(0,5000,10000,20000,50000,100000)",
            ),
            _field(t, "house", "profile", sales_card="one_of(有,无)", match_card="one_of(有,无)"),
            _field(t, "car", "profile", sales_card="one_of(有,无)", match_card="one_of(有,无)"),
            _field(t, "wants", "preference"),
        ),
    )
    chat = Model(
        "ChatMessage",
        "chat_messages",
        (_field("chat_messages", "body", "conversation", chat_flags="flags(chat-safety)"),),
    )
    t = "profile_views"
    view = Model(
        "ProfileView",
        t,
        (
            _field(t, "viewed_id", "browsing", "uuid"),
            _field(t, "viewed_at", "browsing", "datetime"),
            _field(t, "event", "browsing", index=_index(t, "event", "text()", unique=True)),
        ),
    )
    lead, notice = Model("Lead", "leads", ()), Model("ConsentNotice", "consent_notices", ())
    complaint = Model("Complaint", "complaints", ())
    return Catalogue({m.name: m for m in (member, chat, view, lead, notice, complaint)}, SCOPES)


def shipped() -> Catalogue:
    """All of the member store's models: those that only the shipped policy speaks of, too."""
    found = members()
    t = "suppressions"
    suppression = Model(
        "Suppression",
        t,
        (
            _field(t, "phone", "suppression", index=_index(t, "phone", "phone_e164(region=CN)")),
            _field(t, "id_number", "suppression", index=_index(t, "id_number", "resident_id()")),
        ),
    )
    plain = [
        Model(name, table, ())
        for name, table in (
            ("ContactRequest", "contact_requests"),
            ("MemberBlock", "member_blocks"),
            ("SafetyWarning", "safety_warnings"),
            ("SuppressedMember", "suppressed_members"),
            ("VerificationCount", "verification_counts"),
            ("VerifiedBadge", "verified_badges"),
        )
    ]
    found = replace(found, models={**found.models, **{m.name: m for m in (suppression, *plain)}})
    return with_field(found, "Member", _field("members", "identity_proof", "identity",
                                              index=_index("members", "identity_proof", "text()")))  # fmt: skip


def with_field(catalogue: Catalogue, model: str, field: Field) -> Catalogue:
    """`catalogue` with one field of `model` replaced or added."""
    old = catalogue.models[model]
    fields = tuple(f for f in old.fields if f.name != field.name)
    changed = replace(old, fields=(*fields, field))
    return replace(catalogue, models={**catalogue.models, model: changed})


def with_mask(catalogue: Catalogue, model: str, name: str, category: str, mask: str) -> Catalogue:
    """`catalogue` with another mask for one projection of one field."""
    field = catalogue.models[model].field(name)
    assert field is not None
    changed = tuple(replace(p, mask=mask) if p.category == category else p for p in field.projections)
    return with_field(catalogue, model, replace(field, projections=changed))
