"""A member's report: whatever happened, each line proves; whatever is altered, it is refused; nobody else is in it."""

from __future__ import annotations

import base64
import json
import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.audit.conftest import ORIGIN, Log
from vaultstore.audit import erase_line
from vaultstore.canonical import canonical_json
from vaultstore.errors import AccessDenied, ApprovalMissing, NotDisclosed, ProofError, SubjectErased, VaultstoreError
from vaultstore.evidence.check_report import CheckedReport, check_report
from vaultstore.evidence.report import Report, Words
from vaultstore.evidence.report_making import DESK, Maker, make_report
from vaultstore.records import subject_lines
from vaultstore.records.entries import vs_entries

WORDS = Words(
    {"care": "settle <complaints>", "cards": "sell"},
    {"contact": ("phone & address", False), "card": ("a mask", True)},
    {"clerk": "works here"},
    {"care": timedelta(0), "cards": timedelta(0), "import": timedelta(0), "chats": timedelta(days=90)},
    "Asia/Shanghai",
)


@dataclass
class Desk:
    """Makes and checks reports of one log."""

    log: Log
    words: Words = WORDS
    maker: Maker = field(default_factory=lambda: Maker.operator("root-7"))

    def make(self, subject: bytes, maker: Maker | None = None) -> Report:
        world = self.log.world
        who, whom = maker or self.maker, uuid.UUID(bytes=subject)
        return make_report(
            world.ledger, self.log.log, world.gate_engine, self.log.keys, self.words, whom, who
        )  # fmt: skip

    def check(self, report: Report | bytes, earlier: Report | None = None) -> CheckedReport:
        data = report if isinstance(report, bytes) else report.data
        return check_report(data, self.log.public, None if earlier is None else earlier.data)


@pytest.fixture
def desk(log: Log) -> Desk:
    return Desk(log)


def disclose(desk: Desk, purpose: str, subjects: list[bytes], category: str = "contact", **more: object) -> None:
    """Somebody reads some members; refusals count too."""
    world = desk.log.world
    opened = world.open(purpose, **more)
    try:
        world.disclose(opened, subjects, category)
    finally:
        opened.close()


def resealed(desk: Desk, report: Report, **changes: object) -> bytes:
    """The report with other content, which whoever has the key seals again."""
    from vaultstore.evidence.report import _seal

    content = {**json.loads(report.data), **changes}
    del content["seal"]
    return canonical_json({**content, "seal": str(_seal(content, desk.log.keys, ORIGIN))})


def lines(report: Report) -> list[dict[str, object]]:
    return list(json.loads(report.data)["lines"])


def test_every_line_is_told_and_proved(desk: Desk) -> None:
    mine, other = desk.log.world.members(2, "contact")
    disclose(desk, "care", [other, mine], attributes={"store": "sh-01"}, case="c-1")
    disclose(desk, "care", [other])
    desk.log.signed()
    report = desk.make(mine)
    checked = desk.check(report)
    assert [line.number for line in checked.lines] == [1, 2, 3]  # written, read, and the making of this report
    assert checked.gaps == ()
    assert checked.waiting == (3,)
    told = checked.lines[1].content
    assert told is not None
    assert (told["kind"], told["purpose"], told["case"]) == ("disclose", "care", "c-1")
    text = report.text()
    assert "care (settle <complaints>)" in text
    assert "clerk (works here), store sh-01, p-" in text
    assert "contact (phone & address): in clear" in text
    assert "not yet provable" in text
    assert "ann" not in report.data.decode()
    assert "settle &lt;complaints&gt;" in report.html()
    desk.log.signed()
    assert desk.check(desk.make(mine), report).waiting == (4,)


def test_masked_data_is_called_masked(desk: Desk) -> None:
    mine = desk.log.world.member("card")
    desk.log.world.consents.grant(mine, "matchmaking", notice_version="1")
    disclose(desk, "cards", [mine], "card")
    assert "card (a mask): masked" in desk.make(mine).text()


def test_a_removed_entry_is_a_gap_and_is_explained(desk: Desk) -> None:
    mine = desk.log.world.member("contact")
    for _ in range(4):
        disclose(desk, "care", [mine])
    desk.log.signed()
    desk.log.tamper("DELETE FROM vs_entries WHERE seq IN (SELECT entry FROM vs_log WHERE position IN (2, 3))")
    report = desk.make(mine)
    assert desk.check(report).gaps == ((3, 4),)
    assert "numbers 3 to 4 are missing: an entry about you was removed from the log" in report.text()
    assert "reconcile" in report.text()
    assert "3-4" in report.html()


