"""Planted anomalies rank first and say what they are; people who work as usual are left in peace."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.staff import FIRST, ZONE, Staff
from vaultstore.evidence.anomalies_tally import Scope, tally

ODD = "u-2-3"


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def greedy(staff: Staff) -> None:
    """Reads ten times as much, on three days."""
    for number, day in enumerate(staff.workdays()):
        staff.shift(ODD, day, 150 if number in (3, 4, 5) else 12, staff.members["sh-02"])


def nightly(staff: Staff) -> None:
    """Works at two in the morning, on top."""
    for day in staff.workdays():
        staff.shift(ODD, day, 10, staff.members["sh-02"])
        staff.shift(ODD, day, 5, staff.members["sh-02"], start=1, end=3)


def wandering(staff: Staff) -> None:
    """Reads the members of every store."""
    everybody = [member for members in staff.members.values() for member in members]
    for day in staff.workdays():
        staff.shift(ODD, day, 12, everybody)


def collecting(staff: Staff) -> None:
    """Reads as others do, and follows nobody up."""
    for day in staff.workdays():
        staff.shift(ODD, day, 12, staff.members["sh-02"])
    staff.leads[ODD].clear()


def macro(staff: Staff) -> None:
    """Reads one member every three seconds for some minutes a day."""
    for day in staff.workdays():
        for step in range(60):
            moment = day + timedelta(hours=10, seconds=3 * step + staff.random.uniform(0, 0.1))
            staff.read(ODD, moment, [staff.random.choice(staff.members["sh-02"])])
        staff.leads[ODD].update(staff.members["sh-02"])
    # The others have a quick minute now and then, in which each step takes its own time.
    for actor in ("u-0-0", "u-1-1", "u-3-1"):
        moment = FIRST + timedelta(hours=11)
        for _ in range(30):
            moment += timedelta(seconds=staff.random.expovariate(1 / 15))
            staff.read(actor, moment, [staff.members[staff.people[actor]][0]])


def probing(staff: Staff) -> None:
    """Asks for what is refused."""
    for day in staff.workdays():
        for _ in range(10):
            whom = staff.random.sample(staff.members["sh-02"], 3)
            staff.read(
                ODD,
                day + timedelta(hours=staff.random.uniform(9, 19)),
                whom,
                ["subject.restricted"] * 2 + ["disclosed"],
            )
        staff.leads[ODD].update(staff.members["sh-02"])


def looking_up(staff: Staff) -> None:
    """Searches without end."""
    for day in staff.workdays():
        staff.shift(ODD, day, 12, staff.members["sh-02"])
        for _ in range(40):
            staff.act(ODD, day + timedelta(hours=staff.random.uniform(9, 19)), "search", [], [])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (greedy, "volume"),
        (nightly, "hours"),
        (wandering, "breadth"),
        (collecting, "not followed up"),
        (macro, "regular"),
        (probing, "refusals"),
        (looking_up, "searches"),
    ],
)
def test_a_planted_anomaly_ranks_first(
    tmp_path: Path, resources: ExitStack, plant: Callable[[Staff], None], kind: str, seed: int
) -> None:
    staff = Staff(tmp_path, seed)
    staff.normal(ODD)
    plant(staff)
    staff.write()
    _, found = staff.found(resources)
    first = found.departures[0]
    assert first.who.actor == ODD
    assert kind in {finding.kind for finding in first.findings}
    told = next(finding for finding in first.findings if finding.kind == kind)
    assert told.usual
    assert told.did
    assert len(found.departures) <= 4


def test_the_days_that_stand_out_are_named(tmp_path: Path, resources: ExitStack) -> None:
    staff = Staff(tmp_path)
    staff.normal(ODD)
    greedy(staff)
    staff.write()
    _, found = staff.found(resources)
    volume = next(finding for finding in found.departures[0].findings if finding.kind == "volume")
    assert {day.split(":")[0] for day in volume.days} == {"2021-11-04", "2021-11-05", "2021-11-06"}


@pytest.mark.parametrize("seed", range(5))
def test_people_who_work_as_usual_are_left_in_peace(tmp_path: Path, resources: ExitStack, seed: int) -> None:
    staff = Staff(tmp_path, seed)
    staff.normal()
    staff.write()
    _, found = staff.found(resources)
    assert found.compared == 40
    assert len(found.departures) <= 1


def test_too_few_peers_are_not_judged(tmp_path: Path, resources: ExitStack) -> None:
    staff = Staff(tmp_path, stores=1, people=3)
    staff.normal()
    staff.write()
    _, found = staff.found(resources, joined=False)
    assert (found.compared, len(found.alone), found.departures) == (0, 3, [])
    assert len(found.unmeasured) == 2


def test_time_and_roles_narrow_it_down(tmp_path: Path, resources: ExitStack) -> None:
    staff = Staff(tmp_path)
    staff.normal()
    staff.write()
    monday = Scope(since=FIRST, until=FIRST + timedelta(days=1))
    counted, _ = staff.found(resources, monday)
    assert {day.day for who in counted.actors() for day in counted.days(who.id)} == {"2021-11-01"}
    assert staff.found(resources, Scope(roles=["care_agent"]))[0].entries == 0
    assert staff.found(resources, Scope(ignored=["sales.outreach"]))[0].actors() == []


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    peaks = []
    for days in (6, 24):
        folder = tmp_path / str(days)
        folder.mkdir()
        staff = Staff(folder, days=days)
        staff.normal()
        staff.write()
        tracemalloc.start()
        with tally(staff.engine, ZONE, Scope()):
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5
