"""Backups die too: what a restored backup opens after an erasure, in whichever order its parts come back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.backups import Backups, myself
from tests.support.profiles import Profile
from vaultstore import Actor, Store, errors
from vaultstore.audit.checkpoint import Checkpoint
from vaultstore.audit.log import note_keys
from vaultstore.audit.verify import verify_log
from vaultstore.evidence.publish import to_folder
from vaultstore.lifecycle.journal_file import JournalFile
from vaultstore.lifecycle.journals import Outcome
from vaultstore.members.models import Member

pytestmark = pytest.mark.integration

KEEPER = Actor("machine-room", role="operator")


@pytest.fixture
def backups(journaled: Profile, tmp_path: Path) -> Backups:
    folder = tmp_path / "tape"
    folder.mkdir()
    return Backups(journaled, folder)


def phone_of(store: Store, member: uuid.UUID) -> str | None:
    """What the member themselves read of their number."""
    token = store.issue(myself(member), "member.self", subjects=[member])
    with store.session(token) as session:
        return session.scalars(select(Member).where(Member.id == member)).one().phone


def rotate_and_retire(store: Store) -> None:
    """Give up every version of every key that is in use now."""
    token = store.issue(KEEPER, "maintenance.keys")
    for category in store.policy.catalogue.categories:
        store.keyring.rotate(category, token)
    store.keyring.rewrap(None, token)
    for category in store.policy.catalogue.categories:
        store.keyring.retire(category, token)


def fresh(profile: Profile, **options: Any) -> Store:
    """Another process's store on the live database: its caches are empty."""
    return Backups(profile, profile.folder).live(**options)


def test_old_data_beside_the_live_keyring_opens_for_all_but_the_erased(backups: Backups) -> None:
    profile = backups.profile
    ids = profile.add_members(3)
    backups.data()
    profile.store.subjects.erase(ids[1], reason="asked for")
    backups.restore_data()
    with fresh(profile) as store:
        assert phone_of(store, ids[0]) == "13800000000"
        assert phone_of(store, ids[2]) == "13800000002"
        with pytest.raises(errors.SubjectErased):
            phone_of(store, ids[1])
    # Not the gate alone keeps it shut: there is no wrap left, whatever the gate would say.
    with profile.store.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT count(*), count(DISTINCT subject) FROM vs_keyring").one()
    assert left[1] == 2


def test_after_rewrap_and_retire_the_old_keyring_opens_nothing_either(backups: Backups) -> None:
    profile = backups.profile
    ids = profile.add_members(2)
    backups.data()
    backups.keyring()
    profile.store.subjects.erase(ids[0], reason="asked for")
    rotate_and_retire(profile.store)
    assert phone_of(profile.store, ids[1]) == "13800000001"
    backups.restore_data()
    with fresh(profile) as store:
        assert phone_of(store, ids[1]) == "13800000001"
    # The tape with the keyring comes back too, and even the gate is told that nobody was erased.
    backups.restore_keyring()
    with profile.store.parts.ledger.gate() as connection:
        connection.exec_driver_sql("UPDATE vs_subjects SET state = 'active'")
    with fresh(profile) as store:
        for member in ids:
            with pytest.raises(errors.VaultstoreError) as raised:
                phone_of(store, member)
            assert not isinstance(raised.value, errors.AccessDenied)


def test_before_the_retirement_a_thief_of_both_tapes_would_read_on(backups: Backups) -> None:
    """What retiring is for: the same as above without it."""
    profile = backups.profile
    ids = profile.add_members(1)
    backups.data()
    backups.keyring()
    profile.store.subjects.erase(ids[0], reason="asked for")
    backups.restore_data()
    backups.restore_keyring()
    with profile.store.parts.ledger.gate() as connection:
        connection.exec_driver_sql("UPDATE vs_subjects SET state = 'active'")
    with fresh(profile) as store:
        assert phone_of(store, ids[0]) == "13800000000"


