"""`store.keyring_dump`: the keyring backed up apart from the data, and brought back without the erased.

A dump has wrapped keys only: without the key service it opens nothing. It must still die soon: whoever has an old dump,
an old copy of the rows and the key service's version of then reads what was erased since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vaultstore.audit.log import SIGNING_KEY, note_keys
from vaultstore.errors import ProofError
from vaultstore.lifecycle.keyring_file import DumpWriter, Header, Reader, note_text
from vaultstore.lifecycle.operator_entry import write_entry
from vaultstore.lifecycle.parts import Parts
from vaultstore.orm.role import operators_only
from vaultstore.records import key_versions
from vaultstore.records import keyring_dump as records
from vaultstore.records.key_versions import version_of
from vaultstore.records.keyring_dump import DumpRow
from vaultstore.signed_note import Note, NoteKey, sign_note

__all__ = ["Conflict", "Exported", "Imported", "KeyringDump"]

_LISTED = 20

OnKeys = Callable[[int, int], None]
"""Is told how many keys are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A dump that was written."""

    path: Path
    count: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key that the keyring holds another wrap of."""

    subject: bytes
    category: str
    scope: bytes
    key_id: int


@dataclass(slots=True)
class Imported:
    """What became of the keys of a dump."""

    added: int = 0
    same: int = 0
    older: int = 0
    """The keyring has them under a newer version of the category's key, and keeps that."""
    erased: int = 0
    """Refused: their subject is erased in this store."""
    retired: int = 0
    """Refused: wrapped under a version that was given up, so that nothing opens them."""
    replaced: int = 0
    conflicts: int = 0
    """Refused: the keyring has another wrap of them."""
    listed: list[Conflict] = field(default_factory=list)
    """The first of the conflicts."""


class KeyringDump:
    """Exports and imports the keyring's wrapped keys. For operators; each use is audited."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __repr__(self) -> str:
        return "<KeyringDump>"

    def export(self, path: Path | str, *, operator: str, on_keys: OnKeys | None = None) -> Exported:
        """Write every wrapped key to a file of mode 0600, or go on with one that was broken off.

        Take it after the backup of the rows: then it has every key that they need. Raises SettingsError where a whole
        dump is there already, UnsupportedOperation for a login without the right, ProofError for a file that is none.
        """
        path, parts = Path(path), self._parts
        with operators_only("export the keyring"), parts.engine.connect() as connection:
            count = records.count(connection)
            connection.rollback()
            header = Header(parts.origin, parts.now, count)
            writer = DumpWriter(path, header)
            try:
                resumed = writer.count > 0
                after = None if writer.last is None else writer.last.ref
                for page in records.pages(connection, after):
                    writer.page(page)
                    if on_keys is not None:
                        on_keys(writer.count, max(count, writer.count))
                writer.end(self._signed(writer))
                self._audit("keyring.export", operator, {"keys": writer.count})
                return Exported(path, writer.count, resumed)
            finally:
                writer.close()

    def check(self, path: Path | str, on_keys: OnKeys | None = None) -> int:
        """Read a dump whole and check that this store wrote and signed it; how many keys it has. Raises ProofError."""
        path = Path(path)
        with path.open("rb") as file:
            reader = Reader(file, path)
            if reader.header.store != self._parts.origin:
                raise ProofError(f"{path} is the dump of another store, {reader.header.store}")
            for _ in reader.rows():
                if on_keys is not None:
                    on_keys(reader.count, max(reader.header.count, reader.count))
            reader.verify(note_keys(self._parts.keys, self._parts.origin))
            return reader.count

    def import_(
        self, path: Path | str, *, operator: str, replace: bool = False, on_keys: OnKeys | None = None
    ) -> Imported:
        """Bring the keys of a dump back. Run it again where it was broken off: what is there stays as it is.

        Nothing is written before the whole file is checked. Keys of erased subjects are refused, and keys whose version
        was given up; one that the keyring has another wrap of is refused too, unless `replace`. Raises ProofError where
        the file was changed, is unfinished or another store's, UnsupportedOperation for a login without the right.
        """
        path = Path(path)
        count = self.check(path)
        done = Imported()
        with operators_only("import a keyring"), path.open("rb") as file:
            reader = Reader(file, path)
            for rows in reader.rows():
                if rows:
                    self._bring_back(rows, replace, done)
                if on_keys is not None:
                    on_keys(reader.count, count)
            self._check_unchanged(reader)
            counts = {"keys": count, "added": done.added, "replaced": done.replaced, "erased": done.erased}
            self._audit("keyring.import", operator, counts)
        return done

    # ---------------------------------------------------------------------------------------------------------------

    def _bring_back(self, rows: Sequence[DumpRow], replace: bool, done: Imported) -> None:
        with self._parts.ledger.erasing() as (members, gate):
            gone = records.erased(gate, sorted({row.subject for row in rows}))
            records.hold_versions(members)
            oldest = key_versions.oldest(members)
            there = records.present(members, [row.ref for row in rows])
            new: list[DumpRow] = []
            others: list[DumpRow] = []
            for row in rows:
                held = there.get(row.ref)
                if row.subject in gone:
                    done.erased += 1
                elif held is not None and version_of(held) > version_of(row.wrapped):
                    done.older += 1
                elif version_of(row.wrapped) < oldest.get(row.category, 0):
                    done.retired += 1
                elif held is None:
                    new.append(row)
                elif held == row.wrapped:
                    done.same += 1
                else:
                    others.append(row)
            records.put(members, new)
            if replace:
                records.replace(members, others)
        done.added += len(new)
        if replace:
            done.replaced += len(others)
            return
        done.conflicts += len(others)
        done.listed += [Conflict(*row.ref) for row in others[: _LISTED - len(done.listed)]]

    def _check_unchanged(self, reader: Reader) -> None:
        """The file that was imported is the one that was checked before: it may have been replaced in between."""
        reader.verify(note_keys(self._parts.keys, self._parts.origin))

    def _signed(self, writer: DumpWriter) -> Note:
        parts = self._parts
        text = note_text(parts.origin, writer.count, writer.digest)
        signature = parts.keys.sign(SIGNING_KEY, text.encode())
        key = NoteKey(parts.origin, parts.keys.public_keys(SIGNING_KEY)[signature.key_id])
        return sign_note(text, [(key, lambda _: signature.value)])

    def _audit(self, kind: str, operator: str, counts: dict[str, int]) -> None:
        with self._parts.ledger.gate() as connection:
            write_entry(connection, kind, "done", operator=operator, now=self._parts.now, counts=counts)
