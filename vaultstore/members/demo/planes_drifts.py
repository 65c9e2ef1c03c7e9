"""What a live deployment drifts into: planted one by one, named by verify, healed by apply or by undoing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vaultstore.members.demo.planes_stage import World
from vaultstore.planes.report import examine

__all__ = ["DRIFTS", "Drift", "Found", "play"]


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that an operator, a vendor or an intruder did to a live plane."""

    what: str
    """What was done, in one line."""
    plane: str
    names: str
    """What a line of verify has to say of it."""
    plant: Callable[[World], None]
    undo: Callable[[World], None] | None = None
    """How a person heals it before apply, where apply alone can't or won't: what is not ours is not ours to drop."""


@dataclass(frozen=True, slots=True)
class Found:
    """One drift, played out."""

    drift: Drift
    lines: Sequence[str]
    """What verify said of it, a line each."""
    named: bool
    healed: bool
    by: str
    """How it was healed."""

    @property
    def ok(self) -> bool:
        """Whether verify named it, and was green again afterwards."""
        return self.named and self.healed


def play(world: World, drift: Drift, *, meanwhile: Callable[[], bool] = lambda: True) -> Found:
    """Plant a drift, look, heal it, and look again. `meanwhile` has another look while it is there."""
    plane = world.planes[drift.plane]
    drift.plant(world)
    seen = meanwhile()
    lines = [str(difference) for difference in examine(plane, probes=False).differences]
    by = []
    if drift.undo is not None:
        drift.undo(world)
        by.append("undone by hand")
    changes = plane.apply()
    if changes:
        by.append(f"policy apply: {changes[0]}" + (f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""))
    healed = examine(plane, probes=False).ok
    return Found(drift, lines, seen and any(drift.names in line for line in lines), healed, ", then ".join(by))


def _sql(*statements: str) -> Callable[[World], None]:
    return lambda world: world.sql(*statements)


def _acl(world: World) -> None:
    path = "sys/policies/acl/vs-sales.outreach"
    text = world.vault("GET", path)["data"]["policy"]
    added = 'path "transit/decrypt/vs-cat-contact" {\n  capabilities = ["update"]\n}\n'
    world.vault("POST", path, {"policy": text + added})


def _role(**settings: object) -> Callable[[World], None]:
    def plant(world: World) -> None:
        path = "auth/jwt/role/sales.outreach"
        known = world.vault("GET", path)["data"]
        world.vault("POST", path, {**known, **settings})

    return plant


def _upsert(world: World) -> None:
    world.vault("POST", "transit/config/keys", {"disable_upsert": False})


def _exportable(world: World) -> None:
    world.vault("POST", "transit/keys/vs-cat-preference/config", {"exportable": True})


def _key_anew(world: World) -> None:
    """A key that was exportable stays it for good. Nothing is wrapped under this one yet: it can be made anew."""
    world.vault("POST", "transit/keys/vs-cat-preference/config", {"deletion_allowed": True})
    world.vault("DELETE", "transit/keys/vs-cat-preference")


DRIFTS = (
    Drift(
        "GRANT SELECT (phone) ON members TO sales.outreach's role",
        "postgres",
        "SELECT (phone) on public.members",
        _sql('GRANT SELECT (phone) ON members TO "vs_p_sales.outreach"'),
    ),
    Drift(
        "ALTER TABLE members DISABLE ROW LEVEL SECURITY",
        "postgres",
        "row security on public.members",
        _sql("ALTER TABLE members DISABLE ROW LEVEL SECURITY"),
    ),
    Drift(
        "a view over members, owned by a superuser, granted to the CRM",
        "postgres",
        "view public.lead_phones",
        _sql("CREATE VIEW lead_phones AS SELECT id, phone FROM members", 'GRANT SELECT ON lead_phones TO "vs_s_crm"'),
        _sql("DROP VIEW lead_phones"),
    ),
    Drift(
        "a view over members in another schema, granted to the CRM",
        "postgres",
        "reports.people",
        _sql(
            "CREATE SCHEMA reports",
            "CREATE VIEW reports.people AS SELECT * FROM public.members",
            'GRANT USAGE ON SCHEMA reports TO "vs_s_crm"',
            'GRANT SELECT ON reports.people TO "vs_s_crm"',
        ),
        _sql("DROP SCHEMA reports CASCADE"),
    ),
    Drift(
        "safety.investigation's role granted to the CRM's login",
        "postgres",
        "vs_p_safety.investigation",
        _sql('GRANT "vs_p_safety.investigation" TO "vs_s_crm"'),
    ),
    Drift(
        "a SECURITY DEFINER function that reads phone numbers",
        "postgres",
        "member_phone",
        _sql(
            "CREATE FUNCTION member_phone(uuid) RETURNS bytea LANGUAGE sql SECURITY DEFINER"
            " AS 'SELECT phone FROM public.members WHERE id = $1'"
        ),
        _sql("DROP FUNCTION member_phone(uuid)"),
    ),
    Drift(
        "the trigger that keeps audit entries as they were, disabled",
        "postgres",
        "trigger vs_entries_rows",
        _sql("ALTER TABLE vs_entries DISABLE TRIGGER vs_entries_rows"),
    ),
    Drift("sales.outreach's ACL policy widened to contact", "vault", "vs-cat-contact", _acl),
    Drift("a JWT role without bound claims", "vault", "bound_claims", _role(bound_claims={})),
    Drift(
        "a JWT role with Vault's default leeways",
        "vault",
        "leeway",
        _role(clock_skew_leeway=0, expiration_leeway=0, not_before_leeway=0),
    ),
    Drift(
        "keys made on first use (upsert)",
        "vault",
        "disable_upsert",
        _upsert,
    ),
    Drift("the key of preference made exportable", "vault", "exportable", _exportable, _key_anew),
    Drift(
        "sales.outreach's closure edited in the database",
        "library",
        "purpose sales.outreach",
        _sql("""UPDATE vs_purposes SET closure = replace(closure, '["sales_card"]', '["contact"]')
                WHERE name = 'sales.outreach'"""),
    ),
)
"""The planted drifts, in the order in which they are played."""
