from __future__ import annotations

from vaultstore.members.report import ImportReport, Refusal


def test_the_report_lists_refusals_in_line_order() -> None:
    report = ImportReport("views", "views.csv", ignored=("extra",))
    report.refuse([Refusal(9, "viewed_at", "is empty"), Refusal(3, "", "has 2 fields where the header has 3")])
    report.read, report.seconds = 2, 0.12345
    assert report.as_dict() == {
        "kind": "views",
        "file": "views.csv",
        "read": 2,
        "written": 0,
        "already_there": 0,
        "consents": 0,
        "suppressed": 0,
        "seconds": 0.123,
        "ignored_columns": ["extra"],
        "refused": [
            {"line": 3, "column": "", "reason": "has 2 fields where the header has 3"},
            {"line": 9, "column": "viewed_at", "reason": "is empty"},
        ],
    }


def test_a_file_of_which_nothing_could_be_stored_says_so() -> None:
    assert ImportReport("views", "views.csv").nothing_read
    assert not ImportReport("views", "views.csv", written=1).nothing_read
    assert not ImportReport("views", "views.csv", already=1).nothing_read
