"""``vaultstore policy apply`` and ``verify`` on a real OpenBao and PostgreSQL: rolled out, drifted from, healed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from tests.support.vault_plane import remove_plane
from vaultstore.cli import main
from vaultstore.members.resources import copy_policies
from vaultstore.members.schema import targets_of, upgrade
from vaultstore.settings import FILE_NAME
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

SESAME = "SesameOpen77"


@dataclass
class Deployment:
    """A store of its own on shared servers."""

    folder: Path
    url: str
    bao: OpenBaoServer
    name: str
    """Begins its names on both servers."""
    token: str

    @property
    def prefix(self) -> str:
        """Prefix of its PostgreSQL roles."""
        return f"{self.name}_"

    @property
    def acl(self) -> str:
        """Prefix of its ACL policies and keys."""
        return f"{self.name}-"

    def run(self, *arguments: str, token: str | None = None) -> Result:
        """Run ``vaultstore policy ARGUMENTS`` as its operator."""
        environ = {"VAULTSTORE_VAULT_TOKEN": self.token if token is None else token}
        command, *rest = arguments
        return CliRunner(env=environ).invoke(main, ["policy", command, "--dir", str(self.folder), *rest])

    def sql(self, *statements: str) -> None:
        """Run statements as the superuser."""
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def vault(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request to OpenBao as root."""
        status, answer = self.bao.request(method, path, body)
        assert status < 400, (path, answer)
        return answer

    def write(self, **settings: object) -> None:
        """Write its settings anew."""
        known = {
            "database": self.url, "keys": "vault", "vault_url": self.bao.url, "vault_mount": f"{self.name}-transit",
            "vault_auth_mount": f"{self.name}-jwt", "vault_prefix": self.acl, "postgres_prefix": self.prefix,
        }  # fmt: skip
        lines = [f"{name} = {json.dumps(value)}" for name, value in {**known, **settings}.items()]
        (self.folder / FILE_NAME).write_text("\n".join(["[store]", *lines]) + "\n")


