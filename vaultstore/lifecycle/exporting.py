"""Writing a copy of a member's data: every row about them in clear, row by row, through the gate."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from vaultstore.audit.log import SIGNING_KEY
from vaultstore.errors import AccessDenied, BudgetExhausted, DecryptionError, KeyServiceError, SettingsError
from vaultstore.grants import Grant
from vaultstore.lifecycle.parts import Parts, Token, token_of
from vaultstore.lifecycle.portable import FORMAT, clear_columns, kinds_of, written
from vaultstore.lifecycle.rights import reach, refuse
from vaultstore.orm import PurposeSession
from vaultstore.orm.registry import FieldInfo, ModelInfo
from vaultstore.orm.role import NOT_PRIVILEGED, sqlstate
from vaultstore.records import consents, states
from vaultstore.records.base import rfc3339
from vaultstore.records.cases import vs_case_subjects, vs_cases
from vaultstore.signed_note import NoteKey, sign_note

__all__ = ["DESK", "Exported", "seal_text", "write_export"]

DESK = "privacy.request"
"""The purpose under which members' data are copied for others; members copy their own under ``subjects: self``."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Exported:
    """What a copy has, and what it has not."""

    subject: uuid.UUID
    rows: Mapping[str, int]
    """Model -> rows."""
    withheld: tuple[Mapping[str, str], ...]
    """What is left out: what, and why."""
    sha256: str
    """Of all lines before the one that says so."""
    sealed: bool


def seal_text(origin: str, digest: str) -> str:
    """The text that the log's key signs. No checkpoint has this form: its second line would be a number."""
    return f"{FORMAT}\n{origin}\nsha256 {digest}\n"


def write_export(out: BinaryIO, parts: Parts, subject: uuid.UUID, token: Token) -> Exported:
    """Write a copy of what the token's purpose reads of `subject` to `out`, piece by piece.

    Raises AccessDenied (and its kinds) for a purpose that makes no copies, for a subject that the token does not reach.
    """
    grant = parts.verify(token_of(token))
    models = [info for info in parts.models if info.subject_key]
    _admit(parts, grant, subject)
    return _Writing(out, parts, subject, token, grant, models).whole()


def _admit(parts: Parts, grant: Grant, subject: uuid.UUID) -> None:
    """Raise unless the token is for making copies and reaches the subject, with the gate's word and entry for it."""
    parts.gate.check(grant)
    if grant.purpose.requires.subjects != "self" and grant.purpose.name != DESK:
        refuse(parts, grant, "Export", ())
    reach(parts, grant, subject)


