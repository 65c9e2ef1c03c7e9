"""Which part of a name is the surname, as far as the name itself tells.

- Han, written together: the first character if it is a known surname, or two for a compound one. Two to four
  characters; a name that begins like a Uyghur, Tibetan or Mongolian given name has no surname.
- Han with middle dots (买买提·艾则孜, 安娜·穆勒): the last part, which is the family name or the father's name that
  serves as one. Not if the first part reads like a Han surname as well (李·小龙).
- Hangul: the first syllable or two, from the list.
- Latin or Cyrillic with a comma: the word before it. Latin with exactly one word in capitals: that word.
- Vietnamese: the first word, if it is a Vietnamese surname.
- Pinyin: a Chinese surname that stands last, or first with nothing but pinyin behind it.
- Cyrillic: of three words the first or last, by where the patronymic stands; of two, the one that ends like a surname.
- Other Latin names: the last word. (A Hungarian or Japanese name in its own order is read wrongly by this.)

Anything else is not known: one word, digits or symbols, mixed scripts, other scripts, two readings that contradict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from unicodedata import category, normalize
from unicodedata import name as unicode_name

from vaultstore.masks.lexicon import fold_variants, shipped

__all__ = ["surname_of"]

_DOTS = re.compile(r"\s*[·•‧∙⋅・.]\s*")
_APOSTROPHES = str.maketrans("’ʼ`´", "''''")
_BETWEEN = frozenset(" ,'’ʼ`´-·•‧∙⋅・.")
"""What may stand in a name beside letters and their marks."""
_LONGEST_WORD = 30
_MOST_WORDS = 6

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f'-])*(?<!['-])")
_PATRONYMIC = re.compile(r".+(?:вич|ьич|вна|ична|оглы|кызы|улы)")
_SURNAME_ENDING = re.compile(r".+(?:[оеё]ва?|[сц]к(?:ий|ая|ой)|ый|ина?|ына?|ко|ук|юк|чак|няк|ян|швили|дзе|ых|их)")
# As NFD has them: the horn, the hook above and the dot below, or a circumflex or breve with a tone mark.
_VIETNAMESE = re.compile("[\u031b\u0309\u0323]|[\u0302\u0306][\u0300\u0301\u0303]")


@dataclass(frozen=True, slots=True)
class _Lists:
    han: frozenset[str]
    compound: tuple[str, ...]
    unnamed: tuple[str, ...]
    korean: frozenset[str]
    vietnamese: frozenset[str]
    vietnamese_plain: frozenset[str]
    pinyin: frozenset[str]
    pinyin_word: re.Pattern[str]
    cyrillic_given: frozenset[str]
    titles: frozenset[str]
    suffixes: frozenset[str]


@cache
def _lists() -> _Lists:
    data: Any = shipped("surnames").data
    syllables = [start + end for start, ends in data["pinyin_syllables"].items() for end in ends.split()]
    return _Lists(
        han=frozenset("".join(data["han"])),
        compound=tuple(" ".join(data["compound"]).split()),
        unnamed=tuple(" ".join(data["unnamed"]).split()),
        korean=frozenset(data["korean"]),
        vietnamese=frozenset(data["vietnamese"]),
        vietnamese_plain=frozenset(data["vietnamese_plain"]),
        pinyin=frozenset(data["pinyin"]),
        pinyin_word=re.compile(f"(?:{'|'.join(sorted(syllables, key=len, reverse=True))}|['-])+"),
        cyrillic_given=frozenset(data["cyrillic_given"]),
        titles=frozenset(data["titles"]),
        suffixes=frozenset(data["suffixes"]),
    )


def surname_of(name: str) -> str | None:
    """The surname in a cleaned `name`, as it is written there; None where it isn't sure or would be the whole name."""
    if len(name) > _LONGEST_WORD * _MOST_WORDS:
        return None
    scripts = {_script(char) for char in name if char not in _BETWEEN}
    if scripts == {"CJK"}:
        return _han(name)
    if scripts == {"HANGUL"}:
        return _hangul(name)
    if scripts in ({"LATIN"}, {"LATIN", "COMBINING"}, {"CYRILLIC"}, {"CYRILLIC", "COMBINING"}):
        return _words(name.translate(_APOSTROPHES), cyrillic="CYRILLIC" in scripts)
    return None


