"""Our tables and their queries, one module a concept. SQLAlchemy starts here."""

from __future__ import annotations

from vaultstore.records import (
    approvals,
    canaries,
    cases,
    consents,
    entries,
    jobs,
    keyring,
    limits,
    log,
    plane,
    postgres,
    pseudonyms,
    purposes,
    revocations,
    sqlite,
    subject_lines,
    subjects,
)
from vaultstore.records.base import Id, Instant, metadata, tables
from vaultstore.records.create import create_all
from vaultstore.records.log import append_only_triggers
from vaultstore.records.postgres import postgres_functions
from vaultstore.records.sqlite import configure as configure_sqlite

__all__ = [
    "Id",
    "Instant",
    "append_only_triggers",
    "approvals",
    "canaries",
    "cases",
    "configure_sqlite",
    "consents",
    "create_all",
    "entries",
    "jobs",
    "keyring",
    "limits",
    "log",
    "metadata",
    "plane",
    "postgres",
    "postgres_functions",
    "pseudonyms",
    "purposes",
    "revocations",
    "sqlite",
    "subject_lines",
    "subjects",
    "tables",
]
