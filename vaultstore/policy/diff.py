"""`policy diff`: what a change of the policy, or of the masks it was reviewed with, makes wider or narrower."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vaultstore.catalogue import Field
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.diff_bars import bar_changes
from vaultstore.policy.diff_purpose import changes_of, reach_of
from vaultstore.policy.finding import Finding, Pair, added_and_removed
from vaultstore.policy.lattice import excess
from vaultstore.policy.model import PolicyTest

__all__ = ["PolicyDiff", "diff"]


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Everything that changed, purposes first."""

    findings: tuple[Finding, ...]

    def count(self, direction: str) -> int:
        """How many findings have this direction."""
        return sum(finding.direction == direction for finding in self.findings)

    @property
    def widens(self) -> bool:
        """Whether anything became wider, or changed so that nobody can say it did not."""
        return self.count("wider") + self.count("changed") > 0


def diff(old: BoundPolicy, new: BoundPolicy) -> PolicyDiff:
    """What changed from `old` to `new`; each is bound to the models of its own time (see `catalogue_in`)."""
    pair = Pair(old, new)
    return PolicyDiff(
        (
            *_purposes(pair),
            *bar_changes(pair),
            *_services(pair),
            *_fields(pair),
            *_categories(pair),
            *_whole(pair),
            *_tests(pair),
        )
    )


def _purposes(pair: Pair) -> Iterator[Finding]:
    for name in dict.fromkeys([*pair.new.purposes, *pair.old.purposes]):
        place = pair.place("purposes", name)
        if name not in pair.old.purposes:
            yield Finding("wider", f"purpose {name}", f"is new: {reach_of(pair.new, name)}", place)
        elif name not in pair.new.purposes:
            yield Finding("narrower", f"purpose {name}", f"is gone: it was {reach_of(pair.old, name)}", place)
        else:
            yield from changes_of(pair, name)


def _services(pair: Pair) -> Iterator[Finding]:
    old, new = pair.old.rules.services, pair.new.rules.services
    if bool(old) != bool(new):
        alone = "one program serves every purpose and keeps every record"
        if new:
            yield Finding("narrower", "services", f"are declared: until now, {alone}", pair.place("services"))
        else:
            yield Finding("wider", "services", f"are no longer declared: {alone}", pair.place("services"))
        return
    for name in dict.fromkeys([*new, *old]):
        subject, place = f"service {name}", pair.place("services", name)
        if name not in new:
            yield Finding("narrower", subject, "is gone", place)
            continue
        if name not in old:
            yield Finding("wider", subject, "is new", place)
        was = old.get(name)
        for what, gains, loses in (
            ("purposes", "now serves", "no longer serves"),
            ("keeps", "now keeps", "no longer keeps"),
        ):
            before = getattr(was, what) if was else frozenset()
            yield from added_and_removed(subject, before, getattr(new[name], what), gains, loses, place)


def _fields(pair: Pair) -> Iterator[Finding]:
    before = {(m.name, f.name): f for m in pair.old.catalogue for f in m.fields}
    now = {(m.name, f.name): f for m in pair.new.catalogue for f in m.fields}
    for key in dict.fromkeys([*now, *before]):
        subject = f"field {'.'.join(key)}"
        if key not in before:
            yield Finding("note", subject, f"is new, in {now[key].category}")
        elif key not in now:
            yield Finding("note", subject, f"is gone; it was in {before[key].category}")
        else:
            yield from _field(pair, key, subject, before[key], now[key])


def _field(pair: Pair, key: tuple[str, str], subject: str, old: Field, new: Field) -> Iterator[Finding]:
    if old.category != new.category:
        yield Finding("changed", subject, f"category: {old.category} -> {new.category}")
    if old.type != new.type:
        yield Finding("changed", subject, f"type: {old.type} -> {new.type}")
    indexes = [i and f"{i.normalizer}{' unique' if i.unique else ''}" for i in (old.index, new.index)]
    if indexes[0] != indexes[1]:
        says = f"index: {indexes[0] or 'none'} -> {indexes[1] or 'none'}"
        yield Finding("changed" if new.index else "narrower", subject, says)
    for category in sorted({*old.categories, *new.categories} - {old.category, new.category}):
        was, now = old.projection(category), new.projection(category)
        masks = [mask.mask if mask else "none" for mask in (was, now)]
        if masks[0] == masks[1]:
            continue
        seen = sorted(name for name in pair.new.purposes if str(pair.new.decision(name, *key)) == f"masked:{category}")
        says = f"mask {category}: {masks[0]} -> {masks[1]}; seen by {', '.join(seen) or 'no purpose'}"
        # A mask that is new or gone shows in the cells of those who read it.
        yield Finding("changed" if was and now else "note", subject, says)


def _categories(pair: Pair) -> Iterator[Finding]:
    old, new = pair.old.categories, pair.new.categories
    for name in dict.fromkeys([*new, *old]):
        subject, place = f"category {name}", pair.place("categories", name)
        if name not in old or name not in new:
            yield Finding("note", subject, "is new" if name in new else "is gone", place)
        elif old[name].sensitive != new[name].sensitive:
            says = "is now sensitive" if new[name].sensitive else "is no longer sensitive: warnings about it are silent"
            yield Finding("note", subject, says, place)
        if name in old and name in new and old[name].consent != new[name].consent:
            # Who it concerns, and whether it opens something, stands with the purposes.
            says = f"consent of its own: {old[name].consent or 'none'} -> {new[name].consent or 'none'}"
            yield Finding("note", subject, says, place)


def _whole(pair: Pair) -> Iterator[Finding]:
    old, new = pair.old.rules, pair.new.rules
    if old.timezone != new.timezone:
        says = f"{old.timezone} -> {new.timezone}: when the limits of a day begin anew"
        yield Finding("changed", "timezone", says, pair.place())
    for more in sorted(set(excess(pair.new)) - set(excess(pair.old))):
        says = f"Vault has to let it {more.operation} {more.category} of {more.model} as well as of {more.because}"
        yield Finding("wider", f"purpose {more.purpose}", says, pair.place("purposes", more.purpose))


def _tests(pair: Pair) -> Iterator[Finding]:
    """A test that goes in the change that it would have caught is the line to read twice."""
    now = {_said(test) for test in pair.new.rules.tests}
    for test in pair.old.rules.tests:
        if _said(test) not in now:
            yield Finding("note", f"purpose {test.purpose}", f"a test is gone: {_said(test)}", test.place)


def _said(test: PolicyTest) -> str:
    field = f".{test.field}" if test.field else ""
    return f"{test.purpose}, {test.verb} {test.model}{field}: {test.expect}"
