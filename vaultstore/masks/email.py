"""email_domain(): the domain of an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from vaultstore.masks.base import HIDDEN, Mask
from vaultstore.masks.text import clean

__all__ = ["EmailDomain", "email_domain"]

# Dots of IDNA (RFC 3490, section 3.1) beside the ASCII one; NFKC has already made . of U+FF0E and U+FF61 a 。
_DOTS = str.maketrans("。", ".")
_ADDRESS = re.compile(r'(?:[^\s@"]+|"[^"]*")@([^\s@]+)')
_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")
_TOP_LABEL = re.compile(r"[^\d_-][\w-]*")


@dataclass(frozen=True, slots=True)
class EmailDomain(Mask):
    """The domain of an e-mail address; see `email_domain`."""

    name: ClassVar[str] = "email_domain"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    @property
    def fingerprint(self) -> str:
        return "email_domain()"

    def _apply(self, value: str) -> str:
        found = _ADDRESS.fullmatch(clean(value).translate(_DOTS).casefold())
        return f"{HIDDEN}@{found[1]}" if found and _is_domain(found[1]) else HIDDEN


def email_domain() -> EmailDomain:
    """Show ``***@`` and the domain, in lower case and as it is written (``***@例子.中国``).

    What is not one address with a dotted domain (no ``@``, several outside a quoted local part, an IP literal) shows
    ``***``. A domain that belongs to one person tells who it is: use constant() where members bring such addresses.
    """
    return EmailDomain()


def _is_domain(domain: str) -> bool:
    labels = domain.split(".")
    return (
        len(domain) <= 253
        and len(labels) >= 2
        and all(_LABEL.fullmatch(label) for label in labels)
        and _TOP_LABEL.fullmatch(labels[-1]) is not None
    )
