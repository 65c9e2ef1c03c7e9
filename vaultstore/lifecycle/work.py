"""What a bulk job is made of: the work, as whoever writes one gives it, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import sqlalchemy as sa

__all__ = ["Applied", "Bench", "Failure", "OnProgress", "Prepared", "Progress", "Range", "Summary", "Work"]


class Range(NamedTuple):
    """Rows whose keys are beyond `after` and up to `until`; None: from the first, to the last."""

    after: str | None
    until: str | None
    rows: int


class Failure(NamedTuple):
    """A row that could not be done: its key, and why. Neither holds a value."""

    key: str
    reason: str


class Applied(NamedTuple):
    """What became of a chunk. Rows that needed nothing count as done."""

    done: int
    failures: Sequence[Failure] = ()


class Prepared(Protocol):
    """A chunk that was read, and what was asked for it."""

    @property
    def last(self) -> str | None:
        """The key of its last row; None where the range is at its end."""


class Bench(Protocol):
    """Where a worker does its chunks."""

    @property
    def engine(self) -> sa.Engine:
        """The members' side: there the rows are, and the tables of jobs."""

    def ranges(self, pieces: int) -> Sequence[Range]:
        """All rows that there are to do, in about so many ranges."""

    def prepare(self, after: str | None, until: str | None) -> Prepared:
        """Read the next chunk of a range and ask for what it takes; no transaction is open."""

    def apply(self, connection: sa.Connection, prepared: Prepared) -> Applied:
        """Change the rows, each only if it is as it was read; `connection` also records the progress, and commits."""


class Work(Protocol):
    """What a job does. Picklable where it is to run in other processes."""

    @property
    def kind(self) -> str:
        """The verb, such as ``rewrap``."""

    @property
    def about(self) -> str:
        """What it is done to: with the kind it names the job."""

    def open(self) -> AbstractContextManager[Bench]:
        """A bench in the process that calls."""


class Progress(NamedTuple):
    """How far a job has come."""

    rows: int
    done: int
    failed: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run of a job ended: all of its rows were looked at."""

    job: str
    kind: str
    about: str
    rows: int
    done: int
    failed: int
    failures: tuple[Failure, ...]
    """The first of them; `Jobs.failures` has all."""
    resumed: bool
    """Whether an earlier run had begun it."""
    seconds: float
