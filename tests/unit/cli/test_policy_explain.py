"""``vaultstore policy explain``: the decision and its line; with --subject, what the gate would say of one member."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import REGISTRAR, SHIPPED_POLICY, member
from vaultstore import Actor, LocalKeys, Policy, Store
from vaultstore.cli.policy_subject import Standing, gate_tables, standing
from vaultstore.cli.store import open_store
from vaultstore.errors import AccessDenied
from vaultstore.members.models import Base, Member
from vaultstore.records import canaries
from vaultstore.records.entries import vs_entries

from .conftest import Run

SELLER = Actor("u-17", role="matchmaker", attributes={"store": "sh-01"})
AGENT = Actor("u-31", role="care_agent")
OFFICER = Actor("u-41", role="privacy_officer")
LEAD, ANALYST, OTHER = (Actor(i, role="safety_lead") for i in ("u-51", "u-52", "u-53"))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("explain")
    url = f"sqlite:///{folder / 'members.db'}"
    server = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.create_database()
    with Store.open(
        url, keys=LocalKeys.open(folder / "keys.json"), policy=Policy.load(SHIPPED_POLICY), models=Base
    ) as made:
        made.create_all()
        yield made
    if server is not None:
        server.drop_database(url)


def registered(store: Store) -> uuid.UUID:
    """A new member."""
    made = member(len(str(uuid.uuid4())), id=uuid.uuid4())
    with store.begin(store.issue(REGISTRAR, "registration")) as session:
        session.add(made)
        return made.id


def told(store: Store, purpose: str, subject: uuid.UUID) -> Standing:
    with gate_tables(store.engine.url.render_as_string(hide_password=False)) as connection:
        return standing(connection, store.policy, purpose, subject)


def asked(store: Store, token: str, subject: uuid.UUID, field: str) -> str | None:
    """What the gate says: the reason why it refuses, or None."""
    try:
        with store.session(token) as session:
            row = session.get(Member, subject)
            if row is None:
                return "subject.restricted"  # which leaves the row out, before the gate is asked
            getattr(row, field)
    except AccessDenied as denied:
        return denied.reason
    return None


def consent(store: Store, subject: uuid.UUID) -> None:
    store.consents.grant(subject, "matchmaking", notice_version="2021-11")


def withdraw(store: Store, subject: uuid.UUID) -> None:
    consent(store, subject)
    store.consents.withdraw(subject, "matchmaking")


def restrict(store: Store, subject: uuid.UUID) -> None:
    consent(store, subject)
    store.subjects.restrict(subject, reason="silent")


def erase(store: Store, subject: uuid.UUID) -> None:
    consent(store, subject)
    store.subjects.erase(subject, reason="asked for")


def nothing(store: Store, subject: uuid.UUID) -> None:
    """Leave it as it is."""


def case(actor: Actor, *, closed: bool = False) -> Callable[[Store, uuid.UUID], None]:
    def opened(store: Store, subject: uuid.UUID) -> None:
        store.cases.open("complaint", assigned_to=actor.id, subjects=[subject], case_id=f"case-{subject}")
        if closed:
            store.cases.close(f"case-{subject}")

    return opened


def plant(store: Store, subject: uuid.UUID) -> None:
    case(AGENT)(store, subject)
    consent(store, subject)
    with gate_tables(store.engine.url.render_as_string(hide_password=False)) as connection:
        canaries.add(connection, [canaries.Canary(subject.bytes, None, None, datetime.now(UTC))])
        connection.commit()


def restrict_with_case(store: Store, subject: uuid.UUID) -> None:
    case(OFFICER)(store, subject)
    store.subjects.restrict(subject, reason="silent")


STANDINGS = [
    ("sales.pool", SELLER, "education", nothing, ["consent.missing"]),
    ("sales.pool", SELLER, "education", consent, []),
    ("sales.pool", SELLER, "education", withdraw, ["consent.missing"]),
    ("sales.pool", SELLER, "education", restrict, ["subject.restricted"]),
    ("sales.pool", SELLER, "education", erase, ["subject.erased"]),
    ("care.complaint", AGENT, "phone", nothing, ["case.missing"]),
    ("care.complaint", AGENT, "phone", case(AGENT), []),
    ("care.complaint", AGENT, "phone", case(AGENT, closed=True), ["case.missing"]),
    ("privacy.request", OFFICER, "phone", restrict_with_case, []),
    ("care.complaint", AGENT, "phone", plant, ["subject.canary"]),
    ("sales.pool", SELLER, "education", plant, []),
]


@pytest.mark.parametrize(
    ("purpose", "actor", "field", "prepare", "codes"), STANDINGS, ids=[f"{s[0]}-{s[3].__name__}" for s in STANDINGS]
)
def test_what_is_told_of_a_member_is_what_the_gate_does(
    store: Store, purpose: str, actor: Actor, field: str, prepare: Callable[[Store, uuid.UUID], None], codes: list[str]
) -> None:
    subject = registered(store)
    prepare(store, subject)
    stands = told(store, purpose, subject)
    assert [code for code, _ in stands.refusals] == codes
    needs: dict[str, Any] = {}
    if store.policy.purpose(purpose).requires.case:
        needs["case"] = f"case-{subject}"
    if store.policy.purpose(purpose).requires.subjects:
        needs["subjects"] = [subject]
    assert asked(store, store.issue(actor, purpose, **needs), subject, field) == (codes[0] if codes else None)


def test_approvals_are_counted_request_by_request(store: Store) -> None:
    subject = registered(store)
    name = f"case-{subject}"
    store.cases.open("fraud", assigned_to=LEAD.id, subjects=[subject], case_id=name)

    def codes() -> list[str]:
        return [code for code, _ in told(store, "safety.investigation", subject).refusals]

    assert codes() == ["approval.missing"]
    request = store.request_access(LEAD, "safety.investigation", case=name, subjects=[subject])
    store.approve(request, store.issue(ANALYST, "safety.triage"))
    stands = told(store, "safety.investigation", subject)
    assert codes() == ["approval.missing"]
    assert any(f"request {request} of u-51 for case {name}: 1 of 2 approvals" in fact for fact in stands.facts)
    store.approve(request, store.issue(OTHER, "safety.triage"))
    assert codes() == []


def test_a_member_who_is_not_registered_is_said_to_be_unknown(store: Store) -> None:
    stands = told(store, "member.self", uuid.uuid4())
    assert [code for code, _ in stands.refusals] == ["subject.unknown"]
    assert stands.conditions == ("a token of the member's own",)


def test_a_policy_that_is_not_published_refuses(store: Store) -> None:
    subject = registered(store)
    consent(store, subject)
    rules = Policy.load(SHIPPED_POLICY).rules
    sales = rules.purposes["sales.pool"]
    edited = Policy(replace(rules, purposes={**rules.purposes, "sales.pool": replace(sales, batch=7)}))
    bound = edited.bind(store.models.catalogue)
    with gate_tables(store.engine.url.render_as_string(hide_password=False)) as connection:
        assert [code for code, _ in standing(connection, bound, "sales.pool", subject).refusals] == ["policy.changed"]
        assert standing(connection, bound, "sales.manage", subject).refusals == ()


def test_looking_leaves_no_trace_and_charges_nothing(store: Store) -> None:
    subject = registered(store)
    consent(store, subject)

    def entries() -> int:
        with gate_tables(store.engine.url.render_as_string(hide_password=False)) as connection:
            return len(connection.execute(select(vs_entries.c.id)).all())

    before, statements = entries(), list[str]()
    with gate_tables(store.engine.url.render_as_string(hide_password=False)) as connection:
        event.listen(connection, "before_cursor_execute", lambda *a: statements.append(a[2]))
        standing(connection, store.policy, "sales.pool", subject)
    assert entries() == before
    assert statements
    assert all(statement.startswith(("SELECT", "BEGIN")) for statement in statements)
    assert not [statement for statement in statements if "members" in statement or "vs_keyring" in statement]


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def shop(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, uuid.UUID]:
    """A store's folder, and a member in it."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    assert run("init", "--dir", folder).exit_code == 0
    with open_store(folder) as opened:
        subject = registered(opened)
        consent(opened, subject)
    return folder, subject


