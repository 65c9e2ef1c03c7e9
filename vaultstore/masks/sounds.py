"""Words by their sound: homophone characters, pinyin, and mixtures of both, brought back to the word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from vaultstore.errors import ModelError
from vaultstore.masks.lexicon import shipped

__all__ = ["Sounds"]

_RUN = re.compile(r"[a-z]+")
_LONGEST = 6
"""Letters of the longest syllables (zhuang)."""


@cache
def _classes() -> tuple[Mapping[int, str], Mapping[str, str]]:
    """Character -> the first of those with its sound; syllable -> the same character."""
    characters: dict[int, str] = {}
    syllables: dict[str, str] = {}
    for syllable, written in shipped("sounds").data["syllables"].items():
        together = written.replace(" ", "")
        syllables[syllable] = together[0]
        characters.update(dict.fromkeys(map(ord, together), together[0]))
    return characters, syllables


class Sounds:
    """Finds a few words in whatever characters or letters spell their sound. Linear in the text.

    `words` are found as homophones, in pinyin, and in mixtures of both; `pinyin` in pinyin and in mixtures with
    their own characters; `kept` are spelled like one of them and mean something else.
    """

    __slots__ = ("_kept", "_latin", "_own", "_pattern", "_single", "_words")

    def __init__(self, words: Iterable[str], pinyin: Iterable[str], kept: Iterable[str], place: str) -> None:
        anyhow, by_letters = _unique(words), _unique(pinyin)
        self._single = {_sound(w, place): w for w in by_letters if len(w) == 1}
        self._latin = {_sound(w, place): w for w in by_letters if len(w) > 1}
        self._words = {_sound(w, place): w for w in anyhow}
        self._kept = frozenset(kept)
        sounds = sorted({*self._words, *self._latin}, key=lambda sound: (-len(sound), sound))
        self._pattern = re.compile("|".join(map(re.escape, sounds))) if sounds else None
        self._own = frozenset((*anyhow, *by_letters))

    def __call__(self, text: str) -> str:
        """`text` with the words in their own characters, as far as it spells them otherwise."""
        if self._pattern is None and not self._single:
            return text
        characters, _ = _classes()
        if _RUN.search(text) is None:
            pieces: Sequence[str] = text
            heard = text.translate(characters)
        else:
            pieces, heard = self._by_syllables(text)
        return self._written(pieces, heard)

    def _by_syllables(self, text: str) -> tuple[list[str], str]:
        """What `text` is made of, characters and syllables, and how each sounds."""
        characters, syllables = _classes()
        pieces: list[str] = []
        heard: list[str] = []
        at = 0
        spelled = False
        for run in _RUN.finditer(text):
            between = text[at : run.start()]
            split = _split(run[0], syllables)
            if split and spelled and between == " ":
                pieces[-1] += " "  # "zhuan zhang": the space is part of the spelling
                between = ""
            pieces.extend(between)
            heard.extend(between.translate(characters))
            if split:
                pieces.extend(split)
                heard.extend(syllables[syllable] for syllable in split)
            else:
                pieces.extend(run[0])
                heard.extend(run[0])
            spelled, at = bool(split), run.end()
        rest = text[at:]
        pieces.extend(rest)
        heard.extend(rest.translate(characters))
        return pieces, "".join(heard)

    def _written(self, pieces: Sequence[str], heard: str) -> str:
        out: list[str] = []
        at = 0
        for found in self._pattern.finditer(heard) if self._pattern else ():
            start, end = found.span()
            spelled = "".join(pieces[start:end])
            word = self._meant(found[0], spelled, pieces[start:end])
            if word is None:
                continue
            out.extend(
                self._alone(piece, sound) for piece, sound in zip(pieces[at:start], heard[at:start], strict=True)
            )
            out.append(word)
            at = end
        out.extend(map(self._alone, pieces[at:], heard[at:]))
        return "".join(out)

    def _meant(self, sound: str, spelled: str, pieces: Sequence[str]) -> str | None:
        if spelled in self._own or spelled in self._kept:
            return None
        if sound in self._words:
            return self._words[sound]
        word = self._latin[sound]
        letters = [piece for piece in pieces if piece.isascii()]
        own = all(piece.isascii() or piece == char for piece, char in zip(pieces, word, strict=True))
        return word if letters and own else None

    def _alone(self, piece: str, sound: str) -> str:
        if len(piece) > 1 and piece.isascii():
            return self._single.get(sound, piece)
        return piece


def _split(run: str, syllables: Mapping[str, str]) -> list[str] | None:
    """`run` as syllables of two letters or more, the longest first; None where it is no pinyin."""
    size = len(run)
    longest = [0] * size  # of the syllables at each place after which the rest is pinyin too
    for at in range(size - 1, -1, -1):
        for length in range(min(_LONGEST, size - at), 1, -1):
            if (at + length == size or longest[at + length]) and run[at : at + length] in syllables:
                longest[at] = length
                break
    if not size or not longest[0]:
        return None
    out: list[str] = []
    at = 0
    while at < size:
        out.append(run[at : at + longest[at]])
        at += longest[at]
    return out


def _sound(word: str, place: str) -> str:
    characters, _ = _classes()
    unknown = [char for char in word if ord(char) not in characters]
    if unknown or not word:
        raise ModelError(f"{place} has a word by sound with {unknown[:1]!r}, whose sound is not known")
    return word.translate(characters)


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
