"""Synthetic people for the demo and for tests: the same seed gives the same people, messages and views."""

from __future__ import annotations

import csv
import io
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone

__all__ = ["SCAM", "Town", "as_csv", "town"]

_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
_COMPOUND = ("欧阳", "司徒", "上官", "东方", "令狐", "诸葛", "慕容", "南宫")
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂英华玉红建文辉力晨轩子涵一诺梓萱浩宇欣怡博雅晓琳"
_FOREIGN = (
    "Anna Müller",
    "José Ñúñez",
    "Jean-Luc O'Brien",
    "Алексей Иванов",
    "Nguyễn Thị Mai",
    "古丽娜尔·阿不都热合曼",
)
_CITIES = (
    ("上海", "sh", "310101"), ("北京", "bj", "110101"), ("成都", "cd", "510104"), ("武汉", "wh", "420106"),
    ("杭州", "hz", "330102"), ("南京", "nj", "320102"), ("西安", "xa", "610102"), ("青岛", "qd", "370203"),
)  # fmt: skip
_PREFIXES = ("38", "39", "50", "58", "76", "86", "98")
_WANTS = ("性格温柔，喜欢做饭", "身高175以上，不抽烟", "有稳定工作，孝顺父母", "爱旅行，会弹琴更好", "长头发，喜欢猫")
_TALK = (
    "你好，很高兴认识你", "周末有空一起喝咖啡吗？", "你喜欢看什么电影？", "明天下雨记得带伞", "今天加班好累😂",
    "我妈让我问问你属什么的", "这家银行旁边的面馆很好吃", "我的老家在成都，现在做点小生意", "Happy birthday!",
)  # fmt: skip
SCAM = (
    "我叔叔在内部有消息，这个平台稳赚不赔，你也投一点", "我急用钱，能先转账5000给我吗", "加薇：xx888，私聊",
    "我教你玩数字货币，USDT收益每天5%", "把银行卡号和验证码发我，我给你打钱",
)  # fmt: skip
"""What a romance scam writes: every third town has a few of these."""

_CHINA = timezone(timedelta(hours=8))
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Town:
    """Rows of the three files, as text, in the columns of the files."""

    members: Sequence[dict[str, str]] = field(repr=False)
    chats: Sequence[dict[str, str]] = field(repr=False)
    views: Sequence[dict[str, str]] = field(repr=False)


def town(members: int, *, seed: int = 2021, chats: int | None = None, views: int | None = None) -> Town:
    """People who live nowhere: `members` of them, with messages (default twice as many) and views (three times).

    Phones, ids and names are made up and mutually distinct; ids carry valid check characters, and a part of the
    phones is written as people write them. It needs at least two members.
    """
    if members < 2:
        raise ValueError("a town needs at least two members")
    dice = random.Random(seed)  # noqa: S311 - not a secret: the same seed must give the same people
    people = [_member(dice, number) for number in range(members)]
    ids = [person["member_id"] for person in people]
    return Town(
        people,
        [_chat(dice, ids) for _ in range(2 * members if chats is None else chats)],
        [_view(dice, ids) for _ in range(3 * members if views is None else views)],
    )


def as_csv(rows: Iterable[dict[str, str]], *, bom: bool = False) -> bytes:
    """Rows as a CSV file: UTF-8, CRLF, header first."""
    listed = list(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(listed[0]))
    writer.writeheader()
    writer.writerows(listed)
    return out.getvalue().encode("utf-8-sig" if bom else "utf-8")


