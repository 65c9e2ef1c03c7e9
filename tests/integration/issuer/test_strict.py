"""A strict database: the issuer's process has it make tickets, and a service reads with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.applied import BOSS, POLICY, Applied, Deal, Person, applied
from vaultstore.errors import KeyServiceUnavailable
from vaultstore.issuer import IssuerClient
from vaultstore.keys import LocalKeys
from vaultstore.settings import Settings
from vaultstore.testing import PostgresServer

from .support import Provider, Serving, claims, config, serving

pytestmark = pytest.mark.integration

SERVICES = f"[services.shop]\nuids = [{os.getuid()}]\n"


@pytest.fixture
def place(postgres: PostgresServer, tmp_path: Path) -> Iterator[Applied]:
    with applied(postgres, strict=True, keys=LocalKeys.open(tmp_path / "keys.json")) as made:
        token = made.open("issuer", postgres_strict=True).issue(BOSS, "enter")
        with made.open("office", postgres_strict=True).begin(token) as session:
            person = Person(city="Shanghai", phone="13812340000")
            session.add(person)
            session.flush()
            session.add(Deal(person_id=person.id, seller="s-1"))
        yield made


def settings(place: Applied, folder: Path, login: str) -> Path:
    """The folder of an issuer that connects to the database as `login`."""
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "policy" / "policy.yaml").write_text(POLICY)
    (folder / "vaultstore.toml").unlink(missing_ok=True)
    Settings(
        folder,
        database=place.url.set(username=login).render_as_string(hide_password=False),
        models="tests.support.applied:Base",
        policy="policy",
        postgres_prefix=place.roles.prefix,
        postgres_strict=True,
    ).save()
    return folder


def test_a_token_brings_the_ticket_that_the_database_believes(place: Applied, tmp_path: Path) -> None:
    with Provider() as provider:
        listen = config(f'url = "unix:{tmp_path / "s"}"', provider, SERVICES)
        env = {"PYTHONPATH": str(Path(__file__).parents[3])}
        with (
            serving(settings(place, tmp_path, place.roles.issuer), listen, env) as made,
            IssuerClient(made.url) as asked,
        ):
            token = asked.issue(provider.assertion(sub="s-1", role="seller"), "sell")
            assert claims(token)["ticket"]["logins"] == [place.roles.login("shop")]
            shop = place.open("shop", issuer_client=asked, postgres_strict=True)
            with shop.session(token) as session:
                assert [person.phone for person in session.scalars(select(Person))] == ["*******0000"]
            other = asked.issue(provider.assertion(sub="s-2", role="seller"), "sell")
            with shop.session(other) as session:
                assert session.scalars(select(Person)).all() == []

        # Under a login that may not, or none that there is, nothing is signed without a ticket.
        for login, said in ((place.roles.login("shop"), "not set up for this"), ("nobody", "made no ticket")):
            server = Serving(settings(place, tmp_path, login), listen, env, name=login).start()
            try:
                with IssuerClient(server.url, retries=0) as asked, pytest.raises(KeyServiceUnavailable, match=said):
                    asked.issue(provider.assertion(sub="s-1", role="seller"), "sell")
            finally:
                server.kill()
        assert "this login may not have tickets made" in (tmp_path / f"{place.roles.login('shop')}.log").read_text()
