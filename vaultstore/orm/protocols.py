"""What a session needs of the gate: see vaultstore.gate for what fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from vaultstore.gate.claims import Claims
from vaultstore.gate.opened import Lease
from vaultstore.gate.protocol import Disclosed, KeyNeed, KeyRef, Sealed, Searched
from vaultstore.grants import Grant
from vaultstore.records.index_versions import Versions

__all__ = ["Gate", "Opened"]


class Opened(Protocol):
    """A grant that the gate opened; the sessions of one token share it."""

    @property
    def grant(self) -> Grant:
        """The verified grant."""

    @property
    def claims(self) -> Claims:
        """The same for databases."""

    def lease(self) -> Lease:
        """A share in the grant's login, which is given back with the last of them."""

    def give_back(self) -> None:
        """The grant is over: forget its keys and end its login."""

    def committed(self, minted: Sequence[KeyRef]) -> None:
        """These new keys are stored for good: later seals of this grant may use them."""

    def rolled_back(self, minted: Sequence[KeyRef]) -> None:
        """These new keys are gone."""


class Gate(Protocol):
    """The three verbs, the two reports on a search, and a look at the grant; see vaultstore.gate."""

    def check(self, grant: Grant) -> None:
        """Raise unless the grant is live."""

    def disclose(self, opened: Any, model: str, categories: Sequence[str], refs: Sequence[KeyRef]) -> Disclosed:
        """Keys or typed refusals."""

    def seal(
        self,
        opened: Any,
        model: str,
        sources: Any,
        needs: Sequence[KeyNeed],
        values: Any,
        connection: Connection,
    ) -> Sealed:
        """Keys to write with, and digests."""

    def search(self, opened: Any, model: str, field: str, values: Sequence[bytes]) -> Searched:
        """Digests of needles."""

    def found(self, opened: Any, entry: str, rows: int, subjects: Sequence[bytes]) -> Mapping[str, Versions]:
        """Audit the hits; the versions that indexes have by then."""

    def check_free(
        self, opened: Any, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]], connection: Connection
    ) -> None:
        """Raise IntegrityError where another row has such a value under a former version of the index's key."""

    def collision(self, opened: Any, model: str, field: str) -> None:
        """Charge and audit a uniqueness violation as a search."""
