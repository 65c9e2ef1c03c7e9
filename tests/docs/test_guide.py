"""What the guide shows is run, and what it says comes of it does come of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.guide import blocks, files, program
from vaultstore.testing import OpenBaoServer

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")

_MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports or ""}
revision, down_revision, branch_labels, depends_on = ${repr(up_revision)}, ${repr(down_revision)}, None, None
def upgrade():
    ${upgrades or "pass"}
def downgrade():
    ${downgrades or "pass"}
'''

_MIGRATE = """
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", "migrations")
config.set_main_option("path_separator", "os")
command.revision(config, "tables", autogenerate=True, rev_id="0001", head="base")
"""

_UPGRADE = """
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", "migrations")
config.set_main_option("path_separator", "os")
command.upgrade(config, "head")
command.check(config)
from service import store
from sqlalchemy import select
from models import Member
from vaultstore import Actor
store.publish()
with store.begin(store.issue(Actor("web", role="signup"), "registration")) as session:
    session.add(member := Member(store="sh-01", city="x", phone="13812345678"))
    session.flush()
    number = member.id
with store.session(store.issue(Actor(str(number), role="member"), "member.self")) as session:
    assert session.scalars(select(Member)).one().phone == "13812345678"
store.close()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files that the guide shows."""
    files(GUIDE, tmp_path)
    return tmp_path


def run(project: Path, *arguments: str, **environ: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_block_runs_and_every_claim_holds(project: Path) -> None:
    (project / "guide_program.py").write_text(program(GUIDE), encoding="utf-8")
    run(project, "-W", "error::ResourceWarning:vaultstore", "guide_program.py")


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("1 + 1  # -> 3", "is not 3"),
        ("1 + 1  # raises ValueError", "nothing is raised"),
        ("int('x')  # raises KeyError", "raises ValueError, not KeyError"),
    ],
)
def test_a_claim_that_does_not_hold_is_found(tmp_path: Path, text: str, flaw: str) -> None:
    with pytest.raises(AssertionError, match=flaw):
        exec(program(f"```python\n{text}\n```\n"), {})


def test_every_block_of_python_is_closed_and_seen() -> None:
    assert GUIDE.count("```python\n") == len(blocks(GUIDE, "python"))


def test_no_number_is_in_the_files_that_the_guide_leaves(project: Path) -> None:
    (project / "guide_program.py").write_text(program(GUIDE), encoding="utf-8")
    run(project, "guide_program.py")
    left = [path for path in project.iterdir() if path.suffix in {".db", ".json"} or "-wal" in path.name]
    assert {path.name for path in left} >= {"members.db", "gate.db", "keys.json"}
    for path in left:
        content = path.read_bytes()
        assert b"1381234560" not in content
        assert b"chen@example.com" not in content


def test_the_tests_that_it_shows_pass(project: Path) -> None:
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cards.py")


@pytest.mark.integration
def test_the_tests_with_real_servers_that_it_shows_pass(project: Path) -> None:
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_service.py")


@pytest.mark.integration
def test_its_migrations_make_the_schema_that_its_service_opens(
    project: Path, openbao: OpenBaoServer, pg_database: str
) -> None:
    environ = {"DATABASE_URL": pg_database, "VAULT_URL": openbao.url, "VAULT_TOKEN": openbao.root_token}
    (project / "migrations" / "script.py.mako").write_text(_MAKO, encoding="utf-8")
    functions = project / "migrations" / "versions" / "0002_functions.py"
    later = functions.read_text(encoding="utf-8")
    functions.unlink()  # written after the first one was generated
    run(project, "-c", _MIGRATE, **environ)
    functions.write_text(later, encoding="utf-8")
    run(project, "-c", _UPGRADE, **environ)
