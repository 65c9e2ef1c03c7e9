"""A person's name and ID number in one form: what the real-name check compares, under a blind index of its own."""

from __future__ import annotations

import re
import unicodedata

from vaultstore import normalize
from vaultstore.masks import is_masked

__all__ = ["identity_proof", "name_form"]

_BREAKS = re.compile(r"[\s·•・‧∙⋅.．'’\-]+")
_resident_id = normalize.resident_id()


def name_form(name: str) -> str:
    """A name without regard to width, case, spaces and the dots that part the names of minorities."""
    return _BREAKS.sub("", unicodedata.normalize("NFKC", name).casefold())


def identity_proof(name: str | None, id_number: str | None) -> str | None:
    """Name and number in one form, or None where one of them is missing.

    Both in one index: a search for a number alone, or a name alone, finds nothing, so whoever holds the right to search
    can't sort people by one of them. Raises NotNormalizable where the number is none (GB 11643).
    """
    if not name or not id_number or is_masked(name) or is_masked(id_number):
        return None
    return f"{_resident_id(id_number)} {name_form(name)}"
