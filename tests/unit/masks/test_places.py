"""region(): names out of a closed list, and only where an address surely begins with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import masks
from vaultstore.masks import HIDDEN
from vaultstore.masks.lexicon import shipped

PROVINCES = shipped("places-cn").data["provinces"]
CITY = masks.region("city")
DISTRICT = masks.region("district")
CITIES = [(province, city) for province in PROVINCES for city in province["cities"]]
SHOWN = {HIDDEN}
for _province in PROVINCES:
    _top = _province["name"]
    SHOWN |= {_top, *(_top + name for name in _province["districts"].split())}
    for _city in _province["cities"]:
        SHOWN |= {_top + _city["name"], *(_top + _city["name"] + name for name in _city["districts"].split())}

PIECES = st.sampled_from(
    [
        "中国",
        "北京",
        "北京市",
        "江苏",
        "江苏省",
        "南京",
        "南京市",
        "昆山市",
        "朝阳区",
        "鼓楼区",
        "市辖区",
        "路",
        "西路",
        "大厦",
        "小区",
        " ",
        ",",
        "1号",
        "吉林",
        "海南",
        "州",
        "人民",
        "x",
    ]
)


def test_every_place_of_the_list_is_found_by_its_full_address() -> None:
    for province in PROVINCES:
        assert masks.region("province").mask(province["name"] + "甲街1号") == province["name"]
        for name in province["districts"].split():
            assert DISTRICT.mask(f"{province['name']}{name}甲街1号") == province["name"] + name
    for province, city in CITIES:
        path = province["name"] + city["name"]
        assert CITY.mask(f"{path}甲街1号") == path
        assert CITY.mask(f"{city['name']}甲街1号") == path
        for name in city["districts"].split():
            assert DISTRICT.mask(f"{path}{name}甲街1号") == path + name
            assert DISTRICT.mask(f"{province['short']}{city['name']}{name}甲街1号") == path + name


def test_a_short_name_counts_before_a_place_inside_it() -> None:
    for province, city in CITIES:
        for name in city["districts"].split()[:2]:
            if not name.startswith("市"):  # 济南市中区 reads as the city and a street
                shown = DISTRICT.mask(f"{city['short']}{name}甲街1号")
                assert shown == province["name"] + city["name"] + name


def test_no_two_districts_of_a_city_have_one_name() -> None:
    for _, city in CITIES:
        names = city["districts"].split()
        assert len(names) == len(set(names))


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters()))
def test_nothing_but_names_of_the_list_is_shown(address: str) -> None:
    assert DISTRICT.mask(address) in SHOWN
    assert CITY.mask(address) in SHOWN


@given(st.lists(PIECES, max_size=8).map("".join))
def test_a_coarser_level_shows_the_beginning_of_a_finer_one(address: str) -> None:
    shown = [str(masks.region(level).mask(address)) for level in ("province", "city", "district")]
    assert shown[1].startswith(shown[0])
    assert shown[2].startswith(shown[1])


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("新疆乌鲁木齐市天山区", "新疆维吾尔自治区乌鲁木齐市天山区"),
        ("江苏 南京 鼓楼区 幸福小区", "江苏省南京市鼓楼区"),
        ("上海 南京西路1号", "上海市"),
        ("中华人民共和国北京市海淀区", "北京市海淀区"),
        ("吉林 长春市", "吉林省长春市"),
        ("吉林市昌邑区", "吉林省吉林市昌邑区"),
        ("海南省海口市", "海南省海口市"),
        ("青海海南藏族自治州共和县", "青海省海南藏族自治州共和县"),
        ("恩施州恩施市", "湖北省恩施土家族苗族自治州恩施市"),
        ("臺北市信義區", "台湾省台北市"),
        ("北京", "北京市"),
        ("江苏省朝阳区", "江苏省"),
    ],
)
def test_an_address_is_read_as_people_write_it(address: str, shown: str) -> None:
    assert DISTRICT.mask(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "北京路12号",
        "北京东路1号",
        "北京 东路1号",
        "中山公园",
        "南京西路",
        "广州大道中1号",
        "上海市民广场",
        "鼓楼区",
        "城区",
        "幸福小区",
        "1号",
        "Nanjing",
    ],
)
def test_what_may_be_a_street_or_anywhere_shows_nothing(address: str) -> None:
    assert DISTRICT.mask(address) == HIDDEN
