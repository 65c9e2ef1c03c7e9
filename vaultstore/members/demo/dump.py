"""What a thief of the database holds: every byte of it, searched for every plaintext of every member."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from vaultstore import Store
from vaultstore.members.generate import Town

__all__ = ["Dumped", "Search", "dump", "plaintexts", "search_dump"]

_OWN = ("real_name", "id_number", "phone", "wechat", "email", "address", "birth_date", "wants")
_SHORTEST = 6
_SHORTEST_NUMBER = 9
"""Fewer digits than that are in any file, in times and ids."""


class Dumped(Protocol):
    """A filled store, and what it was filled with."""

    @property
    def store(self) -> Store:
        """The store."""

    @property
    def gate(self) -> sa.Engine:
        """Where the gate's tables lie."""

    @property
    def town(self) -> Town:
        """The rows as they were imported."""


@dataclass(frozen=True, slots=True)
class Search:
    """Outcome of a search."""

    bytes: int
    """Bytes looked through."""
    looked_for: int
    """Plaintexts looked for."""
    found: frozenset[str]
    """Columns of those that were found."""
    works: bool
    """Whether the same search finds every nickname, which is stored in clear: one that finds nothing proves nothing."""


def search_dump(stage: Dumped) -> Search:
    """Search the whole database for every plaintext of every member, as typed and as stored."""
    pieces = list(dump(stage))
    wanted = dict(plaintexts(stage))
    nicknames = {member["nickname"].strip().encode(): "nickname" for member in stage.town.members}
    found = occurring(pieces, {**nicknames, **wanted})
    return Search(
        bytes=sum(map(len, pieces)),
        looked_for=len(wanted),
        found=frozenset(wanted[text] for text in found if text in wanted),
        works=nicknames.keys() <= found,
    )


def occurring(pieces: Sequence[bytes], wanted: Iterable[bytes]) -> set[bytes]:
    """Those of `wanted` (six bytes or more) that occur, in one pass: their number hardly matters."""
    by_head: dict[bytes, list[bytes]] = {}
    for text in wanted:
        by_head.setdefault(text[:_SHORTEST], []).append(text)
    found: set[bytes] = set()
    for piece in pieces:
        hits = (at for at in range(len(piece) - _SHORTEST + 1) if piece[at : at + _SHORTEST] in by_head)
        for at in hits:
            found.update(text for text in by_head[piece[at : at + _SHORTEST]] if piece.startswith(text, at))
    return found


def plaintexts(stage: Dumped) -> Iterator[tuple[bytes, str]]:
    """(plaintext, column) of what a thief would look for.

    Words that the policy itself lists (degrees, yes and no) and numbers of a few digits prove nothing: they are in
    any database. Everything of at least six bytes that is a member's own is looked for.
    """
    for member in stage.town.members:
        for column in _OWN:
            yield from _forms(member[column], column)
    for message in stage.town.chats:
        yield from _forms(message["body"], "message")
    for view in stage.town.views:
        yield from _forms(f"{view['viewer_id']}|{view['viewed_id']}", "view")


def _forms(text: str, column: str) -> Iterator[tuple[bytes, str]]:
    digits = "".join(c for c in text if c.isdigit()) if column == "phone" else ""
    for form in {text, text.strip(), digits[-11:]}:
        if len(form.encode()) >= (_SHORTEST_NUMBER if form.isascii() and form.isdigit() else _SHORTEST):
            yield form.encode(), column


def dump(stage: Dumped) -> Iterator[bytes]:
    """The database as bytes: the files of an embedded store, a binary COPY of every table on PostgreSQL."""
    engines = {id(e): e for e in (stage.store.engine, stage.gate)}.values()
    if stage.store.engine.dialect.name == "sqlite":
        for engine in engines:
            yield from _files(Path(engine.url.database or ""))
    else:
        yield from _tables(stage.store.engine)


def _files(path: Path) -> Iterable[bytes]:
    return [file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*"))]


def _tables(engine: sa.Engine) -> Iterator[bytes]:
    with engine.connect() as connection:
        driver = connection.connection.cursor()
        for name in sa.inspect(connection).get_table_names():
            quoted = engine.dialect.identifier_preparer.quote(name)
            with driver.copy(f"COPY {quoted} TO STDOUT (FORMAT binary)") as rows:
                yield b"".join(rows)
