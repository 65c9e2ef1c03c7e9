"""How often the long forms of tests run: by the Hypothesis profile, so that one setting bounds them all."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["often"]


def often(of_a_thousand: int) -> int:
    """So many in the `soak` profile (1,000 examples), fewer by as much in a smaller one; at least 2."""
    return max(2, of_a_thousand * settings().max_examples // 1000)
