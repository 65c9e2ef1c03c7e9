"""A look at all fields of an object that never raises: for serialisers and screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.orm.attributes import instance_state

from vaultstore.errors import AccessDenied, VaultstoreError
from vaultstore.masks import Masked, is_masked
from vaultstore.orm.registry import info_of

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["Clear", "Denied", "FieldView", "view"]


@dataclass(frozen=True, slots=True)
class Clear:
    """A field that the purpose reads in clear, or one that holds nothing (None)."""

    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Denied:
    """A field that was not disclosed."""

    reason: str
    """A stable code such as ``subject.restricted``, or the name of the error."""
    message: str


FieldView: TypeAlias = Clear | Masked | Denied


def view(session: PurposeSession, instance: Any) -> dict[str, FieldView]:
    """Field name -> what the session's purpose sees of it, in declaration order; every encrypted field is there."""
    seen: dict[str, FieldView] = {}
    for info in info_of(instance_state(instance).manager.mapper).fields:
        try:
            value = getattr(instance, info.name)
        except AccessDenied as error:
            seen[info.name] = Denied(error.reason, str(error))
        except VaultstoreError as error:
            seen[info.name] = Denied(type(error).__name__, str(error))
        else:
            seen[info.name] = value if is_masked(value) else Clear(value)
    return seen
