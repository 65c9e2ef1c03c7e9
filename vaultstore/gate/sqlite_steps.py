"""The gate's steps on SQLite, inside one transaction that holds the write lock of the gate's file."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat

from vaultstore.audit import Line, build_entry
from vaultstore.audit.lines import LINE_SIZE
from vaultstore.gate.allot import Window, allot
from vaultstore.gate.claims import Claims
from vaultstore.gate.closure import Closure, parse_closure, window_start
from vaultstore.gate.ledger import Admission
from vaultstore.gate.scopes import Admitted, ScopePair, unpack_pairs
from vaultstore.records import (
    approvals,
    canaries,
    cases,
    consents,
    entries,
    erasures,
    index_versions,
    limits,
    log,
    pseudonyms,
    purposes,
    revocations,
    subjects,
)
from vaultstore.records.index_versions import Versions

__all__ = ["Step", "outcome_of"]

_NOBODY = bytes(16)
_MOST_ACTORS = 10_000
_WHOSE = ("jti", "role", "purpose", "case")


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of the gate: its cursor, its one time, and whom it is about."""

    cursor: sqlite3.Cursor
    now: datetime
    claims: Claims
    closures: dict[str, Closure]
    """Closures that were parsed, by digest."""
    pseudonyms: dict[str, str]
    """Actors' pseudonyms that were worked out."""

    # ------------------------------------------------------------------------------------------- is it let in

    def live(self) -> tuple[Closure | None, str | None]:
        """Step 1: the closure, or the code that refuses the grant."""
        claims = self.claims
        if self.now >= claims.expires_at:
            return None, "token.expired"
        if revocations.revoked(self.cursor, claims.jti, claims.actor, claims.issued_at):
            return None, "token.revoked"
        published = purposes.fetch(self.cursor, claims.purpose)
        if published is None or published[0] != claims.digest:
            return None, "policy.changed"
        closure = self.closures.get(claims.digest)
        if closure is None:
            closure = parse_closure(published[1], claims.digest)
            if closure is None:
                return None, "policy.changed"
            self.closures[claims.digest] = closure
        return (closure, None) if claims.role in closure.roles else (None, "not.granted")

    def ready(self, granted: Callable[[Closure], bool], *, reads: bool) -> tuple[Closure | None, str | None]:
        """Step 1 with the right asked for, and what step 2 asks of the request as a whole.

        `reads`: of a disclosure or a search, which take a log that is witnessed where the database says so.
        """
        closure, code = self.live()
        if closure is None:
            return None, code
        claims = self.claims
        if not granted(closure):
            return None, "not.granted"
        if closure.named and claims.subjects is None:
            return None, "subject.not_named"
        if closure.case and (claims.case is None or not cases.open_for(self.cursor, claims.case, claims.actor)):
            return None, "case.missing"
        if closure.approvals and closure.approvals > approvals.count(
            self.cursor, claims.actor, claims.purpose, claims.case, claims.subjects_digest, self.now
        ):
            return None, "approval.missing"
        if reads and log.unwitnessed(self.cursor, self.now):
            return None, "log.unwitnessed"
        return closure, None

    def judge(
        self,
        closure: Closure,
        asked: Sequence[bytes],
        odd: Mapping[bytes, str | None],
        *,
        categories: Iterable[str] = (),
        strict: bool = False,
    ) -> dict[bytes, str]:
        """Step 2, subject by subject: subject -> refusal code, in the order asked. `strict`: a writer's view.

        `categories` are those asked for: some take a consent of their own. `odd` has the state of those that are not
        active, None where a subject is not registered.
        """
        claims = self.claims
        refused: dict[bytes, str] = {}
        if odd or claims.subjects is not None:
            sees_restricted = closure.sees_restricted and not strict
            for subject in asked:
                code = _state_code(claims, subject, odd.get(subject, subjects.ACTIVE), sees_restricted)
                if code is not None:
                    refused[subject] = code
        if not closure.sees_canaries and not strict:  # a canary's row is written like any other
            refused = dict.fromkeys(canaries.among(self.cursor, asked), "subject.canary") | refused
        for kind in closure.kinds(categories):
            given = consents.given(self.cursor, kind, asked, self.now)
            refused = {s: "consent.missing" for s in asked if s not in given} | refused
        if closure.case and claims.case is not None:
            named = cases.named(self.cursor, claims.case, asked)
            refused = {s: "case.missing" for s in asked if s not in named} | refused
        return {s: refused[s] for s in asked if s in refused} if refused else refused

    def unheld(
        self, closure: Closure, odd: Mapping[bytes, str | None], pairs: Collection[ScopePair]
    ) -> dict[bytes, str | None]:
        """`odd` without erased subjects of whom nothing is asked but what the claims' own open case holds.

        These are judged and written down like anybody else. Keys without a scope are never held.
        """
        claims, erased = self.claims, [subject for subject, state in odd.items() if state == subjects.ERASED]
        if not erased or not closure.case or claims.case is None:
            return {**odd}
        if not cases.open_for(self.cursor, claims.case, claims.actor):
            return {**odd}
        held = erasures.scopes_of(self.cursor, claims.case, erased)
        wanted: dict[bytes, set[bytes]] = {}
        for subject, scope in pairs:
            wanted.setdefault(subject, set()).add(scope)
        free = {s for s in erased if wanted.get(s) and wanted[s] <= held.get(s, set())}
        return {subject: state for subject, state in odd.items() if subject not in free}

    def admitted(self, entry: str) -> Admitted | None:
        """What a disclosure's entry admitted, or None where it is no entry of this grant."""
        found = entries.disclosure(self.cursor, entry)
        if found is None:
            return None
        actor, leaf, lines, outcomes, scopes = found
        claims = self.claims
        if actor != claims.actor or (claims.jti, claims.role, claims.purpose, claims.case) != tuple(
            map(leaf.get, _WHOSE)
        ):
            return None
        index = outcomes.index("disclosed") if "disclosed" in outcomes else None
        whom = frozenset(
            lines[at : at + 16] for at in range(0, len(lines), LINE_SIZE) if lines[at + LINE_SIZE - 1] == index
        )
        return Admitted(frozenset(leaf["categories"]), whom, None if scopes is None else unpack_pairs(scopes))

    # ------------------------------------------------------------------------------------------- what it costs

    def spend(
        self, closure: Closure, verb: str, units: Sequence[bytes], count: int = 1, *, whose: str = ""
    ) -> set[bytes]:
        """Step 3: charge `units`, each counting for `count`, to every limit of the verb; those that don't fit.

        `whose` holds the windows of limits by subject.
        """
        windows: list[Window] = []
        for limit in closure.limits.get(verb, ()) if count else ():
            since, inclusive = window_start(limit, self.now, closure.timezone)
            holder = {"actor": self.claims.actor, "subject": whose}.get(limit.by, "")
            window, used = limits.open_window(
                self.cursor, self.claims.purpose, verb, limit.per, limit.by, holder, since, inclusive=inclusive
            )
            room = (limit.max - used) // count
            windows.append(Window(window, room, frozenset(limits.charged(self.cursor, window, units))))
        refused, charges = allot(units, windows)
        for window, new in charges.items():
            limits.charge(self.cursor, window, [(unit, count) for unit in new], self.now)
        return refused

    # ------------------------------------------------------------------------------------------- what is written

    def number(self, asked: Sequence[bytes]) -> tuple[dict[bytes, int], dict[bytes, str | None]]:
        """Next line number of each subject, 0 for one that has none; and the state of those that are not active."""
        numbers, states = subjects.advance(self.cursor, asked)
        odd: dict[bytes, str | None] = {**states}
        if len(numbers) != len(asked):
            others = [subject for subject in asked if subject not in numbers]
            known = subjects.states(self.cursor, others)
            for subject in others:
                numbers[subject], odd[subject] = 0, known.get(subject)
        return numbers, odd

    def versions(self) -> Mapping[str, Versions]:
        """Index name -> versions of its key, of those that were ever rotated."""
        return index_versions.fetch(self.cursor)

    def odd(self, asked: Sequence[bytes]) -> dict[bytes, str | None]:
        """State of those subjects that are not active; None for one that is not registered."""
        known = subjects.states(self.cursor, asked)
        return {subject: known.get(subject) for subject in asked if known.get(subject) != subjects.ACTIVE}

    def lines(
        self,
        asked: Sequence[bytes],
        numbers: Mapping[bytes, int],
        odd: Mapping[bytes, str | None],
        refused: Mapping[bytes, str],
        admitted: str,
    ) -> tuple[list[Line], bytes]:
        """A line and a salt for each subject. An erased one's keep neither id nor number nor salt."""
        salts = os.urandom(32 * len(asked))
        if not refused:
            lines = list(map(Line, asked, map(numbers.__getitem__, asked), repeat(admitted)))
        else:
            lines = [Line(subject, numbers[subject], refused.get(subject, admitted)) for subject in asked]
        if subjects.ERASED not in odd.values():
            return lines, salts
        cleared = bytearray(salts)
        for at, subject in enumerate(asked):
            if odd.get(subject) == subjects.ERASED:
                lines[at] = Line(_NOBODY, 0, lines[at].outcome)
                cleared[32 * at : 32 * at + 32] = bytes(32)
        return lines, bytes(cleared)

    def write(
        self,
        kind: str,
        outcome: str,
        counts: Mapping[str, int],
        *,
        model: str | None = None,
        categories: Collection[str] = (),
        field: str | None = None,
        lines: Sequence[Line] = (),
        salts: bytes = b"",
        scopes: bytes | None = None,
        entry_id: str | None = None,
    ) -> str:
        """Step 4: add the entry; its id. `scopes` are the packed pairs that a disclosure admitted, None: no scope."""
        claims = self.claims
        entry = build_entry(
            id=entry_id or str(uuid.uuid4()),
            time=self.now,
            kind=kind,
            actor=self._pseudonym(),
            role=claims.role,
            attributes=claims.attributes,
            purpose=claims.purpose,
            jti=claims.jti,
            case=claims.case,
            model=model,
            categories=categories,
            counts=counts,
            outcome=outcome,
            lines=lines,
            salts=salts,
            field=field,
        )
        entries.append(
            self.cursor, entry.id, self.now, kind, claims.actor, entry.leaf, entry.lines, entry.outcomes, scopes
        )
        return entry.id

    def _pseudonym(self) -> str:
        actor = self.claims.actor
        if actor not in self.pseudonyms:
            if len(self.pseudonyms) >= _MOST_ACTORS:
                self.pseudonyms.clear()
            self.pseudonyms[actor] = pseudonyms.pseudonym(pseudonyms.fetch(self.cursor), actor)
        return self.pseudonyms[actor]

    def refuse(
        self,
        kind: str,
        code: str | None,
        counts: Mapping[str, int],
        *,
        model: str | None = None,
        categories: Collection[str] = (),
        field: str | None = None,
    ) -> Admission:
        """Audit the refusal of a whole request: an entry without lines."""
        entry = self.write(kind, f"refused:{code}", counts, model=model, categories=categories, field=field)
        return Admission(entry, code=code)


def _state_code(claims: Claims, subject: bytes, state: str | None, sees_restricted: bool) -> str | None:
    if claims.subjects is not None and subject not in claims.subjects:
        return "subject.not_named"
    if state is None:
        return "subject.unknown"
    if state == subjects.ERASED:
        return "subject.erased"
    if state == subjects.RESTRICTED and not sees_restricted:
        return "subject.restricted"
    return None


def outcome_of(refused: Mapping[bytes, str], asked: int) -> str:
    """The outcome of a disclosure's entry."""
    if not refused:
        return "disclosed"
    if len(refused) < asked:
        return "partial"
    codes = set(refused.values())
    return f"refused:{codes.pop()}" if len(codes) == 1 else "refused"
