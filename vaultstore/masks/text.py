"""Text as masks see it: without compatibility forms and invisible characters, counted as a person counts characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["clean", "graphemes"]

_ZWJ = "\u200d"
_LONGEST = 16
"""Code points in one character. The longest emoji families need 11; beyond, marks are piled up to carry something."""


def clean(text: str) -> str:
    """`text` in NFKC, trimmed, inner white space as single spaces, without control and format characters.

    Format characters (category Cf: direction marks, zero-width spaces, tags) can hide or reorder what is shown; only
    the zero-width joiner between two symbols stays, as emoji are made of it. Lone surrogates go, since JSON can't hold
    them.
    """
    text = unicodedata.normalize("NFKC", text)
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept: list[str] = []
    for at, char in enumerate(text):
        category = unicodedata.category(char)
        if char.isspace():
            kept.append(" ")
        elif char == _ZWJ:
            if _joins(kept, text[at + 1 : at + 2]):
                kept.append(char)
        elif category not in ("Cc", "Cf", "Cs"):
            kept.append(char)
    # Dropping a character can bring a mark next to a letter that it composes with.
    return " ".join(unicodedata.normalize("NFKC", "".join(kept)).split())


def graphemes(text: str) -> list[str]:
    """The characters of cleaned `text` as a person counts them: a base with its marks, an emoji with its parts.

    This is UAX #29 for what NFKC leaves: combining marks, variation selectors, skin tones, joined emoji and flags. A
    cluster of more than 16 code points is one ``*``.
    """
    if text.isascii():
        return list(text)
    return [cluster if len(cluster) <= _LONGEST else "*" for cluster in _clusters(text)]


def _clusters(text: str) -> Iterator[str]:
    cluster = ""
    for char in text:
        if cluster and _extends(cluster, char):
            cluster += char
        else:
            if cluster:
                yield cluster
            cluster = char
    if cluster:
        yield cluster


def _extends(cluster: str, char: str) -> bool:
    if cluster[-1] == _ZWJ or char == _ZWJ or unicodedata.category(char) in ("Mn", "Mc", "Me"):
        return True
    if _is_skin_tone(char):
        return unicodedata.category(cluster[0]) == "So"
    return _is_regional(char) and len(cluster) == 1 and _is_regional(cluster)


def _joins(before: list[str], after: str) -> bool:
    """Whether a joiner stands between two symbols, so that it makes one emoji of them."""
    base = next(
        (char for char in reversed(before) if not (_is_skin_tone(char) or unicodedata.category(char) == "Mn")), ""
    )
    return bool(base) and bool(after) and unicodedata.category(base) == "So" == unicodedata.category(after)


def _is_skin_tone(char: str) -> bool:
    return "\U0001f3fb" <= char <= "\U0001f3ff"


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
