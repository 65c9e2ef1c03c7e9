"""The stage of the planes' demo: two servers, the member store's schema in one of them, and the command line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, create_engine, insert, text

from vaultstore import Actor, Policy, Store, VaultKeys
from vaultstore.members import Base, Lead, scopes
from vaultstore.members.generate import as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.members.resources import copy_policies
from vaultstore.members.schema import targets_of, upgrade
from vaultstore.orm import ModelRegistry
from vaultstore.planes import Plane
from vaultstore.planes.library import LibraryPlane
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy import BoundPolicy
from vaultstore.records.plane import RolePlane
from vaultstore.settings import Settings

__all__ = ["SELLER", "Bao", "Postgres", "World", "set_world"]

SELLER = Actor("u-17", role="matchmaker", attributes={"store": "sh-01"})
"""The matchmaker whose leads the store holds, beside another one's."""
_OTHER = "u-66"
_MEMBERS = 12

assert scopes  # the models' row scopes are registered by its import


class Bao(Protocol):
    """A running Vault or OpenBao of the demo's own."""

    root_token: str

    @property
    def url(self) -> str:
        """Address of its API."""

    def request(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """One request as root: status and body."""


class Postgres(Protocol):
    """A running PostgreSQL cluster of the demo's own, whose logins need no password."""

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """SQLAlchemy URL of a database."""

    def create_database(self, name: str | None = None) -> str:
        """Make a database and return its URL."""


@dataclass
class World:
    """A store on two servers, as its operator has it."""

    bao: Bao
    postgres: Postgres
    settings: Settings
    strict: bool = False
    engine: Engine = field(init=False)
    keys: VaultKeys = field(init=False)

    def __post_init__(self) -> None:
        self.engine = create_engine(self.settings.database_url, isolation_level="AUTOCOMMIT")
        self.keys = VaultKeys(self.bao.url, token=self.bao.root_token, hmac_rate=self.settings.vault_hmac_rate)

    def close(self) -> None:
        """Close connections; the servers are their maker's."""
        self.engine.dispose()
        self.keys.close()

    @cached_property
    def bound(self) -> BoundPolicy:
        """The policy of the store's folder."""
        return Policy.load(self.settings.policy_path).bind(self.models.catalogue)

    @cached_property
    def models(self) -> ModelRegistry:
        """The member store's models."""
        return ModelRegistry(Base)

    @cached_property
    def planes(self) -> dict[str, Plane]:
        """The planes by name, as the command line opens them."""
        target = compile_postgres(self.bound, self.models, RolePlane(self.settings.postgres_prefix))
        return {
            "vault": VaultPlane(self.keys, self.bound, self.settings.issuer),
            "postgres": PostgresPlane(self.engine, target, self.models),
            "library": LibraryPlane(self.engine, self.bound, self.models),
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``vaultstore ARGUMENTS`` in the store's folder, as an operator would."""
        environ = {
            **os.environ,
            "VAULTSTORE_VAULT_TOKEN": self.bao.root_token,
            "VAULTSTORE_POSTGRES_STRICT": str(self.strict).lower(),
        }
        return subprocess.run(  # noqa: S603 - our own words only
            [sys.executable, "-m", "vaultstore", *arguments],
            cwd=self.settings.folder,
            env=environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    def sql(self, *statements: str) -> None:
        """Run statements as the superuser, each committed by itself."""
        with self.engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def vault(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request to Vault as root."""
        status, answer = self.bao.request(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path} gave status {status}")
        return answer

    def fill(self) -> int:
        """Take in members as any file is, hand the first half out as leads; the number of the seller's leads."""
        people = town(_MEMBERS, seed=2021)
        for row in people.members:
            row["store"] = "sh-01"
        policy = Policy.load(self.settings.policy_path)
        with Store.open(self.settings.database_url, keys=self.keys, policy=policy, models=Base) as store:
            Importer(store, notice="2021-11", actor="demo-import").stream(
                io.BytesIO(as_csv(people.members)), "members.csv", "members"
            )
        ids = [uuid.UUID(row["member_id"]) for row in people.members]
        held = {SELLER.id: ids[:3], _OTHER: ids[3:6]}
        until = datetime.now(UTC) + timedelta(days=1)
        with self.engine.connect() as connection:
            for actor, members in held.items():
                connection.execute(insert(Lead), [_lead(member, actor, until) for member in members])
        return len(held[SELLER.id])


def set_world(bao: Bao, postgres: Postgres, folder: Path) -> World:
    """Make a store's folder and the member store's schema, by its migrations; no plane is applied yet."""
    settings = Settings(
        folder=folder.resolve(), database=postgres.create_database("members"), keys="vault", vault_url=bao.url
    )
    copy_policies(settings.policy_path)
    settings.save()
    with targets_of(settings.database_url) as targets:
        upgrade(targets)
    return World(bao, postgres, settings)


def _lead(member: uuid.UUID, actor: str, until: datetime) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(), "member_id": member, "actor_id": actor, "store": "sh-01", "state": "open",
        "claimed_at": datetime.now(UTC), "expires_at": until,
    }  # fmt: skip
