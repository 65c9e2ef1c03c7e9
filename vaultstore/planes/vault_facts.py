"""Where a live Vault is not what the policy wants of it: each setting that differs, and what that means."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vaultstore.keys.vault_acl import Rights, parse_acl, written
from vaultstore.keys.vault_resource import Look
from vaultstore.planes.plan import Difference, Verdict

__all__ = ["facts_of"]

_LISTS = ("bound_audiences", "jwt_supported_algs", "jwt_validation_pubkeys", "token_policies")
_OPENS_WHEN_SET = frozenset(
    {
        "allow_plaintext_backup", "audit_non_hmac_response_keys", "deletion_allowed", "exportable", "groups_claim",
        "imported_key", "jwks_pairs", "jwks_url", "oidc_discovery_url", "token_period",
        "token_policies_template_claims", "user_claim_json_pointer",
    }
)  # fmt: skip
_OPENS_WHEN_OTHER = frozenset(
    {
        "bound_claims_type", "clock_skew_leeway", "derived", "disable_upsert", "expiration_leeway", "not_before_leeway",
        "token_no_default_policy",
    }
)  # fmt: skip
_CLOSES_WHEN_SET = frozenset({"bound_subject", "token_num_uses"})
_LIVES = frozenset({"token_ttl", "token_max_ttl", "token_explicit_max_ttl"})


def facts_of(seen: Look) -> Iterator[Difference]:
    """The differences of one resource; none where it is as wanted."""
    thing = seen.resource.thing
    if seen.found is None:
        verdict: Verdict = "too closed"
        if seen.resource.kind in ("quota", "setting"):
            verdict = "too open"
        elif seen.resource.kind in ("audit", "header"):
            verdict = "different"
        yield Difference(verdict, thing, "it there", "nothing")
    elif seen.resource.kind == "acl":
        yield from _acl(thing, str(seen.wanted["policy"]), str(seen.found.get("policy", "")))
    else:
        wanted = {**seen.resource.fixed, **seen.wanted}
        for name in dict.fromkeys((*seen.immovable, *seen.differing)):
            found = seen.found.get(name)
            verdict = _verdict(name, wanted[name], found)
            yield Difference(verdict, thing, _shown(name, wanted[name]), _shown(name, found, wanted[name]))


def _acl(thing: str, wanted: str, found: str) -> Iterator[Difference]:
    if wanted == found:
        return
    expected, live = parse_acl(wanted, limits=True) or {}, parse_acl(found, limits=True)
    if live is None:
        yield Difference("too open", thing, written(expected), "a text that can't be read here")
        return
    more, less = _beyond(live, expected), _beyond(expected, live)
    if more:
        yield Difference("too open", thing, "no more than the policy's", written(more))
    if less:
        yield Difference("too closed", thing, written(less), "nothing of it")
    if not more and not less:
        yield Difference("different", thing, "the text that apply writes", "another text with the same rights")


def _beyond(rights: Rights, other: Rights) -> Rights:
    more = {path: capabilities - other.get(path, frozenset()) for path, capabilities in rights.items()}
    return {path: capabilities for path, capabilities in more.items() if capabilities - {"deny"}}


def _verdict(name: str, wanted: Any, found: Any) -> Verdict:
    if name == "token_bound_cidrs":
        return _networks(wanted, found or [])
    if name in _LIVES or name == "rate":
        return "too open" if not found or found > wanted else "too closed"
    if name == "bound_claims":
        return _claims(wanted, found or {})
    if name == "audit_non_hmac_request_keys":
        return "too open" if set(found or ()) - set(wanted) else "different"
    if name in _LISTS:
        return "too open" if set(found or ()) - set(wanted) or not (found or name == _LISTS[2]) else "too closed"
    if name in _OPENS_WHEN_SET or name in _OPENS_WHEN_OTHER or (name == "bound_issuer" and not found):
        return "too open"
    return "too closed" if name in _CLOSES_WHEN_SET else "different"


def _claims(wanted: Mapping[str, str], found: Mapping[str, Any]) -> Verdict:
    if any(name not in found or (isinstance(found[name], list) and len(found[name]) != 1) for name in wanted):
        return "too open"
    return "different" if any(found[name] != value for name, value in wanted.items()) else "too closed"


def _networks(wanted: Sequence[str], found: Sequence[str]) -> Verdict:
    allowed = [ipaddress.ip_network(each) for each in wanted]
    if not allowed:
        return "too closed"

    def within(text: str) -> bool:
        network = ipaddress.ip_network(text, strict=False)
        return any(
            network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
            for each in allowed
        )

    return "too closed" if found and all(map(within, found)) else "too open"


def _shown(name: str, value: Any, wanted: Any = None) -> str:
    if name == "jwt_validation_pubkeys":
        count = len(value or ())
        others = "" if wanted is None else f", {len(set(value or ()) - set(wanted))} of them not the token key's"
        return f"{name} = {count} key{'' if count == 1 else 's'}{others}"
    return f"{name} = {json.dumps(value, default=str, ensure_ascii=False)}"
