"""Generated policies over generated models, applied to a real Vault and a real PostgreSQL, with real rows.

Every plane does in every cell what the policy says, and a right that is added by hand is found.
"""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.cedar import Cedar
from tests.support.generated import Choices, Drawn, Seeded, WorldSpec, world, worlds
from tests.support.generated_drift import FOR_GOOD, FOREIGN, VAULT_DRIFTS, VaultDrift
from tests.support.generated_drift_sql import POSTGRES_DRIFTS, PostgresDrift
from tests.support.generated_library import Library
from tests.support.generated_models import built
from tests.support.generated_planes import ISSUER, Deployment, deployed, vault
from tests.support.generated_sql import claims_of, raw_agrees
from tests.support.soaking import often
from vaultstore.errors import SettingsError
from vaultstore.keys import VaultKeys
from vaultstore.orm import ModelRegistry
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy import BoundPolicy
from vaultstore.policy.lattice import vault_cells
from vaultstore.testing import OpenBaoServer, PostgresServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

_CONTEXT = base64.b64encode(b"by hand").decode()
_DATA_KEY = base64.b64encode(os.urandom(32)).decode()


def _logged_in(openbao: OpenBaoServer, keys: VaultKeys, bound: BoundPolicy, purpose: str) -> str:
    """A Vault token of a purpose, by plain HTTP."""
    jwt = login_token(keys, bound.key_access(ISSUER), purpose)
    login = {"role": purpose, "jwt": jwt}
    status, answer = openbao.request("POST", f"auth/{keys.names.auth_mount}/login", login, token="")
    assert status == 200, answer
    token: str = answer["auth"]["client_token"]
    return token


def _try_every_cell(openbao: OpenBaoServer, keys: VaultKeys, bound: BoundPolicy, cedar: Cedar) -> None:
    """Every purpose at every key, by plain HTTP, against Cedar's word."""
    mount, names = keys.names.mount, keys.names
    wraps = {}
    for category in sorted(bound.catalogue.categories):
        body = {"plaintext": _DATA_KEY, "context": _CONTEXT}
        _, answer = openbao.request("POST", f"{mount}/encrypt/{names.category(category)}", body)
        wraps[category] = answer["data"]["ciphertext"]
    for purpose, says in cedar.purposes.items():
        unwrap, wrap, hmac = cedar.key_rights(purpose, min(says["roles"]))
        token = _logged_in(openbao, keys, bound, purpose)

        def allowed(verb: str, key: str, body: dict[str, str], token: str = token) -> bool:
            status, _ = openbao.request("POST", f"{mount}/{verb}/{key}", body, token=token)
            assert status in (200, 403), (verb, status)
            return status == 200

        for category, ciphertext in wraps.items():
            key, opened = names.category(category), {"ciphertext": ciphertext, "context": _CONTEXT}
            assert allowed("decrypt", key, opened) == (category in unwrap), (purpose, "decrypt", category)
            sealed = {"plaintext": _DATA_KEY, "context": _CONTEXT}
            assert allowed("encrypt", key, sealed) == (category in wrap), (purpose, "encrypt", category)
            assert allowed("rewrap", key, opened) == ("rewrap" in says.get("keeps_keys", ())), (
                purpose,
                "rewrap",
                category,
            )
            for verb in ("datakey/plaintext", "datakey/wrapped", "sign", "hmac", "verify"):
                assert not allowed(verb, key, {"input": "aGk=", "context": _CONTEXT}), (purpose, verb, category)
        for index in bound.catalogue.indexes:
            computed = allowed("hmac", names.index(index), {"input": "aGk="})
            assert computed == (index in hmac), (purpose, "hmac", index)
        assert openbao.request("POST", "auth/token/revoke-self", token=token)[0] == 204


def _vault_agrees(openbao: OpenBaoServer, spec: WorldSpec) -> None:
    with built(spec) as made:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        with vault(openbao, bound) as (keys, plane):
            planned = plane.plan()
            assert planned == plane.apply() != []
            assert plane.plan() == plane.apply() == []
            assert plane.differences() == []
            probes = list(plane.probes())
            assert [probe for probe in probes if not probe.agrees] == []
            tried = {(p.cell.purpose, p.cell.where, p.cell.operation): p.expected for p in probes}
            assert {cell: tried.get(cell) for cell in vault_cells(bound)} == vault_cells(bound)
            _try_every_cell(openbao, keys, bound, Cedar(made.document, bound.catalogue))


@pytest.mark.parametrize("seed", range(4))
def test_a_vault_opens_each_purpose_what_its_policy_says_and_nothing_else(openbao: OpenBaoServer, seed: int) -> None:
    _vault_agrees(openbao, world(seed))


@pytest.mark.soak
@settings(max_examples=often(60), suppress_health_check=list(HealthCheck))
@given(spec=worlds())
def test_a_vault_opens_what_any_policy_says_and_nothing_else(openbao: OpenBaoServer, spec: WorldSpec) -> None:
    _vault_agrees(openbao, spec)


# -------------------------------------------------------------------------------------------------- all three planes


