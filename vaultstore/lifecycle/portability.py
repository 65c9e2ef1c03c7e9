"""Portability: a copy of all that is kept of a member, for them or for another service (PIPL Art. 45)."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, field
from typing import BinaryIO

from vaultstore.lifecycle.export_html import page_of
from vaultstore.lifecycle.exporting import Exported, write_export
from vaultstore.lifecycle.importing import Imported, import_bundle
from vaultstore.lifecycle.parts import Parts, Token
from vaultstore.lifecycle.portable import Bundle, read_bundle

__all__ = ["Export", "Portability"]


@dataclass(frozen=True, slots=True)
class Export:
    """A copy as it is handed over: `data` is the file, JSON. docs/formats/export.md."""

    data: bytes = field(repr=False)

    def read(self) -> Bundle:
        """What the file says. Raises BundleError where it is not one, or was altered."""
        return read_bundle(self.data)

    def html(self) -> str:
        """The copy to read and print, as one page that needs nothing else."""
        return page_of(self.read())


class Portability:
    """`store.portability`: copies of members' data, out and in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __repr__(self) -> str:
        return "<Portability>"

    def export(self, subject: uuid.UUID, token: Token) -> Export:
        """A copy of everything about `subject` that the token's purpose reads; what it does not is listed in it.

        `token` is the member's own (a purpose with ``subjects: self``) or one of ``privacy.request``. Every value goes
        through the gate, in batches, and stands in the audit log.

        Raises AccessDenied for other purposes and other members, SubjectErased, SubjectRestricted, ApprovalMissing (no
        case), BudgetExhausted.
        """
        out = io.BytesIO()
        self.export_to(out, subject, token)
        return Export(out.getvalue())

    def export_to(self, out: BinaryIO, subject: uuid.UUID, token: Token) -> Exported:
        """As `export`, written to `out` piece by piece: a member's hundred thousand messages take no memory.

        Where it raises, what `out` has got is no copy: its last lines, which say that it is whole, are missing.
        """
        return write_export(out, self._parts, subject, token)

    def import_(self, bundle: bytes, token: Token, *, unsealed: bool = False, leave_out: bool = False) -> Imported:
        """Read a copy back: its rows are sealed and written in one transaction, under the rights of the token.

        The member must not be here already, unless with the very same rows; then nothing is written. With `leave_out`,
        models that the purpose does not write are left out and listed, else they are refused. A file has to bear
        this store's seal; with `unsealed` it is taken as it is, whoever wrote it. States, consents and cases are never
        read back: whoever could bring them along could make them up.

        Raises BundleError (malformed, altered, sealed by nobody known here, does not fit the models; it says where),
        WriteDenied (rights, a member that is here), SubjectErased.
        """
        return import_bundle(self._parts, bundle, token, unsealed=unsealed, leave_out=leave_out)
