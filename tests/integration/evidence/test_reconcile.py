"""The gate's log against Vault's own: what went past the gate shows, and what did not is matched."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.support.profiles import MATCHMAKER, Profile, standard
from vaultstore.errors import AuditError
from vaultstore.evidence.reconcile import Mismatch, Reconciled, reconcile
from vaultstore.evidence.vault_log import VaultLog
from vaultstore.members.models import Member
from vaultstore.testing import OpenBaoServer
from vaultstore.tokens import Issuer

pytestmark = pytest.mark.integration


@pytest.fixture
def profile(tmp_path: Path, openbao_raft: OpenBaoServer, pg_database: str) -> Iterator[Profile]:
    with standard(tmp_path, openbao_raft, pg_database) as made:
        yield made


@pytest.fixture
def read(profile: Profile, openbao_raft: OpenBaoServer) -> list[uuid.UUID]:
    """Members whose cards a matchmaker has looked at, twice: once cold, once with the keys still open."""
    ids = profile.add_members(5)
    profile.claim(ids)
    token = profile.token(MATCHMAKER, "sales.outreach")
    for _ in range(2):
        with profile.store.session(token) as session:
            assert all(m.phone for m in session.scalars(select(Member)))
    openbao_raft.request("GET", "sys/mounts")  # so that its log goes on past the second look
    return ids


def lines_of(server: OpenBaoServer) -> list[bytes]:
    return server.audit_log.read_bytes().splitlines(keepends=True)


def names_of(profile: Profile) -> tuple[str, str]:
    names = profile.keys._names  # type: ignore[attr-defined]
    return names.mount, names.prefix


def compare(profile: Profile, lines: list[bytes]) -> tuple[Reconciled, list[Mismatch]]:
    told: list[Mismatch] = []
    result = reconcile(profile.store.engine, VaultLog(lines, *names_of(profile)), told.append)
    assert sum(result.found.values()) == len(told)
    return result, told


def test_what_went_through_the_gate_is_matched(
    profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer
) -> None:
    result, told = compare(profile, lines_of(openbao_raft))
    assert told == []
    assert (result.unwraps, result.matched) == (len(read), len(read))
    assert result.from_open_keys == 1


def stolen(profile: Profile, purpose: str, reference: str) -> None:
    """Somebody who holds a login of the purpose unwraps a key straight at Vault."""
    store = profile.store
    grant = store.verify(profile.token(MATCHMAKER, purpose))
    issuer: Issuer = store._issuer
    service = profile.keys.login(issuer.exchange(grant))
    with store.engine.connect() as connection:
        query = "SELECT subject, wrapped FROM vs_keyring WHERE category = 'sales_card' LIMIT 1"
        subject, wrapped = connection.execute(sa.text(query)).one()
    from vaultstore.envelope import wrap_context

    [key] = service.unwrap(
        "sales_card", [(wrap_context(subject.bytes, "sales_card", b""), wrapped)], reference=reference
    )
    assert key is not None
    service.close()


def test_an_unwrap_past_the_gate_is_named(profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer) -> None:
    stolen(profile, "sales.outreach", "")
    stolen(profile, "sales.outreach", str(uuid.uuid4()))
    _, told = compare(profile, lines_of(openbao_raft))
    assert [one.kind for one in told] == ["no entry", "no entry"]
    assert "somebody went past the gate" in told[0].text
    assert "sales.outreach" in told[0].text


def test_a_borrowed_entry_does_not_cover_another_token(
    profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer
) -> None:
    with profile.store.engine.connect() as connection:
        entry = connection.execute(sa.text("SELECT id FROM vs_entries WHERE kind = 'disclose' LIMIT 1")).scalar_one()
    stolen(profile, "sales.outreach", entry)
    _, told = compare(profile, lines_of(openbao_raft))
    assert [one.kind for one in told] == ["other token"]


def edited(lines: list[bytes], change: Any) -> list[bytes]:
    out = []
    for raw in lines:
        if b"/decrypt/" in raw and b'"type":"response"' in raw:
            record = json.loads(raw)
            change(record)
            raw = json.dumps(record).encode() + b"\n"
        out.append(raw)
    return out


def test_a_different_purpose_subject_or_category_is_named(
    profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer
) -> None:
    lines = lines_of(openbao_raft)

    def purpose(record: Any) -> None:
        record["auth"]["metadata"]["purpose"] = "care.complaint"

    def subject(record: Any) -> None:
        items = record["request"]["data"]["batch_input"]
        import base64

        from vaultstore.envelope import wrap_context

        items[0]["context"] = base64.b64encode(wrap_context(bytes(16), "sales_card", b"")).decode()

    def category(record: Any) -> None:
        record["request"]["path"] = record["request"]["path"].replace("sales_card", "contact")

    def nobody(record: Any) -> None:
        record["auth"].pop("metadata")

    for change, kind in (
        (purpose, "other purpose"),
        (subject, "other subject"),
        (category, "other category"),
        (nobody, "no purpose"),
    ):
        result, _ = compare(profile, edited(lines, change))
        assert kind in result.found, kind


def test_an_entry_that_was_deleted_leaves_its_unwraps_behind(
    profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer
) -> None:
    with profile.store.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE vs_entries DISABLE TRIGGER ALL"))
        connection.execute(sa.text("DELETE FROM vs_entries WHERE kind = 'disclose'"))
    result, _ = compare(profile, lines_of(openbao_raft))
    assert result.found == {"no entry": len(read)}


def test_a_disclosure_that_vault_never_saw_is_named(
    profile: Profile, read: list[uuid.UUID], openbao_raft: OpenBaoServer
) -> None:
    more = profile.add_members(1)
    profile.claim(more)
    for _ in range(2):  # two tokens, so that the second finds no open keys
        with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
            assert session.get(Member, more[0]).phone
    lines = lines_of(openbao_raft)
    ours = [at for at, raw in enumerate(lines) if f"/decrypt/{names_of(profile)[1]}".encode() in raw]
    without = [raw for at, raw in enumerate(lines) if at not in ours[-4:-2]]  # request and response of the first
    _, told = compare(profile, without)
    assert [one.kind for one in told] == ["no unwrap"]
    assert "Vault's log is not whole" in told[0].text


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b'{"type":"response","request":{"path":"t/decrypt/p-cat-x"', "line 1 is cut short"),
        (b"time,type\n", "line 1 is not one of Vault's audit log"),
        (b'{"type":"response","time":"x","request":{"path":"t/decrypt/p-cat-x","data":{}}}\n', "line 1 is cut short"),
        (
            b'{"type":"response","time":"2026-01-01","request":{"path":"t/decrypt/p-cat-x","data":{"context":"hmac-"}}}',
            "behind HMACs",
        ),
    ],
)
def test_a_log_that_is_none_is_refused_with_its_line(broken: bytes, says: str) -> None:
    with pytest.raises(AuditError, match=says):
        list(VaultLog([broken], "t", "p-"))


def test_memory_does_not_grow_with_either_log(profile: Profile) -> None:
    engine = sa.create_engine(profile.url)  # not the store's: its statements are recorded here

    def many(count: int) -> Iterator[bytes]:
        for at in range(count):
            yield json.dumps(
                {
                    "type": "response",
                    "time": datetime.now(UTC).isoformat(),
                    "auth": {"metadata": {"purpose": "p", "jti": "j"}},
                    "request": {"path": "t/decrypt/p-cat-x", "data": {"batch_input": [{"reference": f"e{at}"}]}},
                    "response": {"data": {"batch_results": [{"plaintext": "hmac"}]}},
                }
            ).encode()

    peaks = []
    for count in (2_000, 8_000):
        tracemalloc.start()
        result = reconcile(engine, VaultLog(many(count), "t", "p-"), lambda mismatch: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.found == {"no entry": count}
    engine.dispose()
    assert peaks[1] < peaks[0] * 1.5
