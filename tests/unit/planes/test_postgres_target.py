"""What a policy becomes in PostgreSQL, without a server: roles, rights, functions, policies, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.support.postgres_family import FAMILY, bound_family
from tests.support.postgres_plane import MODELS, bind
from vaultstore import Actor, Encrypted, EncryptedModel, Policy, encrypted_column, row_scope
from vaultstore.errors import PolicyError, SettingsError
from vaultstore.members.models import Base
from vaultstore.orm import scopes as registered
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.postgres_target import PostgresTarget, compile_postgres
from vaultstore.planes.postgres_text import filled, literal, name
from vaultstore.policy.model import KEEPS
from vaultstore.records.plane import RolePlane

PLANE = RolePlane()


def shipped(*, strict: bool = False) -> PostgresTarget:
    return compile_postgres(bind(), MODELS, RolePlane("vs_", strict))


def family(text: str = FAMILY) -> PostgresTarget:
    return compile_postgres(*bound_family(text), PLANE)


def using(target: PostgresTarget, table: str, policy: str) -> str | None:
    return next(p.using or p.check for p in target.policies if (p.table, p.name) == (table, policy))


def test_every_purpose_and_service_has_a_role_and_only_services_and_the_issuer_log_in() -> None:
    target, policy = shipped(), bind()
    logins = {f"vs_s_{service}" for service in policy.services} | {"vs_issuer"}
    assert {role for role, spec in target.roles.items() if spec.login} == logins
    assert set(target.roles) - logins == {f"vs_p_{purpose}" for purpose in policy.purposes} | {"vs_owner", "vs_scopes"}


def test_a_login_is_a_member_of_its_purposes_and_of_nothing_else() -> None:
    policy = bind()
    expected = {(f"vs_p_{p}", f"vs_s_{s.name}") for s in policy.services.values() for p in s.purposes}
    assert shipped().memberships == expected


def test_a_policy_without_services_has_one_login_for_all() -> None:
    target = family(FAMILY[: FAMILY.index("services:")])
    assert {member for _, member in target.memberships} == {"vs_s_app"}
    assert set(target.rights["vs_s_app"]) >= {
        "vs_requests",
        "vs_cases",
        "vs_consents",
        "vs_revocations",
        "vs_case_scopes",
    }
    assert target.bound.services["app"].keeps == set(KEEPS)


def test_tables_of_models_are_protected_and_all_of_ours_are_named() -> None:
    target = shipped()
    assert target.tables == tuple(sorted(Base.metadata.tables))
    assert {"vs_keyring", "vs_plane", "vs_ticket_keys", "vs_entries"} <= set(target.gate_tables)
    sql = "\n".join(target.schema_sql("public"))
    for table in target.tables:
        assert f'ALTER TABLE "public"."{table}" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY' in sql


def test_no_purpose_has_a_right_on_a_table_of_ours() -> None:
    for target in (shipped(), shipped(strict=True), family()):
        for purpose in target.bound.purposes:
            assert set(target.rights[f"vs_p_{purpose}"]) <= set(target.tables)


def test_wraps_and_secrets_are_granted_to_nobody() -> None:
    for target in (shipped(), family(FAMILY[: FAMILY.index("services:")])):
        for rights in target.rights.values():
            assert "wrapped" not in (rights["vs_keyring"].select if "vs_keyring" in rights else ())
            assert "vs_ticket_keys" not in rights
            assert "vs_plane" not in rights
        callers = {role for role, functions in target.functions.items() if "vs_ticket" in functions}
        assert callers == {"vs_issuer"}
        assert not any(f.startswith("vsx_") for functions in target.functions.values() for f in functions)


def test_every_granted_table_has_a_policy_for_that_role() -> None:
    for target in (shipped(), shipped(strict=True), family()):
        for purpose in target.bound.purposes:
            role = f"vs_p_{purpose}"
            for table, rights in target.rights[role].items():
                found = {
                    p.command for p in target.policies if (p.table, p.roles, p.restrictive) == (table, (role,), False)
                }
                writing = {"INSERT", "UPDATE", "DELETE"} if rights.insert or rights.update or rights.delete else set()
                assert found == {"SELECT", *writing}


def test_strict_mode_adds_one_restrictive_policy_to_each_and_guards_the_views() -> None:
    lax, strict = shipped(), shipped(strict=True)
    assert not any(policy.restrictive for policy in lax.policies)
    assert [p for p in strict.policies if not p.restrictive] == list(lax.policies)
    granted = {(table, role) for role in strict.rights if "_p_" in role for table in strict.rights[role]}
    assert {(p.table, *p.roles) for p in strict.policies if p.restrictive} == granted
    assert using(strict, "members", "sales.pool/ticket") == "(SELECT \"@schema@\".vs_role()) = 'vs_p_sales.pool'"
    view = next(s for s in strict.schema_sql("public") if s.startswith("CREATE VIEW"))
    assert view.endswith("WHERE (SELECT \"public\".vs_role()) = 'vs_p_sales.outreach'")


def test_a_subquery_is_read_by_the_scopes_role_and_its_view_by_who_needs_it() -> None:
    target = shipped()
    assert target.rights["vs_scopes"].keys() == {"leads", "vs_subjects"}
    assert target.rights["vs_scopes"]["leads"].select == {"member_id", "actor_id", "state", "expires_at"}
    ((view, readers), (hidden, _)) = target.views.items()
    assert view.name.startswith("vs_scope_claimed_by_actor_")
    assert readers == ("vs_p_sales.outreach",)
    assert hidden.name == "vs_scope_hidden"


def test_restricted_members_are_looked_up_by_whoever_does_not_see_them_and_by_a_hash() -> None:
    target = shipped()
    readers = next(readers for view, readers in target.views.items() if view.name == "vs_scope_hidden")
    seeing = {f"vs_p_{name}" for name, purpose in bind().purposes.items() if purpose.requires.sees_restricted}
    assert seeing
    assert not seeing & set(readers)
    assert target.rights["vs_scopes"]["vs_subjects"].select == {"subject", "state"}
    assert not any(policy.table == "vs_subjects" for policy in target.policies)
    for policy in target.policies:
        condition = policy.using or policy.check or ""
        whose = policy.roles[0]
        if whose in readers and policy.table == "members":
            assert 'NOT EXISTS (SELECT FROM "@schema@"."vs_scope_hidden"' in condition
            assert 'sha256(uuid_send("members"."id"))' in condition
        elif whose in seeing:
            assert "vs_scope_hidden" not in condition


def test_conditions_follow_the_models_of_a_table() -> None:
    target = family()
    kinds = "\"people\".kind IN ('pupil', 'student')"
    hidden = 'NOT EXISTS (SELECT FROM "@schema@"."vs_scope_hidden" WHERE value = sha256(uuid_send("people"."id")))'
    assert using(target, "people", "of.people/select") == hidden
    assert using(target, "people", "of.students/select") == f"({kinds}) AND ({hidden})"
    assert using(target, "people", "of.students/insert") == f"({kinds}) AND ({hidden})"
    both = using(target, "people", "of.both/select")
    assert both is not None
    assert both.endswith(f") OR ({kinds})) AND ({hidden})")
    staff = using(target, "staff", "of.staff/select")
    assert staff == hidden.replace("people", "staff")
    assert not any(p.table == "staff" for p in target.policies if p.name.startswith("of.students"))


def test_columns_follow_the_models_of_a_table() -> None:
    rights = family().rights
    assert rights["vs_p_of.students"]["people"].select == {"id", "kind", "town", "school", "marks"}
    assert rights["vs_p_of.staff"]["people"].select == {"id", "kind", "town"}
    assert rights["vs_p_of.staff"]["staff"].select == {"id", "branch", "wage", "wage_bidx"}
    assert rights["vs_p_of.staff"]["staff"].update == {"branch", "wage", "wage_bidx"}
    assert rights["vs_p_of.visits"]['Visits of "ours"'].update == {"note"}


def test_numbers_are_taken_from_sequences_where_rows_are_written() -> None:
    assert family().sequences == (
        ("letters", "id", "letter_numbers", ("vs_p_of.post",)),
        ("tickets", "id", None, ("vs_p_of.post",)),
    )


def test_names_are_quoted_and_the_schema_is_filled_in() -> None:
    sql = "\n".join(family().schema_sql("elsewhere"))
    assert '"elsewhere"."Visits of ""ours"""' in sql
    assert '"vs_p_of.visits"' in sql
    assert "@schema@" not in sql
    assert "public" not in sql
    assert name('a"b') == '"a""b"'
    assert (literal("it's"), literal("a\\b")) == ("'it''s'", "E'a\\\\b'")
    assert filled('"@schema@".x', "s") == '"s".x'


