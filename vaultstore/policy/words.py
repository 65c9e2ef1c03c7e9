"""The words a policy may use, and the hint that goes with a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["BASES", "LABELS", "hint", "shown"]

BASES = frozenset(
    {
        "consent",
        "separate_consent",
        "contract",
        "legal_obligation",
        "vital_interests",
        "public_interest",
        "legitimate_interests",
    }
)
"""Legal bases: GDPR Art. 6(1), with the separate consent of PIPL Art. 29 for sensitive data beside it."""

LABELS = frozenset(
    {
        "analytics",
        "analytics.reporting",
        "analytics.reporting.ad_performance",
        "analytics.reporting.campaign_insights",
        "analytics.reporting.content_performance",
        "analytics.reporting.system",
        "analytics.reporting.system.performance",
        "collect",
        "employment",
        "employment.recruitment",
        "essential",
        "essential.fraud_detection",
        "essential.legal_obligation",
        "essential.service",
        "essential.service.authentication",
        "essential.service.notifications",
        "essential.service.notifications.email",
        "essential.service.notifications.sms",
        "essential.service.operations",
        "essential.service.operations.improve",
        "essential.service.operations.support",
        "essential.service.payment_processing",
        "essential.service.security",
        "essential.service.upgrades",
        "finance",
        "functional",
        "functional.service",
        "functional.service.improve",
        "functional.storage",
        "functional.storage.privacy_preferences",
        "marketing",
        "marketing.advertising",
        "marketing.advertising.first_party",
        "marketing.advertising.first_party.contextual",
        "marketing.advertising.first_party.targeted",
        "marketing.advertising.frequency_capping",
        "marketing.advertising.negative_targeting",
        "marketing.advertising.profiling",
        "marketing.advertising.serving",
        "marketing.advertising.third_party",
        "marketing.advertising.third_party.targeted",
        "marketing.communications",
        "marketing.communications.email",
        "marketing.communications.sms",
        "operations",
        "personalize",
        "personalize.content",
        "personalize.content.limited",
        "personalize.content.profiled",
        "personalize.content.profiling",
        "personalize.system",
        "sales",
        "third_party_sharing",
        "third_party_sharing.legal_obligation",
        "train_ai_system",
    }
)
"""Data uses of the Fides taxonomy (fideslang 2), under its own keys, so that tools of that world read ours."""

_MANY = 12
_LONG = 60


def shown(word: str) -> str:
    """`word` quoted for a message: control characters escaped, cut where it is long."""
    return repr(word if len(word) <= _LONG else word[: _LONG - 1] + "…")


def hint(word: str, choices: Iterable[str]) -> str:
    """What to append to an error about `word`: the nearest of `choices`, or all of them where they are few."""
    known = sorted(choices)
    near = difflib.get_close_matches(word[:_LONG], known, n=1, cutoff=0.6)
    if not near:  # a wrong case or a missing prefix: "member", "outreach"
        folded = word[:_LONG].casefold()
        near = [k for k in known if folded and (k.casefold() == folded or k.casefold().endswith("." + folded))][:1]
    if near:
        return f"; did you mean {near[0]!r}?"
    if known and len(known) <= _MANY:
        return f"; choose from {', '.join(known)}"
    return ""