@pytest.fixture
def fresh(openbao: OpenBaoServer, pg_database: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[Deployment]:
    """A store with its schema, on which no plane was applied."""
    name = f"t{uuid.uuid4().hex[:8]}"
    made = Deployment(tmp_path, pg_database, openbao, name, openbao.root_token)
    copy_policies(tmp_path / "policies")
    made.write()
    with targets_of(pg_database) as targets:
        upgrade(targets)
    yield made
    remove_plane(openbao, made.acl)
    engine = sa.create_engine(postgres.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        postgres.drop_database(pg_database)
        for role in connection.scalars(
            sa.text("SELECT rolname FROM pg_roles WHERE starts_with(rolname, :p)"), {"p": made.prefix}
        ).all():
            connection.exec_driver_sql(f'DROP ROLE IF EXISTS "{role}"')
    engine.dispose()


@pytest.fixture
def applied(fresh: Deployment) -> Deployment:
    """A store whose policy is applied."""
    result = fresh.run("apply", "--yes")
    assert result.exit_code == 0, result.output
    return fresh


def named(result: Result, plane: str) -> list[str]:
    """The lines of verify that name a difference of `plane`."""
    return [line for line in result.stdout.splitlines() if line.startswith(f"✗ {plane}: ")]


def test_a_fresh_deployment_is_applied_and_every_cell_agrees(fresh: Deployment) -> None:
    result = fresh.run("apply", "--yes")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert [line.split(":")[0] for line in result.stdout.splitlines() if line.endswith(" made")] == [
        "vault",
        "postgres",
        "library",
    ]
    seen = fresh.run("verify", "--json")
    assert (seen.exit_code, seen.stderr) == (0, ""), seen.output
    planes = {plane["plane"]: plane for plane in json.loads(seen.stdout)["planes"]}
    assert set(planes) == {"vault", "postgres", "library"}
    for plane in planes.values():
        assert plane["cells"]["tried"] == plane["cells"]["agreeing"] > 100
        assert plane["differences"] == []


def test_what_is_applied_already_is_left_alone(applied: Deployment) -> None:
    result = applied.run("apply")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout.count("nothing to do") == 3


def test_a_dry_run_writes_nothing_anywhere(fresh: Deployment) -> None:
    first = fresh.run("apply", "--dry-run")
    assert first.exit_code == 0, first.output
    assert first.stdout == fresh.run("apply", "--dry-run").stdout
    assert "  + " in first.stdout
    assert fresh.bao.request("GET", f"sys/mounts/{fresh.name}-transit")[0] == 400


def test_notes_name_what_apply_leaves_open(fresh: Deployment) -> None:
    out = fresh.run("apply", "--yes").stdout
    assert "note: Vault takes logins from any network" in out
    assert f"{fresh.prefix}s_crm" in next(line for line in out.splitlines() if "without a password" in line)
    assert "note: default mode" in out
    fresh.sql(f"""ALTER ROLE "{fresh.prefix}s_crm" PASSWORD '{SESAME}'""")
    fresh.write(vault_bound_cidrs="127.0.0.0/8", postgres_strict=True)
    out = fresh.run("apply", "--yes").stdout
    assert "any network" not in out
    assert "default mode" not in out
    assert f"{fresh.prefix}s_crm" not in next(line for line in out.splitlines() if "without a password" in line)
    assert SESAME not in out
    assert fresh.run("verify", "--no-probes").exit_code == 0


Plant = Callable[[Deployment], None]


def grant(store: Deployment) -> None:
    store.sql(f'GRANT SELECT (phone) ON members TO "{store.prefix}p_sales.outreach"')


def widen(store: Deployment) -> None:
    path = f"sys/policies/acl/{store.acl}sales.outreach"
    more = f'path "{store.name}-transit/decrypt/{store.acl}cat-contact" {{\n  capabilities = ["update"]\n}}\n'
    store.vault("POST", path, {"policy": store.vault("GET", path)["data"]["policy"] + more})


def edit(store: Deployment) -> None:
    store.sql("UPDATE vs_purposes SET closure = closure || ' ' WHERE name = 'sales.outreach'")


@pytest.mark.parametrize(
    ("plane", "plant", "cell"),
    [("postgres", grant, "members.phone"), ("vault", widen, "category contact"), ("library", edit, "Member")],
    ids=["postgres", "vault", "library"],
)
def test_a_drift_turns_verify_red_by_fact_and_by_cell_until_it_is_applied_away(
    applied: Deployment, plane: str, plant: Plant, cell: str
) -> None:
    plant(applied)
    red = applied.run("verify", "--target", plane)
    assert red.exit_code == 1
    lines = named(red, plane)
    assert any("sales.outreach: " in line and cell in line for line in lines), lines
    facts = named(applied.run("verify", "--target", plane, "--no-probes"), plane)
    assert facts
    assert set(facts) < set(lines)
    assert applied.run("apply", "--yes").exit_code == 0
    assert applied.run("verify", "--target", plane).exit_code == 0


def test_an_edited_policy_changes_only_the_purposes_that_changed(applied: Deployment) -> None:
    sales = next((applied.folder / "policies").rglob("sales.yaml"))
    sales.write_text(sales.read_text().replace("batch: 50", "batch: 40", 1))
    plan = applied.run("apply", "--dry-run").stdout
    assert [line.split(":")[0] for line in plan.splitlines() if line.startswith("  ")] == [
        "  ~ JWT role sales.pool",
        "  ~ purpose sales.pool",
    ]
    assert applied.run("verify", "--no-probes").exit_code == 1
    assert applied.run("apply", "--yes").exit_code == 0
    assert applied.run("verify", "--no-probes").exit_code == 0


def test_after_a_failure_half_way_the_next_run_goes_on(fresh: Deployment) -> None:
    """An operator who may change Vault but not PostgreSQL."""
    fresh.sql(f"""CREATE ROLE "{fresh.prefix}weak" LOGIN""")
    weak = fresh.url.replace("postgres@", f"{fresh.prefix}weak@")
    failed = fresh.run("apply", "--target", "vault", "--yes")
    assert failed.exit_code == 0, failed.output
    failed = fresh.run("apply", "--yes", "--database", weak)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert fresh.run("verify", "--target", "library", "--no-probes").exit_code == 1
    done = fresh.run("apply", "--yes")
    assert done.exit_code == 0, done.output
    assert "vault: nothing to do" in done.stdout
    fresh.sql(f"""DROP ROLE "{fresh.prefix}weak" """)
    assert fresh.run("verify", "--no-probes").exit_code == 0


def test_an_operator_needs_no_root_token(fresh: Deployment) -> None:
    compiled = fresh.run("compile", "--target", "vault").stdout
    commented = compiled.partition("takes an ACL policy such as:\n")[2].partition("\n# The issuer's")[0]
    hcl = "\n".join(line.removeprefix("#").strip() for line in commented.splitlines())
    operator = f"{fresh.name}operator"
    fresh.vault("POST", f"sys/policies/acl/{operator}", {"policy": hcl})
    body = {"policies": [operator], "no_default_policy": True}
    token = fresh.vault("POST", "auth/token/create", body)["auth"]["client_token"]
    fresh.write(vault_admin_policies=operator)
    done = fresh.run("apply", "--target", "vault", "--yes", token=token)
    assert done.exit_code == 0, done.output
    seen = fresh.run("verify", "--target", "vault", token=token)
    assert seen.exit_code == 0, seen.output
    fresh.write()
    assert operator in "".join(named(fresh.run("verify", "--target", "vault", "--no-probes", token=token), "vault"))


def test_a_key_file_beside_postgresql_leaves_two_planes(fresh: Deployment) -> None:
    from vaultstore import LocalKeys

    LocalKeys.open(fresh.folder / "keys.json").close()
    fresh.write(keys="local")
    result = fresh.run("apply", "--yes")
    assert result.exit_code == 0, result.output
    assert "there is no Vault plane" in result.stdout
    seen = json.loads(fresh.run("verify", "--json").stdout)
    assert seen["ok"]
    assert [plane["plane"] for plane in seen["planes"]] == ["postgres", "library"]


def test_compile_prints_every_plane_without_a_server(fresh: Deployment, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    fresh.write(vault_url="", database="postgresql+psycopg://nobody@127.0.0.1:1/none")
    result = fresh.run("compile", "--out", str(out), token="")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"vault.hcl", "postgres.sql", "purposes.txt"}
    assert f"{fresh.acl}cat-contact" in (out / "vault.hcl").read_text()
    assert f'"{fresh.prefix}p_sales.outreach"' in (out / "postgres.sql").read_text()
    assert fresh.run("compile", token="").stdout.count("sha256:") >= 18


def test_without_an_operators_token_nothing_is_asked_of_vault(fresh: Deployment) -> None:
    result = fresh.run("apply", "--yes", token="")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "VAULTSTORE_VAULT_TOKEN" in result.stderr


def test_a_database_without_the_schema_is_named_as_such(fresh: Deployment, postgres: PostgresServer) -> None:
    empty = postgres.create_database()
    result = fresh.run("apply", "--yes", "--target", "postgres", "--database", empty)
    postgres.drop_database(empty)
    assert result.exit_code == 1
    assert "schema" in result.stderr
    assert result.stderr.count("\n") == 1
