"""The committed vectors of masks, normalisers and blind indexes: what the generator writes, and what the code does."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vaultstore import errors, masks, normalize
from vaultstore.blindindex import blind_index

VECTORS = Path(__file__).parents[2] / "vectors"
Vector = dict[str, Any]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_masks", VECTORS / "generate_masks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def vectors(name: str, has: str, *, without: str = "") -> list[Any]:
    """The vectors of a file that have the member `has` and not `without`."""
    found = [
        v
        for v in json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
        if has in v and (not without or without not in v)
    ]
    assert found
    return [pytest.param(v, id=v["name"]) for v in found]


def make(room: Any, member: str, vector: Vector) -> Any:
    args = [generator.read(a) for a in vector["args"]]
    return getattr(room, vector[member])(*args, **{k: generator.read(v) for k, v in vector["kwargs"].items()})


def expected(vector: Vector) -> Any:
    kind = getattr(errors, vector["error"], None) or getattr(normalize, vector["error"])
    return pytest.raises(errors.VaultstoreError, check=lambda error: type(error) is kind)


def leaks(error: BaseException, value: object) -> bool:
    return isinstance(value, str) and len(value) > 3 and value in f"{error} {error!r} {error.__cause__!r}"


@pytest.mark.parametrize("name", generator.FILES)
def test_the_generator_still_writes_the_committed_file(name: str) -> None:
    assert generator.render(name) == (VECTORS / f"{name}.json").read_text()


@pytest.mark.parametrize("vector", vectors("masks", "masked"))
def test_a_mask_shows_what_its_vector_says(vector: Vector) -> None:
    mask = make(masks, "mask", vector)
    assert mask.mask(generator.read(vector["value"])) == vector["masked"]
    assert mask.fingerprint == vector["fingerprint"]


@pytest.mark.parametrize("vector", vectors("masks", "error", without="value"))
def test_a_mask_of_wrong_parameters_is_refused(vector: Vector) -> None:
    with expected(vector):
        make(masks, "mask", vector)


@pytest.mark.parametrize("vector", [p for p in vectors("masks", "error") if "value" in p.values[0]])
def test_a_mask_refuses_a_value_of_another_type(vector: Vector) -> None:
    mask, value = make(masks, "mask", vector), generator.read(vector["value"])
    with expected(vector) as caught:
        mask.mask(value)
    assert not leaks(caught.value, value)


@pytest.mark.parametrize("vector", vectors("normalizers", "normal"))
def test_a_normaliser_gives_the_normal_form(vector: Vector) -> None:
    normalizer = make(normalize, "normalizer", vector)
    assert normalizer(generator.read(vector["value"])) == vector["normal"]
    assert normalizer.fingerprint == vector["fingerprint"]


@pytest.mark.parametrize("vector", vectors("normalizers", "error", without="value"))
def test_a_normaliser_of_wrong_parameters_is_refused(vector: Vector) -> None:
    with expected(vector):
        make(normalize, "normalizer", vector)


@pytest.mark.parametrize("vector", [p for p in vectors("normalizers", "error") if "value" in p.values[0]])
def test_a_value_without_a_normal_form_is_refused_without_being_shown(vector: Vector) -> None:
    normalizer, value = make(normalize, "normalizer", vector), generator.read(vector["value"])
    with expected(vector) as caught:
        normalizer(value)
    assert normalizer.fingerprint in str(caught.value)
    assert not leaks(caught.value, value)


@pytest.mark.parametrize("vector", vectors("blind_index", "message"))
def test_an_index_is_the_hmac_of_its_message(vector: Vector) -> None:
    message = blind_index(make(normalize, "normalizer", vector)).message(generator.read(vector["value"]))
    assert message.hex() == vector["message"]
    assert hmac.new(bytes.fromhex(vector["key"]), message, hashlib.sha256).hexdigest() == vector["index"]


@pytest.mark.parametrize("vector", [p for p in vectors("blind_index", "error") if "type" in p.values[0]])
def test_an_index_of_a_type_that_it_cannot_take_is_refused_at_definition(vector: Vector) -> None:
    index = blind_index(make(normalize, "normalizer", vector))
    with expected(vector):
        index.check(vector["type"])


@pytest.mark.parametrize("vector", [p for p in vectors("blind_index", "error") if "value" in p.values[0]])
def test_a_value_that_cannot_be_indexed_is_refused_without_being_shown(vector: Vector) -> None:
    index, value = blind_index(make(normalize, "normalizer", vector)), generator.read(vector["value"])
    with expected(vector) as caught:
        index.message(value)
    assert not leaks(caught.value, value)
