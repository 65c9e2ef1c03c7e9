"""The library's own plane: closures in the database, and what a session makes of the same policy."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import Actor, Encrypted, EncryptedModel, LocalKeys, Policy, Store, encrypted_column, masks, uuid7
from vaultstore.blindindex import BlindIndex
from vaultstore.errors import SettingsError
from vaultstore.normalize import phone_e164
from vaultstore.orm import ModelRegistry
from vaultstore.planes import Difference
from vaultstore.planes.library import LibraryPlane
from vaultstore.planes.report import examine
from vaultstore.records.purposes import vs_purposes

POLICY = """
version: 1
categories:
  contact: {description: phone, sensitive: true}
  card: {description: last digits, projection: true}
purposes:
  intake:
    {description: w, label: essential.service, basis: contract, roles: [clerk], write: {Person: [contact]}, batch: 50}
  calls:
    description: r
    label: essential.service
    basis: contract
    roles: [clerk]
    read: {Person: {categories: [contact]}}
    search: {Person: [phone]}
  cards:
    {description: c, label: essential.service, basis: contract, roles: [clerk], read: {Person: {categories: [card]}}}
"""


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    phone: Encrypted[str] = encrypted_column(
        category="contact", index=BlindIndex(phone_e164(region="CN")), projections={"card": masks.keep(last=4)}
    )


def policy(folder: Path, text: str = POLICY) -> Policy:
    folder.mkdir(exist_ok=True)
    (folder / "policy.yaml").write_text(text, encoding="utf-8")
    return Policy.load(folder)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with its policy published."""
    url = f"sqlite:///{tmp_path / 'members.db'}"
    with (
        LocalKeys.memory() as keys,
        Store.open(url, keys=keys, policy=policy(tmp_path / "policies"), models=Base) as opened,
    ):
        opened.create_all()
        yield opened


@pytest.fixture
def gate(store: Store, tmp_path: Path) -> Iterator[sa.Engine]:
    """The gate's database."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'gate.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def plane(store: Store, gate: sa.Engine) -> LibraryPlane:
    return LibraryPlane(gate, store.policy, store.models)


def of(gate: sa.Engine, tmp_path: Path, text: str) -> LibraryPlane:
    """The plane of another version of the policy."""
    models = ModelRegistry(Base)
    return LibraryPlane(gate, policy(tmp_path / "other", text).bind(models.catalogue), models)


def test_what_is_published_agrees_in_every_cell(plane: LibraryPlane) -> None:
    report = examine(plane)
    assert report.ok, report.differences
    # 3 purposes: rows seen and written, phone in 2 forms, 2 categories disclosed, phone searched and sealed.
    assert (report.cells, plane.plan(), plane.apply()) == (3 * 8, [], [])


def test_cells_that_the_policy_opens_and_denies_are_both_tried(plane: LibraryPlane) -> None:
    expected = {str(probe.cell): probe.expected for probe in plane.probes()}
    assert expected["cards: read Person.phone as card"]
    assert not expected["cards: read Person.phone"]
    assert expected["calls: search Person.phone"]
    assert not expected["calls: write Person.phone"]
    assert expected["intake: write Person.phone"]
    assert expected["intake: write rows of Person"]
    assert not expected["calls: write rows of Person"]
    assert not expected["intake: disclose contact of Person"]


def test_an_older_policy_in_the_database_is_different_and_too_open_cell_by_cell(
    plane: LibraryPlane, gate: sa.Engine, tmp_path: Path
) -> None:
    """What was published lets `calls` read numbers; the policy at hand no longer does."""
    newer = of(gate, tmp_path, POLICY.replace("    read: {Person: {categories: [contact]}}\n", ""))
    report = examine(newer)
    assert [(d.verdict, d.thing) for d in report.facts] == [("different", "purpose calls")]
    assert "refused until it is published" in report.facts[0].found
    assert [str(probe.cell) for probe in report.disagreeing] == ["calls: disclose contact of Person"]
    assert report.too_open == 1
    assert [(change.action, change.thing) for change in newer.apply()] == [("change", "purpose calls")]
    assert examine(newer).ok
    assert [(d.verdict, d.thing) for d in plane.differences()] == [("different", "purpose calls")]


def test_a_purpose_that_is_not_published_is_too_closed(plane: LibraryPlane, gate: sa.Engine) -> None:
    with gate.begin() as connection:
        connection.execute(vs_purposes.delete().where(vs_purposes.c.name == "cards"))
    report = examine(plane)
    assert [(d.verdict, d.thing) for d in report.facts] == [("too closed", "purpose cards")]
    assert [str(probe.cell) for probe in report.disagreeing] == ["cards: disclose card of Person"]
    assert [str(change)[:15] for change in plane.apply()] == ["+ purpose cards"]
    assert examine(plane).ok


def test_a_purpose_that_only_the_database_knows_is_too_open(
    plane: LibraryPlane, gate: sa.Engine, tmp_path: Path
) -> None:
    fewer = of(gate, tmp_path, POLICY.split("  cards:")[0])
    assert [(d.verdict, d.thing, d.expected) for d in fewer.differences()] == [
        ("too open", "purpose cards", "no such purpose")
    ]
    assert [str(change) for change in fewer.apply()] == ["- purpose cards: its tokens stop working"]
    assert fewer.differences() == []


def test_a_closure_that_was_edited_by_hand_is_found_and_mended(
    plane: LibraryPlane, gate: sa.Engine, store: Store
) -> None:
    with gate.begin() as connection:
        c = vs_purposes.c
        wider = sa.func.replace(c.closure, '"read":{"Person":["card"]}', '"read":{"Person":["card","contact"]}')
        assert connection.execute(vs_purposes.update().where(c.name == "cards").values(closure=wider)).rowcount == 1
    report = examine(plane)
    assert [(d.verdict, d.thing) for d in report.facts] == [("too closed", "purpose cards")]
    assert "does not name" in report.facts[0].found
    assert [change.thing for change in plane.apply()] == ["purpose cards"]
    assert examine(plane).ok
    store.gate.check(store.verify(store.issue(Actor("c-1", role="clerk"), "cards")))


def test_keys_are_made_before_anything_is_published(store: Store, gate: sa.Engine) -> None:
    with gate.begin() as connection:
        connection.execute(vs_purposes.delete())

    def provision() -> None:
        with gate.connect() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(vs_purposes)) == 0
        made.append("keys")

    made: list[str] = []
    assert len(LibraryPlane(gate, store.policy, store.models, provision=provision).apply()) == 3
    assert made == ["keys"]


def test_a_database_without_a_schema_is_named_as_such(store: Store) -> None:
    plane = LibraryPlane(sa.create_engine("sqlite://"), store.policy, store.models)
    for look in (plane.plan, plane.apply, plane.differences, lambda: list(plane.probes())):
        with pytest.raises(SettingsError, match="vs_purposes is missing"):
            look()


def test_it_compiles_without_a_database(plane: LibraryPlane) -> None:
    lines = plane.compile().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("sha256:") and '"purpose":' in line for line in lines)


def test_a_look_changes_nothing(plane: LibraryPlane, gate: sa.Engine, tmp_path: Path) -> None:
    other = of(gate, tmp_path, POLICY.replace("batch: 50", "batch: 40"))
    before: list[Difference] = list(other.differences())
    other.plan()
    list(other.probes())
    assert list(other.differences()) == before != []
