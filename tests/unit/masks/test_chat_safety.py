"""The shipped lexicon against messages: those it was written and tuned with, and some it was never tuned on.

chat_safety_development.csv has eleven sets, each written before the rules knew it and tuned on afterwards (10 and 11
had been held out before). chat_safety_held_out.csv was never looked at, only counted: 57 of 62 scams alarm, and 2 of
103 others, all of them hard cases. Once somebody tunes on it, it is no longer that.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from vaultstore import masks
from vaultstore.members.safety_rules import alarmed

DATA = Path(__file__).parents[2] / "data"
CHAT = masks.flags("chat-safety")


def rates(name: str) -> tuple[float, float]:
    """(recall, false-alarm rate)."""
    with (DATA / name).open(encoding="utf-8-sig", newline="") as file:
        rows = [(alarmed(CHAT.mask(row["body"])), row["is_scam"] == "1") for row in csv.DictReader(file)]
    scams, others = [a for a, scam in rows if scam], [a for a, scam in rows if not scam]
    return (sum(scams) / len(scams) if scams else 1.0), sum(others) / len(others)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("chats.csv", 1.0, 0.0),
        ("chat_safety.csv", 0.99, 0.01),
        ("chat_safety_development.csv", 0.98, 0.005),
        ("chat_safety_held_out.csv", 0.9, 0.02),
    ],
)
def test_scams_alarm_and_small_talk_does_not(name: str, least: float, most: float) -> None:
    recall, false_alarms = rates(name)
    assert recall >= least
    assert false_alarms <= most


@pytest.mark.parametrize(
    ("plain", "spellings"),
    [
        (
            "转账给我",
            [
                "轉賬給我",
                "转 账 给 我",
                "砖账给我",
                "zhuan zhang gei wo",
                "zhuanzhanggeiwo",
                "转zhang给我",
                "转。账。给。我",
            ],
        ),
        (
            "加我微信",
            ["加我威信", "加我薇信", "加我V信", "加我ＷＸ", "jia wo weixin", "加我 w e i x i n", "加我微亻言"],
        ),
        (
            "把验证码发我",
            ["把驗證碼發我", "把yan zheng ma发我", "把验正码发我", "把 验-证-码 发我", "ba yanzhengma fa wo"],
        ),
        ("带你投资稳赚", ["帶你投資穩賺", "带你头资稳赚", "dai ni tou zi wen zhuan", "带你投姿稳赚"]),
        (
            "我的手机是13812345678",
            ["我的手机是一三八一二三四五六七八", "我的手机是１３８ １２３４ ５６７８", "①③⑧①②③④⑤⑥⑦⑧"],
        ),
    ],
)
def test_a_word_is_known_however_it_is_spelled(plain: str, spellings: list[str]) -> None:
    flags = set(CHAT.mask(plain))
    assert flags
    for spelling in spellings:
        assert set(CHAT.mask(spelling)) & flags, spelling


@pytest.mark.parametrize(
    "message",
    [
        "她的专长是画画",
        "体现了他的性格",
        "我倒是想去",
        "手艺不错",
        "掷骰子玩",
        "别理睬他",
        "他力气用尽了",
        "I can help them send a letter",
        "Jia is my name",
    ],
)
def test_words_that_only_sound_alike_are_no_alarm(message: str) -> None:
    assert CHAT.mask(message) == []


@pytest.mark.parametrize(
    "message",
    [
        "我换了手机,加我微信",
        "我妈不让我在这上面聊,加我微信吧",
        "别信平台那些人,加我微信",
        "小心被封,加我vx聊 lovely88",
        "别怕,不是骗子,加我微信 wx8899",
        "我不是骗子,借我两千,下周还你",
        "我老板有内幕,跟着买稳赚",
        "我同事带我炒币,赚了十万,我带你",
        "我在银行工作,内部理财,年化百分之二十,你也可以投",
        "小心点,不要告诉别人,这个内幕消息稳赚",
        "亏了十万了,再充一万才能提现",
        "孩子生病了,借我点钱",
    ],
)
def test_a_request_does_not_hide_behind_words_that_tell_a_story(message: str) -> None:
    assert CHAT.mask(message)


@pytest.mark.parametrize("unit", ["xian", "anan", "zhuang", "jie", "给我", "帮我", "□", "一", "v信"])
def test_reading_by_sound_takes_time_in_proportion(unit: str) -> None:
    times = []
    for size in (20_000, 80_000):
        message = unit * (size // len(unit))
        started = time.perf_counter()
        CHAT.mask(message)
        times.append(time.perf_counter() - started)
    assert times[1] < 16 * times[0] + 0.5
