"""The lattice says what the decisions say, and what a plane enforces is a projection of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vaultstore.catalogue import Field, Index, Model, Projection
from vaultstore.policy import BoundPolicy, Excess, Policy, excess, lattice, matrix, row_cells, vault_cells
from vaultstore.policy.lattice import UPKEEP

from .catalogue import members, shipped
from .samples import SMALL, changed

SHIPPED = Path(__file__).parents[3] / "policies"


def _parsed(text: str) -> Policy:
    """A sample policy, with the category that the member store's desks add."""
    return Policy.parse(text.replace("  chat_flags:", "  suppression: {sensitive: true}\n  chat_flags:", 1))


@pytest.fixture(scope="module", params=["shipped", "small"])
def bound(request: pytest.FixtureRequest) -> BoundPolicy:
    policy = Policy.load(SHIPPED) if request.param == "shipped" else _parsed(SMALL)
    return policy.bind(shipped())


def test_there_is_a_cell_for_each_purpose_field_and_operation(bound: BoundPolicy) -> None:
    fields = sum(len(model.fields) for model in shipped())
    assert len(lattice(bound)) == len(bound.purposes) * fields * 3


def test_a_cell_is_what_the_matrix_and_the_decision_say(bound: BoundPolicy) -> None:
    cells = lattice(bound)
    for cell in matrix(bound):
        where = (cell.purpose, cell.model, cell.field)
        assert cells[*where, "read"] == cell.read == str(bound.decision(*where))
        assert cells[*where, "search"] == ("allowed" if cell.search else "denied")
        assert cells[*where, "write"] == ("allowed" if cell.write else "denied")


def test_vaults_cells_are_what_its_key_access_is_made_of(bound: BoundPolicy) -> None:
    cells, access = vault_cells(bound), bound.key_access("i")
    for name, keys in access.purposes.items():
        for category in access.categories:
            assert cells[name, f"category {category}", "decrypt"] == (category in keys.unwrap)
            assert cells[name, f"category {category}", "encrypt"] == (category in keys.wrap)
            for operation, verb in UPKEEP.items():
                assert cells[name, f"category {category}", operation] == (category in getattr(keys, verb))
            assert cells[name, f"category {category}", "read the key"] == (category in keys.kept)
        for index in access.indexes:
            assert cells[name, f"index {index}", "hmac"] == (index in keys.hmac)
    assert len(cells) == len(bound.purposes) * (7 * len(access.categories) + len(access.indexes))


def test_a_projection_beside_its_source_is_still_a_key_of_vaults() -> None:
    """The cell is clear, and says nothing of the card; the key to the card is granted all the same."""
    text = changed("read: {Member: {categories: [care_card]}}", "read: {Member: {categories: [care_card, contact]}}")
    bound = _parsed(text).bind(shipped())
    assert lattice(bound)["care.complaint", "Member", "phone", "read"] == "clear"
    assert vault_cells(bound)["care.complaint", "category care_card", "decrypt"]


def test_rows_of_a_model_are_seen_where_it_is_listed_and_written_where_it_is_written() -> None:
    text = changed(
        "    write: {Member: [contact]}", "    read: {Lead: {categories: []}}\n    write: {ConsentNotice: []}"
    )
    cells = row_cells(_parsed(text).bind(shipped()))
    assert {key[1:]: allowed for key, allowed in cells.items() if key[0] == "registration" and allowed} == {
        ("Lead", "read"): True,
        ("ConsentNotice", "read"): True,
        ("ConsentNotice", "write"): True,
    }
    assert cells["care.complaint", "Member", "read"]
    assert not cells["care.complaint", "Member", "write"]


def test_an_inherited_right_is_in_the_cells_of_the_model_that_inherits() -> None:
    catalogue = members()
    vip = replace(catalogue.models["Member"], name="VipMember", bases=("Member",))
    bound = Policy.parse(SMALL).bind(replace(catalogue, models={**catalogue.models, "VipMember": vip}))
    assert lattice(bound)["sales.outreach", "VipMember", "phone", "read"] == "masked:sales_card"
    assert lattice(bound)["care.complaint", "VipMember", "phone", "search"] == "allowed"
    assert list(excess(bound)) == []


def test_a_category_of_two_models_is_more_in_vault_than_the_policy_lists() -> None:
    catalogue = members()
    ship_to = Field("ship_to", "contact", "orders.ship_to", "str", Index("orders.ship_to", "text()"))
    card = Field("note", "profile", "orders.note", "str", None, (Projection("care_card", "present()", "orders.n"),))
    orders = replace(catalogue, models={**catalogue.models, "Order": Model("Order", "orders", (ship_to, card))})
    found = list(excess(Policy.parse(SMALL).bind(orders)))
    assert found == [
        Excess("care.complaint", "care_card", "decrypt", "Order", "Member"),
        Excess("registration", "contact", "encrypt", "Order", "Member"),
    ]


def test_the_shipped_policy_gives_vault_nothing_that_it_does_not_list() -> None:
    assert list(excess(Policy.load(SHIPPED).bind(shipped()))) == []
