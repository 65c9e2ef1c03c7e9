"""A policy as immutable values: what was loaded from policies/*.yaml, already checked within the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

__all__ = [
    "KEEPS",
    "KEY_VERBS",
    "Category",
    "Limit",
    "ModelRead",
    "Never",
    "PolicyTest",
    "Purpose",
    "Requirements",
    "Service",
]

KEY_VERBS = ("rotate", "rewrap", "retire")
"""What a purpose may do for the upkeep of the categories' keys; with any of them it sees how the keys stand."""

KEEPS = ("approvals", "canaries", "cases", "consents", "jobs", "revocations", "states")
"""Records that a service may be trusted to keep: access requests, cases, consents, revocations, states of subjects."""


@dataclass(frozen=True, slots=True)
class Category:
    """A named group of fields with a Transit key of its own."""

    name: str
    description: str = ""
    sensitive: bool = False
    projection: bool = False
    consent: str | None = None
    """The kind of consent of its own that purposes based on consent take to open or write it (PIPL Art. 29)."""


@dataclass(frozen=True, slots=True)
class ModelRead:
    """What a purpose reads of one model."""

    categories: frozenset[str]
    rows: str | None = None
    """Name of the row scope, or None for all rows."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `max` units in a window, counted for each holder.

    A unit is a distinct new subject (disclose, claim, assign), a needle (search), or a contact (contact).
    """

    max: int
    per: str
    """``day`` (a calendar day in the policy's time zone) or a sliding window such as ``30d``, ``1h``, ``15m``."""
    by: str
    """``actor``, ``subject`` (contact only) or ``purpose``."""

    @property
    def window(self) -> timedelta | None:
        """Length of a sliding window; None for a calendar day."""
        if self.per == "day":
            return None
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[self.per[-1]]
        return timedelta(**{unit: int(self.per[:-1])})


@dataclass(frozen=True, slots=True)
class Requirements:
    """What must hold before the gate opens for a purpose."""

    consent: str | None = None
    case: bool = False
    approvals: int = 0
    subjects: str | None = None
    """``named``: the token lists them. ``self``: the token names the actor's own subject. None: any."""
    sees_restricted: bool = False
    sees_canaries: bool = False
    """Whether rows that are nobody's (canaries) are open to it as if they were members."""

    def words(self) -> tuple[str, ...]:
        """What it asks for, in words; restricted members are no requirement, and not among them."""
        said = (
            f"consent {self.consent}" if self.consent else "",
            "an open case" if self.case else "",
            f"{self.approvals} approval{'' if self.approvals == 1 else 's'}" if self.approvals else "",
            f"subjects {self.subjects}" if self.subjects else "",
        )
        return tuple(filter(None, said))


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose: why, who, and what it may read, search and write."""

    name: str
    description: str = ""
    label: str = ""
    basis: str = ""
    dpv: str | None = None
    roles: frozenset[str] = frozenset()
    read: Mapping[str, ModelRead] = field(default_factory=dict)
    search: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Model -> names of fields."""
    write: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Model -> source categories; projections and indexes come along."""
    approves: frozenset[str] = frozenset()
    """Purposes whose access requests a holder of this one may approve."""
    keeps_keys: frozenset[str] = frozenset()
    """Some of KEY_VERBS, over every category: no data key is shown to it, and none of its requests opens a wrap."""
    replaces_keys: bool = False
    """Whether it may destroy a named subject's data keys for new ones that it made, of what it reads and writes."""
    requires: Requirements = Requirements()
    limits: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    """``disclose``, ``search``, ``contact``, ``claim`` or ``assign`` -> limits."""
    batch: int = 50
    ttl: timedelta = timedelta(minutes=15)
    report_after: timedelta = timedelta(0)
    timezone: str = "UTC"

    def reads(self, model: str, *bases: str) -> frozenset[str]:
        """Categories of `model` that it reads; a base's entry holds where the model itself is not listed."""
        entry = next((self.read[m] for m in (model, *bases) if m in self.read), None)
        return entry.categories if entry else frozenset()

    def rows(self, model: str, *bases: str) -> str | None:
        """Name of the row scope of `model`, or None."""
        entry = next((self.read[m] for m in (model, *bases) if m in self.read), None)
        return entry.rows if entry else None

    def searches(self, model: str, *bases: str) -> frozenset[str]:
        """Fields of `model` that it may search by equality."""
        return next((self.search[m] for m in (model, *bases) if m in self.search), frozenset())

    def writes(self, model: str, *bases: str) -> frozenset[str]:
        """Source categories of `model` that it may write."""
        return next((self.write[m] for m in (model, *bases) if m in self.write), frozenset())


@dataclass(frozen=True, slots=True)
class Service:
    """A program that acts under purposes: one database login, and the records that it may keep besides."""

    name: str
    description: str = ""
    purposes: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    """Some of KEEPS."""


@dataclass(frozen=True, slots=True)
class Never:
    """A bar that no purpose may cross: these roles never reach these categories, projections of them included."""

    roles: frozenset[str]
    categories: frozenset[str]
    exceptions: Mapping[str, frozenset[str]]
    """``Model.field`` -> projection categories that are allowed all the same."""
    because: str
    place: str = ""
    """``file:line:column``."""


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """An expectation written beside the policy: what a purpose gets of a field, or of a model's rows."""

    purpose: str
    model: str
    field: str
    """"" for the rows and their clear columns."""
    expect: str
    """``clear``, ``masked:CATEGORY`` or ``denied``; of a search, a write or of rows, ``allowed`` or ``denied``."""
    place: str = ""
    verb: str = "read"
    """``read``, ``search`` or ``write``."""
