"""Key services: who wraps data keys, computes blind-index digests and signs tokens."""

from __future__ import annotations

from vaultstore.keys.local import LocalKeys
from vaultstore.keys.login import LoginEnded
from vaultstore.keys.protocols import KeyKind, Keys, KeyService, KeyVersions, Signature, Signer, VersionGone
from vaultstore.keys.vault import VaultKeys

__all__ = [
    "KeyKind",
    "KeyService",
    "KeyVersions",
    "Keys",
    "LocalKeys",
    "LoginEnded",
    "Signature",
    "Signer",
    "VaultKeys",
    "VersionGone",
]
