"""A server process that cannot outlive the test process which started it, however that one ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaultstore.errors import SettingsError

__all__ = ["GuardedServer"]

# The guard reads "pid N" lines. Its pipe closes when its owner is gone (also after SIGKILL); then it ends the
# server and deletes the folder. "done" tells it to go away. It runs in a session of its own, so neither Ctrl-C
# nor a kill of the owner's process group takes the guard along.
_GUARD = """
trap '' INT TERM HUP
pid=
while read -r word value; do
  case $word in pid) pid=$value;; done) exit 0;; esac
done
if [ -n "$pid" ]; then
  kill -"$1" "$pid" 2>/dev/null
  n=0
  while kill -0 "$pid" 2>/dev/null && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null
fi
rm -rf -- "$2"
"""

_guards: weakref.WeakSet[GuardedServer] = weakref.WeakSet()


class GuardedServer:
    """One server process at a time, its temporary folder, and the guard that ends both with this process.

    `prefix` begins the folder's name; `last_signal` is what the guard sends when this process has died; `user` is
    the account that the server runs as and owns the folder (None: the account of this process).
    """

    def __init__(self, prefix: str, *, last_signal: signal.Signals = signal.SIGKILL, user: str | None = None) -> None:
        self._owner = os.getpid()
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        if user is not None:
            shutil.chown(self.folder, user)
        self._guard = subprocess.Popen(  # noqa: S603 - our own words only
            ["/bin/sh", "-c", _GUARD, "vaultstore-guard", last_signal.name.removeprefix("SIG"), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _guards.add(self)

    @property
    def log(self) -> Path:
        """File that takes the server's output."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def launch(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the server with `env` and nothing else of this process's environment."""
        self._check_owner()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the callers are this package's servers
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(env),
                start_new_session=True,
                **self.identity,
            )
        self._tell(f"pid {self._process.pid}")

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments of subprocess.Popen that make a process run as the server's account."""
        return {} if self._user is None else {"user": self._user, "group": _group_of(self._user), "extra_groups": []}

    def end(self, how: signal.Signals, *, timeout: float = 15.0) -> None:
        """End the server with a signal, and with SIGKILL after `timeout` seconds. Harmless when it does not run."""
        self._check_owner()
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._tell("pid")

    def remove(self) -> None:
        """Delete the folder and dismiss the guard. The server must have ended. Harmless when repeated."""
        self._check_owner()
        if self._guard.stdin is None or self._guard.stdin.closed:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._tell("done")
        self._release()
        self._guard.wait()

    def last_words(self, count: int = 8) -> str:
        """The last lines of the server's log, for an error message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        except OSError:
            return ""

    def _tell(self, line: str) -> None:
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(line.encode() + b"\n")
                self._guard.stdin.flush()

    def _release(self) -> None:
        if self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()

    def _check_owner(self) -> None:
        # A forked child inherits this object; its exit handlers must not end its parent's server.
        if os.getpid() != self._owner:
            raise SettingsError("this server belongs to another process: start one of your own")


def _group_of(user: str) -> int:
    import pwd  # POSIX only, and this module must import everywhere

    return pwd.getpwnam(user).pw_gid


def _forget_in_forked_child() -> None:
    # A child that kept the pipe open would hide its parent's death from the guard.
    for server in list(_guards):
        server._release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_forked_child)
