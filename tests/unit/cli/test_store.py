"""Opening what a folder holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vaultstore.cli.store import load_models, model_named, open_store, policy_and_models
from vaultstore.errors import SettingsError


@pytest.mark.parametrize("part", ["keys.json", "members.db", "gate.db"])
def test_a_store_that_is_not_whole_does_not_open_and_is_not_mended(made: Path, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made, folder)
    (folder / part).unlink()
    with pytest.raises(SettingsError, match=f"{part} is missing: this store is not whole"), open_store(folder):
        pass
    assert not (folder / part).exists()


def test_models_are_named_by_module_and_base() -> None:
    (base,) = load_models("vaultstore.members.models:Base")
    assert model_named((base,), "Member").__tablename__ == "members"
    with pytest.raises(SettingsError, match="no model 'Membre'; there are: ChatMessage, "):
        model_named((base,), "Membre")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("vaultstore.members.models", "not of the form package.module:Base"),
        (":Base", "not of the form"),
        ("vaultstore.members.models:", "not of the form"),
        ("no_such_module_at_all:Base", "there is no module 'no_such_module_at_all'"),
        ("vaultstore.members.models:Bass", "vaultstore.members.models has no 'Bass'"),
        ("vaultstore.members.models:Member.id", "has no"),
        ("vaultstore.errors:__all__", "not a declarative base"),
        ("vaultstore.errors:VaultstoreError", "not a declarative base"),
    ],
)
def test_models_that_cannot_be_had_are_a_settings_error(names: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        load_models(names)


def test_models_lie_in_the_stores_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "own_models_of_this_test.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
    )
    (base,) = load_models("own_models_of_this_test:Base", tmp_path)
    assert base.__name__ == "Base"


def test_a_folder_without_policies_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="policies is missing: name the folder of the policy with --policies"):
        policy_and_models(tmp_path)