def test_the_command_tells_the_members_standing(run: Run, shop: tuple[Path, uuid.UUID]) -> None:
    folder, subject = shop
    asking = ("policy", "explain", "--dir", folder, "--field", "Member.education", "--purpose")
    result = run(*asking, "sales.pool", "--subject", subject)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "sales.pool gets Member.education: masked:pool_card"
    assert "  services: crm, lead-desk" in lines
    assert f"member {subject}" in lines
    assert lines[-1] == (
        "  would the gate admit it now? yes, with the role matchmaker; a row that own_store shows to the actor; "
        "room in the limits"
    )
    refused = run(*asking, "care.complaint", "--subject", subject).stdout.splitlines()
    assert refused[-3:] == [
        "  would the gate admit it now? no",
        "    not.granted: care.complaint does not read Member.education",
        "    case.missing: no open case names the member",
    ]
    for value in ("本科", "1380", "欧阳", "长头发"):
        assert value not in result.stdout


def test_a_subject_takes_a_store(run: Run, shop: tuple[Path, uuid.UUID], tmp_path: Path) -> None:
    policies = ("--policies", shop[0] / "policies", "--dir", tmp_path)
    asking = ("policy", "explain", "--field", "Member.phone", "--purpose", "sales.pool")
    assert run(*asking, *policies).exit_code == 0
    result = run(*asking, *policies, "--subject", uuid.uuid4())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "vaultstore.toml is missing: --subject looks into a store" in result.stderr
    assert run(*asking, *policies, "--database", "sqlite:///x.db").exit_code == 2
    lost = run(*asking, "--dir", shop[0], "--subject", uuid.uuid4(), "--database", f"sqlite:///{tmp_path}/none.db")
    assert lost.exit_code == 1
    assert "gate.db is missing" in lost.stderr
    assert not list(tmp_path.iterdir())
    assert run(*asking, "--dir", shop[0], "--subject", "u-17").exit_code == 2