@pytest.mark.parametrize("schema", ["Public", "a b", "x;y", "", 'a"', "s'"])
def test_a_schema_has_a_plain_name(schema: str) -> None:
    for made in (shipped().schema_sql, shipped().reset_sql, shipped().text):
        with pytest.raises(SettingsError, match="schema"):
            made(schema)


@pytest.mark.parametrize("prefix", ["", "Vs_", "pg_vs_", "a" * 17, "1a", "v-s", 'v"'])
def test_a_prefix_has_a_plain_name(prefix: str) -> None:
    with pytest.raises(SettingsError, match="postgres_prefix"):
        RolePlane(prefix)


@pytest.mark.parametrize(("length", "reason"), [(57, "take a name of at most 56"), (60, "more than 63 bytes")])
def test_a_name_that_postgresql_would_cut_off_is_refused(length: int, reason: str) -> None:
    text = FAMILY.replace("of.people", "p" * length)
    with pytest.raises(PolicyError, match=reason):
        family(text)
    assert family(FAMILY.replace("of.people", "p" * 56)).roles
    with pytest.raises(PolicyError, match=r"service .*more than 63 bytes"):
        RolePlane("a" * 16).login("s" * 48)


def test_the_text_tells_what_each_purpose_is_for() -> None:
    text = shipped().text()
    for purpose in bind().purposes.values():
        assert f"-- {purpose.name}: {purpose.description}" in text
    for statement in shipped().schema_sql("public"):
        assert statement in text


