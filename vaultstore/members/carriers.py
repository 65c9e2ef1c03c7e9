"""Carriers: who really calls and texts. They get a number for one contact, and a key to know the contact again by."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vaultstore.errors import SettingsError, VaultstoreError

__all__ = ["Carrier", "CarrierDown", "CarrierRefused", "Contact", "RecordingCarrier", "WebhookCarrier"]

Channel = Literal["call", "text"]


class CarrierDown(VaultstoreError):
    """The carrier did not answer, or asks to try again: the contact stays queued."""


class CarrierRefused(VaultstoreError):
    """The carrier will not place this contact, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One call or text. Its repr shows no number."""

    key: str
    """Idempotency key: a carrier that has placed the contact of this key places no other, and says that it did."""
    channel: Channel
    number: str = field(repr=False)
    """E.164 form, as far as it is one."""
    text: str | None = field(default=None, repr=False)


class Carrier(Protocol):
    """Places calls and texts."""

    def place(self, contact: Contact) -> None:
        """Place it, once for each key. Raises CarrierDown (try again) or CarrierRefused (never)."""


class RecordingCarrier:
    """A carrier for tests: it keeps what it was asked to place. `on_place` is called first, and may raise."""

    def __init__(self, on_place: Callable[[Contact], None] | None = None) -> None:
        self.placed: dict[str, Contact] = {}
        self.asked: list[str] = []
        self._on_place = on_place
        self._lock = threading.Lock()

    def place(self, contact: Contact) -> None:
        """Keep it, once for each key."""
        with self._lock:
            self.asked.append(contact.key)
            if self._on_place is not None:
                self._on_place(contact)
            self.placed.setdefault(contact.key, contact)


class WebhookCarrier:
    """A carrier behind HTTP: POSTs JSON with the header ``Idempotency-Key``. https, or http to this machine.

    2xx: placed. 409: this key was placed before. 408, 425, 429 and 5xx, and no answer: CarrierDown. Others:
    CarrierRefused. Redirects are not followed: a number goes where it was meant to. `timeout` is in seconds; `bearer`
    is sent as a bearer token.
    """

    def __init__(self, url: str, *, bearer: str = "", timeout: float = 10.0) -> None:
        parts = urllib.parse.urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise SettingsError("a carrier's URL is https, or http to this machine")
        self._url, self._bearer, self._timeout = url, bearer, timeout
        # No proxy of the environment either: a number goes to the carrier and nobody else.
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def __repr__(self) -> str:
        return f"<WebhookCarrier {urllib.parse.urlsplit(self._url).hostname}>"

    def place(self, contact: Contact) -> None:
        """POST it."""
        body = {"channel": contact.channel, "number": contact.number, "text": contact.text}
        headers = {"Content-Type": "application/json", "Idempotency-Key": contact.key}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - checked above
        failure: VaultstoreError
        try:
            with self._opener.open(request, timeout=self._timeout):
                return
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
            if status == 409:
                return
            if status in (408, 425, 429) or status >= 500:
                failure = CarrierDown(f"the carrier answered {status}")
            else:
                failure = CarrierRefused(f"the carrier answered {status}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure = CarrierDown(f"the carrier did not answer ({type(error).__name__})")
        raise failure


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """None: the answer stays an error."""
