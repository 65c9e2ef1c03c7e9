"""What a trace found, in sentences: the surest first, and what the log can't tell said as plainly as what it can."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from vaultstore.evidence.ranking import Ranking
from vaultstore.evidence.trace import Found, Stuffing, Traced

__all__ = ["sentences"]

_SHOWN = 8


def sentences(traced: Traced) -> Iterator[str]:
    """The findings, one sentence or two each; actors, counts and times, never a number of anybody's."""
    for found in traced.canaries:
        yield _canary(found)
    if not traced.leaked:
        yield "Nothing in this list belongs to a member: it did not come from here."
        return
    yield from _log(traced)
    yield from _stuffing(traced.stuffing, traced.leaked)
    if traced.erased:
        yield (
            f"{traced.erased:,} lines of the log are erased: what was shown of erased members is known no more, and"
            " their numbers are not found either."
        )


def _canary(found: Found) -> str:
    one = found.canary
    whom = f"{one.actor} of store {one.store}" if one.actor else f"store {one.store}"
    name = f"CANARY {uuid.UUID(bytes=one.subject)}, planted {one.planted_at:%Y-%m-%d} for {whom}, is in the leak."
    if not found.shown_to:
        return f"{name} The log has no disclosure of it: its number came out past the gate, or from the database."
    clear = [actor for actor, in_clear in found.shown_to if in_clear]
    masked = [actor for actor, in_clear in found.shown_to if not in_clear]
    said = [f"in clear to {_list(clear)}"] if clear else []
    said += [f"masked to {_list(masked)}"] if masked else []
    return f"{name} It was disclosed {' and '.join(said)}."


def _log(traced: Traced) -> Iterator[str]:
    clear, masked = traced.clear, traced.masked
    if not masked.suspects:
        shown = f" ({traced.shown:,} of them were shown to somebody, without their numbers)" if traced.shown else ""
        yield (
            f"The log can't explain this leak: none of the {traced.leaked:,} members was ever disclosed to an"
            f" actor{shown}. Look at members' own logins (credential stuffing), at whoever enters numbers, or at"
            " another source."
        )
        return
    if not clear.suspects:
        yield "These numbers were disclosed masked only, to everybody: nobody read one through this store."
    ranking = traced.ranking
    how = "in clear" if ranking is clear else "masked"
    yield from _verdict(ranking, how)
    if ranking is masked and clear.suspects:
        yield "What was disclosed in clear explains nothing; the figures are of masked disclosures."
    if ranking is masked and ranking.explanation:
        yield "A mask is not a number: ask how these actors could have learned the numbers of members they saw masked."
    if ranking.never:
        yield f"{ranking.never:,} of {ranking.leaked:,} were disclosed {how} to nobody: noise, or another source."


def _verdict(ranking: Ranking, how: str) -> Iterator[str]:
    number = ranking.leaked
    if ranking.verdict == "few":
        yield f"{number} members are too few to tell actors apart; who saw them is listed."
    elif ranking.verdict == "elsewhere":
        yield (
            f"The log can't explain this leak: no actor was shown these {number:,} members {how} much more than chance"
            " would have it. Look at credential stuffing, at a copy of the database, or at another source."
        )
    elif ranking.verdict == "group":
        yield (
            f"No actor stands out. The leak looks like a sample of all that {_list(ranking.groups)} can see: look for a"
            " shared login, a copy of the store's data, or a source near it outside."
        )
    else:
        named = [suspect for suspect in ranking.suspects if suspect.share]
        explained = number - ranking.unexplained
        if len(named) == 1:
            yield f"{named[0].actor} explains the leak: {explained:,} of {number:,} were disclosed {how} to them."
        else:
            yield (
                f"{len(named)} actors together explain the leak, {explained:,} of {number:,} by what they saw {how}: "
                + "; ".join(f"{one.actor} about {one.share:.0%}" for one in named)
                + "."
            )
        for one in named:
            if one.alike:
                yield f"{one.actor} can't be told apart from {_list(one.alike)}: they were shown the same members."
        yield f"The leak is about 10^{ranking.margin:.0f} times likelier so than by chance; that is no proof of guilt."


def _stuffing(stuffing: Stuffing, leaked: int) -> Iterator[str]:
    if not stuffing.members:
        return
    rate = (
        f"{stuffing.members:,} of {leaked:,} leaked members had sessions of their own shortly before"
        f" ({stuffing.share:.0%}; other members: {stuffing.others:.0%})"
    )
    if stuffing.clients is not None:
        first = sum(stuffing.clients[:3])
        rate += f", {first:,} of them from {min(3, len(stuffing.clients))} of {len(stuffing.clients):,} clients"
    else:
        rate += "; tokens carry no attribute `client`, so it can't be told from how many clients"
    ends = {
        "likely": ". CREDENTIAL STUFFING is likely: passwords from elsewhere were tried here.",
        "possible": ". That is far more than usual: credential stuffing is possible.",
        "no": ": no sign of credential stuffing.",
    }
    yield rate + ends[stuffing.verdict]


def _list(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
