"""SQL text for PostgreSQL: quoted names and literals, and templates whose schema is filled in when they run."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SCHEMA", "filled", "literal", "name", "names", "table"]

_PLACE = "@schema@"
SCHEMA = f'"{_PLACE}"'
"""Stands for the schema in templates."""


def name(identifier: str) -> str:
    """A quoted identifier: a purpose has dots in it."""
    return '"' + identifier.replace('"', '""') + '"'


def names(identifiers: Iterable[str]) -> str:
    """Quoted identifiers, with commas between."""
    return ", ".join(map(name, identifiers))


def table(identifier: str) -> str:
    """A relation or function of the schema, as a template."""
    return f"{SCHEMA}.{name(identifier)}"


def literal(text: str) -> str:
    """A quoted text, the same whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def filled(template: str, schema: str) -> str:
    """A template with its schema."""
    return template.replace(SCHEMA, name(schema))
