"""k-anonymity of a page: every combination stands k times, and no more is left out than that takes."""

from __future__ import annotations

import uuid
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vaultstore.members.pools import PoolCard, anonymised

CARDS = st.lists(
    st.builds(
        PoolCard,
        member=st.uuids(version=4),
        age_band=st.sampled_from(["25-29", "30-34", None]),
        city=st.sampled_from(["上海", "北京"]),
        education=st.sampled_from(["本科", "硕士", None]),
        grade=st.sampled_from(["A", "B"]),
    ),
    max_size=60,
    unique_by=lambda card: card.member,
)


@given(CARDS, st.integers(2, 8))
def test_no_combination_stands_fewer_than_k_times(cards: list[PoolCard], k: int) -> None:
    shown, coarser = anonymised(cards, k)
    assert all(count >= k for count in Counter(card.shown for card in shown).values())
    assert coarser <= len(shown) <= len(cards)


@given(CARDS, st.integers(2, 8))
def test_what_is_shown_is_true_and_in_order(cards: list[PoolCard], k: int) -> None:
    shown, _ = anonymised(cards, k)
    known = {card.member: card for card in cards}
    assert [card.member for card in shown] == [
        card.member for card in cards if card.member in {c.member for c in shown}
    ]
    for card in shown:
        of = known[card.member]
        assert all(seen in (None, real) for seen, real in zip(card.shown, of.shown, strict=True))
        assert card.city == of.city


@given(CARDS, st.integers(2, 8))
def test_who_stands_often_enough_is_left_as_they_are(cards: list[PoolCard], k: int) -> None:
    often = {combination for combination, count in Counter(card.shown for card in cards).items() if count >= k}
    shown = {card.member: card for card in anonymised(cards, k)[0]}
    assert all(shown[card.member] == card for card in cards if card.shown in often)


def test_one_who_is_alone_in_a_city_is_left_out() -> None:
    alone = PoolCard(uuid.uuid4(), "30-34", "拉萨", "博士", "A")
    others = [PoolCard(uuid.uuid4(), "30-34", "上海", "本科", "A") for _ in range(5)]
    shown, coarser = anonymised([alone, *others], 5)
    assert (shown, coarser) == (others, 0)