@dataclass(slots=True)
class _Writing:
    """One copy as it is being written."""

    out: BinaryIO
    parts: Parts
    subject: uuid.UUID
    token: Token
    grant: Grant
    models: list[ModelInfo]
    hashed: Any = field(default_factory=sha256)
    withheld: list[dict[str, str]] = field(default_factory=list)

    def whole(self) -> Exported:
        """Write all of it."""
        purpose, listed = self.grant.purpose, []
        for info in self.models:
            if self._lists(info):
                listed.append(info)
            else:
                self._withhold(f"purpose {purpose.name} has nothing to do with it", model=info.name)
        self._line("{")
        self._member("format", FORMAT)
        self._member("origin", self.parts.origin)
        self._member("subject", str(self.subject))
        self._member("made_at", rfc3339(self.parts.now))
        self._member("made_for", {"purpose": purpose.name, "case": self.grant.case})
        self._member("schema", {info.name: kinds_of(info) for info in listed})
        self._member("states", self._kept("states", self._states))
        self._member("consents", self._kept("consents", self._consents))
        self._member("cases", self._kept("cases", self._cases))
        self._line('"rows":{')
        counts = {}
        for at, info in enumerate(listed):
            self._line(f'{"," * bool(at)}"{info.name}":[')
            counts[info.name] = self._rows(info)
            self._line("]")
        self._line("},")
        self._member("withheld", self.withheld)
        self._member("counts", counts)
        digest = self.hashed.hexdigest()
        seal = self._seal(digest)
        self._line(f'"sha256":"{digest}",\n"seal":{_json(seal)}\n}}')
        return Exported(self.subject, counts, tuple(self.withheld), digest, seal is not None)

    # -------------------------------------------------------------------------------------------------- rows

    def _lists(self, info: ModelInfo) -> bool:
        with self._session() as session:
            return info.mapper in session.access.listed

    def _rows(self, info: ModelInfo) -> int:
        count = 0
        with self._session() as session:
            readable = self._readable(session, info)
            clear = list(clear_columns(info))
            for page in self._pages(session, info):
                session.disclose(page)
                for instance in page:
                    self._line(f"{',' * bool(count)}{_json(self._row(info, instance, clear, readable))}")
                    count += 1
        return count

    def _pages(self, session: PurposeSession, info: ModelInfo) -> Iterator[list[Any]]:
        """The subject's rows of exactly this class, page by page; what is written is forgotten."""
        class_ = info.mapper.class_
        mine = getattr(class_, info.subject_key) == self.subject
        keys = [getattr(class_, info.mapper.get_property_by_column(c).key) for c in info.mapper.primary_key]
        query = sa.select(class_).where(mine).order_by(*keys).limit(_PAGE)
        last: list[Any] | None = None
        while True:
            after = (
                () if last is None else (sa.tuple_(*keys) > sa.tuple_(*last) if len(keys) > 1 else keys[0] > last[0],)
            )
            page = session.scalars(query.where(*after)).all()
            if page:
                last = [getattr(page[-1], key.key) for key in keys]
                yield [one for one in page if type(one) is class_]
            session.expunge_all()
            if len(page) < _PAGE:
                return

    def _readable(self, session: PurposeSession, info: ModelInfo) -> list[FieldInfo]:
        """The fields that the purpose reads in clear; the others are noted as withheld."""
        plan, found, name = session.access.plan(info.mapper), [], self.grant.purpose.name
        for f in info.fields:
            readable = plan.fields[f.name]
            if readable is None:
                self._withhold(f"purpose {name} does not read {f.category}", model=info.name, field=f.name)
            elif readable.masked:
                self._withhold(f"purpose {name} reads {f.category} masked only", model=info.name, field=f.name)
            else:
                found.append(f)
        return found

    def _row(self, info: ModelInfo, instance: Any, clear: list[str], readable: list[FieldInfo]) -> dict[str, Any]:
        row = {key: written(getattr(instance, key)) for key in clear}
        for f in readable:
            try:
                row[f.name] = written(getattr(instance, f.name))
            except DecryptionError:
                self._withhold("it does not open", model=info.name, field=f.name, row=row[info.row_key])
            except (BudgetExhausted, AccessDenied):
                raise  # the subject was restricted or erased meanwhile, or the token's time is over
        return row

    # ------------------------------------------------------------------------------------------------ records

    def _kept(self, what: str, read: Callable[[sa.Connection], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Records of the gate, or none where this process's database login does not see them: that is noted."""
        try:
            with self.parts.gate_engine.connect() as connection:
                return read(connection)
        except ProgrammingError as error:
            if sqlstate(error) != NOT_PRIVILEGED:
                raise
        self._withhold("the service that made this copy does not keep them", records=what)
        return []

    def _states(self, connection: sa.Connection) -> list[dict[str, Any]]:
        before = self._quiet_since("states", "reasons of changes in")
        return [
            {
                "state": one.state,
                "since": rfc3339(one.changed_at),
                "reason": one.reason if one.changed_at <= before else None,
            }
            for one in states.history(connection, self.subject.bytes)
        ]

    def _consents(self, connection: sa.Connection) -> list[dict[str, Any]]:
        return [
            {
                "kind": one.kind,
                "notice_version": one.notice_version,
                "granted_at": rfc3339(one.granted_at),
                "withdrawn_at": None if one.withdrawn_at is None else rfc3339(one.withdrawn_at),
                "evidence": one.evidence,
            }
            for one in consents.history(connection, self.subject.bytes)
        ]

    def _cases(self, connection: sa.Connection) -> list[dict[str, Any]]:
        """Cases that named the subject, without notes."""
        before = self._quiet_since("cases", "any opened in")
        c, s = vs_cases.c, vs_case_subjects.c
        query = (
            sa.select(c.id, c.kind, c.opened_at, c.closed_at)
            .join(vs_case_subjects, s.case_id == c.id)
            .where(s.subject == self.subject.bytes)
            .order_by(c.opened_at, c.id)
        )
        told: list[dict[str, Any]] = []
        for case in connection.execute(query):
            if case.opened_at <= before:
                closed = None if case.closed_at is None else rfc3339(case.closed_at)
                told.append(
                    {"id": case.id, "kind": case.kind, "opened_at": rfc3339(case.opened_at), "closed_at": closed}
                )
        return told

    def _quiet_since(self, records: str, what: str) -> datetime:
        """From when on nothing is told that an investigation may still need to be quiet about.

        Said in every copy alike: whether there is such a thing is what must not show.
        """
        held = max((p.report_after for p in self.parts.policy.purposes.values()), default=timedelta(0))
        if held:
            self._withhold(f"{what} the last {held.days} days would be told later", records=records)
        now: datetime = self.parts.now
        return now - held

    # ------------------------------------------------------------------------------------------------- writing

    def _session(self) -> PurposeSession:
        return self.parts.session(token_of(self.token))

    def _withhold(self, reason: str, **what: str) -> None:
        self.withheld.append({**what, "reason": reason})

    def _member(self, name: str, value: Any) -> None:
        self._line(f'"{name}":{_json(value)},')

    def _line(self, text: str) -> None:
        data = (text + "\n").encode()
        self.hashed.update(data)
        self.out.write(data)

    def _seal(self, digest: str) -> str | None:
        """The log's key over the digest; None in a process that may not sign."""
        text, keys, origin = seal_text(self.parts.origin, digest), self.parts.keys, self.parts.origin
        try:
            signature = keys.sign(SIGNING_KEY, text.encode())
            key = NoteKey(origin, keys.public_keys(SIGNING_KEY)[signature.key_id])
        except (KeyServiceError, SettingsError):
            return None
        note = sign_note(text, [(key, lambda _: signature.value)])
        note.verify([key])
        return str(note)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
