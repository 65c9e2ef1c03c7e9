"""The sections of a policy file below its top level: a category, a service, a rule of `never`, a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

from vaultstore.policy.document import Entry, Node, Table
from vaultstore.policy.fields import MODEL, NAME, choice, entry, flag, table, text, words
from vaultstore.policy.model import KEEPS, Category, Never, PolicyTest, Service
from vaultstore.policy.places import Place
from vaultstore.policy.words import hint, shown

__all__ = ["Known", "read_category", "read_never", "read_service", "read_test", "roles_of"]

_MASKED = "masked:"


@dataclass(slots=True)
class Known:
    """Names that a section may refer to, wherever they are defined, and the places found so far."""

    categories: dict[str, Category] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    purposes: dict[str, Table] = field(default_factory=dict)
    places: dict[tuple[str, ...], Place] = field(default_factory=dict)
    timezone: str = "UTC"

    def category(self, word: str, place: Place, what: str) -> Category:
        """The category called `word`."""
        if word not in self.categories:
            raise place.error(f"{what}: unknown category {shown(word)}{hint(word, self.categories)}")
        return self.categories[word]

    def purpose(self, word: str, place: Place, what: str) -> str:
        """`word`, if it is a purpose."""
        if word not in self.purposes:
            raise place.error(f"{what}: unknown purpose {shown(word)}{hint(word, self.purposes)}")
        return word

    def role(self, word: str, place: Place, what: str) -> str:
        """`word`, if it may be a role: where files declare roles, one of them."""
        if self.roles and word not in self.roles:
            raise place.error(f"{what}: unknown role {shown(word)}{hint(word, self.roles)}")
        return NAME.check(word, place, what)


def read_category(name: str, node: Node) -> Category:
    """``NAME: {description, sensitive, projection, consent}``."""
    what = f"category {name}"
    entries = table(node, what, ("description", "sensitive", "projection", "consent")).entries
    category = Category(
        name,
        description=text(entries["description"].node, f"{what}, description") if "description" in entries else "",
        sensitive="sensitive" in entries and flag(entries["sensitive"].node, f"{what}, sensitive"),
        projection="projection" in entries and flag(entries["projection"].node, f"{what}, projection"),
        consent=text(entries["consent"].node, f"{what}, consent") if "consent" in entries else None,
    )
    if category.consent is not None:
        place = entries["consent"].node.place
        NAME.check(category.consent, place, f"{what}, consent")
        if not category.sensitive:
            raise place.error(
                f"{what}: a consent of its own is for a sensitive category; mark it with `sensitive: true`"
            )
    if category.sensitive and category.projection:
        raise entries["sensitive"].place.error(f"{what}: sensitivity belongs to the source; a projection is its mask")
    return category


def read_service(name: str, node: Node, known: Known) -> Service:
    """``NAME: {description, purposes, keeps}``."""
    what, path = f"service {name}", ("services", name)
    found = table(node, what, ("description", "purposes", "keeps"))
    purposes, keeps = set(), set()
    for word, place in words(entry(found, "purposes", what).node, f"{what}, purposes"):
        purposes.add(known.purpose(word, place, f"{what}, purposes"))
        known.places[*path, "purposes", word] = place
    if "keeps" in found.entries:
        for word, place in words(found.entries["keeps"].node, f"{what}, keeps", may_be_empty=True):
            if word not in KEEPS:
                raise place.error(f"{what}, keeps: unknown record {shown(word)}{hint(word, KEEPS)}")
            keeps.add(word)
            known.places[*path, "keeps", word] = place
    description = found.entries.get("description")
    return Service(
        name,
        description=text(description.node, f"{what}, description") if description else "",
        purposes=frozenset(purposes),
        keeps=frozenset(keeps),
    )


def roles_of(found: Entry, what: str, known: Known) -> Iterator[tuple[str, Place]]:
    """The roles in a list, each with its place."""
    for word, place in words(found.node, f"{what}, roles"):
        yield known.role(word, place, f"{what}, roles"), place


def read_never(node: Node, number: int, known: Known) -> Never:
    """``{roles, categories, except, because}``: rule `number` of all files."""
    what, path = "never", ("never", str(number))
    found = table(node, what, ("roles", "categories", "except", "because"))
    known.places[path] = found.place
    roles = set()
    for role, place in roles_of(entry(found, "roles", what), what, known):
        roles.add(role)
        known.places[*path, "role", role] = place
    categories = set()
    for word, place in words(entry(found, "categories", what).node, f"{what}, categories"):
        categories.add(known.category(word, place, what).name)
    exceptions = {}
    if "except" in found.entries:
        for target, allowed in table(found.entries["except"].node, f"{what}, except").entries.items():
            exceptions[target] = _exception(target, allowed, path, known)
    return Never(
        frozenset(roles),
        frozenset(categories),
        MappingProxyType(exceptions),
        because=text(entry(found, "because", what).node, f"{what}, because"),
        place=str(found.place),
    )


def _exception(target: str, allowed: Entry, path: tuple[str, ...], known: Known) -> frozenset[str]:
    what = f"never, except {shown(target)}"
    model, dot, name = target.partition(".")
    if not dot:
        raise allowed.place.error(f"{what}: name a field, as Model.field")
    MODEL.check(model, allowed.place, what)
    MODEL.check(name, allowed.place, what)
    known.places[*path, "except", target] = allowed.place
    result = set()
    for word, place in words(allowed.node, what):
        if not known.category(word, place, what).projection:
            raise place.error(f"{what}: {word} is no projection; only a masked form can be excepted")
        known.places[*path, "except", target, word] = place
        result.add(word)
    return frozenset(result)


def read_test(node: Node, number: int, known: Known) -> PolicyTest:
    """``{purpose, model, field, expect, verb}``: test `number` of all files; without `field`, of the model's rows."""
    what, path = "test", ("tests", str(number))
    found = table(node, what, ("purpose", "model", "field", "expect", "verb"))
    known.places[path] = found.place
    values = {key: entry(found, key, what) for key in ("purpose", "model", "expect")}
    if "field" in found.entries:
        values["field"] = found.entries["field"]
    for key in values.keys() - {"expect"}:
        known.places[*path, key] = values[key].node.place
    words_of = {key: text(value.node, f"{what}, {key}") for key, value in values.items()}
    known.purpose(words_of["purpose"], values["purpose"].node.place, what)
    for key in values.keys() & {"model", "field"}:
        MODEL.check(words_of[key], values[key].node.place, f"{what}, {key}")
    verb, of_rows = "read", "field" not in values
    if "verb" in found.entries:
        verbs = ("read", "write") if of_rows else ("read", "search", "write")
        verb = choice(found.entries["verb"].node, f"{what}, verb", verbs)
    expect, place = words_of["expect"], values["expect"].node.place
    if verb != "read" or of_rows:
        choice(values["expect"].node, f"{what}, expect", ("allowed", "denied"))
    elif expect.startswith(_MASKED):
        if not known.category(expect.removeprefix(_MASKED), place, f"{what}, expect").projection:
            raise place.error(f"{what}, expect: {expect.removeprefix(_MASKED)} is no projection")
    elif expect not in ("clear", "denied"):
        raise place.error(f"{what}, expect: {shown(expect)} is not clear, denied or masked:CATEGORY")
    return PolicyTest(**{"field": "", **words_of}, place=str(found.place), verb=verb)
