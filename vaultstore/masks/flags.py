"""flags(lexicon): what a message talks about, without the message."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import Mask
from vaultstore.masks.lexicon import Lexicon, fold_variants, load_file, shipped
from vaultstore.masks.masked import Json
from vaultstore.masks.text import clean

__all__ = ["Flags", "flags"]

_WITHIN = 16
_BUILT_IN = {  # none takes more than linear time on any text
    "<amount>": r"\d{3,}|\d{1,2}(?:元|块|百|千|万|亿|k|w|rmb|刀)|[一二两三四五六七八九十几]+(?:块|百|千|万|亿)",
    "<percent>": r"(?<!\d)\d{1,9}(?:%|个点)|百分之[一二三四五六七八九十百\d]+",
    "<handle>": r"(?<![a-z\d])(?:[a-z][a-z\d]{4,}|\d{5,})",
    "<mobile>": r"(?<!\d)1[3-9]\d{9}(?!\d)",
}
_KEPT = frozenset("%+¥$")  # the rest of punctuation and symbols goes
_LATIN = re.compile(r"[a-z0-9]")
_IN_NUMBERS = (" ", "-")
_ONE_BY_ONE = re.compile(r"(?<![a-z0-9])[a-z0-9](?: [a-z0-9](?![a-z0-9]))+")


@dataclass(frozen=True, slots=True)
class _Rule:
    groups: tuple[re.Pattern[str], ...]
    within: int

    def holds(self, text: str) -> bool:
        """Whether all groups occur in some stretch of at most `within` characters. Linear in the text."""
        if len(self.groups) == 1:
            return self.groups[0].search(text) is not None
        found = sorted((m.start(), m.end(), at) for at, group in enumerate(self.groups) for m in group.finditer(text))
        latest: dict[int, tuple[int, int]] = {}
        for start, end, at in found:
            latest[at] = (start, end)
            if len(latest) == len(self.groups):
                first, last = min(s for s, _ in latest.values()), max(e for _, e in latest.values())
                if last - first <= self.within:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class _Reader:
    """Brings text to the form that words are compared in."""

    replace: Mapping[str, str] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None

    def __call__(self, text: str) -> str:
        """`text` in lower case and simplified characters, without what can be put between characters to break words."""
        text = fold_variants(clean(clean(text).casefold()))
        return self._replaced(_squeeze(self._replaced(text)))  # before for emoji, after for words that were broken up

    def _replaced(self, text: str) -> str:
        return self.pattern.sub(lambda found: self.replace[found[0]], text) if self.pattern else text


@dataclass(frozen=True, slots=True)
class _Compiled:
    read: _Reader
    rules: Mapping[str, tuple[_Rule, ...]]


@dataclass(frozen=True, slots=True)
class Flags(Mask):
    """The names of what is found in a message; see `flags`."""

    name: ClassVar[str] = "flags"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    lexicon: Lexicon
    _compiled: _Compiled = field(repr=False, compare=False, hash=False)

    @property
    def fingerprint(self) -> str:
        return f"flags(lexicon={self.lexicon.fingerprint})"

    def _apply(self, value: str) -> Json:
        text = self._compiled.read(value)
        return [name for name, rules in self._compiled.rules.items() if any(rule.holds(text) for rule in rules)]


def flags(lexicon: str | Path | Lexicon = "chat-safety") -> Flags:
    """Show the names of the lexicon's flags that a message raises, in alphabetical order: ``["contact", "money"]``.

    `lexicon` is the name of a shipped one, or the path of a file written like lexicons/chat-safety.yaml, which explains
    the form. Its name, version and digest are part of the fingerprint.

    Raises:
        ModelError: there is no such lexicon, or it is not well-formed.
    """
    if isinstance(lexicon, str):
        lexicon = shipped(lexicon)
    elif isinstance(lexicon, Path):
        lexicon = load_file(lexicon)
    return Flags(lexicon, _compile(lexicon))


def _squeeze(text: str) -> str:
    """`text` without punctuation, symbols, marks and spaces.

    One space stays between Latin words and between numbers, but neither inside a number written in groups nor between
    letters written one by one.
    """
    out: list[str] = []
    gap = ""
    for char in text:
        if unicodedata.category(char)[0] in "LN" or char in _KEPT:
            if gap and out and _LATIN.match(char) and _LATIN.match(out[-1]):
                out.append("" if gap in _IN_NUMBERS and char.isdigit() and out[-1].isdigit() else " ")
            out.append(char)
            gap = ""
        else:
            gap += char
    return _ONE_BY_ONE.sub(lambda found: found[0].replace(" ", ""), "".join(out))


@cache
def _compile(lexicon: Lexicon) -> _Compiled:
    place = f"lexicon {lexicon.name}"
    data = {key: _mapping(lexicon.data.get(key, {}), place) for key in ("replace", "words", "flags")}
    plain = _Reader()
    replace = {
        fold_variants(clean(old).casefold()): plain(new) for old, new in _all_text(data["replace"], place).items()
    }
    read = _Reader(replace, _any_of([f"{old}*" for old in replace], place) if replace else None)
    words = {name: re.compile(pattern) for name, pattern in _BUILT_IN.items()}
    for name, group in data["words"].items():
        words[name] = _any_of(
            [word if word in _BUILT_IN else _read_word(read, word) for word in _texts(group, place)], place
        )
    rules = {
        name: tuple(_rule(rule, words, place) for rule in _list(data["flags"][name], place))
        for name in sorted(data["flags"])
    }
    if not rules:
        raise ModelError(f"{place} has no flags")
    return _Compiled(read, rules)


def _read_word(read: _Reader, word: str) -> str:
    return read(word) + ("*" if word.endswith("*") else "")


def _any_of(words: Iterable[str], place: str) -> re.Pattern[str]:
    """Any of the words; the longest first, as the first that matches is taken."""
    patterns: list[str] = []
    for word in sorted(set(words), key=lambda word: (-len(word), word)):
        bare = word.removesuffix("*")
        if word in _BUILT_IN:
            patterns.append(_BUILT_IN[word])
        elif bare:
            before = "(?<![a-z])" if "a" <= bare[0] <= "z" else ""
            after = "(?![a-z])" if "a" <= bare[-1] <= "z" and bare == word else ""
            patterns.append(f"{before}{re.escape(bare)}{after}")
        else:
            raise ModelError(f"{place} has a word without a letter or digit")
    return re.compile("|".join(patterns))


def _rule(rule: object, words: Mapping[str, re.Pattern[str]], place: str) -> _Rule:
    fields = _mapping(rule, place)
    names, within = _texts(fields.get("all"), place), fields.get("within", _WITHIN)
    unknown = [name for name in names if name not in words] + [key for key in fields if key not in ("all", "within")]
    if unknown:
        raise ModelError(f"{place} has a rule with {unknown[0]!r}, which is neither a group of words nor a key")
    if type(within) is not int or within < 1:
        raise ModelError(f"{place} has a rule within no whole number of characters")
    return _Rule(tuple(words[name] for name in names), within)


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ModelError(f"{place} needs a mapping with text as keys")
    return value


def _all_text(value: Mapping[str, Any], place: str) -> Mapping[str, str]:
    if not all(isinstance(item, str) for item in value.values()):
        raise ModelError(f"{place} replaces text by something else")
    return value


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ModelError(f"{place} needs a list that is not empty")
    return value


def _texts(value: object, place: str) -> list[str]:
    items = _list(value, place)
    if not all(isinstance(item, str) for item in items):
        raise ModelError(f'{place} needs a list of texts (quote words such as "no")')
    return items
