"""Backups of the member store as an operator takes them, and restores beside or instead of the live one."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.support.profiles import SHIPPED_POLICY, Profile
from vaultstore import Actor, Policy, Store
from vaultstore.lifecycle.journal import FileJournal
from vaultstore.members.models import Base
from vaultstore.testing.postgres import find_postgres

DATA = [table.name for table in Base.metadata.sorted_tables]


@dataclass
class Backups:
    """Takes backups of one profile into a folder, as its database's own tools make them."""

    profile: Profile
    folder: Path

    def data(self) -> None:
        """The members' tables, without the keyring."""
        if self.profile.name == "embedded":
            self._copy("members.db", "data.db")
            with closing(sqlite3.connect(self.folder / "data.db")) as raw:
                raw.executescript("PRAGMA secure_delete = ON; DELETE FROM vs_keyring; VACUUM;")
        else:
            self._dump("data.dump", *(f"--table={name}" for name in DATA), "--data-only")

    def restore_data(self) -> None:
        """Put the members' tables back, beside the keyring and the gate's tables as they are now."""
        if self.profile.name == "embedded":
            live = self.profile.folder / "members.db"
            with closing(sqlite3.connect(live)) as raw:
                raw.execute("ATTACH ? AS old", (str(self.folder / "data.db"),))
                raw.execute("PRAGMA foreign_keys = OFF")
                for name in DATA:
                    raw.execute(f"DELETE FROM main.{name}")
                    raw.execute(f"INSERT INTO main.{name} SELECT * FROM old.{name}")
                raw.commit()
        else:
            with self.profile.store.engine.begin() as connection:
                connection.exec_driver_sql(f"TRUNCATE {', '.join(DATA)}")
            url = self._libpq(self.profile.url)
            self._run("pg_restore", f"--dbname={url}", "--data-only", str(self.folder / "data.dump"))

    def keyring(self) -> None:
        """The keyring's rows as they are, in the database's own form: what lies on a tape."""
        if self.profile.name == "embedded":
            self._copy("members.db", "keyring.db")
        else:
            self._dump("keyring.dump", "--table=vs_keyring", "--data-only")

    def restore_keyring(self) -> None:
        """Put those rows in the place of what the keyring has: past every rule of ours."""
        with self.profile.store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM vs_keyring")
        if self.profile.name == "embedded":
            with closing(sqlite3.connect(self.profile.folder / "members.db")) as raw:
                raw.execute("ATTACH ? AS old", (str(self.folder / "keyring.db"),))
                raw.execute("INSERT INTO main.vs_keyring SELECT * FROM old.vs_keyring")
                raw.commit()
        else:
            url = self._libpq(self.profile.url)
            self._run("pg_restore", f"--dbname={url}", "--data-only", str(self.folder / "keyring.dump"))

    def live(self, **options: Any) -> Store:
        """Another process's store on the live database: its caches are empty."""
        journal = self.profile.store.parts.journal
        given = {"journal": journal.file.path} if isinstance(journal, FileJournal) else {}
        return Restored(self.profile, self.profile.url, given).open(**options)

    def whole(self) -> None:
        """Everything: both files of an embedded store, or the database."""
        if self.profile.name == "embedded":
            self._copy("members.db", "members.db")
            self._copy("gate.db", "gate.db")
        else:
            self._dump("whole.dump")

    @contextmanager
    def restored(self, **options: Any) -> Iterator[Restored]:
        """The whole backup restored to another place, with the live key service; `options` go to `Store.open`."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        if self.profile.name == "embedded":
            for name in ("members.db", "gate.db"):
                shutil.copy(self.folder / name, folder / name)
            yield Restored(self.profile, f"sqlite:///{folder / 'members.db'}", options)
            return
        engine = sa.create_engine(sa.make_url(self.profile.url), isolation_level="AUTOCOMMIT")
        name = f"restored_{uuid.uuid4().hex[:8]}"
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
            url = sa.make_url(self.profile.url).set(database=name).render_as_string(hide_password=False)
            self._run("pg_restore", f"--dbname={self._libpq(url)}", str(self.folder / "whole.dump"))
            yield Restored(self.profile, url, options)
            with engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            engine.dispose()

    def _copy(self, name: str, to: str) -> None:
        with (
            closing(sqlite3.connect(self.profile.folder / name)) as source,
            closing(sqlite3.connect(self.folder / to)) as target,
        ):
            source.backup(target)

    def _dump(self, to: str, *options: str) -> None:
        url = self._libpq(self.profile.url)
        self._run("pg_dump", f"--dbname={url}", "--format=custom", f"--file={self.folder / to}", *options)

    @staticmethod
    def _libpq(url: str) -> str:
        return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    @staticmethod
    def _run(program: str, *arguments: str) -> None:
        done = subprocess.run([find_postgres() / program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@dataclass
class Restored:
    """A restored database, not opened yet."""

    profile: Profile
    url: str
    options: dict[str, Any]

    def open(self, **more: Any) -> Store:
        """Open a store on it."""
        options = self.options | more
        return Store.open(self.url, keys=self.profile.keys, policy=Policy.load(SHIPPED_POLICY), models=Base, **options)


def myself(member: uuid.UUID) -> Actor:
    """A member who looks at their own data."""
    return Actor(str(member), role="member")