def test_what_is_withheld_is_a_number_and_a_hash_until_its_time(desk: Desk) -> None:
    world = desk.log.world
    mine, other = world.members(2, "contact")
    disclose(desk, "care", [mine, other], actor="detective", case="case-77")
    desk.log.signed()
    desk.words = Words(
        purposes={"care": "look into scams"}, withheld={"import": timedelta(0), "care": timedelta(days=90)}
    )
    early = desk.make(mine)
    checked = desk.check(early)
    assert checked.withheld == (2,)
    assert checked.lines[1].index is not None
    assert checked.gaps == ()
    with world.gate_engine.connect() as connection:
        entry = connection.execute(sa.select(vs_entries).where(vs_entries.c.kind == "disclose")).one()
    content = json.loads(entry.leaf)
    for secret in (
        entry.id,
        content["actor"],
        content["jti"],
        "case-77",
        "detective",
        content["time"],
        "look into scams",
    ):
        assert secret not in early.data.decode()
        assert secret not in early.text() + early.html()
    assert set(lines(early)[1]) == {"number", "leaf_hash", "index", "hashes"}
    assert b"care" not in early.data
    # Its time has come: the same entry, and it is the one that was meant.
    desk.words = WORDS
    late = desk.make(mine)
    assert desk.check(late, early).withheld == ()
    assert "case-77" in late.text()


def test_a_purpose_that_the_policy_lost_is_withheld_as_long_as_any(desk: Desk) -> None:
    content = {"kind": "disclose", "purpose": "gone", "time": "2024-01-01T00:00:00.000000Z"}
    assert WORDS.holds_back(content, datetime(2024, 3, 1, tzinfo=UTC))
    assert not WORDS.holds_back(content, datetime(2024, 4, 1, tzinfo=UTC))
    assert not WORDS.holds_back({**content, "kind": "report"}, datetime(2024, 1, 1, tzinfo=UTC))


def test_an_entry_that_was_put_in_the_place_of_a_withheld_one_is_found(desk: Desk) -> None:
    mine = desk.log.world.member("contact")
    disclose(desk, "care", [mine])
    desk.log.signed()
    desk.words = Words(withheld={"import": timedelta(0), "care": timedelta(days=9)})
    early = desk.make(mine)
    content = json.loads(early.data)
    content["lines"][1]["leaf_hash"] = base64.b64encode(os.urandom(32)).decode()
    content["lines"][1] |= {"index": None, "hashes": []}
    other = Report(resealed(desk, early, lines=content["lines"]))
    desk.words = WORDS
    with pytest.raises(ProofError, match=r"line 2: it is not the entry that the earlier report named"):
        desk.check(desk.make(mine), other)


def test_a_line_that_an_earlier_report_had_must_be_there(desk: Desk) -> None:
    mine = desk.log.world.member("contact")
    disclose(desk, "care", [mine])
    desk.log.signed()
    early = desk.make(mine)
    desk.log.tamper("DELETE FROM vs_entries WHERE kind = 'disclose'")
    with pytest.raises(ProofError, match="line 2: the earlier report has it, this one does not"):
        desk.check(desk.make(mine), early)


def test_an_erased_subject_gets_a_clear_refusal(desk: Desk) -> None:
    mine = desk.log.world.member("contact")
    desk.log.world.subjects.erase(mine, reason="asked for it")
    with pytest.raises(SubjectErased, match="there is no report"):
        desk.make(mine)
    last = desk.log.world.last()
    assert (last.content["kind"], last.content["outcome"], last.lines) == ("report", "refused:subject.erased", [])


def test_nobody_is_registered_by_an_unknown_id(desk: Desk) -> None:
    with pytest.raises(NotDisclosed, match="is registered"):
        desk.make(os.urandom(16))


