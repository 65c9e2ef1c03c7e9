"""Restricted members are out of sight: a condition on every model that says whose its rows are.

It is one comparison in the statement itself, the same for every actor: no question more, and the compiled statement is
found again. Where PostgreSQL's row-level security is applied, that has the condition, and sessions add none.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Dialect, func

from vaultstore.errors import ModelError
from vaultstore.orm.registry import ModelInfo
from vaultstore.records.states import vs_hidden
from vaultstore.records.subjects import RESTRICTED, vs_subjects

__all__ = ["keeps_text", "unrestricted"]

_PROBE = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")


def unrestricted(info: ModelInfo, dialect: Dialect) -> ColumnElement[bool]:
    """The condition that a row of `info`'s model is not of a restricted subject. A row without a subject is nobody's.

    Raises ModelError for a subject column whose type keeps UUIDs in a way that can't be compared.
    """
    column = getattr(info.mapper.class_, info.subject_key)
    kept = _kept(info, dialect)
    if dialect.name == "postgresql":
        key = sa.cast(column, sa.Uuid) if isinstance(kept, str) else column
        # Not IN: the planner makes a join of this, however many are restricted. It correlates with whatever the
        # statement calls the model, and never brings a table of its own but this one.
        restricted: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
            vs_subjects.c.subject == key, vs_subjects.c.state == sa.literal_column(f"'{RESTRICTED}'")
        )
        return ~restricted.correlate_except(vs_subjects).exists()
    if isinstance(kept, bytes):
        key = func.lower(func.hex(column))
    else:
        key = column if kept == _PROBE.hex else func.replace(column, "-", "")
    visible: ColumnElement[bool] = key.not_in(sa.select(vs_hidden.c.subject))
    nullable = any(c.nullable for c in info.mapper.get_property(info.subject_key).columns)
    return sa.or_(column.is_(None), visible) if nullable else visible


def keeps_text(info: ModelInfo, dialect: Dialect) -> bool:
    """Whether the model's subject column keeps UUIDs as text. Raises ModelError as `unrestricted` does."""
    return isinstance(_kept(info, dialect), str)


def _kept(info: ModelInfo, dialect: Dialect) -> str | bytes | None:
    """What the database gets for a UUID of the model's subject: text, bytes, or None where it knows UUIDs itself."""
    kind: Any = getattr(info.mapper.class_, info.subject_key).type.dialect_impl(dialect)
    process = kind.bind_processor(dialect)
    value: Any = process(_PROBE) if process else _PROBE
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if dialect.name == "postgresql" and isinstance(value, uuid.UUID):
        return None
    if value in (_PROBE.hex, str(_PROBE)) or (value == _PROBE.bytes and dialect.name != "postgresql"):
        return value  # type: ignore[no-any-return]
    raise ModelError(
        f"{info.name}: its subject column {info.subject_key} keeps UUIDs in a form of its own, so that restricted"
        " members could not be told: use Mapped[uuid.UUID]"
    )
