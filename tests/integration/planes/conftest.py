"""A Vault of its own for the planes: what other tests leave behind would have to be read by every look at one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vaultstore.testing import OpenBaoServer


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBaoServer]:
    """A dev-mode OpenBao that the planes' tests of this process share."""
    with OpenBaoServer() as server:
        yield server
