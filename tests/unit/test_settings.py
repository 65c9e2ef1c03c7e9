"""vaultstore.toml and VAULTSTORE_*: where a store lives, without secrets in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultstore.errors import SettingsError
from vaultstore.keys import LocalKeys, VaultKeys
from vaultstore.settings import FILE_NAME, Settings


def written(folder: Path, text: str) -> Path:
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return folder


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    settings = Settings(tmp_path.resolve(), database="postgresql+psycopg:///x", issuer='a "name" \\ with quotes')
    settings.save()
    assert Settings.load(tmp_path, {}) == settings


def test_a_saved_file_is_for_its_owner_alone_and_is_not_overwritten(tmp_path: Path) -> None:
    path = Settings(tmp_path).save()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="already there"):
        Settings(tmp_path).save()


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    written(tmp_path, '[store]\nissuer = "file"\n')
    settings = Settings.load(tmp_path, {"VAULTSTORE_ISSUER": "env", "VAULTSTORE_VAULT_TOKEN": "t", "OTHER": "x"})
    assert (settings.issuer, settings.vault_token) == ("env", "t")


def test_a_relative_sqlite_path_is_the_folders(tmp_path: Path) -> None:
    assert Settings(tmp_path).database_url == f"sqlite:///{tmp_path}/members.db"
    assert Settings(tmp_path, database="sqlite:////x/y.db").database_url == "sqlite:////x/y.db"
    assert Settings(tmp_path, database="postgresql:///x").database_url == "postgresql:///x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"table \[store\] is missing"),
        ("store = 3", r"table \[store\] is missing"),
        ("[store", "is not TOML"),
        ('[store]\ndatabse = "x"', "'databse' is not a setting; known: audit_origin, database"),
        ("[store]\ndatabase = 3", "database must be a string"),
        ('[store]\nvault_token = "s.secret"', "set VAULTSTORE_VAULT_TOKEN"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.load(written(tmp_path, text), {})
    assert "s.secret" not in str(caught.value)


def test_a_folder_without_a_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="run `vaultstore init` there"):
        Settings.load(tmp_path, {})


def test_the_key_service_is_the_one_that_is_named(tmp_path: Path) -> None:
    with Settings(tmp_path).open_keys() as keys:
        assert isinstance(keys, LocalKeys)
    vault = Settings(tmp_path, keys="vault", vault_url="http://127.0.0.1:1", vault_token="s.secret")
    assert "s.secret" not in repr(vault)
    with vault.open_keys() as keys:
        assert isinstance(keys, VaultKeys)
    with pytest.raises(SettingsError, match="VAULTSTORE_VAULT_TOKEN"):
        Settings(tmp_path, keys="vault", vault_url="http://127.0.0.1:1").open_keys()
    with pytest.raises(SettingsError, match="'local' or 'vault'"):
        Settings(tmp_path, keys="file").open_keys()
