"""vaultstore: sensitive columns that nobody reads without a purpose.

Columns of SQLAlchemy models are encrypted with data keys that Vault wraps; plaintext comes out only in a session
opened with a purpose-bound token; a purpose that may not see a value in clear gets a projection that was masked and
sealed when the row was written.

Names are imported when they are first used, so that a part (the policy tools, say) doesn't load the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaultstore import errors, masks, normalize
    from vaultstore.blindindex import blind_index
    from vaultstore.grants import Actor
    from vaultstore.keys import LocalKeys, VaultKeys
    from vaultstore.masks import Masked, is_masked
    from vaultstore.orm import Encrypted, EncryptedModel, OnErasure, encrypted_column, row_scope, uuid7
    from vaultstore.policy import Policy
    from vaultstore.records import metadata
    from vaultstore.store import Store

__all__ = [
    "Actor",
    "Encrypted",
    "EncryptedModel",
    "LocalKeys",
    "Masked",
    "OnErasure",
    "Policy",
    "Store",
    "VaultKeys",
    "blind_index",
    "encrypted_column",
    "errors",
    "is_masked",
    "masks",
    "metadata",
    "normalize",
    "row_scope",
    "uuid7",
]

__version__ = "0.1.0"

_MODULES = ("errors", "masks", "normalize")
_HOME = {
    "Actor": "grants",
    "Encrypted": "orm",
    "EncryptedModel": "orm",
    "LocalKeys": "keys",
    "Masked": "masks",
    "OnErasure": "orm",
    "Policy": "policy",
    "Store": "store",
    "VaultKeys": "keys",
    "blind_index": "blindindex",
    "encrypted_column": "orm",
    "is_masked": "masks",
    "metadata": "records",
    "row_scope": "orm",
    "uuid7": "orm",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = import_module(f"vaultstore.{name}")
    elif name in _HOME:
        value = getattr(import_module(f"vaultstore.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'vaultstore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
