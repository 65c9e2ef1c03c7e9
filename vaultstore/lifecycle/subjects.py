"""Subjects: registered, restricted, erased."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from vaultstore.errors import UnsupportedOperation
from vaultstore.grants import Grant
from vaultstore.lifecycle import erasure, restriction
from vaultstore.lifecycle.erasure import Erased
from vaultstore.lifecycle.jobs import Jobs, OnProgress, Summary
from vaultstore.lifecycle.journal import NoJournal
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.records import Registry, Subject, id_of, key_of
from vaultstore.orm.erasing import plan_of
from vaultstore.orm.role import operators_only
from vaultstore.records import erasures, states, subjects
from vaultstore.records.states import StateChange

if TYPE_CHECKING:
    from vaultstore.lifecycle.certificate import Certificate

__all__ = ["Subjects"]


class Subjects:
    """States of subjects. Each change waits for admissions and writes that are under way, and holds new ones up."""

    def __init__(self, registry: Registry, parts: Parts | None = None) -> None:
        self._registry, self._parts = registry, parts

    def __repr__(self) -> str:
        return "<Subjects>"

    def register(self, *named: Subject) -> None:
        """Register subjects as active, where they are new; `seal` does so by itself."""
        now = self._registry.now
        with self._registry.gate() as connection:
            subjects.ensure(connection, map(key_of, named), now)

    def state(self, subject: Subject) -> str | None:
        """``active``, ``restricted`` or ``erased``; None where it is not registered."""
        with self._registry.gate() as connection:
            return subjects.lock(connection, key_of(subject))

    def restrict(
        self, subject: Subject, *, reason: str, token: Token | None = None, operator: str = "operator"
    ) -> None:
        """Restrict processing: only purposes that see restricted subjects read, none writes; others see no rows.

        Under a `token` of ``privacy.request``, or the member's own (a purpose with ``subjects: self``); else an
        operator is named for the audit log. `reason` is kept and is no place for personal data. Harmless when repeated.
        Raises SubjectErased, and AccessDenied where the token may not.
        """
        self._change(subject, reason, token, operator, lifted=False)

    def lift(self, subject: Subject, *, reason: str, token: Token | None = None, operator: str = "operator") -> None:
        """Lift a restriction; see `restrict`. A member's own token can't: silent accounts are taken over first."""
        self._change(subject, reason, token, operator, lifted=True)

    def isolate_dormant(
        self,
        inactive_for: timedelta,
        *,
        operator: str = "operator",
        dry_run: bool = False,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Restrict the members who were not seen for so long, as a bulk job; those who can't be are in the summary.

        The model says in `__activity__` when a member was last seen: ``("last_login", "created_at")`` goes by the
        second where the first is NULL. Who is restricted, erased or a canary is passed over. For operators. With
        `dry_run` nothing is changed, and `rows` says how many it would look at.
        """
        parts = self._parts
        if parts is None:
            raise UnsupportedOperation("without a store there are no members to look at")
        if inactive_for <= timedelta(0):
            raise UnsupportedOperation("how long members were silent is more than nothing")
        if executor is not None and opener is None and not isinstance(executor, ThreadPoolExecutor):
            raise UnsupportedOperation("an executor of other processes takes an opener, which opens the store there")
        from vaultstore.lifecycle.isolation import KIND, Isolate, count_dormant

        work = Isolate(inactive_for, operator, opener, None if opener and executor else parts)
        with operators_only("look at every member"):
            if dry_run:
                return Summary("", KIND, work.about, count_dormant(parts, inactive_for), 0, 0, (), False, 0.0)
            return Jobs(parts.engine).run(work, workers=workers, executor=executor, on_progress=on_progress)

    def history(self, subject: Subject) -> list[StateChange]:
        """Every state that a subject was in, oldest first, with reasons."""
        with self._registry.gate() as connection:
            return states.history(connection, key_of(subject))

    def erase(self, subject: Subject, *, reason: str, token: Token | None = None, operator: str = "operator") -> Erased:
        """Erase a subject for ever: data keys, blind indexes, what the models declare, lines of the audit log.

        This is crypto-shredding: no value sealed under those keys opens again, in no backup of the rows either. What an
        open case holds stays, for that case alone, until it closes. Under a `token` of ``privacy.erasure``, or the
        member's own (a purpose with ``subjects: self``); else an operator is named for the log. `reason` stands in the
        certificate and is no place for personal data. Harmless when repeated: the acts are the same. Raises
        AccessDenied and its kinds, and UnsupportedOperation where the database was published for other models.
        """
        order = erasure.order_of(
            self._registry.now, self._parts, reason=reason, grant=self._grant(token), operator=operator
        )
        return erasure.erase(self._registry, key_of(subject), order)

    def certificate(self, subject: Subject) -> Certificate:
        """The signed certificate of a subject's erasure, with proofs; the audit log is signed first where it has to be.

        For operators: services have no right to the log. Raises UnsupportedOperation where the subject was not erased.
        """
        if self._parts is None:
            raise UnsupportedOperation("without a store there is no key to sign with")
        from vaultstore.lifecycle.certificate import certify

        erasure.finish_interrupted(self._registry, self._parts)
        with operators_only("make certificates"):
            return certify(self._parts, id_of(key_of(subject)))

    def publish_rules(self) -> None:
        """Tell PostgreSQL what the models declare of erasure: its own function runs it. `Store.publish` calls it."""
        if self._parts is not None and self._parts.engine.dialect.name == "postgresql":
            plan = plan_of(self._parts.models)
            with self._registry.gate() as connection:
                erasures.publish_rules(connection, plan.digest, plan.rules())

    def finish_interrupted(self) -> int:
        """Finish erasures that a crash cut in two (SQLite only; opening a store does it): how many there were."""
        return 0 if self._parts is None else erasure.finish_interrupted(self._registry, self._parts)

    def _change(self, subject: Subject, reason: str, token: Token | None, operator: str, *, lifted: bool) -> None:
        grant, journal = self._grant(token), NoJournal() if self._parts is None else self._parts.journal
        now, key = self._registry.now, key_of(subject)
        order = restriction.order_of(now, reason=reason, lifted=lifted, grant=grant, operator=operator)
        changed = restriction.change_state(self._registry, [key], order, journal)
        restriction.raise_refusal(changed, order, [key])

    def _grant(self, token: Token | None) -> Grant | None:
        if token is None:
            return None
        if self._parts is None:
            raise UnsupportedOperation("without a store there is nobody to check a token")
        return self._parts.verify(token_of(token))
