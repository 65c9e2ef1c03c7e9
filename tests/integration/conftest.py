"""Both profiles, empty and ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.profiles import Profile, embedded, standard
from vaultstore.testing import OpenBaoServer


@pytest.fixture(params=["embedded", "standard"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    """The member store, once on SQLite with a key file and once on PostgreSQL with OpenBao."""
    if request.param == "embedded":
        with embedded(tmp_path) as made:
            yield made
    else:
        openbao: OpenBaoServer = request.getfixturevalue("openbao")
        with standard(tmp_path, openbao, request.getfixturevalue("pg_database")) as made:
            yield made
