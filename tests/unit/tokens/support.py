"""Keys, a policy and tampered tokens for the tests of this room."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstore.errors import PolicyError
from vaultstore.grants import Actor
from vaultstore.keys.protocols import Signature
from vaultstore.policy.model import Purpose, Requirements
from vaultstore.tokens import Issuer, Verifier

NOW = datetime(2024, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ANNA = uuid.UUID("018df9a0-0000-7000-8000-00000000000a")
BO = uuid.UUID("018df9a0-0000-7000-8000-00000000000b")


class Keyring:
    """An Ed25519 signer that can rotate, and counts what is asked of it."""

    def __init__(self) -> None:
        self.versions = [Ed25519PrivateKey.generate()]
        self.asked = self.signed = 0

    def rotate(self) -> None:
        self.versions.append(Ed25519PrivateKey.generate())

    def sign(self, name: str, payload: bytes) -> Signature:
        self.signed += 1
        return Signature(f"{name}:{len(self.versions)}", self.versions[-1].sign(payload))

    def public_keys(self, name: str) -> Mapping[str, bytes]:
        self.asked += 1
        return {f"{name}:{n}": key.public_key().public_bytes_raw() for n, key in enumerate(self.versions, 1)}


class Policy:
    """Purposes by name, each with a digest that a test may change."""

    def __init__(self, *purposes: Purpose) -> None:
        self.purposes = {purpose.name: purpose for purpose in purposes}
        self.digests = {name: f"sha256:{name}" for name in self.purposes}

    def purpose(self, name: str) -> Purpose:
        if name not in self.purposes:
            raise PolicyError(f"unknown purpose {name!r}")
        return self.purposes[name]

    def digest(self, name: str) -> str:
        return self.digests[name]


def policy() -> Policy:
    return Policy(
        Purpose("sales.outreach", roles=frozenset({"matchmaker"}), ttl=timedelta(minutes=15)),
        Purpose("sales.pool", roles=frozenset({"matchmaker", "store_manager"}), ttl=timedelta(minutes=15)),
        Purpose("member.self", roles=frozenset({"member"}), requires=Requirements(subjects="self")),
        Purpose("care.complaint", roles=frozenset({"care_agent"}), requires=Requirements(case=True, subjects="named")),
    )


class World:
    """An issuer and a verifier over the same keys and policy, and a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now, self.keys, self.policy = NOW, Keyring(), policy()
        self.issuer = Issuer(self.keys, self.policy, "vaultstore", self.clock)
        self.verifier = Verifier(lambda: self.keys.public_keys("tokens"), self.policy, "vaultstore", self.clock)

    def clock(self) -> datetime:
        return self.now

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    def token(self, **options: Any) -> str:
        return self.issuer.issue(Actor("u-17", "matchmaker", {"store": "sh-01"}), "sales.outreach", **options)

    def forge(
        self,
        claims: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        *,
        without: str = "",
        payload: bytes | None = None,
        raw_header: bytes | None = None,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> str:
        """A token signed by the right key with whatever was changed: what only a faulty issuer could make."""
        content = {k: v for k, v in {**self.claims(), **(claims or {})}.items() if k != without}
        head = {"alg": "EdDSA", "typ": "at+jwt", "kid": "tokens:1", **(header or {})}
        first = b64(json.dumps(head).encode() if raw_header is None else raw_header)
        second = b64(json.dumps(content).encode() if payload is None else payload)
        signed = f"{first}.{second}".encode()
        return f"{first}.{second}.{b64((sign or self.keys.versions[0].sign)(signed))}"

    def claims(self) -> dict[str, Any]:
        return {
            "iss": "vaultstore",
            "aud": "vaultstore",
            "sub": "u-17",
            "iat": SECONDS,
            "nbf": SECONDS,
            "exp": SECONDS + 900,
            "jti": str(ANNA),
            "purpose": "sales.outreach",
            "role": "matchmaker",
            "pol": "sha256:sales.outreach",
            "attrs": {"store": "sh-01"},
        }


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, the naive way."""
    header, claims, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims))
