"""Requests to Vault or OpenBao: the only importer of hvac, and the place where its errors become ours.

hvac's and requests' exceptions hold request bodies and, for a batch that failed in part, the plaintext of the items
that did not fail. None of them leaves this module, neither chained nor as text: errors name method, path and status.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from hvac.adapters import RawAdapter
from hvac.exceptions import VaultError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from vaultstore.errors import KeyServiceRefused, KeyServiceUnavailable, SettingsError
from vaultstore.keys.call import call
from vaultstore.keys.handle import SecretHandle

__all__ = ["AUDITED_HEADER", "Answer", "OnRequest", "VaultClient"]

AUDITED_HEADER = "x-vaultstore-request-id"
"""Header of every request that Vault's audit log shows in clear, with refusals too."""

OnRequest = Callable[[str, str, int], None]
"""Called before each attempt of a request with its method, its path and the number of items in its batch."""

_RETRIED = frozenset({429, 500, 502, 503, 504})
_BACKOFF = 0.1  # seconds before the first retry; doubled for each further one
_RATED = 7  # times as long where a rate quota said no: quotas count by the second
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True, slots=True, repr=False)
class Answer(SecretHandle):
    """A status and a parsed JSON body."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """The body's ``data``, or nothing."""
        found = self.body.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def errors(self) -> list[str]:
        """What the body says went wrong. It may repeat what was sent: not for any message of ours."""
        found = self.body.get("errors")
        return [error for error in found if isinstance(error, str)] if isinstance(found, list) else []


class VaultClient(SecretHandle):
    """A connection pool to one Vault or OpenBao. It holds no token of its own. Safe to use from several threads.

    `timeout` is (connect, read) in seconds; retries never begin later than the read timeout after the first attempt.
    `ca` is the path of a CA bundle. Proxies, .netrc and VAULT_* of the environment are never used, redirects never
    followed. Raises SettingsError for a URL that would send keys over a network in clear.
    """

    __slots__ = (
        "_ca",
        "_lock",
        "_namespace",
        "_on_request",
        "_pool",
        "_retries",
        "_session",
        "_session_pid",
        "_timeout",
        "_url",
    )

    def __init__(
        self,
        url: str,
        *,
        timeout: tuple[float, float],
        ca: str | None = None,
        namespace: str | None = None,
        retries: int = 2,
        pool: int = 32,
        on_request: OnRequest | None = None,
    ) -> None:
        self._url = _checked_url(url)
        self._timeout, self._ca, self._namespace = timeout, ca, namespace
        self._retries, self._pool, self._on_request = retries, pool, on_request
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._session_pid = 0

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        items: int = 0,
        expect: Collection[int] = (),
        request_id: str = "",
    ) -> Answer:
        """Send one request (`path` without ``/v1/``) and return the answer to it.

        `request_id` stands in Vault's audit log, with every attempt; without one that fits a header, a fresh id does.
        2xx and the statuses in `expect` are answers. Raises KeyServiceUnavailable (no answer, sealed, overloaded; after
        retries) or KeyServiceRefused (any other status).
        """
        known = request_id if _REQUEST_ID.fullmatch(request_id) else str(uuid.uuid4())
        deadline = time.monotonic() + self._timeout[1]
        for attempt in range(self._retries + 1):
            if self._on_request is not None:
                self._on_request(method, path, items)
            response, trouble, retried = call(self._attempt, method, path, body, token, known)
            wait = _BACKOFF * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            if response is not None:
                if response.status_code in expect or response.status_code < 300:
                    return _answer(response, method, path)
                trouble, retried = f"status {response.status_code}", response.status_code in _RETRIED
                if response.status_code == 429:
                    trouble, wait = "status 429: it is over a rate quota, so ask for less at a time", wait * _RATED
                wait = max(wait, _retry_after(response))
                if not retried:
                    raise KeyServiceRefused(f"the key service refused {method} {path} ({_meaning(response)})")
            if not retried or attempt == self._retries or time.monotonic() + wait > deadline:
                break
            time.sleep(wait)
        raise KeyServiceUnavailable(f"the key service could not take {method} {path} ({trouble})")

    def close(self) -> None:
        """Close the pool. Harmless when repeated; a later request opens a new one."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _attempt(
        self, method: str, path: str, body: object, token: str, request_id: str
    ) -> tuple[requests.Response | None, str, bool]:
        """One attempt: the response, or what went wrong and whether another attempt may help. Lets no exception out."""
        adapter = RawAdapter(
            base_uri=self._url,
            token=token or None,
            session=self._own_session(),
            verify=self._ca or True,
            timeout=self._timeout,
            namespace=self._namespace,
            allow_redirects=False,
        )
        try:
            headers = {AUDITED_HEADER: request_id}
            return adapter.request(method, f"/v1/{path}", headers, raise_exception=False, json=body), "", False
        except requests.ReadTimeout:
            return None, "no answer in time", False
        except requests.ConnectTimeout:
            return None, "no connection in time", False
        except requests.exceptions.SSLError:
            return None, "no trusted TLS connection", False
        except requests.ConnectionError as error:
            # A read that times out while the body arrives also ends up here.
            stalled = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
            return None, "no answer in time" if stalled else "no connection", not stalled
        except (requests.RequestException, VaultError, OSError) as error:
            return None, type(error).__name__, False

    def _own_session(self) -> requests.Session:
        # Connections must not be shared with a forked child: two processes would read each other's answers.
        with self._lock:
            if self._session is None or self._session_pid != os.getpid():
                session = requests.Session()
                session.trust_env = False
                session.verify = self._ca or True
                session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                pool = HTTPAdapter(pool_connections=1, pool_maxsize=self._pool, pool_block=True, max_retries=0)
                session.mount("https://", pool)
                session.mount("http://", pool)
                self._session, self._session_pid = session, os.getpid()
            return self._session


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("the key service's url must begin with https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("the key service's url must hold a host and a path only")
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise SettingsError(f"http://{parts.hostname} would send data keys over the network in clear: use https://")
    return url.rstrip("/")


def _answer(response: requests.Response, method: str, path: str) -> Answer:
    if not response.content:
        return Answer(response.status_code)
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise KeyServiceUnavailable(f"what answered {method} {path} is not a key service")
    return Answer(response.status_code, body)


def _meaning(response: requests.Response) -> str:
    if response.is_redirect:
        return "it redirects, which is not followed: give the url of the active node"
    known = {400: "invalid", 401: "not authenticated", 403: "not permitted", 404: "not there", 405: "not supported"}
    return known.get(response.status_code, f"status {response.status_code}")


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait (RFC 9110, section 10.2.3; the form as a date is not used by Vault)."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
