"""Strict YAML: one document of mappings, lists and YAML 1.2 core scalars, each with its place.

What YAML can do beyond that has no use in a policy and a history of surprises, so it is refused: anchors, aliases and
merge keys, tags and directives, duplicate keys, several documents, encodings other than UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vaultstore.policy.places import Place
from vaultstore.policy.words import shown

__all__ = ["MAX_BYTES", "Entry", "Items", "Node", "Scalar", "Table", "parse"]

MAX_BYTES = 256 * 1024
"""Size of a policy file, in bytes. A reader can't review more, and YAML scanners can be slow on long hostile input."""

_MAX_DEPTH = 12

# YAML 1.2.2, section 10.3.2 (core schema). `NO`, `on` and `12:30` are text there, and 0o17 is the only octal.
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value: text, a whole number, true or false, or nothing."""

    place: Place
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands under a key, and where the key is."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are text."""

    place: Place
    entries: Mapping[str, Entry]


Node = Scalar | Items | Table


def parse(data: bytes, file: str) -> tuple[Table, str]:
    """The document in `data`, and its text.

    `file` is the name that errors show. Raises PolicyError for anything that is not one plain mapping in UTF-8.
    """
    start = Place(file, 1, 1)
    if len(data) > MAX_BYTES:
        raise start.error(f"the file has more than {MAX_BYTES // 1024} KiB: split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise _after(before, file).error("not UTF-8") from None
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        node = _Builder(events, file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else start
        raise place.error(f"not YAML: {error.problem or error.context or 'it can not be read'}") from None
    except yaml.YAMLError:
        raise _first_unprintable(text, file).error("not YAML: a control character") from None
    if not isinstance(node, Table):
        raise node.place.error("a policy file is a mapping, such as `version: 1`")
    return node, text


class _Builder:
    """Turns parser events into nodes. It is bounded in depth, and stops at the first thing that is refused."""

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events, self._file = events, file

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise self._place(event).error("the file is empty: a policy file starts with `version: 1`")
        if event.version or event.tags:
            raise self._place(event).error("YAML directives (%YAML, %TAG) are not allowed")
        node = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise self._place(after).error("a second YAML document is not allowed: use a second file")
        return node

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _plain_only(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._place(event).error("YAML anchors and aliases are not allowed: write it out")
        if event.tag is not None:
            raise self._place(event).error(f"YAML tags are not allowed: {shown(event.tag)}")

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place(event)
        self._plain_only(event)
        if depth > _MAX_DEPTH:
            raise place.error(f"nested more than {_MAX_DEPTH} deep")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(place, event.value if event.style else _plain(event.value, place))
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(place, tuple(self._until(yaml.SequenceEndEvent, depth)))
        return Table(place, self._entries(depth))

    def _until(self, end: type[Any], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), end):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = self._place(event)
            self._plain_only(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise place.error("a key must be text")
            key = event.value
            if key == "<<" and not event.style:
                raise place.error("YAML merge keys (<<) are not allowed: write it out")
            if key in entries:
                raise place.error(f"duplicate key {shown(key)}; the first is at {entries[key].place}")
            entries[key] = Entry(place, self._node(next(self._events), depth + 1))
        return entries


def _plain(text: str, place: Place) -> str | int | float | bool | None:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise place.error(f"a number of more than {_MAX_DIGITS} digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _after(text: str, file: str) -> Place:
    """The place just behind `text`."""
    return Place(file, text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


def _first_unprintable(text: str, file: str) -> Place:
    """The first character outside YAML's printable set (YAML 1.2.2, section 5.1)."""
    found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff", text)
    return _after(text[: found.start()] if found else "", file)
