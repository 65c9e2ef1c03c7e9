"""The keyring exported and imported: what the file holds, what it refuses, and how it goes on after a break."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.integration.lifecycle.test_backups import phone_of
from tests.support.profiles import Profile
from vaultstore import errors
from vaultstore.lifecycle import keyring_dump
from vaultstore.lifecycle.keyring_dump import Imported
from vaultstore.records import keyring_dump as records
from vaultstore.records.keyring import vs_keyring

pytestmark = pytest.mark.integration


def export(profile: Profile, path: Path) -> Path:
    """A dump of the live keyring."""
    profile.store.keyring_dump.export(path, operator="keeper")
    return path


def bring_back(profile: Profile, path: Path, *, replace: bool = False) -> Imported:
    return profile.store.keyring_dump.import_(path, operator="keeper", replace=replace)


def rows(profile: Profile) -> set[tuple[object, ...]]:
    with profile.store.engine.connect() as connection:
        return {tuple(row) for row in connection.execute(sa.select(vs_keyring))}


def lose(profile: Profile, *subjects: uuid.UUID) -> None:
    """The keyring's rows are gone, of everybody or of some: a disk failed."""
    with profile.store.engine.begin() as connection:
        query = vs_keyring.delete()
        if subjects:
            query = query.where(vs_keyring.c.subject.in_([s.bytes for s in subjects]))
        connection.execute(query)


def counts(profile: Profile, kind: str) -> list[dict[str, int]]:
    with profile.store.parts.gate_engine.connect() as connection:
        leaves = connection.exec_driver_sql(f"SELECT leaf FROM vs_entries WHERE kind = '{kind}' ORDER BY seq").scalars()
        return [json.loads(leaf)["counts"] for leaf in leaves]


