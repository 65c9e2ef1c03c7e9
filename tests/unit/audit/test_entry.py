"""An audit entry's leaf and the lines beside it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.audit import (
    Entry,
    Line,
    build_entry,
    erase_line,
    parse_lines,
    read_leaf,
    subjects_root,
    verify_entry,
)
from vaultstore.audit.lines import ERASED, LINE_SIZE, SALT_SIZE
from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "audit_leaf.json").read_text())
ANNA, BO, CHEN = (bytes([n]) * 16 for n in (1, 2, 3))
NOON = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def entry_of(*lines: Line, **changes: Any) -> Entry:
    given = {
        "id": "018df9a0-0000-7000-8000-000000000001",
        "time": NOON,
        "kind": "disclose",
        "actor": "u-17",
        "role": "matchmaker",
        "attributes": {"store": "sh-01"},
        "purpose": "sales.outreach",
        "jti": "018df9a0-0000-7000-8000-000000000002",
        "case": None,
        "model": "Member",
        "categories": ["sales_card", "pool_card"],
        "counts": {"subjects": len(lines)},
        "outcome": "disclosed",
        "lines": lines,
        "salts": bytes(range(SALT_SIZE)) * len(lines),
    }
    return build_entry(**(given | changes))


TWO = (Line(ANNA, 4, "disclosed"), Line(BO, 1, "subject.restricted"))


def reference_root(entry: Entry, categories: str) -> bytes:
    """The format in its plainest form: PAE, RFC 6962 hashes, an unhurried tree."""

    def pae(*parts: bytes) -> bytes:
        return len(parts).to_bytes(8, "little") + b"".join(len(p).to_bytes(8, "little") + p for p in parts)

    def tree(hashes: list[bytes]) -> bytes:
        if not hashes:
            return hashlib.sha256(b"").digest()
        if len(hashes) == 1:
            return hashes[0]
        k = 1
        while k * 2 < len(hashes):
            k *= 2
        return hashlib.sha256(b"\x01" + tree(hashes[:k]) + tree(hashes[k:])).digest()

    leaves = []
    for start in range(0, len(entry.lines), LINE_SIZE):
        line = entry.lines[start : start + LINE_SIZE]
        subject, salt, number, outcome = line[:16], line[16:48], line[48:56], entry.outcomes[line[56]]
        leaves.append(
            hashlib.sha256(b"\0" + pae(salt, subject, number, categories.encode(), outcome.encode())).digest()
        )
    return tree(leaves)


@given(
    lines=st.lists(
        st.builds(
            Line,
            st.binary(min_size=16, max_size=16),
            st.integers(0, 2**63 - 1),
            st.sampled_from(["disclosed", "subject.restricted", "consent.missing"]),
        ),
        max_size=20,
    ),
    data=st.data(),
)
def test_an_entry_reads_back_as_it_was_built(lines: list[Line], data: st.DataObject) -> None:
    salts = data.draw(st.binary(min_size=SALT_SIZE * len(lines), max_size=SALT_SIZE * len(lines)))
    entry = entry_of(*lines, salts=salts)
    assert [stored.line for stored in parse_lines(entry.lines, entry.outcomes)] == lines
    assert b"".join(stored.salt for stored in parse_lines(entry.lines, entry.outcomes)) == salts
    content = verify_entry(entry.leaf, entry.lines, entry.outcomes)
    assert content["subjects_root"] == reference_root(entry, "pool_card,sales_card").hex()
    assert entry.leaf_hash == hashlib.sha256(b"\0" + entry.leaf.encode()).digest()


def test_the_leaf_names_no_subject() -> None:
    entry = entry_of(*TWO)
    assert ANNA.hex() not in entry.leaf
    assert set(json.loads(entry.leaf)) == {
        *("v", "id", "time", "kind", "actor", "role", "attributes", "purpose", "jti", "case", "model"),
        *("categories", "counts", "outcome", "subjects_root"),
    }


def test_a_field_is_named_where_one_was_searched() -> None:
    assert verify_entry(entry_of(field="phone").leaf, b"", ())["field"] == "phone"


def test_time_is_written_in_utc_with_microseconds() -> None:
    shanghai = datetime(2024, 3, 1, 20, 0, tzinfo=timezone(timedelta(hours=8)))
    assert json.loads(entry_of(time=shanghai).leaf)["time"] == "2024-03-01T12:00:00.000000Z"
    assert json.loads(entry_of(time=NOON.replace(microsecond=7)).leaf)["time"] == "2024-03-01T12:00:00.000007Z"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(AuditError, match="aware"):
        entry_of(time=NOON.replace(tzinfo=None))


def test_an_entry_without_subjects_has_the_root_of_an_empty_tree() -> None:
    assert json.loads(entry_of().leaf)["subjects_root"] == hashlib.sha256(b"").hexdigest()


def test_categories_are_sorted_and_listed_once() -> None:
    assert json.loads(entry_of(categories=["b", "a", "b"]).leaf)["categories"] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lines": [Line(b"short", 1, "disclosed")], "salts": bytes(32)}, "line 1: a subject has 16 bytes"),
        ({"lines": [TWO[0], Line(BO, -1, "disclosed")], "salts": bytes(64)}, "line 2: number -1"),
        ({"lines": [Line(BO, 2**63, "disclosed")], "salts": bytes(32)}, "line 1: number"),
        ({"lines": TWO, "salts": bytes(63)}, "2 lines need 64 bytes of salt"),
        ({"categories": ["a,b"]}, "no comma"),
        ({"actor": "\ud800"}, "can't carry"),
        ({"counts": {"subjects": 2**53}}, "can't carry"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        entry_of(**changes)


def test_an_entry_holds_255_outcomes_and_not_256() -> None:
    lines = [Line(ANNA, n, f"code.{n}") for n in range(256)]
    entry = entry_of(*lines[:255])
    assert len(entry.outcomes) == 255
    verify_entry(entry.leaf, entry.lines, entry.outcomes)
    with pytest.raises(AuditError, match="line 256: an entry has at most 255"):
        entry_of(*lines)


@given(bit=st.integers(0, 8 * 3 * LINE_SIZE - 1))
def test_no_bit_of_the_lines_can_change(bit: int) -> None:
    entry = entry_of(*TWO, Line(CHEN, 9, "disclosed"))
    changed = bytearray(entry.lines)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuditError):
        verify_entry(entry.leaf, bytes(changed), entry.outcomes)


def test_lines_cannot_be_swapped_dropped_or_repeated() -> None:
    entry = entry_of(*TWO)
    first, second = entry.lines[:LINE_SIZE], entry.lines[LINE_SIZE:]
    for changed in (second + first, first, second, first + second + second, b""):
        with pytest.raises(AuditError, match="are not the ones"):
            verify_entry(entry.leaf, changed, entry.outcomes)


def test_outcomes_cannot_be_exchanged() -> None:
    entry = entry_of(*TWO)
    with pytest.raises(AuditError, match="are not the ones"):
        verify_entry(entry.leaf, entry.lines, entry.outcomes[::-1])


def test_a_bad_line_is_named() -> None:
    entry = entry_of(*TWO)
    with pytest.raises(AuditError, match="line 2: outcome 1 is not among the entry's 1"):
        verify_entry(entry.leaf, entry.lines, entry.outcomes[:1])
    with pytest.raises(AuditError, match="line 2 is cut short: 56 bytes"):
        parse_lines(entry.lines[:-1], entry.outcomes)
    marked = entry.lines[:-1] + bytes([ERASED])
    with pytest.raises(AuditError, match="line 2 is marked as erased but still names a subject"):
        parse_lines(marked, entry.outcomes)
    with pytest.raises(AuditError, match="at most 255"):
        parse_lines(entry.lines, ["x"] * 256)


@given(blob=st.binary(max_size=200), outcomes=st.lists(st.text(max_size=3), max_size=3))
def test_random_bytes_are_lines_or_an_audit_error(blob: bytes, outcomes: list[str]) -> None:
    try:
        parsed = parse_lines(blob, outcomes)
    except AuditError:
        return
    assert len(parsed) * LINE_SIZE == len(blob)


def test_an_erased_line_leaves_the_root_and_takes_id_and_salt() -> None:
    lines = (*TWO, Line(ANNA, 5, "disclosed"))
    entry = entry_of(*lines, salts=b"".join(bytes([n]) * SALT_SIZE for n in (0xA1, 0xB2, 0xC3)))
    erased = erase_line(entry.lines, entry.outcomes, ["sales_card", "pool_card"], ANNA)
    verify_entry(entry.leaf, erased, entry.outcomes)
    assert ANNA not in erased
    assert bytes([0xA1]) * SALT_SIZE not in erased
    assert [stored.line for stored in parse_lines(erased, entry.outcomes)] == [None, TWO[1], None]
    assert erase_line(erased, entry.outcomes, ["sales_card", "pool_card"], ANNA) == erased


def test_an_erased_line_cannot_be_made_up() -> None:
    entry = entry_of(*TWO)
    forged = bytes(16) + bytes(32) + bytes(8) + bytes([ERASED]) + entry.lines[LINE_SIZE:]
    with pytest.raises(AuditError, match="are not the ones"):
        verify_entry(entry.leaf, forged, entry.outcomes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"extra": 1}, "does not know"),
        ({"actor": None}, "'actor'"),
        ({"time": "2024-03-01T12:00:00Z"}, "'time'"),
        ({"subjects_root": "00"}, "'subjects_root'"),
        ({"attributes": {"store": 1}}, "'attributes'"),
        ({"counts": {"subjects": True}}, "'counts'"),
        ({"categories": ["b", "a"]}, "'categories'"),
        ({"categories": ["a", "a"]}, "'categories'"),
        ({"categories": [1]}, "'categories'"),
        ({"case": 1}, "'case'"),
        ({"field": 1}, "'field'"),
    ],
)
def test_a_malformed_leaf_is_refused_by_name(change: dict[str, Any], reason: str) -> None:
    content = json.loads(entry_of().leaf) | change
    with pytest.raises(AuditError, match=reason):
        read_leaf(canonical_json(content).decode())


@pytest.mark.parametrize("missing", ["v", "id", "case", "counts", "subjects_root"])
def test_a_leaf_lacks_nothing(missing: str) -> None:
    content = json.loads(entry_of().leaf)
    del content[missing]
    with pytest.raises(AuditError, match="version" if missing == "v" else f"lacks '{missing}'"):
        read_leaf(canonical_json(content).decode())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda leaf: leaf + " ",
        lambda leaf: leaf.replace(":", ": ", 1),
        lambda leaf: leaf[:-1] + ',"v":1}',
        lambda leaf: leaf.replace('"v":1', '"v":1.0'),
        lambda leaf: "[" * 10_000,
        lambda leaf: "[]",
        lambda leaf: "",
        lambda leaf: '{"v":NaN}',
        lambda leaf: '{"actor":"\ud800"}',
        lambda leaf: '{"actor":"\\ud800"}',
    ],
)
def test_only_the_canonical_form_is_a_leaf(spoil: Any) -> None:
    with pytest.raises(AuditError):
        read_leaf(spoil(entry_of().leaf))


@given(st.text())
def test_random_text_is_no_leaf(text: str) -> None:
    with pytest.raises(AuditError):
        read_leaf(text)


def test_the_repr_of_an_entry_shows_neither_leaf_nor_lines() -> None:
    assert repr(entry_of(*TWO)) == "<Entry 018df9a0-0000-7000-8000-000000000001>"


@pytest.mark.parametrize("vector", VECTORS["entries"], ids=lambda v: v["name"])
def test_vectors_of_entries(vector: dict[str, Any]) -> None:
    given = dict(vector["given"])
    lines = [Line(bytes.fromhex(line["subject"]), line["number"], line["outcome"]) for line in given.pop("lines")]
    entry = build_entry(
        **given | {"time": datetime.fromisoformat(given["time"]), "salts": bytes.fromhex(given["salts"])}, lines=lines
    )
    assert entry.leaf == vector["leaf"]
    assert entry.leaf_hash.hex() == vector["leaf_hash"]
    assert entry.lines.hex() == vector["lines"]
    assert list(entry.outcomes) == vector["outcomes"]
    assert subjects_root(entry.lines, entry.outcomes, given["categories"]).hex() == vector["subjects_root"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_vectors_of_refusals(vector: dict[str, Any]) -> None:
    with pytest.raises(AuditError, match=vector["reason"]):
        verify_entry(vector["leaf"], bytes.fromhex(vector["lines"]), vector["outcomes"])
