"""One abuse is several tries, each at what one plane guards; one promise is one piece of evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from vaultstore.errors import AccessDenied, VaultstoreError
from vaultstore.members.scenario.scene import Scene

__all__ = ["Abuse", "GotThrough", "Kept", "Outcome", "Promise", "Try", "attempt", "keep"]


class GotThrough(Exception):
    """An abuse worked, or a promise is not kept. The text says what was gained, never the value."""


@dataclass(frozen=True, slots=True)
class Try:
    """One way to commit an abuse, and the plane that guards against it."""

    plane: str
    """``issuer``, ``library``, ``gate``, ``key service``, ``PostgreSQL``, ``desk`` or ``audit log``."""
    what: str
    act: Callable[[Scene], str | None]
    """Returns what was found to be so, where there is nothing that refuses."""
    by: tuple[type[BaseException], ...] = (VaultstoreError,)
    """The errors that count as the refusal."""
    reason: str = ""
    """What an AccessDenied has to give as its reason; "": any."""
    planes: bool = False
    """Whether it takes Vault and PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Abuse:
    """One of the abuses that were exposed."""

    number: int
    what: str
    tries: Sequence[Try]


@dataclass(frozen=True, slots=True)
class Promise:
    """One of the promises that were made."""

    number: int
    what: str
    evidence: Callable[[Scene], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try."""

    plane: str
    what: str
    held: bool
    said: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a promise."""

    number: int
    what: str
    kept: bool
    said: str


def attempt(scene: Scene, tried: Try) -> Outcome:
    """Try it. It is held only by the error that should refuse it."""
    try:
        found = tried.act(scene)
    except GotThrough as gain:
        return Outcome(tried.plane, tried.what, held=False, said=str(gain))
    except (VaultstoreError, DBAPIError) as error:
        held = isinstance(error, tried.by)
        if isinstance(error, AccessDenied) and tried.reason:
            held = held and error.reason == tried.reason
        return Outcome(tried.plane, tried.what, held, _said(error))
    if found is None:
        return Outcome(tried.plane, tried.what, held=False, said="nothing stopped it")
    return Outcome(tried.plane, tried.what, held=True, said=found)


def keep(scene: Scene, promise: Promise) -> Kept:
    """Show the evidence."""
    try:
        said = promise.evidence(scene)
    except GotThrough as gap:
        return Kept(promise.number, promise.what, kept=False, said=str(gap))
    except (VaultstoreError, DBAPIError) as error:
        return Kept(promise.number, promise.what, kept=False, said=_said(error))
    return Kept(promise.number, promise.what, kept=True, said=said)


def _said(error: VaultstoreError | DBAPIError) -> str:
    """An error in one line; of a driver's only its first, which has no values."""
    if isinstance(error, DBAPIError):
        return str(error.orig).partition("\n")[0]
    return f"{type(error).__name__}: {error}"
