"""``vaultstore issuer``: the process apart that alone can sign tokens."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import dir_option

if TYPE_CHECKING:
    from vaultstore.grants import Grant, Ticket
    from vaultstore.issuer.config import IssuerConfig
    from vaultstore.issuer.server import IssuerServer
    from vaultstore.policy import BoundPolicy
    from vaultstore.settings import Settings

__all__ = ["issuer_group"]


@click.group("issuer")
def issuer_group() -> None:
    """Run the process that signs tokens."""


@issuer_group.command("serve")
@dir_option
@click.option(
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What to serve, and to whom [issuer.toml in the store's folder].",
)
def serve_command(folder: Path, config: Path | None) -> None:
    """Serve tokens until SIGTERM, to programs that show a certificate or connect through a Unix socket.

    The log goes to stderr, one JSON object a line.
    """
    from vaultstore.issuer.logs import log_to_stderr

    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    log_to_stderr()
    with _server(folder, config) as server:
        click.echo(f"listening on {server.start()}")
        try:
            while server.alive and not ended.wait(0.5):
                pass
            failed = not server.alive
        finally:
            server.stop()
    if failed:
        raise click.ClickException("the server ended by itself; the log says why")


@contextmanager
def _server(folder: Path, file: Path | None) -> Iterator[IssuerServer]:
    """A server that is not started, put together from a store's settings and the issuer's own."""
    from datetime import UTC, datetime

    from vaultstore.cli.store import policy_and_models
    from vaultstore.issuer.app import IssuerApp
    from vaultstore.issuer.assertion import AssertionVerifier
    from vaultstore.issuer.config import FILE_NAME, IssuerConfig
    from vaultstore.issuer.desk import Desk
    from vaultstore.issuer.provider import ProviderKeys
    from vaultstore.issuer.rate import Rate
    from vaultstore.issuer.server import IssuerServer
    from vaultstore.settings import Settings
    from vaultstore.tokens import Issuer, Verifier, jwks

    def clock() -> datetime:
        return datetime.now(UTC)

    settings = Settings.load(folder)
    config = IssuerConfig.load(file or settings.folder / FILE_NAME)
    found = policy_and_models(folder)
    policy = found.policy.bind(found.catalogue)
    provider = ProviderKeys.of(config.provider_keys, config.provider_ca)
    with ExitStack() as resources:
        keys = resources.enter_context(settings.open_keys())
        desk = Desk(
            issuer=Issuer(keys, policy, settings.issuer, clock, _ticketer(settings, policy, resources)),
            verifier=Verifier(lambda: keys.public_keys("tokens"), policy, settings.issuer, clock),
            assertions=AssertionVerifier(config.assertion, provider, clock),
            policy=policy,
            callers=config.callers,
            clock=clock,
            check=_check(settings, config, resources),
        )
        owners = {peer: name for name, caller in config.callers.items() for peer in caller.peers}
        yield IssuerServer(IssuerApp(desk, owners, lambda: jwks(keys), Rate(config.rate)), config.listen)


def _ticketer(settings: Settings, policy: BoundPolicy, resources: ExitStack) -> Callable[[Grant], Ticket] | None:
    """Has the database vouch for each grant, for the logins of the services that serve its purpose."""
    if not settings.postgres_strict:
        return None
    from sqlalchemy import create_engine

    from vaultstore.errors import IssueDenied
    from vaultstore.gate import PostgresLedger
    from vaultstore.gate.claims import Claims
    from vaultstore.records.plane import RolePlane

    engine = create_engine(settings.database_url, hide_parameters=True, pool_pre_ping=True)
    resources.callback(engine.dispose)
    ledger, plane = PostgresLedger(engine), RolePlane(settings.postgres_prefix, strict=True)

    def ticket(grant: Grant) -> Ticket:
        served = (name for name, service in policy.services.items() if grant.purpose.name in service.purposes)
        logins = sorted(plane.login(name) for name in served)
        if not logins:
            raise IssueDenied(f"no service serves {grant.purpose.name}: nobody could use such a token")
        return ledger.ticket(Claims.of(grant), logins)

    return ticket


def _check(settings: Settings, config: IssuerConfig, resources: ExitStack) -> Callable[[Grant], None] | None:
    """Asks the gate whether a grant still holds, where this process may."""
    from sqlalchemy import make_url

    from vaultstore.cli.store import open_store

    embedded = make_url(settings.database_url).get_backend_name() == "sqlite"
    if not (embedded if config.revocations is None else config.revocations):
        return None
    return resources.enter_context(open_store(settings.folder)).gate.check
