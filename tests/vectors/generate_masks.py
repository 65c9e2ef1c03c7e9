"""Write masks.json, normalizers.json and blind_index.json: one small function a file.

What is expected is written here by hand, not computed by the code under test; only the HMACs are computed, with the
standard library. A vector is a success, or one failure with the name of the error's class. Run it after a deliberate
change only: sealed masks and stored indexes keep their old form until they are written anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

HERE = Path(__file__).parent

Vector = dict[str, Any]
Call = tuple[str, list[Any], dict[str, Any]]

SURNAMES = "surnames@1:b0260f66e7ee03b9"
PLACES = "places-cn@1:410fd9acea0e00d9"
CHAT_SAFETY = "chat-safety@3:c3e42270a6e8978b"


class Marital(Enum):
    """The enumeration of values of type `enum`, which go by name."""

    UNMARRIED = "未婚"
    DIVORCED = "离异"


READ: dict[str, Callable[[Any], Any]] = {
    "str": str,
    "bytes": bytes.fromhex,
    "int": int,
    "bool": bool,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "uuid": UUID,
    "enum": Marital.__getitem__,
    "json": lambda value: value,
    "null": lambda _: None,
}
"""Name of a type -> how a vector's value or argument, written ``{type: value}``, becomes one."""


def read(written: dict[str, Any]) -> Any:
    """The Python value that ``{type: value}`` stands for."""
    [(kind, value)] = written.items()
    return READ[kind](value)


def call(name: str, *args: Any, **kwargs: Any) -> Call:
    return (
        name,
        [a if isinstance(a, dict) else {_kind(a): a} for a in args],
        {k: {_kind(v): v} for k, v in kwargs.items()},
    )


def _kind(value: Any) -> str:
    return {str: "str", int: "int", bool: "bool"}[type(value)]


