"""region(level): province, city or district of a Chinese address."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import HIDDEN, Mask
from vaultstore.masks.lexicon import fold_variants, shipped
from vaultstore.masks.text import clean

__all__ = ["Region", "region"]

_LEVELS = ("province", "city", "district")

_ENOUGH = 200
"""Characters of an address that can matter: the longest three names together have 30."""

_LEAD = re.compile(r"^(?:中华人民共和国|中国|\d{6}|[\W_])+")
_GAP = re.compile(r"^(?:市辖区|[\W_])+")
# What makes a street or a building of a place name written without its 市 or 省: 南京西路, 北京路, 中山公园.
_STREET = re.compile(
    r"[\W_]*[东西南北中上下前后内外新老一二三四五六七八九十\d]{0,3}"
    r"(?:大?[路街道巷弄]|胡同|里|村|湾|屯|庄|大厦|大楼|广场|花园|公园|小区|社区|公寓|苑|城|馆|楼|桥|站|港|镇|乡|园|阁|府|酒店|宾馆|饭店)"
)
_LONGEST_NAME = 15
_NOT_A_CITY = ("场", "民")  # 南京市场, 上海市民中心


@dataclass(slots=True)
class _Place:
    """A place and what may be written after it: names below it, in full and short."""

    path: tuple[tuple[int, str], ...] = ()
    """(level, name) of the places that hold it and of itself."""
    full: dict[str, _Place] = field(default_factory=dict)
    short: dict[str, list[_Place]] = field(default_factory=dict)

    def add(self, level: int, name: str, short: str | None = None) -> _Place:
        place = self.full[name] = _Place((*self.path, (level, name)))
        if short:
            self.short.setdefault(short, []).append(place)
        return place


@dataclass(frozen=True, slots=True)
class Region(Mask):
    """The administrative region of an address; see `region`."""

    name: ClassVar[str] = "region"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    level: str
    places: str
    """Fingerprint of the list of places."""

    @property
    def fingerprint(self) -> str:
        return f"region(level={self.level},places={self.places})"

    def _apply(self, value: str) -> str:
        text = _LEAD.sub("", fold_variants(clean(value))[:_ENOUGH])
        found = _read(_country(), text)
        limit = _LEVELS.index(self.level)
        return HIDDEN if found is None else "".join(name for level, name in found.path if level <= limit)


def region(level: str) -> Region:
    """Show the province, the province and city, or those and the district that an address begins with.

    ``region("city")`` of 广东深圳南山区科技园1号 is ``广东省深圳市``; a municipality stands for itself (``上海市``).
    Only names out of a closed list (GB/T 2260) are ever shown, so nothing else of the address can be. Where a level is
    not written, the levels above it are shown; an address that begins with no known place, or with a name that could
    as well be a street's (北京路), shows ``***``.

    Raises:
        ModelError: `level` is not ``province``, ``city`` or ``district``.
    """
    if level not in _LEVELS:
        raise ModelError(f"region() takes a level out of {', '.join(_LEVELS)}")
    return Region(level, shipped("places-cn").fingerprint)


def _read(place: _Place, text: str) -> _Place | None:
    """The finest place below `place` that `text` begins with, or None."""
    for end in range(min(_LONGEST_NAME, len(text)), 1, -1):
        found = place.full.get(text[:end])
        if found is None:
            continue
        below = _below(found, text[end:])
        if below is not found or not (text[end - 1] == "市" and text.startswith(_NOT_A_CITY, end)):
            return below
    for end in range(min(_LONGEST_NAME, len(text)), 1, -1):
        for found in place.short.get(text[:end], ()):
            rest = text[end:]
            if rest.startswith("州") and found.path[-1][1].endswith("自治州"):
                return _below(found, rest[1:])
            inner = _read(found, _GAP.sub("", rest))
            if inner is not None:
                return inner
            if not rest or (_GAP.match(rest) and not _STREET.match(rest)):
                return found
    return None


def _below(place: _Place, rest: str) -> _Place:
    """The finest place that `rest`, written after the name of `place`, names; `place` itself may be repeated in it."""
    rest = _GAP.sub("", rest)
    own = place.path[-1][1]
    return _read(place, _GAP.sub("", rest.removeprefix(own))) or place


@cache
def _country() -> _Place:
    """The places of the country. A district is found without its city, and a city without its province, if only one has
    the name; two-character districts (丰县, 城区) need the city before them."""
    country = _Place()
    districts: dict[str, list[_Place]] = {}
    for data in shipped("places-cn").data["provinces"]:
        province = country.add(0, data["name"], data["short"])
        inside: dict[str, list[_Place]] = {}
        # Of a municipality they are districts; elsewhere they stand under the province itself, as cities do.
        level = 1 if data["cities"] else 2
        for name in data["districts"].split():
            inside.setdefault(name, []).append(province.add(level, name))
        for entry in data["cities"]:
            city = province.add(1, entry["name"], entry["short"])
            for name in entry["districts"].split():
                inside.setdefault(name, []).append(city.add(2, name))
        _add_unique(province, inside, at_least=2)
        for name, places in inside.items():
            districts.setdefault(name, []).extend(places)
    for province in list(country.full.values()):
        for short, cities in province.short.items():
            country.short.setdefault(short, []).extend(cities)
            for city in cities:
                country.full.setdefault(city.path[-1][1], city)
    _add_unique(country, districts, at_least=3)
    return country


def _add_unique(place: _Place, districts: dict[str, list[_Place]], at_least: int) -> None:
    for name, found in districts.items():
        if len(found) == 1 and len(name) >= at_least:
            place.full.setdefault(name, found[0])
