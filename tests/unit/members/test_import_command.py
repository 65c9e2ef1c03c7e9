from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.members import DATA
from vaultstore.cli import main
from vaultstore.members.generate import as_csv, town


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    assert run("init", "--dir", made).exit_code == 0
    return made


def test_the_three_files_are_imported_and_again_without_doubling(folder: Path, tmp_path: Path) -> None:
    for expected in ((60, 0), (0, 60)):
        for kind in ("members", "chats", "views"):
            report = tmp_path / "report.json"
            result = run("members", "import", "--dir", folder, DATA / f"{kind}.csv", "--report", report)
            assert result.exit_code == 0, result.output
            said = json.loads(report.read_text())
            assert (said["kind"], said["written"], said["already_there"]) == (kind, *expected)
            assert f"{kind} from {kind}.csv" in result.output


def test_a_refused_line_is_shown_with_its_reason_and_never_with_its_values(folder: Path, tmp_path: Path) -> None:
    people = town(30).members
    people[4]["phone"] = "13800xx0000"
    people[7]["id_number"] = "11010519491231002Y"
    people[9]["birth_date"] = "1999-02-29"
    file, report = tmp_path / "people.csv", tmp_path / "report.json"
    file.write_bytes(as_csv(people, bom=True) + b"\xff\xfe,ragged\r\n")
    result = run("members", "import", "--dir", folder, file, "--report", report)
    assert result.exit_code == 0, result.output
    said = json.loads(report.read_text())
    assert [(r["line"], r["column"]) for r in said["refused"]] == [
        (6, "phone"), (9, "id_number"), (11, "birth_date"), (32, ""),
    ]  # fmt: skip
    for value in ("13800xx0000", "11010519491231002Y", "1999-02-29", people[4]["real_name"], "ragged"):
        assert value not in result.output
        assert value not in report.read_text()
    assert "is not a day of the calendar" in result.output


def test_a_long_list_of_refusals_is_cut_on_the_screen_only(folder: Path, tmp_path: Path) -> None:
    file, report = tmp_path / "views.csv", tmp_path / "report.json"
    file.write_bytes(as_csv(town(20, views=50).views))
    result = run("members", "import", "--dir", folder, file, "--report", report)
    assert result.exit_code == 1
    assert "and 30 more" in result.output
    assert "not one line of this file could be stored" in result.output
    assert len(json.loads(report.read_text())["refused"]) == 50


def test_a_header_at_fault_is_one_line_that_names_what_is_missing(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "views.csv"
    file.write_bytes(b"viewer_id,vieved_id,viewed_at\n")
    result = run("members", "import", "--dir", folder, file)
    assert result.exit_code == 1
    assert "its header lacks viewed_id (the nearest there is 'vieved_id')" in result.output
    assert "Traceback" not in result.output


def test_a_gbk_file_is_refused_line_by_line(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "members.csv"
    rows = [row | {"nickname": "小雨", "real_name": "王芳"} for row in town(5).members]
    file.write_bytes(as_csv(rows).decode().encode("gb18030"))
    result = run("members", "import", "--dir", folder, file)
    assert result.exit_code == 1
    assert "holds bytes that are not UTF-8" in result.output


def test_a_folder_without_a_store_is_an_error(tmp_path: Path) -> None:
    result = run("members", "import", "--dir", tmp_path, DATA / "members.csv")
    assert result.exit_code == 1
    assert "vaultstore init" in result.output
