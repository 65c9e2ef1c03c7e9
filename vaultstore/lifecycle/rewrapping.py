"""The bulk job that wraps a category's data keys anew, under the newest version of its key.

A chunk: the gate hands out a page of wraps for a committed entry, the key service wraps them anew without showing a
data key, and each new wrap goes into the place of its old one if that still stands. Erased meanwhile: there is no row.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from vaultstore.envelope import wrap_context
from vaultstore.gate.keeping import Keeping, Page
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.refusals import refusal
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.work import Applied, Bench, Failure, Prepared, Range
from vaultstore.records.key_versions import Bound, HeldWrap

__all__ = ["CHUNK", "RewrapWork", "grant_of", "keeping_of"]

CHUNK = 3000
"""Wraps of a chunk: twenty requests of a stock key service's batch."""

_AHEAD = 2
"""Chunks that are begun before the one at hand is written down: memory holds no more than these."""
_FIRST: Bound = (bytes(16), b"", -1)
_BEYOND = (b"\xff" * 17, 2**63 - 1)
"""Behind every scope and key id of a subject."""
_EARLY = timedelta(seconds=30)
"""How long before its end a token is asked for again."""
_REASON = "the wrap does not open: it was damaged, or is not of this subject, or its version is gone"


def keeping_of(parts: Parts) -> Keeping:
    """The ledger's part in key upkeep."""
    from vaultstore.gate import SqliteLedger

    if isinstance(parts.ledger, SqliteLedger):
        from vaultstore.gate.keeping_sqlite import SqliteKeeping

        return SqliteKeeping(parts.ledger)
    from vaultstore.gate.keeping_postgres import PostgresKeeping

    return PostgresKeeping(parts.ledger)


class Grants:
    """The open grant of a token that is asked for again, where it can be, before it ends."""

    def __init__(self, parts: Parts, token: Token) -> None:
        self._parts, self._token = parts, token
        self._opened: OpenGrant | None = None

    def now(self) -> OpenGrant:
        """The grant to work under now. Raises TokenExpired and its kin."""
        opened = self._opened
        if opened is None or (callable(self._token) and self._parts.clock() + _EARLY >= opened.grant.expires_at):
            self._opened = opened = self._parts.opened(token_of(self._token))
        return opened


def grant_of(parts: Parts, token: Token) -> OpenGrant:
    """The open grant of a token."""
    return parts.opened(token_of(token))


@dataclass(frozen=True, slots=True)
class RewrapWork:
    """All wraps of a category that are of older versions than the newest; `opener` opens the store elsewhere."""

    category: str
    token: Token = field(repr=False)
    parts: Parts | None = field(repr=False)
    opener: Opener | None = None

    @property
    def kind(self) -> str:
        """``rewrap``."""
        return "rewrap"

    @property
    def about(self) -> str:
        """The category."""
        return self.category

    @contextmanager
    def open(self) -> Iterator[Bench]:
        """A bench on the store at hand, or on one that is opened here."""
        if self.parts is not None:
            with _bench(self.parts, self.category, self.token) as bench:
                yield bench
        elif self.opener is not None:
            with self.opener() as store, _bench(store.parts, self.category, self.token) as bench:
                yield bench

    def __reduce__(self) -> tuple[type[RewrapWork], tuple[str, Token, None, Opener]]:
        if self.opener is None:
            raise TypeError("this work holds an open store")
        return RewrapWork, (self.category, self.token, None, self.opener)


class _Chunk(NamedTuple):
    """A page of wraps and their new ones."""

    last: str | None
    entry: str = ""
    held: Sequence[HeldWrap] = ()
    fresh: Sequence[str | None] = ()


@contextmanager
def _bench(parts: Parts, category: str, token: Token) -> Iterator[RewrapBench]:
    grants = Grants(parts, token)
    newest = grants.now().ask(lambda service: service.versions(category)).newest
    with ThreadPoolExecutor(1, "vaultstore-pages") as pages, ThreadPoolExecutor(1, "vaultstore-rewrap") as wraps:
        bench = RewrapBench(parts, category, grants, newest, pages, wraps)
        try:
            yield bench
        finally:
            bench.stop()


class _Flight(NamedTuple):
    """A chunk that is on its way: its page is being read, then wrapped anew."""

    after: str | None
    until: str | None
    page: Future[Page]
    chunk: Future[_Chunk]


