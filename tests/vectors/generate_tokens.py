"""Write tokens.json: tokens that verify, and tokens with one flaw each.

The signing key is derived from a fixed text, and Ed25519 is deterministic: the file is the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OUT = Path(__file__).with_name("tokens.json")

KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"vaultstore token vectors").digest())
OTHER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"another key").digest())
NOW = 1_709_294_400  # 2024-03-01T12:00:00Z
ANNA, BO = (f"018df9a0-0000-7000-8000-00000000000{n}" for n in "ab")

PURPOSES: dict[str, Any] = {
    "sales.outreach": {"roles": ["matchmaker"], "ttl": 900},
    "member.self": {"roles": ["member"], "ttl": 900, "subjects": "self"},
    "care.complaint": {"roles": ["care_agent"], "ttl": 900, "subjects": "named", "case": True},
}
for name, purpose in PURPOSES.items():
    purpose["digest"] = "sha256:" + hashlib.sha256(name.encode()).hexdigest()

HEADER = {"alg": "EdDSA", "kid": "tokens:1", "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": "vaultstore",
    "aud": "vaultstore",
    "sub": "u-17",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 900,
    "jti": "018df9a0-0000-7000-8000-000000000001",
    "purpose": "sales.outreach",
    "role": "matchmaker",
    "pol": PURPOSES["sales.outreach"]["digest"],
    "attrs": {"store": "上海一店"},
}
TICKET: dict[str, Any] = {"kid": "k-1", "logins": ["vs_s_app", "vs_s_crm"], "mac": "0f" * 32}
SELF = {"purpose": "member.self", "role": "member", "pol": PURPOSES["member.self"]["digest"], "sub": ANNA}
CARE = {"purpose": "care.complaint", "role": "care_agent", "pol": PURPOSES["care.complaint"]["digest"]}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def token(
    claims: Mapping[str, Any] | None = None,
    header: Mapping[str, Any] | None = None,
    *,
    without: str = "",
    payload: bytes | None = None,
    sign: Callable[[bytes], bytes] = KEY.sign,
) -> str:
    content = {name: value for name, value in {**CLAIMS, **(claims or {})}.items() if name != without}
    head = encode({**HEADER, **(header or {})})
    signed = f"{b64(head)}.{b64(encode(content) if payload is None else payload)}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def hs256(data: bytes) -> bytes:
    return hmac.new(KEY.public_key().public_bytes_raw(), data, hashlib.sha256).digest()


ACCEPTED = {
    "a plain token": token(),
    "subjects and a case": token({**CARE, "subjects": [ANNA, BO], "case": "c-1"}),
    "a member's own": token({**SELF, "subjects": [ANNA]}),
    "an issuer's clock five seconds ahead": token({"iat": NOW + 5, "nbf": NOW + 5}),
    "the last second": token({"iat": NOW - 899, "nbf": NOW - 899, "exp": NOW + 1}),
    "no attributes": token({"attrs": {}}),
    "asked for by a service": token({"act": {"sub": "crm"}}),
    "a ticket": token({"ticket": TICKET}),
}

INVALID = {
    "algorithm none": token(header={"alg": "none"}),
    "algorithm HS256 with the public key": token(header={"alg": "HS256"}, sign=hs256),
    "algorithm ES256": token(header={"alg": "ES256"}),
    "algorithm RS256": token(header={"alg": "RS256"}),
    "algorithm Ed25519": token(header={"alg": "Ed25519"}),
    "algorithm in lower case": token(header={"alg": "eddsa"}),
    "type JWT": token(header={"typ": "JWT"}),
    "a login token": token({"aud": "vault"}, {"typ": "JWT"}),
    "an unknown key": token(header={"kid": "tokens:9"}),
    "a critical header": token(header={"crit": ["exp"]}),
    "a key URL": token(header={"jku": "https://keys.example/jwks"}),
    "an embedded key": token(header={"jwk": {"kty": "OKP", "crv": "Ed25519"}}),
    "a certificate URL": token(header={"x5u": "https://keys.example/cert"}),
    "another key's signature": token(sign=OTHER.sign),
    "a signature of zeros": token(sign=lambda data: bytes(64)),
    "a tampered payload": token().replace(b64(encode(CLAIMS)), b64(encode({**CLAIMS, "role": "store_manager"}))),
    "two parts": token().rpartition(".")[0],
    "four parts": token() + ".e30",
    "padding": token() + "==",
    "a doubled claim": token(payload=encode(CLAIMS)[:-1] + b',"role":"matchmaker"}'),
    "a payload that is an array": token(payload=b"[]"),
    "an oversized token": token({"attrs": {"store": "x" * 7000}}),
    "another audience": token({"aud": "vault"}),
    "a list as audience": token({"aud": ["vaultstore"]}),
    "another issuer": token({"iss": "vaultst0re"}),
    "issued in the future": token({"iat": NOW + 6, "nbf": NOW + 6}),
    "an expiry too far away": token({"exp": NOW + 901}),
    "times that contradict": token({"nbf": NOW - 1}),
    "a time that is no integer": token({"exp": NOW + 900.5}),
    "an unknown claim": token({"scope": "all"}),
    "an unknown purpose": token({"purpose": "sales.export"}),
    "another purpose's digest": token({"pol": PURPOSES["member.self"]["digest"]}),
    "a role outside the purpose": token({"role": "store_manager"}),
    "no subjects where they must be named": token({**CARE, "case": "c-1"}),
    "no case where one is required": token({**CARE, "subjects": [ANNA]}),
    "another subject than oneself": token({**SELF, "subjects": [BO]}),
    "no subject": token({"subjects": []}),
    "a subject twice": token({"subjects": [ANNA, ANNA]}),
    "a subject in upper case": token({"subjects": [ANNA.upper()]}),
    "a token id that is no UUID": token({"jti": "1"}),
    "an attribute that is no text": token({"attrs": {"store": 1}}),
    "an attribute's name that is no identifier": token({"attrs": {"店": "x"}}),
    "a control character": token({"sub": "u\u0000"}),
    "an actor chain": token({"act": {"sub": "crm", "act": {"sub": "u-18"}}}),
    "a service without a name": token({"act": {"sub": ""}}),
    "a service that is no object": token({"act": "crm"}),
    "a ticket that is no object": token({"ticket": "0f" * 32}),
    "an empty ticket": token({"ticket": {}}),
    "a null ticket": token({"ticket": None}),
    "a ticket with another member": token({"ticket": {**TICKET, "alg": "none"}}),
    "a ticket without a MAC": token({"ticket": {"kid": "k-1", "logins": ["vs_s_app"]}}),
    "a ticket for no login": token({"ticket": {**TICKET, "logins": []}}),
    "a ticket for a login twice": token({"ticket": {**TICKET, "logins": ["vs_s_app", "vs_s_app"]}}),
    "a ticket for 33 logins": token({"ticket": {**TICKET, "logins": [f"vs_s_{n}" for n in range(33)]}}),
    "a ticket for a login that is too long": token({"ticket": {**TICKET, "logins": ["x" * 64]}}),
    "a ticket whose logins are no list": token({"ticket": {**TICKET, "logins": "vs_s_app"}}),
    "a ticket whose key's id is too long": token({"ticket": {**TICKET, "kid": "k" * 37}}),
    "a ticket whose key's id is a number": token({"ticket": {**TICKET, "kid": 1}}),
    "a ticket with a short MAC": token({"ticket": {**TICKET, "mac": "0f" * 31}}),
    "a ticket with a MAC in upper case": token({"ticket": {**TICKET, "mac": "0F" * 32}}),
    **{f"no {name}": token(without=name) for name in CLAIMS},
}

EXPIRED = {
    "expired this second": token({"iat": NOW - 900, "nbf": NOW - 900, "exp": NOW}),
    "not yet begun": token({"nbf": NOW + 60}),
}


def main() -> None:
    vectors = [{"name": name, "token": text, "error": None} for name, text in ACCEPTED.items()]
    vectors += [{"name": name, "token": text, "error": "TokenInvalid"} for name, text in INVALID.items()]
    vectors += [{"name": name, "token": text, "error": "TokenExpired"} for name, text in EXPIRED.items()]
    content = {
        "about": "Client tokens, docs/formats/tokens.md. Written by generate_tokens.py.",
        "now": NOW,
        "issuer": "vaultstore",
        "public_keys": {"tokens:1": KEY.public_key().public_bytes_raw().hex()},
        "purposes": PURPOSES,
        "tokens": vectors,
    }
    OUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
