"""A compromised sales process: its own database login and raw SQL, without a line of this library."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from vaultstore.members.demo.planes_stage import SELLER, World

__all__ = ["ATTACKS", "Outcome", "attack", "forged_leads"]

_TAKE = 'SET LOCAL ROLE "vs_p_sales.outreach"'
_LOGIN = "vs_s_crm"
_WRAPS = """
    SELECT * FROM jsonb_array_elements(vs_wraps(
        '{"purpose": "sales.outreach", "actor": "u-17", "role": "matchmaker"}', '01900000-0000-7000-8000-000000000000',
        ARRAY['sales_card'], decode(repeat('00', 16), 'hex'), ARRAY[''::bytea], ARRAY[1::bigint]
    ) -> 'wraps')
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """SQL that the process sends in one transaction; the last statement is the one that matters."""

    what: str
    statements: Sequence[str]
    rows: bool = False
    """Whether it is held by showing no row, instead of by an error."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attack."""

    what: str
    held: bool
    said: str


ATTACKS = (
    Attack("reads the ciphertexts of phone numbers, as it logs in", ["SELECT phone FROM members"]),
    Attack("takes its purpose's role and reads them", [_TAKE, "SELECT phone FROM members"]),
    Attack("reads the cards of everybody's members, without a token", [_TAKE, "SELECT id FROM members"], rows=True),
    Attack("takes the role of relay.telephony", ['SET LOCAL ROLE "vs_p_relay.telephony"']),
    Attack("reads the keyring", ["SELECT * FROM vs_keyring"]),
    Attack("asks for wraps that nobody was admitted for", [_WRAPS], rows=True),
    Attack("reads the keys that tickets are made with", ["SELECT * FROM vs_ticket_keys"]),
    Attack("gives itself a lead", [_TAKE, "UPDATE leads SET actor_id = 'u-17'"]),
    Attack("reads the chats", [_TAKE, "SELECT body FROM chat_messages"]),
    Attack("switches row security off", ["ALTER TABLE members DISABLE ROW LEVEL SECURITY"]),
    Attack("edits the published policy", ["UPDATE vs_purposes SET digest = 'sha256:0'"]),
    Attack("deletes what was audited", ["DELETE FROM vs_entries"]),
)


def attack(world: World, tried: Attack) -> Outcome:
    """Try one attack under the CRM's login."""

    def act(connection: Connection) -> int:
        for statement in tried.statements[:-1]:
            connection.execute(text(statement))
        result = connection.execute(text(tried.statements[-1]))
        return len(result.all()) if result.returns_rows else result.rowcount

    try:
        count = _as_login(world, act)
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        return Outcome(tried.what, not tried.rows and getattr(error.orig, "sqlstate", "") == "42501", said)
    return Outcome(tried.what, tried.rows and count == 0, f"{count} rows")


def forged_leads(world: World) -> int:
    """Rows of members that the process sees by saying, without a token, that it acts for the seller."""
    claims = {
        "purpose": "sales.outreach",
        "pol": world.bound.digest("sales.outreach"),
        "actor": SELLER.id,
        "role": SELLER.role,
        "attributes": dict(SELLER.attributes),
        "jti": "01900000-0000-7000-8000-000000000000",
        "iat": "2000-01-01T00:00:00+00:00",
        "exp": "2999-01-01T00:00:00+00:00",
    }

    def act(connection: Connection) -> int:
        connection.execute(text(_TAKE))
        forge = text("SELECT set_config('vaultstore.claims', :claims, true)")
        connection.execute(forge, {"claims": json.dumps(claims)})
        return len(connection.execute(text("SELECT id, phone_sales_card FROM members")).all())

    return _as_login(world, act)


def _as_login(world: World, act: Callable[[Connection], int]) -> int:
    engine = create_engine(world.postgres.url("members", user=_LOGIN))
    try:
        with engine.connect() as connection:  # rolled back: an attack leaves nothing
            return act(connection)
    finally:
        engine.dispose()
