"""What tests of the member store share: reading everything back, and a key service that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from vaultstore import Actor, Store
from vaultstore.errors import KeyServiceUnavailable
from vaultstore.keys import Keys, KeyService
from vaultstore.members import ChatMessage, Member, ProfileView

__all__ = ["DATA", "READ_ALL", "CountedKeys", "contents", "counts"]

DATA = Path(__file__).parents[1] / "data"

READ_ALL = """
version: 1
purposes:
  test.everything:
    description: read back all that was stored
    roles: [privacy_officer]
    read:
      Member:      {categories: [identity, contact, profile, preference]}
      ChatMessage: {categories: [conversation]}
      ProfileView: {categories: [browsing]}
    batch: 1000
    ttl: 1h
"""

_FIELDS = {
    Member: (
        "id", "nickname", "gender", "city", "store", "grade", "last_login", "name", "id_number", "phone", "wechat",
        "email", "address", "birth_date", "height_cm", "education", "marital", "monthly_income",
        "house", "car", "wants",
    ),
    ChatMessage: ("id", "sender_id", "recipient_id", "conversation_id", "sent_at", "body"),
    ProfileView: ("viewer_id", "viewed_id", "viewed_at", "event"),
}  # fmt: skip


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every model in clear, and every consent; ids that the store makes itself are left out."""
    token = store.issue(Actor("reader", role="privacy_officer"), "test.everything")
    found: dict[str, list[tuple[Any, ...]]] = {}
    with store.session(token) as session:
        for model, fields in _FIELDS.items():
            rows = [tuple(getattr(row, name) for name in fields) for row in session.scalars(select(model))]
            found[model.__name__] = sorted(rows, key=repr)
        members = session.scalars(select(Member.id)).all()
    found["consents"] = sorted(
        (str(member), given.kind, given.notice_version, given.granted_at, given.withdrawn_at)
        for member in members
        for given in store.consents.history(member)
    )
    return found


def counts(store: Store) -> dict[str, int]:
    """Rows of each."""
    return {name: len(rows) for name, rows in contents(store).items()}


class CountedKeys:
    """Passes everything on, counts requests by verb and key, and fails when told to."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.requests: Counter[str] = Counter()
        self.fail_at: str | None = None

    def login(self, login_token: str) -> KeyService:
        return _CountedService(self, self._keys.login(login_token))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)


class _CountedService:
    def __init__(self, counted: CountedKeys, service: KeyService) -> None:
        self._counted, self._service = counted, service

    def _count(self, request: str) -> None:
        if self._counted.fail_at == request:
            raise KeyServiceUnavailable("out of order")
        self._counted.requests[request] += 1

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        self._count(f"wrap {category}")
        return self._service.wrap(category, items)

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        self._count(f"unwrap {category}")
        return self._service.unwrap(category, items, reference=reference)

    def hmac(self, index: str, values: Sequence[bytes], *, version: int = 1) -> list[bytes]:
        self._count(f"hmac {index}")
        return self._service.hmac(index, values, version=version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)
