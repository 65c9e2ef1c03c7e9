"""Consent: of a purpose, and of a sensitive category of its own, in clear, masked and when it is written."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.consenting import CLERK, Person, fill, opened, token
from vaultstore import Store
from vaultstore.errors import ConsentMissing
from vaultstore.orm import PurposeSession


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'members.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    with opened(url, tmp_path) as made:
        made.create_all()
        yield made


def read(session: PurposeSession, person: uuid.UUID) -> str:
    session.rollback()
    session.expire_all()
    return str(session.get_one(Person, person).phone)


def test_a_withdrawal_stops_the_very_next_disclosure_masked_or_clear(store: Store) -> None:
    [one] = fill(store, 1)
    for kind in ("marketing", "phone_consent"):
        store.consents.grant(one, kind, notice_version="1", evidence="form 7")
    with store.session(token(store, "sell")) as masked, store.session(token(store, "dial")) as clear:
        assert read(masked, one).endswith("0000")
        assert read(clear, one) == "13812340000"
        assert store.consents.withdraw(one, "marketing") == 1
        for session in (masked, clear):
            with pytest.raises(ConsentMissing):
                read(session, one)
        store.consents.grant(one, "marketing", notice_version="2")
        assert read(clear, one) == "13812340000"
    assert [(c.kind, c.notice_version, c.evidence, c.withdrawn_at is None) for c in store.consents.history(one)] == [
        ("marketing", "1", "form 7", False),
        ("phone_consent", "1", "form 7", True),
        ("marketing", "2", None, True),
    ]


def test_a_sensitive_category_takes_its_own_consent_of_a_purpose_that_rests_on_consent(store: Store) -> None:
    [one] = fill(store, 1)
    store.consents.grant(one, "marketing", notice_version="1")
    with store.session(token(store, "dial")) as session, pytest.raises(ConsentMissing):
        read(session, one)
    with store.session(token(store, "sell")) as session:
        assert read(session, one).endswith("0000")  # a card is not the phone
    with store.session(token(store, "care")) as session:
        assert read(session, one) == "13812340000"  # which rests on a contract
    store.consents.grant(one, "phone_consent", notice_version="1")
    with store.session(token(store, "dial")) as session:
        assert read(session, one) == "13812340000"
        store.consents.withdraw(one, "phone_consent")
        with pytest.raises(ConsentMissing):
            read(session, one)


def test_writing_such_a_category_takes_it_too(store: Store) -> None:
    [one] = fill(store, 1)
    with store.session(store.issue(CLERK, "wish")) as session:
        session.get_one(Person, one).wish = "short hair"
        with pytest.raises(ConsentMissing):
            session.commit()
    store.consents.grant(one, "wish_consent", notice_version="1")
    with store.session(store.issue(CLERK, "wish")) as session:
        session.get_one(Person, one).wish = "short hair"
        session.commit()
        store.consents.withdraw(one, "wish_consent")
        session.get_one(Person, one).wish = "no hair"
        with pytest.raises(ConsentMissing):
            session.commit()


def test_one_members_consent_is_not_anothers(store: Store) -> None:
    one, other = fill(store, 2)
    for kind in ("marketing", "phone_consent"):
        store.consents.grant(one, kind, notice_version="1")
    store.consents.grant(other, "phone_consent", notice_version="1")
    with store.session(token(store, "dial")) as session:
        people = {person.id: person for person in session.query(Person)}
        assert people[one].phone == "13812340000"
        with pytest.raises(ConsentMissing):
            _ = people[other].phone
