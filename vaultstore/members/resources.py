"""Where the shipped policy and the migrations lie: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from vaultstore.errors import SettingsError

__all__ = ["copy_policies", "migrations", "policies"]

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parent.parent


def policies() -> Path:
    """Folder of the shipped policy. Raises SettingsError where the installation lacks it."""
    return _find("policies")


def migrations() -> Path:
    """Folder of the Alembic environment (env.py, versions/). Raises SettingsError where the installation lacks it."""
    return _find("migrations")


def copy_policies(target: Path) -> Path:
    """Copy the shipped policy into the new folder `target` and return it. Raises SettingsError where it is there."""
    try:
        shutil.copytree(policies(), target)
    except FileExistsError:
        raise SettingsError(f"{target} is already there") from None
    return target


def _find(name: str) -> Path:
    packaged, checkout = _HERE / name, _CHECKOUT / name
    if packaged.is_dir():
        return packaged
    # Only a checkout has the project file beside the package: site-packages/policies would be somebody else's.
    if checkout.is_dir() and (_CHECKOUT / "pyproject.toml").is_file():
        return checkout
    raise SettingsError(f"this installation of vaultstore lacks its {name}: install it again from a wheel")
