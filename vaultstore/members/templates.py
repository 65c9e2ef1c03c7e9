"""Approved texts: a seller picks one and fills its blanks; what is filled in carries neither links nor numbers."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vaultstore import normalize
from vaultstore.errors import UnsupportedOperation

__all__ = ["TEMPLATES", "Templates", "carries"]

TEMPLATES: Mapping[str, str] = MappingProxyType({
    "introduction": "{salutation}您好,这里是{store}红娘中心。您同意过我们向您介绍会员,如不需要服务请回复“不需要”。",
    "appointment": "{salutation}您好,提醒您与{store}红娘中心的约谈:{day}。如不需要服务请回复“不需要”。",
    "event": "{salutation}您好,{store}红娘中心将于{day}举办会员活动。如不需要服务请回复“不需要”。",
})  # fmt: skip
"""Each says who writes and how to say no."""

_LONGEST = 40
_DIGITS = "0-9零〇一二三四五六七八九十壹贰叁肆伍陆柒捌玖两幺"
_NUMBER = re.compile(f"(?:[{_DIGITS}][^\\w{_DIGITS}]{{0,3}}){{6,}}")
_LINK = re.compile(
    r"https?|www|://|[a-z0-9-]+\s*[.。·点]\s*(?:com|cn|net|org|cc|me|top|xyz|vip|io|app|link|shop|co)\b|@", re.I
)
_ELSEWHERE = re.compile(r"微信|威信|薇信|vx|wx|wechat|weixin|q\s*q|扣扣|telegram|whatsapp|line|电报|加我|加v", re.I)


@dataclass(frozen=True, slots=True)
class Templates:
    """The texts that may be sent, by name. A blank is ``{name}``."""

    texts: Mapping[str, str] = field(default_factory=lambda: TEMPLATES)

    def fill(self, name: str, values: Mapping[str, str]) -> str:
        """The text to send. Raises UnsupportedOperation for a text that is not approved, a blank that is missing or
        unknown, and for what carries a link, a number or a way to write elsewhere; it does not repeat it.
        """
        text = self.texts.get(name)
        if text is None:
            raise UnsupportedOperation(
                f"there is no approved text {name!r}; there are: {', '.join(sorted(self.texts))}"
            )
        blanks = {blank for _, blank, _, _ in string.Formatter().parse(text) if blank}
        if blanks != values.keys():
            raise UnsupportedOperation(f"the text {name} has the blanks {', '.join(sorted(blanks))}: fill these")
        for blank, value in values.items():
            found = "more than 40 characters" if len(value) > _LONGEST else carries(value)
            if found:
                raise UnsupportedOperation(f"the text {name}: what fills {blank} has {found}")
        return text.format_map(values)


def carries(text: str) -> str:
    """What free text may not carry, in words, or ""."""
    plain = normalize.text()(text) if text.strip() else ""
    flat = str(plain)
    if any(not c.isprintable() for c in text):
        return "a character that does not print"
    if "{" in text or "}" in text:
        return "a blank of its own"
    if _LINK.search(flat):
        return "a link or an address"
    if _NUMBER.search(flat):
        return "a number that can be dialled or added"
    if _ELSEWHERE.search(flat):
        return "a way to write elsewhere"
    return ""
