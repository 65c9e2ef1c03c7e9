"""HTTP: what each path takes and answers, and what the log keeps of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tokens.support import read
from vaultstore.errors import KeyServiceUnavailable, SettingsError
from vaultstore.grants import Actor
from vaultstore.issuer.app import MAX_BODY, PEER, IssuerApp
from vaultstore.issuer.client import ACCESS_TOKEN, EXCHANGE_GRANT, ISSUE_GRANT
from vaultstore.issuer.logs import JsonLines
from vaultstore.issuer.peers import Peer
from vaultstore.issuer.rate import Rate
from vaultstore.tokens import jwks

from .support import ANNA, Office, assertion

OWNERS = {"dns:crm.internal": "crm", "uid:7": "relay"}
CRM, RELAY, STRANGER = (Peer(frozenset({name})) for name in ("dns:crm.internal", "uid:7", "dns:evil"))
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Caller:
    """Calls the application as the server does."""

    def __init__(self, rate: int = 1000, **office: Any) -> None:
        self.office = Office(**office)
        keys = self.office.world.keys
        self.app = IssuerApp(self.office.desk, OWNERS, lambda: jwks(keys), Rate(rate))
        self.headers: dict[str, str] = {}

    def __call__(
        self,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        *,
        peer: Peer | None = CRM,
        kind: str = FORM,
        method: str | None = None,
        **environ: Any,
    ) -> tuple[int, dict[str, Any]]:
        if isinstance(body, Mapping):
            body = urlencode(body).encode() if kind == FORM else json.dumps(body).encode()
        made: dict[str, Any] = {
            "REQUEST_METHOD": method or ("GET" if body is None else "POST"),
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body or b"")),
            "wsgi.input": io.BytesIO(body or b""),
            **({PEER: peer} if peer else {}),
            **environ,
        }
        status: list[str] = []

        def start(line: str, headers: list[tuple[str, str]]) -> None:
            status.append(line)
            self.headers = dict(headers)

        answer = b"".join(self.app(made, start))
        assert self.headers["Content-Length"] == str(len(answer))
        return int(status[0][:3]), json.loads(answer)

    def issue(self, **more: Any) -> tuple[int, dict[str, Any]]:
        return self("/token", {"grant_type": ISSUE_GRANT, "assertion": assertion(), "purpose": "sales.pool", **more})

    def token(self) -> str:
        return self.office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")


@pytest.fixture
def call() -> Caller:
    return Caller()


def exchange(token: str, **more: Any) -> dict[str, Any]:
    return {"grant_type": EXCHANGE_GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN, **more}


@pytest.mark.parametrize("kind", [FORM, JSON, "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_a_token_is_issued_for_a_form_and_for_json(call: Caller, kind: str) -> None:
    given = {"grant_type": ISSUE_GRANT, "assertion": assertion(), "purpose": "sales.pool", "ttl": "60"}
    body = urlencode(given).encode() if kind == FORM else json.dumps(given).encode()
    status, answer = call("/token", body, kind=kind)
    assert status == 200
    assert answer.keys() == {"access_token", "token_type", "expires_in"}
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 59)
    assert call.office.verifier.verify(answer["access_token"]).actor.id == "u-17"
    assert call.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("subjects", [str(ANNA), [str(ANNA)]])
def test_subjects_come_as_text_or_as_a_list(call: Caller, subjects: object) -> None:
    given = {
        "grant_type": ISSUE_GRANT,
        "assertion": assertion(),
        "purpose": "sales.outreach",
        "subjects": subjects,
        "case": "c-1",
        "ttl": 60,
    }
    status, answer = call("/token", given, kind=JSON)
    assert status == 200
    assert read(answer["access_token"])[1]["subjects"] == [str(ANNA)]


def test_a_login_token_is_no_bearers(call: Caller) -> None:
    status, answer = call("/exchange", exchange(call.token(), audience="vault"))
    assert status == 200
    assert answer["token_type"] == "N_A"
    assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
    assert read(answer["access_token"])[1]["aud"] == "vault"


def test_anybody_whom_tls_let_in_reads_the_public_keys(call: Caller) -> None:
    assert call("/jwks", peer=STRANGER)[1]["keys"][0]["kid"] == "tokens:1"
    assert call("/health", peer=STRANGER) == (200, {"status": "ok"})


def test_health_says_when_it_could_not_sign(call: Caller) -> None:
    def down() -> Any:
        raise KeyServiceUnavailable("no answer")

    call.app = IssuerApp(call.office.desk, OWNERS, down, Rate(10))
    status, answer = call("/health")
    assert (status, answer["reason"]) == (503, "keys.unavailable")
    assert call.headers["Retry-After"] == "1"


@pytest.mark.parametrize("peer", [STRANGER, Peer(frozenset()), Peer(frozenset(OWNERS)), None])
@pytest.mark.parametrize("path", ["/token", "/exchange"])
def test_who_is_no_service_or_two_gets_no_token(call: Caller, path: str, peer: Peer | None) -> None:
    status, answer = call(path, {"grant_type": ISSUE_GRANT}, peer=peer)
    assert (status, answer["error"], answer["reason"]) == (401, "invalid_client", "service.unknown")


def test_a_header_makes_nobody_a_service(call: Caller) -> None:
    headers = {"HTTP_VAULTSTORE_PEER": "dns:crm.internal", "HTTP_X_REMOTE_UID": "7", "REMOTE_USER": "crm"}
    assert call("/token", {"grant_type": ISSUE_GRANT}, peer=STRANGER, **headers)[0] == 401


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"grant_type": "password"}, 400, "request.grant_type"),
        ({"grant_type": EXCHANGE_GRANT}, 400, "request.grant_type"),
        ({"assertion": ""}, 400, "request.invalid"),
        ({"purpose": ""}, 400, "request.invalid"),
        ({"purpose": "relay.telephony"}, 403, "service.not_served"),
        ({"assertion": "x.y.z"}, 400, "token.invalid"),
        ({"assertion": assertion(exp=1)}, 400, "token.expired"),
        ({"assertion": assertion(role="registrar")}, 400, "issue.denied"),
        ({"role": "registrar"}, 400, "token.invalid"),
        ({"subjects": "anna"}, 400, "request.invalid"),
        ({"subjects": ""}, 400, "issue.denied"),
        ({"ttl": "0"}, 400, "issue.denied"),
        ({"ttl": "901"}, 400, "issue.denied"),
        ({"ttl": "-1"}, 400, "request.invalid"),
        ({"ttl": "1e3"}, 400, "request.invalid"),
        ({"ttl": "9" * 10}, 400, "request.invalid"),
        ({"case": ""}, 400, "issue.denied"),
        ({"scope": "all"}, 400, "request.invalid"),
        ({"actor": "u-18"}, 400, "request.invalid"),
    ],
)
def test_what_can_not_be_issued_is_refused_with_a_reason(
    call: Caller, changes: dict[str, str], status: int, reason: str
) -> None:
    found, answer = call.issue(**changes)
    assert (found, answer["reason"]) == (status, reason)
    assert answer.keys() == {"error", "error_description", "reason"}


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"", FORM, 400, "request.invalid"),
        (b"grant_type", FORM, 400, "request.invalid"),
        (b"grant_type=a&grant_type=b", FORM, 400, "request.invalid"),
        (b"\xff=\xfe", FORM, 400, "request.invalid"),
        (b"a=%ff&grant_type=b", FORM, 400, "request.invalid"),
        (b"&".join(b"a%d=1" % n for n in range(17)), FORM, 400, "request.invalid"),
        (b"{", JSON, 400, "request.invalid"),
        (b"[]", JSON, 400, "request.invalid"),
        (b'{"grant_type": "a", "grant_type": "b"}', JSON, 400, "request.invalid"),
        (b'{"grant_type": 1}', JSON, 400, "request.grant_type"),
        (b"[" * 20_000, JSON, 400, "request.invalid"),
        (b"{}", "text/plain", 400, "request.invalid"),
        (b"{}", "", 400, "request.invalid"),
        (b" " * (MAX_BODY + 1), JSON, 413, "request.too_long"),
    ],
)
def test_a_body_that_is_not_parameters_is_refused(
    call: Caller, body: bytes, kind: str, status: int, reason: str
) -> None:
    found, answer = call("/token", body, kind=kind)
    assert (found, answer["reason"]) == (status, reason)


@pytest.mark.parametrize("length", ["", "-1", "+1", "1_0", " 1", "x", "٣"])
def test_a_body_without_a_plain_length_is_not_read(call: Caller, length: str) -> None:
    assert call("/token", b"grant_type=x", CONTENT_LENGTH=length)[1]["reason"] == "request.invalid"


@pytest.mark.parametrize("name", ["assertion", "purpose", "role", "case"])
@pytest.mark.parametrize("value", [1, None, True, ["x"], {"a": "b"}])
def test_parameters_in_json_are_text(call: Caller, name: str, value: object) -> None:
    given = {"grant_type": ISSUE_GRANT, "assertion": assertion(), "purpose": "sales.pool", name: value}
    status, answer = call("/token", given, kind=JSON)
    if value is None and name in ("role", "case"):
        assert status == 200  # JSON's way to leave one out
    else:
        assert (status, answer["reason"]) == (400, "request.invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"audience": "vaultstore"},
        {"requested_token_type": ACCESS_TOKEN},
        {"actor_token": "x"},
        {"subject_token": ""},
    ],
)
def test_an_exchange_for_anything_else_is_refused(call: Caller, changes: dict[str, str]) -> None:
    assert call("/exchange", exchange(call.token(), **changes))[1]["reason"] == "request.invalid"


def test_another_services_certificate_exchanges_nothing(call: Caller) -> None:
    status, answer = call("/exchange", exchange(call.token()), peer=RELAY)
    assert (status, answer["error"], answer["reason"]) == (403, "unauthorized_client", "service.not_served")


def test_paths_and_methods_are_those_on_the_page(call: Caller) -> None:
    assert call("/")[1]["reason"] == "request.no_such_path"
    assert call("/token/")[0] == 404
    assert call("/token")[0] == 405
    assert call.headers["Allow"] == "POST"
    assert call("/jwks", {}, method="POST")[0] == 405
    assert call("/jwks", QUERY_STRING="token=x")[1]["reason"] == "request.invalid"


def test_a_caller_that_asks_too_often_is_slowed_down_alone() -> None:
    call = Caller(rate=1)
    found = [call("/jwks")[0] for _ in range(4)]
    assert found == [200, 200, 429, 429]
    assert call("/jwks", peer=RELAY)[0] == 200


def test_a_defect_tells_the_caller_nothing(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise RuntimeError("secret-value")

    caplog.set_level(logging.INFO, "vaultstore.issuer")
    call.app = IssuerApp(call.office.desk, OWNERS, broken, Rate(10))
    status, answer = call("/jwks")
    assert (status, answer["error_description"]) == (500, "the issuer failed")
    lines = [JsonLines().format(record) for record in caplog.records]
    assert "RuntimeError at" in lines[-1]
    assert "secret-value" not in "".join(lines) + json.dumps(answer)


def test_what_is_wrong_with_its_settings_is_told_to_the_log_alone(
    call: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    def unset() -> Any:
        raise SettingsError("this login may not have tickets made")

    caplog.set_level(logging.INFO, "vaultstore.issuer")
    call.app = IssuerApp(call.office.desk, OWNERS, unset, Rate(10))
    assert "login" not in json.dumps(call("/jwks")[1])
    assert "this login may not have tickets made" in JsonLines().format(caplog.records[-1])


def test_the_log_names_who_and_what_and_holds_no_token(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vaultstore.issuer")
    said = assertion()
    _, answer = call("/token", {"grant_type": ISSUE_GRANT, "assertion": said, "purpose": "sales.pool"})
    token = answer["access_token"]
    login = call("/exchange", exchange(token))[1]["access_token"]
    call.issue(assertion=said[:-2])
    call("/token\r\nx: y", {"secret-parameter": "1"})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [line["path"] for line in lines] == ["/token", "/exchange", "/token", "other"]
    assert (
        lines[0].items()
        >= {
            "event": "request",
            "service": "crm",
            "peer": "dns:crm.internal",
            "status": 200,
            "purpose": "sales.pool",
            "actor": "u-17",
            "jti": read(token)[1]["jti"],
        }.items()
    )
    assert lines[2]["reason"] == "token.invalid"
    text = json.dumps(lines)
    for secret in (said, token, login, "secret-parameter"):
        assert secret not in text
        assert secret.split(".")[-1] not in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    path=st.sampled_from(["/token", "/exchange"]),
    given_=st.dictionaries(
        st.sampled_from(["grant_type", "assertion", "purpose", "subjects", "ttl", "subject_token", "case", "role"]),
        json_values,
    ),
)
def test_no_json_is_a_defect(path: str, given_: dict[str, Any]) -> None:
    grant = ISSUE_GRANT if path == "/token" else EXCHANGE_GRANT
    assert Caller()(path, {"grant_type": grant, **given_}, kind=JSON)[1]["reason"] != "defect"


@given(body=st.binary(max_size=200), kind=st.sampled_from([FORM, JSON]))
def test_no_body_is_a_defect(body: bytes, kind: str) -> None:
    assert Caller()("/token", body, kind=kind)[1]["reason"] != "defect"
