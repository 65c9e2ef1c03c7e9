"""Our tables and their queries, one module a concept. SQLAlchemy starts here."""

from __future__ import annotations

from vaultstore.records import (
    approvals,
    canaries,
    cases,
    consents,
    entries,
    erasures,
    index_versions,
    jobs,
    journal,
    key_versions,
    keyring,
    limits,
    log,
    moves,
    plane,
    postgres,
    projections,
    pseudonyms,
    purposes,
    revocations,
    sqlite,
    states,
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
    "erasures",
    "index_versions",
    "jobs",
    "journal",
    "key_versions",
    "keyring",
    "limits",
    "log",
    "metadata",
    "moves",
    "plane",
    "postgres",
    "postgres_functions",
    "projections",
    "pseudonyms",
    "purposes",
    "revocations",
    "sqlite",
    "states",
    "subject_lines",
    "subjects",
    "tables",
]