def test_a_whole_backup_does_not_open_before_the_journal_is_replayed(backups: Backups) -> None:
    profile, store = backups.profile, backups.profile.store
    ids = profile.add_members(4)
    for member in ids:
        store.consents.grant(member, "matchmaking", notice_version="2021-11")
    store.subjects.restrict(ids[3], reason="dispute")
    token = store.issue(myself(ids[0]), "member.self", subjects=[ids[0]])
    case = store.cases.open("report", assigned_to="u-5", subjects=[ids[0]])
    backups.whole()
    store.cases.close(case)
    store.subjects.erase(ids[1], reason="asked for")
    store.consents.withdraw(ids[2], "matchmaking")
    store.subjects.restrict(ids[2], reason="dispute")
    store.subjects.lift(ids[3], reason="settled")
    store.revoke(jti=store.verify(token).jti)
    journal = store.parts.journal
    with backups.restored(journal=journal.file.path) as restored:
        with pytest.raises(errors.SettingsError, match=r"has not applied its journal .* 6 of them: .* journal replay`"):
            restored.open()
        with restored.open(replaying=True) as behind:
            for act in (lambda: behind.verify(token), lambda: behind.session(token)):
                with pytest.raises(errors.UnsupportedOperation, match="takes no tokens"):
                    act()
            assert behind.journal.status().missing == 6
            assert [line.kind for _, line in behind.journal.missing()] == [
                "close", "erase", "withdraw", "restrict", "lift", "revoke"
            ]  # fmt: skip
            outcome = behind.journal.replay(operator="keeper")
            assert outcome.replayed.applied.total() == 6
            assert behind.journal.replay(operator="keeper").replayed.applied.total() == 0
        with restored.open() as opened:
            assert opened.subjects.state(ids[1]) == "erased"
            with pytest.raises(errors.SubjectErased):
                phone_of(opened, ids[1])
            closed = opened.cases.get(case)
            assert closed is not None
            assert closed.closed_at is not None
            assert [c.withdrawn_at is None for c in opened.consents.history(ids[2])] == [False]
            assert [c.withdrawn_at is None for c in opened.consents.history(ids[0])] == [True]
            assert (opened.subjects.state(ids[2]), opened.subjects.state(ids[3])) == ("restricted", "active")
            with pytest.raises(errors.TokenRevoked), opened.session(token) as session:
                session.scalars(select(Member).where(Member.id == ids[0])).one().phone
            assert phone_of(opened, ids[0]) == "13800000000"
            with opened.engine.connect() as connection:
                held = connection.exec_driver_sql("SELECT count(DISTINCT subject) FROM vs_keyring").scalar_one()
            assert held == 3


def test_journals_of_services_and_of_before_are_replayed_too_and_not_asked_for(
    backups: Backups, tmp_path: Path
) -> None:
    profile, store = backups.profile, backups.profile.store
    ids = profile.add_members(3)
    origin, now = store.parts.origin, datetime.now(UTC)
    service, former = JournalFile(tmp_path / "service.jsonl"), JournalFile(tmp_path / "former.jsonl")
    for file, keeper, member in ((service, "vs_s_app", ids[0]), (former, None, ids[1])):
        head = file.begin(origin, keeper, now)
        file.append(head.line.position, "erase", now, {"subject": str(member)})
    own = store.parts.journal.file.path
    with backups.live(replaying=True) as operator:
        outcome = operator.journal.replay([service.path, former.path], operator="keeper")
        assert outcome.replayed.applied == {"erase": 2}
        assert operator.journal.replay([service.path, former.path], operator="keeper").replayed.applied.total() == 0
        with operator.parts.gate_engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT keeper, number, lost_at IS NULL FROM vs_journal").fetchall()
        assert set(map(tuple, rows)) == {(None, 1, False), ("vs_s_app", 1, True)}
    with fresh(profile) as again:
        assert [again.subjects.state(member) for member in ids] == ["erased", "erased", "active"]
        again.subjects.erase(ids[2], reason="asked for")
    assert own.exists()
    with backups.live(replaying=True) as operator:
        named = service.head()
        assert named is not None
        assert operator.journal.give_up([named.journal], operator="keeper") == [named.journal]


def test_a_log_that_went_back_is_told_by_a_kept_checkpoint_and_says_so_ever_after(
    backups: Backups, tmp_path: Path
) -> None:
    profile, store = backups.profile, backups.profile.store
    ids = profile.add_members(2)
    log, kept = store.parts.log(), tmp_path / "kept"
    log.checkpoint(profile.keys, datetime.now(UTC))
    backups.whole()
    assert phone_of(store, ids[0]) == "13800000000"
    note = log.checkpoint(profile.keys, datetime.now(UTC))
    to_folder(note, kept)
    size = Checkpoint.parse(note.text).size
    options = {"journal": store.parts.journal.file.path, "kept_checkpoints": kept}
    with backups.restored(**options) as restored:
        with pytest.raises(errors.SettingsError, match=f"does not continue the kept checkpoint of {size}: "):
            restored.open()
        outcome = replayed(restored)
        assert outcome.log is not None
        assert (outcome.log.kept, outcome.log.log) == (size, size - 1)
        with restored.open() as opened:
            after = opened.parts.log()
            after.checkpoint(profile.keys, datetime.now(UTC))
            keys = note_keys(profile.keys, after.origin)
            result = verify_log(opened.parts.gate_engine, after.origin, keys, [note])
            assert [f.what for f in result.findings if outcome.log.entry in f.what and "restored" in f.what]
            assert not result.whole
            assert verify_log(opened.parts.gate_engine, after.origin, keys).whole
        with restored.open(replaying=True) as again:
            assert again.journal.replay(operator="keeper").log is None
    with fresh(profile, **options) as live:
        assert live.journal.status().why is None


def replayed(restored: Any) -> Outcome:
    """What replaying a restored store says."""
    with restored.open(replaying=True) as behind:
        outcome: Outcome = behind.journal.replay(operator="keeper")
        return outcome
