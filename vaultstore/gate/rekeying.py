"""A subject's data keys replaced: new ones made, the old ones destroyed, where the rows are sealed anew.

The locks of that transaction keep writers out: whoever sealed under an old key has committed by then, and whoever comes
later finds the old keys gone and makes one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.gate.claims import Claims
from vaultstore.gate.ledger import Mint, Minting
from vaultstore.gate.minting import new_keys, wrapped
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.refusals import denial, refusal
from vaultstore.gate.sqlite import SqliteLedger
from vaultstore.gate.sqlite_steps import Step
from vaultstore.records import keyring

__all__ = ["Overtaken", "Part", "Replaced", "admit", "key_scopes", "prepare", "replace"]

AnyLedger = PostgresLedger | SqliteLedger
_NONE: Sequence[str] = ()


class Overtaken(Exception):
    """Something changed since it was looked at: begin anew."""


@dataclass(frozen=True, slots=True)
class Part:
    """The keys of one subject and scope that one admission is for: made and wrapped, and not stored yet."""

    entry: str
    subject: bytes
    scope: bytes
    keys: Mapping[KeyRef, bytes] = field(repr=False)
    mints: Sequence[Mint] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What replaced what."""

    keys: Mapping[str, tuple[int, AESGCM]] = field(repr=False)
    """Category -> (key id, key) to seal with."""
    destroyed: int
    """How many old keys are gone."""


def key_scopes(ledger: AnyLedger, connection: sa.Connection, claims: Claims, subject: bytes) -> list[tuple[bytes, str]]:
    """(scope, category) of every data key of a subject. `connection` reads the rows' database.

    Raises where the purpose may not replace keys.
    """
    if isinstance(ledger, PostgresLedger):
        query = "SELECT vs_rekey_scopes(%s::jsonb, %s::bytea)::text"
        answer = json.loads(connection.exec_driver_sql(query, (claims.json, subject)).scalar_one())
        if "code" in answer:
            raise refusal(answer["code"], claims, "write", "data keys")
        return [(bytes.fromhex(scope), category) for scope, category in answer["keys"]]
    with ledger._step(claims, "BEGIN") as step:
        code = _code(step, claims, subject)
    if code is not None:
        raise refusal(code, claims, "write", "data keys")
    c = keyring.vs_keyring.c
    rows = connection.execute(sa.select(c.scope, c.category).where(c.subject == subject).distinct())
    return [(scope, category) for scope, category in rows]


def admit(
    ledger: AnyLedger,
    opened: OpenGrant,
    model: str,
    sources: Collection[str],
    categories: Collection[str],
    subject: bytes,
) -> str:
    """Have the gate admit that `sources` of one model are written for one subject; the id of the entry.

    Raises the refusal. Nothing is open while it is asked: the transaction of the rows begins after it.
    """
    claims = opened.claims
    what = f"{', '.join(sorted(sources))} of {model}"
    admission = ledger.admit_seal(claims, model, sources, categories, [], [subject])
    if admission.code is not None:
        raise refusal(admission.code, claims, "write", what)
    for refused, code in admission.refused.items():
        raise denial(code, claims, "write", what, refused)
    return admission.entry


def prepare(opened: OpenGrant, entry: str, subject: bytes, scope: bytes, categories: Collection[str]) -> Part:
    """Make a new key for each category and have it wrapped: before any lock, so that nobody waits for a key service."""
    keys = new_keys((category, subject, scope) for category in sorted(categories))
    return Part(entry, subject, scope, keys, wrapped(opened, keys))


def replace(ledger: AnyLedger, opened: OpenGrant, part: Part, connection: sa.Connection) -> Replaced:
    """Store the new keys and destroy the old, in the transaction of `connection`, which seals the rows under them.

    Raises the refusal, audited, and Overtaken where the new wraps are of a version that was given up since.
    """
    claims = opened.claims
    run = _on_postgres if isinstance(ledger, PostgresLedger) else _on_sqlite
    minting, destroyed = run(ledger, connection, claims, part)  # type: ignore[arg-type] # each gets its own ledger
    if minting.code is not None or minting.refused:
        ledger.withhold(claims, part.entry, minting.code, minting.refused)
    what = "the data keys"
    if minting.code is not None:
        raise refusal(minting.code, claims, "write", what)
    for subject, code in minting.refused.items():
        raise denial(code, claims, "write", what, subject)
    if minting.stale or minting.gone:
        raise Overtaken
    return Replaced({ref[0]: (ref[3], AESGCM(key)) for ref, key in part.keys.items()}, destroyed)


def _on_postgres(ledger: PostgresLedger, connection: sa.Connection, claims: Claims, part: Part) -> tuple[Minting, int]:
    refs = [mint.ref for mint in part.mints]
    text = connection.exec_driver_sql(
        "SELECT vs_rekeyed(%s::jsonb, %s::text, %s::bytea, %s::bytea, %s::text[], %s::bigint[], %s::text[])::text",
        (
            claims.json,
            part.entry,
            part.subject,
            part.scope,
            [ref[0] for ref in refs],
            [ref[3] for ref in refs],
            [mint.wrapped for mint in part.mints],
        ),
    ).scalar_one()
    answer = json.loads(text)
    refused = dict.fromkeys([part.subject], answer["refused"][0][1]) if answer.get("refused") else {}
    return Minting(code=answer.get("code"), refused=refused, stale="stale" in answer), answer.get("destroyed", 0)


def _on_sqlite(ledger: SqliteLedger, connection: sa.Connection, claims: Claims, part: Part) -> tuple[Minting, int]:
    """The write lock of members.db is taken by the minting; gate.db's comes after it, and its entry commits first."""
    with ledger._step(claims, "BEGIN") as step:
        code = _code(step, claims, part.subject)
    if code is not None:
        return Minting(code=code), 0
    minting = ledger.mint(connection, claims, part.entry, [part.subject], part.mints, [])
    if minting.code is not None or minting.refused or minting.gone or minting.stale:
        return minting, 0
    refs = [mint.ref for mint in part.mints]
    destroyed = keyring.destroy_others(connection, part.subject, part.scope, {ref[0]: ref[3] for ref in refs})
    with ledger._step(claims) as step:
        numbers, odd = step.number([part.subject])
        lines, salts = step.lines([part.subject], numbers, odd, {}, "rekeyed")
        counts = {"subjects": 1, "keys": len(refs), "destroyed": destroyed}
        categories = [ref[0] for ref in refs]
        following = f"{part.entry}.{part.mints[0].ref[3]:08x}"
        step.write("rekey", "rekeyed", counts, categories=categories, lines=lines, salts=salts, entry_id=following)
    return minting, destroyed


def _code(step: Step, claims: Claims, subject: bytes) -> str | None:
    """The code that refuses to replace this subject's keys: as vsx_may_rekey decides on PostgreSQL."""
    closure, code = step.ready(lambda c: c.replaces_keys, reads=False)
    if closure is None:
        return code
    return None if claims.subjects is not None and subject in claims.subjects else "subject.not_named"
