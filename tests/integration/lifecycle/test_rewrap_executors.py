"""A rewrap in threads, in processes and on a Dask cluster: any executor, with a function that opens the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.profiles import SHIPPED_POLICY, Profile, embedded
from vaultstore import Actor, LocalKeys, Policy, Store
from vaultstore.errors import UnsupportedOperation
from vaultstore.records.keyring import vs_keyring

pytestmark = pytest.mark.integration


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    """SQLite and a key file: what other processes can open by a path."""
    with embedded(tmp_path) as made:
        yield made


@contextmanager
def opened(folder: str) -> Iterator[Store]:
    """The store in a folder, for a worker in another process. It notes which processes those were."""
    import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
    from vaultstore.members.models import Base

    (Path(folder) / f"worker-{os.getpid()}").touch()
    with (
        LocalKeys.open(Path(folder) / "keys.json") as keys,
        Store.open(
            f"sqlite:///{folder}/members.db", keys=keys, policy=Policy.load(SHIPPED_POLICY), models=Base
        ) as store,
    ):
        yield store


def versions(profile: Profile) -> set[str]:
    c = vs_keyring.c
    with profile.store.engine.connect() as connection:
        wraps = connection.execute(select(c.wrapped).where(c.category == "contact")).scalars()
        return {wrapped.split(":")[1] for wrapped in wraps}


def workers_of(profile: Profile) -> set[int]:
    return {int(path.name.partition("-")[2]) for path in profile.folder.glob("worker-*")}


def rewrapped(profile: Profile, executor: Executor, **more: Any) -> None:
    token = profile.token(Actor("operator-1", role="operator"), "maintenance.keys")
    profile.add_members(40)
    profile.store.keyring.rotate("contact", token)
    [summary] = profile.store.keyring.rewrap("contact", token, workers=2, executor=executor, **more)
    assert (summary.rows, summary.done, summary.failed) == (40, 40, 0)
    assert versions(profile) == {"v2"}


def test_threads_share_the_store_that_is_open(profile: Profile) -> None:
    with ThreadPoolExecutor(2) as executor:
        rewrapped(profile, executor)
    assert workers_of(profile) == set()


def test_processes_open_the_store_themselves(profile: Profile) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        rewrapped(profile, executor, opener=partial(opened, str(profile.folder)))
    assert workers_of(profile)
    assert os.getpid() not in workers_of(profile)


def test_a_dask_cluster_opens_the_store_itself(profile: Profile) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rewrapped(profile, client.get_executor(), opener=partial(opened, str(profile.folder)))
    assert workers_of(profile)
    assert os.getpid() not in workers_of(profile)


def test_without_a_function_that_opens_it_no_other_process_is_given_the_store(profile: Profile) -> None:
    token = profile.token(Actor("operator-1", role="operator"), "maintenance.keys")
    profile.add_members(1)
    profile.store.keyring.rotate("contact", token)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(UnsupportedOperation, match="opener="),
    ):
        profile.store.keyring.rewrap("contact", token, executor=executor)
    assert versions(profile) == {"v1"}
    profile.store.keyring.rewrap("contact", token)
    assert versions(profile) == {"v2"}
