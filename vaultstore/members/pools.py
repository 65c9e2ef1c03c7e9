"""The pools of leads that are still to be claimed: pages of cards that can't single anybody out.

A card shows age band, city, education and grade. On a page each combination of these stands at least k times (Samarati
and Sweeney, 1998): where it does not, education goes first, then the age band, then the grade, and who is still alone
is left out. A page says how much of that it took.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from vaultstore import Store, is_masked
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.members.claims import POOLS
from vaultstore.members.models import Member

__all__ = ["PoolCard", "PoolPage", "Pools", "anonymised"]


@dataclass(frozen=True, slots=True)
class PoolCard:
    """A lead before it is claimed. None: left out, since too few share it, or not known."""

    member: uuid.UUID
    age_band: str | None
    city: str
    education: str | None
    grade: str | None

    @property
    def shown(self) -> tuple[str | None, ...]:
        """What tells cards apart."""
        return self.age_band, self.city, self.education, self.grade


@dataclass(frozen=True, slots=True)
class PoolPage:
    """A page of a pool."""

    cards: tuple[PoolCard, ...]
    k: int
    """In how many cards each combination on this page stands, at least; 0 on an empty page."""
    generalised: int
    """Cards on which something was left out."""
    withheld: int
    """Members who would have been alone even so."""
    after: uuid.UUID | None
    """Where the next page goes on; None: this was the last."""


class Pools:
    """Pages of the store pool (a token of ``sales.pool``) and the city pool (``sales.city``).

    `free` says which of some members nobody holds (`Claims.free`); `out` which are in no pool for other reasons
    (suppressed, blocked).
    """

    def __init__(
        self,
        store: Store,
        free: Callable[[list[uuid.UUID]], list[uuid.UUID]],
        *,
        out: Callable[[Sequence[uuid.UUID]], set[uuid.UUID]] = lambda members: set(),
        k: int = 5,
    ) -> None:
        if k < 2:
            raise UnsupportedOperation("a page where k is below 2 singles people out")
        self._store, self._free, self._out, self._k = store, free, out, k

    def __repr__(self) -> str:
        return "<Pools>"

    def page(self, token: str, *, after: uuid.UUID | None = None, size: int = 50) -> PoolPage:
        """The next `size` members of the token's pool, as cards.

        Raises AccessDenied (``not.granted``) for a token of another purpose, and what the gate refuses as a whole; a
        member whose card is refused (restricted, no consent, a limit) is just not there.
        """
        if not self._k <= size <= 200:
            raise UnsupportedOperation(f"a page has {self._k} to 200 cards")
        purpose = self._store.verify(token).purpose.name
        if purpose not in POOLS:
            raise AccessDenied(f"{purpose} looks into no pool", reason="not.granted")
        cards: list[PoolCard] = []
        with self._store.session(token) as session:
            last: uuid.UUID | None = after
            while len(cards) < size:
                query = select(Member.id).order_by(Member.id).limit(size - len(cards))
                ids = list(session.scalars(query if last is None else query.where(Member.id > last)))
                if not ids:
                    last = None
                    break
                last = ids[-1]
                out = self._out(ids)
                wanted = [one for one in self._free(ids) if one not in out]
                members = session.scalars(select(Member).where(Member.id.in_(wanted)).order_by(Member.id)).all()
                session.disclose(members)
                for member in members:
                    seen = session.view(member)
                    age, education = seen["birth_date"], seen["education"]
                    if all(is_masked(value) or getattr(value, "value", 0) is None for value in (age, education)):
                        cards.append(PoolCard(member.id, _text(age), member.city, _text(education), member.grade))
        shown, generalised = anonymised(cards, self._k)
        sizes = _groups(shown)
        return PoolPage(
            tuple(shown), min(map(len, sizes.values()), default=0), generalised, len(cards) - len(shown), last
        )


_COARSER: tuple[Callable[[PoolCard], PoolCard], ...] = (
    lambda card: replace(card, education=None),
    lambda card: replace(card, age_band=None),
    lambda card: replace(card, grade=None),
)


def anonymised(cards: Sequence[PoolCard], k: int) -> tuple[list[PoolCard], int]:
    """`cards` so that each combination stands at least `k` times, in their order; and how many were made coarser.

    Cards that would stand alone even without education, age band and grade are left out.
    """
    kept: dict[uuid.UUID, PoolCard] = {}
    coarser: set[uuid.UUID] = set()
    left = list(cards)
    for step in (None, *_COARSER):
        if step is not None:
            left = [step(card) for card in left]
            coarser.update(card.member for card in left)
        groups = _groups(left)
        kept.update((card.member, card) for group in groups.values() if len(group) >= k for card in group)
        left = [card for group in groups.values() if len(group) < k for card in group]
    return [kept[card.member] for card in cards if card.member in kept], len(coarser & kept.keys())


def _groups(cards: Sequence[PoolCard]) -> dict[tuple[str | None, ...], list[PoolCard]]:
    groups: dict[tuple[str | None, ...], list[PoolCard]] = defaultdict(list)
    for card in cards:
        groups[card.shown].append(card)
    return groups


def _text(value: object) -> str | None:
    return str(value) if is_masked(value) else None
