"""Generated worlds on a real Vault and a real PostgreSQL, each with names of its own, gone afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from tests.support.vault_plane import remove_plane
from vaultstore import Policy, Store, VaultKeys
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy import BoundPolicy
from vaultstore.records.plane import RolePlane
from vaultstore.testing import OpenBaoServer, PostgresServer

__all__ = ["ISSUER", "Deployment", "deployed", "vault"]

ISSUER = "generated"


@contextmanager
def vault(openbao: OpenBaoServer, bound: BoundPolicy) -> Iterator[tuple[VaultKeys, VaultPlane]]:
    """Keys under a prefix and mounts of their own on a shared server, and the plane over them; nothing applied yet."""
    prefix = f"g{uuid.uuid4().hex[:8]}-"
    keys = VaultKeys(
        openbao.url, token=openbao.root_token, mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt"
    )
    try:
        yield keys, VaultPlane(keys, bound, ISSUER)
    finally:
        keys.close()
        remove_plane(openbao, prefix)


@dataclass
class Deployment:
    """A store under all three planes: the operator's own, and one for each service's login."""

    operator: Store
    """As the superuser: it issues tokens, with the database's tickets where it is strict."""
    services: Mapping[str, Store]
    """Service -> a store under its login."""
    vault: VaultPlane
    postgres: PostgresPlane
    keys: VaultKeys
    roles: RolePlane
    bound: BoundPolicy
    url: str
    cleanup: ExitStack = field(repr=False)

    def store(self, purpose: str) -> Store:
        """The store of a service that serves `purpose`."""
        return self.services[next(s.name for s in self.bound.services.values() if purpose in s.purposes)]

    def login(self, purpose: str) -> str:
        """The login of that service."""
        return self.roles.login(next(s.name for s in self.bound.services.values() if purpose in s.purposes))

    def engine(self, user: str) -> sa.Engine:
        """Connections of a login, past our Python."""
        engine = sa.create_engine(sa.make_url(self.url).set(username=user), poolclass=sa.NullPool)
        self.cleanup.callback(engine.dispose)
        return engine


@contextmanager
def deployed(
    openbao: OpenBaoServer, server: PostgresServer, policy: Policy, models: Any, *, strict: bool = False
) -> Iterator[Deployment]:
    """Tables made, both planes applied; roles, mounts and the database are gone at the end."""
    url, prefix = server.create_database(), f"g{uuid.uuid4().hex[:6]}_"
    with ExitStack() as stack:
        stack.callback(_drop, server, url, prefix)
        first = stack.enter_context(Store.open(url, keys=_NoKeys(), policy=policy, models=models, issuer=ISSUER))
        keys, vault_plane = stack.enter_context(vault(openbao, first.policy))
        first._keys = keys
        vault_plane.apply()
        first.create_all()
        roles = RolePlane(prefix, strict)
        target = compile_postgres(first.policy, first.models, roles)
        plane = PostgresPlane(first.engine, target, first.models)
        plane.apply()

        def opened(address: sa.URL) -> Store:
            return stack.enter_context(
                Store.open(
                    address.render_as_string(hide_password=False),
                    keys=keys,
                    policy=policy,
                    models=models,
                    issuer=ISSUER,
                    postgres_strict=strict,
                )
            )

        bound = first.policy
        logins = {name: sa.make_url(url).set(username=roles.login(name)) for name in bound.services}
        yield Deployment(
            operator=opened(sa.make_url(url)),
            services={name: opened(address) for name, address in logins.items()},
            vault=vault_plane,
            postgres=plane,
            keys=keys,
            roles=roles,
            bound=bound,
            url=url,
            cleanup=stack.enter_context(ExitStack()),
        )


class _NoKeys:
    """In place of keys, until there is a policy to make them for."""


def _drop(server: PostgresServer, url: str, prefix: str) -> None:
    server.drop_database(url)
    server.execute(
        f"""DO $$ DECLARE r name; BEGIN
        FOR r IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{prefix}') LOOP
            EXECUTE format('DROP ROLE %I', r);
        END LOOP; END $$"""
    )
