"""docs/policy.md shows policies that load, and names every key there is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vaultstore.catalogue import Catalogue
from vaultstore.policy import Policy, check
from vaultstore.policy.purpose import KEYS

from .catalogue import members

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_documentation_loads(example: str) -> None:
    assert Policy.parse(example).rules.files


def test_the_tests_in_the_documentation_pass() -> None:
    """Against the part of Member that the example speaks of."""
    member = members().models["Member"]
    contact = tuple(
        replace(f, projections=tuple(p for p in f.projections if p.category == "care_card"))
        for f in member.fields
        if f.category == "contact"
    )
    report = check(Policy.parse(EXAMPLES[0]), Catalogue({"Member": replace(member, fields=contact)}))
    assert (report.errors, report.warnings, report.tests) == ((), (), 3)


def test_the_documentation_names_every_key_of_a_purpose() -> None:
    assert [key for key in KEYS if f"`{key}`" not in TEXT] == []
