"""Upkeep of the categories' keys: new versions, data keys wrapped anew under them, old versions given up for good."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from vaultstore.errors import KeyVersionNeeded, UnsupportedOperation
from vaultstore.gate import OpenGrant
from vaultstore.gate.keeping import KeyState
from vaultstore.gate.refusals import refusal
from vaultstore.lifecycle.jobs import Jobs, OnProgress, Summary
from vaultstore.lifecycle.parts import Opener, Parts, Token
from vaultstore.lifecycle.rewrapping import RewrapWork, grant_of, keeping_of
from vaultstore.policy.words import hint, shown

__all__ = ["CategoryKey", "Keyring"]

_TRIES = 5
_PAUSE = 0.5
"""Seconds between tries to get in between writers."""
_PASSES = 3


@dataclass(frozen=True, slots=True)
class CategoryKey:
    """How a category's key stands. Versions count from 1."""

    category: str
    newest: int
    """New wraps are of it."""
    oldest: int
    """The oldest one that the key service still opens."""
    kept: int
    """The oldest one that the key service still holds."""
    wraps: Mapping[int, int] = field(default_factory=dict)
    """Version -> how many live wraps are of it; 0: of what is no wrap."""

    @property
    def behind(self) -> int:
        """How many live wraps are of older versions than the newest."""
        return sum(held for version, held in self.wraps.items() if version < self.newest)


class Keyring:
    """Rotates, rewraps and retires, under tokens of purposes that may (`keeps_keys`). Sessions go on meanwhile.

    Each method raises AccessDenied and TokenError as the gate does, UnsupportedOperation for an unknown
    category, and KeyServiceError.
    """

    def __init__(self, parts: Parts, jobs: Jobs) -> None:
        self._parts, self._jobs = parts, jobs

    def __repr__(self) -> str:
        return "<Keyring>"

    def rotate(self, category: str, token: Token) -> int:
        """Add a version to the category's key, and return its number. New data keys are wrapped under it from now on.

        It can't be taken back, and takes nothing away: old wraps open as before.
        """
        opened = grant_of(self._parts, token)
        self._known(category)
        admission = keeping_of(self._parts).rotate(opened.claims, category)
        if admission.code is not None:
            raise refusal(admission.code, opened.claims, "rotate", f"the key of {category}")
        return opened.ask(lambda service: service.rotate(category))

    def rewrap(
        self,
        category: str | None,
        token: Token,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Summary]:
        """Wrap every data key of the category (None: of each) anew under the newest version of its key.

        A bulk job for each category: it goes on where an earlier run stopped, and two at once share the work. What
        was left behind by a run that began before the newest version, or by writers that were faster, is done too.
        `executor` may be of other processes, with an `opener` that opens the store there.
        """
        summaries = []
        self._state(grant_of(self._parts, token))  # who may not is refused here, and audited, before a key is asked for
        every = sorted(self._parts.policy.catalogue.categories)
        for name in every if category is None else [self._known(category)]:
            work = RewrapWork(name, token, self._parts, opener)
            for _ in range(_PASSES):
                summary = self._jobs.run(work, workers=workers, executor=executor, on_progress=on_progress)
                summaries.append(summary)
                if not summary.resumed and not self._left_behind(name, token, summary):
                    break
        return summaries

    def retire(self, category: str, token: Token) -> int:
        """Give up every version of the category's key but the newest: the key service forgets them, for good.

        Returns the oldest version that is left. First the database takes no wrap of an older version any more, which
        it does only where no live wrap needs one; then the key service closes them and trims them away. Stopped in
        between, run it again. Raises KeyVersionNeeded while a live wrap is of an older version, and
        UnsupportedOperation where writers did not let it in between.
        """
        opened = grant_of(self._parts, token)
        self._known(category)
        self._state(opened)
        versions = opened.ask(lambda service: service.versions(category))
        keeping, oldest = keeping_of(self._parts), versions.newest
        for last in (*[False] * (_TRIES - 1), True):
            told = keeping.retire(opened.claims, category, oldest)
            if told.code is not None:
                raise refusal(told.code, opened.claims, "retire", f"the key of {category}")
            if told.older:
                raise _needed(category, oldest, told.older)
            if not told.busy:
                break
            if last:
                raise UnsupportedOperation(
                    f"transactions that have written in {category} are still open: let them end, then retire again"
                )
            time.sleep(_PAUSE)
        opened.ask(lambda service: service.retire(category, oldest))
        return oldest

    def status(self, token: Token) -> list[CategoryKey]:
        """How each category's key stands, in the order of their names. One request a category."""
        opened = grant_of(self._parts, token)
        state = self._state(opened)
        found = []
        for name in sorted(self._parts.policy.catalogue.categories):
            versions = opened.ask(lambda service: service.versions(name))  # noqa: B023 - called at once
            found.append(
                CategoryKey(name, versions.newest, versions.oldest, versions.kept, dict(state.wraps.get(name, {})))
            )
        return found

    def _left_behind(self, category: str, token: Token, summary: Summary) -> bool:
        """Whether wraps of older versions are left that the job did not fail to do."""
        opened = grant_of(self._parts, token)
        state = self._state(opened)
        newest = opened.ask(lambda service: service.versions(category)).newest
        held = state.wraps.get(category, {})
        return sum(count for version, count in held.items() if version < newest) > summary.failed

    def _state(self, opened: OpenGrant) -> KeyState:
        state = keeping_of(self._parts).state(opened.claims)
        if state.code is not None:
            raise refusal(state.code, opened.claims, "keep", "any keys")
        return state

    def _known(self, category: str) -> str:
        known = self._parts.policy.catalogue.categories
        if category not in known:
            raise UnsupportedOperation(f"no model has fields of a category {shown(category)}{hint(category, known)}")
        return category


def _needed(category: str, oldest: int, older: Mapping[int, int]) -> KeyVersionNeeded:
    counts = ", ".join(f"{held:,} of version {version}" for version, held in sorted(older.items()))
    return KeyVersionNeeded(
        f"{category}: live wraps are still of versions before {oldest} ({counts}): rewrap it, and see the rows that"
        " could not be done",
        category=category,
        wraps=older,
    )
