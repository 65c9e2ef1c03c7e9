"""The gate: the only code that obtains a data key, or with `gate.searching` a digest of a blind index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from vaultstore.catalogue import Catalogue
from vaultstore.envelope import wrap_context
from vaultstore.errors import KeyServiceRefused, UnsupportedOperation
from vaultstore.gate.claims import Claims
from vaultstore.gate.indexing import to_write, versions_of
from vaultstore.gate.ledger import Ledger, Wrap
from vaultstore.gate.minting import by_category, new_keys, wrapped
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.protocol import Disclosed, KeyNeed, KeyRef, Sealed, subject_ids
from vaultstore.gate.refusals import denial, deny_first, refuse
from vaultstore.gate.scopes import pairs_of
from vaultstore.gate.searching import SearchVerbs
from vaultstore.grants import Grant
from vaultstore.keys import KeyService

__all__ = ["Gate"]

_MOST_REWRAPS = 5
"""How often in one write the key service may be behind what was given up: it is a race, or an old key file."""


class Gate(SearchVerbs):
    """Three verbs: `disclose`, `seal`, `search`. Each is decided and audited in one committed transaction first.

    `ledger` is the gate's database, `clock` returns an aware time and ends cached keys. `on_step`, for tests of what
    happens between steps, is called with the name of each step that was just taken. Safe to use from several threads.

    Every verb raises TokenExpired, TokenRevoked or TokenInvalid for a grant that is no longer live, AccessDenied for a
    request that is refused as a whole, AuditError where the gate's database fails, and KeyServiceError.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        clock: Callable[[], datetime],
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger, self._catalogue, self._clock = ledger, catalogue, clock
        self._on_step = on_step or _nothing

    def __repr__(self) -> str:
        return f"<Gate {self._ledger!r}>"

    def open(self, grant: Grant, login: Callable[[], KeyService]) -> OpenGrant:
        """Put a verified grant to use; `login` is called when a key is first needed. Raises TokenInvalid."""
        return OpenGrant(grant, login)

    def check(self, grant: Grant) -> None:
        """Step 1 only: raise unless the grant is live."""
        claims = Claims.of(grant)
        refuse(self._ledger.check(claims).code, claims, "use", "anything")

    def approve(self, grant: Grant, request: str) -> None:
        """Approve an access request of somebody else. Raises AccessDenied where this grant may not."""
        claims = Claims.of(grant)
        refuse(self._ledger.approve(claims, request).code, claims, "approve", f"access request {request}")

    # ------------------------------------------------------------------------------------------------ disclose

    def disclose(self, opened: OpenGrant, model: str, categories: Collection[str], refs: Sequence[KeyRef]) -> Disclosed:
        """Data keys for `refs`, in order of priority, of some categories of one model.

        One admission and one committed audit entry for all; then, for keys that are not open yet, one hand-out of
        wraps and one unwrap request a category. A subject that is refused is so in the answer, and the others are not
        held up. The entry says what was admitted: where the key service fails after it, it stands all the same.
        """
        if not refs:
            return Disclosed(None, {}, {})
        claims = opened.claims
        asked = subject_ids(ref[1] for ref in refs)
        categories = sorted({*categories, *{ref[0] for ref in refs}})
        what = f"{', '.join(categories)} of {model}"
        admission = self._ledger.admit(claims, model, categories, asked, pairs_of(refs))
        refuse(admission.code, claims, "read", what, opened)
        self._on_step("admitted")
        codes = dict(admission.refused)
        if codes:
            refs = [ref for ref in refs if ref[1] not in codes]
        keys, missing = opened.cache.get(refs, self._clock())
        if missing:
            handout = self._ledger.hand_out(claims, admission.entry, missing)
            refuse(handout.code, claims, "read", what, opened)
            self._on_step("wraps")
            keys |= self._unwrap(opened, admission.entry, handout.wraps)
            self._on_step("unwrapped")
            if handout.refused:
                codes |= handout.refused
                keys = {ref: key for ref, key in keys.items() if ref[1] not in codes}
        erased = {subject for subject, code in codes.items() if code == "subject.erased"}
        if erased:
            opened.cache.drop_subjects(erased)
        refused = {subject: denial(code, claims, "read", what, subject) for subject, code in codes.items()}
        return Disclosed(admission.entry, keys, refused)

    def _unwrap(self, opened: OpenGrant, entry: str, wraps: Sequence[Wrap]) -> dict[KeyRef, AESGCM]:
        keys: dict[KeyRef, AESGCM] = {}
        for category, group in by_category(wraps, lambda wrap: wrap.ref):
            items = [(wrap_context(wrap.ref[1], category, wrap.ref[2]), wrap.wrapped) for wrap in group]
            opened_keys = opened.ask(lambda service: service.unwrap(category, items, reference=entry))  # noqa: B023 - called at once
            for wrap, key in zip(group, opened_keys, strict=True):
                if key is not None and len(key) == 32:
                    keys[wrap.ref] = AESGCM(key)
        opened.cache.put(keys, self._clock())
        opened.cache.allow_reuse([wrap.ref for wrap in wraps if wrap.own and wrap.ref in keys])
        return keys

    # ---------------------------------------------------------------------------------------------------- seal

    def seal(
        self,
        opened: OpenGrant,
        model: str,
        sources: Collection[str],
        needs: Sequence[KeyNeed],
        values: Mapping[str, Sequence[bytes]],
        connection: Connection,
    ) -> Sealed:
        """A data key for each of `needs` and a digest for each of `values`, to write `sources` of one model.

        `connection` is in the transaction that will write the rows; new keys are added to the keyring in it, and the
        subjects stay active until it ends. Call `opened.committed` or `opened.rolled_back` with the answer's `minted`
        then: until it is committed a new key opens, but does not seal again. Raises the refusal of the first subject
        that is refused; nothing is sealed then. Raises UnsupportedOperation for digests of values that go into no row.
        """
        claims = opened.claims
        if values and not needs:
            raise UnsupportedOperation("digests are made for values that are sealed: to look one up, search")
        needs = list(dict.fromkeys(needs))
        asked = subject_ids(need[1] for need in needs)
        categories = {need[0] for need in needs}
        what = f"{', '.join(sorted(sources))} of {model}"
        admission = self._ledger.admit_seal(
            claims, model, sources, categories, list(values), asked, sum(map(len, values.values()))
        )
        refuse(admission.code, claims, "write", what, opened)
        deny_first(admission.refused, claims, what)
        self._on_step("checked")
        # Before any lock is taken in the row's transaction: a slow key service must hold nobody up.
        versions = versions_of(values, admission.versions)
        unique = self._unique(model)
        made = to_write(opened, values, versions, unique)
        reused = opened.cache.reusable(needs, self._clock())
        wrapped_again = 0
        while True:  # once, but for the races below
            fresh = new_keys(need for need in needs if need not in reused)
            mints = wrapped(opened, fresh)
            self._on_step("wrapped")
            held = [(*need, key_id) for need, (key_id, _) in reused.items()]
            minting = self._ledger.mint(connection, claims, admission.entry, asked, mints, held, versions)
            if minting.code is not None or minting.refused:
                self._ledger.withhold(claims, admission.entry, minting.code, minting.refused)
            refuse(minting.code, claims, "write", what, opened)
            deny_first(minting.refused, claims, what)
            if minting.versions is not None:
                # A rotation began, or ended: nobody would find these rows by digests of what was current before.
                versions = versions_of(values, minting.versions)
                made = to_write(opened, values, versions, unique)
                continue
            if made.gone is not None:
                raise made.gone
            if minting.stale:
                # The key was rotated, and its old version given up, since these keys were wrapped.
                wrapped_again += 1
                if wrapped_again > _MOST_REWRAPS:
                    raise KeyServiceRefused("the key service wraps under a version of a key that was given up")
                continue
            if not minting.gone:
                break
            # A key that is open here left the keyring meanwhile: what it sealed now would be lost.
            opened.cache.drop(minting.gone)
            reused = {need: key for need, key in reused.items() if (*need, key[0]) not in set(minting.gone)}
        self._on_step("minted")
        minted = {ref: AESGCM(key) for ref, key in fresh.items()}
        opened.cache.put(minted, self._clock())
        keys = reused | {ref[:3]: (ref[3], key) for ref, key in minted.items()}
        return Sealed(keys, made.written, list(minted), admission.entry, made.former)

    # -------------------------------------------------------------------------------------------------- charge

    def charge(
        self, grant: Grant, verb: str, model: str, subject: bytes, *, unit: bytes | None = None, whose: str = ""
    ) -> str:
        """Count an act on one subject that opens nothing: ``claim``, ``assign``, ``contact``; the committed entry's id.

        The purpose must have limits for the verb, and read `model`. What is counted is `unit` (16 bytes; by default
        the subject, so that doing it twice counts once), and limits by subject are held by `whose` (by default the
        subject). Raises the subject's refusal, or that of the whole request; then nothing was counted.
        """
        claims = Claims.of(grant)
        [subject] = subject_ids([subject])
        unit = subject if unit is None else unit
        if len(unit) != 16:
            raise UnsupportedOperation("a unit is 16 bytes")
        admission = self._ledger.charge(claims, verb, model, subject, unit, whose or subject.hex())
        refuse(admission.code, claims, verb, model)
        for refused, code in admission.refused.items():
            raise denial(code, claims, verb, model, refused)
        return admission.entry


def _nothing(step: str) -> None:
    pass
