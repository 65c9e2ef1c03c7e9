"""The client that a service asks the issuer with."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from vaultstore.errors import KeyServiceUnavailable, SettingsError
from vaultstore.issuer.refusals import error_of
from vaultstore.tokens import JwksKeys
from vaultstore.tokens.transport import Transport

__all__ = ["EXCHANGE_GRANT", "ISSUE_GRANT", "IssuerClient"]

ISSUE_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""RFC 7523, section 2.1."""
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693, section 2.1."""
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name (RFC 8693, section 3)

_FORM = "application/x-www-form-urlencoded"
_BACKOFF = 0.1  # seconds before the first retry; doubled for each further one
_LONGEST = 500  # characters of the issuer's description that an error repeats


class IssuerClient:
    """Asks the issuer for tokens, login tokens and public keys. Safe to use from several threads.

    `url` is ``https://host:port``, where `cert` and `key` are the paths of this service's certificate and private key
    and `ca` the path of the CA that signed the issuer's (the system's where it is empty), or ``unix:/path``.
    `timeout` is the seconds that one attempt may take; where there is no answer it is made again up to `retries` times.
    Raises SettingsError for a URL or file that can't be used.
    """

    def __init__(
        self, url: str, *, cert: str = "", key: str = "", ca: str = "", timeout: float = 5.0, retries: int = 2
    ) -> None:
        if url.startswith("http:"):
            raise SettingsError(f"{url!r}: tokens go over https:// or unix:/path only")
        if url.startswith("https:") and not (cert and key):
            raise SettingsError(f"{url}: the issuer knows a service by its certificate: give cert and key")
        self._transport = Transport(url, ca=ca, cert=cert, key=key, timeout=timeout)
        if self._transport.path != "/":
            raise SettingsError(f"{url!r} has a path: give host and port")
        self._retries = retries
        self._public_keys = JwksKeys(f"{url} /jwks", lambda: self._get("/jwks"))

    def __repr__(self) -> str:
        return f"<IssuerClient {self._transport.name}>"

    def issue(
        self,
        assertion: str,
        purpose: str,
        subjects: Iterable[uuid.UUID] | None = None,
        case: str | None = None,
        ttl: timedelta | None = None,
        *,
        role: str | None = None,
    ) -> str:
        """A client token for whom `assertion` (a JWT of the identity provider) says is acting.

        `role` names one where the assertion holds several. Raises IssueDenied (the policy says no), TokenInvalid or
        TokenExpired (the assertion), KeyServiceRefused (this service may not ask) and KeyServiceUnavailable.
        """
        form = {"grant_type": ISSUE_GRANT, "assertion": assertion, "purpose": purpose}
        if subjects is not None:
            form["subjects"] = " ".join(str(subject) for subject in subjects)
        if case is not None:
            form["case"] = case
        if ttl is not None:
            form["ttl"] = str(int(ttl.total_seconds()))
        if role is not None:
            form["role"] = role
        return self._post("/token", form)

    def exchange(self, token: str) -> str:
        """The login token for a client token, at most 60 s long.

        Raises TokenInvalid, TokenExpired or TokenRevoked, KeyServiceRefused (this service does not serve its
        purpose) and KeyServiceUnavailable.
        """
        return self._post(
            "/exchange",
            {"grant_type": EXCHANGE_GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN},
        )

    def public_keys(self) -> Mapping[str, bytes]:
        """Key id -> raw public key (32 bytes): what tokens verify with; see JwksKeys for when the issuer is down."""
        return self._public_keys()

    def close(self) -> None:
        """Close the connections. Harmless when repeated."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _get(self, path: str) -> bytes:
        return self._ask("GET", path, None)

    def _post(self, path: str, form: Mapping[str, str]) -> str:
        document = _parsed(self._ask("POST", path, urlencode(form).encode()))
        token = document.get("access_token")
        if not isinstance(token, str) or not token:
            raise KeyServiceUnavailable(f"{self._transport.name} gave an answer without a token")
        return token

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        for attempt in range(self._retries + 1):
            try:
                answer = self._transport.request(method, path, body, _FORM if body else "")
                if answer.status == 200:
                    return answer.body
                failure = self._failure(answer.status, answer.body)
            except KeyServiceUnavailable as trouble:
                failure = trouble
            if not isinstance(failure, KeyServiceUnavailable):
                break
            if attempt < self._retries:
                time.sleep(_BACKOFF * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        raise failure

    def _failure(self, status: int, body: bytes) -> Exception:
        document = _parsed(body)
        said = document.get("error_description")
        # Printable and short whatever comes; the issuer puts no token there.
        text = "".join(c for c in said if c.isprintable())[:_LONGEST] if isinstance(said, str) else ""
        return error_of(status, document.get("reason"), text or f"{self._transport.name} answered status {status}")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
