"""New data keys for one subject, after an incident: all that a purpose reads and writes is sealed anew, scope by scope.

One transaction a scope: it adds the new keys, destroys the old ones, and seals every row of the scope under the new.
Old copies of ciphertext, in a backup or on somebody's disk, open no more with the live keyring. What the purpose does
not reach keeps its keys, and is listed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.gate import SqliteLedger
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.rekeying import Overtaken, Part, admit, key_scopes, prepare, replace
from vaultstore.grants import Grant
from vaultstore.lifecycle.parts import Parts, Token, token_of
from vaultstore.lifecycle.rekey_rows import NotWhole, OldKeys, ScopeRows, Sealing, rows_of
from vaultstore.lifecycle.rights import reach, refuse
from vaultstore.orm.registry import ModelInfo

__all__ = ["Rekeyed", "SubjectKeys"]

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What was sealed anew."""

    subject: uuid.UUID
    scopes: int
    keys: int
    """New data keys."""
    destroyed: int
    """Old data keys that are gone."""
    rows: Mapping[str, int]
    """Model -> rows that were sealed anew."""
    left: Mapping[str, str]
    """Category, or category and scope, whose keys are as they were -> why."""


class SubjectKeys:
    """`store.subject_keys`: the data keys of single subjects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __repr__(self) -> str:
        return "<SubjectKeys>"

    def rotate(self, subject: uuid.UUID, token: Token) -> Rekeyed:
        """Seal everything of `subject` that the token's purpose reads and writes under new data keys, and destroy the
        old ones.

        The purpose has ``replaces_keys: true``, such as ``privacy.rekey``. Readers and writers go on meanwhile. A scope
        that can't be done whole, because a value does not open or a mask raises, is left as it was and listed. Harmless
        when repeated.

        Raises AccessDenied and its kinds, SubjectErased, SubjectRestricted, KeyServiceError.
        """
        grant = self._parts.verify(token_of(token))
        self._parts.gate.check(grant)
        if not grant.purpose.replaces_keys:
            refuse(self._parts, grant, "Keys", ())
        reach(self._parts, grant, subject)
        return _Rotation(self._parts, grant, subject, token).whole()


@dataclass(slots=True)
class _Rotation:
    """The replacement of one subject's keys."""

    parts: Parts
    grant: Grant
    subject: uuid.UUID
    token: Token
    plans: dict[str, tuple[ModelInfo, list[Sealing]]] = field(default_factory=dict)
    beyond: dict[str, str] = field(default_factory=dict)
    """Category -> why the purpose does not reach all of it."""
    left: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def whole(self) -> Rekeyed:
        """Replace the keys of every scope."""
        self._plan()
        keys = destroyed = done = 0
        for scope, categories in self._scopes().items():
            if not categories:
                continue
            try:
                new, gone = self._scope(scope, frozenset(categories))
            except NotWhole as why:
                self.left[f"{', '.join(sorted(categories))}{f' of {uuid.UUID(bytes=scope)}' if scope else ''}"] = str(
                    why
                )
                continue
            keys, destroyed, done = keys + new, destroyed + gone, done + 1
        self._scrub()
        return Rekeyed(self.subject, done, keys, destroyed, dict(self.rows), dict(self.left))

    def _plan(self) -> None:
        """Which columns are sealed anew: those of categories all of whose fields the purpose reads and writes whole."""
        purpose, known = self.grant.purpose, self.parts.models
        for info in known:
            lineage = (info.name, *info.bases)
            reads, writes = purpose.reads(*lineage), purpose.writes(*lineage)
            for f in info.fields:
                why = None
                if f.category not in reads:
                    why = f"purpose {purpose.name} does not read {f.category} of {info.name}"
                elif f.category not in writes:
                    why = f"purpose {purpose.name} does not write {f.category} of {info.name}"
                elif purpose.rows(*lineage) is not None:
                    why = f"purpose {purpose.name} sees only some rows of {info.name}"
                for category in (f.category, *(p.category for p in f.projections)) if why else ():
                    self.beyond.setdefault(category, why or "")
        for info in known:
            sealings = []
            for f in info.fields:
                projections = tuple(p for p in f.projections if p.category not in self.beyond)
                if f.category not in self.beyond or projections:
                    sealings.append(Sealing(f, f.category not in self.beyond, projections))
            if sealings:
                self.plans[info.name] = info, sealings

    def _of(self, scope: bytes) -> Iterator[tuple[ModelInfo, list[Sealing]]]:
        for info, sealings in self.plans.values():
            if (info.scope_key is not None) == bool(scope):
                yield info, sealings

    def _categories(self, sealings: Sequence[Sealing]) -> frozenset[str]:
        own = {s.field.category for s in sealings if s.source}
        return frozenset(own.union(*({p.category for p in s.projections} for s in sealings)))

    def _scopes(self) -> dict[bytes, set[str]]:
        """Scope -> categories that the subject has keys for there, those without a row too."""
        with self.parts.session(token_of(self.token)) as session:
            connection = session.connection()
            found: dict[bytes, set[str]] = {}
            held = key_scopes(self.parts.ledger, connection, session.opened.claims, self.subject.bytes)
            for scope, category in held:
                if any(category in self._categories(sealings) for _, sealings in self._of(scope)):
                    found.setdefault(scope, set()).add(category)
                else:
                    self.left[category] = self.beyond.get(category, "no model of this store has it")
            return found

    # --------------------------------------------------------------------------------------------- one scope

    def _scope(self, scope: bytes, categories: frozenset[str]) -> tuple[int, int]:
        """Replace the keys of one scope: (new keys, destroyed ones)."""
        for _ in range(_TRIES):
            opened: Any = self.parts.opened(token_of(self.token))
            old = self._old_keys(opened, scope)
            parts = self._prepared(opened, scope, categories)
            try:
                with self.parts.session(token_of(self.token)) as session, session.begin():
                    connection = session.connection()
                    replaced = [replace(self.parts.ledger, opened, part, connection) for part in parts]
                    keys = {category: key for one in replaced for category, key in one.keys.items()}
                    counts = {}
                    for info, sealings in self._of(scope):
                        counts[info.name] = ScopeRows(self.subject, scope, old, keys).seal(connection, info, sealings)
            except Overtaken:
                continue
            opened.cache.drop_subjects({self.subject.bytes})
            for model, count in counts.items():
                if count:
                    self.rows[model] = self.rows.get(model, 0) + count
            return len(keys), sum(one.destroyed for one in replaced)
        raise NotWhole("others write it all the time: try again when it is quieter")

    def _old_keys(self, opened: Any, scope: bytes) -> OldKeys:
        """The keys that the scope's sources are sealed under now, handed out by the gate as for any reader."""
        found: dict[KeyRef, AESGCM | None] = {}
        for info, sealings in self._of(scope):
            refs: dict[KeyRef, None] = {}
            with self.parts.session(token_of(self.token)) as session:
                connection = session.connection()
                for sealing in sealings:
                    column: Any = sealing.field.prop.columns[0]
                    head = sa.func.substr(column, 1, 5)
                    mine = rows_of(info, self.subject, scope)
                    for (header,) in connection.execute(sa.select(head).where(*mine, column.is_not(None)).distinct()):
                        key_id = int.from_bytes(bytes(header)[1:], "big")
                        refs[sealing.field.category, self.subject.bytes, scope, key_id] = None
            wanted = {ref[0] for ref in refs}
            if refs:
                answer = self.parts.gate.disclose(opened, info.name, wanted, list(refs))
                for refusal in answer.refused.values():
                    raise refusal
                found.update({**dict.fromkeys(refs), **answer.keys})
        return found

    def _prepared(self, opened: Any, scope: bytes, categories: frozenset[str]) -> list[Part]:
        """Admissions model by model, and new keys: each category once, however many models have it."""
        parts, left = [], set(categories)
        for info, sealings in self._of(scope):
            sources, here = {s.field.category for s in sealings}, self._categories(sealings) & categories
            if not here:
                continue
            entry = admit(self.parts.ledger, opened, info.name, sources, here, self.subject.bytes)
            own = left & here
            left -= own
            if own:
                parts.append(prepare(opened, entry, self.subject.bytes, scope, own))
        return parts

    def _scrub(self) -> None:
        """Embedded: the destroyed wraps' old pages leave the write-ahead log as far as nobody reads it."""
        if isinstance(self.parts.ledger, SqliteLedger):
            self.parts.ledger.empty_logs()
