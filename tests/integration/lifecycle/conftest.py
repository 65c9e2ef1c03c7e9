"""Both profiles with a journal and a folder of kept checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.profiles import Profile, embedded, standard
from vaultstore.testing import OpenBaoServer


@pytest.fixture(params=["embedded", "standard"])
def journaled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    """The member store, once on SQLite with a key file and once on PostgreSQL with OpenBao; it keeps a journal."""
    folder, options = tmp_path / "store", {"journal": tmp_path / "apart" / "journal.jsonl"}
    folder.mkdir()
    if request.param == "embedded":
        with embedded(folder, **options) as made:
            yield made
    else:
        openbao: OpenBaoServer = request.getfixturevalue("openbao")
        with standard(folder, openbao, request.getfixturevalue("pg_database"), **options) as made:
            yield made
