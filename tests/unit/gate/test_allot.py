"""How a nearly spent limit is shared out, against a plain description of the rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vaultstore.gate.allot import Window, allot

UNITS = [bytes([i]) for i in range(12)]


@given(
    st.permutations(UNITS),
    st.lists(st.tuples(st.integers(-2, 14), st.frozensets(st.sampled_from(UNITS))), max_size=3),
)
def test_in_the_order_asked_and_only_to_whom_every_limit_has_room(
    asked: list[bytes], rules: list[tuple[int, frozenset[bytes]]]
) -> None:
    windows = [Window(at, room, charged) for at, (room, charged) in enumerate(rules)]
    refused, charges = allot(asked, windows)
    left = [room for room, _ in rules]
    for unit in asked:
        needed = [at for at, (_, charged) in enumerate(rules) if unit not in charged]
        fits = all(left[at] > 0 for at in needed)
        assert (unit in refused) == (not fits)
        for at in needed:
            assert (unit in charges[at]) == fits
            left[at] -= fits
    for at, (room, charged) in enumerate(rules):
        assert not charged & set(charges[at])
        assert len(charges[at]) <= max(room, 0)
