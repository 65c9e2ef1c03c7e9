"""An embedded member store in memory-held keys, with a purpose that reads everything back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.members import READ_ALL, CountedKeys
from vaultstore import LocalKeys, Policy, Store
from vaultstore.members import Base
from vaultstore.members.resources import policies

Opener = Callable[..., Store]


@pytest.fixture
def keys() -> CountedKeys:
    """A key service that counts what it is asked."""
    return CountedKeys(LocalKeys.memory())


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """The shipped policy, and a purpose for tests that reads everything back."""
    extra = tmp_path / "read_all.yaml"
    extra.write_text(READ_ALL, encoding="utf-8")
    return Policy.load([policies(), extra])


@pytest.fixture
def open_store(tmp_path: Path, keys: CountedKeys, policy: Policy) -> Iterator[Opener]:
    """Opens the store of this test; again, if need be."""
    opened: list[Store] = []

    def opener(**options: object) -> Store:
        store = Store.open(f"sqlite:///{tmp_path / 'members.db'}", keys=keys, policy=policy, models=Base, **options)
        opened.append(store)
        store.create_all()
        return store

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> Store:
    """An empty store."""
    return open_store()
