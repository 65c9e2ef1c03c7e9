"""What a thief of the database holds: every byte of it, searched for every plaintext of every member."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from vaultstore.members.demo.stage import Stage

__all__ = ["Search", "dump", "plaintexts", "search_dump"]

_OWN = ("real_name", "id_number", "phone", "wechat", "email", "address", "birth_date", "wants")
_SHORTEST = 6


@dataclass(frozen=True, slots=True)
class Search:
    """Outcome of a search."""

    bytes: int
    """Bytes looked through."""
    looked_for: int
    """Plaintexts looked for."""
    found: tuple[str, ...]
    """Columns of those that were found."""
    works: bool
    """Whether the same search finds every nickname, which is stored in clear: one that finds nothing proves nothing."""


def search_dump(stage: Stage) -> Search:
    """Search the whole database for every plaintext of every member, as typed and as stored."""
    pieces = list(dump(stage))
    wanted = dict(plaintexts(stage))
    found = sorted({column for text, column in wanted.items() if any(text in piece for piece in pieces)})
    nicknames = {member["nickname"].strip().encode() for member in stage.town.members}
    works = all(any(nickname in piece for piece in pieces) for nickname in nicknames)
    return Search(sum(map(len, pieces)), len(wanted), tuple(found), works)


def plaintexts(stage: Stage) -> Iterator[tuple[bytes, str]]:
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
        if len(form.encode()) >= _SHORTEST:
            yield form.encode(), column


def dump(stage: Stage) -> Iterator[bytes]:
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
