"""flags(): what a message talks about, through the tricks that hide it, without crying wolf."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import masks
from vaultstore.errors import ModelError
from vaultstore.masks.lexicon import Lexicon, fold_variants, load_file, shipped

CHAT = masks.flags("chat-safety")

HARMFUL = {
    "money": [
        "急用钱，帮帮我",
        "能不能借我八千块，月底还你",
        "可以先转账给我吗",
        "麻烦你帮我垫付一下",
        "转 账 给 我",
        "转.账.给.我.呗",
        "匯款給我就好",
        "帮我充值一张礼品卡",
        "先交3000保证金才能提现",
        "我继承了一笔遗产，要交律师费",
        "发我个🧧吧",
        "Can you send money to me?",
    ],
    "contact": [
        "加我微信聊",
        "加 V：abcde1",
        "加薇 love520",
        "ｖｘ：abc12345",
        "+v hello999",
        "w x: abc123",
        "我的QQ：12345678",
        "换个软件聊吧",
        "打我电话１３８１２３４５６７８",
        "add me on WhatsApp",
        "我们去telegram说",
    ],
    "investment": [
        "跟着导师炒股，稳赚",
        "带你炒币，USDT收益每天3%",
        "我有内幕消息，投点黄金吧",
        "比特幣翻倍，我教你",
        "充值一千，提现两千",
        "这个项目高收益，名额不多",
        "买彩票有内部计划",
        "guaranteed bitcoin profit",
    ],
    "task": ["刷单日结", "做任务，佣金日结", "点赞兼职，日薪三百"],
    "identity_code": [
        "把验证码发我",
        "身份证号告诉我一下",
        "你的银行卡号是多少",
        "驗證碼截圖給我",
        "tell me the verification code",
    ],
}
HARMLESS = [
    "你好，很高兴认识你",
    "我在银行卡中心上班",
    "借我一把伞吧",
    "我去图书馆借书",
    "他们公司刚融资",
    "股票跌了，心情不好",
    "我不炒股，也不懂理财",
    "今天彩票店关门了",
    "我的黄金项链丢了",
    "我跟着妈妈学做饭",
    "你在这个平台注册多久了",
    "手机充值卡用完了",
    "我收到侄子的红包",
    "周末一起充电吧",
    "我平时用微信付早餐",
    "转学以后我就没见过她",
    "我密码忘了",
    "老师带我们去爬山",
    "我兼职做老师",
    "今年是2021年，我30岁",
    "房租押金退了",
    "I invested my time in music",
]


@pytest.mark.parametrize(("flag", "message"), [(flag, m) for flag, ms in HARMFUL.items() for m in ms])
def test_what_a_message_asks_for_is_flagged(flag: str, message: str) -> None:
    assert flag in list_of(message)


@pytest.mark.parametrize("message", HARMLESS)
def test_everyday_talk_is_not_flagged(message: str) -> None:
    assert list_of(message) == []


def list_of(message: str) -> list[Any]:
    shown = CHAT.mask(message)
    assert isinstance(shown, list)
    return shown


@pytest.mark.parametrize("message", [ms[0] for ms in HARMFUL.values()])
@given(st.data())
def test_what_stands_between_characters_hides_nothing(message: str, data: st.DataObject) -> None:
    breaks = st.text(" .,，。-_\u200b\u200d\u202e\t😂❤\ufe0f", max_size=2)
    broken = "".join(char + data.draw(breaks) for char in message)
    assert list_of(broken) == list_of(message)


@given(st.text())
def test_only_names_of_the_lexicon_are_shown(message: str) -> None:
    shown = list_of(message)
    assert shown == sorted(set(shown))
    assert set(shown) <= set(shipped("chat-safety").data["flags"])


@pytest.mark.parametrize("unit", ["转账", "借", "a", "1", "微信 ", "先充值1000就能", "\u200d", "汉ab"])
def test_a_long_message_takes_time_in_proportion(unit: str) -> None:
    message = unit * (100_000 // len(unit))
    started = time.perf_counter()
    CHAT.mask(message)
    assert time.perf_counter() - started < 5


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


OWN = "name: own\nversion: 3\nwords: {greeting: [hello, 你好], pet: [cat*]}\nflags:\n"


def test_an_application_brings_a_lexicon_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, OWN + "  pets: [{all: [greeting, pet], within: 20}]\n  hi: [{all: [greeting]}]\n")
    mask = masks.flags(path)
    assert mask.mask("Hello, my CATS!") == ["hi", "pets"]
    assert mask.mask("你 好") == ["hi"]
    assert mask.mask("othello and a concat") == []
    assert mask.mask("hello" + "." * 50 + "x" * 30 + " cat") == ["hi"]
    assert mask.fingerprint.startswith("flags(lexicon=own@3:")
    assert masks.flags(load_file(path)) == mask


def test_words_are_joined_out_of_lists(tmp_path: Path) -> None:
    text = "name: own\nversion: 1\nwords: {hand: [谢谢, [[转, 打], [我, 给我]]]}\nflags: {f: [{all: [hand]}]}\n"
    mask = masks.flags(write(tmp_path, text))
    assert [mask.mask(said) for said in ("转我", "打给我", "谢谢", "我转")] == [["f"], ["f"], ["f"], []]


SIGNS = "name: own\nversion: 1\nwords: {a: [甲], b: [乙], c: [丙], d: [丁], story: [昨天, 骗子]}\nflags:\n"


def test_a_rule_counts_signs(tmp_path: Path) -> None:
    mask = masks.flags(write(tmp_path, SIGNS + "  f: [{all: [a], of: [b, c, d], at_least: 2, within: 6}]\n"))
    assert mask.mask("甲乙丙") == mask.mask("丁好甲好丙") == ["f"]
    assert mask.mask("甲乙") == mask.mask("乙丙丁") == mask.mask("甲乙一二三四五丙") == []
    either = masks.flags(write(tmp_path, SIGNS + "  f: [{of: [a, b, c], at_least: 2, within: 4}]\n"))
    assert either.mask("乙甲") == either.mask("甲一二三四五乙丙") == ["f"]
    assert either.mask("甲一二三四五乙") == []


def test_a_rule_does_not_hold_near_words_that_make_it_a_story(tmp_path: Path) -> None:
    mask = masks.flags(write(tmp_path, SIGNS + "  f: [{all: [a, b], within: 6, unless: [story]}]\n"))
    assert mask.mask("甲乙") == ["f"]
    assert mask.mask("昨天甲乙") == mask.mask("甲昨天乙") == mask.mask("甲乙骗子") == []
    assert mask.mask("昨天一二三四五六七八九甲乙") == mask.mask("昨天甲乙一二三四五六七八九十甲乙") == ["f"]
    single = masks.flags(write(tmp_path, SIGNS + "  f: [{all: [a], unless: [story]}]\n"))
    assert (single.mask("甲"), single.mask("昨天甲")) == (["f"], [])


def test_the_digest_follows_the_content_and_not_the_layout(tmp_path: Path) -> None:
    first = load_file(write(tmp_path, OWN + "  hi: [{all: [greeting]}]\n"))
    same = load_file(write(tmp_path, "# a comment\n" + OWN + "  hi:\n  - all: [greeting]\n"))
    other = load_file(write(tmp_path, OWN + "  hi: [{all: [pet]}]\n"))
    assert first == same
    assert first.digest != other.digest
    assert isinstance(first, Lexicon)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "name: own\n",
        "name: own\nversion: '1'\n",
        "name: own\nversion: 1\n",
        "name: own\nversion: 1\nflags: {}\n",
        "{",
        "name: own\nversion: 1\nflags: [a]\n",
        "name: own\nversion: 1\nflags: {a: []}\n",
        "name: own\nversion: 1\nflags: {a: [b]}\n",
        "name: own\nversion: 1\nflags: {1: [b]}\n",
        OWN + "  hi: [{all: [nobody]}]\n",
        OWN + "  hi: [{all: []}]\n",
        OWN + "  hi: [{any: [greeting]}]\n",
        OWN + "  hi: [{all: [greeting], within: 0}]\n",
        OWN + "  hi: [{all: [greeting], within: far}]\n",
        OWN + "  hi: [{within: 3}]\n",
        OWN + "  hi: [{all: [greeting], unless: [nobody]}]\n",
        OWN + "  hi: [{of: [greeting, pet]}]\n",
        OWN + "  hi: [{of: [greeting, pet], at_least: 3}]\n",
        OWN + "  hi: [{of: [greeting, pet], at_least: true}]\n",
        OWN + "  hi: [{all: [greeting], at_least: 1}]\n",
        "name: own\nversion: 1\nwords: {a: [[]]}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: {a: [[b, c]]}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: {a: [[[b], [1]]]}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: {a: [no]}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: {a: ['...']}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: {a: ['*']}\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nwords: [a]\nflags: {f: [{all: [a]}]}\n",
        "name: own\nversion: 1\nreplace: {a: 1}\nflags: {f: [{all: [<amount>]}]}\n",
        "name: own\nversion: 1\nreplace: {'': a}\nflags: {f: [{all: [<amount>]}]}\n",
    ],
)
def test_a_lexicon_that_is_wrong_is_refused_when_the_model_is_defined(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError):
        masks.flags(write(tmp_path, text))


def test_a_lexicon_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="chat-safety"):
        masks.flags("chat-savety")
    with pytest.raises(ModelError):
        masks.flags(tmp_path / "none.yaml")
    (tmp_path / "latin1.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError):
        masks.flags(tmp_path / "latin1.yaml")


def test_every_digest_covers_the_characters_that_are_folded() -> None:
    for name in ("surnames", "places-cn", "chat-safety"):
        assert shipped(name).data["variants"] == shipped("variants").digest


def test_the_example_of_the_docs_works(tmp_path: Path) -> None:
    docs = Path(__file__).parents[3] / "docs" / "formats" / "masks.md"
    example = docs.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    mask = masks.flags(write(tmp_path, example))
    assert mask.mask("加我 w x 吧") == ["contact"]
    assert mask.mask("add me: TelegramX") == ["contact"]
    assert mask.mask("我的电话 138-1234-5678") == ["contact"]
    assert mask.mask("我的电话，1 3 8 1 2 3 4 5 6 7 8") == ["contact"]
    assert mask.mask("我30,138,12345678") == []


def test_the_shipped_lists_fit_together() -> None:
    variants = shipped("variants").data
    traditional, simplified = "".join(variants["traditional"]), "".join(variants["simplified"])
    assert len(traditional) == len(simplified) == len(set(traditional))
    assert not set(traditional) & set(simplified)
    for name in ("surnames", "places-cn", "chat-safety"):
        written = str(dict(shipped(name).data))
        if name != "chat-safety":
            assert fold_variants(written) == written, "lists are written in simplified characters"
