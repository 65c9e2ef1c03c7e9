"""Sessions over generated models under generated policies, with real rows, against Cedar's word on every cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from tests.oracle.cedar import Cedar
from tests.support.generated import WorldSpec, world, worlds
from tests.support.generated_library import Library
from tests.support.generated_models import built
from tests.support.soaking import often
from vaultstore import LocalKeys, Store
from vaultstore.errors import NotDisclosed


@contextmanager
def _library(spec: WorldSpec) -> Iterator[Library]:
    with (
        built(spec) as made,
        TemporaryDirectory() as folder,
        LocalKeys.open(Path(folder) / "keys.json") as keys,
        Store.open("sqlite://", keys=keys, policy=made.policy, models=made.base) as store,
    ):
        store.create_all()
        library = Library(made, store, lambda _: store, Cedar(made.document, store.policy.catalogue), bases_hold=True)
        library.load()
        yield library


def _check(spec: WorldSpec) -> None:
    with _library(spec) as library:
        for purpose, actor, session in library.sessions():
            library.reading_agrees(purpose, actor, session)
            library.searching_agrees(purpose, actor, session)
            library.writing_agrees(purpose, actor)


@pytest.mark.parametrize("seed", range(8))
def test_sessions_read_search_and_write_what_the_policy_says_and_nothing_else(seed: int) -> None:
    _check(world(seed))


@pytest.mark.soak
@settings(max_examples=often(200), suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_sessions_of_any_world_do_what_its_policy_says(spec: WorldSpec) -> None:
    _check(spec)


def test_the_comparison_finds_a_session_that_reads_more_or_less() -> None:
    """What the tests above rest on can fail: give Cedar a policy with one right more, and they do."""
    tried = 0
    for seed in (1, 4, 10, 11):
        with _library(world(seed)) as library:
            catalogue = library.issuing.policy.catalogue
            for purpose, actor, session in library.sessions():
                for model, entry in library.made.document["purposes"][purpose].get("read", {}).items():
                    fields = catalogue.models[model].fields
                    more = {f.category for f in fields} - set(entry["categories"])
                    if not more or not library.visible(purpose, actor, model):
                        continue
                    entry["categories"].append(min(more))
                    wider = replace(library, cedar=Cedar(library.made.document, catalogue, never=False))
                    with pytest.raises(NotDisclosed):
                        wider.reading_agrees(purpose, actor, session)
                    entry["categories"].remove(min(more))
                    tried += 1
    assert tried > 3
