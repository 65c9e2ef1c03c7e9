"""A member's copy: whole, only for whom it is, safe to look at, and read back as it was or not at all."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.profiles import MATCHMAKER, REGISTRAR, Profile, embedded
from vaultstore import Actor, Store
from vaultstore.errors import (
    AccessDenied,
    ApprovalMissing,
    BundleError,
    NotDisclosed,
    SubjectErased,
    SubjectRestricted,
    WriteDenied,
)
from vaultstore.lifecycle.portability import Export
from vaultstore.members.ids import conversation_id
from vaultstore.members.models import ChatMessage, Member, ProfileView
from vaultstore.records.entries import vs_entries
from vaultstore.records.keyring import vs_keyring

OFFICER = Actor("po-1", role="privacy_officer")
COURIER, MATCHER = Actor("courier-1", role="courier"), Actor("matcher-1", role="matcher")
NOW = datetime(2021, 11, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    with embedded(tmp_path) as made:
        yield made


def own_token(store: Store, who: uuid.UUID) -> str:
    return store.issue(Actor(str(who), role="member"), "member.self", subjects=[who])


def desk_token(store: Store, *named: uuid.UUID, about: uuid.UUID | None = None) -> str:
    case = store.cases.open("privacy", assigned_to=OFFICER.id, subjects=[about] if about else named)
    return store.issue(OFFICER, "privacy.request", subjects=named, case=case)


def chat(profile: Profile, sender: uuid.UUID, recipient: uuid.UUID, count: int) -> None:
    with profile.store.begin(profile.token(COURIER, "chat.delivery")) as session:
        session.add_all(
            ChatMessage(
                sender_id=sender,
                recipient_id=recipient,
                conversation_id=conversation_id(sender, recipient),
                sent_at=NOW,
                body=f"你好 {n}",
            )
            for n in range(count)
        )


def view(profile: Profile, viewer: uuid.UUID, viewed: uuid.UUID) -> None:
    with profile.store.begin(profile.token(MATCHER, "matching")) as session:
        session.add(ProfileView(viewer_id=viewer, viewed_id=viewed, viewed_at=NOW, event=f"{viewer}|{viewed}"))


def outcomes(store: Store) -> list[tuple[str, str]]:
    with store.parts.gate_engine.connect() as connection:
        leaves = [json.loads(leaf) for leaf in connection.scalars(select(vs_entries.c.leaf))]
    return [(leaf["purpose"], leaf["outcome"]) for leaf in leaves]


def sealed_anew(data: bytes) -> bytes:
    """An altered file with a digest that fits, and nobody's seal."""
    body = data.rpartition(b'\n"sha256":')[0] + b"\n"
    return body + f'"sha256":"{sha256(body).hexdigest()}",\n"seal":null\n}}\n'.encode()


# ------------------------------------------------------------------------------------------------------- out


def test_a_member_gets_everything_that_is_kept_of_them(profile: Profile) -> None:
    store = profile.store
    mine, other = profile.add_members(2)
    chat(profile, mine, other, 3)
    chat(profile, other, mine, 2)
    view(profile, mine, other)
    store.consents.grant(mine, "matchmaking", notice_version="2021-11")
    store.consents.withdraw(mine, "matchmaking")
    copy = store.portability.export(mine, own_token(store, mine))
    bundle, content = copy.read(), json.loads(copy.data)
    assert content["format"] == "vaultstore/export/v1"
    assert {m: n for m, n in content["counts"].items() if n} == {"Member": 1, "ChatMessage": 3, "ProfileView": 1}
    [row] = bundle.rows["Member"]
    assert (row["phone"], row["monthly_income"], row["birth_date"]) == ("13800000000", "12000.50", "1988-02-29")
    assert (row["nickname"], row["height_cm"], row["id_number"]) == ("nick-0", 168, None)
    assert {m["body"] for m in bundle.rows["ChatMessage"]} == {"你好 0", "你好 1", "你好 2"}
    assert bundle.rows["ProfileView"][0]["viewed_id"] == str(other)
    [consent] = bundle.consents
    assert (consent["kind"], consent["notice_version"]) == ("matchmaking", "2021-11")
    assert consent["withdrawn_at"] is not None
    assert [state["state"] for state in bundle.states] == ["active"]
    assert str(uuid.UUID(content["subject"])) == str(mine)
    assert bundle.seal is not None
    assert "13800000001" not in copy.data.decode()
    assert ("member.self", "disclosed") in outcomes(store)


