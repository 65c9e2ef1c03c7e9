"""What every key service must do, asked of a key file and of a real OpenBao alike."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vaultstore.errors import KeyServiceRefused
from vaultstore.keys import KeyService, KeyVersions, LocalKeys, LoginEnded, VaultKeys
from vaultstore.policy.access import KeyAccess
from vaultstore.testing.logins import login_token

AnyKeys = LocalKeys | VaultKeys


@pytest.fixture(params=["memory", "file", pytest.param("openbao", marks=pytest.mark.integration)])
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyKeys]:
    """Keys with nothing provisioned."""
    if request.param == "openbao":
        yield request.getfixturevalue("make_vault")()
    else:
        with LocalKeys.memory() if request.param == "memory" else LocalKeys.open(tmp_path / "keys.json") as keys:
            yield keys


@pytest.fixture
def keys(blank: AnyKeys, access: KeyAccess) -> AnyKeys:
    blank.provision(access)
    return blank


@pytest.fixture
def login(keys: AnyKeys, access: KeyAccess) -> Iterator[Callable[..., KeyService]]:
    services: list[KeyService] = []

    def log_in(purpose: str, /, **claims: Any) -> KeyService:
        services.append(keys.login(login_token(keys, access, purpose, **claims)))
        return services[-1]

    yield log_in
    for service in services:
        service.close()


@pytest.fixture
def registration(login: Callable[..., KeyService]) -> KeyService:
    return login("registration")


def contexts(count: int) -> list[bytes]:
    return [f"context-{n}".encode() for n in range(count)]


def data_keys(count: int) -> list[bytes]:
    return [hashlib.sha256(str(n).encode()).digest() for n in range(count)]


def opened(service: KeyService, category: str, items: list[tuple[bytes, str]]) -> list[bytes | None]:
    return service.unwrap(category, items, reference="entry-1")


@pytest.mark.parametrize("count", [0, 1, 150, 151, 400])
def test_data_keys_come_back_in_their_order(registration: KeyService, count: int) -> None:
    wraps = registration.wrap("contact", list(zip(contexts(count), data_keys(count), strict=True)))
    assert len(set(wraps)) == count
    assert opened(registration, "contact", list(zip(contexts(count), wraps, strict=True))) == data_keys(count)


def test_the_same_data_key_never_wraps_to_the_same_text(registration: KeyService) -> None:
    first, second = registration.wrap("contact", [(b"context", bytes(32))] * 2)
    assert first != second


def test_a_wrong_context_closes_that_item_only(registration: KeyService) -> None:
    wraps = registration.wrap("contact", list(zip(contexts(5), data_keys(5), strict=True)))
    items = list(zip(contexts(5), wraps, strict=True))
    items[2] = (b"context-of-another-subject", wraps[2])
    items[4] = (b"", wraps[4])
    assert opened(registration, "contact", items) == [*data_keys(2), None, data_keys(4)[3], None]


def test_a_batch_in_which_nothing_opens_is_answered_too(registration: KeyService) -> None:
    wraps = registration.wrap("contact", list(zip(contexts(2), data_keys(2), strict=True)))
    assert opened(registration, "contact", [(b"x", wraps[0]), (b"y", wraps[1])]) == [None, None]
    assert opened(registration, "contact", [(b"", wraps[0])]) == [None]


@pytest.mark.parametrize("scheme", ["local", "vault"])
@pytest.mark.parametrize(
    "junk",
    [
        "",
        "junk",
        "{}:",
        "{}:v",
        "{}:v1",
        "{}:v1:",
        "{}:v1:!!",
        "{}:v9:AAAA",
        "{}:v0:AAAA",
        "{}:v1:é",
        "{}:v99999999999999999999:AA",
        "{}:v-1:AAAA",
    ],
)
def test_what_is_no_wrap_is_none_and_its_neighbours_open(
    login: Callable[..., KeyService], registration: KeyService, junk: str, scheme: str
) -> None:
    (wrapped,) = registration.wrap("contact", [(b"context", bytes(32))])
    items = [(b"context", junk.format(scheme)), (b"context", wrapped)]
    assert opened(registration, "contact", items) == [None, bytes(32)]
    assert login("maintenance.keys").rewrap("contact", items)[0] is None


def test_a_wrap_of_one_category_does_not_open_as_another(registration: KeyService) -> None:
    (wrapped,) = registration.wrap("contact", [(b"context", bytes(32))])
    assert opened(registration, "identity", [(b"context", wrapped)]) == [None]


@pytest.mark.parametrize(
    "item", [(b"context", b""), (b"context", bytes(16)), (b"context", bytes(33)), (b"", bytes(32))]
)
def test_only_a_data_key_under_a_context_is_wrapped(registration: KeyService, item: tuple[bytes, bytes]) -> None:
    with pytest.raises(KeyServiceRefused, match="32 bytes"):
        registration.wrap("contact", [(b"context", bytes(32)), item])


def test_rewrapping_takes_the_newest_version_and_keeps_the_data_key(
    keys: AnyKeys, login: Callable[..., KeyService], registration: KeyService
) -> None:
    wraps = registration.wrap("contact", list(zip(contexts(3), data_keys(3), strict=True)))
    assert keys.rotate("contact") == 2
    items = list(zip([contexts(3)[0], b"another", contexts(3)[2]], wraps, strict=True))
    first, second, third = login("maintenance.keys").rewrap("contact", items, reference="entry-1")
    assert first is not None
    assert third is not None
    assert first.split(":")[1] == third.split(":")[1] == "v2"
    assert second is None
    assert opened(registration, "contact", [(contexts(3)[0], first), (contexts(3)[1], wraps[1])]) == data_keys(2)
    assert registration.wrap("contact", [(b"context", bytes(32))])[0].split(":")[1] == "v2"


def test_an_old_version_opens_until_it_is_retired_and_never_again(
    keys: AnyKeys, login: Callable[..., KeyService], registration: KeyService
) -> None:
    upkeep = login("maintenance.keys")
    old = list(
        zip(contexts(2), registration.wrap("contact", list(zip(contexts(2), data_keys(2), strict=True))), strict=True)
    )
    assert upkeep.versions("contact") == KeyVersions(1, 1, 1)
    assert upkeep.rotate("contact") == 2
    (fresh,) = upkeep.rewrap("contact", old[:1])
    assert fresh is not None
    assert opened(registration, "contact", old) == data_keys(2)
    for _ in range(2):  # doing it again does no harm
        upkeep.retire("contact", 2)
        assert upkeep.versions("contact") == KeyVersions(2, 2, 2)
    assert opened(registration, "contact", [*old, (old[0][0], fresh)]) == [None, None, data_keys(1)[0]]
    assert upkeep.rewrap("contact", old) == [None, None]
    assert registration.wrap("contact", [(b"context", bytes(32))])[0].split(":")[1] == "v2"
    upkeep.retire("contact", 1)  # what is forgotten stays so
    assert upkeep.versions("contact") == KeyVersions(2, 2, 2)
    with pytest.raises(KeyServiceRefused, match="no version 3"):
        upkeep.retire("contact", 3)


def test_who_keeps_keys_opens_and_seals_nothing(login: Callable[..., KeyService], registration: KeyService) -> None:
    upkeep = login("maintenance.keys")
    (wrapped,) = registration.wrap("contact", [(b"context", bytes(32))])
    (card,) = registration.wrap("sales_card", [(b"context", bytes(32))])
    assert upkeep.rotate("identity") == 2
    for action in (
        lambda: opened(upkeep, "contact", [(b"context", wrapped)]),
        lambda: upkeep.wrap("contact", [(b"context", bytes(32))]),
        lambda: upkeep.hmac("Member.phone", [b"1"]),
        lambda: upkeep.rewrap("sales_card", [(b"context", card)]),
        lambda: upkeep.rotate("sales_card"),
        lambda: upkeep.versions("sales_card"),
        lambda: upkeep.retire("identity", 2),  # rotated and rewrapped by it, and retired by somebody else
        lambda: upkeep.retire("sales_card", 2),
    ):
        with pytest.raises(KeyServiceRefused, match=r"maintenance\.keys may not"):
            action()


def test_who_reads_or_writes_keeps_no_keys(login: Callable[..., KeyService], registration: KeyService) -> None:
    (wrapped,) = registration.wrap("contact", [(b"context", bytes(32))])
    for service in (registration, login("sales.outreach"), login("care.complaint")):
        for action in (
            lambda service=service: service.rewrap("contact", [(b"context", wrapped)]),
            lambda service=service: service.rotate("contact"),
            lambda service=service: service.versions("contact"),
            lambda service=service: service.retire("contact", 1),
        ):
            with pytest.raises(KeyServiceRefused, match="may not"):
                action()
    assert login("maintenance.keys").versions("contact") == KeyVersions(1, 1, 1)


def test_digests_depend_on_index_and_value_alone(login: Callable[..., KeyService]) -> None:
    values = [b"", b"+8613812345678", "中文".encode(), bytes(4096), b"+8613812345678"]
    first = login("registration").hmac("Member.phone", values)
    assert {len(digest) for digest in first} == {32}
    assert first[1] == first[4]
    assert len(set(first)) == 4
    assert login("care.complaint").hmac("Member.phone", values) == first
    assert set(login("registration").hmac("Member.email", values)).isdisjoint(first)


def test_a_signature_verifies_under_the_key_that_it_names(keys: AnyKeys) -> None:
    signature = keys.sign("tokens", b"payload")
    public = keys.public_keys("tokens")
    assert set(public) == {signature.key_id} == {"tokens:1"}
    Ed25519PublicKey.from_public_bytes(public[signature.key_id]).verify(signature.value, b"payload")


def test_an_unknown_signing_key_is_refused(keys: AnyKeys) -> None:
    for action in (lambda: keys.sign("other", b""), lambda: keys.public_keys("other")):
        with pytest.raises(KeyServiceRefused):
            action()


def test_sales_opens_its_own_cards_and_nothing_else(login: Callable[..., KeyService]) -> None:
    registration, sales = login("registration"), login("sales.outreach")
    (card,) = registration.wrap("sales_card", [(b"context", bytes(32))])
    (contact,) = registration.wrap("contact", [(b"context", bytes(32))])
    assert opened(sales, "sales_card", [(b"context", card)]) == [bytes(32)]
    for action in (
        lambda: opened(sales, "contact", [(b"context", contact)]),
        lambda: opened(sales, "contact", [(b"context", card)]),
        lambda: opened(sales, "identity", [(b"context", contact)]),
        lambda: sales.wrap("sales_card", [(b"context", bytes(32))]),
        lambda: sales.wrap("contact", [(b"context", bytes(32))]),
        lambda: sales.rewrap("sales_card", [(b"context", card)]),
        lambda: sales.rewrap("contact", [(b"context", contact)]),
        lambda: sales.hmac("Member.phone", [b"+8613812345678"]),
        lambda: opened(sales, "no_such_category", [(b"context", card)]),
        lambda: sales.hmac("No.index", [b""]),
    ):
        with pytest.raises(KeyServiceRefused, match=r"sales\.outreach may not") as caught:
            action()
        assert not isinstance(caught.value, LoginEnded)


def test_a_writer_does_not_open_what_it_only_writes(registration: KeyService) -> None:
    (card,) = registration.wrap("sales_card", [(b"context", bytes(32))])
    with pytest.raises(KeyServiceRefused):
        opened(registration, "sales_card", [(b"context", card)])
    with pytest.raises(KeyServiceRefused):
        registration.rewrap("sales_card", [(b"context", card)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "vaultstore"},
        {"aud": None},
        {"aud": "Vault"},
        {"iss": "another-issuer"},
        {"iss": None},
        {"pol": "sha256:r0"},
        {"pol": "sha256:s1"},
        {"pol": None},
        {"pol": ""},
        {"purpose": "sales.outreach"},
        {"purpose": "no.such.purpose"},
        {"purpose": ["registration"]},
        {"purpose": "../registration"},
        {"purpose": ""},
        {"purpose": None},
        {"sub": None},
        {"exp": None},
        {"exp": "never"},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "ES256"}},
    ],
    ids=str,
)
def test_a_token_that_is_not_this_login_is_refused(login: Callable[..., KeyService], wrong: dict[str, Any]) -> None:
    login("registration")
    with pytest.raises(KeyServiceRefused):
        login("registration", **wrong)


@pytest.mark.parametrize(("issued_ago", "lifetime"), [(61, 60), (3600, 60), (2, 1), (-30, 60)])
def test_a_token_that_is_over_or_not_yet_valid_is_refused(
    login: Callable[..., KeyService], issued_ago: int, lifetime: int
) -> None:
    issued = int(time.time()) - issued_ago
    with pytest.raises(KeyServiceRefused):
        login("registration", now=issued, exp=issued + lifetime)


def test_a_token_that_this_issuer_did_not_sign_is_refused(keys: AnyKeys, access: KeyAccess) -> None:
    token = login_token(keys, access, "registration")
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    header = jwt.get_unverified_header(token)
    foreign = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)
    confused = ".".join([head, body, "A" * len(signature)])
    public = base64.b64encode(keys.public_keys("tokens")["tokens:1"])
    mac = base64.urlsafe_b64encode(hmac.digest(public, f"{head}.{body}".encode(), "sha256")).rstrip(b"=").decode()
    edited = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "u-18"}).encode()).rstrip(b"=").decode()
    keys.login(token).close()
    for forged in (foreign, confused, f"{head}.{body}.{mac}", f"{head}.{edited}.{signature}", f"{head}.{body}."):
        with pytest.raises(KeyServiceRefused) as caught:
            keys.login(forged)
        assert body not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "x" * 100_000, "é.é.é", "a." + "W" * 9000 + ".c", "\n", "null.null.null"]
)
def test_what_is_no_token_is_refused(keys: AnyKeys, text: str) -> None:
    with pytest.raises(KeyServiceRefused):
        keys.login(text)


def test_a_closed_login_does_nothing_more(login: Callable[..., KeyService]) -> None:
    service = login("registration")
    service.close()
    service.close()
    for action in (
        lambda: service.wrap("contact", [(b"context", bytes(32))]),
        lambda: opened(service, "contact", [(b"context", "local:v1:AAAA"), (b"context", "vault:v1:AAAA")]),
        lambda: service.hmac("Member.phone", [b""]),
    ):
        with pytest.raises(LoginEnded):
            action()


def test_provisioning_again_keeps_keys_and_running_logins(
    keys: AnyKeys, access: KeyAccess, registration: KeyService
) -> None:
    (wrapped,) = registration.wrap("contact", [(b"context", bytes(32))])
    digest = registration.hmac("Member.phone", [b"x"])
    public = keys.public_keys("tokens")
    keys.provision(replace(access, categories=access.categories | {"browsing"}, indexes=(*access.indexes, "A.b")))
    assert keys.public_keys("tokens") == public
    assert opened(registration, "contact", [(b"context", wrapped)]) == [bytes(32)]
    assert registration.hmac("Member.phone", [b"x"]) == digest


def test_a_changed_or_removed_purpose_takes_no_more_of_its_old_tokens(keys: AnyKeys, access: KeyAccess) -> None:
    tokens = {name: login_token(keys, access, name) for name in access.purposes}
    changed = replace(access.purposes["registration"], digest="sha256:r2")
    keys.provision(
        replace(access, purposes={"registration": changed, "sales.outreach": access.purposes["sales.outreach"]})
    )
    for purpose in ("registration", "care.complaint"):
        with pytest.raises(KeyServiceRefused):
            keys.login(tokens[purpose])
    keys.login(tokens["sales.outreach"]).close()
    keys.login(login_token(keys, access, "registration", pol="sha256:r2")).close()


def test_threads_share_keys_and_logins(registration: KeyService) -> None:
    def work(n: int) -> bool:
        items = [(f"{n}-{i}".encode(), bytes([n]) * 32) for i in range(20)]
        wraps = registration.wrap("contact", items)
        found = opened(registration, "contact", [(context, w) for (context, _), w in zip(items, wraps, strict=True)])
        return found == [data_key for _, data_key in items]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))


def test_keys_and_logins_show_and_copy_nothing(keys: AnyKeys, registration: KeyService) -> None:
    for thing in (keys, registration):
        assert repr(thing) == f"<{type(thing).__name__}>"
        assert not hasattr(thing, "__dict__")
        for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="holds secrets"):
                duplicate(thing)