def typed(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {_kind(value): value}


class Cases:
    """Vectors of one file; a name is made of the call and the value where none is given."""

    def __init__(self, member: str, result: str) -> None:
        self.member, self.result = member, result
        self.vectors: list[Vector] = []

    def good(self, made: Call, fingerprint: str, *pairs: tuple[Any, Any]) -> None:
        for value, expected in pairs:
            self._add(made, {"fingerprint": fingerprint, "value": typed(value), self.result: expected})

    def bad_value(self, made: Call, error: str, *values: Any) -> None:
        for value in values:
            self._add(made, {"value": typed(value), "error": error})

    def bad_call(self, error: str, *calls: Call) -> None:
        for made in calls:
            self._add(made, {"error": error})

    def _add(self, made: Call, rest: Vector) -> None:
        name, args, kwargs = made
        self.vectors.append(
            {"name": f"{name} {len(self.vectors) + 1}", self.member: name, "args": args, "kwargs": kwargs, **rest}
        )


def masks() -> list[Vector]:
    cases = Cases("mask", "masked")
    cases.good(
        call("keep", last=4),
        "keep(first=0,last=4)",
        ("13812345678", "*******5678"),
        ("0086-186-4128-4804", "*******4804"),
        ("１８０７１０２６６１８", "*******6618"),
        (" 16648530762\t", "*******0762"),
        ("+86 17703385674", "*******5674"),
        ("wx_464779", "*******4779"),
        ("12345678", "*******5678"),
        ("1234567", "*" * 11),
        ("5678", "*" * 11),
        ("", "*" * 11),
        ("e\u0301" * 10, "*******" + "é" * 4),
        ("👨\u200d👩\u200d👧" * 8, "*******" + "👨\u200d👩\u200d👧" * 4),
        ("a\u200db\u200dc\u200dd", "*" * 11),
        ("\ud800" * 12, "*" * 11),
    )
    cases.good(
        call("keep", first=3, last=4),
        "keep(first=3,last=4)",
        ("13812345678", "138****5678"),
        ("8613573695801", "135****5801"),
        ("8888 12345678", "888****5678"),
        ("12345", "*" * 11),
        ("1234567890", "*" * 11),
    )
    cases.good(call("keep", first=8, last=4), "keep(first=8,last=4)", ("a" * 8 + "b" * 8, "aaaaaaaa****bbbb"))
    cases.good(call("keep"), "keep(first=0,last=0)", ("13812345678", "*" * 11))
    cases.bad_call(
        "ModelError", call("keep", last=-1), call("keep", first=-1), call("keep", last=True), call("keep", first="3")
    )
    cases.bad_value(
        call("keep", last=4), "UnsupportedOperation", {"int": 13812345678}, {"null": None}, {"bytes": "3133"}
    )

    cases.good(
        call("surname"),
        f"surname(surnames={SURNAMES})",
        ("王伟", "王**"),
        ("马晨秀", "马**"),
        ("王 小 明", "王**"),
        ("欧阳兰伟", "欧阳**"),
        ("歐陽修", "歐陽**"),
        ("欧阳", "欧**"),
        ("南宫刚𬭎", "南宫**"),
        ("买买提·艾则孜", "艾则孜**"),
        ("古丽娜尔·阿不都热合曼", "阿不都热合曼**"),
        ("买买提", "***"),
        ("扎西次仁", "***"),
        ("李·小龙", "***"),
        ("王", "***"),
        ("Anna Müller", "Müller**"),
        ("Jean-Luc O'Brien", "O'Brien**"),
        ("José Ñúñez", "Ñúñez**"),
        ("Müller, Anna", "Müller**"),
        ("Dr. Anna Müller, PhD", "Müller**"),
        ("Anna", "***"),
        ("Nguyễn Thị Hoa", "Nguyễn**"),
        ("Nguyen Thi Hoa", "Nguyen**"),
        ("Hoa Nguyen", "Nguyen**"),
        ("Lê Hoàng", "***"),
        ("WANG Xiaoming", "WANG**"),
        ("Li Na", "Li**"),
        ("Lin Yang", "***"),
        ("Алексей Иванов", "Иванов**"),
        ("Иванов Алексей Петрович", "Иванов**"),
        ("Роман Абрамович", "***"),
        ("김철수", "김**"),
        ("张三 13812345678", "***"),
        ("🌸", "***"),
        ("", "***"),
    )
    cases.bad_value(call("surname"), "UnsupportedOperation", {"enum": "DIVORCED"})

    cases.good(
        call("initial"),
        "initial()",
        ("anna", "A***"),
        (" Ñúñez", "Ñ***"),
        ("王伟", "王***"),
        ("🌸小杰", "小***"),
        ("王", "***"),
        ("12345", "***"),
        ("", "***"),
    )
    cases.good(
        call("age_band", 5),
        "age_band(width=5)",
        ({"date": "1987-03-09"}, "1985-1989"),
        ({"date": "1988-02-29"}, "1985-1989"),
        ({"date": "1990-01-01"}, "1990-1994"),
        ({"datetime": "1990-01-01T00:30:00+08:00"}, "1985-1989"),
        (1987, "1985-1989"),
        ({"date": "0001-01-01"}, "0001-0004"),
        ({"date": "9999-12-31"}, "9995-9999"),
        (0, "***"),
        (-1987, "***"),
        (10**12, "***"),
    )
    cases.good(call("age_band", 7), "age_band(width=7)", ({"date": "9999-12-31"}, "9996-9999"))
    cases.bad_call(
        "ModelError", call("age_band", 0), call("age_band", -5), call("age_band", 101), call("age_band", "5")
    )
    cases.bad_value(call("age_band", 5), "UnsupportedOperation", {"str": "1987"}, {"bool": True})
    cases.good(call("year"), "year()", ({"date": "1987-03-09"}, 1987), (1987, 1987), (0, "***"))
    cases.bad_value(call("year"), "UnsupportedOperation", {"decimal": "1987"})

    cases.good(
        call("band", 0, 5000, 10000),
        "band(0,5000,10000)",
        ({"decimal": "0"}, "0-5000"),
        ({"decimal": "0.00"}, "0-5000"),
        ({"decimal": "-0"}, "0-5000"),
        ({"decimal": "4999.99"}, "0-5000"),
        ({"decimal": "5000.00"}, "5000-10000"),
        ({"decimal": "123456.78"}, ">=10000"),
        ({"decimal": "1E+999999"}, ">=10000"),
        ({"decimal": "-0.01"}, "<0"),
        ({"decimal": "Infinity"}, ">=10000"),
        ({"decimal": "-Infinity"}, "<0"),
        ({"decimal": "NaN"}, "***"),
        ({"decimal": "sNaN"}, "***"),
        (0, "0-5000"),
        (-(10**30), "<0"),
        (10**30, ">=10000"),
    )
    cases.good(
        call("band", {"decimal": "-1.50"}, {"decimal": "1E+3"}),
        "band(-1.5,1000)",
        ({"decimal": "-1.5"}, "-1.5-1000"),
        (1000, ">=1000"),
    )
    cases.bad_call(
        "ModelError",
        call("band"),
        call("band", 5, 5),
        call("band", 10, 5),
        call("band", {"json": 0.5}),
        call("band", "5"),
        call("band", True),
        call("band", {"decimal": "NaN"}),
        call("band", {"decimal": "Infinity"}),
        call("band", {"decimal": "1E+1000000"}),
    )
    cases.bad_value(call("band", 0), "UnsupportedOperation", {"bool": True}, {"str": "5000"}, {"null": None})

    cases.good(
        call("email_domain"),
        "email_domain()",
        ("HAN.MEI37959@Gmail.com", "***@gmail.com"),
        ("HAN.MEI90797@例子.中国", "***@例子.中国"),
        ("测试@xn--fsqu00a.xn--fiqs8s", "***@xn--fsqu00a.xn--fiqs8s"),
        ("ａ＠ｂ。ｃｏｍ", "***@b.com"),
        ('"a@b"@c.com', "***@c.com"),
        ("a@b@c.com", "***"),
        ("gmail.com", "***"),
        ("@gmail.com", "***"),
        ("a@localhost", "***"),
        ("a@[192.0.2.1]", "***"),
        ("a@192.0.2.1", "***"),
        ("a@-b.com", "***"),
        ("write to a@b.com", "***"),
        ("", "***"),
    )
    address = "广东深圳南山区科技园1号"
    cases.good(call("region", "province"), f"region(level=province,places={PLACES})", (address, "广东省"))
    cases.good(
        call("region", "city"),
        f"region(level=city,places={PLACES})",
        (address, "广东省深圳市"),
        ("南京市人民路585号1364室", "江苏省南京市"),
        ("上海市解放大道1号", "上海市"),
        ("518000 中国，广东省 深圳市", "广东省深圳市"),
        ("廣東省廣州市天河區", "广东省广州市"),
        ("江苏省昆山市花桥镇", "江苏省苏州市"),
        ("昆山市花桥镇", "江苏省苏州市"),
        ("河南省济源市", "河南省济源市"),
        ("大理州大理市", "云南省大理白族自治州"),
        ("吉林省长春市", "吉林省长春市"),
        ("吉林昌邑区", "吉林省吉林市"),
        ("江苏省人民路1号", "江苏省"),
        ("江苏省南京路1号", "江苏省"),
        ("北京路12号", "***"),
        ("南京西路1号", "***"),
        ("南京市场路1号", "***"),
        ("朝阳区建国路1号", "***"),
        ("幸福小区1号", "***"),
        ("12 Main Street", "***"),
        ("", "***"),
    )
    cases.good(
        call("region", "district"),
        f"region(level=district,places={PLACES})",
        (address, "广东省深圳市南山区"),
        ("北京朝阳区建国路1号", "北京市朝阳区"),
        ("北京市市辖区东城区", "北京市东城区"),
        ("北京市北京市东城区", "北京市东城区"),
        ("南京市幸福小区", "江苏省南京市"),
    )
    cases.bad_call("ModelError", call("region", "street"), call("region", ""), call("region", 1))

    cases.good(
        call("present"),
        "present()",
        ("", "present"),
        (0, "present"),
        (False, "present"),
        ({"bytes": ""}, "present"),
        ({"json": {"a": [1]}}, "present"),
        ({"json": 1.5}, "present"),
        ({"uuid": "018df9a0-1111-7000-8000-000000000001"}, "present"),
    )
    cases.bad_value(call("present"), "UnsupportedOperation", {"null": None})
    cases.good(call("constant", "隐藏"), 'constant("隐藏")', ("x", "隐藏"), (0, "隐藏"))
    cases.bad_call("ModelError", call("constant", 5), call("constant", "\ud800"))
    cases.good(
        call("one_of", "高中", "大专", "本科"),
        'one_of("高中","大专","本科")',
        ("本科", "本科"),
        (" 本科\n", "本科"),
        ("博士后", "other"),
        ("", "other"),
    )
    cases.good(
        call("one_of", "DIVORCED"),
        'one_of("DIVORCED")',
        ({"enum": "DIVORCED"}, "DIVORCED"),
        ({"enum": "UNMARRIED"}, "other"),
    )
    cases.good(call("one_of", 'a","b'), 'one_of("a\\",\\"b")', ('a","b', 'a","b'))
    cases.bad_call(
        "ModelError", call("one_of"), call("one_of", "有", "有"), call("one_of", "有", " 有"), call("one_of", 1)
    )

    cases.good(
        call("flags", "chat-safety"),
        f"flags(lexicon={CHAT_SAFETY})",
        ("我急用钱，能先转账5000给我吗", ["money"]),
        ("转 账 给 我 就 行", ["money"]),
        ("轉.賬.給.我", ["money"]),
        ("你能借我一本书吗", []),
        ("你加我微信，这里聊天不方便，V信：abc123", ["contact"]),
        ("加 薇：xx888", ["contact"]),
        ("先充值1000就能提现，我带你", ["investment", "money"]),
        ("最近股市不好，我不炒股", []),
        ("把银行卡号和验证码发我，我给你打钱", ["identity_code"]),
        ("刷单日结，做任务返佣金", ["task"]),
        ("我手机充值卡在哪里买的忘了", []),
        ("Happy birthday!", []),
        ("", []),
    )
    cases.bad_call(
        "ModelError", call("flags", "no-such-lexicon"), call("flags", "../surnames"), call("flags", "surnames")
    )
    return cases.vectors


def normalizers() -> list[Vector]:
    cases = Cases("normalizer", "normal")
    cases.good(
        call("phone_e164", region="CN"),
        "phone_e164(region=CN)",
        ("13812345678", "+8613812345678"),
        ("138 1234 5678", "+8613812345678"),
        (" 13812345678\t", "+8613812345678"),
        ("+86 13812345678", "+8613812345678"),
        ("8613812345678", "+8613812345678"),
        ("0086-138-1234-5678", "+8613812345678"),
        ("１３８１２３４５６７８", "+8613812345678"),
        ("\u202d+86 138-1234-5678\u202c", "+8613812345678"),
        ("013812345678", "+8613812345678"),
        ("(010) 6234 5678", "+861062345678"),
        ("+86 (0)571 8765 4321", "+8657187654321"),
        ("+86-21-62345678", "+862162345678"),
        ("+1 202-555-0123", "+12025550123"),
        ("0044 20 7946 0958", "+442079460958"),
    )
    cases.bad_value(
        call("phone_e164", region="CN"),
        "NotNormalizable",
        "",
        "12345",
        "12812345678",
        "1381234567",
        "138123456789",
        "138-1234-5678 转 9",
        "13812345678/13912345678",
        "不方便",
        "+999 1234567",
        "62345678",
        "\ud8001381234567",
        {"int": 13812345678},
        {"null": None},
    )
    cases.good(
        call("phone_e164", "US"),
        "phone_e164(region=US)",
        ("(202) 555-0123", "+12025550123"),
        ("+86 13812345678", "+8613812345678"),
    )
    cases.bad_call("ModelError", call("phone_e164", "XX"), call("phone_e164", "us"), call("phone_e164", ""))
    cases.good(
        call("resident_id"),
        "resident_id()",
        ("11010519491231002X", "11010519491231002X"),
        ("11010519491231002x", "11010519491231002X"),
        ("１１０１０５ 19491231 002Ｘ", "11010519491231002X"),
        ("110105491231002", "11010519491231002X"),
        ("440524188001010014", "440524188001010014"),
    )
    cases.bad_value(
        call("resident_id"),
        "NotNormalizable",
        "",
        "110105194912310021",
        "11010519490231002X",
        "01010519491231002X",
        "1101051949123100",
        "1101051949123100XX",
        "110105491231996",
        "110105490231002",
        {"int": 110105491231002},
    )
    cases.good(
        call("text"),
        "text()",
        ("  Straße\n", "strasse"),
        ("ＡＢＣ", "abc"),
        ("A\u030a", "å"),
        ("ﬁ", "fi"),
        ("两 个", "两 个"),
        ("", ""),
    )
    cases.bad_value(call("text"), "NotNormalizable", "\udc00", {"bytes": "61"})
    cases.good(
        call("email"),
        "email()",
        ("HAN.MEI37959@Gmail.com", "han.mei37959@gmail.com"),
        (" a+b@QQ.com\t", "a+b@qq.com"),
        ("测试67581@例子.中国", "测试67581@xn--fsqu00a.xn--fiqs8s"),
        ("测试67581@XN--FSQU00A.xn--fiqs8s", "测试67581@xn--fsqu00a.xn--fiqs8s"),
        ("ａ＠ｂ。ｃｏｍ", "a@b.com"),
    )
    cases.bad_value(
        call("email"),
        "NotNormalizable",
        "",
        "gmail.com",
        "@gmail.com",
        "a@",
        "a@b",
        "a@b@c.com",
        '"a b"@c.com',
        "a b@c.com",
        "a@b..com",
        "a@" + "b" * 64 + ".com",
        "a@192.0.2.1",
        "a@b_c.com",
    )
    cases.good(call("identity"), "identity()", ("  A ", "  A "))
    return cases.vectors


KEY = bytes(range(32))


def blind_index() -> list[Vector]:
    vectors: list[Vector] = []

    def good(value: Any, message: bytes, normalizer: Call | None = None) -> None:
        digest = hmac.new(KEY, message, hashlib.sha256).hexdigest()
        vectors.append(
            _index(normalizer) | {"value": typed(value), "message": message.hex(), "key": KEY.hex(), "index": digest}
        )

    def bad(error: str, rest: Vector, normalizer: Call | None = None) -> None:
        vectors.append(_index(normalizer) | rest | {"error": error})

    def _index(normalizer: Call | None) -> Vector:
        name, args, kwargs = normalizer or call("identity")
        return {"name": f"index {len(vectors) + 1}", "normalizer": name, "args": args, "kwargs": kwargs}

    phone = call("phone_e164", region="CN")
    good("0086-138-1234-5678", b"+8613812345678", phone)
    good("A ", b"a", call("text"))
    good("A ", b"A ")
    good("", b"")
    good("汉", b"\xe6\xb1\x89")
    good({"bytes": "00ff"}, b"\x00\xff")
    good(0, b"0")
    good(-12, b"-12")
    good(2**200, str(2**200).encode())
    good({"decimal": "5.00"}, b"5")
    good({"decimal": "5E+2"}, b"500")
    good({"decimal": "-0.50"}, b"-0.5")
    good({"decimal": "-0"}, b"0")
    good({"decimal": "0E+999999"}, b"0")
    good({"uuid": "018df9a0-1111-7000-8000-000000000001"}, bytes.fromhex("018df9a0111170008000000000000001"))
    good({"datetime": "2021-11-01T08:00:00+08:00"}, b"2021-11-01T00:00:00.000000Z")
    good({"datetime": "2021-11-01T00:00:00.5+00:00"}, b"2021-11-01T00:00:00.500000Z")
    for kind in ("enum", "bool", "date", "json"):
        bad("ModelError", {"type": kind})
    for kind in ("bytes", "int", "uuid"):
        bad("ModelError", {"type": kind}, phone)
    bad("NotNormalizable", {"value": {"str": "12345"}}, phone)
    bad("NotNormalizable", {"value": {"str": "\ud800"}})
    bad("NotNormalizable", {"value": {"decimal": "NaN"}})
    bad("NotNormalizable", {"value": {"decimal": "Infinity"}})
    bad("NotNormalizable", {"value": {"decimal": "1E+999999"}})
    bad("NotNormalizable", {"value": {"decimal": "1E-999999"}})
    bad("NotNormalizable", {"value": {"datetime": "0001-01-01T00:00:00+08:00"}})
    bad("UnsupportedOperation", {"value": {"datetime": "2021-11-01T08:00:00"}})
    for value in (
        {"bool": True},
        {"enum": "DIVORCED"},
        {"date": "2021-11-01"},
        {"json": 1.5},
        {"json": [1]},
        {"null": None},
    ):
        bad("UnsupportedOperation", {"value": value})
    return vectors


FILES: dict[str, tuple[str, Callable[[], list[Vector]]]] = {
    "masks": ("Masks, docs/formats/masks.md.", masks),
    "normalizers": ("Normalisers, docs/formats/blind-index.md.", normalizers),
    "blind_index": ("Blind indexes, docs/formats/blind-index.md.", blind_index),
}


def render(name: str) -> str:
    """The text of the file called `name`."""
    about, make = FILES[name]
    content = {"about": f"{about} Written by generate_masks.py.", "vectors": make()}
    # Escaped to ASCII: a lone surrogate has no other form in a file.
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for file in FILES:
        (HERE / f"{file}.json").write_text(render(file))
