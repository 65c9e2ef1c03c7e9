"""What the gate asks of its database: steps 1 to 4 of each verb, decided and committed in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from vaultstore.gate.claims import Claims
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.scopes import ScopePair
from vaultstore.policy.model import Purpose
from vaultstore.records.index_versions import NO_VERSIONS, Place, Versions

__all__ = ["Admission", "Handout", "Ledger", "Mint", "Minting", "Published", "Taken", "Wrap"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What was decided; the entry that says so is committed."""

    entry: str
    code: str | None = None
    """Why the whole request was refused, or None."""
    refused: Mapping[bytes, str] = field(default_factory=dict)
    """Subject -> why it was refused, in the order asked."""
    versions: Mapping[str, Versions] = field(default_factory=dict)
    """Index name -> versions of its key, where that was ever rotated. Of searches, their hits, and seals."""


class Wrap(NamedTuple):
    """A wrapped data key, handed out for a committed entry."""

    ref: KeyRef
    wrapped: str
    own: bool
    """This purpose minted it, so it may seal under it too."""


@dataclass(frozen=True, slots=True)
class Handout:
    """The wraps of an admission, and who was withheld because something changed since."""

    wraps: Sequence[Wrap]
    code: str | None = None
    refused: Mapping[bytes, str] = field(default_factory=dict)


class Mint(NamedTuple):
    """A new data key, wrapped."""

    ref: KeyRef
    wrapped: str


@dataclass(frozen=True, slots=True)
class Minting:
    """What became of new keys in the row's transaction."""

    code: str | None = None
    refused: Mapping[bytes, str] = field(default_factory=dict)
    gone: Sequence[KeyRef] = ()
    """Keys meant for reuse that the keyring no longer holds."""
    stale: bool = False
    """A new key is wrapped under a version of its category's key that was given up: nothing was added, wrap again."""
    versions: Mapping[str, Versions] | None = None
    """As in Admission, where an index's key began to be rotated since: nothing was added, ask again with these."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a value that is to be written stands in another row, under a former version of its index's key."""

    place: Place | None = None
    """The index that has it; None: nobody has."""
    code: str | None = None


class Published(Protocol):
    """A policy bound to its models, as far as the gate's database keeps it."""

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """Every purpose by name."""

    def closure(self, name: str) -> dict[str, Any]:
        """The compiled closure of a purpose."""

    def digest(self, name: str) -> str:
        """The digest of that closure."""


class Ledger(Protocol):
    """The gate's database. Every method raises AuditError where it fails; then nothing was admitted."""

    @property
    def now(self) -> datetime:
        """The time by the clock that decides."""

    def gate(self) -> AbstractContextManager[sa.Connection]:
        """A transaction on the tables that the gate decides by, for changes of state, consent and the like."""

    def erasing(self) -> AbstractContextManager[tuple[sa.Connection, sa.Connection]]:
        """(members' side, gate's side) for an erasure, locked in that order; one transaction on PostgreSQL."""

    def publish(self, policy: Published) -> None:
        """Make `policy` the one that is decided by."""

    def check(self, claims: Claims) -> Admission:
        """Step 1 only: the grant is live."""

    def admit(
        self,
        claims: Claims,
        model: str,
        categories: Collection[str],
        subjects: Sequence[bytes],
        pairs: Sequence[ScopePair] = (),
    ) -> Admission:
        """Steps 1 to 4 of `disclose`; `subjects` are distinct, in order of priority.

        `pairs` are all that is asked for, subject and scope; none: only keys without a scope are.
        """

    def hand_out(self, claims: Claims, entry: str, refs: Sequence[KeyRef]) -> Handout:
        """Wraps for what `entry` admitted, unless something changed since; what is withheld is audited.

        Who is asked for in a category or a scope that was not admitted is withheld: ``not.admitted``.
        """

    def withhold(self, claims: Claims, entry: str, code: str | None, refused: Mapping[bytes, str]) -> None:
        """Audit that a write which `entry` admitted was refused after all."""

    def admit_seal(
        self,
        claims: Claims,
        model: str,
        sources: Collection[str],
        categories: Collection[str],
        indexes: Collection[str],
        subjects: Sequence[bytes],
        digests: int = 0,
    ) -> Admission:
        """Steps 1, 2 and 4 of `seal`; new subjects are registered. One refused subject refuses all.

        `digests` is how many values are to be indexed: the entry says so.
        """

    def mint(
        self,
        connection: sa.Connection,
        claims: Claims,
        entry: str,
        subjects: Sequence[bytes],
        minted: Sequence[Mint],
        reused: Sequence[KeyRef],
        versions: Mapping[str, Versions] = NO_VERSIONS,
    ) -> Minting:
        """In the row's transaction: hold the subjects active until it ends, and add the new keys.

        `versions` are those of the indexes that the rows have digests in; they too stay until the transaction ends.
        """

    def taken(
        self, connection: sa.Connection, claims: Claims, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]]
    ) -> Taken:
        """In the row's transaction: whether a row other than these has one of the former digests.

        `rows` are (former digest, row key); `entry` is the seal's.
        """

    def reindex(self, claims: Claims, model: str, index: str, subjects: Sequence[bytes], digests: int) -> Admission:
        """Steps 1, 2 and 4 for making digests of stored values anew, while their index's key is being rotated."""

    def settle_index(self, claims: Claims, model: str, index: str, *, settled: bool) -> Admission:
        """Note that every row has a digest of the next version, or that it is to be seen anew whether it has."""

    def index_state(self, claims: Claims) -> Admission:
        """The versions, for who keeps keys."""

    def rotate_index(self, claims: Claims, index: str, place: Place, version: int) -> Admission:
        """Let rows be written with digests of `version` from now on, and be looked up by both."""

    def finish_index(self, claims: Claims, index: str) -> Admission:
        """Let rows be looked up by digests of the next version only, once all have one."""

    def search(self, claims: Claims, model: str, field: str, needles: int) -> Admission:
        """Steps 1 to 4 of `search`."""

    def collide(self, claims: Claims, model: str, field: str) -> Admission:
        """Charge and audit a uniqueness violation as the search that it amounts to."""

    def found(self, claims: Claims, entry: str, rows: int, subjects: Sequence[bytes]) -> Admission:
        """Audit what a search found."""

    def charge(self, claims: Claims, verb: str, model: str, subject: bytes, unit: bytes, whose: str) -> Admission:
        """Steps 1 to 4 for an act of `verb` on one subject; it counts as `unit` against the purpose's limits for it.

        `whose` is the holder of limits by subject.
        """

    def approve(self, claims: Claims, request: str) -> Admission:
        """Approve an access request."""