def test_what_the_purpose_does_not_read_is_listed_with_the_reason(small: Profile) -> None:
    [mine] = small.add_members(1)
    small.claim([mine])
    copy = small.store.portability.export(mine, own_token(small.store, mine)).read()
    withheld = {item.get("model") or item.get("records"): item["reason"] for item in copy.withheld}
    assert withheld["states"] == "reasons of changes in the last 90 days would be told later"
    assert withheld["Lead"] == "purpose member.self has nothing to do with it"
    assert withheld["cases"] == "any opened in the last 90 days would be told later"


def test_the_privacy_desk_copies_a_restricted_member_too_and_their_leads(profile: Profile) -> None:
    store = profile.store
    [mine] = profile.add_members(1)
    profile.claim([mine])
    token = desk_token(store, mine)
    store.subjects.restrict(mine, reason="in dispute")
    copy = store.portability.export(mine, token).read()
    assert copy.rows["Member"][0]["name"] == "欧阳晨秀"
    assert copy.rows["Lead"][0]["actor_id"] == MATCHMAKER.id
    assert [(state["state"], state["reason"]) for state in copy.states] == [("active", None), ("restricted", None)]
    with pytest.raises(SubjectRestricted):
        store.portability.export(mine, own_token(store, mine))


def test_another_member_gets_nothing_of_me_and_that_is_audited(profile: Profile) -> None:
    mine, other = profile.add_members(2)
    out = io.BytesIO()
    with pytest.raises(NotDisclosed) as refused:
        profile.store.portability.export_to(out, mine, own_token(profile.store, other))
    assert refused.value.reason == "subject.not_named"
    assert out.getvalue() == b""
    assert ("member.self", "refused:subject.not_named") in outcomes(profile.store)


def test_no_other_purpose_makes_copies_and_that_is_audited(profile: Profile) -> None:
    [mine] = profile.add_members(1)
    profile.claim([mine])
    for actor, purpose in ((MATCHMAKER, "sales.outreach"), (MATCHER, "matching"), (REGISTRAR, "registration")):
        out = io.BytesIO()
        with pytest.raises(AccessDenied) as refused:
            profile.store.portability.export_to(out, mine, profile.token(actor, purpose))
        assert refused.value.reason == "not.granted"
        assert out.getvalue() == b""
        assert (purpose, "refused:not.granted") in outcomes(profile.store)


def test_the_desk_needs_a_case_that_names_the_member(small: Profile) -> None:
    mine, other = small.add_members(2)
    with pytest.raises(ApprovalMissing):
        small.store.portability.export(mine, desk_token(small.store, mine, about=other))
    with pytest.raises(NotDisclosed):
        small.store.portability.export(mine, desk_token(small.store, other))


def test_of_an_erased_member_there_is_no_copy(small: Profile) -> None:
    [mine] = small.add_members(1)
    token = desk_token(small.store, mine)
    small.store.subjects.erase(mine, reason="asked for")
    with pytest.raises(SubjectErased):
        small.store.portability.export(mine, token)


def test_a_value_that_does_not_open_is_listed_and_the_rest_is_there(small: Profile) -> None:
    mine, other = small.add_members(2)
    with small.store.engine.begin() as connection:
        phone = connection.execute(sa.text("SELECT phone FROM members WHERE id = :i"), {"i": other.hex}).scalar_one()
        connection.execute(sa.text("UPDATE members SET phone = :p WHERE id = :i"), {"p": phone, "i": mine.hex})
    copy = small.store.portability.export(mine, own_token(small.store, mine)).read()
    assert "phone" not in copy.rows["Member"][0]
    assert copy.rows["Member"][0]["email"] == "user0@example.com"
    assert {"model": "Member", "field": "phone", "row": str(mine), "reason": "it does not open"} in copy.withheld