def _three_planes_agree(openbao: OpenBaoServer, postgres: PostgresServer, spec: WorldSpec, *, strict: bool) -> None:
    with built(spec) as made, deployed(openbao, postgres, made.policy, made.base, strict=strict) as live:
        library = Library(made, live.operator, live.store, Cedar(made.document, live.bound.catalogue))
        library.load()
        assert live.postgres.plan() == live.postgres.apply() == []
        for plane in (live.vault, live.postgres):
            assert plane.differences() == []
            assert [probe for probe in plane.probes() if not probe.agrees] == []
        engines = {purpose: live.engine(live.login(purpose)) for purpose in live.bound.purposes}
        for purpose, actor, session in library.sessions():
            library.reading_agrees(purpose, actor, session)
            library.searching_agrees(purpose, actor, session)
            library.writing_agrees(purpose, actor)
            claims = claims_of(live.operator.issue(actor, purpose))
            raw_agrees(library, engines[purpose], live.roles.role(purpose), purpose, actor, claims)


@pytest.mark.parametrize(("seed", "strict"), [(253, False), (7, False), (171, True)])
def test_library_vault_and_postgresql_do_what_the_policy_says_in_every_cell(
    openbao: OpenBaoServer, postgres: PostgresServer, seed: int, strict: bool
) -> None:
    _three_planes_agree(openbao, postgres, world(seed), strict=strict)


@pytest.mark.soak
@settings(max_examples=often(60), suppress_health_check=list(HealthCheck))
@given(spec=worlds(), strict=st.booleans())
def test_library_vault_and_postgresql_do_what_any_policy_says(
    openbao: OpenBaoServer, postgres: PostgresServer, spec: WorldSpec, strict: bool
) -> None:
    _three_planes_agree(openbao, postgres, spec, strict=strict)


# ------------------------------------------------------------------------------------------------- rights by hand


def _drift(drift: VaultDrift, plane: VaultPlane, name: str) -> None:
    """Do it, find it by its name, and have it put right where that can be."""
    word = {**VAULT_DRIFTS, **FOR_GOOD}[name](drift)
    if word is None:
        return
    lines = [str(difference) for difference in plane.differences()]
    assert any(word in line and "too open" in line for line in lines), (name, lines)
    if name in FOR_GOOD:
        with pytest.raises(SettingsError, match=word):
            plane.apply()
        return
    if name in FOREIGN:  # what others made is theirs to remove
        drift.openbao.request("DELETE", drift.names.acl_path(word))
    plane.apply()
    assert plane.differences() == [], name


@pytest.mark.parametrize("seed", range(2))
def test_a_right_that_is_added_to_a_vault_by_hand_is_named(openbao: OpenBaoServer, seed: int) -> None:
    with built(world(seed)) as made:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        with vault(openbao, bound) as (keys, plane):
            plane.apply()
            for name in [*Seeded(seed).some([*VAULT_DRIFTS], least=7, most=7), *FOR_GOOD]:
                _drift(VaultDrift(openbao, keys.names, bound, Seeded(seed)), plane, name)


@pytest.mark.soak
@settings(max_examples=often(60), suppress_health_check=list(HealthCheck))
@given(spec=worlds(), data=st.data())
def test_any_right_that_is_added_to_a_vault_by_hand_is_named(
    openbao: OpenBaoServer, spec: WorldSpec, data: st.DataObject
) -> None:
    with built(spec) as made:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        with vault(openbao, bound) as (keys, plane):
            plane.apply()
            for name in data.draw(st.lists(st.sampled_from([*VAULT_DRIFTS]), min_size=1, max_size=4, unique=True)):
                _drift(VaultDrift(openbao, keys.names, bound, Drawn(data.draw)), plane, name)


def _sql_drift(live: Deployment, choose: Choices, name: str) -> None:
    """Do it, find it by its words, and have it put right."""
    tables = {t.name: tuple(c.name for c in t.columns) for info in live.operator.models for t in info.mapper.tables}
    drift = PostgresDrift(live.operator.engine, live.bound, live.roles, tables, choose)
    planted = POSTGRES_DRIFTS[name](drift)
    if planted is None:
        return
    lines = [str(difference) for difference in live.postgres.differences()]
    telling = [line for line in lines if all(word in line for word in planted.words)]
    assert telling, (name, planted.words, lines)
    assert any("too open" in line or "different" in line for line in telling), (name, telling)
    if planted.undo:
        drift.run(planted.undo)
    live.postgres.apply()
    assert live.postgres.differences() == [], name


@pytest.mark.parametrize("seed", [1, 8])
def test_a_right_that_is_added_to_a_database_by_hand_is_named(
    openbao: OpenBaoServer, postgres: PostgresServer, seed: int
) -> None:
    with built(world(seed)) as made, deployed(openbao, postgres, made.policy, made.base) as live:
        for name in Seeded(seed).some([*POSTGRES_DRIFTS], least=5, most=5):
            _sql_drift(live, Seeded(seed), name)


@pytest.mark.soak
@settings(max_examples=often(30), suppress_health_check=list(HealthCheck))
@given(spec=worlds(), data=st.data(), strict=st.booleans())
def test_any_right_that_is_added_to_a_database_by_hand_is_named(
    openbao: OpenBaoServer, postgres: PostgresServer, spec: WorldSpec, data: st.DataObject, strict: bool
) -> None:
    with built(spec) as made, deployed(openbao, postgres, made.policy, made.base, strict=strict) as live:
        for name in data.draw(st.lists(st.sampled_from([*POSTGRES_DRIFTS]), min_size=1, max_size=4, unique=True)):
            _sql_drift(live, Drawn(data.draw), name)
