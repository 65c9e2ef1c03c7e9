"""The issuer over HTTP: a WSGI application (PEP 3333).

    POST /token      RFC 7523: an assertion and a purpose   -> a client token
    POST /exchange   RFC 8693: a client token               -> a login token
    GET  /jwks       RFC 7517: the public keys
    GET  /health     whether it could sign now

Parameters are a form or a JSON object, each once; one that is not known is refused, not ignored. Errors are RFC 6749's
(section 5.2) with a `reason` beside them. One line a request goes to the log ``vaultstore.issuer``; it holds no token
and nothing that a caller wrote, but for what the policy knows.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from vaultstore.errors import SettingsError, VaultstoreError
from vaultstore.issuer.client import ACCESS_TOKEN, EXCHANGE_GRANT, ISSUE_GRANT
from vaultstore.issuer.desk import Desk, Issued
from vaultstore.issuer.peers import Peer, service_of
from vaultstore.issuer.rate import Rate
from vaultstore.issuer.refusals import REFUSALS, Refused, refusal_of

__all__ = ["MAX_BODY", "PEER", "IssuerApp"]

PEER = "vaultstore.peer"
"""Where the server puts the Peer of a request's connection into its environment."""
MAX_BODY = 32 * 1024
"""Bytes of a request's body, at most."""

_JWT = "urn:ietf:params:oauth:token-type:jwt"
_STATUS = {
    200: "200 OK",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    429: "429 Too Many Requests",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}

_log = logging.getLogger("vaultstore.issuer")

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(slots=True)
class _Call:
    """One request, and what the log will say of it."""

    environ: Environ = field(repr=False)
    peer: Peer
    service: str | None
    noted: dict[str, object] = field(default_factory=dict)