def test_the_page_shows_what_a_nickname_holds_and_runs_none_of_it(small: Profile) -> None:
    evil = '</td><script>alert(1)</script><img src=x onerror="x()">\u202e'
    [mine] = small.add_members(1, nickname=evil, wants="<b>wants</b>")
    html = small.store.portability.export(mine, own_token(small.store, mine)).html()
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "default-src &#x27;none&#x27;" in html
    assert not re.search(r"\son\w+=", re.sub(r"&[a-z]+;|&#\w+;", "", html.replace("onerror=&quot;", "")))
    assert "13800000000" in html


def test_a_long_history_takes_no_memory(small: Profile) -> None:
    few, many, other = small.add_members(3)
    chat(small, few, other, 10)
    chat(small, many, other, 2_000)

    class Nowhere(io.RawIOBase):
        size = 0

        def write(self, data: Any) -> int:
            self.size += len(data)
            return len(data)

    def peak(who: uuid.UUID) -> tuple[int, int]:
        out: Any = Nowhere()
        token = own_token(small.store, who)
        tracemalloc.start()
        small.store.portability.export_to(out, who, token)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return out.size, found

    peak(few)
    small_size, small_peak = peak(few)
    long_size, long_peak = peak(many)
    assert long_size > 10 * small_size
    assert long_peak < small_peak + 3_000_000


# -------------------------------------------------------------------------------------------------------- in


def moved(profile: Profile, who: uuid.UUID) -> None:
    """Take the rows and the keys of a member away, as if they had never been here (unlike an erasure)."""
    with Session(profile.store.engine) as session, session.begin():
        for model, key in ((ProfileView, "viewer_id"), (ChatMessage, "sender_id"), (Member, "id")):
            table: Any = model.__table__
            session.execute(table.delete().where(table.c[key] == who))
        session.execute(vs_keyring.delete().where(vs_keyring.c.subject == who.bytes))


def test_a_copy_comes_back_as_it_was(profile: Profile) -> None:
    store = profile.store
    [mine] = profile.add_members(1)
    copy = store.portability.export(mine, own_token(store, mine))
    moved(profile, mine)
    done = store.portability.import_(copy.data, profile.token(REGISTRAR, "registration"), leave_out=True)
    assert ({m: n for m, n in done.rows.items() if n}, done.identical) == ({"Member": 1}, False)
    assert done.left["ChatMessage"] == "purpose registration does not write its rows"
    again = store.portability.export(mine, own_token(store, mine))
    assert again.read().rows == copy.read().rows
    with store.session(profile.token(REGISTRAR, "registration")) as session:
        found = session.scalars(select(Member.id).where(Member.phone == "13800000000")).all()
    assert found == [mine]  # the blind index came along
    same = store.portability.import_(copy.data, desk_token(store, mine), leave_out=True)
    assert (same.identical, same.rows) == (True, {})


def test_a_member_who_is_here_is_not_overwritten(small: Profile) -> None:
    store = small.store
    [mine] = small.add_members(1)
    copy = store.portability.export(mine, own_token(store, mine)).data
    with pytest.raises(WriteDenied, match=r"can't read Member\.name to compare"):
        store.portability.import_(copy, small.token(REGISTRAR, "registration"), leave_out=True)
    with store.begin(own_token(store, mine)) as session:
        session.get(Member, mine).phone = "13999999999"
    with pytest.raises(WriteDenied, match=r"rows\.Member\[0\]\.phone is another") as refused:
        store.portability.import_(copy, desk_token(store, mine), leave_out=True)
    assert "13999999999" not in str(refused.value)
    assert "13800000000" not in str(refused.value)


