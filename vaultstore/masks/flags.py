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
from vaultstore.masks.sounds import Sounds
from vaultstore.masks.text import clean

__all__ = ["Flags", "flags"]

_WITHIN = 16
_BUILT_IN = {  # none takes more than linear time on any text
    "<amount>": r"\d{3,}|\d{1,2}(?:元|块|百|千|万|亿|k|w|rmb|刀)|[一二两三四五六七八九十几]+(?:块|百|千|万|亿)",
    "<percent>": r"(?<!\d)\d{1,9}(?:%|个点)|百分之[一二三四五六七八九十百\d]+",
    "<handle>": r"(?<![a-z\d])(?:[a-z]+(?: ?\d)+[a-z\d]*|\d{5,}|(?<=[号是为])[a-z]{5,})",
    "<mobile>": r"(?<!\d)1[3-9]\d{9}(?!\d)",
}
_NUMERALS = re.compile("[零〇一二三四五六七八九幺]{6,}")
_DIGITS = str.maketrans("零〇一二三四五六七八九幺", "001234567891")
_NOTHING = "□"
"""Stands for a character of a harmless phrase: distances stay as they were."""
_KEPT = frozenset("%+¥$")  # the rest of punctuation and symbols goes
_LATIN = re.compile(r"[a-z0-9]")
_IN_NUMBERS = (" ", "-")
_ONE_BY_ONE = re.compile(r"(?<![a-z0-9])[a-z0-9](?: [a-z0-9](?![a-z0-9]))+")


_Hits = dict[str, list[tuple[int, int]]]
"""Name of a group of words -> where words of it stand: (start, end)."""


@dataclass(frozen=True, slots=True)
class _Rule:
    groups: tuple[str, ...]
    within: int

    def holds(self, hits: _Hits) -> bool:
        """Whether the groups, all of which occur, do so in some stretch of at most `within` characters."""
        if len(self.groups) == 1:
            return True
        latest: dict[str, tuple[int, int]] = {}
        for start, end, at in sorted((*span, group) for group in self.groups for span in hits[group]):
            latest[at] = (start, end)
            if len(latest) == len(self.groups):
                first, last = min(s for s, _ in latest.values()), max(e for _, e in latest.values())
                if last - first <= self.within:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class _Finder:
    """All groups of words at once: one look at each character of the text, however many words there are."""

    words: Mapping[str, tuple[tuple[str, bool, tuple[str, ...]], ...]]
    """First two characters -> (word, whether no Latin letter may follow, its groups), the longest first."""
    built_in: Mapping[re.Pattern[str], tuple[str, ...]]

    def __call__(self, text: str) -> _Hits:
        hits: _Hits = {}
        known = self.words
        for at, char in enumerate(text):
            candidates = known.get(text[at : at + 2], ())
            if char in known:
                candidates += known[char]
            if not candidates or ("a" <= char <= "z" and at and "a" <= text[at - 1] <= "z"):
                continue
            seen: set[str] = set()
            for word, whole, groups in candidates:
                if text.startswith(word, at):
                    end = at + len(word)
                    if whole and "a" <= text[end : end + 1] <= "z":
                        continue
                    for group in groups:
                        if group not in seen:
                            seen.add(group)
                            hits.setdefault(group, []).append((at, end))
        for pattern, groups in self.built_in.items():
            spans = [found.span() for found in pattern.finditer(text)]
            for group in groups if spans else ():
                hits.setdefault(group, []).extend(spans)
        return hits


@dataclass(frozen=True, slots=True)
class _Reader:
    """Brings text to the form that words are compared in."""

    replace: Mapping[str, str] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None
    characters: Mapping[int, str] = field(default_factory=dict)
    sounds: Sounds | None = None
    harmless: re.Pattern[str] | None = None

    def __call__(self, text: str) -> str:
        """`text` in lower case and simplified characters, without what can be put between characters to break words."""
        text = fold_variants(clean(clean(text).casefold())).translate(self.characters)
        text = self._replaced(_squeeze(self._replaced(text)))  # before for emoji, after for words that were broken up
        if self.sounds is not None:
            text = self.sounds(text)
        return _NUMERALS.sub(lambda found: found[0].translate(_DIGITS), text)

    def without_harmless(self, text: str) -> str:
        """Read `text` without the phrases that say nothing though their words do; its length stays."""
        return self.harmless.sub(lambda found: _NOTHING * len(found[0]), text) if self.harmless else text

    def _replaced(self, text: str) -> str:
        return self.pattern.sub(lambda found: self.replace[found[0]], text) if self.pattern else text