def test_a_lost_keyring_comes_back_whole_and_only_wrapped_keys_were_in_the_file(
    profile: Profile, tmp_path: Path
) -> None:
    ids = profile.add_members(5)
    before = rows(profile)
    path = export(profile, tmp_path / "keyring.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    wraps = [line[4] for line in lines if isinstance(line, list)]
    assert len(wraps) == len(before)
    assert all(wrap.split(":")[:2] in (["local", "v1"], ["vault", "v1"]) for wrap in wraps)
    lose(profile)
    done = bring_back(profile, path)
    assert (done.added, done.same, done.conflicts) == (len(before), 0, 0)
    assert rows(profile) == before
    assert phone_of(profile.store, ids[4]) == "13800000004"
    again = bring_back(profile, path)
    assert (again.added, again.same) == (0, len(before))
    assert counts(profile, "keyring.export") == [{"keys": len(before)}]
    assert counts(profile, "keyring.import")[0]["added"] == len(before)


def test_the_erased_do_not_come_back_with_it(profile: Profile, tmp_path: Path) -> None:
    ids = profile.add_members(3)
    path = export(profile, tmp_path / "keyring.jsonl")
    profile.store.subjects.erase(ids[0], reason="asked for")
    lose(profile)
    done = bring_back(profile, path)
    per_member = done.added // 2
    assert done.erased == per_member > 0
    with profile.store.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(vs_keyring.c.subject == ids[0].bytes)
        assert connection.execute(query).scalar_one() == 0
    with pytest.raises(errors.SubjectErased):
        phone_of(profile.store, ids[0])


@pytest.mark.parametrize(
    "attack", ["byte", "wrap moved", "line taken out", "line doubled", "end cut off", "more behind"]
)
def test_a_file_that_was_changed_brings_no_key_back(profile: Profile, tmp_path: Path, attack: str) -> None:
    profile.add_members(3)
    path = export(profile, tmp_path / "keyring.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    one, other = json.loads(lines[1]), json.loads(lines[-3])
    changed = {
        "byte": [lines[0], lines[1].replace(b"v1:", b"v1:A", 1), *lines[2:]],
        "wrap moved": [*lines[:1], json.dumps([*one[:4], other[4], *one[5:]], separators=(",", ":")).encode() + b"\n",
                       *lines[2:]],
        "line taken out": [lines[0], *lines[2:]],
        "line doubled": [*lines[:2], lines[1], *lines[2:]],
        "end cut off": lines[:-1],
        "more behind": [*lines, lines[1]],
    }[attack]  # fmt: skip
    assert changed != lines
    path.write_bytes(b"".join(changed))
    lose(profile)
    with pytest.raises(errors.ProofError, match=r"keyring\.jsonl"):
        bring_back(profile, path)
    assert rows(profile) == set()


def test_marks_made_anew_do_not_help_without_the_signing_key(profile: Profile, tmp_path: Path) -> None:
    """An attacker who rewrites the file recomputes every digest in it, and can't sign the end."""
    from hashlib import sha256

    profile.add_members(1)
    path = export(profile, tmp_path / "keyring.jsonl")
    lines = path.read_text().splitlines()
    del lines[1]
    text, count = lines[0] + "\n", 0
    for line in lines[1:]:
        content = json.loads(line)
        if isinstance(content, list):
            count += 1
        else:
            content |= {"count": count, "digest": sha256(text.encode()).hexdigest()}
            line = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        text += line + "\n"
    path.write_text(text)
    lose(profile)
    with pytest.raises(errors.ProofError, match="its signature is of another dump"):
        bring_back(profile, path)
    assert rows(profile) == set()


def test_another_stores_dump_is_refused(profile: Profile, tmp_path: Path) -> None:
    profile.add_members(1)
    path = export(profile, tmp_path / "keyring.jsonl")
    path.write_bytes(path.read_bytes().replace(b"vaultstore.local/vaultstore", b"vaultstore.local/elsewhere"))
    with pytest.raises(errors.ProofError, match=r"the dump of another store, vaultstore\.local/elsewhere"):
        bring_back(profile, path)
    part = tmp_path / "part"
    part.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(errors.SettingsError, match="the dump of another store"):
        export(profile, part)


def test_an_export_that_was_broken_off_goes_on_and_is_as_if_it_had_not_been(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = records.pages
    monkeypatch.setattr(keyring_dump.records, "pages", lambda connection, after=None: pages(connection, after, 7))
    profile.add_members(8)
    whole = export(profile, tmp_path / "whole")
    size = whole.stat().st_size
    for cut in (size - 1, size // 2, size // 3, 40):
        part = tmp_path / f"part-{cut}"
        shutil.copy(whole, part)
        os.truncate(part, cut)
        if cut == 40:  # not even the header: that is no dump
            with pytest.raises(errors.ProofError, match="not a dump"):
                export(profile, part)
            continue
        with pytest.raises(errors.ProofError):
            profile.store.keyring_dump.check(part)
        done = profile.store.keyring_dump.export(part, operator="keeper")
        assert done.resumed
        keys = [[line for line in p.read_text().splitlines() if line.startswith("[")] for p in (part, whole)]
        assert keys[0] == keys[1]
        assert profile.store.keyring_dump.check(part) == len(keys[1])
    with pytest.raises(errors.SettingsError, match="is there already, and whole"):
        export(profile, whole)


def test_an_import_that_was_broken_off_goes_on(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = records.pages
    monkeypatch.setattr(keyring_dump.records, "pages", lambda connection, after=None: pages(connection, after, 7))
    profile.add_members(6)
    before = rows(profile)
    path = export(profile, tmp_path / "keyring.jsonl")
    lose(profile)

    def stop(done: int, total: int) -> None:
        if done >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile.store.keyring_dump.import_(path, operator="keeper", on_keys=stop)
    assert 0 < len(rows(profile)) < len(before)
    bring_back(profile, path)
    assert rows(profile) == before


def test_another_wrap_of_a_key_is_refused_and_listed_unless_it_is_to_be_replaced(
    profile: Profile, tmp_path: Path
) -> None:
    ids = profile.add_members(2)
    path = export(profile, tmp_path / "keyring.jsonl")
    with profile.store.engine.begin() as connection:
        broken = vs_keyring.update().where(vs_keyring.c.subject == ids[0].bytes, vs_keyring.c.category == "contact")
        connection.execute(broken.values(wrapped=sa.func.replace(vs_keyring.c.wrapped, "v1:", "v1:A")))
    done = bring_back(profile, path)
    assert done.conflicts == 1
    assert [(one.subject, one.category) for one in done.listed] == [(ids[0].bytes, "contact")]
    with pytest.raises(errors.VaultstoreError):
        phone_of(profile.store, ids[0])
    assert bring_back(profile, path, replace=True).replaced == 1
    assert phone_of(profile.store, ids[0]) == "13800000000"


def test_an_older_dump_never_takes_a_newer_wraps_place(profile: Profile, tmp_path: Path) -> None:
    from tests.integration.lifecycle.test_backups import KEEPER

    ids = profile.add_members(2)
    path = export(profile, tmp_path / "keyring.jsonl")
    token = profile.token(KEEPER, "maintenance.keys")
    profile.store.keyring.rotate("contact", token)
    profile.store.keyring.rewrap("contact", token)
    after = rows(profile)
    done = bring_back(profile, path, replace=True)
    assert (done.older, done.replaced, done.conflicts) == (2, 0, 0)
    assert rows(profile) == after
    profile.store.keyring.retire("contact", token)
    lose(profile, ids[0])
    done = bring_back(profile, path)
    assert done.retired == 1
    with profile.store.engine.connect() as connection:
        query = sa.select(vs_keyring.c.category).where(vs_keyring.c.subject == ids[0].bytes)
        assert "contact" not in set(connection.scalars(query))
