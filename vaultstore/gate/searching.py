"""The gate's verbs for blind indexes: digests to look values up, and what is asked where the database can't tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from vaultstore.catalogue import Catalogue
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.gate.indexing import collision, digests, former_digests, rotated
from vaultstore.gate.ledger import Ledger
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.protocol import Searched, subject_ids
from vaultstore.gate.refusals import denial, refuse
from vaultstore.keys import VersionGone
from vaultstore.records.index_versions import FIRST, Versions

__all__ = ["SearchVerbs"]


class SearchVerbs:
    """A part of Gate."""

    _ledger: Ledger
    _catalogue: Catalogue
    _on_step: Callable[[str], None]

    def check_free(
        self, opened: OpenGrant, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]], connection: Connection
    ) -> None:
        """Raise SQLAlchemy's IntegrityError where another row has a value that is to be written to a unique index.

        While the index's key is being rotated the database can't know: that row's digest is of the former version.
        `rows` are (former digest, row key of 16 bytes); `entry` is the seal's, and `connection` in its transaction.
        """
        claims = opened.claims
        answer = self._ledger.taken(connection, claims, entry, index, rows)
        refuse(answer.code, claims, "write", f"the index {index}", opened)
        if answer.place is not None:
            raise collision(connection.dialect.name, answer.place)

    def search(self, opened: OpenGrant, model: str, field: str, values: Sequence[bytes]) -> Searched:
        """Digests of normalised `values`, to look them up in a field's blind index.

        Every value is a needle that limits count; they are charged and audited before the first digest is made.
        Raises UnsupportedOperation for a field without a blind index.
        """
        claims, index = opened.claims, self._index(model, field)
        before: Versions | None = None
        while True:  # once, but where a rotation ends between the charge and the digests
            admission = self._ledger.search(claims, model, field, len(values))
            refuse(admission.code, claims, "search", f"{model}.{field}", opened)
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
        admission = self._ledger.found(opened.claims, entry, rows, subject_ids(subjects))
        refuse(admission.code, opened.claims, "search", "what this entry stands for", opened)
        return admission.versions

    def reindex(
        self, opened: OpenGrant, model: str, field: str, values: Sequence[tuple[bytes, bytes]]
    ) -> tuple[list[bytes | None], Mapping[bytes, AccessDenied]]:
        """Digests of stored values under the version that the field's index is being rotated to.

        `values` are (subject, normalised value); one entry says whose. Takes the rights to read and to write the
        field's category. Returns a digest for each value, None for those of refused subjects, and the refusals.
        """
        claims, index = opened.claims, self._index(model, field)
        asked = subject_ids(subject for subject, _ in values)
        admission = self._ledger.reindex(claims, model, index, asked, len(values))
        refuse(admission.code, claims, "write", f"{model}.{field}", opened)
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
        refuse(admission.code, opened.claims, "search", f"{model}.{field}", opened)

    def _index(self, model: str, field: str) -> str:
        known = self._catalogue.model(model)
        found = known.field(field) if known else None
        if found is None or found.index is None:
            raise UnsupportedOperation(f"{model}.{field} has no blind index")
        return found.index.name

    def _unique(self, model: str) -> set[str]:
        known = self._catalogue.model(model)
        return {field.index.name for field in known.fields if field.index and field.index.unique} if known else set()
