"""Where words of a lexicon stand in a text, and whether they stand as its rules want."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Finder", "Hits", "Rule"]

_BEFORE, _AFTER = 8, 6
"""How many characters before and after a stretch words of `unless` still speak of it."""

Hits = dict[str, list[tuple[int, int]]]
"""Name of a group of words -> where words of it stand: (start, end)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Groups of words that must stand together: all of some, and so many of others."""

    groups: tuple[str, ...]
    within: int
    unless: tuple[str, ...] = ()
    """Groups none of which may begin in the stretch, shortly before or shortly after it."""
    of: tuple[str, ...] = ()
    at_least: int = 0
    """How many groups of `of` must be there."""

    def possible(self, hits: Hits) -> bool:
        """Whether there are enough groups, wherever they stand."""
        return all(group in hits for group in self.groups) and (
            not self.of or sum(group in hits for group in self.of) >= self.at_least
        )

    def holds(self, hits: Hits) -> bool:
        """Whether the groups stand in some stretch of at most `within` characters; asked where `possible` is true."""
        against = sorted(start for group in self.unless for start, _ in hits.get(group, ()))
        if len(self.groups) == 1 and not self.of and not against:
            return True
        need = len(self.groups) + self.at_least
        spans = [(*span, at) for at in self.groups for span in hits[at]]
        spans += [(*span, at) for at in self.of for span in hits.get(at, ())]
        latest: dict[str, tuple[int, int]] = {}
        for start, end, at in sorted(spans):
            latest[at] = (start, end)
            if len(latest) < need:
                continue
            near = {group: span for group, span in latest.items() if end - span[0] <= self.within}
            if len(near) < need or not near.keys() >= set(self.groups):
                continue
            first, last = min(s for s, _ in near.values()), max(e for _, e in near.values())
            before = bisect_left(against, first - _BEFORE)
            if last - first <= self.within and (before == len(against) or against[before] >= last + _AFTER):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Finder:
    """All groups of words at once: one look at each character of the text, however many words there are."""

    words: Mapping[str, tuple[tuple[str, bool, tuple[str, ...]], ...]]
    """First two characters -> (word, whether no Latin letter may follow, its groups), the longest first."""
    built_in: Mapping[re.Pattern[str], tuple[str, ...]]

    def __call__(self, text: str) -> Hits:
        hits: Hits = {}
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
