"""flags(lexicon): what a message talks about, without the message."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import Mask
from vaultstore.masks.found import Finder, Rule
from vaultstore.masks.lexicon import Lexicon, fold_variants, load_file, shipped
from vaultstore.masks.masked import Json
from vaultstore.masks.sounds import Sounds
from vaultstore.masks.text import clean

__all__ = ["Flags", "flags"]

_WITHIN = 16
_BUILT_IN = {  # none takes more than linear time on any text
    "<amount>": r"\d{3,}|\d{1,2}(?:元|块|百|千|万|亿|k|w|rmb|刀)|[一二两三四五六七八九十几]+(?:块|百|千|万|亿)",
    "<percent>": r"(?<!\d)\d{1,9}(?:%|个点)|百分之[一二三四五六七八九十百\d]+",
    "<handle>": r"(?<![a-z\d])(?:[a-z]+(?: ?\d)+[a-z\d]*|\d{5,}|(?<=[号是为叫搜])[a-z][a-z ]{4,})",
    "<phone>": r"\+(?!86)\d{9,15}(?!\d)|(?<!\d)09\d{8}(?!\d)",
    "<number>": r"(?<![\da-z+])(?!(?:19|20)\d\d[01]\d)[1-9]\d{8,10}(?!\d)",
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
    find: Finder
    rules: tuple[tuple[frozenset[str], str, Rule], ...]
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
        possible: dict[str, list[Rule]] = {}
        for wanted, name, rule in compiled.rules if hits else ():
            if wanted <= there and (not rule.of or rule.possible(hits)):
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
        words[name] = [word if word in _BUILT_IN else _read_word(read, word) for word in _joined(group, place)]
    rules = [
        (name, _rule(rule, words, place))
        for name in sorted(data["flags"])
        for rule in _list(data["flags"][name], place)
    ]
    if not rules:
        raise ModelError(f"{place} has no flags")
    return _Compiled(read, _finder(words, place), tuple((frozenset(rule.groups), name, rule) for name, rule in rules))


def _finder(words: Mapping[str, list[str]], place: str) -> Finder:
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
    return Finder(
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


def _rule(rule: object, words: Mapping[str, list[str]], place: str) -> Rule:
    fields = _mapping(rule, place)
    lists = {key: _texts(fields[key], place) if key in fields else [] for key in ("all", "of", "unless")}
    within, at_least = fields.get("within", _WITHIN), fields.get("at_least", 0)
    unknown = [name for names in lists.values() for name in names if name not in words]
    unknown += [key for key in fields if key not in (*lists, "within", "at_least")]
    if unknown:
        raise ModelError(f"{place} has a rule with {unknown[0]!r}, which is neither a group of words nor a key")
    if type(within) is not int or within < 1:
        raise ModelError(f"{place} has a rule within no whole number of characters")
    if type(at_least) is not int or not bool(lists["of"]) <= at_least <= len(lists["of"]):
        raise ModelError(f"{place} has a rule with `at_least` that is no number of groups in `of`")
    if not lists["all"] + lists["of"]:
        raise ModelError(f"{place} has a rule without groups")
    return Rule(tuple(lists["all"]), within, tuple(lists["unless"]), tuple(lists["of"]), at_least)


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


def _joined(value: object, place: str) -> list[str]:
    """The words of a group: an item that is a list of lists stands for one word of each, written together."""
    out: list[str] = []
    for item in _list(value, place):
        parts = [_texts(part, place) for part in _list(item, place)] if isinstance(item, list) else [[item]]
        if not all(isinstance(word, str) for part in parts for word in part):
            raise ModelError(f'{place} needs a list of texts (quote words such as "no")')
        out += map("".join, product(*parts))
    return out


def _texts(value: object, place: str) -> list[str]:
    items = _list(value, place)
    if not all(isinstance(item, str) for item in items):
        raise ModelError(f'{place} needs a list of texts (quote words such as "no")')
    return items
