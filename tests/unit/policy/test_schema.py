"""The JSON Schema takes what `load` takes, and sees every mistake that one file alone shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vaultstore.errors import PolicyError
from vaultstore.policy import Policy
from vaultstore.policy.document import Items, Node, Table, parse
from vaultstore.policy.model import KEEPS
from vaultstore.policy.purpose import KEYS
from vaultstore.policy.schema import schema

from .samples import SMALL, changed
from .test_docs import EXAMPLES
from .test_mistakes import Mistake, mistakes, named

SHIPPED = sorted((Path(__file__).parents[3] / "policies").rglob("*.yaml"))
VALIDATOR = Draft202012Validator(schema())

# What takes a second look at the files: names that are defined elsewhere, a clock, a sum, a list of time zones.
UNSEEN = re.compile(
    r"unknown (category|role|purpose) "
    r"|(is a projection; it is written along|is no projection)"
    r"|is not from 0s to 3650d|timezone: unknown 'Asia/Shangai'"
    r"|a second limit per|has to require"
)


def plain(node: Node) -> Any:
    """A document as JSON data, as an editor's reader of YAML 1.2 has it."""
    if isinstance(node, Table):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    return [plain(item) for item in node.items] if isinstance(node, Items) else node.value


def document(text: str) -> Any | None:
    """The data of a file, or None where it is no YAML of ours at all."""
    try:
        return plain(parse(text.encode(), "policy.yaml")[0])
    except PolicyError:
        return None


def test_it_is_a_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_the_shipped_files_are_valid(file: Path) -> None:
    assert [e.message for e in VALIDATOR.iter_errors(document(file.read_text("utf-8")))] == []


@pytest.mark.parametrize("example", [SMALL, *EXAMPLES], ids=lambda text: str(len(text)))
def test_what_loads_is_valid(example: str) -> None:
    assert Policy.parse(example)
    assert [e.message for e in VALIDATOR.iter_errors(document(example))] == []


@pytest.mark.parametrize("mistake", mistakes("load!"), ids=named)
def test_a_mistake_that_one_file_shows_is_seen(mistake: Mistake) -> None:
    data = document(changed(mistake.old, mistake.new))
    seen = data is None or not VALIDATOR.is_valid(data)
    assert seen != bool(UNSEEN.search(mistake.error))


@pytest.mark.parametrize("mistake", mistakes("bind!"), ids=named)
def test_a_mistake_about_the_models_is_left_to_check(mistake: Mistake) -> None:
    data = document(changed(mistake.old, mistake.new))
    assert data is not None
    assert VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("batch: 50", "batch: 1"),
        ("ttl: 15m", "ttl: 007s"),
        ("per: 1h", "per: 366d"),
        ("except: {Member.phone", "except: {_Model1.field_2: [care_card], Member.phone"),
        ("report_after: 0d", "report_after: 000000s"),
        ("keeps: [revocations]", "keeps: []"),
        ("purpose: registration, verb: write, model: Member, field: phone,", "purpose: registration, model: Member,"),
        ("write: {Member: [contact]}", "write: {Member: []}"),
        ("tests:\n", "tests:\n  - {purpose: registration, verb: search, model: Lead, field: x, expect: denied}\n"),
        ("    batch: 50", "    dpv: https://w3id.org/dpv#CustomerCare\n    batch: 50"),
    ],
)
def test_a_rare_form_that_loads_is_valid(old: str, new: str) -> None:
    text = changed(old, new)
    assert Policy.parse(text)
    assert [e.message for e in VALIDATOR.iter_errors(document(text))] == []


def test_it_knows_every_key_and_says_what_each_is_for() -> None:
    purpose = schema()["properties"]["purposes"]["additionalProperties"]["properties"]
    assert set(purpose) == set(KEYS)
    assert all(said.get("description") for said in purpose.values())
    assert all(said.get("description") for said in schema()["properties"].values())
    keeps = schema()["properties"]["services"]["additionalProperties"]["properties"]["keeps"]
    assert keeps["items"]["enum"] == list(KEEPS)