@dataclass(frozen=True, slots=True)
class _Compiled:
    read: _Reader
    find: _Finder
    rules: tuple[tuple[frozenset[str], str, _Rule], ...]
    """(groups that must occur, flag, rule), by flag in alphabetical order."""


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
        compiled = self._compiled
        hits = compiled.find(compiled.read.without_harmless(compiled.read(value)))
        there = hits.keys()
        possible: dict[str, list[_Rule]] = {}
        for wanted, name, rule in compiled.rules if hits else ():
            if wanted <= there:
                possible.setdefault(name, []).append(rule)
        return [name for name, rules in possible.items() if any(rule.holds(hits) for rule in rules)]


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
    read = _reader(lexicon, data["replace"], place)
    words = {name: [name] for name in _BUILT_IN}
    for name, group in data["words"].items():
        words[name] = [word if word in _BUILT_IN else _read_word(read, word) for word in _texts(group, place)]
    rules = [
        (name, _rule(rule, words, place))
        for name in sorted(data["flags"])
        for rule in _list(data["flags"][name], place)
    ]
    if not rules:
        raise ModelError(f"{place} has no flags")
    return _Compiled(read, _finder(words, place), tuple((frozenset(rule.groups), name, rule) for name, rule in rules))


def _finder(words: Mapping[str, list[str]], place: str) -> _Finder:
    groups: dict[str, list[str]] = {}
    for name, group in words.items():
        for word in dict.fromkeys(group):
            groups.setdefault(word, []).append(name)
    first: dict[str, list[tuple[str, bool, tuple[str, ...]]]] = {}
    for word, names in groups.items():
        if word in _BUILT_IN:
            continue
        bare = _bare(word, place)
        whole = bare == word and "a" <= bare[-1] <= "z"
        first.setdefault(bare[:2], []).append((bare, whole, tuple(names)))
    return _Finder(
        {char: tuple(sorted(found, key=lambda item: (-len(item[0]), item[0]))) for char, found in first.items()},
        {re.compile(_BUILT_IN[name]): tuple(groups[name]) for name in _BUILT_IN},
    )


def _bare(word: str, place: str) -> str:
    bare = word.removesuffix("*")
    if not bare:
        raise ModelError(f"{place} has a word without a letter or digit")
    return bare


def _reader(lexicon: Lexicon, given: Mapping[str, Any], place: str) -> _Reader:
    plain = _Reader()
    replace = {fold_variants(clean(old).casefold()): plain(new) for old, new in _all_text(given, place).items()}
    characters = {ord(old): new for old, new in replace.items() if len(old) == 1}
    longer = {old: new for old, new in replace.items() if len(old) != 1}
    listed = {key: _texts(lexicon.data[key], place) for key in ("sounds", "pinyin", "kept") if key in lexicon.data}
    sounds = None
    if listed:
        sounds = Sounds(listed.get("sounds", ()), listed.get("pinyin", ()), listed.get("kept", ()), place)
    pattern = _any_of([f"{old}*" for old in longer], place) if longer else None
    read = _Reader(longer, pattern, characters, sounds)
    phrases = [_read_word(read, phrase) for phrase in _texts(lexicon.data.get("harmless", [""]), place) if phrase]
    return _Reader(longer, pattern, characters, sounds, _any_of(phrases, place) if phrases else None)


def _read_word(read: _Reader, word: str) -> str:
    return read(word) + ("*" if word.endswith("*") else "")


def _any_of(words: Iterable[str], place: str) -> re.Pattern[str]:
    """Any of the words; the longest first, as the first that matches is taken."""
    patterns: list[str] = []
    for word in sorted(set(words), key=lambda word: (-len(word), word)):
        bare = _bare(word, place)
        before = "(?<![a-z])" if "a" <= bare[0] <= "z" else ""
        after = "(?![a-z])" if "a" <= bare[-1] <= "z" and bare == word else ""
        patterns.append(f"{before}{re.escape(bare)}{after}")
    return re.compile("|".join(patterns))


def _rule(rule: object, words: Mapping[str, list[str]], place: str) -> _Rule:
    fields = _mapping(rule, place)
    names, within = _texts(fields.get("all"), place), fields.get("within", _WITHIN)
    unknown = [name for name in names if name not in words] + [key for key in fields if key not in ("all", "within")]
    if unknown:
        raise ModelError(f"{place} has a rule with {unknown[0]!r}, which is neither a group of words nor a key")
    if type(within) is not int or within < 1:
        raise ModelError(f"{place} has a rule within no whole number of characters")
    return _Rule(tuple(names), within)


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
