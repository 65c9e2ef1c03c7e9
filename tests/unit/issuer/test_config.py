"""issuer.toml: every setting is checked, and what is not one is refused where it stands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vaultstore.errors import SettingsError
from vaultstore.issuer.config import IssuerConfig

LISTEN = '[listen]\nurl = "unix:/run/issuer.sock"\n'
TLS = '[listen]\nurl = "https://0.0.0.0:8443"\ncert = "i.pem"\nkey = "i.key"\nclient_ca = "ca.pem"\n'
OIDC = '[oidc]\nissuer = "https://id.example"\naudience = "us"\njwks = "https://id.example/keys"\n'
SERVICES = "[services.crm]\nuids = [1001]\n"


def load(folder: Path, *parts: str) -> IssuerConfig:
    path = folder / "issuer.toml"
    path.write_text("\n".join(parts), encoding="utf-8")
    return IssuerConfig.load(path)


def test_the_least_file_has_safe_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, LISTEN, OIDC, SERVICES)
    assert (config.listen.socket, config.listen.mode) == (Path("/run/issuer.sock"), 0o600)
    assert config.assertion.algorithms == ("EdDSA", "ES256", "PS256", "RS256")
    assert (config.assertion.subject, config.assertion.role) == (("sub",), ("role",))
    assert config.assertion.max_age == timedelta(hours=1)
    assert config.callers["crm"].peers == {"uid:1001"}
    assert config.callers["crm"].issues is None
    assert (config.rate, config.revocations) == (50, None)


def test_everything_can_be_said(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        TLS,
        OIDC.replace("https://id.example/keys", "keys.json"),
        'ca = "id-ca.pem"\nalgorithms = ["ES384"]\nsubject = "member_id"\nrole = ["realm_access", "roles"]\n'
        'max_age = "10m"\n[oidc.attributes]\nstore = "store_id"\ncity = ["address", "city"]\n',
        '[services.crm]\ncertificates = ["dns:CRM.internal", "uri:spiffe://x/crm", "cn:crm"]\nuids = [7]\n',
        '[services.desk]\nuids = [8]\nissues = ["*"]\n',
        "[limits]\nrate = 5\n[exchange]\nrevocations = true\n",
    )
    assert (config.listen.host, config.listen.port, config.listen.key) == ("0.0.0.0", 8443, tmp_path / "i.key")
    assert (config.provider_keys, config.provider_ca) == (str(tmp_path / "keys.json"), str(tmp_path / "id-ca.pem"))
    assert config.assertion.role == ("realm_access", "roles")
    assert config.assertion.attributes == {"store": ("store_id",), "city": ("address", "city")}
    assert config.callers["crm"].peers == {"dns:crm.internal", "uri:spiffe://x/crm", "cn:crm", "uid:7"}
    assert config.callers["desk"].issues == {"*"}
    assert (config.rate, config.revocations) == (5, True)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (("x = ",), "is not TOML"),
        ((LISTEN, OIDC), "services is missing"),
        ((OIDC, SERVICES), "listen is missing"),
        ((LISTEN, SERVICES), "oidc is missing"),
        ((LISTEN, OIDC, "[services]\n"), r"\[services\] names no service"),
        (("tokens = 1\n", LISTEN, OIDC, SERVICES), r"tokens is not a setting; known: exchange, limits, listen, oidc"),
        ((LISTEN, OIDC, "audiance = 1\n", SERVICES), r"\[oidc\] audiance is not a setting; known: .*audience"),
        ((LISTEN, OIDC, SERVICES, "uid = 1\n"), r"\[services\.crm\] uid is not a setting; known: .*uids"),
        ((LISTEN, "key = 1\n", OIDC, SERVICES), r"\[listen\] key is not a setting"),
        ((TLS, 'mode = "0600"\n', OIDC, SERVICES), r"\[listen\] mode is not a setting"),
        ((LISTEN, OIDC, SERVICES, "[limits]\nrate = 0\n"), r"\[limits\] rate is not a whole number"),
        ((LISTEN, OIDC, SERVICES, "[limits]\nrate = true\n"), r"\[limits\] rate is not a whole number"),
        ((LISTEN, OIDC, SERVICES, "[limits]\nburst = 1\n"), r"\[limits\] burst is not a setting"),
        ((LISTEN, OIDC, SERVICES, "[exchange]\nrevocations = 1\n"), "revocations is not true or false"),
        ((LISTEN, "mode = '0666'\n", OIDC, SERVICES), "mode is 0600 .* or 0660"),
        ((LISTEN, "mode = 384\n", OIDC, SERVICES), "mode is not text"),
        ((TLS.replace("https", "http"), OIDC, SERVICES), "never served in clear"),
        ((TLS.replace("https://0.0.0.0:8443", "0.0.0.0:8443"), OIDC, SERVICES), "never served in clear"),
        ((TLS.replace(":8443", ""), OIDC, SERVICES), "neither https://HOST:PORT"),
        ((TLS.replace(":8443", ":84430"), OIDC, SERVICES), "neither https://HOST:PORT"),
        ((TLS.replace('"https://0.0.0.0:8443"', '"unix:issuer.sock"'), OIDC, SERVICES), "nor unix:/PATH"),
        ((TLS.replace('client_ca = "ca.pem"\n', ""), OIDC, SERVICES), "client_ca is missing"),
        ((LISTEN, OIDC, 'algorithms = ["HS256"]\n', SERVICES), "algorithms holds 'HS256'"),
        ((LISTEN, OIDC, 'algorithms = ["none"]\n', SERVICES), "algorithms holds 'none'"),
        ((LISTEN, OIDC, 'max_age = "1d"\n', SERVICES), "max_age is not a duration"),
        ((LISTEN, OIDC, "role = []\n", SERVICES), "role is not the name of a claim"),
        ((LISTEN, OIDC, "role = 1\n", SERVICES), "role is not the name of a claim"),
        ((LISTEN, OIDC, "[oidc.attributes]\nstore = 1\n", SERVICES), r"\[oidc\.attributes\] store is not the name"),
        ((LISTEN, OIDC, '[oidc.attributes]\n"st ore" = "s"\n', SERVICES), "st ore is no name for an attribute"),
        ((LISTEN, OIDC.replace('"us"', '""'), SERVICES), "audience is not text"),
        ((LISTEN, OIDC, "[services.crm]\n"), "has neither certificates nor uids"),
        ((LISTEN, OIDC, "[services]\ncrm = 1\n"), r"\[services\.crm\] is not a table"),
        ((LISTEN, OIDC, "[services.crm]\nuids = [-1]\n"), "uids are not a list of numbers"),
        ((LISTEN, OIDC, "[services.crm]\nuids = [true]\n"), "uids are not a list of numbers"),
        ((LISTEN, OIDC, '[services.crm]\ncertificates = ["crm.internal"]\n'), "not of the form dns:NAME"),
        ((LISTEN, OIDC, '[services.crm]\ncertificates = ["dns:*.internal"]\n'), "not of the form dns:NAME"),
        ((LISTEN, OIDC, '[services.crm]\ncertificates = ["uid:0"]\n'), "not of the form dns:NAME"),
        (
            (LISTEN, OIDC, SERVICES, "[services.relay]\nuids = [1001]\n"),
            r"\[services\.relay\] claims uid:1001, which is crm's",
        ),
        (
            (
                LISTEN,
                OIDC,
                '[services.a]\ncertificates = ["dns:x"]\n[services.b]\ncertificates = ["dns:X"]\n',
            ),
            "claims dns:x, which is a's",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, parts: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        load(tmp_path, *parts)


def test_a_missing_file_says_where_to_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"issuer\.toml is missing: docs/issuer\.md says what goes in"):
        IssuerConfig.load(tmp_path / "issuer.toml")
