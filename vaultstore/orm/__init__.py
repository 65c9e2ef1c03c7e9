"""Encrypted columns for SQLAlchemy models, and the session that opens them for a purpose."""

from __future__ import annotations

from vaultstore.orm.declare import Encrypted, encrypted_column
from vaultstore.orm.erasure import OnErasure
from vaultstore.orm.model import EncryptedModel, uuid7
from vaultstore.orm.registry import ModelRegistry, catalogue_of
from vaultstore.orm.scopes import row_scope
from vaultstore.orm.session import PurposeSession
from vaultstore.orm.view import Clear, Denied

__all__ = [
    "Clear",
    "Denied",
    "Encrypted",
    "EncryptedModel",
    "ModelRegistry",
    "OnErasure",
    "PurposeSession",
    "catalogue_of",
    "encrypted_column",
    "row_scope",
    "uuid7",
]
