"""A table moves in while the old application goes on writing it: on SQLite, and on PostgreSQL with OpenBao."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.legacy import (
    NAME,
    Client,
    World,
    add_columns,
    drop_column,
    fill,
    moving_store,
    number,
    operations,
    raw,
    sqlite_url,
)
from vaultstore import VaultKeys
from vaultstore.errors import (
    AccessDenied,
    NotDisclosed,
    SubjectErased,
    SubjectRestricted,
    UnsupportedOperation,
    VaultstoreError,
    WriteDenied,
)
from vaultstore.testing import OpenBaoServer

pytestmark = pytest.mark.integration

ROWS = 40


def vault_keys(openbao: OpenBaoServer) -> VaultKeys:
    """Keys under a prefix of their own on the shared server."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    return VaultKeys(
        openbao.url, token=openbao.root_token, mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt"
    )


@pytest.fixture(params=["embedded", "standard"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "embedded":
        with moving_store(sqlite_url(tmp_path), rows=ROWS) as made:
            yield made
        return
    keys = vault_keys(request.getfixturevalue("openbao"))
    try:
        with moving_store(request.getfixturevalue("pg_database"), keys, rows=ROWS) as made:
            yield made
    finally:
        keys.close()


def test_a_table_moves_from_its_first_row_to_its_last_while_both_applications_use_it(world: World) -> None:
    moves, ids = world.store.moves, sorted(raw(world.old))
    expected = {each: number(i) for i, each in enumerate(ids)}
    moves.start(NAME)
    assert world.phones() == expected  # by new code, before anything is sealed
    with world.store.begin(world.clerk) as session:  # new code writes both columns
        session.get_one(Client, ids[0]).phone = expected[ids[0]] = "13711111111"
        session.add(added := Client(phone="13722222222"))
        session.flush()
        expected[added.id] = "13722222222"
    assert raw(world.old)[ids[0]][0] == "13711111111"
    assert moves.backfill(NAME, world.token()).done == ROWS - 1
    assert moves.status(NAME).unsealed == 0
    world.set(ids[1], "13733333333")  # old code takes back what is sealed
    assert raw(world.old)[ids[1]] == ("13733333333", None, None, None)
    expected[ids[1]] = "13733333333"
    assert world.phones() == expected
    assert moves.backfill(NAME, world.token()).done == 1
    looked = moves.verify(NAME, world.token())
    assert (looked.rows, looked.failures, looked.same) == (ROWS + 1, (), True)
    assert moves.status(NAME).move.state == "verified"
    assert moves.cutover(NAME, world.token(), workers=2).done == ROWS + 1
    assert {row[0] for row in raw(world.old).values()} == {None}
    assert world.phones() == expected
    moves.drop(NAME, world.token())
    drop_column(world.old)
    assert "phone" not in {c["name"] for c in sa.inspect(world.old).get_columns("clients")}
    steps = [(s.step, s.failed) for s in moves_of(world)]
    assert steps == [("start", 0), ("backfill", 0), ("backfill", 0), ("verify", 0), ("cutover", 0), ("drop", 0)]


def moves_of(world: World) -> list[Any]:
    from vaultstore.records import moves

    with world.store.engine.connect() as connection:
        return moves.steps(connection, moves.moves(connection)[0])


def entries(world: World) -> int:
    with world.store.parts.gate_engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM vs_entries").scalar_one())


def test_a_row_that_is_not_sealed_is_read_through_the_gate_as_a_sealed_one_is(world: World) -> None:
    world.moved("start")
    who, other = sorted(raw(world.old))[:2]
    before = entries(world)
    world.phones()
    assert entries(world) == before + 1  # one admission for all of them
    world.store.subjects.restrict(who, reason="disputed")
    with world.store.session(world.clerk) as session:
        assert session.get(Client, who) is None or _refused(session.get_one(Client, who))
        assert session.get_one(Client, other).phone == number(1)


def test_a_purpose_that_reads_only_the_mask_is_told_that_the_row_has_not_moved(world: World) -> None:
    world.moved("start")
    who = sorted(raw(world.old))[1]
    with world.store.session(world.caller) as session:
        with pytest.raises(NotDisclosed, match="has not been moved yet") as refused:
            session.get_one(Client, who).phone
        assert refused.value.reason == "not.moved"
        assert number(1) not in str(refused.value)
        with pytest.raises(UnsupportedOperation):
            session.execute(sa.select(Client.__table__.c.phone)).all()
    world.store.moves.backfill(NAME, world.token())
    with world.store.session(world.caller) as session:
        assert str(session.get_one(Client, who).phone) == "*******0001"


def _refused(client: Client) -> bool:
    with pytest.raises(SubjectRestricted):
        client.phone
    return True


def test_a_search_finds_sealed_rows_only(world: World) -> None:
    world.moved("start")
    query = sa.select(Client).where(Client.phone == number(3))
    with world.store.session(world.clerk) as session:
        assert session.scalars(query).all() == []
    world.store.moves.backfill(NAME, world.token())
    with world.store.session(world.clerk) as session:
        assert [c.phone for c in session.scalars(query)] == [number(3)]


def test_bad_rows_are_listed_without_their_values_and_hold_up_no_other(world: World) -> None:
    ids = sorted(raw(world.old))
    world.write("UPDATE clients SET phone = 'call me at 5' WHERE id = :i", i=stored(world, ids[3]))
    world.moved("start")
    summary = world.store.moves.backfill(NAME, world.token())
    assert (summary.done, summary.failed) == (ROWS - 1, 1)
    [failure] = summary.failures
    assert failure.key == ids[3].hex
    assert "call me" not in failure.reason
    assert [f.key for f in world.store.moves.verify(NAME, world.token()).failures] == [ids[3].hex]
    with pytest.raises(
        UnsupportedOperation, match=r"next is `vaultstore migrate backfill|next is `vaultstore migrate verify"
    ):
        world.store.moves.cutover(NAME, world.token())
    world.set(ids[3], "13700000000")
    assert world.store.moves.backfill(NAME, world.token()).done == 1
    assert not world.store.moves.verify(NAME, world.token()).failures


def stored(world: World, who: uuid.UUID) -> Any:
    return who.hex if world.old.dialect.name == "sqlite" else who


def test_what_old_code_writes_after_the_verification_undoes_it(world: World) -> None:
    world.moved("verify")
    ids = sorted(raw(world.old))
    world.set(ids[0], "13712345678")
    with pytest.raises(UnsupportedOperation, match="old code wrote plaintext since"):
        world.store.moves.cutover(NAME, world.token())
    assert "backfill" in world.store.moves.status(NAME).next
    world.store.moves.backfill(NAME, world.token())
    assert not world.store.moves.verify(NAME, world.token()).failures
    world.store.moves.cutover(NAME, world.token())
    assert world.phones()[ids[0]] == "13712345678"


@pytest.mark.parametrize("statement", [
    "UPDATE clients SET phone = '13700000000'", "UPDATE clients SET phone = NULL",
    "INSERT INTO clients (id, city, phone) VALUES (:i, 'x', '13700000000')",
])  # fmt: skip
def test_from_the_cutover_on_a_plaintext_without_a_sealed_value_is_refused(world: World, statement: str) -> None:
    world.moved("cutover")
    before = raw(world.old)
    values = {"i": stored(world, uuid.uuid4())} if ":i" in statement else {}
    with pytest.raises(sa.exc.DBAPIError, match="has moved to phone_sealed"):
        world.write(statement, **values)
    assert raw(world.old) == before
    assert world.write("UPDATE clients SET city = '北京'") == ROWS  # what has not moved is the old application's still


def test_from_the_cutover_on_new_code_leaves_no_plaintext(world: World) -> None:
    world.moved("cutover")
    ids = sorted(raw(world.old))
    with world.store.begin(world.clerk) as session:
        session.get_one(Client, ids[0]).phone = "13788888888"
        session.get_one(Client, ids[1]).phone = None
        session.add(Client(phone="13799999999"))
    assert {row[0] for row in raw(world.old).values()} == {None}
    assert list(world.phones().values())[:2] == ["13788888888", None]
    world.store.moves.drop(NAME, world.token())


def test_drop_refuses_while_one_row_does_not_open(world: World) -> None:
    world.moved("cutover")
    one, other = sorted(raw(world.old))[:2]
    theirs = raw(world.old)[other][1]
    world.write("UPDATE clients SET phone_sealed = :ct WHERE id = :i", ct=theirs, i=stored(world, one))  # tampered with
    with pytest.raises(UnsupportedOperation, match=f"for 1 of its rows: {one.hex}") as refused:
        world.store.moves.drop(NAME, world.token())
    assert number(0) not in str(refused.value)
    with pytest.raises(UnsupportedOperation, match=r"is not dropped: Client.phone is cutover"):
        drop_column(world.old)
    assert "phone" in {c["name"] for c in sa.inspect(world.old).get_columns("clients")}


def test_cutover_keeps_the_plaintext_of_a_row_whose_sealed_value_is_not_its_own(world: World) -> None:
    world.moved("verify")
    one, other = sorted(raw(world.old))[:2]
    theirs = raw(world.old)[other][1]
    world.write("UPDATE clients SET phone_sealed = :ct WHERE id = :i", ct=theirs, i=stored(world, one))
    summary = world.store.moves.cutover(NAME, world.token())
    assert (summary.done, [f.key for f in summary.failures]) == (ROWS - 1, [one.hex])
    assert raw(world.old)[one][0] == number(0)
    with pytest.raises(UnsupportedOperation, match="cutover"):
        world.store.moves.drop(NAME, world.token())


def test_a_value_sealed_from_something_else_is_told_by_verify(world: World) -> None:
    world.moved("backfill")
    who = sorted(raw(world.old))[0]
    # Both columns at once, as somebody would who knows the triggers: the ciphertext is real, and of the value before.
    sealed = raw(world.old)[who][1]
    world.write("UPDATE clients SET phone_sealed = NULL WHERE id = :i", i=stored(world, who))
    world.write(
        "UPDATE clients SET phone = '13700000001', phone_sealed = :ct WHERE id = :i", ct=sealed, i=stored(world, who)
    )
    looked = world.store.moves.verify(NAME, world.token())
    assert [(f.key, f.reason) for f in looked.failures] == [(who.hex, "its sealed value differs from its plaintext")]
    assert not looked.same
    assert world.store.moves.status(NAME).move.state == "backfilling"


def test_the_migration_back_takes_the_encrypted_columns_until_the_cutover(world: World) -> None:
    world.moved("backfill")
    with world.old.begin() as connection:
        operations(connection).drop_encrypted_column("clients", "phone_sealed", projections=["sales_card"], index=True)
    assert {c["name"] for c in sa.inspect(world.old).get_columns("clients")} == {"id", "city", "phone"}
    world.write("UPDATE clients SET phone = '1'")  # no trigger is left
    add_columns(world.old)
    world.moved("start")


def test_the_migration_back_is_refused_once_values_are_nowhere_else(world: World) -> None:
    world.moved("cutover")
    with pytest.raises(UnsupportedOperation, match="nowhere else"), world.old.begin() as connection:
        operations(connection).drop_encrypted_column("clients", "phone_sealed", projections=["sales_card"], index=True)


def test_a_purpose_that_does_not_write_the_category_seals_nothing(world: World) -> None:
    world.moved("start")
    with pytest.raises(WriteDenied):
        world.store.moves.backfill(NAME, world.caller)
    assert {row[1] for row in raw(world.old).values()} == {None}
    world.store.moves.backfill(NAME, world.token())
    with pytest.raises(AccessDenied):
        world.store.moves.verify(NAME, world.caller)


def test_two_backfills_and_an_old_writer_at_once_lose_nothing(world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    world.moved("start")
    fill(world.old, 200, first=1000)
    ids = sorted(raw(world.old))
    written: dict[uuid.UUID, str] = {}

    def write() -> None:
        for i, who in enumerate(ids[::3]):
            world.set(who, phone := f"137{i:08d}")
            written[who] = phone

    with ThreadPoolExecutor(3) as threads:
        tasks = [threads.submit(write)]
        tasks += [threads.submit(world.store.moves.backfill, NAME, world.token()) for _ in range(2)]
        for task in tasks:
            task.result()
    world.store.moves.backfill(NAME, world.token())
    assert not world.store.moves.verify(NAME, world.token()).failures
    phones = world.phones()
    assert {who: phones[who] for who in written} == written
    assert len(phones) == ROWS + 200


def test_no_error_of_a_move_shows_a_value(world: World) -> None:
    ids = sorted(raw(world.old))
    secret = "not-a-number-4711"
    world.write("UPDATE clients SET phone = :p WHERE id = :i", p=secret, i=stored(world, ids[0]))
    world.moved("start")
    texts = [str(world.store.moves.backfill(NAME, world.token()))]
    texts.append(str(world.store.moves.verify(NAME, world.token())))
    for step in ("cutover", "drop"):
        with pytest.raises(VaultstoreError) as refused:
            getattr(world.store.moves, step)(NAME, world.token())
        texts.append(str(refused.value))
    assert not any(secret in text for text in texts)


@pytest.mark.parametrize("until", ["start", "backfill", "cutover"])
def test_an_erasure_empties_both_columns_and_the_row_reads_as_erased(world: World, until: str) -> None:
    world.moved(until)
    who, other = sorted(raw(world.old))[:2]
    world.store.subjects.erase(who, reason="request")
    assert raw(world.old)[who] == (None, None, None, None)
    with world.store.session(world.clerk) as session:
        with pytest.raises(SubjectErased):
            session.get_one(Client, who).phone
        assert session.get_one(Client, other).phone == number(1)
    if until != "cutover":
        world.store.moves.backfill(NAME, world.token())
        assert not world.store.moves.verify(NAME, world.token()).failures
        world.store.moves.cutover(NAME, world.token())
    world.store.moves.drop(NAME, world.token())
