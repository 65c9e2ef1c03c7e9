"""An identity provider without a network, a policy and a desk."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.unit.tokens.support import SECONDS, Policy, World
from vaultstore.issuer.assertion import AssertionRules, AssertionVerifier
from vaultstore.issuer.config import Caller
from vaultstore.issuer.desk import Desk
from vaultstore.issuer.provider import ProviderKeys
from vaultstore.policy.model import Purpose, Requirements, Service

PROVIDER, AUDIENCE = "https://id.example", "vaultstore-issuer"
KEYS: dict[str, tuple[str, Any]] = {
    "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
    "rsa": ("RS256", rsa.generate_private_key(65537, 2048)),
    "pss": ("PS256", rsa.generate_private_key(65537, 2048)),
}
RULES = AssertionRules(PROVIDER, AUDIENCE, attributes={"store": ("store_id",), "city": ("address", "city")})


def public(kid: str, /, **changes: Any) -> dict[str, Any]:
    """A key of the provider as its JWKS shows it."""
    algorithm, key = KEYS[kid]
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)  # type: ignore[call-overload]
    return {**made, "kid": kid, "use": "sig", "alg": algorithm, **changes}


def document(*entries: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": entries or [public(kid) for kid in KEYS]}).encode()


def assertion(kid: str = "ed", header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A sound assertion of matchmaker u-17, but for what is given; a claim of None is left out."""
    algorithm, key = KEYS[kid]
    content = {
        "iss": PROVIDER,
        "aud": AUDIENCE,
        "sub": "u-17",
        "iat": SECONDS,
        "exp": SECONDS + 300,
        "role": "matchmaker",
        "store_id": "sh-01",
        **claims,
    }
    content = {name: value for name, value in content.items() if value is not None}
    head = {name: value for name, value in {"kid": kid, **(header or {})}.items() if value is not None}
    return jwt.encode(content, key, algorithm, headers=head)


class Services(Policy):
    """A policy whose services are crm (sales) and relay (one purpose)."""

    services: ClassVar = {
        "crm": Service("crm", "", frozenset({"sales.pool", "sales.outreach"})),
        "relay": Service("relay", "", frozenset({"relay.telephony"})),
    }

    def __init__(self) -> None:
        roles, ttl = frozenset({"matchmaker"}), timedelta(minutes=15)
        super().__init__(
            Purpose("sales.pool", roles=roles, ttl=ttl),
            Purpose("sales.outreach", roles=roles, ttl=ttl, requires=Requirements(subjects="named")),
            Purpose("relay.telephony", roles=frozenset({"telephony"}), ttl=ttl),
        )


class Office:
    """A desk over real issuer, verifier and assertions; only the network is missing."""

    def __init__(self, callers: Mapping[str, Caller] | None = None, check: Any = None, rules: Any = RULES) -> None:
        self.world = World()
        self.world.policy = Services()
        self.policy = self.world.policy
        self.fetched = 0
        self.published = document()
        from vaultstore.tokens import Issuer, Verifier

        world = self.world
        self.issuer = Issuer(world.keys, self.policy, "vaultstore", world.clock)
        self.verifier = Verifier(lambda: world.keys.public_keys("tokens"), self.policy, "vaultstore", world.clock)
        self.assertions = AssertionVerifier(rules, ProviderKeys("the provider", self._fetch), world.clock)
        self.desk = Desk(
            issuer=self.issuer,
            verifier=self.verifier,
            assertions=self.assertions,
            policy=self.policy,
            callers=callers
            or {"crm": Caller("crm", frozenset({"dns:crm.internal"})), "relay": Caller("relay", frozenset({"uid:7"}))},
            clock=world.clock,
            check=check,
        )

    def _fetch(self) -> bytes:
        self.fetched += 1
        return self.published


ANNA = uuid.UUID("018df9a0-0000-7000-8000-00000000000a")