def test_equal_policies_compile_to_equal_statements() -> None:
    one, two = shipped(strict=True), shipped(strict=True)
    assert one.schema_sql("public") == two.schema_sql("public")
    assert one.cluster_sql() == two.cluster_sql()
    assert one.reset_sql("public") == two.reset_sql("public")


@pytest.fixture
def named() -> Iterator[str]:
    yield "target_test"
    registered._scopes.pop("target_test", None)


POLICY = """
version: 1
categories: {identity: {description: x}}
purposes:
  of.it: {description: x, roles: [r], read: {Thing: {categories: [identity], rows: target_test}}}
"""


def thing(**options: Any) -> type[Any]:
    class Base(EncryptedModel, DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "things"
        __subject__ = "id"
        __table_args__ = options
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        name: Encrypted[str] = encrypted_column(category="identity")

    return Base


def test_a_refusal_names_the_scope_its_place_and_how_to_write_it(named: str) -> None:
    row_scope(named)(lambda actor, model: model.id == (1 if actor.role == "r" else 2))
    models = ModelRegistry(thing())
    with pytest.raises(PolicyError, match=r"policy.yaml:5:\d+: the row scope target_test .* things: it compares"):
        compile_postgres(Policy.parse(POLICY).bind(models.catalogue), models, PLANE)


def test_a_scope_that_fails_is_named_without_what_it_said(named: str) -> None:
    def fails(actor: Actor, model: Any) -> Any:
        raise KeyError("secret")

    row_scope(named)(fails)
    models = ModelRegistry(thing())
    with pytest.raises(PolicyError, match=r"target_test.*it raised KeyError") as caught:
        compile_postgres(Policy.parse(POLICY).bind(models.catalogue), models, PLANE)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_table_that_names_its_schema_is_refused(named: str) -> None:
    row_scope(named)(lambda actor, model: model.id == uuid.UUID(int=1))
    models = ModelRegistry(thing(schema="elsewhere"))
    with pytest.raises(PolicyError, match=r"Thing: the table elsewhere\.things names its schema"):
        compile_postgres(Policy.parse(POLICY).bind(models.catalogue), models, PLANE)
