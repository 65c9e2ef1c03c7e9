"""The gate: the only code that obtains a data key or a digest of a blind index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from vaultstore.catalogue import Catalogue
from vaultstore.envelope import wrap_context
from vaultstore.errors import AccessDenied, KeyServiceRefused, UnsupportedOperation
from vaultstore.gate.claims import Claims
from vaultstore.gate.indexing import collision, digests, former_digests, rotated, to_write, versions_of
from vaultstore.gate.ledger import Ledger, Wrap
from vaultstore.gate.minting import by_category, new_keys, wrapped
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.protocol import Disclosed, KeyNeed, KeyRef, Sealed, Searched
from vaultstore.gate.refusals import ENDED, denial, refusal
from vaultstore.gate.scopes import pairs_of
from vaultstore.grants import Grant
from vaultstore.keys import KeyService, VersionGone
from vaultstore.records.index_versions import FIRST, Versions

__all__ = ["Gate"]

_MOST_REWRAPS = 5
"""How often in one write the key service may be behind what was given up: it is a race, or an old key file."""


class Gate:
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
        self._refuse(self._ledger.check(claims).code, claims, "use", "anything")

    def approve(self, grant: Grant, request: str) -> None:
        """Approve an access request of somebody else. Raises AccessDenied where this grant may not."""
        claims = Claims.of(grant)
        self._refuse(self._ledger.approve(claims, request).code, claims, "approve", f"access request {request}")

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
        asked = _ids(ref[1] for ref in refs)
        categories = sorted({*categories, *{ref[0] for ref in refs}})
        what = f"{', '.join(categories)} of {model}"
        admission = self._ledger.admit(claims, model, categories, asked, pairs_of(refs))
        self._refuse(admission.code, claims, "read", what, opened)
        self._on_step("admitted")
        codes = dict(admission.refused)
        if codes:
            refs = [ref for ref in refs if ref[1] not in codes]
        keys, missing = opened.cache.get(refs, self._clock())
        if missing:
            handout = self._ledger.hand_out(claims, admission.entry, missing)
            self._refuse(handout.code, claims, "read", what, opened)
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
        asked = _ids(need[1] for need in needs)
        categories = {need[0] for need in needs}
        what = f"{', '.join(sorted(sources))} of {model}"
        admission = self._ledger.admit_seal(
            claims, model, sources, categories, list(values), asked, sum(map(len, values.values()))
        )
        self._refuse(admission.code, claims, "write", what, opened)
        self._deny_first(admission.refused, claims, what)
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
            self._refuse(minting.code, claims, "write", what, opened)
            self._deny_first(minting.refused, claims, what)
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

    def check_free(
        self, opened: OpenGrant, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]], connection: Connection
    ) -> None:
        """Raise SQLAlchemy's IntegrityError where another row has a value that is to be written to a unique index.

        While the index's key is being rotated the database can't know: that row's digest is of the former version.
        `rows` are (former digest, row key of 16 bytes); `entry` is the seal's, and `connection` in its transaction.
        """
        claims = opened.claims
        answer = self._ledger.taken(connection, claims, entry, index, rows)
        self._refuse(answer.code, claims, "write", f"the index {index}", opened)
        if answer.place is not None:
            raise collision(connection.dialect.name, answer.place)

    # -------------------------------------------------------------------------------------------------- search

    def search(self, opened: OpenGrant, model: str, field: str, values: Sequence[bytes]) -> Searched:
        """Digests of normalised `values`, to look them up in a field's blind index.

        Every value is a needle that limits count; they are charged and audited before the first digest is made.
        Raises UnsupportedOperation for a field without a blind index.
        """
        claims, index = opened.claims, self._index(model, field)
        before: Versions | None = None
        while True:  # once, but where a rotation ends between the charge and the digests
            admission = self._ledger.search(claims, model, field, len(values))
            self._refuse(admission.code, claims, "search", f"{model}.{field}", opened)
            self._on_step("charged")
            versions = admission.versions.get(index, FIRST)
            try:
                made = digests(opened, index, values, versions.written)
                former = former_digests(opened, index, values, versions)
            except VersionGone:
                if versions == before:
                    raise  # the key itself lacks what the database says of it
                before = versions
            else:
                return Searched(admission.entry, made, former, versions)

    def found(self, opened: OpenGrant, entry: str, rows: int, subjects: Sequence[bytes]) -> Mapping[str, Versions]:
        """Audit what a search found: how many rows, and of which subjects. `entry` is the search's.

        Returns index name -> versions of its key, of those that were ever rotated. Where the search's digests are of
        others, a rotation began or ended meanwhile and rows may have been missed: search again.
        """
        admission = self._ledger.found(opened.claims, entry, rows, _ids(subjects))
        self._refuse(admission.code, opened.claims, "search", "what this entry stands for", opened)
        return admission.versions

    def reindex(
        self, opened: OpenGrant, model: str, field: str, values: Sequence[tuple[bytes, bytes]]
    ) -> tuple[list[bytes | None], Mapping[bytes, AccessDenied]]:
        """Digests of stored values under the version that the field's index is being rotated to.

        `values` are (subject, normalised value); one entry says whose. Takes the rights to read and to write the
        field's category. Returns a digest for each value, None for those of refused subjects, and the refusals.
        """
        claims, index = opened.claims, self._index(model, field)
        asked = _ids(subject for subject, _ in values)
        admission = self._ledger.reindex(claims, model, index, asked, len(values))
        self._refuse(admission.code, claims, "write", f"{model}.{field}", opened)
        versions = admission.versions.get(index, FIRST)
        if versions.next is None:
            raise rotated(f"{model}.{field}")
        kept = [value for subject, value in values if subject not in admission.refused]
        made = iter(digests(opened, index, kept, versions.next))
        refused = {s: denial(code, claims, "write", f"{model}.{field}", s) for s, code in admission.refused.items()}
        return [None if subject in refused else next(made) for subject, _ in values], refused

    def collision(self, opened: OpenGrant, model: str, field: str) -> None:
        """Charge and audit that a write met a taken value in a unique blind index: it told what a search tells."""
        admission = self._ledger.collide(opened.claims, model, field)
        self._refuse(admission.code, opened.claims, "search", f"{model}.{field}", opened)

    def _index(self, model: str, field: str) -> str:
        known = self._catalogue.model(model)
        found = known.field(field) if known else None
        if found is None or found.index is None:
            raise UnsupportedOperation(f"{model}.{field} has no blind index")
        return found.index.name

    def _unique(self, model: str) -> set[str]:
        known = self._catalogue.model(model)
        return {field.index.name for field in known.fields if field.index and field.index.unique} if known else set()

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
        [subject] = _ids([subject])
        unit = subject if unit is None else unit
        if len(unit) != 16:
            raise UnsupportedOperation("a unit is 16 bytes")
        admission = self._ledger.charge(claims, verb, model, subject, unit, whose or subject.hex())
        self._refuse(admission.code, claims, verb, model)
        for refused, code in admission.refused.items():
            raise denial(code, claims, verb, model, refused)
        return admission.entry

    # ------------------------------------------------------------------------------------------------ refusals

    @staticmethod
    def _refuse(code: str | None, claims: Claims, verb: str, what: str, opened: OpenGrant | None = None) -> None:
        if code is None:
            return
        if opened is not None and code in ENDED:
            opened.give_back()  # nothing will be asked under it any more
        raise refusal(code, claims, verb, what)

    @staticmethod
    def _deny_first(refused: Mapping[bytes, str], claims: Claims, what: str) -> None:
        for subject, code in refused.items():
            raise denial(code, claims, "write", what, subject)


def _ids(subjects: Iterable[bytes]) -> list[bytes]:
    """Distinct subjects in their order. Ids of other lengths, joined, could pass for other subjects'."""
    ids = list(dict.fromkeys(subjects))
    if any(len(subject) != 16 for subject in ids):
        raise UnsupportedOperation("a subject is the 16 bytes of a UUID")
    return ids


def _nothing(step: str) -> None:
    pass
