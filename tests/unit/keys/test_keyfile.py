"""The key file: who may read it, what counts as one, and that a kill or a second process loses nothing."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.keys import LocalKeys
from vaultstore.keys.keyfile import KeyMaterial, read_key_file, write_key_file
from vaultstore.policy.access import KeyAccess, PurposeKeys

RIGHTS = PurposeKeys("sha256:1", frozenset({"contact"}), frozenset({"contact"}), frozenset({"Member.phone"}))


def access(*categories: str) -> KeyAccess:
    return KeyAccess("vaultstore", frozenset({"contact", *categories}), ("Member.phone",), {"registration": RIGHTS})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def document(path: Path) -> dict[str, Any]:
    with LocalKeys.open(path) as keys:
        keys.provision(access())
    return json.loads(path.read_bytes())


def test_a_new_file_is_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with LocalKeys.open(path) as keys:
            keys.provision(access())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_again_finds_the_same_keys(path: Path) -> None:
    with LocalKeys.open(path) as keys:
        keys.provision(access())
        first = keys.public_keys("tokens")
    with LocalKeys.open(path) as keys:
        keys.provision(access("identity"))
        assert keys.public_keys("tokens") == first
    assert read_key_file(path).access == access("identity")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_touch_is_refused(path: Path, mode: int) -> None:
    LocalKeys.open(path).close()
    path.chmod(mode)
    with pytest.raises(SettingsError, match=f"read by others.*{mode:04o}"):
        LocalKeys.open(path)


def test_a_file_of_another_account_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalKeys.open(path).close()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SettingsError, match="belongs to another account"):
        LocalKeys.open(path)


def test_what_is_not_a_regular_file_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(SettingsError, match="not a regular file"):
        LocalKeys.open(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        LocalKeys.open(tmp_path / "nowhere" / "keys.json")


def replaced(document: dict[str, Any], *place: str, value: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(document))
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["format"], "other-keys"),
        (["version"], 2),
        (["version"], None),
        (["extra"], {}),
        (["categories"], []),
        (["categories", "contact"], {}),
        (["categories", "contact", "1"], base64.b64encode(bytes(16)).decode()),
        (["categories", "contact", "1"], "not base64"),
        (["categories", "contact", "1"], 7),
        (["categories", "contact", "0"], base64.b64encode(bytes(32)).decode()),
        (["categories", "contact", "01"], base64.b64encode(bytes(32)).decode()),
        (["categories", "contact", "x"], base64.b64encode(bytes(32)).decode()),
        (["access"], {"issuer": "vaultstore"}),
        (["access", "issuer"], 1),
        (["access", "categories"], "contact"),
        (["access", "purposes"], []),
        (["access", "purposes", "registration", "unwrap"], [1]),
    ],
)
def test_a_damaged_file_is_refused(path: Path, document: dict[str, Any], place: list[str], value: Any) -> None:
    path.write_text(json.dumps(replaced(document, *place, value=value)))
    with pytest.raises(SettingsError, match="damaged or of an unknown version"):
        LocalKeys.open(path)


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"format": "vaultstore-keys"}']
)
def test_what_is_no_key_file_at_all_is_refused(path: Path, raw: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match="damaged"):
        LocalKeys.open(path)


def test_a_truncated_file_is_refused_and_its_keys_are_not_in_the_error(path: Path, document: dict[str, Any]) -> None:
    whole = path.read_bytes().rstrip()
    secret = document["categories"]["contact"]["1"]
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SettingsError) as caught:
            read_key_file(path)
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
keys_of = st.dictionaries(
    names,
    st.dictionaries(st.integers(1, 10**6), st.binary(min_size=32, max_size=32), min_size=1, max_size=3),
    max_size=3,
)


@given(keys_of, keys_of, keys_of)
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, a: Any, b: Any, c: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "property-keys.json"
    material = KeyMaterial(categories=a, indexes=b, signing=c, access=access())
    write_key_file(path, material)
    assert read_key_file(path) == material


def run(script: str, *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *argv], stdout=subprocess.PIPE)


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_a_kill_before_the_rename_leaves_the_old_file_and_the_next_write_clears_up(path: Path, moment: str) -> None:
    with LocalKeys.open(path) as keys:
        keys.provision(access())
    old = path.read_bytes()
    victim = run(
        f"""
        import os, pathlib, signal, sys
        from vaultstore.keys import LocalKeys
        keys = LocalKeys.open(sys.argv[1])
        {moment} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
        keys.rotate("contact")
        """,
        str(path),
    )
    victim.communicate()
    assert victim.returncode == -9
    assert path.read_bytes() == old
    leftovers = [p for p in path.parent.iterdir() if p != path]
    assert len(leftovers) == 1
    assert stat.S_IMODE(leftovers[0].stat().st_mode) == 0o600
    with LocalKeys.open(path) as keys:
        assert keys.rotate("contact") == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_the_old_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalKeys.open(path) as keys:
        keys.provision(access())
        old = path.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SettingsError, match="No space left"):
            keys.provision(access("identity"))
        monkeypatch.undo()
        assert path.read_bytes() == old
        assert list(path.parent.iterdir()) == [path]
        assert keys.rotate("contact") == 2


def test_processes_that_provision_at_once_lose_no_keys(path: Path) -> None:
    script = """
        import sys
        from vaultstore.keys import LocalKeys
        from vaultstore.policy.access import KeyAccess
        keys = LocalKeys.open(sys.argv[1])
        for n in range(5):
            keys.provision(KeyAccess("vaultstore", frozenset({f"{sys.argv[2]}_{n}", "shared"}), (), {}))
    """
    workers = [run(script, str(path), name) for name in ("a", "b", "c")]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    found = read_key_file(path)
    assert set(found.categories) == {f"{name}_{n}" for name in "abc" for n in range(5)} | {"shared"}
    assert list(found.signing["tokens"]) == [1]


def test_a_file_that_vanished_is_not_silently_made_anew(path: Path) -> None:
    with LocalKeys.open(path) as keys:
        keys.provision(access())
        path.unlink()
        with pytest.raises(KeyServiceRefused, match="is gone"):
            keys.provision(access())
        with pytest.raises(KeyServiceRefused, match="is gone"):
            keys.login("x.y.z")
    assert not path.exists()
