"""Every error that vaultstore raises, in one tree.

    VaultstoreError
    ├── ModelError               a model is declared wrongly (raised at class definition)
    ├── SettingsError            a setting, a folder, a file mode or a key file is wrong
    ├── PolicyError              a policy file is wrong; carries file, line and column
    ├── IssueDenied              the policy does not let this actor have this token
    ├── BundleError              a copy of a member's data that can't be read back; says where it is wrong
    ├── TokenError
    │   ├── TokenInvalid         forged, malformed, not for us, or for another version of the purpose
    │   ├── TokenExpired
    │   └── TokenRevoked
    ├── UnsupportedOperation     what can't be honoured on an encrypted field; says what to do instead
    ├── AccessDenied             the gate said no
    │   ├── NotDisclosed         the purpose reads this neither in clear nor masked, or the subject is not the token's
    │   ├── SearchDenied
    │   ├── WriteDenied
    │   ├── ConsentMissing
    │   ├── ApprovalMissing      also: a required case is missing, closed, or another actor's
    │   ├── SubjectRestricted
    │   ├── SubjectErased
    │   └── BudgetExhausted
    ├── DecryptionError          tampered, swapped, or the wrong key
    ├── KeyServiceError
    │   ├── KeyServiceUnavailable  no answer, sealed, overloaded: trying again may help
    │   └── KeyServiceRefused      it answered no: trying again will not help
    ├── KeyVersionNeeded         a key's old version can't be given up: live wraps are of it
    └── AuditError               the audit entry could not be committed, so nothing was disclosed
        └── ProofError           a proof, note, log or report does not hold; says what is wrong and where

Messages carry ids, names and reasons. They never carry a value, a key or a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "AccessDenied",
    "ApprovalMissing",
    "AuditError",
    "BudgetExhausted",
    "BundleError",
    "ConsentMissing",
    "DecryptionError",
    "IssueDenied",
    "KeyServiceError",
    "KeyServiceRefused",
    "KeyServiceUnavailable",
    "KeyVersionNeeded",
    "ModelError",
    "NotDisclosed",
    "PolicyError",
    "ProofError",
    "SearchDenied",
    "SettingsError",
    "SubjectErased",
    "SubjectRestricted",
    "TokenError",
    "TokenExpired",
    "TokenInvalid",
    "TokenRevoked",
    "UnsupportedOperation",
    "VaultstoreError",
    "WriteDenied",
]


class VaultstoreError(Exception):
    """Root of the tree: whatever vaultstore refuses or can't do is one of these."""


class ModelError(VaultstoreError):
    """A model class is declared in a way that would store or lose something silently."""


class SettingsError(VaultstoreError):
    """A setting, folder, key file or its mode is wrong; the message names it and what to change."""


class PolicyError(VaultstoreError):
    """A policy is wrong.

    `file`, `line` and `column` (both from 1) name the place where they are known, and lead the message in the
    form ``file:line:column: reason``.
    """

    def __init__(
        self, reason: str, *, file: Path | str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        self.reason, self.file, self.line, self.column = reason, file, line, column
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {reason}" if place else reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_policy_error, (self.reason, self.file, self.line, self.column))


def _policy_error(reason: str, file: Path | str | None, line: int | None, column: int | None) -> PolicyError:
    return PolicyError(reason, file=file, line=line, column=column)


class IssueDenied(VaultstoreError):
    """The policy does not let this actor have a token for this purpose."""


class BundleError(VaultstoreError):
    """A copy of a member's data is malformed, was altered, or does not fit the models.

    `place` is where, such as ``rows.Member[0].phone``; it leads the message. Neither has a value.
    """

    def __init__(self, message: str, *, place: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {message}" if place else message)


class TokenError(VaultstoreError):
    """A token can't be used."""


class TokenInvalid(TokenError):
    """The token is forged, malformed, meant for somebody else, or made for another version of its purpose."""


class TokenExpired(TokenError):
    """The token's time is over, or has not begun."""


class TokenRevoked(TokenError):
    """The token, or everything its actor held at that time, was revoked."""


class UnsupportedOperation(VaultstoreError):
    """An encrypted field can't be used this way; the message says what to do instead."""


class AccessDenied(VaultstoreError):
    """The gate refused.

    `reason` is a stable code such as ``subject.restricted``; `subject` is an id where one is concerned.
    """

    def __init__(self, message: str, *, reason: str = "denied", subject: object = None) -> None:
        super().__init__(message)
        self.reason, self.subject = reason, subject


class NotDisclosed(AccessDenied):
    """The purpose reads this field neither in clear nor masked, or the row's subject is not one the token names."""


class SearchDenied(AccessDenied):
    """The purpose may not search this field."""


class WriteDenied(AccessDenied):
    """The purpose may not write this field, or the value (masked, sealed, moved) may not be written at all."""


class ConsentMissing(AccessDenied):
    """The subject has not given, or has withdrawn, the consent that the purpose requires."""


class ApprovalMissing(AccessDenied):
    """The purpose requires a case or approvals that do not exist, have ended, or cover something else."""


class SubjectRestricted(AccessDenied):
    """Processing of this subject's data is restricted."""


class SubjectErased(AccessDenied):
    """The subject's data keys were destroyed (crypto-shredding)."""


class BudgetExhausted(AccessDenied):
    """A limit of the purpose is used up for now."""


class DecryptionError(VaultstoreError):
    """A ciphertext does not open: tampered with, moved to another row, column, subject or scope, or the wrong key."""


class KeyServiceError(VaultstoreError):
    """The key service failed."""


class KeyServiceUnavailable(KeyServiceError):
    """The key service did not answer, is sealed or is overloaded; trying again may help."""


class KeyServiceRefused(KeyServiceError):
    """The key service answered no; trying again will not help."""


class KeyVersionNeeded(VaultstoreError):
    """Older versions of a category's key can't be given up yet: live wraps need them. Rewrap first.

    `category` is the category, `wraps` how many wraps are of which version (0: of what is no wrap).
    """

    def __init__(self, message: str, *, category: str = "", wraps: Mapping[int, int] | None = None) -> None:
        self.category, self.wraps = category, dict(wraps or {})
        super().__init__(message)


class AuditError(VaultstoreError):
    """The gate's own database could not take the audit entry, so nothing was disclosed."""


class ProofError(AuditError):
    """A proof, a signed note, a log or a report does not hold: it was altered, or is not what it claims to be."""