@pytest.mark.parametrize(
    ("purpose", "named", "case", "error"),
    [
        ("care", True, False, AccessDenied),
        ("self", True, False, None),
        ("self", False, False, NotDisclosed),
        (DESK, True, True, None),
        (DESK, True, False, ApprovalMissing),
        (DESK, False, True, NotDisclosed),
    ],
)
def test_who_may_have_a_report(
    desk: Desk, purpose: str, named: bool, case: bool, error: type[VaultstoreError] | None
) -> None:
    from tests.unit.gate.world import purpose as made
    from vaultstore.policy.model import Requirements

    world = desk.log.world
    mine, other = world.members(2, "contact")
    if purpose == DESK:
        world.policy.purposes[DESK] = made(DESK, requires=Requirements(case=True, subjects="named"))
        world.ledger.publish(world.policy)
    if case:
        world.cases.open("request", assigned_to="ann", subjects=[mine, other], case_id="c-9")
    grant = world.grant(purpose, subjects=[mine if named else other], case="c-9" if case else None)
    maker = Maker.of(grant)
    if error is None:
        assert desk.check(desk.make(mine, maker)).lines[-1].outcome == "reported"
    else:
        with pytest.raises(error):
            desk.make(mine, maker)
        assert world.last().content["outcome"].startswith("refused:")
        assert world.last().lines[0].subject == mine


def test_a_restricted_member_has_a_report_from_the_desk(desk: Desk) -> None:
    world = desk.log.world
    mine = world.member("contact")
    world.subjects.restrict(mine, reason="silent")
    assert desk.check(desk.make(mine)).lines
    with pytest.raises(AccessDenied, match="restricted"):
        desk.make(mine, Maker.of(world.grant("self", subjects=[mine])))


def test_a_line_of_before_one_was_registered_has_no_number(desk: Desk) -> None:
    world = desk.log.world
    stranger = os.urandom(16)
    disclose(desk, "care", [stranger])
    world.subjects.register(stranger)
    report = desk.make(stranger)
    assert [line.number for line in desk.check(report).lines] == [0, 1]
    assert "before you were registered" in report.text()


def test_a_report_reads_the_members_own_entries_only(desk: Desk) -> None:
    world = desk.log.world
    mine, other = world.members(2, "contact")
    disclose(desk, "care", [mine])
    for _ in range(20):
        disclose(desk, "care", [other])
    desk.log.signed()
    with world.gate_engine.connect() as connection:
        assert len(subject_lines.entries_of(connection, mine)) == 2
        assert subject_lines.waiting_of(connection, mine) == []


def test_forgetting_a_subject_leaves_others_alone(desk: Desk) -> None:
    world = desk.log.world
    mine, other = world.members(2, "contact")
    desk.log.signed()
    with world.gate_engine.begin() as connection:
        assert subject_lines.forget(connection, mine) == 1
        assert subject_lines.entries_of(connection, mine) == []
        assert len(subject_lines.entries_of(connection, other)) == 1


def test_anothers_erased_line_does_not_break_the_proof(desk: Desk) -> None:
    world = desk.log.world
    mine, other = world.members(2, "contact")
    disclose(desk, "care", [mine, other])
    with world.gate_engine.begin() as connection:
        for row in connection.execute(sa.select(vs_entries)).all():
            outcomes, categories = json.loads(row.outcomes), json.loads(row.leaf)["categories"]
            erased = erase_line(row.lines, outcomes, categories, other)
            connection.execute(vs_entries.update().where(vs_entries.c.seq == row.seq).values(lines=erased))
    desk.log.signed()
    assert len(desk.check(desk.make(mine)).lines) == 3


# --------------------------------------------------------------------------------------------------- altering


@pytest.fixture
def report(desk: Desk) -> Report:
    world = desk.log.world
    mine, *others = world.members(3, "contact")
    for _ in range(3):
        disclose(desk, "care", [*others, mine])
    desk.log.signed()
    return desk.make(mine)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"number": 7}, "malformed|order|beyond|line 7"),
        ({"outcome": "refused"}, "line 2: salt, number, outcome or subject"),
        ({"salt": base64.b64encode(bytes(32)).decode()}, "line 2: salt, number, outcome or subject"),
        ({"place": [1, 3]}, "line 2"),
        ({"index": 0}, "line 2"),
        ({"index": None}, "line 2: it has hashes of a proof"),
        ({"hashes": []}, "line 2"),
        ({"path": ["x"]}, "line 2: a hash or salt of it is not 32 bytes in base64"),
        ({"leaf": "{}"}, "line 2: an audit leaf"),
        ({"more": 1}, "line 2: it lacks a member, or has one"),
    ],
)
def test_the_error_names_the_line_even_where_the_seal_was_made_anew(
    desk: Desk, report: Report, change: dict[str, object], says: str
) -> None:
    changed = lines(report)
    changed[1] = {**changed[1], **change}
    with pytest.raises(ProofError, match=says):
        desk.check(resealed(desk, report, lines=changed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subject": str(uuid.UUID(int=7))}, "line 1: salt, number, outcome or subject"),
        ({"origin": "example.org/other"}, "the report is of the log example.org/other, and the key is of"),
        ({"last": 1}, "beyond the last number"),
        ({"checkpoint": None}, "line 1: it names a place in the log, and the report has no checkpoint"),
        ({"words": {}}, "words are malformed"),
        ({"format": "vaultstore/report/v2"}, "no report of the format"),
        ({"made_at": "yesterday"}, "time is malformed"),
        ({"extra": 1}, "lacks a member, or has one"),
    ],
)
def test_altered_headings_are_refused(desk: Desk, report: Report, change: dict[str, object], says: str) -> None:
    with pytest.raises(ProofError, match=says):
        desk.check(resealed(desk, report, **change))


