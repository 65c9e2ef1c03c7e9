"""What a job needs of a purpose, asked before it begins: a refusal is the gate's, and audited like any other."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from vaultstore.gate.claims import Claims
from vaultstore.gate.refusals import denial, refusal
from vaultstore.grants import Grant
from vaultstore.lifecycle.parts import Parts

__all__ = ["reach", "refuse", "require"]


def require(parts: Parts, grant: Grant, lineage: Collection[str], categories: Collection[str], *, write: bool) -> None:
    """Raise AccessDenied unless the purpose reads `categories` of a model in clear, and writes them with `write`.

    `lineage` is the model and its bases. Raises too where the grant is not live.
    """
    parts.gate.check(grant)
    purpose, model = grant.purpose, next(iter(lineage))
    wanted = frozenset(categories)
    if not wanted <= purpose.reads(*lineage):
        refuse(parts, grant, model, wanted)
    if write and not wanted <= purpose.writes(*lineage):
        refuse(parts, grant, model, wanted, write=True)


def reach(parts: Parts, grant: Grant, subject: uuid.UUID) -> None:
    """Raise unless the token reaches a subject: the gate decides and audits it as it does the reading that follows.

    It counts as that reading: a subject is charged once.
    """
    found = ((info, grant.purpose.reads(info.name, *info.bases)) for info in parts.models if info.subject_key)
    model, categories = next(((info.name, sorted(read)) for info, read in found if read), ("", []))
    claims, what = Claims.of(grant), f"{', '.join(categories)} of {model}"
    admission = parts.ledger.admit(claims, model, categories, [subject.bytes])
    if admission.code is not None:
        raise refusal(admission.code, claims, "read", what)
    for named, code in admission.refused.items():
        raise denial(code, claims, "read", what, named)


def refuse(parts: Parts, grant: Grant, model: str, categories: Collection[str], *, write: bool = False) -> None:
    """Have the gate refuse and audit a request that the purpose has no right to; raises what it refuses with."""
    claims, named = Claims.of(grant), sorted(categories)
    if write:
        code = parts.ledger.admit_seal(claims, model, named, named, [], []).code
    else:
        code = parts.ledger.admit(claims, model, named, []).code
    what = f"{', '.join(named) or 'all'} of {model}"
    raise refusal(code or "not.granted", claims, "write" if write else "read", what)
