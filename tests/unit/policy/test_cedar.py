"""The policy's decisions against Cedar's, cell by cell: purpose x role x model x field x operation."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.oracle.cedar import Cedar
from tests.support.generated import SOURCES, WorldSpec, world, worlds
from tests.support.generated_models import built
from tests.support.generated_policy import ROLES
from tests.support.profiles import SHIPPED_POLICY
from tests.support.soaking import often
from vaultstore import Actor, LocalKeys, Policy
from vaultstore.catalogue import Catalogue
from vaultstore.errors import IssueDenied, PolicyError
from vaultstore.orm import ModelRegistry
from vaultstore.policy import BoundPolicy
from vaultstore.policy.lattice import OPERATIONS, UPKEEP, lattice, row_cells, vault_cells
from vaultstore.tokens import Issuer

READ_WRITE = ("read", "write")
NOBODY = "nobody"
"""A role that no purpose is open to."""


def merged(folder: Path) -> dict[str, Any]:
    """What the files of a folder say, read without any of our own code."""
    document: dict[str, Any] = {"never": []}
    for file in sorted(folder.rglob("*.yaml")):
        for section, found in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            if isinstance(found, dict):
                document.setdefault(section, {}).update(found)
            elif isinstance(found, list):
                document.setdefault(section, []).extend(found)
    return document


@pytest.fixture(scope="module")
def shipped() -> tuple[BoundPolicy, Cedar]:
    import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
    from vaultstore.members.models import Base

    bound = Policy.load(SHIPPED_POLICY).bind(ModelRegistry(Base).catalogue)
    return bound, Cedar(merged(SHIPPED_POLICY), bound.catalogue)


def agree(bound: BoundPolicy, cedar: Cedar) -> None:
    """Every cell of `bound` is what Cedar says of it; a role that a purpose is not open to gets nothing at all."""
    answers = cedar.ask(cedar.everything())
    cells, models = lattice(bound), row_cells(bound)
    fields = [(m.name, f.name) for m in bound.catalogue for f in m.fields]
    assert cells.keys() == {(p, *field, verb) for p in cedar.purposes for field in fields for verb in OPERATIONS}
    assert models.keys() == {(p, m.name, verb) for p in cedar.purposes for m in bound.catalogue for verb in READ_WRITE}
    for purpose, says in cedar.purposes.items():
        for role in says["roles"]:
            for model, field in fields:
                asked = (purpose, role, model, field)
                read = cells[purpose, model, field, "read"]
                assert read == str(bound.decision(purpose, model, field)) == cedar.read(*asked), asked
                assert (cells[purpose, model, field, "search"] == "allowed") == cedar.searches(*asked), asked
                assert (cells[purpose, model, field, "write"] == "allowed") == cedar.writes(*asked), asked
            for name in bound.catalogue.models:
                assert models[purpose, name, "read"] == cedar.sees(purpose, role, name), (purpose, role, name)
                assert models[purpose, name, "write"] == cedar.changes(purpose, role, name), (purpose, role, name)
    for asked, allowed in answers.items():
        assert not allowed or asked.role in cedar.purposes[asked.purpose]["roles"], asked


def keys_agree(bound: BoundPolicy, cedar: Cedar) -> None:
    """What each purpose may ask of a key service is the union of its cells over all models."""
    access, cells = bound.key_access("test"), vault_cells(bound)
    for name, purpose in cedar.purposes.items():
        unwrap, wrap, hmac = cedar.key_rights(name, min(purpose["roles"]))
        rights = access.purposes[name]
        assert (rights.unwrap, rights.wrap, rights.hmac) == (unwrap, wrap, hmac), name
        allowed = {(where, verb) for (who, where, verb), yes in cells.items() if who == name and yes}
        expected = {(f"category {c}", "decrypt") for c in unwrap} | {(f"category {c}", "encrypt") for c in wrap}
        # Cedar has no say in the upkeep of keys: that is of every category, and the policy's own word.
        kept = {verb for verb, word in UPKEEP.items() if word in purpose.get("keeps_keys", ())}
        kept |= {"read the key"} if kept else set()
        expected |= {(f"category {c}", verb) for c in bound.catalogue.categories for verb in kept}
        assert allowed == expected | {(f"index {i}", "hmac") for i in hmac}, name
    assert len(cells) == len(bound.purposes) * (7 * len(bound.catalogue.categories) + len({*bound.catalogue.indexes}))


@pytest.mark.xdist_group("cedar")  # one oracle answers both
def test_the_shipped_policy_means_what_cedar_makes_of_it(shipped: tuple[BoundPolicy, Cedar]) -> None:
    bound, cedar = shipped
    assert set(bound.purposes) == set(cedar.purposes)
    assert len(cedar.everything()) > 10_000
    agree(bound, cedar)
    keys_agree(bound, cedar)


@pytest.mark.xdist_group("cedar")  # one oracle answers both
def test_no_rule_of_never_changes_a_cell_of_the_shipped_policy(shipped: tuple[BoundPolicy, Cedar]) -> None:
    _, cedar = shipped
    assert cedar.document["never"]
    free = Cedar(cedar.document, cedar.catalogue, never=False)
    assert cedar.ask(cedar.everything()) == free.ask(free.everything())


def test_each_rule_of_the_shipped_policy_bars_something_that_could_be_granted(
    shipped: tuple[BoundPolicy, Cedar],
) -> None:
    bound, cedar = shipped
    for rule in cedar.document["never"]:
        for category in rule["categories"]:
            wider = deepcopy(cedar.document)
            purpose = {"description": "too wide", "roles": rule["roles"][:1]}
            models = [m for m in cedar.catalogue if category in m.categories]
            wider["purposes"] = {"too.wide": {**purpose, "read": {m.name: {"categories": [category]} for m in models}}}
            free, barred = Cedar(wider, cedar.catalogue, never=False), Cedar(wider, cedar.catalogue)
            wanted = [a for a in free.everything() if a.action == "read_clear"]
            assert any(free.ask(wanted).values())
            assert not any(barred.ask(wanted).values())
            with pytest.raises(PolicyError):
                _bound({**wider, "tests": []}, bound.catalogue)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_a_generated_policy_means_what_cedar_makes_of_it(spec: WorldSpec) -> None:
    with built(spec) as made:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        cedar = Cedar(made.document, bound.catalogue)
        agree(bound, cedar)
        keys_agree(bound, cedar)
        free = Cedar(made.document, bound.catalogue, never=False)
        assert cedar.ask(cedar.everything()) == free.ask(free.everything())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.data())
def test_a_rule_is_broken_exactly_where_cedars_forbids_change_a_cell(spec: WorldSpec, data: st.DataObject) -> None:
    with built(spec) as made:
        catalogue = ModelRegistry(made.base).catalogue
        document = {**made.document, "never": [data.draw(_rules(catalogue))]}
        cedar, free = Cedar(document, catalogue), Cedar(document, catalogue, never=False)
        kept = cedar.ask(cedar.everything()) == free.ask(free.everything())
        if kept:
            assert _bound(document, catalogue)
        else:
            with pytest.raises(PolicyError, match="which the rule at"):
                _bound(document, catalogue)


@st.composite
def _rules(draw: Any, catalogue: Catalogue) -> dict[str, Any]:
    used = sorted(catalogue.categories)
    categories = draw(st.lists(st.sampled_from(used), min_size=1, unique=True))
    excepted: dict[str, list[str]] = {}
    for model in catalogue:
        for field in model.fields:
            masks = [p.category for p in field.projections]
            if field.category in categories and masks and draw(st.booleans()):
                excepted[f"{model.name}.{field.name}"] = draw(st.lists(st.sampled_from(masks), min_size=1, unique=True))
    roles = draw(st.lists(st.sampled_from(ROLES), min_size=1, unique=True))
    rule: dict[str, Any] = {"roles": roles, "categories": categories, "because": "we say so"}
    return {**rule, "except": excepted} if excepted else rule


def _bound(document: dict[str, Any], catalogue: Catalogue) -> BoundPolicy:
    return Policy.parse(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).bind(catalogue)


def test_cedar_disagrees_as_soon_as_one_right_differs() -> None:
    """The comparison can fail: widen each purpose by one category, and a cell differs."""
    tried = 0
    for seed in range(12):
        with built(world(seed)) as made:
            bound = made.policy.bind(ModelRegistry(made.base).catalogue)
            for name, purpose in made.document["purposes"].items():
                for model, entry in purpose.get("read", {}).items():
                    for category in {c for c in SOURCES if c in bound.catalogue.models[model].categories}:
                        if category in entry["categories"]:
                            continue
                        wider = deepcopy(dict(made.document))
                        wider["purposes"][name]["read"][model]["categories"].append(category)
                        with pytest.raises(AssertionError):
                            agree(bound, Cedar(wider, bound.catalogue, never=False))
                        tried += 1
    assert tried > 20


@given(worlds(), st.sampled_from([*ROLES, "loader", NOBODY]))
def test_a_token_is_issued_exactly_to_the_roles_that_cedar_lets_do_anything(
    tmp_path_factory: pytest.TempPathFactory, spec: WorldSpec, role: str
) -> None:
    with built(spec) as made, LocalKeys.open(tmp_path_factory.mktemp("keys") / "keys.json") as keys:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        assume(any(f for m in spec.models for f in m.fields))
        keys.provision(bound.key_access("test"))
        issuer = Issuer(keys, bound, "test", lambda: datetime(2026, 3, 1, tzinfo=UTC))
        document = {**made.document, "roles": {**made.document["roles"], NOBODY: "no one"}}
        cedar = Cedar(document, bound.catalogue)
        answers = cedar.ask([a for a in cedar.everything() if a.role == role])
        for purpose in bound.purposes:
            if role in bound.purpose(purpose).roles:
                assert issuer.issue(Actor("u-1", role), purpose)
            else:
                assert not any(allowed for asked, allowed in answers.items() if asked.purpose == purpose)
                with pytest.raises(IssueDenied, match="may not act for"):
                    issuer.issue(Actor("u-1", role), purpose)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(often(300)))
def test_every_seed_means_what_cedar_makes_of_it(seed: int) -> None:
    with built(world(seed)) as made:
        bound = made.policy.bind(ModelRegistry(made.base).catalogue)
        cedar = Cedar(made.document, bound.catalogue)
        agree(bound, cedar)
        keys_agree(bound, cedar)


def test_a_seeds_world_is_always_the_same() -> None:
    assert world(5) == world(5)
    assert world(5) != world(6)