def test_a_line_that_its_holder_took_out_does_not_pass_for_a_gap(desk: Desk, report: Report) -> None:
    content = json.loads(report.data)
    del content["lines"][2]
    with pytest.raises(ProofError, match="a line was taken out, or something outside of the lines was altered"):
        desk.check(canonical_json(content))


def test_a_line_twice_is_refused(desk: Desk, report: Report) -> None:
    told = lines(report)
    with pytest.raises(ProofError, match="line 2 stands in the report 2 times"):
        desk.check(resealed(desk, report, lines=[*told[:2], *told[1:]]))


def test_a_foreign_key_is_refused(desk: Desk, report: Report) -> None:
    from vaultstore import LocalKeys
    from vaultstore.audit.log import note_keys
    from vaultstore.policy.access import KeyAccess

    foreign = LocalKeys.memory()
    foreign.provision(KeyAccess("iss", frozenset(), (), {}))
    with pytest.raises(ProofError, match="no key that is trusted here"):
        check_report(report.data, note_keys(foreign, ORIGIN))
    with pytest.raises(ProofError, match="no public key"):
        check_report(report.data, [])


def test_any_bit_that_flips_is_found(desk: Desk, report: Report) -> None:
    generator = __import__("random").Random(7)
    places = generator.sample(range(len(report.data) * 8), 400)
    for place in places:
        altered = bytearray(report.data)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(ProofError):
            desk.check(bytes(altered))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.integers() | st.text(max_size=5),
       lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
           ["format", "lines", "words", "seal", "origin", "last", "number"]), inner), max_leaves=20)))  # fmt: skip
def test_whatever_is_read_the_answer_is_a_proof_error(desk: Desk, data: object) -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(ProofError):
        desk.check(raw)


# ------------------------------------------------------------------------------------------------- any history


def forms(subject: bytes) -> list[bytes]:
    """How 16 bytes could stand in a file."""
    text = subject.hex()
    return [
        subject,
        text.encode(),
        text.upper().encode(),
        str(uuid.UUID(bytes=subject)).encode(),
        *(base64.b64encode(bytes(lead) + subject)[-20:-4] for lead in range(3)),
        *(base64.urlsafe_b64encode(bytes(lead) + subject)[-20:-4] for lead in range(3)),
    ]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)),
        st.tuples(st.just("refused"), st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)),
        st.tuples(st.just("sign"), st.just([])),
        st.tuples(st.just("sequence"), st.just([])),
        st.tuples(st.just("report"), st.lists(st.integers(0, 4), min_size=1, max_size=1)),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, whose=st.integers(0, 4))
def test_any_history_proves_line_by_line_and_names_nobody_else(
    desk: Desk, steps: list[tuple[str, list[int]]], whose: int
) -> None:
    world = desk.log.world
    members = world.members(5, "contact")
    for verb, who in steps:
        whom = [members[at] for at in who]
        if verb == "read":
            disclose(desk, "care", whom)
        elif verb == "refused":
            disclose(desk, "cards", whom, "card")  # nobody consented
        elif verb == "sign":
            desk.log.signed()
        elif verb == "sequence":
            desk.log.log.sequence()
        else:
            desk.make(whom[0])
    mine = members[whose]
    reports = sum(verb == "report" and who == [whose] for verb, who in steps)
    acts = sum(verb in ("read", "refused") and whose in who for verb, who in steps)
    report = desk.make(mine)
    checked = desk.check(report)
    assert [line.number for line in checked.lines] == list(range(1, 2 + reports + acts + 1))
    assert checked.gaps == ()
    for other in members:
        if other != mine:
            for form in forms(other):
                assert form not in report.data
                assert form not in report.text().encode()
                assert form not in report.html().encode()
