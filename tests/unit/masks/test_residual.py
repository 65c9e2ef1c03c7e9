"""What a mask leaves open: never more than it does, because a policy's check counts on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest

from vaultstore import masks
from vaultstore.masks import Mask


@pytest.mark.parametrize(
    ("mask", "kind", "residual"),
    [
        (masks.one_of("有", "无"), "str", 1),
        (masks.keep(first=3, last=4), "str", 10_000),
        (masks.keep(last=4), "str", 10_000),
        (masks.keep(last=2), "str", 100),
        (masks.keep(), "str", None),
        (masks.year(), "date", 365),
        (masks.year(), "int", 1),
        (masks.age_band(5), "date", 5 * 365),
        (masks.age_band(5), "int", 5),
        (masks.band(150, 155, 165), "int", 5),
        (masks.band(0, 5000), "decimal", 5000),
        (masks.band(Decimal("0.5"), Decimal("0.7"), 3), "decimal", 1),
        (masks.band(0), "int", None),
        (masks.present(), "str", None),
        (masks.constant("x"), "str", None),
        (masks.surname(), "str", None),
        (masks.email_domain(), "str", None),
        (masks.region("city"), "str", None),
        (masks.flags("chat-safety"), "str", None),
    ],
    ids=lambda value: value.fingerprint if isinstance(value, Mask) else str(value),
)
def test_a_mask_says_how_many_values_lie_behind_it_at_the_least(mask: Mask, kind: str, residual: int | None) -> None:
    assert mask.residual(kind) == residual


def test_so_many_values_really_lie_behind_each_shown_mask() -> None:
    """Counted: every whole height, every birthday of some years, every phone number of a prefix."""
    heights = masks.band(150, 155, 165)
    days = [date(1985, 1, 1) + timedelta(days=n) for n in range(10 * 366)]
    born = [day for day in days if day.year < 1995]
    counted: list[tuple[Mask, str, Sequence[object]]] = [
        (heights, "int", range(150, 165)),
        (masks.age_band(5), "date", born),
        (masks.year(), "date", born),
        (masks.keep(first=3, last=4), "str", [f"138{n:04d}5678" for n in range(10_000)]),
        (masks.keep(last=2), "str", [f"{n:04d}" for n in range(10_000)]),
    ]
    for mask, kind, values in counted:
        behind: dict[object, int] = {}
        for value in values:
            shown = mask.mask(value)
            behind[shown] = behind.get(shown, 0) + 1
        least = mask.residual(kind)
        assert least is not None
        assert min(behind.values()) >= least, mask.fingerprint
