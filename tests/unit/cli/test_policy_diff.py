"""``vaultstore policy diff``: revisions, folders and files; what it ends with; and what it does not run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Run

SHIPPED = Path(__file__).parents[3] / "policies"


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=")
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "policies" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose `main` has the shipped policy; the current folder."""
    folder = tmp_path / "repository"
    shutil.copytree(SHIPPED, folder / "policies")
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "The policy as it was")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GIT_DIR", raising=False)
    return folder


def test_the_same_policy_is_no_difference(run: Run, repository: Path) -> None:
    result = run("policy", "diff", "main")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "nothing changed\n", "")


def test_a_widening_in_the_working_tree_ends_with_2_unless_it_is_allowed(run: Run, repository: Path) -> None:
    edit(repository, "purposes/sales.yaml", "ttl: 15m", "ttl: 1h")
    result = run("policy", "diff", "main")
    assert (result.exit_code, result.stderr) == (2, "")
    line = next(line for line in result.stdout.splitlines() if "ttl" in line)
    assert line.startswith("  + wider    ttl: 15m -> 1h  policies/purposes/sales.yaml:")
    assert result.stdout.splitlines()[0] == "purpose sales.pool"
    assert result.stdout.splitlines()[-1] == "1 wider"
    allowed = run("policy", "diff", "main", "--allow-widening")
    assert (allowed.exit_code, allowed.stdout) == (0, result.stdout)


def test_a_narrowing_ends_with_0(run: Run, repository: Path) -> None:
    edit(repository, "purposes/sales.yaml", "ttl: 15m", "ttl: 5m")
    result = run("policy", "diff", "main")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  - narrower ttl: 15m -> 5m" in result.stdout
    edit(repository, "purposes/sales.yaml", "# Sales:", "# The sales desk:")
    assert run("policy", "diff", "main").stdout == result.stdout


def test_two_revisions_are_compared_whatever_lies_in_the_working_tree(run: Run, repository: Path) -> None:
    edit(repository, "purposes/sales.yaml", "batch: 50", "batch: 60")
    git(repository, "commit", "-qam", "Wider")
    shutil.rmtree(repository / "policies")
    result = run("policy", "diff", "HEAD~1", "HEAD")
    assert result.exit_code == 2
    assert "batch: 50 -> 60  HEAD:policies/purposes/sales.yaml:" in result.stdout
    assert run("policy", "diff", "HEAD", "HEAD~1").exit_code == 0
    git(repository, "tag", "v1")
    assert run("policy", "diff", "v1", "main").stdout == "nothing changed\n"


def test_folders_and_files_are_compared_without_git(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no git to be found
    for name in ("old", "new"):
        shutil.copytree(SHIPPED, tmp_path / name / "policies")
    edit(tmp_path / "new", "categories.yaml", "Asia/Shanghai", "UTC")
    paths = (tmp_path / "old" / "policies", tmp_path / "new" / "policies")
    result = run("policy", "diff", *paths)
    assert result.exit_code == 2, result.output
    assert "  ~ changed  Asia/Shanghai -> UTC" in result.stdout
    assert run("policy", "diff", paths[0], paths[0]).exit_code == 0
    missing = run("policy", "diff", "main", "--policies", paths[0])
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "git is not installed" in missing.stderr


def test_files_without_a_lock_are_bound_to_the_models(run: Run, tmp_path: Path) -> None:
    text = (
        "version: 1\n"
        "categories: {identity: {}, contact: {}, profile: {}, preference: {}, conversation: {}, browsing: {},\n"
        "  suppression: {},\n"
        "  pool_card: {projection: true}, sales_card: {projection: true}, care_card: {projection: true},\n"
        "  match_card: {projection: true}, chat_flags: {projection: true}}\n"
        "purposes: {a: {roles: [x], read: {Member: {categories: [CARD]}}}}\n"
    )
    for name in ("care_card", "sales_card"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("CARD", name), "utf-8")
    result = run("policy", "diff", tmp_path / "care_card.yaml", tmp_path / "sales_card.yaml", "--json")
    assert result.exit_code == 2, result.output
    told = json.loads(result.stdout)
    assert {finding["direction"] for finding in told["findings"]} == {"wider", "changed", "narrower"}
    assert (told["wider"], told["changed"], told["narrower"], told["note"]) == (1, 1, 1, 0)
    assert told["old"] == str(tmp_path / "care_card.yaml")
    assert all(finding["place"].startswith(str(tmp_path)) for finding in told["findings"])


def test_a_changed_mask_is_seen_in_the_lock(run: Run, repository: Path) -> None:
    edit(repository, "fields.lock", "mask sales_card keep(first=0,last=4)", "mask sales_card keep(first=3,last=4)")
    result = run("policy", "diff", "main")
    assert result.exit_code == 2
    assert "mask sales_card: keep(first=0,last=4) -> keep(first=3,last=4); seen by sales." in result.stdout


def test_the_policy_is_found_below_a_folder_and_from_below(
    run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "mv", "policies", "rules")
    git(repository, "commit", "-qm", "Elsewhere")
    (repository / "web").mkdir()
    monkeypatch.chdir(repository / "web")
    assert run("policy", "diff", "HEAD", "--policies", "../rules").stdout == "nothing changed\n"
    gone = run("policy", "diff", "HEAD~1", "--policies", "../rules")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert gone.stderr == "error: HEAD~1:rules: there is no such file or folder in this revision\n"
    assert run("policy", "diff", "HEAD~1", "HEAD~1", "--policies", "../policies").stdout == "nothing changed\n"


@pytest.mark.parametrize(
    "word",
    [
        "--output=pwned",
        "-h",
        "$(touch pwned)",
        "; touch pwned",
        "main:policies",
        "main..main",
        "^main",
        "nope",
        "",
        "main^{tree}",
        "a\nb",
    ],
)
def test_what_is_no_revision_is_one_line_and_runs_nothing(run: Run, repository: Path, word: str) -> None:
    result = run("policy", "diff", "--", word)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is neither a file, nor a folder, nor a revision that git knows" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in repository.iterdir() if path.name != ".git"] == ["policies"]


def test_outside_of_a_repository_the_word_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    result = run("policy", "diff", "main")
    assert result.exit_code == 1
    assert "'main' is neither a file nor a folder" in result.stderr


def test_an_error_in_a_revision_is_named_with_it(run: Run, repository: Path) -> None:
    edit(repository, "purposes/sales.yaml", "ttl: 15m", "ttl: 15min")
    git(repository, "commit", "-qam", "Broken")
    result = run("policy", "diff", "HEAD~1", "HEAD")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: HEAD:policies/purposes/sales.yaml:")
    (repository / "policies" / "late.yml").write_text("version: 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Not loaded")
    assert "only *.yaml is loaded" in run("policy", "diff", "HEAD", "HEAD~2").stderr


def test_a_link_in_a_revision_is_refused(run: Run, repository: Path) -> None:
    (repository / "policies" / "more.yaml").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "A link")
    result = run("policy", "diff", "HEAD~1", "HEAD")
    assert result.exit_code == 1
    assert "more.yaml: a link or a submodule" in result.stderr


def test_a_file_that_is_too_long_in_a_revision_is_refused(run: Run, repository: Path) -> None:
    (repository / "policies" / "long.yaml").write_text("version: 1\n" + "#" * 2_000_000)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Long")
    result = run("policy", "diff", "HEAD~1", "HEAD")
    assert result.exit_code == 1
    assert "HEAD:policies/long.yaml:1:1: the file has more than 256 KiB" in result.stderr
