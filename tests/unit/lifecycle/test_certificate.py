"""Certificates of erasure: what they say, who may check them with what, and that no byte can be changed."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.erasing import chat, log_keys, shop_in
from tests.support.profiles import Profile
from vaultstore.errors import ProofError, UnsupportedOperation
from vaultstore.lifecycle.certificate_check import check_certificate, read_certificate
from vaultstore.signed_note import NoteKey

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "certificate.json").read_text(encoding="utf-8"))
KEYS = [NoteKey.parse(VECTORS["key"])]


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    with shop_in(tmp_path) as made:
        yield made


def test_the_generator_still_writes_the_committed_file(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_certificate", FOLDER / "generate_certificate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUT = tmp_path / "certificate.json"
    module.main()
    assert module.OUT.read_text(encoding="utf-8") == (FOLDER / "certificate.json").read_text(encoding="utf-8")


def test_the_vector_holds_and_says_what_it_says() -> None:
    found, says = check_certificate(VECTORS["good"].encode(), KEYS), VECTORS["says"]
    assert str(found.subject) == says["subject"]
    assert [act.content["act"] for act in found.acts] == says["acts"]
    assert [act.keys for act in found.acts] == says["keys"]
    assert (len(found.held), found.size) == (says["held"], says["size"])
    assert found.horizon["vault_snapshots"] is None
    last = found.horizon["data_backups"]
    assert last is not None
    assert last.month == 5  # of the last act: until then the conversation's key was there


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in VECTORS["refused"]])
def test_what_does_not_hold_is_refused_and_named(vector: dict[str, str]) -> None:
    with pytest.raises(ProofError) as refused:
        check_certificate(vector["certificate"].encode(), KEYS)
    assert vector["reason"] in str(refused.value)


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[] if n < 1 else pytest.mark.soak) for n in range(8)])
def test_a_byte_changed_anywhere_is_found(seed: int) -> None:
    random_bits, good = random.Random(seed), VECTORS["good"].encode()
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 1 << random_bits.randrange(8)
        with pytest.raises(ProofError):
            check_certificate(bytes(changed), KEYS)


def test_a_store_makes_one_that_holds_without_it(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    erased = shop.store.subjects.erase(anna, reason="asked for it")
    data = shop.store.subjects.certificate(anna).data
    found = check_certificate(data, log_keys(shop))
    assert (found.subject, found.acts[0].body) == (anna, erased.acts[0].body)
    assert found.acts[0].entry["id"] == erased.entry
    assert shop.store.subjects.certificate(anna).read().acts == found.acts
    assert str(anna) not in found.acts[0].leaf


def test_a_later_certificate_has_what_a_case_had_held(shop: Profile) -> None:
    anna, ben = shop.add_members(2)
    scope = chat(shop, anna, ben)
    case = shop.store.cases.open("inquiry", assigned_to="a-1", subjects=[anna], scopes={anna: [scope]})
    shop.store.subjects.erase(anna, reason="asked for it")
    before = check_certificate(shop.store.subjects.certificate(anna).data, log_keys(shop))
    assert [(held["case"], held["scope"], held["keys"]) for held in before.held] == [(case, str(scope), 2)]
    shop.store.cases.close(case)
    after = check_certificate(shop.store.subjects.certificate(anna).data, log_keys(shop))
    assert after.held == []
    assert [act.content["act"] for act in after.acts] == ["erased", "released"]
    assert [act.keys for act in after.acts] == [8, 2]
    assert after.acts[0].body == before.acts[0].body


def test_there_is_none_of_who_was_not_erased(shop: Profile) -> None:
    (anna,) = shop.add_members(1)
    with pytest.raises(UnsupportedOperation, match="was not erased"):
        shop.store.subjects.certificate(anna)


def test_other_keys_check_nothing(shop: Profile) -> None:
    with pytest.raises(ProofError, match="no public key"):
        check_certificate(VECTORS["good"].encode(), [])
    with pytest.raises(ProofError, match="and the key is of"):
        check_certificate(VECTORS["good"].encode(), log_keys(shop))
    assert read_certificate(VECTORS["good"].encode()).acts
