"""The committed vectors: they are what the generator writes today, and the code does what they say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore import errors
from vaultstore.canonical import canonical_json, pae, parse_json
from vaultstore.codec import codec_for, mask_codec
from vaultstore.envelope import AadTemplate, key_id_of, open_sealed, seal, wrap_context
from vaultstore.merkle import leaf_hash, root

VECTORS = Path(__file__).parents[2] / "vectors"
Vector = dict[str, Any]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_formats", VECTORS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def vectors(name: str, kind: str) -> list[Any]:
    """The vectors of a file that end in `kind`: "error", or the name of a member that only successes have."""
    found = [v for v in json.loads((VECTORS / f"{name}.json").read_text())["vectors"] if kind in v]
    found = [v for v in found if kind == "error" or "error" not in v]
    assert found
    return [pytest.param(v, id=v["name"]) for v in found]


def expected(vector: Vector) -> Any:
    return pytest.raises(getattr(errors, vector["error"]))


def hexed(vector: Vector, *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def aad_of(vector: Vector) -> bytes:
    return AadTemplate(vector["context"], vector["category"]).of(*hexed(vector, "row", "subject", "scope"))


@pytest.mark.parametrize("name", generator.FILES)
def test_the_generator_still_writes_the_committed_file(name: str) -> None:
    assert generator.render(name) == (VECTORS / f"{name}.json").read_text()


@pytest.mark.parametrize("name", generator.FILES)
def test_every_vector_has_a_name_of_its_own_and_one_outcome(name: str) -> None:
    found = json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    assert len({vector["name"] for vector in found}) == len(found)
    assert all(issubclass(getattr(errors, v["error"]), errors.VaultstoreError) for v in found if "error" in v)


@pytest.mark.parametrize("vector", vectors("canonical", "pae"))
def test_pae_of_a_vector(vector: Vector) -> None:
    assert pae(*map(bytes.fromhex, vector["parts"])).hex() == vector["pae"]


@pytest.mark.parametrize("vector", vectors("canonical", "json"))
def test_canonical_json_of_a_vector(vector: Vector) -> None:
    assert canonical_json(vector["value"]).hex() == vector["json"]
    assert parse_json(bytes.fromhex(vector["json"])) == vector["value"]


@pytest.mark.parametrize("vector", vectors("canonical", "error"))
def test_canonical_json_refuses_a_vector(vector: Vector) -> None:
    with expected(vector):
        canonical_json(vector["value"])


@pytest.mark.parametrize("vector", vectors("values", "pad"))
def test_a_value_of_a_vector_encodes_and_decodes(vector: Vector) -> None:
    python_type, read = generator.TYPES[vector["type"]]
    value, codec = read(vector["value"]), codec_for(python_type, pad=vector["pad"])
    assert codec.name == vector["type"]
    assert codec.encode(value).hex() == vector["encoded"]
    decoded = codec.decode(bytes.fromhex(vector["encoded"]))
    assert decoded == value
    assert str(decoded) == str(value) or vector["type"] in ("datetime", "json")
    if vector["type"] == "json" and vector["pad"] == mask_codec.pad:
        assert mask_codec.encode(value).hex() == vector["encoded"]


@pytest.mark.parametrize("vector", vectors("values", "error"))
def test_a_value_or_encoding_of_a_vector_is_refused(vector: Vector) -> None:
    python_type, read = generator.TYPES[vector["type"]]
    codec = codec_for(python_type)
    with expected(vector):
        codec.decode(bytes.fromhex(vector["encoded"])) if "encoded" in vector else codec.encode(read(vector["value"]))


@pytest.mark.parametrize("vector", vectors("aad", "aad"))
def test_the_aad_of_a_vector(vector: Vector) -> None:
    context, category = vector["context"].encode(), vector["category"].encode()
    row, subject, scope = hexed(vector, "row", "subject", "scope")
    assert aad_of(vector).hex() == vector["aad"]
    assert pae(b"vaultstore/v1", context, row, subject, category, scope).hex() == vector["aad"]


@pytest.mark.parametrize("vector", vectors("aad", "error"))
def test_the_aad_of_a_vector_is_refused(vector: Vector) -> None:
    with expected(vector):
        aad_of(vector)


@pytest.mark.parametrize("vector", vectors("wrap_context", "context"))
def test_the_wrap_context_of_a_vector(vector: Vector) -> None:
    subject, scope = hexed(vector, "subject", "scope")
    assert wrap_context(subject, vector["category"], scope).hex() == vector["context"]


@pytest.mark.parametrize("vector", vectors("wrap_context", "error"))
def test_the_wrap_context_of_a_vector_is_refused(vector: Vector) -> None:
    subject, scope = hexed(vector, "subject", "scope")
    with expected(vector):
        wrap_context(subject, vector["category"], scope)


@pytest.mark.parametrize("vector", vectors("ciphertext", "plaintext"))
def test_a_ciphertext_of_a_vector_seals_and_opens(vector: Vector) -> None:
    key, nonce, plaintext, ciphertext = hexed(vector, "data_key", "nonce", "plaintext", "ciphertext")
    assert seal(AESGCM(key), vector["key_id"], nonce, plaintext, aad_of(vector)) == ciphertext
    assert open_sealed(AESGCM(key), ciphertext, aad_of(vector)) == plaintext
    assert key_id_of(ciphertext) == vector["key_id"]


@pytest.mark.parametrize("vector", vectors("ciphertext", "error"))
def test_a_ciphertext_of_a_vector_does_not_open(vector: Vector) -> None:
    key, ciphertext = hexed(vector, "data_key", "ciphertext")
    with expected(vector):
        open_sealed(AESGCM(key), ciphertext, aad_of(vector))


@pytest.mark.parametrize("vector", vectors("merkle", "root"))
def test_the_merkle_root_of_a_vector(vector: Vector) -> None:
    assert root([leaf_hash(bytes.fromhex(leaf)) for leaf in vector["leaves"]]).hex() == vector["root"]


PAGES = ("README", "ciphertext", "aad", "values", "wrap-context", "merkle")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_are_vectors(page: str) -> None:
    known = "".join((VECTORS / f"{name}.json").read_text() for name in generator.FILES)
    text = (VECTORS.parents[1] / "docs" / "formats" / f"{page}.md").read_text()
    lines = [line for block in text.split("```\n")[1::2] for line in block.splitlines()]
    # The bytes of an example line stand at its end, in groups that a vector has one after the other.
    examples = [match[0].replace(" ", "") for line in lines if (match := re.search(r"(?<= )([0-9a-f]{2,} ?)+$", line))]
    assert examples
    assert [example for example in examples if example not in known] == []
