"""Policies over several files, and the files themselves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vaultstore.errors import PolicyError
from vaultstore.policy import Limit, ModelRead, Policy, Requirements

from .catalogue import members
from .samples import SMALL

HEAD = SMALL[: SMALL.index("purposes:")]
REST = "version: 1\n" + SMALL[SMALL.index("purposes:") :]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_a_purpose_has_every_value_that_is_written() -> None:
    purpose = Policy.parse(SMALL).purposes["care.complaint"]
    assert (purpose.description, purpose.label, purpose.basis) == ("settle complaints", "essential.service", "contract")
    assert purpose.roles == {"care_agent"}
    assert purpose.read == {"Member": ModelRead(frozenset({"care_card"}))}
    assert purpose.search == {"Member": {"phone"}}
    assert purpose.requires == Requirements(case=True, subjects="named")
    assert purpose.limits == {"disclose": (Limit(9, "1h", "actor"),), "search": (Limit(9, "day", "purpose"),)}
    assert purpose.approves == {"sales.outreach"}
    assert purpose.timezone == "Asia/Shanghai"


def test_an_absent_list_grants_nothing() -> None:
    purpose = Policy.parse("version: 1\npurposes: {idle: {roles: [clerk]}}").purposes["idle"]
    assert (purpose.read, purpose.search, purpose.write, purpose.approves) == ({}, {}, {}, frozenset())
    assert (purpose.batch, purpose.ttl, purpose.timezone) == (50, timedelta(minutes=15), "UTC")


def test_an_empty_list_of_categories_grants_the_rows_and_no_field() -> None:
    text = "version: 1\npurposes: {look: {roles: [clerk], read: {Member: {categories: []}}}}"
    assert Policy.parse(text).purposes["look"].read == {"Member": ModelRead(frozenset())}


def test_rules_can_not_be_changed_once_loaded() -> None:
    policy = Policy.parse(SMALL)
    for mapping in (policy.purposes, policy.purposes["sales.outreach"].read, policy.categories):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]


def test_a_folder_is_read_deep_and_merged(tmp_path: Path) -> None:
    write(tmp_path, z__categories=HEAD, purposes__all=REST)
    policy = Policy.load(tmp_path)
    assert policy.purposes == Policy.parse(SMALL).purposes
    assert policy.bind(members()).digest("sales.outreach") == Policy.parse(SMALL).bind(members()).digest(
        "sales.outreach"
    )
    assert policy.lock_file == tmp_path / "fields.lock"


def test_several_paths_make_one_policy(tmp_path: Path) -> None:
    write(tmp_path, one__a=HEAD, two__b=REST)
    assert Policy.load([tmp_path / "one", tmp_path / "two" / "b.yaml"]).purposes == Policy.parse(SMALL).purposes
    assert Policy.load(str(tmp_path)).purposes == Policy.parse(SMALL).purposes
    assert Policy.load([tmp_path / "one" / "a.yaml"]).lock_file is None


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("purposes: {idle: {roles: [a]}}", "purposes: {idle: {roles: [b]}}", "purposes: 'idle' is defined twice"),
        ("categories: {contact: {}}", "categories: {contact: {}}", "categories: 'contact' is defined twice"),
        ("roles: {clerk: a}", "roles: {clerk: b}", "roles: 'clerk' is defined twice"),
    ],
)
def test_what_two_files_define_is_an_error_that_names_both(tmp_path: Path, one: str, two: str, expected: str) -> None:
    write(tmp_path, a=f"version: 1\n{one}", b=f"version: 1\n\n{two}")
    with pytest.raises(PolicyError) as caught:
        Policy.load(tmp_path)
    assert f"{tmp_path}/b.yaml:3:" in str(caught.value)
    assert f"{expected}; the first is at {tmp_path}/a.yaml:2:" in str(caught.value)


def test_a_second_time_zone_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a="version: 1\ntimezone: UTC", b="version: 1\ntimezone: UTC")
    with pytest.raises(PolicyError, match=r"b\.yaml:2:1: timezone is set twice; the first is at .*a\.yaml:2:1"):
        Policy.load(tmp_path)


def test_a_file_that_would_be_skipped_in_silence_is_an_error(tmp_path: Path) -> None:
    (write(tmp_path, a=SMALL) / "never.yml").write_text("version: 1")
    with pytest.raises(PolicyError, match=r"never\.yml: only \*\.yaml is loaded: rename the file"):
        Policy.load(tmp_path)


def test_what_is_not_there_is_a_policy_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="holds no"):
        Policy.load(tmp_path)
    with pytest.raises(PolicyError, match="can not be read: No such file"):
        Policy.load(tmp_path / "absent")
    with pytest.raises(PolicyError, match="can not be read: not a file name"):
        Policy.load("nul\0byte")
    with pytest.raises(PolicyError, match="can not be read: File name too long"):
        Policy.load("x" * 5000)
    with pytest.raises(PolicyError, match="more than 256 policy files"):
        Policy.load([tmp_path / "absent"] * 257)
    with pytest.raises(PolicyError, match="no policy file"):
        Policy.load([])
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(PolicyError, match="can not be read: Is a directory"):
        Policy.load(tmp_path)


def test_a_link_to_the_data_privacy_vocabulary_is_kept() -> None:
    text = "version: 1\npurposes: {idle: {roles: [clerk], dpv: %s}}"
    iri = "https://w3id.org/dpv#CustomerCare"
    assert Policy.parse(text % f'"{iri}"').purposes["idle"].dpv == iri
    with pytest.raises(PolicyError, match=r"2:40: purpose idle, dpv: expected an IRI such as https://w3id\.org/dpv#"):
        Policy.parse(text % "CustomerCare")


@pytest.mark.parametrize(
    ("per", "window"),
    [("day", None), ("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("30d", timedelta(days=30))],
)
def test_a_day_is_a_calendar_day_and_every_other_window_slides(per: str, window: timedelta | None) -> None:
    purpose = Policy.parse(SMALL.replace("max: 100, per: day", f"max: 100, per: {per}")).purposes["sales.outreach"]
    assert purpose.limits["disclose"][0].window == window


def test_sections_may_be_spread_and_empty(tmp_path: Path) -> None:
    write(tmp_path, a=SMALL, b="version: 1\nnever: []\ntests: []\npurposes: {}")
    assert Policy.load(tmp_path).never[0].because == "numbers stay in"


def test_roles_need_no_declaration_where_no_file_declares_any() -> None:
    assert Policy.parse("version: 1\npurposes: {idle: {roles: [anyone]}}").purposes["idle"].roles == {"anyone"}
