"""Normalisers: one spelling for values that are equal to a person, so that a blind index finds them.

A value that can't be normalised has no index, so it can't be stored in an indexed field: sealing it raises
`NotNormalizable`. (Storing it unindexed would make a member whom no search and no uniqueness check finds.) Importers
report the line and the reason; what is to be stored as it was typed belongs in a field without an index.

The result of a normaliser is a format: it may never change for a value that it took before. A new spelling rule is a
new normaliser.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from types import ModuleType
from typing import Any, ClassVar, Protocol

from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.masks.masked import is_masked

__all__ = [
    "Normalizer",
    "NotNormalizable",
    "email",
    "identity",
    "phone_e164",
    "resident_id",
    "text",
]


class NotNormalizable(UnsupportedOperation):
    """A value has no normal form, so it can't be indexed or searched; carries the normaliser and the reason."""

    def __init__(self, normalizer: str, reason: str) -> None:
        self.normalizer, self.reason = normalizer, reason
        super().__init__(f"{normalizer}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (NotNormalizable, (self.normalizer, self.reason))


class Normalizer(Protocol):
    """A function to one spelling, with a fingerprint: its name and parameters, as a model's catalogue holds them."""

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, value: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class _OfText(ABC):
    """What the normalisers of text share: the check of the type, and the errors."""

    name: ClassVar[str]

    @property
    def fingerprint(self) -> str:
        return f"{self.name}()"

    def __call__(self, value: object, /) -> str:
        """The normal form.

        Raises:
            NotNormalizable: there is none.
        """
        if not isinstance(value, str) or is_masked(value):
            raise self._no("it takes text, and no masked value")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise self._no("the text has a lone surrogate, which is no character")
        return self._normal(value)

    @abstractmethod
    def _normal(self, value: str) -> str:
        """The normal form of text without lone surrogates, or `_no`'s error."""

    def _no(self, reason: str) -> NotNormalizable:
        return NotNormalizable(self.fingerprint, reason)


@dataclass(frozen=True, slots=True)
class _Identity:
    @property
    def fingerprint(self) -> str:
        return "identity()"

    def __call__(self, value: Any, /) -> Any:
        if is_masked(value):
            raise NotNormalizable(self.fingerprint, "it takes no masked value")
        return value


def identity() -> Normalizer:
    """Every value as it is: only the same value is equal."""
    return _Identity()


@dataclass(frozen=True, slots=True)
class _Text(_OfText):
    name: ClassVar[str] = "text"

    def _normal(self, value: str) -> str:
        return _folded(value).strip()


def text() -> Normalizer:
    """Text without regard to case, width and other compatibility forms, and outer white space.

    The form is NFKC(casefold(NFKC(casefold(NFD(x))))) (Unicode, section 3.13, D146), trimmed.
    """
    return _Text()


@dataclass(frozen=True, slots=True)
class _Email(_OfText):
    name: ClassVar[str] = "email"

    def _normal(self, value: str) -> str:
        local, at, domain = _visible(_folded(value)).strip().partition("@")
        if not at or "@" in domain:
            raise self._no("an address has one @")
        if not re.fullmatch(r"[^\s\"(),:;<>\[\\\]]+", local):
            raise self._no("the part before the @ is empty, quoted, or has a space or bracket in it")
        domain = domain.replace("。", ".")
        if not 1 <= len(domain) <= 253:
            raise self._no("the domain is empty or too long")
        try:
            ascii_domain = domain.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise self._no("the domain is not a domain name") from None
        if not re.fullmatch(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*", ascii_domain):
            raise self._no("the domain is not a domain name with a dot in it")
        return f"{local}@{ascii_domain}"


def email() -> Normalizer:
    """An e-mail address without regard to case, its domain in ASCII (IDNA, RFC 3490).

    The local part is folded too: a server may tell cases apart (RFC 5321, section 2.4), people don't. Dots and
    ``+tags`` in it stay, since they mean something else at each provider.
    """
    return _Email()


_CN_NUMBER = re.compile(
    r"(?:(?:\+|00)?86(?=0?1[3-9]))?0?(?P<mobile>1[3-9]\d{9})"
    r"|(?:(?:\+|00)86)?0(?P<line>(?:10|2\d)\d{8}|[3-9]\d{2}\d{7,8})"
    r"|(?:\+|00)86(?P<bare>(?:10|2\d)\d{8}|[3-9]\d{2}\d{7,8})"
)


@dataclass(frozen=True, slots=True)
class _Phone(_OfText):
    name: ClassVar[str] = "phone_e164"

    region: str

    @property
    def fingerprint(self) -> str:
        return f"phone_e164(region={self.region})"

    def _normal(self, value: str) -> str:
        number = _number(value)
        if not re.fullmatch(r"\+?\d{5,20}", number):
            raise self._no("it is not a telephone number")
        chinese = number.startswith(("+86", "0086")) or (self.region == "CN" and not number.startswith(("+", "00")))
        return self._chinese(number) if chinese else self._foreign(number)

    def _chinese(self, number: str) -> str:
        found = _CN_NUMBER.fullmatch(number)
        if found is None:
            raise self._no("it is not a mobile or landline number of region CN")
        return f"+86{found['mobile'] or found['line'] or found['bare']}"

    def _foreign(self, number: str) -> str:
        phonenumbers = _phonenumbers()
        if phonenumbers is None:
            raise self._no("a number of another country needs the extra vaultstore[phone]")
        if self.region == "CN" and number.startswith("00"):
            number = f"+{number[2:]}"
        e164 = phonenumbers.PhoneNumberFormat.E164
        try:
            parsed = phonenumbers.parse(number, self.region)
            normal = str(phonenumbers.format_number(parsed, e164))
            again = phonenumbers.format_number(phonenumbers.parse(normal), e164)
        except phonenumbers.NumberParseException:
            raise self._no("it is not a telephone number") from None
        if not phonenumbers.is_possible_number(parsed):
            raise self._no("it has too many or too few digits for its country")
        if again != normal:  # such as 000000 in Germany: zeros that are trunk prefixes each time they are read
            raise self._no("it is not a telephone number")
        return normal


def phone_e164(region: str = "CN") -> Normalizer:
    """A telephone number as E.164 (``+8613812345678``).

    White space, dashes, dots, brackets and invisible characters are ignored, and digits of any script are read. A
    number without a country prefix belongs to `region` (ISO 3166-1). Chinese numbers are read here: mobile ones with
    +86, 0086, 86 or nothing before them, landlines with their area code (its 0, or +86). Any other number needs the
    extra ``phone``.

    Raises:
        ModelError: `region` is not a region that this installation can read.
    """
    if region != "CN":
        library = _phonenumbers()
        if library is None:
            raise ModelError("phone_e164() of a region other than CN needs the extra vaultstore[phone]")
        if region not in library.SUPPORTED_REGIONS:
            raise ModelError("phone_e164() takes a region of two capital letters (ISO 3166-1), such as CN")
    return _Phone(region)


# GB 11643-1999: provinces of GB/T 2260; 83 is Taiwan's in residence permits, 9x begins a foreigner's permanent one.
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123]|9\d")


@dataclass(frozen=True, slots=True)
class _ResidentId(_OfText):
    name: ClassVar[str] = "resident_id"

    def _normal(self, value: str) -> str:
        number = _number(value).upper()
        if re.fullmatch(r"\d{15}", number):
            number = self._upgraded(number)
        if not re.fullmatch(r"\d{17}[\dX]", number):
            raise self._no("it has not 18 digits (the last may be X) or 15")
        if not _PROVINCE.match(number):
            raise self._no("its first two digits are no province")
        if not _is_date(number[6:14]):
            raise self._no("its birth date is no date")
        if number[17] != _check_character(number[:17]):
            raise self._no("its check character is wrong")
        return number

    def _upgraded(self, number: str) -> str:
        if number[12:] in ("996", "997", "998", "999"):  # kept for people over 100: born in 18yy
            raise self._no("it has 15 digits and is one of those whose century is not known")
        longer = f"{number[:6]}19{number[6:]}"
        return longer + _check_character(longer)


def resident_id() -> Normalizer:
    """A Chinese resident identity number of 18 characters, as GB 11643-1999 defines it.

    Its province, birth date and check character (ISO 7064, MOD 11-2) must be right; county codes are not looked up,
    since old ones stay valid. A 15-digit number (GB 11643-1989) is the same person's: it gets its century and check
    character.
    """
    return _ResidentId()


def _check_character(digits: str) -> str:
    remainder = (12 - sum(int(digit) * (1 << (17 - at)) for at, digit in enumerate(digits)) % 11) % 11
    return "X" if remainder == 10 else str(remainder)


def _is_date(digits: str) -> bool:
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year >= 1800
    except ValueError:
        return False


def _folded(value: str) -> str:
    """NFKC and case folding together (Unicode, section 3.13, D146)."""
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", value).casefold())
    return unicodedata.normalize("NFKC", form.casefold())


def _visible(value: str) -> str:
    """`value` without format characters: copying from an address book brings direction marks and the like along."""
    return "".join(char for char in value if unicodedata.category(char) != "Cf")


def _number(value: str) -> str:
    """`value` with ASCII digits, without what people put between digits."""
    out: list[str] = []
    for char in unicodedata.normalize("NFKC", value):
        digit = unicodedata.decimal(char, None)
        category = unicodedata.category(char)
        if digit is not None:
            out.append(str(digit))
        elif not (char.isspace() or char in ".()" or category in ("Pd", "Cf", "Cc") or char == "−"):
            out.append(char)
    return "".join(out)


def _phonenumbers() -> ModuleType | None:
    load: Callable[[str], ModuleType] = importlib.import_module
    try:
        return load("phonenumbers")
    except ImportError:
        return None