class IssuerApp:
    """Serves a desk. `owners` is peer name -> service; `public_keys` gives the JWKS document, and raises where the keys
    can't be had. Safe to use from several threads."""

    def __init__(
        self, desk: Desk, owners: Mapping[str, str], public_keys: Callable[[], Mapping[str, Any]], rate: Rate
    ) -> None:
        self._desk, self._owners, self._public_keys, self._rate = desk, owners, public_keys, rate
        self._routes = {
            "/token": ("POST", self._token),
            "/exchange": ("POST", self._exchange),
            "/jwks": ("GET", self._jwks),
            "/health": ("GET", self._health),
        }

    def __repr__(self) -> str:
        return "<IssuerApp>"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        begun = time.monotonic()
        peer = environ.get(PEER, Peer(frozenset()))
        call = _Call(environ, peer, service_of(peer, self._owners))
        status, answer = self._answered(call)
        body = json.dumps(answer, ensure_ascii=False).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Pragma", "no-cache"),
        ]
        if status in (429, 503):
            headers.append(("Retry-After", "1"))
        if status == 405:
            headers.append(("Allow", self._routes[environ["PATH_INFO"]][0]))
        start_response(_STATUS[status], headers)
        path = environ.get("PATH_INFO")
        _log.info(
            "request",
            extra={
                "fields": {
                    "path": path if path in self._routes else "other",
                    "service": call.service,
                    "peer": str(call.peer),
                    "status": status,
                    "ms": round((time.monotonic() - begun) * 1000, 1),
                    **call.noted,
                }
            },
        )
        return [body]

    def _answered(self, call: _Call) -> tuple[int, Mapping[str, Any]]:
        try:
            return 200, self._routed(call)
        except SettingsError as error:
            # What is wrong with this process is its operator's to read, not the caller's.
            call.noted["detail"] = str(error)
            return _refused(call, "defect", "the issuer is not set up for this")
        except VaultstoreError as error:
            return _refused(call, refusal_of(error), str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, no text of it goes out: it may hold a token
            call.noted["defect"] = f"{type(error).__name__} at {_place(error)}"
            return _refused(call, "defect", "the issuer failed")

    def _routed(self, call: _Call) -> Mapping[str, Any]:
        method, handler = self._routes.get(call.environ.get("PATH_INFO", ""), ("", None))
        if handler is None:
            raise Refused("request.no_such_path", "there is no such path")
        if call.environ.get("REQUEST_METHOD") != method:
            raise Refused("request.method", f"this path takes {method}")
        if call.environ.get("QUERY_STRING"):
            raise Refused("request.invalid", "parameters go into the body: logs keep addresses")
        if not self._rate.admits(call.service or str(call.peer)):
            raise Refused("request.too_many", "too many requests: slow down")
        return handler(call)

    def _token(self, call: _Call) -> Mapping[str, Any]:
        service = _known(call)
        given = _Parameters(call.environ, ISSUE_GRANT)
        issued = self._desk.issue(
            service,
            given.text("assertion"),
            given.text("purpose"),
            subjects=given.subjects(),
            case=given.optional("case"),
            ttl=given.seconds("ttl"),
            role=given.done("role"),
        )
        return {**_note(call, issued), "token_type": "Bearer"}

    def _exchange(self, call: _Call) -> Mapping[str, Any]:
        service = _known(call)
        given = _Parameters(call.environ, EXCHANGE_GRANT)
        token = given.text("subject_token")
        if given.text("subject_token_type") not in (ACCESS_TOKEN, _JWT):
            raise Refused("request.invalid", "subject_token_type is neither access_token nor jwt")
        if given.optional("audience") not in (None, "vault"):
            raise Refused("request.invalid", "a login token is for the audience vault")
        if given.done("requested_token_type") not in (None, _JWT):
            raise Refused("request.invalid", "a login token is a JWT")
        # N_A (RFC 8693, section 2.2.1): it logs in to the key service, and is no bearer's access token.
        return {**_note(call, self._desk.exchange(service, token)), "issued_token_type": _JWT, "token_type": "N_A"}

    def _jwks(self, call: _Call) -> Mapping[str, Any]:
        return self._public_keys()

    def _health(self, call: _Call) -> Mapping[str, Any]:
        self._public_keys()
        return {"status": "ok"}


class _Parameters:
    """The parameters of a POST, taken one by one. Raises Refused for what is missing, doubled, unknown or not text."""

    def __init__(self, environ: Environ, grant_type: str) -> None:
        self._left = _body(environ)
        given = self._left.pop("grant_type", None)
        if given is None:
            raise Refused("request.invalid", "grant_type is missing")
        if given != grant_type:
            raise Refused("request.grant_type", f"grant_type is not {grant_type}")

    def text(self, name: str) -> str:
        found = self.optional(name)
        if not found:
            raise Refused("request.invalid", f"{name} is missing")
        return found

    def optional(self, name: str) -> str | None:
        found = self._left.pop(name, None)
        if found is not None and not isinstance(found, str):
            raise Refused("request.invalid", f"{name} is no text")
        return found

    def done(self, name: str) -> str | None:
        """The last parameter: whatever is left after it is not known."""
        found = self.optional(name)
        if self._left:
            raise Refused("request.invalid", "there is a parameter that this version does not know")
        return found

    def subjects(self) -> list[uuid.UUID] | None:
        found = self._left.pop("subjects", None)
        if found is None:
            return None
        try:
            # UUID() takes other spellings, and an AttributeError is what it makes of a number.
            return [uuid.UUID(text) for text in (found.split() if isinstance(found, str) else found)]
        except (ValueError, AttributeError, TypeError):
            raise Refused("request.invalid", "subjects are UUIDs, a list or text with spaces between") from None

    def seconds(self, name: str) -> timedelta | None:
        found = self._left.pop(name, None)
        if found is None:
            return None
        text = str(found) if type(found) is int else found
        if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > 9:
            raise Refused("request.invalid", f"{name} is not a whole number of seconds")
        return timedelta(seconds=int(text))


def _body(environ: Environ) -> dict[str, Any]:
    length = environ.get("CONTENT_LENGTH", "")
    if not length.isascii() or not length.isdecimal():
        raise Refused("request.invalid", "a request has a Content-Length")
    if int(length) > MAX_BODY:
        raise Refused("request.too_long", f"a request has at most {MAX_BODY} bytes")
    content = environ["wsgi.input"].read(int(length))
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            found = json.loads(content.decode(), object_pairs_hook=_once)
        elif kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(content.decode(), True, True, errors="strict", max_num_fields=16) if content else []
            found = _once(pairs)
        else:
            raise Refused("request.invalid", "a request is a form or JSON")
    except (ValueError, RecursionError):
        raise Refused("request.invalid", "the parameters can't be read, or one is given twice") from None
    if not isinstance(found, dict):
        raise Refused("request.invalid", "the parameters are no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("given twice")
    return found


def _known(call: _Call) -> str:
    if call.service is None:
        raise Refused("service.unknown", "this certificate or account is no service's")
    return call.service


def _note(call: _Call, issued: Issued) -> dict[str, Any]:
    call.noted |= {"purpose": issued.purpose, "jti": issued.jti, "actor": issued.actor}
    return {"access_token": issued.token, "expires_in": issued.expires_in}


def _refused(call: _Call, reason: str, message: str) -> tuple[int, Mapping[str, Any]]:
    refusal = REFUSALS[reason]
    call.noted["reason"] = reason
    return refusal.status, {"error": refusal.error, "error_description": message, "reason": reason}


def _place(error: BaseException) -> str:
    """File and line where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