def test_an_altered_file_is_refused(small: Profile) -> None:
    store = small.store
    [mine] = small.add_members(1)
    copy = store.portability.export(mine, own_token(store, mine)).data
    moved(small, mine)
    token = small.token(REGISTRAR, "registration")

    def refusal(data: bytes, **options: bool) -> str:
        with pytest.raises(BundleError) as refused:
            store.portability.import_(data, token, leave_out=True, **options)
        assert "13800000000" not in str(refused.value)
        return str(refused.value)

    altered = copy.replace(b"13800000000", b"13800000009")
    assert refusal(altered) == "sha256: the file is not the one that was written: it was altered since"
    assert refusal(sealed_anew(altered)).startswith("seal: nobody has sealed this file")
    theirs = sealed_anew(altered)[: -len(b'"seal":null\n}\n')] + copy[copy.rindex(b'"seal":') :]
    assert refusal(theirs) == "seal: the seal is that of another file"
    assert "no copy of a member's data" in refusal(copy[: len(copy) // 2])
    assert "not JSON" in refusal(sealed_anew(copy.replace(b'"rows":{', b'"rows":{{', 1)))
    foreign = sealed_anew(copy.replace(b'"phone":"13800000000"', b'"phone":13800000000', 1))
    assert refusal(foreign, unsealed=True) == "rows.Member[0].phone: is not text"
    unknown = sealed_anew(copy.replace(b'\n{"id":', b'\n{"is_admin":true,"id":', 1))
    assert refusal(unknown, unsealed=True).startswith("rows.Member[0].is_admin: is no attribute")
    masked = sealed_anew(copy.replace(b'\n{"id":', b'\n{"phone_sales_card":"x","id":', 1))
    assert refusal(masked, unsealed=True).startswith("rows.Member[0].phone_sales_card: is no attribute")
    missing = sealed_anew(copy.replace(b'"gender":"F",', b"", 1))
    assert refusal(missing, unsealed=True) == "rows.Member[0].gender: is missing"
    twice = sealed_anew(copy.replace(b'\n{"id":', b'\n{"phone":"1","id":', 1))
    assert "not JSON" in refusal(twice, unsealed=True)
    with Session(store.engine) as session:
        assert session.scalar(select(sa.func.count()).select_from(Member.__table__)) == 0


def test_a_file_that_names_another_subject_is_refused(small: Profile) -> None:
    store = small.store
    mine, other = small.add_members(2)
    copy = store.portability.export(mine, own_token(store, mine)).data
    moved(small, mine)
    token = small.token(REGISTRAR, "registration")
    renamed = sealed_anew(copy.replace(f'"subject":"{mine}"'.encode(), f'"subject":"{other}"'.encode(), 1))
    with pytest.raises(BundleError, match=r"^rows\.Member\[0\]\.id: is about another subject than the file is$"):
        store.portability.import_(renamed, token, unsealed=True, leave_out=True)
    with pytest.raises(AccessDenied) as refused:
        store.portability.import_(copy, desk_token(store, other), leave_out=True)
    assert refused.value.reason == "subject.not_named"


def test_what_the_purpose_does_not_write_is_refused_unless_it_is_left_out(small: Profile) -> None:
    store = small.store
    [mine] = small.add_members(1)
    copy = store.portability.export(mine, own_token(store, mine)).data
    moved(small, mine)
    with pytest.raises(AccessDenied, match="registration does not write"):
        store.portability.import_(copy, small.token(REGISTRAR, "registration"))
    with pytest.raises(AccessDenied, match=r"member\.self does not write identity of Member"):
        store.portability.import_(copy, own_token(store, mine))


def test_nothing_is_half_written(small: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second row whose id somebody else has stops the first one too."""
    store = small.store
    mine, other = small.add_members(2)
    copy = store.portability.export(mine, own_token(store, mine)).data
    moved(small, mine)
    taken = sealed_anew(copy.replace(str(mine).encode(), str(other).encode()))
    with pytest.raises(WriteDenied):
        store.portability.import_(taken, small.token(REGISTRAR, "registration"), unsealed=True, leave_out=True)
    with Session(store.engine) as session:
        assert session.scalars(select(Member.__table__.c.id)).all() == [other]
        left = session.execute(select(vs_keyring.c.key_id).where(vs_keyring.c.subject == mine.bytes)).all()
    assert left == []


def test_an_erased_member_does_not_come_back(small: Profile) -> None:
    store = small.store
    [mine] = small.add_members(1)
    copy = store.portability.export(mine, own_token(store, mine)).data
    store.subjects.erase(mine, reason="asked for")
    with Session(store.engine) as session, session.begin():
        session.execute(Member.__table__.delete())
    with pytest.raises(SubjectErased):
        store.portability.import_(copy, small.token(REGISTRAR, "registration"), leave_out=True)


def test_an_export_shows_no_value_in_its_repr(small: Profile) -> None:
    [mine] = small.add_members(1)
    copy: Export = small.store.portability.export(mine, own_token(small.store, mine))
    assert "13800000000" not in repr(copy) + repr(copy.read())