def _script(char: str) -> str:
    """The script of a letter, as its Unicode name begins; COMBINING for a general mark, '' for anything else."""
    return unicode_name(char, "").split(" ", 1)[0] if category(char)[0] in "LM" else ""


def _han(name: str) -> str | None:
    lists = _lists()
    parts = [part for part in _DOTS.split(name) if part]
    if not all(char == " " or category(char) == "Lo" for part in parts for char in part):
        return None
    if len(parts) > 1:
        first, last = fold_variants(parts[0]), parts[-1]
        return None if first in lists.han or first in lists.compound or len(last) < 2 else last
    written = "".join(parts).replace(" ", "")
    folded = fold_variants(written)
    if folded.startswith(lists.unnamed):
        return None
    compound = next((known for known in lists.compound if folded.startswith(known) and len(folded) > len(known)), "")
    if compound:
        return written[: len(compound)] if len(folded) <= len(compound) + 2 else None
    return written[0] if 2 <= len(folded) <= 4 and folded[0] in lists.han else None


def _hangul(name: str) -> str | None:
    written = name.replace(" ", "")
    if not 2 <= len(written) <= 5 or not all(category(char) == "Lo" for char in written):
        return None
    known = _lists().korean
    return next((written[:end] for end in (2, 1) if written[:end] in known and len(written) > end), None)


def _words(name: str, *, cyrillic: bool) -> str | None:
    lists = _lists()
    before, comma, after = name.partition(",")
    if comma and after.strip().rstrip(".").casefold() in lists.suffixes:
        name, comma = before, ""
    if comma:
        return before.strip() if _is_word(before.strip()) and after.strip() and "," not in after else None
    words = [word for word in name.replace(".", ". ").split() if word.rstrip(".").casefold() not in lists.titles]
    while words and words[-1].rstrip(".").casefold() in lists.suffixes:
        words.pop()
    if not 2 <= len(words) <= _MOST_WORDS or not all(_is_word(word.rstrip(".")) for word in words) or "." in words[-1]:
        return None
    folded = [word.casefold() for word in words]
    if cyrillic:
        return _cyrillic(words, folded)
    capitals = [at for at, word in enumerate(words) if word.isupper() and (len(word) > 2 or folded[at] in lists.pinyin)]
    if len(capitals) == 1:
        return words[capitals[0]]
    plain = [_without_marks(word) for word in folded]
    if plain[0] in lists.vietnamese_plain or plain[-1] in lists.vietnamese_plain or _is_vietnamese(folded):
        return _vietnamese(words, folded, plain)
    return _western(words, folded)


def _is_word(word: str) -> bool:
    return len(word) <= _LONGEST_WORD and _WORD.fullmatch(word) is not None


def _cyrillic(words: list[str], folded: list[str]) -> str | None:
    patronymic = [_PATRONYMIC.fullmatch(word) is not None for word in folded]
    if len(words) == 3:
        if patronymic == [False, False, True]:
            return words[0]
        return words[2] if patronymic == [False, True, False] else None
    given = _lists().cyrillic_given
    surnames = [at for at, word in enumerate(folded) if _SURNAME_ENDING.fullmatch(word) and word not in given]
    return words[surnames[0]] if len(words) == 2 and len(surnames) == 1 and not any(patronymic) else None


def _is_vietnamese(folded: list[str]) -> bool:
    if _VIETNAMESE.search(normalize("NFD", " ".join(folded))):
        return True
    return not folded[0].isascii() and folded[0] in _lists().vietnamese


def _vietnamese(words: list[str], folded: list[str], plain: list[str]) -> str | None:
    lists = _lists()
    first, last = plain[0] in lists.vietnamese_plain, plain[-1] in lists.vietnamese_plain
    if first or (folded[0] in lists.vietnamese and _is_vietnamese(folded)):
        return None if last else words[0]
    return words[-1] if last else None  # Hoa Nguyen: the Western order


def _without_marks(word: str) -> str:
    return "".join(char for char in normalize("NFD", word) if category(char) != "Mn").replace("đ", "d")


def _western(words: list[str], folded: list[str]) -> str | None:
    lists = _lists()
    first, last = folded[0] in lists.pinyin, folded[-1] in lists.pinyin
    if first and not last:
        return words[0] if all(lists.pinyin_word.fullmatch(word) for word in folded) else None
    return None if first else words[-1]
