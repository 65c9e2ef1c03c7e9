"""Markup that can't be forgotten to be escaped: text goes in as text, and only `tag` makes elements."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["Markup", "join", "tag", "text"]

_VOID = frozenset({"br", "col", "hr", "meta"})


class Markup(str):
    """HTML that is finished: `text`, `join` and `tag` make it."""

    __slots__ = ()


def text(content: str) -> Markup:
    """`content` as it reads, whatever is in it."""
    # Characters that HTML has no way to hold (controls, lone surrogates) are shown as what stands for "no character".
    seen = "".join(c if c >= " " or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in content)
    return Markup(escape(seen.encode("utf-8", "replace").decode("utf-8"), quote=True))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """The parts one after the other; those that are no Markup are text."""
    return Markup(text(between).join(part if isinstance(part, Markup) else text(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | int | None) -> Markup:
    """An element. Children that are no Markup are text; ``class_`` and ``aria_label`` name class and aria-label."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{join(children)}</{name}>")
