from __future__ import annotations

from pathlib import Path

import pytest

from vaultstore.errors import SettingsError
from vaultstore.members import resources


def test_a_checkout_has_its_policy_and_its_migrations() -> None:
    assert (resources.policies() / "categories.yaml").is_file()
    assert (resources.migrations() / "env.py").is_file()


def test_a_wheel_carries_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "vaultstore" / "members"
    (package / "policies").mkdir(parents=True)
    monkeypatch.setattr(resources, "_HERE", package)
    monkeypatch.setattr(resources, "_CHECKOUT", tmp_path / "site-packages")
    assert resources.policies() == package / "policies"


def test_a_folder_of_somebody_else_beside_the_package_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policies").mkdir()
    monkeypatch.setattr(resources, "_HERE", tmp_path / "vaultstore" / "members")
    monkeypatch.setattr(resources, "_CHECKOUT", tmp_path)
    with pytest.raises(SettingsError, match="lacks its policies"):
        resources.policies()


def test_the_policy_is_copied_once(tmp_path: Path) -> None:
    copied = resources.copy_policies(tmp_path / "policies")
    assert {f.name for f in copied.iterdir()} == {f.name for f in resources.policies().iterdir()}
    with pytest.raises(SettingsError, match="is already there"):
        resources.copy_policies(tmp_path / "policies")