class RewrapBench:
    """See Bench. While a chunk is being written down, the next is wrapped anew and the one after it read."""

    def __init__(
        self,
        parts: Parts,
        category: str,
        grants: Grants,
        newest: int,
        pages: ThreadPoolExecutor,
        wraps: ThreadPoolExecutor,
    ) -> None:
        self._parts, self._category, self._grants, self._newest = parts, category, grants, newest
        self._pages, self._wraps = pages, wraps
        self._keeping = keeping_of(parts)
        self._flights: deque[_Flight] = deque()
        self._lock = threading.RLock()
        self._latest: Future[Page] | None = None
        self._until: str | None = None
        self._stopped = False

    @property
    def engine(self) -> sa.Engine:
        """The members' side."""
        return self._parts.engine

    def ranges(self, pieces: int) -> Sequence[Range]:
        """Cut at subjects; the last range has no end, so that keys made meanwhile are in one."""
        claims = self._grants.now().claims
        found = self._keeping.ranges(claims, self._category, self._newest, pieces)
        if found.code is not None:
            raise refusal(found.code, claims, "rewrap", self._category)
        ranges: list[Range] = []
        after: str | None = None
        for last, held in found.cuts[:-1]:
            until = written((last, *_BEYOND))
            if until != after:
                ranges.append(Range(after, until, held))
                after = until
        return [*ranges, Range(after, None, found.cuts[-1][1] if found.cuts else 0)]

    def prepare(self, after: str | None, until: str | None) -> _Chunk:
        """The next page, wrapped anew."""
        with self._lock:
            if not self._flights or self._flights[0][:2] != (after, until):
                self._flights.clear()  # another range: what was read of the old one is another worker's
                self._start(after, until)
            flight = self._flights.popleft()
            if self._latest is not None:
                self._go_on(self._latest)
        return flight.chunk.result()

    def apply(self, connection: sa.Connection, prepared: Prepared) -> Applied:
        """Replace what still stands."""
        assert isinstance(prepared, _Chunk)
        changed = [(held, new) for held, new in zip(prepared.held, prepared.fresh, strict=True) if new is not None]
        failures = [
            Failure(written(held.bound), _REASON)
            for held, new in zip(prepared.held, prepared.fresh, strict=True)
            if new is None
        ]
        if changed:
            claims = self._grants.now().claims
            done = self._keeping.rewrapped(connection, claims, prepared.entry, self._category, changed)
            if done.code is not None:
                raise refusal(done.code, claims, "rewrap", self._category)
        return Applied(len(changed), failures)

    def stop(self) -> None:
        """Begin nothing more; what is on its way is dropped."""
        with self._lock:
            self._stopped = True
            for flight in self._flights:
                flight.page.cancel()
                flight.chunk.cancel()
            self._flights.clear()
            self._latest = None

    def _start(self, after: str | None, until: str | None) -> None:
        page = self._pages.submit(self._read, after, until)
        self._flights.append(_Flight(after, until, page, self._wraps.submit(self._wrap, page)))
        self._latest, self._until = page, until
        page.add_done_callback(self._go_on)  # with nothing that holds the page: it would live until a full collection

    def _go_on(self, page: Future[Page]) -> None:
        """Begin the chunk after this page's, if it is the last that was begun, and is known."""
        with self._lock:
            if self._stopped or page is not self._latest or len(self._flights) >= _AHEAD:
                return
            if page.done() and not page.cancelled() and page.exception() is None:
                last = _last(page.result())
                if last is not None:
                    self._start(last, self._until)

    def _wrap(self, reading: Future[Page]) -> _Chunk:
        page, category = reading.result(), self._category
        items = [(wrap_context(held.subject, category, held.scope), held.wrapped) for held in page.wraps]
        fresh: Sequence[str | None] = ()
        if items:
            fresh = self._grants.now().ask(lambda service: service.rewrap(category, items, reference=page.entry))
        return _Chunk(_last(page), page.entry, page.wraps, fresh)

    def _read(self, after: str | None, until: str | None) -> Page:
        opened, category = self._grants.now(), self._category
        bounds = _FIRST if after is None else read(after), None if until is None else read(until)
        while True:
            page = self._keeping.page(opened.claims, category, self._newest, *bounds, CHUNK)
            if page.code is not None:
                raise refusal(page.code, opened.claims, "rewrap", category)
            if page.wraps or page.keys < CHUNK:
                return page


def _last(page: Page) -> str | None:
    """Where the next page begins; None where this one is the range's last."""
    return None if page.keys < CHUNK else written(page.wraps[-1].bound)


def written(bound: Bound) -> str:
    """A place among wraps as the key of a job's row."""
    return f"{bound[0].hex()}:{bound[1].hex()}:{bound[2]}"


def read(key: str) -> Bound:
    """What `written` wrote."""
    subject, scope, key_id = key.split(":")
    return bytes.fromhex(subject), bytes.fromhex(scope), int(key_id)