def _member(dice: random.Random, number: int) -> dict[str, str]:
    city, short, region = dice.choice(_CITIES)
    born = date(1960, 1, 1) + timedelta(days=dice.randrange(45 * 365))
    if number % 37 == 5:
        born = date(1992, 2, 29)
    gender = dice.choice("MF")
    given = dice.choice(_GIVEN) + (dice.choice(_GIVEN) if dice.random() < 0.8 else "")
    name = dice.choice(_COMPOUND) + given if dice.random() < 0.06 else dice.choice(_SURNAMES) + given
    if number % 29 == 11:
        name = dice.choice(_FOREIGN)
    phone = f"1{dice.choice(_PREFIXES)}{(number * 7919 + dice.randrange(7919)) % 10**8:08d}"
    order = dice.randint(0, 499) * 2 + (gender == "M")
    nickname = (
        dice.choice(("小", "大", "阿", "🌸", "Mr."))
        + dice.choice("雨云星月风山海晴")
        + dice.choice(("", "♥", "2021", "_"))
    )
    mailbox = f"{dice.choice(('li.lei', 'HAN.MEI', 'user'))}{number}@{dice.choice(('example.com', 'mail.example.cn'))}"
    street = (
        f"{city}市{dice.choice(('人民', '解放', '中山', '和平'))}路{dice.randint(1, 900)}号{dice.randint(101, 3299)}室"
    )
    return {
        "member_id": str(_uuid(dice)),
        "nickname": nickname,
        "gender": gender,
        "city": city,
        "store": f"{short}-{dice.randint(1, 12):02d}",
        "real_name": name,
        "id_number": "" if dice.random() < 0.02 else _resident(region, born, order),
        "phone": _as_written(dice, phone),
        "wechat": _maybe(dice, 0.8, f"wx_{dice.randrange(10**6):06d}"),
        "email": _maybe(dice, 0.7, mailbox),
        "address": _maybe(dice, 0.6, street),
        "birth_date": born.isoformat(),
        "height_cm": str(dice.randint(148, 197)),
        "education": dice.choice(("高中", "大专", "本科", "硕士", "博士")),
        "marital": dice.choice(("未婚", "离异", "丧偶")),
        "monthly_income": dice.choice(("", "0", "3000", "8000", "12000", "20000", "35000", "80000", "123456.78")),
        "house": dice.choice(("有", "无", "")),
        "car": dice.choice(("有", "无", "")),
        "wants": _maybe(dice, 0.85, dice.choice(_WANTS)),
        "consent_matchmaking": _maybe(dice, 0.7, "2021-11-02"),
        "grade": dice.choice("ABCD"),
        "last_login": (date(2021, 12, 1) - timedelta(days=int(dice.expovariate(1 / 90)))).isoformat(),
    }  # fmt: skip


def _chat(dice: random.Random, ids: Sequence[str]) -> dict[str, str]:
    sender, recipient = dice.sample(ids, 2)
    scam = dice.random() < 0.05
    return {
        "message_id": str(_uuid(dice)),
        "sender_id": sender,
        "recipient_id": recipient,
        "sent_at": _moment(dice),
        "body": dice.choice(SCAM if scam else _TALK),
        "is_scam": str(int(scam)),
    }


def _view(dice: random.Random, ids: Sequence[str]) -> dict[str, str]:
    viewer, viewed = dice.sample(ids, 2)
    return {"viewer_id": viewer, "viewed_id": viewed, "viewed_at": _moment(dice)}


def _moment(dice: random.Random) -> str:
    at = datetime(2021, 11, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(30 * 86400))
    return at.astimezone(_CHINA).isoformat()


def _resident(region: str, born: date, order: int) -> str:
    digits = f"{region}{born:%Y%m%d}{order:03d}"
    # GB 11643-1999: ISO 7064 MOD 11-2.
    return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=True)) % 11]


def _as_written(dice: random.Random, phone: str) -> str:
    full_width = phone.translate({ord("0") + n: ord("０") + n for n in range(10)})
    forms = (
        phone,
        phone,
        phone,
        f"+86 {phone}",
        f"{phone[:3]} {phone[3:7]} {phone[7:]}",
        f"0086-{phone}",
        full_width,
        f" {phone}\t",
    )
    return dice.choice(forms)


def _maybe(dice: random.Random, chance: float, value: str) -> str:
    return value if dice.random() < chance else ""


def _uuid(dice: random.Random) -> uuid.UUID:
    return uuid.UUID(int=dice.getrandbits(128), version=4)
