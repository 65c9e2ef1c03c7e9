"""What a request costs, in statements, commits and requests: the same for one subject as for a thousand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """What reaches the gate's database: on SQLite every statement, on PostgreSQL every round trip."""
    seen: list[str] = []
    if world.dialect == "postgresql":

        def before(connection: object, cursor: object, statement: str, *_: object) -> None:
            seen.append(re.match(r"SELECT (\w+)", statement)[1])  # type: ignore[index] # fails where there is none

        sa.event.listen(world.gate_engine, "before_cursor_execute", before)
        yield seen
        sa.event.remove(world.gate_engine, "before_cursor_execute", before)
        return
    world.gate_engine.dispose()

    @sa.event.listens_for(world.gate_engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.set_trace_callback(lambda text: seen.append(" ".join(text.split()[:3])))

    yield seen


CANARIES = "SELECT subject FROM"
RULE = "SELECT within, (SELECT"
READ = ["BEGIN IMMEDIATE", "SELECT EXISTS (SELECT", "SELECT digest, closure", RULE, "UPDATE vs_subjects SET", CANARIES]
WRITTEN = ["INSERT INTO vs_entries", "INSERT INTO vs_pending", "COMMIT"]


def _asks(world: World, count: int) -> Callable[[], object]:
    members, opened = world.members(count, "identity", "contact"), world.open("care")
    return lambda: world.disclose(opened, members, "identity", "contact")


@pytest.mark.parametrize("count", [1, 50, 1000])
def test_a_cold_batch_is_one_admission_one_hand_out_and_one_unwrap_a_category(world: World, count: int) -> None:
    ask = _asks(world, count)
    with statements(world) as seen:
        ask()
    if world.dialect == "postgresql":
        assert seen == ["vs_admit", "vs_wraps"]
    else:
        judged = ["SELECT EXISTS (SELECT", "SELECT digest, closure", "SELECT subject, state", CANARIES]
        again = ["BEGIN", "SELECT actor, leaf,", *judged, "COMMIT"]
        assert [text for text in seen if not text.startswith("PRAGMA")] == [*READ, *WRITTEN, *again]
    assert world.keys.verbs() == [("unwrap", "identity", count), ("unwrap", "contact", count)]


@pytest.mark.parametrize("count", [1, 1000])
def test_a_warm_batch_is_one_admission(world: World, count: int) -> None:
    ask = _asks(world, count)
    ask()
    world.keys.verbs()
    with statements(world) as seen:
        ask()
    if world.dialect == "postgresql":
        assert seen == ["vs_admit"]
    else:
        assert [text for text in seen if not text.startswith("PRAGMA")] == [*READ, *WRITTEN]
    assert world.keys.verbs() == []


def test_sealing_costs_the_same_statements_for_one_subject_as_for_a_thousand(world: World) -> None:
    counts: list[int] = []
    for count in (1, 1000):
        opened = world.open("import")
        needs = [("contact", count.to_bytes(8, "big") + at.to_bytes(8, "big"), b"") for at in range(count)]
        with statements(world) as seen:
            world.seal(opened, needs)
        apart = ("PRAGMA", "INSERT OR IGNORE", "SELECT secret")
        counts.append(len([text for text in seen if not text.startswith(apart)]))
    assert counts[0] == counts[1]
    assert [verb for verb, _, _ in world.keys.verbs()] == ["wrap", "wrap"]


def test_the_limits_of_a_batch_cost_the_same_for_many_subjects_as_for_few(sqlite: World) -> None:
    counts: list[int] = []
    for count in (2, 90):
        members, opened = sqlite.members(count, "profile"), sqlite.open("many", f"actor-{count}")
        with statements(sqlite) as seen:
            sqlite.disclose(opened, members, "profile")
        counts.append(len([text for text in seen if not text.startswith(("PRAGMA", "INSERT INTO vs_charges"))]))
    assert counts[0] == counts[1]
